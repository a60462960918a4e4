"""A prompt above two texts, side by side: same font, width and height, scrolled together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from stats.verdicts import Verdict
from texts.diff import DiffPiece, Edit
from texts.escape import escape_html
from texts.shown import oddities
from ui.keys import ignore_repeated_keys

TOO_SOON = 0.3
"""Seconds after a pair appears, or after any press, in which a press is a leftover (a held key, a double click)."""
PAUSE = 0.35
"""Seconds for which a choice is seen before the next pair, and in which the same key again means "much"."""
LATE = 0.15
"""Seconds by which a press within the pause may reach us after it."""

VERDICT_KEYS = tuple(
    (verdict, verdict.words.capitalize(), verdict.key)
    for verdict in (Verdict.LEFT, Verdict.TIE, Verdict.BOTH_BAD, Verdict.RIGHT)
)


def show_prompt(text: str, context: str | None, *, compact: bool = False, synthetic: bool = False) -> None:
    """The prompt in a card of its own, with its context above; always of the same height unless `compact`.

    One that no customer wrote says so above.
    """
    above = '<div class="pw-label"><span class="pw-note">synthetic prompt</span></div>' if synthetic else ""
    above += f'<div class="pw-context pw-text">{escape_html(context)}</div>' if context else ""
    size = " pw-compact" if compact else ""
    st.html(f'<div class="pw-card pw-prompt{size}">{above}<div class="pw-text">{escape_html(text)}</div></div>')


def oddity_note(text: str) -> str:
    """What a reader should be told of a text, as HTML for beside its label; empty for an ordinary one."""
    notes = oddities(text)
    return f' <span class="pw-note">{escape_html("; ".join(notes))}</span>' if notes else ""


def show_pair(left: str, right: str, *, chosen: str | None = None, notes: bool = False) -> None:
    """Two texts as equals; `chosen` is the verdict that was just given, which marks one side, or both for a tie.

    With `notes`, beside each label stands what is odd about its text.
    """
    left_note, right_note = (oddity_note(text) if notes else "" for text in (left, right))
    marks = {side: " pw-chosen" * (chosen in (side, Verdict.TIE)) for side in (Verdict.LEFT, Verdict.RIGHT)}
    faded = " pw-faded" * (chosen == Verdict.BOTH_BAD)
    st.html(
        f'<div class="pw-pair{faded}">'
        f'<div class="pw-card{marks[Verdict.LEFT]}"><div class="pw-label">Left{left_note}</div>'
        f'<div class="pw-text">{escape_html(left)}</div></div>'
        f'<div class="pw-card{marks[Verdict.RIGHT]}"><div class="pw-label">Right{right_note}</div>'
        f'<div class="pw-text">{escape_html(right)}</div></div>'
        "</div>"
    )


@dataclass
class RecentChoice:
    """A choice that is still on the screen, for a slip to be seen."""

    item_id: int
    choice: Any
    """The choice of `choice_bar`, or the Order of cards."""
    shown: Any
    """What the page had on the screen: the pair stays until the pause is over."""
    at: float
    is_strong: bool = False
    """The same key came twice."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the next pair."""
        return self.at + PAUSE - time.monotonic()


def recent_choice(kind: type = object) -> RecentChoice | None:
    """The choice whose pause is not over, if what is shown is of this kind: another page may have another pair."""
    chosen = st.session_state.get("pair_chosen")
    if isinstance(chosen, RecentChoice) and isinstance(chosen.shown, kind) and chosen.seconds_left > 0:
        return chosen
    return None


