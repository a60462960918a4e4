"""Rank pairs at one key each; correct below; undo."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st
from sqlalchemy.orm import Session

from db.models import Response, Role
from db.people import guideline_of
from db.session import reading, session
from review.assignment import Offer, progress
from review.cards import ManyOffer, offer_any
from review.corrections import correct, standing_correction, withdraw
from review.diff import word_diff, words_changed
from review.flags import flag
from review.orders import rank_order
from review.queue import claim, held_by_others, release
from review.rankings import Choice, LastRanking, give_reason, last_ranking, rank_pair, strengthen, undo
from review.reasons import (
    FAULTS,
    PRAISE,
    chips_of,
    criteria_of,
    criteria_said,
    judge_criterion,
    set_chips,
)
from review.slots import letter
from ui.frame import page
from ui.pairs import (
    CHOICE_WORDS,
    choice_bar,
    forget_choice,
    go_on_after_the_pause,
    just_chosen,
    seconds_shown,
    show_diff,
    show_pair,
    show_prompt,
)
from ui.safe import errors_toasted, plain
from ui.slots import order_cards, words_of

T = TypeVar("T")
me = page("Compare", Role.MANAGER, Role.ANNOTATOR)
# by project and person: whoever comes next in this tab has a queue of their own
NOW, LATER = (f"compare_{name}_{me.project_id}_{me.reviewer_id}" for name in ("now", "later"))
SIDES = {"Left": Choice.LEFT, "Equal": Choice.TIE, "Right": Choice.RIGHT}


def choose(comparison_id: int, choice: str) -> bool:
    """Save a choice; the next pair appears by itself."""
    saved = _try(
        lambda s: rank_pair(
            s, by=me.reviewer_id, comparison_id=comparison_id, choice=Choice(choice), seconds=seconds_shown()
        )
    )
    st.session_state[NOW] = None
    return saved is not None


def choose_order(comparison_id: int, places: Sequence[int], none_good: bool) -> bool:
    """Save the order of several; the next comparison appears by itself."""
    saved = _try(
        lambda s: rank_order(
            s,
            by=me.reviewer_id,
            comparison_id=comparison_id,
            places=places,
            none_good=none_good,
            seconds=seconds_shown(),
        )
    )
    st.session_state[NOW] = None
    return saved is not None


def choose_again(comparison_id: int) -> bool:
    """The same key twice: the choice just made is a strong one."""

    def strong(s: Session) -> bool:
        last = last_ranking(s, by=me.reviewer_id, project_id=me.project_id)
        if last is None or last.comparison_id != comparison_id:
            return False
        strengthen(s, by=me.reviewer_id, ranking_id=last.ranking_id)
        return True

    return bool(_try(strong))


def take_back(ranking_id: int) -> None:
    """Undo the last choice and show that pair again; pressed again, the one before."""
    forget_choice()
    st.session_state[NOW] = _try(lambda s: undo(s, by=me.reviewer_id, ranking_id=ranking_id))


def put_off(comparison_id: int) -> None:
    """Show this pair after all the others."""
    st.session_state.setdefault(LATER, []).append(comparison_id)
    _try(lambda s: release(s, comparison_id=comparison_id, reviewer_id=me.reviewer_id))
    st.session_state[NOW] = None


def save_reason(ranking_id: int) -> None:
    """Keep the reason typed for the last choice."""
    text = st.session_state.get(f"reason_{ranking_id}", "")
    _try(lambda s: give_reason(s, by=me.reviewer_id, ranking_id=ranking_id, reason=text))
    st.toast("Reason saved.")


def save_chips(ranking_id: int) -> None:
    """Keep the chips of the last choice."""
    praise, faults = (st.session_state.get(f"{name}_{ranking_id}", []) for name in ("praise", "faults"))
    _try(lambda s: set_chips(s, by=me.reviewer_id, ranking_id=ranking_id, praise=praise, faults=faults))


def save_criterion(ranking_id: int, criterion_id: int) -> None:
    """Keep which side was better by a criterion."""
    choice = SIDES.get(str(st.session_state.get(f"criterion_{ranking_id}_{criterion_id}")))
    _try(
        lambda s: judge_criterion(s, by=me.reviewer_id, ranking_id=ranking_id, criterion_id=criterion_id, choice=choice)
    )


def save_correction(response_id: int) -> None:
    """Keep the corrected text beside the original."""
    text = st.session_state.get(f"correction_{response_id}", "")
    why = st.session_state.get(f"correction_reason_{response_id}", "")
    if _try(lambda s: correct(s, by=me.reviewer_id, response_id=response_id, text=text, reason=why).id):
        st.toast("Correction saved: it will teach the model what should have been sent.", icon=":material/check:")


def withdraw_correction(correction_id: int) -> None:
    """Take back one's own correction."""
    _try(lambda s: withdraw(s, by=me.reviewer_id, correction_id=correction_id))


