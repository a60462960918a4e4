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

from review.assignment import Offer
from review.slots import BEST_WORST_OF, BestWorst, Cards, Slots, card_letter, describe_order, place_ordinal
from stats.verdicts import Order, Verdict
from texts.escape import escape_html
from ui.keys import ignore_repeated_keys
from ui.pairs import (
    TOO_SOON,
    RecentChoice,
    choice_bar,
    note_shown,
    oddity_note,
    seconds_drawn,
    seconds_shown,
    show_pair,
)

REPEAT = 0.1
"""Seconds within which the same digit again is a held key or a double click, not a tie."""
WITH_ENTER = 0.4
"""Seconds after the screen answered Enter in which another button's press is the browser's own click on it."""
BURST = 0.6
"""After two keys at once, a key counts again when so many seconds were without any: the rest of a burst does not."""
WARNED = 1.0
"""Seconds that the warning must have been seen before Enter again saves the order as shown."""
NONE_GOOD, ENTER = "NONE", "ENTER"
SUBMITTING = (ENTER, NONE_GOOD)
ORDER_ALL, BEST_AND_WORST = "Order all", "Best and worst"
MODE_KEY = "slots_way"
"""Where the session remembers which of the two it is."""
TWO_KEYS_AT_ONCE = "Two keys came at once and neither was counted. Press them again, one after the other."

Save = Callable[[Order], bool]
"""Gets an order that was made, once, and says whether it saved it."""


@dataclass
class _OrderDraft:
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


def show_offer(offer: Offer, order: Order | None = None) -> None:
    """The replies as they were offered, two side by side or more as cards, with what somebody said of them."""
    if offer.is_pair:
        show_pair(*(reply.text for reply in offer.replies), chosen=order.verdict if order else None)
    else:
        show_cards(offer, order.places if order else ())


def ask_order(
    offer: Offer,
    save: Save,
    *,
    chosen: RecentChoice | None,
    shown: object | None = None,
    on_again: Callable[[int], bool] | None = None,
    notes: bool = False,
    disabled: bool = False,
    between: Callable[[], None] = lambda: None,
    beside: Callable[[], None] = lambda: None,
) -> None:
    """The replies and the keys that put them in order: arrows for two, digits for more.

    An order is saved at once and seen for a moment before the next.

    Args:
        chosen: the order that was just saved, if its pause is not over.
        shown: what the page keeps over the pause; the offer where None.
        on_again: called when the better side of two is said twice.
        notes: whether what is odd about a text of two stands beside it; beside cards it always does.
        disabled: while a dialog is open: Streamlit lets keys through to buttons behind it.
        between: draws what stands above cards, or below two replies.
        beside: draws what else stands in the bar.
    """
    shown = offer if shown is None else shown
    if not offer.is_pair:
        between()
        _order_cards(offer, save, chosen=chosen, shown=shown, disabled=disabled, beside=beside)
        return
    show_pair(*(reply.text for reply in offer.replies), chosen=chosen.choice if chosen else None, notes=notes)
    between()
    choice_bar(
        offer.comparison_id,
        shown,
        lambda _, choice: save(Verdict(choice).order),
        on_again=on_again,
        disabled=disabled,
        beside=beside,
    )


def show_cards(
    offer: Offer,
    places: Sequence[int | None] = (),
    *,
    focus: int | None = None,
    chosen: bool = False,
    keys: bool = False,
    below: Callable[[int], None] = lambda card: None,
) -> None:
    """The texts as equals, each with its letter and, where it has one, its place.

    Args:
        places: the places from left to right.
        focus: the card that the next key is about.
        chosen: the order is saved; what shares the first place is marked.
        keys: digits mean cards, so each shows its own.
        below: draws what stands under each text.
    """
    rows = 1 if len(offer.replies) <= 3 else 2
    across = len(offer.replies) // rows + len(offer.replies) % rows
    with st.container(key=f"pwgrid_{across}_{rows}_{offer.comparison_id}"):
        for card, reply in enumerate(offer.replies):
            place = places[card] if card < len(places) else None
            marks = " pw-focus" * (card == focus) + " pw-done" * chosen + " pw-first" * (chosen and place == 1)
            badge = f'<span class="pw-place">{place_ordinal(place)}</span>' if place else ""
            key = f"<kbd>{card + 1}</kbd>" if keys else ""
            with st.container(key=f"pwcard_{offer.comparison_id}_{card}"):
                title = f"Card {card_letter(card)} {key}{oddity_note(reply.text)}"
                st.html(
                    f'<div class="pw-slot-head{marks}"><span>{title}</span>{badge}</div>'
                    f'<div class="pw-text pw-slot-text">{escape_html(reply.text)}</div>'
                )
                below(card)


