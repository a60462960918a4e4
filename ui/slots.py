"""Several texts as cards that are put in order by keys: equal columns, places on the cards, a bar at the window's foot.

A press that arrives while the screen is being drawn waits, and Streamlit then hands over all that waited at once, in
an order that nobody promises; so two at once count for nothing and are asked for again. Enter also clicks whatever
button has the browser's focus; that click follows Enter at once and counts for nothing either.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import streamlit as st

from review.assignment import ManyOffer
from review.slots import BEST_WORST_OF, BestWorst, Cards, Slots, in_words, letter, ordinal
from texts.escape import escaped
from ui.keys import one_press_a_key
from ui.pairs import TOO_SOON, Chosen, appeared, noted, seconds_drawn, seconds_shown

REPEAT = 0.1
"""Seconds within which the same digit again is a held key or a double click, not a tie."""
WITH_ENTER = 0.4
"""Seconds after the screen answered Enter in which another button's press is the browser's own click on it."""
BURST = 0.6
"""After two keys at once, a key counts again when so many seconds were without any: the rest of a burst does not."""
WARNED = 1.0
"""Seconds that the warning must have been seen before Enter again saves the order as shown."""
NONE_GOOD = "NONE"
"""What a choice is called when none can be sent; otherwise it is the places, such as `2 1 1`."""
ENTER = "ENTER"
SUBMITTING = (ENTER, NONE_GOOD)
ALL, ENDS = "Order all", "Best and worst"
WAY = "slots_way"
"""Where the session remembers which of the two it is."""
AT_ONCE = "Two keys came at once and neither was counted. Press them again, one after the other."

Save = Callable[[int, Sequence[int], bool], bool]
"""Gets what was ordered, its places from left to right, and whether none can be sent; says whether it saved."""


@dataclass
class _Held:
    """The order on the screen, as far as it is made."""

    item_id: int
    cards: Cards
    drawn: Cards
    """As it was last drawn."""
    draws: int = 0
    """How often it was drawn."""
    presses: int = 0
    """How many came since it was last drawn."""
    answers_enter: bool = False
    """The screen was last drawn in answer to Enter."""
    in_burst: bool = False
    """Two came at once, and the keys have not rested since."""
    warned_at: float | None = None
    """When the warning was first drawn."""
    shown: Any = None
    """What the page has on the screen, kept over the pause."""


def words_of(places: Sequence[int], *, none_good: bool) -> str:
    """An order for the line that tells one's last choice."""
    return "none can be sent" if none_good else in_words(places)


def show_cards(
    offer: ManyOffer,
    given: Sequence[int | None] = (),
    *,
    focus: int | None = None,
    chosen: bool = False,
    keys: bool = False,
    below: Callable[[int], None] = lambda card: None,
) -> None:
    """The texts as equals, each with its letter and, where it has one, its place.

    Args:
        given: the places from left to right.
        focus: the card that the next key is about.
        chosen: the order is saved; what shares the first place is marked.
        keys: digits mean cards, so each shows its own.
        below: draws what stands under each text.
    """
    rows = 1 if len(offer.cards) <= 3 else 2
    across = len(offer.cards) // rows + len(offer.cards) % rows
    with st.container(key=f"pwgrid_{across}_{rows}_{offer.comparison_id}"):
        for card, one in enumerate(offer.cards):
            place = given[card] if card < len(given) else None
            marks = " pw-focus" * (card == focus) + " pw-done" * chosen + " pw-first" * (chosen and place == 1)
            badge = f'<span class="pw-place">{ordinal(place)}</span>' if place else ""
            key = f"<kbd>{card + 1}</kbd>" if keys else ""
            with st.container(key=f"pwcard_{offer.comparison_id}_{card}"):
                title = f"Card {letter(card)} {key}{noted(one.text)}"
                st.html(
                    f'<div class="pw-slot-head{marks}"><span>{title}</span>{badge}</div>'
                    f'<div class="pw-text pw-slot-text">{escaped(one.text)}</div>'
                )
                below(card)


