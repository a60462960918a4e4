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
from review.assignment import Offer, RankingProgress, progress
from review.filters import ComparisonStanding, Filter, filter_choices
from review.flags import flag
from review.queue import claim, held_by_others, own_rankings, release
from review.rankings import GivenRanking, last_ranking, rank, strengthen, undo
from review.slots import letter
from stats.verdicts import Order
from texts.escape import escaped
from texts.typed import LONGEST_COMMENT
from ui.correcting import Subject, correction_box
from ui.frame import page, show_guideline
from ui.keys import alternating
from ui.pairs import PAUSE, forget_choice, go_on_after_the_pause, just_chosen, seconds_shown, show_prompt
from ui.reasons import why
from ui.safe import errors_toasted, plain
from ui.slots import ask_order

T = TypeVar("T")
me = page("Compare", *RANKERS)
# by project and person: whoever comes next in this tab has a queue of their own
LATER, ONLY, FLAGGING, COUNTED = (
    f"compare_{name}_{me.project_id}_{me.reviewer_id}" for name in ("later", "only", "flagging", "counted")
)
STANDING_WORDS: dict[ComparisonStanding | None, str] = {
    None: "everything",
    ComparisonStanding.CONTESTED: "what people disagree on",
    ComparisonStanding.FLAGGED: "what is flagged",
    ComparisonStanding.UNRANKED: "what nobody has ranked",
}


def choose(offer: Offer, order: Order) -> bool:
    """Save an order; the next comparison appears by itself."""
    saved = _try(
        lambda s: rank(
            s,
            by=me.reviewer_id,
            comparison_id=offer.comparison_id,
            order=order,
            first_id=offer.replies[0].response_id,
            seconds=seconds_shown(),
        )
    )
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
    comparison_id = _try(lambda s: undo(s, by=me.reviewer_id, ranking_id=ranking_id))
    st.session_state[LATER] = [i for i in st.session_state.get(LATER, []) if i != comparison_id]


def rank_again(ranking_id: int) -> None:
    """Take back a choice of the list and go to its pair."""
    take_back(ranking_id)
    st.session_state["compare_list"] = "queue"


def put_off(comparison_id: int) -> None:
    """Show this pair after all the others."""
    st.session_state.setdefault(LATER, []).append(comparison_id)
    _try(lambda s: release(s, comparison_id=comparison_id, reviewer_id=me.reviewer_id))


def counted(s: Session) -> RankingProgress:
    """How far this person is; not counted anew where the choice is seen and then the next pair drawn."""
    at, done = st.session_state.get(COUNTED, (0.0, None))
    if not isinstance(done, RankingProgress) or time.monotonic() - at > 2 * PAUSE:
        done = progress(s, project_id=me.project_id, reviewer_id=me.reviewer_id)
        st.session_state[COUNTED] = (time.monotonic(), done)
    return done


def _try(action: Callable[[Session], T]) -> T | None:
    st.session_state.pop(COUNTED, None)
    with errors_toasted(), session() as s:
        return action(s)
    return None


@st.fragment
def ranking() -> None:
    """Everything that changes from pair to pair."""
    only = st.session_state.get(ONLY, Filter())
    # asked before anything else: the time that a choice is seen has begun
    chosen = just_chosen(Offer)
    if chosen is None:
        later = st.session_state.get(LATER, [])
        with session() as s:
            offer = claim(s, project_id=me.project_id, reviewer_id=me.reviewer_id, later=later, only=only)
    else:
        offer = chosen.shown
    with reading() as s:
        done = counted(s)
        shared = s.get_one(Project, me.project_id).people_wanted is not None
        held = held_by_others(s, project_id=me.project_id, reviewer_id=me.reviewer_id) if shared else []
        last = last_ranking(s, by=me.reviewer_id, project_id=me.project_id)
    if not done.total:
        st.info("There are no pairs to rank yet. A manager imports replies, or generates them, and pairs appear here.")
        return
    st.progress(done.done / done.total, text=f"{done.done} of {done.total} pairs ranked by you")
    if held:
        names = ", ".join(f"{one.reviewer} (until {one.until:%H:%M} UTC)" for one in held)
        st.caption(plain(f"Pairs with others now: {sum(one.pairs for one in held)}. {names}"))
    if offer is None:
        nothing_left(done, held=bool(held), only=only)
    else:
        flagging = st.session_state.get(FLAGGING) == offer.comparison_id
        show_prompt(offer.prompt, offer.context, synthetic=offer.synthetic)
        ask_order(
            offer,
            partial(choose, offer),
            chosen=chosen,
            on_again=choose_again,
            told=True,
            disabled=flagging,
            beside=partial(beside, last, offer.comparison_id, disabled=flagging),
        )
        if flagging:
            flag_dialog(offer.comparison_id)
    if last is not None:
        why(me, last)
    if offer is None:
        beside(last, None)
        return
    correct_one(offer)
    go_on_after_the_pause(chosen)


