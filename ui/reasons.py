"""Why the last choice was made: a comment, chips, and the project's criteria."""

from collections.abc import Callable, Collection

import streamlit as st
from sqlalchemy.orm import Session

from db.models import Judgment
from db.session import reading
from eval.judging import list_reason_labels, save_comment, set_reason_labels
from review.rankings import GivenRanking, give_reason
from review.reasons import FAULTS, PRAISE, criterion_verdicts, judge_criterion, list_criteria, list_reasons, set_reasons
from review.slots import describe_order
from stats.verdicts import Verdict
from texts.typed import LONGEST_COMMENT
from ui.frame import CurrentPerson
from ui.keys import alternating_key
from ui.safe import act, attempt, plain

TITLES = ("The better one is", "Wrong with the other")
SIDES = {"Left": Verdict.LEFT, "Equal": Verdict.TIE, "Right": Verdict.RIGHT}


def ask_reasons(me: CurrentPerson, last: GivenRanking) -> None:
    """Ask for the reasons of the last choice: after it, never before, and all optional."""
    with reading() as s:
        criteria = list_criteria(s, project_id=me.project_id) if last.order.verdict else []
        verdicts = criterion_verdicts(s, ranking_id=last.ranking_id)
        chips = list_reasons(s, ranking_id=last.ranking_id)

    def save_criterion(criterion_id: int, key: str) -> None:
        verdict = SIDES.get(str(st.session_state.get(key)))
        act(judge_criterion, by=me.reviewer_id, ranking_id=last.ranking_id, criterion_id=criterion_id, verdict=verdict)

    with st.container(border=True, key="why"):
        _draw_boxes(
            describe_order(last.order, strength=last.strength),
            kind="ranking",
            item_id=last.ranking_id,
            comment=last.reason,
            chips=chips,
            titles=TITLES if last.order.verdict else ("The best is", "Wrong with the others"),
            on_comment=lambda s, comment: give_reason(s, by=me.reviewer_id, ranking_id=last.ranking_id, reason=comment),
            on_labels=lambda s, praise, faults: set_reasons(
                s, by=me.reviewer_id, ranking_id=last.ranking_id, praise=praise, faults=faults
            ),
        )
        for column, criterion in zip(st.columns(max(1, len(criteria))), criteria, strict=False):
            column.segmented_control(
                plain(criterion.name),
                list(SIDES),
                default=next((word for word, side in SIDES.items() if side is verdicts.get(criterion.id)), None),
                key=(key := alternating_key(f"criterion_{criterion.id}", last.ranking_id)),
                on_change=save_criterion,
                args=(criterion.id, key),
            )


def ask_verdict_reasons(me: CurrentPerson, last: Judgment) -> None:
    """Ask for the reasons of the last verdict; all optional."""
    if last.verdict is None:
        return
    with reading() as s:
        chips = list_reason_labels(s, judgment_id=last.id)
    with st.container(border=True, key="why_verdict"):
        _draw_boxes(
            last.verdict.words,
            kind="verdict",
            item_id=last.id,
            comment=last.comment,
            chips=chips,
            on_comment=lambda s, comment: save_comment(s, by=me.reviewer_id, judgment_id=last.id, reason=comment),
            on_labels=lambda s, praise, faults: set_reason_labels(
                s, by=me.reviewer_id, judgment_id=last.id, praise=praise, faults=faults
            ),
        )


def _draw_boxes(
    choice: str,
    *,
    kind: str,
    item_id: int,
    comment: str | None,
    chips: Collection[str],
    titles: tuple[str, str] = TITLES,
    on_comment: Callable[[Session, str], object],
    on_labels: Callable[[Session, Collection[str], Collection[str]], object],
) -> None:
    """Both boxes; everything in them is optional and saved at once.

    Args:
        choice: in words.
        kind: of what it is about, "ranking" or "verdict".
        item_id: its id, so that no box keeps the text of the one before.
        on_comment: gets the session and the comment.
        on_labels: gets the session, the words of praise and the faults.
    """
    key = alternating_key(f"{kind}_comment", item_id)
    keys = alternating_key(f"{kind}_praise", item_id), alternating_key(f"{kind}_faults", item_id)

    def keep_comment() -> None:
        if attempt(on_comment, str(st.session_state.get(key, ""))):
            st.toast("Reason saved.")

    def keep_labels() -> None:
        praise, faults = (st.session_state.get(key, []) for key in keys)
        act(on_labels, praise, faults)

    st.text_input(
        f"Your last choice: {choice}. Why? (optional, Enter saves)",
        value=comment or "",
        key=key,
        max_chars=LONGEST_COMMENT,
        on_change=keep_comment,
    )
    for column, pills_key, title, labels in zip(st.columns(2), keys, titles, (PRAISE, FAULTS), strict=True):
        column.pills(
            title,
            labels,
            selection_mode="multi",
            default=[chip for chip in chips if chip in labels],
            key=pills_key,
            on_change=keep_labels,
        )