def order_cards(
    offer: ManyOffer,
    save: Save,
    *,
    chosen: Chosen | None = None,
    shown: object | None = None,
    disabled: bool = False,
    beside: Callable[[], None] = lambda: None,
) -> None:
    """The cards, and the bar with their keys; an order is saved at once and seen for a moment before the next.

    Args:
        offer: what is ordered.
        save: called once for an order that is submitted.
        chosen: the order that was just saved, if its pause is not over.
        shown: what the page keeps over the pause; the offer where None.
        disabled: while a dialog is open: Streamlit lets keys through to buttons behind it.
        beside: draws what else stands in the bar.
    """
    appeared(offer.comparison_id)
    best_worst = len(offer.cards) == BEST_WORST_OF and st.session_state.get(WAY, ALL) == ENDS
    if chosen is not None:
        none_good = chosen.choice == NONE_GOOD
        places = [] if none_good else [int(place) for place in chosen.choice.split()]
        show_cards(offer, places, chosen=True)
        said = "Saved: " + words_of(places, none_good=none_good)
        _bar(offer, None, best_worst, save, f"{said}.", beside, disabled)
        return
    held = _held(offer, best_worst)
    cards = held.cards
    focus = cards.focus if isinstance(cards, Slots) else None
    show_cards(offer, cards.given, focus=focus, keys=best_worst, below=partial(_card_button, offer, cards))
    _bar(offer, cards, best_worst, save, cards.said, beside, disabled)
    _scroll_to(".pw-prompt" if focus is None or not any(cards.given) else ".pw-focus", f"{offer.comparison_id} {focus}")
    held.drawn, held.presses, held.shown = cards, 0, offer if shown is None else shown
    held.draws += 1
    if isinstance(cards, Slots) and cards.warned:
        held.warned_at = held.warned_at or time.monotonic()
    else:
        held.warned_at = None


def _scroll_to(mark: str, turn: str) -> None:
    """Bring what the next key is about into sight, where the cards do not fit the window; `turn` tells when anew."""
    script = f"document.querySelector('{mark}')?.scrollIntoView({{block: 'nearest'}})"
    st.html(f"<script>/* {turn} */ {script}</script>", unsafe_allow_javascript=True)


def _held(offer: ManyOffer, best_worst: bool) -> _Held:
    held = st.session_state.get("slots_held")
    kind = BestWorst if best_worst else Slots
    if not isinstance(held, _Held) or held.item_id != offer.comparison_id or not isinstance(held.cards, kind):
        cards: Cards = BestWorst() if best_worst else Slots.fresh(len(offer.cards))
        held = _Held(offer.comparison_id, cards, drawn=cards)
        st.session_state["slots_held"] = held
    return held


def _card_button(offer: ManyOffer, cards: Cards, card: int) -> None:
    """For the mouse: focus this card, or name it."""
    if isinstance(cards, Slots):
        act = partial(Slots.look_at, card=card)
        st.button(
            "Focus",
            key=f"card_focus_{card}",
            type="tertiary",
            on_click=_pressed,
            args=(offer.comparison_id, f"focus {card}", act),
        )
        return
    st.button(
        "Worst" if cards.best is not None and not cards.complete else "Best",
        key=f"card_name_{card}",
        type="tertiary",
        on_click=_pressed,
        args=(offer.comparison_id, f"digit {card + 1}", partial(BestWorst.digit, number=card + 1)),
    )