def choice_bar(
    item_id: int,
    shown: Any,
    on_choice: Callable[[int, str], bool],
    *,
    on_again: Callable[[int], bool] | None = None,
    disabled: bool = False,
    beside: Callable[[], None] = lambda: None,
    keys: Sequence[tuple[str, str, str]] = VERDICT_KEYS,
    name: str = "choose",
) -> None:
    """The four buttons with their keys, in a bar that stays at the window's foot.

    A choice is saved at once and seen for `PAUSE` seconds before the next pair. One press never judges two pairs: while
    a key is held or pressed again, and in a pair's first moments, presses count for nothing.

    Args:
        item_id: what is judged; `on_choice` gets it with the choice, such as a Verdict, and says whether it saved.
        shown: what is on the screen, kept over the pause.
        on_again: called when LEFT or RIGHT is pressed twice within the pause.
        disabled: while a dialog is open: Streamlit lets keys through to buttons behind it.
        beside: draws what else stands in the bar.
        keys: choice, label and key of each button, where it is another question than which is better.
        name: of that question, for the buttons' own keys.
    """
    note_shown(item_id)
    chosen = recent_choice(type(shown))

    def press(choice: str) -> None:
        now = time.monotonic()
        quiet = min(now - float(st.session_state.get("pair_pressed_at", 0.0)), seconds_drawn())
        st.session_state["pair_pressed_at"] = now
        last = st.session_state.get("pair_chosen")
        if isinstance(last, RecentChoice) and last.item_id == item_id and now < last.at + PAUSE + LATE:
            # the pause is slept through on the server, so a second press within it arrives a little after its end
            if choice == last.choice and not last.is_strong and on_again and choice in (Verdict.LEFT, Verdict.RIGHT):
                last.is_strong = on_again(item_id)
                last.at = now
            return
        if st.session_state.get("pair_shown") != item_id or seconds_shown() < TOO_SOON or quiet < TOO_SOON:
            return
        if on_choice(item_id, choice):
            st.session_state["pair_chosen"] = RecentChoice(item_id, choice, shown, at=time.monotonic())

    with st.container(key="choice_bar", horizontal=True):
        for choice, label, key in keys:
            is_chosen = chosen is not None and chosen.choice == choice
            st.button(
                label.replace("better", "much better") if is_chosen and chosen and chosen.is_strong else label,
                key=f"{name}_{choice}",
                shortcut=key,
                type="primary" if is_chosen else "secondary",
                width="stretch",
                disabled=disabled,
                on_click=press,
                args=(choice,),
            )
        beside()
    ignore_repeated_keys()


def wait_for_pause(chosen: RecentChoice | None) -> None:
    """Called last in the fragment, with what it drew: wait until the choice was seen, then draw the next pair.

    Not asked anew: where drawing took longer than the pause, the old pair is on the screen all the same.
    """
    st.session_state["screen_drawn_at"] = time.monotonic()
    if chosen is not None:
        time.sleep(max(0.0, chosen.seconds_left) + 0.005)
        st.rerun(scope="fragment")


def forget_choice() -> None:
    """After an undo: the pair comes back as if nothing had been chosen."""
    st.session_state.pop("pair_chosen", None)


def note_shown(item_id: int) -> None:
    """Called with whatever is on the screen: the time counts from when it is drawn first."""
    if st.session_state.get("pair_shown") != item_id:
        st.session_state["pair_shown"] = item_id
        st.session_state["pair_shown_at"] = time.monotonic()


def seconds_shown() -> float:
    """How long the pair on screen has been there."""
    return time.monotonic() - float(st.session_state.get("pair_shown_at", 0.0))


def seconds_drawn() -> float:
    """Since the screen was last drawn to its end: a press that waited while it was drawn arrives at once after that."""
    return time.monotonic() - float(st.session_state.get("screen_drawn_at", 0.0))


def show_diff(pieces: tuple[DiffPiece, ...]) -> None:
    """A word diff: added green, removed red and struck through."""
    tags = {Edit.KEPT: ("", ""), Edit.ADDED: ("<ins>", "</ins>"), Edit.REMOVED: ("<del>", "</del>")}
    body = "".join(f"{tags[piece.change][0]}{escape_html(piece.text)}{tags[piece.change][1]}" for piece in pieces)
    st.html(f'<div class="pw-card pw-text pw-diff">{body}</div>')
