"""Where people contradict each other, a manager's word decides; everybody's own ranking stays as it was."""

from collections.abc import Sequence

import streamlit as st

from db.models import Role
from db.session import reading, session
from review.adjudication import Conflict, Word, conflicts, count_conflicts, decide, decide_order, withdraw_decision
from review.assignment import ManyOffer
from review.rankings import Choice
from review.reveals import reveal
from ui.frame import page
from ui.pairs import CHOICE_WORDS, choice_bar, forget_choice, go_on_after_the_pause, just_chosen, show_pair, show_prompt
from ui.safe import errors_toasted, plain, show_table
from ui.slots import order_cards, show_cards, words_of

me = page("Decide", Role.MANAGER)


def give_decision(comparison_id: int, choice: str) -> bool:
    """Save the decision; the next pair appears by itself."""
    with errors_toasted(), session() as s:
        decide(s, by=me.reviewer_id, comparison_id=comparison_id, choice=Choice(choice))
        return True
    return False


def give_order(comparison_id: int, places: Sequence[int], none_good: bool) -> bool:
    """Save the decision on more than two."""
    with errors_toasted(), session() as s:
        decide_order(s, by=me.reviewer_id, comparison_id=comparison_id, places=places, none_good=none_good)
        return True
    return False


def said(word: Word) -> str:
    """What somebody said, in words."""
    if word.choice is None:
        return words_of(word.places, none_good=word.none_good)
    return CHOICE_WORDS[word.choice.value] + (" (much)" if word.strength == 2 else "")


def take_back(ranking_id: int) -> None:
    """Take a decision back; the pair waits again."""
    forget_choice()
    with errors_toasted(), session() as s:
        withdraw_decision(s, by=me.reviewer_id, ranking_id=ranking_id)


def show_words(conflict: Conflict) -> None:
    """Who said what, with their reasons."""
    show_table(
        [
            {
                "Person": word.reviewer,
                "Said": said(word),
                "Why": word.reason or "",
            }
            for word in conflict.words
        ]
    )


@st.fragment
def deciding() -> None:
    """The contradictions that wait, one after another, then those that are decided."""
    with reading() as s:
        waiting = conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=False, limit=1)
        decided = conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=True)
        left = count_conflicts(s, by=me.reviewer_id, project_id=me.project_id, decided=False)
    chosen = just_chosen(Conflict)
    conflict = chosen.shown if chosen else waiting[0] if waiting else None
    if conflict is None:
        st.success("Nobody contradicts anybody." if not decided else "Every contradiction is decided.")
    else:
        with session() as s:  # what others said is on the screen now
            reveal(s, by=me.reviewer_id, comparison_id=conflict.pair.comparison_id)
        st.caption(
            f"Waiting: {left}. Your word counts for training in place of these; nobody's ranking is changed, and you "
            "will not be asked to rank this pair yourself."
        )
        show_prompt(conflict.pair.prompt, conflict.pair.context, synthetic=conflict.pair.synthetic)
        if isinstance(conflict.pair, ManyOffer):
            show_words(conflict)
            order_cards(conflict.pair, give_order, chosen=chosen, shown=conflict)
        else:
            show_pair(conflict.pair.left, conflict.pair.right, chosen=chosen.choice if chosen else None)
            show_words(conflict)
            choice_bar(conflict.pair.comparison_id, conflict, give_decision)
    if decided:
        with st.expander("Decided last", icon=":material/gavel:"):
            for one in decided:
                if one.decision is None or one.decision_id is None:
                    continue
                show_prompt(one.pair.prompt, one.pair.context, synthetic=one.pair.synthetic)
                if isinstance(one.pair, ManyOffer):
                    show_cards(one.pair, one.decision.places)
                elif one.decision.choice is not None:
                    show_pair(one.pair.left, one.pair.right, chosen=one.decision.choice.value)
                show_words(one)
                st.button(
                    plain(f"Take back: {said(one.decision)}, by {one.decision.reviewer}"),
                    key=f"back_{one.decision_id}",
                    on_click=take_back,
                    args=(one.decision_id,),
                    icon=":material/undo:",
                )
    go_on_after_the_pause(chosen)


deciding()