def correct_one(offer: Offer) -> None:
    """The editor below; drawn only when it is open, for it is most of the screen."""
    below = st.expander(
        "Correct a reply: write what should have been sent",
        icon=":material/edit:",
        key="correct_open",
        on_change="rerun",
    )
    if below.open:
        with below:
            replies = replies_of(offer)
            called = list(replies)
            side = st.segmented_control(
                "Which one?", called, default=called[0], key=f"side_{offer.comparison_id}", required=True
            )
            response_id = replies[side or called[0]]
            with reading() as s:
                text = s.get_one(Response, response_id).text
            correction_box(me, Subject(offer.prompt_id, response_id, text))


def replies_of(offer: Offer) -> dict[str, int]:
    """What each reply on the screen is called there, with its id."""
    names = ("Left", "Right") if offer.is_pair else [f"Card {letter(card)}" for card, _ in enumerate(offer.replies)]
    return {name: reply.response_id for name, reply in zip(names, offer.replies, strict=True)}


def nothing_left(done: RankingProgress, *, held: bool, only: Filter) -> None:
    """Why there is no pair on the screen."""
    if only.is_set:
        st.info("Nothing that fits the filter waits for you. Change it, or take it away.")
    elif held and done.waiting:
        st.info("Nothing is free for you at the moment: what is left is with others. Come back in ten minutes.")
    else:
        st.success("You have ranked every pair that waits for you. Thank you!", icon=":material/done_all:")


def open_flag(comparison_id: int | None) -> None:
    """Open the flag's dialog for a pair, or close it."""
    st.session_state[FLAGGING] = comparison_id


@st.dialog("Flag this pair", on_dismiss=lambda: open_flag(None), icon=":material/flag:")
def flag_dialog(comparison_id: int) -> None:
    """What is wrong; while it is open, no key ranks anything."""
    st.text_area("What is wrong with this pair?", key=f"flag_{comparison_id}", max_chars=LONGEST_COMMENT)
    if st.button("Flag it for a manager", type="primary"):
        note = st.session_state.get(f"flag_{comparison_id}", "")
        if _try(lambda s: flag(s, by=me.reviewer_id, comparison_id=comparison_id, note=note).id):
            st.toast("Flagged: a manager will look at it.", icon=":material/flag:")
            open_flag(None)
            st.rerun()


def beside(last: GivenRanking | None, comparison_id: int | None, *, disabled: bool = False) -> None:
    """The buttons that go back, put off and flag."""
    if last is not None:
        st.button(
            "Undo",
            key=alternating(
                "undo", last.ranking_id
            ),  # a new button each time: Enter would press the one that has the focus
            shortcut="U",
            on_click=take_back,
            args=(last.ranking_id,),
            icon=":material/undo:",
            disabled=disabled,
        )
    if comparison_id is not None:
        st.button(
            "Later",
            key=alternating("later", comparison_id),
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


def narrow_down() -> None:
    """The queue's filters; who wrote what and what others said is for managers only, and is told by neither."""
    with reading() as s:
        sets, writers = filter_choices(s, project_id=me.project_id)
    with st.popover("Filter", icon=":material/filter_alt:"):
        chosen = st.selectbox(
            "Prompts of", [None, *sets], format_func=lambda i: sets.get(i, "all imports"), key="f_set"
        )
        who: list[int] = []
        standing = None
        if me.has(Role.MANAGER):
            who = st.multiselect(
                "Replies by (one or two)",
                list(writers),
                format_func=lambda i: writers[i],
                max_selections=2,
                key="f_who",
            )
            standing = st.selectbox("Only", list(STANDING_WORDS), format_func=lambda one: STANDING_WORDS[one])
    st.session_state[ONLY] = Filter(prompt_set_id=chosen, responder_ids=tuple(who), standing=standing)
    if st.session_state[ONLY].is_set:
        st.caption("A filter narrows the queue down.")


def done_list(state: ComparisonState | None, empty: str) -> None:
    """One's own rankings, newest first; each can be taken back and comes up again."""
    with reading() as s:
        rankings = own_rankings(s, project_id=me.project_id, reviewer_id=me.reviewer_id, state=state)
    if not rankings:
        st.info(empty)
    for ranking_id, prompt in rankings.items():
        text, action = st.columns([6, 1], vertical_alignment="center")
        text.html(f'<div class="pw-text">{escaped(prompt)}</div>')
        action.button("Rank again", key=f"again_{ranking_id}", on_click=rank_again, args=(ranking_id,), width="stretch")


show_guideline(me)
with reading() as s:
    shared_queue = s.get_one(Project, me.project_id).people_wanted is not None
LISTS = {"queue": "My queue"} | ({"others": "Waiting for others"} if shared_queue else {}) | {"done": "Done"}
lists, narrowing = st.columns([5, 1], vertical_alignment="center")
shown = lists.segmented_control(
    "List",
    list(LISTS),
    default="queue",
    format_func=lambda name: LISTS[name],
    label_visibility="collapsed",
    required=True,
    key="compare_list",
)
if shown == "others":
    done_list(ComparisonState.OPEN, "Nothing that you ranked waits for somebody else.")
elif shown == "done":
    done_list(ComparisonState.FULL if shared_queue else None, "You have finished nothing yet.")
else:
    with narrowing:
        narrow_down()
    ranking()
