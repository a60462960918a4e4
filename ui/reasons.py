"""Why the last choice was made: a comment, chips, and the project's criteria."""

import streamlit as st

from db.session import reading, session
from review.rankings import Choice, LastRanking, give_reason
from review.reasons import chips_of, criteria_of, criteria_said, judge_criterion, set_chips
from ui.frame import Me
from ui.keys import alternating
from ui.pairs import CHOICE_WORDS
from ui.reason_boxes import TITLES, reason_boxes
from ui.safe import errors_toasted, plain
from ui.slots import words_of

SIDES = {"Left": Choice.LEFT, "Equal": Choice.TIE, "Right": Choice.RIGHT}


def why(me: Me, last: LastRanking) -> None:
    """Reasons of the last choice: after it, never before, and all optional."""
    with reading() as s:
        criteria = criteria_of(s, project_id=me.project_id) if last.choice is not None else []
        said = criteria_said(s, ranking_id=last.ranking_id)
        chips = chips_of(s, ranking_id=last.ranking_id)

    def save_reason(text: str) -> None:
        with session() as s:
            give_reason(s, by=me.reviewer_id, ranking_id=last.ranking_id, reason=text)

    def save_chips(praise: list[str], faults: list[str]) -> None:
        with session() as s:
            set_chips(s, by=me.reviewer_id, ranking_id=last.ranking_id, praise=praise, faults=faults)

    with st.container(border=True, key="why"):
        strong = " (much)" if last.strength == 2 else ""
        if last.choice is None:
            choice, titles = words_of(last.places, none_good=last.both_bad), ("The best is", "Wrong with the others")
        else:
            choice, titles = CHOICE_WORDS[last.choice.value], TITLES
        reason_boxes(
            f"{choice}{strong}",
            kind="ranking",
            item_id=last.ranking_id,
            comment=last.reason,
            chips=chips,
            titles=titles,
            save_comment=save_reason,
            save_chips=save_chips,
        )
        for column, criterion in zip(st.columns(max(1, len(criteria))), criteria, strict=False):
            column.segmented_control(
                plain(criterion.name),
                list(SIDES),
                default=next((word for word, side in SIDES.items() if side is said.get(criterion.id)), None),
                key=(key := alternating(f"criterion_{criterion.id}", last.ranking_id)),
                on_change=_save_criterion,
                args=(me, last.ranking_id, criterion.id, key),
            )


def _save_criterion(me: Me, ranking_id: int, criterion_id: int, key: str) -> None:
    choice = SIDES.get(str(st.session_state.get(key)))
    with errors_toasted(), session() as s:
        judge_criterion(s, by=me.reviewer_id, ranking_id=ranking_id, criterion_id=criterion_id, choice=choice)
