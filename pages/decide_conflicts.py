"""Where people contradict each other, a manager's word decides; everybody's own ranking stays as it was."""

from functools import partial

import streamlit as st

from db.models import Role
from db.session import reading, session
from review.adjudication import Conflict, count_conflicts, decide, list_conflicts, withdraw_decision
from review.rankings import GivenRanking
from review.reveals import reveal_comparison
from review.slots import describe_order
from stats.verdicts import Order
from ui.frame import page
from ui.pairs import forget_choice, recent_choice, show_prompt, wait_for_pause
from ui.safe import attempt, plain, show_table
from ui.slots import ask_order, show_offer

me = page("Decide", Role.MANAGER)


def order_in_words(ranking: GivenRanking) -> str:
    return describe_order(ranking.order, strength=ranking.strength)


def save_decision(comparison_id: int, order: Order) -> bool:
    return attempt(decide, by=me.reviewer_id, comparison_id=comparison_id, order=order)


def take_back(ranking_id: int) -> None:
    forget_choice()
    attempt(withdraw_decision, by=me.reviewer_id, ranking_id=ranking_id)


def show_rankings(conflict: Conflict) -> None:
    show_table(
        [
            {"Person": ranking.reviewer, "Said": order_in_words(ranking), "Why": ranking.reason or ""}
            for ranking in conflict.rankings
        ]
    )


@st.fragment
def show_conflicts() -> None:
    """The contradictions that wait, one after another, then those that are decided."""
    with reading() as s:
        waiting = list_conflicts(s, **me.ids, decided=False, limit=1)
        decided = list_conflicts(s, **me.ids, decided=True)
        left = count_conflicts(s, **me.ids, decided=False)
    chosen = recent_choice(Conflict)
    conflict: Conflict | None = chosen.shown if chosen else waiting[0] if waiting else None
    if conflict is None:
        st.success("Nobody contradicts anybody." if not decided else "Every contradiction is decided.")
    else:
        offer = conflict.offer
        with session() as s:  # what others said is on the screen now
            reveal_comparison(s, by=me.reviewer_id, comparison_id=offer.comparison_id)
        st.caption(
            f"Waiting: {left}. Your word counts for training in place of these; nobody's ranking is changed, and you "
            "will not be asked to rank this pair yourself."
        )
        show_prompt(offer.prompt, offer.context, synthetic=offer.synthetic)
        ask_order(
            offer,
            partial(save_decision, offer.comparison_id),
            chosen=chosen,
            shown=conflict,
            between=partial(show_rankings, conflict),
        )
    if decided:
        with st.expander("Decided last", icon=":material/gavel:"):
            for past in decided:
                if (decision := past.decision) is None:
                    continue
                offer = past.offer
                show_prompt(offer.prompt, offer.context, synthetic=offer.synthetic)
                show_offer(offer, decision.order)
                show_rankings(past)
                st.button(
                    plain(f"Take back: {order_in_words(decision)}, by {decision.reviewer}"),
                    key=f"back_{decision.ranking_id}",
                    on_click=take_back,
                    args=(decision.ranking_id,),
                    icon=":material/undo:",
                )
    wait_for_pause(chosen)


show_conflicts()
