"""A prompt above two texts, side by side: same font, width and height, scrolled together."""

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from review.diff import Change, Piece
from ui.safe import escaped

TOO_SOON = 0.3
"""Seconds after a pair appears in which a key is a leftover of the last pair (a held key, a double click)."""

KEYS = (
    ("LEFT", "Left is better", "Left"),
    ("TIE", "Both good", "Up"),
    ("BOTH_BAD", "Both bad", "Down"),
    ("RIGHT", "Right is better", "Right"),
)


def show_prompt(text: str, context: str | None) -> None:
    """The prompt in a card of its own, with its context above."""
    above = f'<div class="pw-context pw-text">{escaped(context)}</div>' if context else ""
    st.html(f'<div class="pw-card pw-prompt">{above}<div class="pw-text">{escaped(text)}</div></div>')


def show_pair(left: str, right: str) -> None:
    """Two texts as equals."""
    st.html(
        '<div class="pw-pair">'
        f'<div class="pw-card"><div class="pw-label">Left</div><div class="pw-text">{escaped(left)}</div></div>'
        f'<div class="pw-card"><div class="pw-label">Right</div><div class="pw-text">{escaped(right)}</div></div>'
        "</div>"
    )


def choice_bar(item_id: int, on_choice: Callable[[int, str], Any]) -> None:
    """The four buttons with their keys.

    The id travels with the press, so that a late one can never land on the next pair. `on_choice` gets the id and
    one of LEFT, TIE, BOTH_BAD, RIGHT.
    """
    if st.session_state.get("pair_shown") != item_id:
        st.session_state["pair_shown"] = item_id
        st.session_state["pair_shown_at"] = time.monotonic()
    columns = st.columns(4)
    for column, (choice, label, key) in zip(columns, KEYS, strict=True):
        column.button(
            label,
            key=f"choose_{choice}",
            shortcut=key,
            width="stretch",
            on_click=_pressed,
            args=(item_id, choice, on_choice),
        )


def _pressed(item_id: int, choice: str, on_choice: Callable[[int, str], Any]) -> None:
    if st.session_state.get("pair_shown") != item_id or seconds_shown() < TOO_SOON:
        return
    on_choice(item_id, choice)


def seconds_shown() -> float:
    """How long the pair on screen has been there."""
    return time.monotonic() - float(st.session_state.get("pair_shown_at", 0.0))


def show_diff(pieces: tuple[Piece, ...]) -> None:
    """A word diff: added green, removed red and struck through."""
    tags = {Change.KEPT: ("", ""), Change.ADDED: ("<ins>", "</ins>"), Change.REMOVED: ("<del>", "</del>")}
    body = "".join(f"{tags[p.change][0]}{escaped(p.text)}{tags[p.change][1]}" for p in pieces)
    st.html(f'<div class="pw-card pw-text pw-diff">{body}</div>')
