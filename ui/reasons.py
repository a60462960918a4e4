"""Why the last choice was made: a comment, chips, and the project's criteria."""

from collections.abc import Callable, Collection
from functools import partial

import streamlit as st

from db.models import Judgment
from db.session import reading, session
from eval.judging import explain, set_tags, tags_of
from review.rankings import GivenRanking, give_reason
from review.reasons import FAULTS, PRAISE, chips_of, criteria_of, criteria_said, judge_criterion, set_chips
from review.slots import in_words
from stats.verdicts import Verdict
from texts.typed import LONGEST_COMMENT
from ui.frame import Me
from ui.keys import alternating
from ui.safe import errors_toasted, plain

TITLES = ("The better one is", "Wrong with the other")


SIDES = {"Left": Verdict.LEFT, "Equal": Verdict.TIE, "Right": Verdict.RIGHT}


def why(me: Me, last: GivenRanking) -> None:
    """Reasons of the last choice: after it, never before, and all optional."""
    with reading() as s:
        criteria = criteria_of(s, project_id=me.project_id) if last.order.verdict else []
        said = criteria_said(s, ranking_id=last.ranking_id)
        chips = chips_of(s, ranking_id=last.ranking_id)

    with st.container(border=True, key="why"):
        reason_boxes(
            in_words(last.order, strength=last.strength),
            kind="ranking",
            item_id=last.ranking_id,
            comment=last.reason,
            chips=chips,
            titles=TITLES if last.order.verdict else ("The best is", "Wrong with the others"),
            save_comment=partial(give_reason, by=me.reviewer_id, ranking_id=last.ranking_id),
            save_labels=partial(set_chips, by=me.reviewer_id, ranking_id=last.ranking_id),
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
    verdict = SIDES.get(str(st.session_state.get(key)))
    with errors_toasted(), session() as s:
        judge_criterion(s, by=me.reviewer_id, ranking_id=ranking_id, criterion_id=criterion_id, verdict=verdict)


def reason_boxes(
    said: str,
    *,
    kind: str,
    item_id: int,
    comment: str | None,
    chips: Collection[str],
    titles: tuple[str, str] = TITLES,
    save_comment: Callable[..., None],
    save_labels: Callable[..., None],
) -> None:
    """Both boxes; everything in them is optional and saved at once.

    Args:
        said: the choice, in words.
        kind: of what it is about, "ranking" or "verdict".
        item_id: its id, so that no box keeps the text of the one before.
        comment: as it stands.
        chips: as they stand.
        save_comment: gets the session and the `reason`.
        save_labels: gets the session, `praise` and `faults`.
    """
    key = alternating(f"{kind}_comment", item_id)
    st.text_input(
        f"Your last choice: {said}. Why? (optional, Enter saves)",
        value=comment or "",
        key=key,
        max_chars=LONGEST_COMMENT,
        on_change=_comment,
        args=(key, save_comment),
    )
    keys = alternating(f"{kind}_praise", item_id), alternating(f"{kind}_faults", item_id)
    for column, own, title, labels in zip(st.columns(2), keys, titles, (PRAISE, FAULTS), strict=True):
        column.pills(
            title,
            labels,
            selection_mode="multi",
            default=[chip for chip in chips if chip in labels],
            key=own,
            on_change=_chips,
            args=(keys, save_labels),
        )


def _comment(key: str, save: Callable[..., None]) -> None:
    with errors_toasted():
        with session() as s:
            save(s, reason=st.session_state.get(key, ""))
        st.toast("Reason saved.")


def _chips(keys: tuple[str, str], save: Callable[..., None]) -> None:
    praise, faults = (st.session_state.get(key, []) for key in keys)
    with errors_toasted(), session() as s:
        save(s, praise=praise, faults=faults)


def why_verdict(me: Me, last: Judgment) -> None:
    """Reasons of the last verdict; all optional."""
    if last.verdict is None:
        return
    with reading() as s:
        tags = tags_of(s, judgment_id=last.id)
    with st.container(border=True, key="why_verdict"):
        reason_boxes(
            last.verdict.words,
            kind="verdict",
            item_id=last.id,
            comment=last.comment,
            chips=tags,
            save_comment=partial(explain, by=me.reviewer_id, judgment_id=last.id),
            save_labels=partial(set_tags, by=me.reviewer_id, judgment_id=last.id),
        )