def _order_cards(
    offer: Offer, save: Save, *, chosen: RecentChoice | None, shown: object, disabled: bool, beside: Callable[[], None]
) -> None:
    """The cards, and the bar with their keys; arguments as for `ask_order`."""
    note_shown(offer.comparison_id)
    best_worst = len(offer.replies) == BEST_WORST_OF and st.session_state.get(MODE_KEY, ORDER_ALL) == BEST_AND_WORST
    if chosen is not None:
        order: Order = chosen.choice
        show_cards(offer, () if order.none_good else order.places, chosen=True)
        _bar(offer, None, best_worst, save, f"Saved: {describe_order(order)}.", beside, disabled)
        return
    draft = _get_draft(offer, best_worst)
    cards = draft.cards
    focus = cards.focus if isinstance(cards, Slots) else None
    show_cards(offer, cards.places, focus=focus, keys=best_worst, below=partial(_card_button, offer, cards))
    _bar(offer, cards, best_worst, save, cards.message, beside, disabled)
    mark = ".pw-prompt" if focus is None or not any(cards.places) else ".pw-focus"
    _scroll_to(mark, f"{offer.comparison_id} {focus}")
    draft.drawn, draft.presses, draft.shown = cards, 0, shown
    draft.draws += 1
    if isinstance(cards, Slots) and cards.warned:
        draft.warned_at = draft.warned_at or time.monotonic()
    else:
        draft.warned_at = None


def _scroll_to(mark: str, turn: str) -> None:
    """Bring what the next key is about into sight, where the cards do not fit the window; `turn` tells when anew."""
    script = f"document.querySelector('{mark}')?.scrollIntoView({{block: 'nearest'}})"
    st.html(f"<script>/* {turn} */ {script}</script>", unsafe_allow_javascript=True)


def _get_draft(offer: Offer, best_worst: bool) -> _OrderDraft:
    draft = st.session_state.get("slots_held")
    kind = BestWorst if best_worst else Slots
    if not isinstance(draft, _OrderDraft) or draft.item_id != offer.comparison_id or not isinstance(draft.cards, kind):
        cards: Cards = BestWorst() if best_worst else Slots.empty(len(offer.replies))
        draft = _OrderDraft(offer.comparison_id, cards, drawn=cards)
        st.session_state["slots_held"] = draft
    return draft


def _card_button(offer: Offer, cards: Cards, card: int) -> None:
    """For the mouse: focus this card, or name it."""
    if isinstance(cards, Slots):
        args: tuple[object, ...] = (offer.comparison_id, Slots, Slots.focus_card, card)
        label, key = "Focus", "focus"
    else:
        label = "Worst" if cards.best is not None and not cards.complete else "Best"
        key, args = "name", (offer.comparison_id, BestWorst, BestWorst.digit, card + 1)
    st.button(label, key=f"card_{key}_{card}", type="tertiary", on_click=_press_key, args=args)


