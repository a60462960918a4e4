"""Rank pairs at one key each; correct below; undo."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st
from sqlalchemy.orm import Session

from db.models import ComparisonState, Project, Role
from db.people import guideline_of
from db.session import reading, session
from review.assignment import ManyOffer, Offer, RankingProgress, original, progress
from review.filters import Filter, Standing, compared_responders, prompt_sets
from review.flags import flag
from review.queue import claim, held_by_others, own_rankings, release
from review.rankings import Choice, LastRanking, last_ranking, rank_order, rank_pair, strengthen, undo
from review.slots import letter
from texts.escape import escaped
from texts.typed import LONGEST_COMMENT
from ui.correcting import Subject, correction_box
from ui.frame import page
from ui.keys import alternating
from ui.pairs import (
    PAUSE,
    Chosen,
    choice_bar,
    forget_choice,
    go_on_after_the_pause,
    just_chosen,
    seconds_shown,
    show_pair,
    show_prompt,
)
from ui.reasons import why
from ui.safe import errors_toasted, plain
from ui.slots import order_cards

T = TypeVar("T")
me = page("Compare", Role.MANAGER, Role.ANNOTATOR)
# by project and person: whoever comes next in this tab has a queue of their own
LATER, ONLY, FLAGGING, COUNTED = (
    f"compare_{name}_{me.project_id}_{me.reviewer_id}" for name in ("later", "only", "flagging", "counted")
)
STANDING_WORDS: dict[Standing | None, str] = {
    None: "everything",
    Standing.CONTESTED: "what people disagree on",
    Standing.FLAGGED: "what is flagged",
    Standing.UNRANKED: "what nobody has ranked",
}


def choose(pair: Offer, choice: str) -> bool:
    """Save a choice; the next pair appears by itself."""
    saved = _try(
        lambda s: rank_pair(
            s,
            by=me.reviewer_id,
            comparison_id=pair.comparison_id,
            choice=Choice(choice),
            seconds=seconds_shown(),
            left_id=pair.left_id,
        )
    )
    return saved is not None


def choose_order(shown: ManyOffer, places: Sequence[int], none_good: bool) -> bool:
    """Save the order of several; the next comparison appears by itself."""
    saved = _try(
        lambda s: rank_order(
            s,
            by=me.reviewer_id,
            comparison_id=shown.comparison_id,
            places=places,
            none_good=none_good,
            first_id=shown.cards[0].response_id,
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
    chosen = just_chosen(Offer) or just_chosen(ManyOffer)
    pair: Offer | ManyOffer | None
    if chosen is not None:
        pair = chosen.shown
    else:
        later = st.session_state.get(LATER, [])
        with session() as s:
            pair = claim(s, project_id=me.project_id, reviewer_id=me.reviewer_id, later=later, only=only)
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
    if pair is None:
        nothing_left(done, held=bool(held), only=only)
    else:
        flagging = st.session_state.get(FLAGGING) == pair.comparison_id
        show_prompt(pair.prompt, pair.context, synthetic=pair.synthetic)
        show_choices(pair, chosen, last, disabled=flagging)
        if flagging:
            flag_dialog(pair.comparison_id)
    if last is not None:
        why(me, last)
    if pair is None:
        beside(last, None)
        return
    correct_one(pair)
    go_on_after_the_pause(chosen)


def show_choices(pair: Offer | ManyOffer, chosen: Chosen | None, last: LastRanking | None, *, disabled: bool) -> None:
    """Two replies side by side, or several cards, with the bar of keys at the foot."""

    def others() -> None:
        beside(last, pair.comparison_id, disabled=disabled)

    if isinstance(pair, ManyOffer):
        order_cards(
            pair,
            lambda _, places, none_good: choose_order(pair, places, none_good),
            chosen=chosen,
            disabled=disabled,
            beside=others,
        )
        return
    show_pair(pair.left, pair.right, chosen=chosen.choice if chosen else None, told=True)
    choice_bar(
        pair.comparison_id,
        pair,
        lambda _, choice: choose(pair, choice),
        on_again=choose_again,
        disabled=disabled,
        beside=others,
    )


def correct_one(pair: Offer | ManyOffer) -> None:
    """The editor below; drawn only when it is open, for it is most of the screen."""
    below = st.expander(
        "Correct a reply: write what should have been sent",
        icon=":material/edit:",
        key="correct_open",
        on_change="rerun",
    )
    if below.open:
        with below:
            replies = replies_of(pair)
            called = list(replies)
            side = st.segmented_control(
                "Which one?", called, default=called[0], key=f"side_{pair.comparison_id}", required=True
            )
            response_id = replies[side or called[0]]
            with reading() as s:
                text = original(s, response_id=response_id)
            correction_box(me, Subject(pair.prompt_id, response_id, text))


def replies_of(pair: Offer | ManyOffer) -> dict[str, int]:
    """What each reply on the screen is called there, with its id."""
    if isinstance(pair, ManyOffer):
        return {f"Card {letter(card)}": one.response_id for card, one in enumerate(pair.cards)}
    return {"Left": pair.left_id, "Right": pair.right_id}


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


def beside(last: LastRanking | None, comparison_id: int | None, *, disabled: bool = False) -> None:
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
        sets = {one.id: f"{one.file_name} ({one.created_at:%d %b})" for one in prompt_sets(s, project_id=me.project_id)}
        writers = {one.id: one.label for one in compared_responders(s, project_id=me.project_id)}
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
        found = own_rankings(s, project_id=me.project_id, reviewer_id=me.reviewer_id, state=state)
    if not found:
        st.info(empty)
    for one in found:
        text, action = st.columns([6, 1], vertical_alignment="center")
        text.html(f'<div class="pw-text">{escaped(one.prompt)}</div>')
        action.button(
            "Rank again", key=f"again_{one.ranking_id}", on_click=rank_again, args=(one.ranking_id,), width="stretch"
        )


with reading() as s:
    guideline = guideline_of(s, project_id=me.project_id)
if guideline is not None and guideline.text:
    title = f"Guideline: what makes a reply better (version {guideline.version})"
    with st.expander(title, icon=":material/menu_book:"):
        st.text(guideline.text)
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
