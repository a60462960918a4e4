"""Where people contradict each other, a manager's word decides; everybody's own ranking stays as it was."""

from functools import partial

import streamlit as st

from db.models import Role
from db.session import reading, session
from review.adjudication import Conflict, conflicts, count_conflicts, decide, withdraw_decision
from review.rankings import GivenRanking
from review.reveals import reveal
from review.slots import in_words
from stats.verdicts import Order
from ui.frame import page
from ui.pairs import forget_choice, go_on_after_the_pause, just_chosen, show_prompt
from ui.safe import errors_toasted, plain, show_table
from ui.slots import ask_order, show_offer

me = page("Decide", Role.MANAGER)


def give_decision(comparison_id: int, order: Order) -> bool:
    """Save the decision; the next comparison appears by itself."""
    with errors_toasted(), session() as s:
        decide(s, by=me.reviewer_id, comparison_id=comparison_id, order=order)
        return True
    return False


def said(word: GivenRanking) -> str:
    """What somebody said, in words."""
    return in_words(word.order, strength=word.strength)


def take_back(ranking_id: int) -> None:
    """Take a decision back; the pair waits again."""
    forget_choice()
    with errors_toasted(), session() as s:
        withdraw_decision(s, by=me.reviewer_id, ranking_id=ranking_id)


def show_words(conflict: Conflict) -> None:
    """Who said what, with their reasons."""
    show_table([{"Person": word.reviewer, "Said": said(word), "Why": word.reason or ""} for word in conflict.words])


@st.fragment
def deciding() -> None:
    """The contradictions that wait, one after another, then those that are decided."""
    with reading() as s:
        waiting = conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=False, limit=1)
        decided = conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=True)
        left = count_conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=False)
    chosen = just_chosen(Conflict)
    conflict: Conflict | None = chosen.shown if chosen else waiting[0] if waiting else None
    if conflict is None:
        st.success("Nobody contradicts anybody." if not decided else "Every contradiction is decided.")
    else:
        offer = conflict.offer
        with session() as s:  # what others said is on the screen now
            reveal(s, by=me.reviewer_id, comparison_id=offer.comparison_id)
        st.caption(
            f"Waiting: {left}. Your word counts for training in place of these; nobody's ranking is changed, and you "
            "will not be asked to rank this pair yourself."
        )
        show_prompt(offer.prompt, offer.context, synthetic=offer.synthetic)
        ask_order(
            offer,
            partial(give_decision, offer.comparison_id),
            chosen=chosen,
            shown=conflict,
            between=partial(show_words, conflict),
        )
    if decided:
        with st.expander("Decided last", icon=":material/gavel:"):
            for one in decided:
                if one.decision is None:
                    continue
                show_prompt(one.offer.prompt, one.offer.context, synthetic=one.offer.synthetic)
                show_offer(one.offer, one.decision.order)
                show_words(one)
                st.button(
                    plain(f"Take back: {said(one.decision)}, by {one.decision.reviewer}"),
                    key=f"back_{one.decision.ranking_id}",
                    on_click=take_back,
                    args=(one.decision.ranking_id,),
                    icon=":material/undo:",
                )
    go_on_after_the_pause(chosen)


deciding()
