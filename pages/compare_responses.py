"""Rank pairs at one key each; correct below; undo."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import streamlit as st
from sqlalchemy.orm import Session

from db.models import ComparisonState, Project, Response, Role
from db.people import RANKERS
from db.session import reading, session
from review.assignment import Offer, RankingProgress, ranking_progress
from review.filters import ComparisonStanding, Filter, filter_choices
from review.flags import flag_comparison
from review.queue import claim, list_other_leases, own_rankings, release
from review.rankings import GivenRanking, last_ranking, rank, strengthen_ranking, undo_ranking
from review.slots import card_letter
from stats.verdicts import Order
from texts.escape import escape_html
from texts.typed import LONGEST_COMMENT
from ui.correcting import correction_box
from ui.frame import page, show_guideline
from ui.keys import alternating_key
from ui.pairs import PAUSE, forget_choice, recent_choice, seconds_shown, show_prompt, wait_for_pause
from ui.reasons import ask_reasons
from ui.safe import errors_toasted, plain
from ui.slots import ask_order

T = TypeVar("T")
me = page("Compare", *RANKERS)
OWN = {"project_id": me.project_id, "reviewer_id": me.reviewer_id}
# by project and person: the next person in this tab has a queue of their own
LATER, ONLY, FLAGGING, COUNTED = (
    f"compare_{name}_{me.project_id}_{me.reviewer_id}" for name in ("later", "only", "flagging", "counted")
)
STANDING_WORDS: dict[ComparisonStanding | None, str] = {
    None: "everything",
    ComparisonStanding.CONTESTED: "what people disagree on",
    ComparisonStanding.FLAGGED: "what is flagged",
    ComparisonStanding.UNRANKED: "what nobody has ranked",
}


def save_order(offer: Offer, order: Order) -> bool:
    """Save an order; the next comparison appears by itself."""
    first_id, seconds = offer.replies[0].response_id, seconds_shown()
    by, comparison_id = me.reviewer_id, offer.comparison_id
    ranking = save(
        lambda s: rank(s, by=by, comparison_id=comparison_id, order=order, first_id=first_id, seconds=seconds)
    )
    return ranking is not None


def make_stronger(comparison_id: int) -> bool:
    """The same key twice: the choice just made is a strong one."""

    def strong(s: Session) -> bool:
        last = last_ranking(s, **me.ids)
        if last is None or last.comparison_id != comparison_id:
            return False
        strengthen_ranking(s, by=me.reviewer_id, ranking_id=last.ranking_id)
        return True

    return bool(save(strong))


def take_back(ranking_id: int) -> None:
    """Undo the last choice and show that pair again; pressed again, the one before."""
    forget_choice()
    comparison_id = save(lambda s: undo_ranking(s, by=me.reviewer_id, ranking_id=ranking_id))
    st.session_state[LATER] = [later_id for later_id in st.session_state.get(LATER, []) if later_id != comparison_id]


def rank_again(ranking_id: int) -> None:
    take_back(ranking_id)
    st.session_state["compare_list"] = "queue"


def put_off(comparison_id: int) -> None:
    """Show this pair after all the others."""
    st.session_state.setdefault(LATER, []).append(comparison_id)
    save(lambda s: release(s, comparison_id=comparison_id, reviewer_id=me.reviewer_id))


def count_progress(s: Session) -> RankingProgress:
    """How far this person is; not counted anew where the choice is seen and then the next pair drawn."""
    at, done = st.session_state.get(COUNTED, (0.0, None))
    if not isinstance(done, RankingProgress) or time.monotonic() - at > 2 * PAUSE:
        done = ranking_progress(s, **OWN)
        st.session_state[COUNTED] = (time.monotonic(), done)
    return done


def is_shared(s: Session) -> bool:
    return s.get_one(Project, me.project_id).people_wanted is not None


def save(action: Callable[[Session], T]) -> T | None:
    st.session_state.pop(COUNTED, None)
    with errors_toasted(), session() as s:
        return action(s)
    return None


@st.fragment
def show_queue() -> None:
    only = st.session_state.get(ONLY, Filter())
    # asked before anything else: the time that a choice is seen has begun
    chosen = recent_choice(Offer)
    if chosen is None:
        with session() as s:
            offer = claim(s, **OWN, later=st.session_state.get(LATER, []), only=only)
    else:
        offer = chosen.shown
    with reading() as s:
        done = count_progress(s)
        leases = list_other_leases(s, **OWN) if is_shared(s) else []
        last = last_ranking(s, **me.ids)
    if not done.total:
        st.info("There are no pairs to rank yet. A manager imports replies, or generates them, and pairs appear here.")
        return
    st.progress(done.done / done.total, text=f"{done.done} of {done.total} pairs ranked by you")
    if leases:
        names = ", ".join(f"{lease.reviewer} (until {lease.until:%H:%M} UTC)" for lease in leases)
        st.caption(plain(f"Pairs with others now: {sum(lease.pairs for lease in leases)}. {names}"))
    if offer is None:
        show_empty_queue(done, held=bool(leases), only=only)
    else:
        flagging = st.session_state.get(FLAGGING) == offer.comparison_id
        show_prompt(offer.prompt, offer.context, synthetic=offer.synthetic)
        ask_order(
            offer,
            partial(save_order, offer),
            chosen=chosen,
            on_again=make_stronger,
            notes=True,
            disabled=flagging,
            beside=partial(show_buttons, last, offer.comparison_id, disabled=flagging),
        )
        if flagging:
            flag_dialog(offer.comparison_id)
    if last is not None:
        ask_reasons(me, last)
    if offer is None:
        show_buttons(last, None)
        return
    show_editor(offer)
    wait_for_pause(chosen)


def show_editor(offer: Offer) -> None:
    """The editor below; drawn only when it is open, for it is most of the screen."""
    title = "Correct a reply: write what should have been sent"
    below = st.expander(title, icon=":material/edit:", key="correct_open", on_change="rerun")
    if not below.open:
        return
    with below:
        cards = range(len(offer.replies))
        names = ["Left", "Right"] if offer.is_pair else [f"Card {card_letter(card)}" for card in cards]
        side = st.segmented_control(
            "Which one?", names, default=names[0], key=f"side_{offer.comparison_id}", required=True
        )
        response_id = offer.replies[names.index(side or names[0])].response_id
        with reading() as s:
            text = s.get_one(Response, response_id).text
        correction_box(me.reviewer_id, offer.prompt_id, response_id, text)


def show_empty_queue(done: RankingProgress, *, held: bool, only: Filter) -> None:
    if only.is_set:
        st.info("Nothing that fits the filter waits for you. Change it, or take it away.")
    elif held and done.waiting:
        st.info("Nothing is free for you at the moment: what is left is with others. Come back in ten minutes.")
    else:
        st.success("You have ranked every pair that waits for you. Thank you!", icon=":material/done_all:")


def open_flag(comparison_id: int | None) -> None:
    st.session_state[FLAGGING] = comparison_id


@st.dialog("Flag this pair", on_dismiss=lambda: open_flag(None), icon=":material/flag:")
def flag_dialog(comparison_id: int) -> None:
    """What is wrong; while it is open, no key ranks anything."""
    note = st.text_area("What is wrong with this pair?", key=f"flag_{comparison_id}", max_chars=LONGEST_COMMENT)
    if not st.button("Flag it for a manager", type="primary"):
        return
    if save(lambda s: flag_comparison(s, by=me.reviewer_id, comparison_id=comparison_id, note=note)) is not None:
        st.toast("Flagged: a manager will look at it.", icon=":material/flag:")
        open_flag(None)
        st.rerun()


def show_buttons(last: GivenRanking | None, comparison_id: int | None, *, disabled: bool = False) -> None:
    if last is not None:
        st.button(
            "Undo",
            # a new button each time: Enter would press the one that has the focus
            key=alternating_key("undo", last.ranking_id),
            shortcut="U",
            on_click=take_back,
            args=(last.ranking_id,),
            icon=":material/undo:",
            disabled=disabled,
        )
    if comparison_id is not None:
        st.button(
            "Later",
            key=alternating_key("later", comparison_id),
            shortcut="L",
            on_click=put_off,
            args=(comparison_id,),
            icon=":material/schedule:",
            disabled=disabled,
        )
        st.button(
            "Flag",
            on_click=open_flag,
            args=(comparison_id,),
            icon=":material/flag:",
            help="Something is wrong with this pair",
            disabled=disabled,
        )


def choose_filter() -> None:
    """The queue's filters; who wrote what and what others said is for managers only, and is told by neither."""
    with reading() as s:
        sets, writers = filter_choices(s, project_id=me.project_id)
    with st.popover("Filter", icon=":material/filter_alt:"):
        set_id = st.selectbox(
            "Prompts of", [None, *sets], format_func=lambda set_id: sets.get(set_id, "all imports"), key="f_set"
        )
        who: list[int] = []
        standing = None
        if me.has_any_role(Role.MANAGER):
            label = "Replies by (one or two)"
            who = st.multiselect(label, list(writers), format_func=writers.__getitem__, max_selections=2, key="f_who")
            standing = st.selectbox("Only", list(STANDING_WORDS), format_func=STANDING_WORDS.__getitem__)
    st.session_state[ONLY] = Filter(prompt_set_id=set_id, responder_ids=tuple(who), standing=standing)
    if st.session_state[ONLY].is_set:
        st.caption("A filter narrows the queue down.")


