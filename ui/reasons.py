"""Why the last choice was made: a comment, chips, and the project's criteria."""

import streamlit as st

from db.session import reading, session
from review.comments import LONGEST_COMMENT
from review.rankings import Choice, LastRanking, give_reason
from review.reasons import FAULTS, PRAISE, chips_of, criteria_of, criteria_said, judge_criterion, set_chips
from ui.frame import Me
from ui.pairs import CHOICE_WORDS
from ui.safe import errors_toasted, plain
from ui.slots import words_of

SIDES = {"Left": Choice.LEFT, "Equal": Choice.TIE, "Right": Choice.RIGHT}


def why(me: Me, last: LastRanking) -> None:
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
            max_chars=LONGEST_COMMENT,
            on_change=_save_reason,
            args=(me, last.ranking_id),
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
                on_change=_save_chips,
                args=(me, last.ranking_id),
            )
        for column, criterion in zip(st.columns(max(1, len(criteria))), criteria, strict=False):
            column.segmented_control(
                plain(criterion.name),
                list(SIDES),
                default=next((word for word, side in SIDES.items() if side is said.get(criterion.id)), None),
                key=f"criterion_{last.ranking_id}_{criterion.id}",
                on_change=_save_criterion,
                args=(me, last.ranking_id, criterion.id),
            )


def _save_reason(me: Me, ranking_id: int) -> None:
    text = st.session_state.get(f"reason_{ranking_id}", "")
    with errors_toasted():
        with session() as s:
            give_reason(s, by=me.reviewer_id, ranking_id=ranking_id, reason=text)
        st.toast("Reason saved.")


def _save_chips(me: Me, ranking_id: int) -> None:
    praise, faults = (st.session_state.get(f"{name}_{ranking_id}", []) for name in ("praise", "faults"))
    with errors_toasted(), session() as s:
        set_chips(s, by=me.reviewer_id, ranking_id=ranking_id, praise=praise, faults=faults)


def _save_criterion(me: Me, ranking_id: int, criterion_id: int) -> None:
    choice = SIDES.get(str(st.session_state.get(f"criterion_{ranking_id}_{criterion_id}")))
    with errors_toasted(), session() as s:
        judge_criterion(s, by=me.reviewer_id, ranking_id=ranking_id, criterion_id=criterion_id, choice=choice)