def reset_correction(response_id: int, original: str) -> None:
    """Put the original back into the editor."""
    st.session_state[f"correction_{response_id}"] = original


def _try(action: Callable[[Session], T]) -> T | None:
    with errors_toasted(), session() as s:
        return action(s)
    return None


@st.fragment
def ranking() -> None:
    """Everything that changes from pair to pair."""
    with session() as s:
        done = progress(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
        held = held_by_others(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
        last = last_ranking(s, by=me.reviewer_id, project_id=me.project_id)
        chosen = just_chosen(Offer) or just_chosen(ManyOffer)
        now_id = st.session_state.get(NOW)
        later = st.session_state.get(LATER, [])
        pair: Offer | ManyOffer | None
        if chosen is not None:
            pair = chosen.shown
        elif now_id is not None:
            pair = offer_any(s, comparison_id=now_id, reviewer_id=me.reviewer_id)
        else:
            pair = claim(s, project_id=me.project_id, reviewer_id=me.reviewer_id, later=later)
    if not done.total:
        st.info("There are no pairs to rank yet. A manager imports replies, or generates them, and pairs appear here.")
        return
    st.progress(done.done / done.total, text=f"{done.done} of {done.total} pairs ranked by you")
    if held:
        names = ", ".join(f"{one.reviewer} (until {one.until:%H:%M} UTC)" for one in held)
        st.caption(plain(f"With others now: {sum(one.pairs for one in held)} pairs. {names}"))
    if pair is None and held and done.done < done.total:
        st.info("Nothing is free for you at the moment: what is left is with others. Come back in ten minutes.")
    elif pair is None:
        st.success("You have ranked every pair that waits for you. Thank you!", icon=":material/done_all:")
    elif isinstance(pair, ManyOffer):
        show_prompt(pair.prompt, pair.context)
        order_cards(pair, choose_order, chosen=chosen, beside=lambda: undo_and_later(last, pair.comparison_id))
    else:
        show_prompt(pair.prompt, pair.context)
        show_pair(pair.left, pair.right, chosen=chosen.choice if chosen else None)
        choice_bar(
            pair.comparison_id,
            pair,
            choose,
            on_again=choose_again,
            beside=lambda: undo_and_later(last, pair.comparison_id),
        )
    if last is not None:
        why(last)
    if pair is None:
        undo_and_later(last, None)
        return
    with st.expander("Correct a reply: write what should have been sent", icon=":material/edit:"):
        replies = replies_of(pair)
        called = list(replies)
        side = st.segmented_control("Which one?", called, default=called[0], key=f"side_{pair.comparison_id}")
        correction_editor(*replies[side or called[0]])
    go_on_after_the_pause(chosen)


def replies_of(pair: Offer | ManyOffer) -> dict[str, tuple[int, str]]:
    """What each reply on the screen is called there, with its id and text."""
    if isinstance(pair, ManyOffer):
        return {f"Card {letter(card)}": (one.response_id, one.text) for card, one in enumerate(pair.cards)}
    return {"Left": (pair.left_id, pair.left), "Right": (pair.right_id, pair.right)}


def why(last: LastRanking) -> None:
    """Reasons of the last choice: after it, never before, and all optional."""
    with reading() as s:
        criteria = criteria_of(s, project_id=me.project_id) if last.choice is not None else []
        said = criteria_said(s, ranking_id=last.ranking_id)
        chips = chips_of(s, ranking_id=last.ranking_id)
    with st.container(border=True, key="why"):
        strong = " (much)" if last.strength == 2 else ""
        if last.choice is None:
            choice, titles = words_of(last.places, none_good=last.both_bad), ("The best is", "Wrong with the others")
        else:
            choice, titles = CHOICE_WORDS[last.choice.value], ("The better one is", "Wrong with the other")
        st.text_input(
            f"Your last choice: {choice}{strong}. Why? (optional, Enter saves)",
            value=last.reason or "",
            key=f"reason_{last.ranking_id}",
            max_chars=500,
            on_change=save_reason,
            args=(last.ranking_id,),
        )
        good, bad = st.columns(2)
        for column, name, title, labels in (
            (good, "praise", titles[0], PRAISE),
            (bad, "faults", titles[1], FAULTS),
        ):
            column.pills(
                title,
                labels,
                selection_mode="multi",
                default=[chip for chip in chips if chip in labels],
                key=f"{name}_{last.ranking_id}",
                on_change=save_chips,
                args=(last.ranking_id,),
            )
        for column, criterion in zip(st.columns(max(1, len(criteria))), criteria, strict=False):
            column.segmented_control(
                plain(criterion.name),
                list(SIDES),
                default=next((word for word, side in SIDES.items() if side is said.get(criterion.id)), None),
                key=f"criterion_{last.ranking_id}_{criterion.id}",
                on_change=save_criterion,
                args=(last.ranking_id, criterion.id),
            )


def flag_pair(comparison_id: int) -> None:
    """Flag the pair on the screen with the note."""
    note = st.session_state.get(f"flag_{comparison_id}", "")
    if _try(lambda s: flag(s, by=me.reviewer_id, comparison_id=comparison_id, note=note).id):
        st.session_state[NOW] = None
        st.toast("Flagged: a manager will look at it.", icon=":material/flag:")


def undo_and_later(last: LastRanking | None, comparison_id: int | None) -> None:
    """The two buttons that go back and ahead."""
    if last is not None:
        st.button(
            "Undo",
            key=f"undo_{last.ranking_id}",  # a new button each time: Enter would press the one that has the focus
            shortcut="U",
            on_click=take_back,
            args=(last.ranking_id,),
            icon=":material/undo:",
        )
    if comparison_id is not None:
        st.button(
            "Later",
            key=f"later_{comparison_id}",
            shortcut="L",
            on_click=put_off,
            args=(comparison_id,),
            icon=":material/schedule:",
        )
        with st.popover("Flag", icon=":material/flag:", help="Something is wrong with this pair"):
            st.text_area("What is wrong with this pair?", key=f"flag_{comparison_id}", max_chars=2000)
            st.button(
                "Flag it for a manager", key=f"flag_it_{comparison_id}", on_click=flag_pair, args=(comparison_id,)
            )


def correction_editor(response_id: int, original: str) -> None:
    """Original, editor and word diff of one reply."""
    with reading() as s:
        reply = s.get_one(Response, response_id).text
        mine = standing_correction(s, by=me.reviewer_id, response_id=response_id)
    box, changes = st.columns(2)
    text = box.text_area(
        "The reply as it should be",
        value=mine.text if mine is not None else original,
        key=f"correction_{response_id}",
        height=220,
        help="The original stays as it is. Press Ctrl+Enter to see what you changed.",
    )
    pieces = word_diff(reply, text)
    with changes:
        st.caption(f"{words_changed(pieces)} words changed")
        show_diff(pieces)
    box.text_input("Why? (optional)", key=f"correction_reason_{response_id}", max_chars=500)
    left, right = box.columns(2)
    left.button("Save correction", type="primary", width="stretch", on_click=save_correction, args=(response_id,))
    right.button("Reset to original", width="stretch", on_click=reset_correction, args=(response_id, original))
    if mine is not None:
        changes.caption("You corrected this reply; saving again replaces that.")
        changes.button("Withdraw my correction", on_click=withdraw_correction, args=(mine.id,), icon=":material/undo:")


with reading() as s:
    guideline = guideline_of(s, project_id=me.project_id)
if guideline is not None and guideline.text:
    title = f"Guideline: what makes a reply better (version {guideline.version})"
    with st.expander(title, icon=":material/menu_book:"):
        st.text(guideline.text)
ranking()