def show_own_rankings(state: ComparisonState | None, empty: str) -> None:
    """One's own rankings, newest first; each can be taken back and comes up again."""
    with reading() as s:
        rankings = own_rankings(s, **OWN, state=state)
    if not rankings:
        st.info(empty)
    for ranking_id, prompt in rankings.items():
        text, action = st.columns([6, 1], vertical_alignment="center")
        text.html(f'<div class="pw-text">{escape_html(prompt)}</div>')
        action.button("Rank again", key=f"again_{ranking_id}", on_click=rank_again, args=(ranking_id,), width="stretch")


show_guideline(me)
with reading() as s:
    shared_queue = is_shared(s)
LISTS = {"queue": "My queue"} | ({"others": "Waiting for others"} if shared_queue else {}) | {"done": "Done"}
lists, narrowing = st.columns([5, 1], vertical_alignment="center")
shown = lists.segmented_control(
    "List",
    list(LISTS),
    default="queue",
    format_func=LISTS.__getitem__,
    label_visibility="collapsed",
    required=True,
    key="compare_list",
)
if shown == "others":
    show_own_rankings(ComparisonState.OPEN, "Nothing that you ranked waits for somebody else.")
elif shown == "done":
    show_own_rankings(ComparisonState.FULL if shared_queue else None, "You have finished nothing yet.")
else:
    with narrowing:
        choose_filter()
    show_queue()