def _bar(
    offer: Offer,
    cards: Cards | None,
    best_worst: bool,
    save: Save,
    message: str | None,
    beside: Callable[[], None],
    disabled: bool,
) -> None:
    """What to press next, or what the last press was answered with; then the buttons. Keys do nothing in a pause."""
    count = len(offer.replies)
    with st.container(key="choice_bar", gap="xsmall"):
        warning = " pw-said" if message and cards is not None else ""
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.html(f'<div class="pw-hint{warning}" role="status">{escape_html(message or _hint(cards))}</div>')
            if count == BEST_WORST_OF:
                mode = BEST_AND_WORST if best_worst else ORDER_ALL
                st.segmented_control(
                    "How",
                    [ORDER_ALL, BEST_AND_WORST],
                    default=mode,
                    required=True,
                    key=f"{MODE_KEY}_{mode}",  # a new one for each mode: one that has the browser's focus swallows keys
                    on_change=_change_mode,
                    args=(f"{MODE_KEY}_{mode}",),
                    label_visibility="collapsed",
                )
        kind = BestWorst if best_worst else Slots
        with st.container(key="slots_keys", horizontal=True, gap="xsmall"):
            for number in range(1, count + 1):
                here = isinstance(cards, Slots) and cards.places[cards.focus] == number
                st.button(
                    card_letter(number - 1) if best_worst else place_ordinal(number),
                    key=f"slots_{'card' if best_worst else 'place'}_{number}",
                    shortcut=str(number),
                    type="primary" if here else "secondary",
                    disabled=disabled,
                    on_click=_press_key,
                    args=(offer.comparison_id, kind, kind.digit, number),
                )
            if not best_worst:
                for name, key, step in (("previous", "Left", -1), ("next", "Right", 1)):
                    st.button(
                        f":material/arrow_{'back' if step < 0 else 'forward'}:",
                        key=f"slots_{name}",
                        help=f"Focus the {name} card",
                        shortcut=key,
                        disabled=disabled,
                        on_click=_press_key,
                        args=(offer.comparison_id, Slots, Slots.move, step),
                    )
            submits = (("Submit", "submit", "Enter", False), ("None can be sent", "none", "0", True))
            for label, key, shortcut, none_good in submits:
                ready = cards is not None and cards.complete and not none_good
                st.button(
                    label,
                    key=f"slots_{key}",
                    shortcut=shortcut,
                    type="primary" if ready else "secondary",
                    disabled=disabled,
                    on_click=_submit,
                    args=(offer, save, none_good),
                )
            beside()
    ignore_repeated_keys()


def _change_mode(key: str) -> None:
    st.session_state[MODE_KEY] = st.session_state[key]


def _hint(cards: Cards | None) -> str:
    if cards is None:
        return ""
    if cards.complete:
        return "Enter submits this order."
    if isinstance(cards, Slots):
        return f"Card {card_letter(cards.focus)}: which place? 1 is best; the same one twice is a tie."
    return "Which card is the best? Press its digit." if cards.best is None else "And which one is the worst?"


def _accept_press(item_id: int, name: str) -> _OrderDraft | None:
    """What a press is about, or None where it counts for nothing.

    A press that submits needs a moment without the same press since the last one was answered on the screen: while a
    key is held and the machine is slow, there is always one that waited for the drawing to end.
    """
    now = time.monotonic()
    last_name, last_at = st.session_state.get("slots_pressed", ("", 0.0))
    st.session_state["slots_pressed"] = (name, now)
    draft = st.session_state.get("slots_held")
    if not isinstance(draft, _OrderDraft) or draft.item_id != item_id:
        return None
    submits, rest = name in SUBMITTING, now - last_at
    calm = min(rest, seconds_drawn())
    if name == last_name and (calm < TOO_SOON if submits else rest < REPEAT):
        return None
    if submits and (seconds_shown() < TOO_SOON or (draft.draws == 1 and seconds_drawn() < TOO_SOON)):
        return None
    if name != ENTER and draft.answers_enter and seconds_drawn() < WITH_ENTER:
        return None
    if draft.in_burst and calm < BURST:
        return None
    draft.presses += 1
    draft.in_burst = draft.presses > 1
    if draft.in_burst:
        draft.cards, draft.answers_enter = replace(draft.drawn, message=TWO_KEYS_AT_ONCE), False
        return None
    draft.answers_enter = name == ENTER
    return draft


def _press_key(item_id: int, kind: type[Cards], press: Callable[[Any, int], Cards], number: int) -> None:
    draft = _accept_press(item_id, f"{press.__name__} {number}")
    if draft is not None and isinstance(draft.cards, kind):  # the other way to order may have been chosen meanwhile
        draft.cards = press(draft.cards, number)


def _submit(offer: Offer, save: Save, none_good: bool) -> None:
    draft = _accept_press(offer.comparison_id, NONE_GOOD if none_good else ENTER)
    if draft is None:
        return
    order = Order((1,) * len(offer.replies), none_good=True)
    if not none_good:
        if draft.warned_at is not None and time.monotonic() - draft.warned_at < WARNED:
            return
        after = draft.cards.enter()
        if after.submitted is None:
            draft.cards = after
            return
        order = Order(after.submitted)
    if save(order):
        st.session_state.pop("slots_held")
        st.session_state["pair_chosen"] = RecentChoice(offer.comparison_id, order, draft.shown, at=time.monotonic())