def _bar(
    offer: ManyOffer,
    cards: Cards | None,
    best_worst: bool,
    save: Save,
    said: str | None,
    beside: Callable[[], None],
    disabled: bool,
) -> None:
    """What to press next, or what the last press was answered with; then the buttons. Keys do nothing in a pause."""
    item_id, count = offer.comparison_id, len(offer.cards)
    with st.container(key="choice_bar", gap="xsmall"):
        warning = " pw-said" if said and cards is not None else ""
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.html(f'<div class="pw-hint{warning}" role="status">{escaped(said or _hint(cards))}</div>')
            if count == BEST_WORST_OF:
                way = ENDS if best_worst else ALL
                st.segmented_control(
                    "How",
                    [ALL, ENDS],
                    default=way,
                    required=True,
                    key=f"{WAY}_{way}",  # a new one for each way: one that has the browser's focus swallows keys
                    on_change=_change_way,
                    args=(f"{WAY}_{way}",),
                    label_visibility="collapsed",
                )
        with st.container(key="slots_keys", horizontal=True, gap="xsmall"):
            for number in range(1, count + 1):
                here = isinstance(cards, Slots) and cards.given[cards.focus] == number
                st.button(
                    letter(number - 1) if best_worst else ordinal(number),
                    key=f"slots_{'card' if best_worst else 'place'}_{number}",
                    shortcut=str(number),
                    type="primary" if here else "secondary",
                    disabled=disabled,
                    on_click=_pressed,
                    args=(item_id, f"digit {number}", partial(_digit, number=number)),
                )
            if not best_worst:
                for name, key, step in (("previous", "Left", -1), ("next", "Right", 1)):
                    st.button(
                        f":material/arrow_{'back' if step < 0 else 'forward'}:",
                        key=f"slots_{name}",
                        help=f"Focus the {name} card",
                        shortcut=key,
                        disabled=disabled,
                        on_click=_pressed,
                        args=(item_id, f"move {step}", partial(_move, step=step)),
                    )
            st.button(
                "Submit",
                key="slots_submit",
                shortcut="Enter",
                type="primary" if cards is not None and cards.complete else "secondary",
                disabled=disabled,
                on_click=_submitted,
                args=(item_id, offer, save, False),
            )
            st.button(
                "None can be sent",
                key="slots_none",
                shortcut="0",
                disabled=disabled,
                on_click=_submitted,
                args=(item_id, offer, save, True),
            )
            beside()
    one_press_a_key()


def _change_way(key: str) -> None:
    st.session_state[WAY] = st.session_state[key]


def _hint(cards: Cards | None) -> str:
    if cards is None:
        return ""
    if cards.complete:
        return "Enter submits this order."
    if isinstance(cards, Slots):
        return f"Card {letter(cards.focus)}: which place? 1 is best; the same one twice is a tie."
    return "Which card is the best? Press its digit." if cards.best is None else "And which one is the worst?"


def _digit(cards: Cards, number: int) -> Cards:
    return cards.digit(number)


def _move(cards: Cards, step: int) -> Cards:
    return cards.move(step) if isinstance(cards, Slots) else cards


def _counts(item_id: int, name: str) -> _Held | None:
    """What a press is about, or None where it counts for nothing.

    A press that submits needs a moment without the same press since the last one was answered on the screen: while a
    key is held and the machine is slow, there is always one that waited for the drawing to end.
    """
    now = time.monotonic()
    last_name, last_at = st.session_state.get("slots_pressed", ("", 0.0))
    st.session_state["slots_pressed"] = (name, now)
    held = st.session_state.get("slots_held")
    if not isinstance(held, _Held) or held.item_id != item_id:
        return None
    submits, rest = name in SUBMITTING, now - last_at
    calm = min(rest, seconds_drawn())
    if name == last_name and (calm < TOO_SOON if submits else rest < REPEAT):
        return None
    if submits and (seconds_shown() < TOO_SOON or (held.draws == 1 and seconds_drawn() < TOO_SOON)):
        return None
    if name != ENTER and held.answers_enter and seconds_drawn() < WITH_ENTER:
        return None
    if held.in_burst and calm < BURST:
        return None
    held.presses += 1
    held.in_burst = held.presses > 1
    if held.in_burst:
        held.cards, held.answers_enter = replace(held.drawn, said=AT_ONCE), False
        return None
    held.answers_enter = name == ENTER
    return held


def _pressed(item_id: int, name: str, act: Callable[[Any], Cards]) -> None:
    held = _counts(item_id, name)
    if held is not None:
        held.cards = act(held.cards)


def _submitted(item_id: int, offer: ManyOffer, save: Save, none_good: bool) -> None:
    held = _counts(item_id, NONE_GOOD if none_good else ENTER)
    if held is None:
        return
    if none_good:
        places, choice = (1,) * len(offer.cards), NONE_GOOD
    else:
        if held.warned_at is not None and time.monotonic() - held.warned_at < WARNED:
            return
        after = held.cards.enter()
        if after.submitted is None:
            held.cards = after
            return
        places, choice = after.submitted, " ".join(map(str, after.submitted))
    if save(item_id, places, none_good):
        st.session_state.pop("slots_held")
        st.session_state["pair_chosen"] = Chosen(item_id, choice, held.shown, at=time.monotonic())
