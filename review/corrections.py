"""Corrections: a reviewer writes what should have been sent, and others may correct that again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, contains_eager

from db.comparisons import OFFERED, WORD_OF_PERSON, ranked_by, revealed_to
from db.lookup import get_existing
from db.models import Comparison, ComparisonResponse, ComparisonState, Correction, Prompt, Ranking, Response, now
from db.people import RANKERS, require_role
from errors import NotFound, Refused
from llm.template import TURN_MARK
from review.drafts import DraftPlace, WritingTask, forget_draft, put_off_last
from review.reveals import reveal_comparison
from texts.typed import LONGEST_REPLY, clean_comment, clean_text, require_length


@dataclass(frozen=True)
class CorrectionChain:
    """One standing correction, as the list shows it."""

    correction: Correction
    """With its response and that one's prompt."""
    chain: Sequence[tuple[str, str]]
    """Who wrote and what, from the first correction of the reply to this one."""
    is_own: bool
    sealed_by: Sequence[int]
    """Comparisons with this reply that the reader may still rank, and then should not know what others think of it."""


def same_words(text: str, other: str) -> bool:
    """Whether two texts differ in white space at most."""
    return text.split() == other.split()


def save_correction(
    s: Session, *, by: int, response_id: int, text: str, reason: str | None = None, parent_id: int | None = None
) -> Correction:
    """Save a corrected reply beside the original, which stays as it was; it takes the place of one's earlier one.

    With a parent, it corrects another reviewer's correction: both stay, and the newest of the chain is learned from.
    The reviewer gives up ranking the comparisons of that reply: the queue told them what others said.

    Raises `Refused` when nothing was changed, or the prompt is held out.
    """
    response = get_existing(s, Response, response_id, "reply")
    require_role(s, by=by, project_id=response.prompt.project_id, roles=RANKERS)
    if response.prompt.held_out:
        raise Refused("This prompt is held out, so nothing about it may reach training. Correct a training prompt.")
    parent = _find_parent(s, response_id=response_id, parent_id=parent_id, by=by)
    clean = require_length(clean_text(text), LONGEST_REPLY, "The correction")
    if not clean:
        raise Refused("An empty correction cannot be sent. Write the reply, or leave the box as it was.")
    if same_words(clean, parent.text if parent else response.text):
        raise Refused("Nothing was changed, so nothing was saved. Change the text first.")
    newest = standing_correction(s, by=by, response_id=response_id)
    if newest is not None and same_words(newest.text, clean):
        raise Refused("You saved exactly this correction already.")
    if mark := TURN_MARK.search(clean):
        raise Refused(f"“{mark.group()}” is how chat models mark the end of a turn. Take it out of the reply.")
    if newest is not None:
        if newest.id in _load_superseded(s, [response_id]):
            raise Refused("Somebody has corrected your correction further. Correct theirs, under Corrections so far.")
        newest.undone_at = now()  # the new text is what they mean; only one of a person's for a reply is learned from
        parent_id = parent_id or newest.parent_id
    correction = Correction(
        response_id=response_id, parent_id=parent_id, reviewer_id=by, text=clean, reason=clean_comment(reason)
    )
    s.add(correction)
    place = DraftPlace(reviewer_id=by, prompt_id=response.prompt_id, response_id=response_id, parent_id=parent_id)
    forget_draft(s, place=place)
    if parent is not None:
        for comparison_id in _find_unranked(s, by=by, response_id=response_id):
            reveal_comparison(s, by=by, comparison_id=comparison_id, roles=RANKERS)
    s.flush()
    return correction


def _find_parent(s: Session, *, response_id: int, parent_id: int | None, by: int) -> Correction | None:
    if parent_id is None:
        return None
    parent = s.get(Correction, parent_id)
    if parent is None or parent.response_id != response_id or parent.undone_at is not None:
        raise NotFound("The correction that you started from was withdrawn meanwhile. Reload the page.")
    if parent.reviewer_id == by:
        raise Refused("That correction is yours: change it where you wrote it, and the new text takes its place.")
    return parent


def _load_superseded(s: Session, response_ids: Collection[int]) -> set[int]:
    columns = Correction.id, Correction.parent_id, Correction.undone_at.is_(None)
    rows = s.execute(select(*columns).where(Correction.response_id.in_(response_ids)))
    return find_superseded([(correction_id, parent_id, stands) for correction_id, parent_id, stands in rows])


def standing_correction(s: Session, *, by: int, response_id: int) -> Correction | None:
    """The reviewer's own correction of a reply, if there is one."""
    return s.scalars(
        select(Correction)
        .where(Correction.response_id == response_id, Correction.reviewer_id == by, Correction.undone_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(1)
    ).first()


def withdraw_correction(s: Session, *, by: int, correction_id: int) -> None:
    """Take back one's own correction; it stays in the database as undone."""
    correction = s.get(Correction, correction_id)
    if correction is None or correction.reviewer_id != by or correction.undone_at is not None:
        raise NotFound("That correction is not yours, or it was withdrawn already. Reload the page.")
    require_role(s, by=by, project_id=correction.response.prompt.project_id, roles=RANKERS)
    correction.undone_at = now()
    s.flush()


def _rejected(project_id: int) -> list[ColumnElement[bool]]:
    called_bad = exists().where(Ranking.comparison_id == Comparison.id, Ranking.both_bad, WORD_OF_PERSON)
    corrected = exists().where(
        ComparisonResponse.comparison_id == Comparison.id,
        Correction.response_id == ComparisonResponse.response_id,
        Correction.undone_at.is_(None),
    )
    return [Comparison.project_id == project_id, OFFERED, Comparison.people > 0, called_bad, ~corrected]


def count_rejected(s: Session, *, project_id: int) -> int:
    """Count the comparisons that wait for a correction."""
    return s.scalar(select(func.count()).select_from(Comparison).where(*_rejected(project_id))) or 0


def next_rejected(s: Session, *, by: int, project_id: int, later: Sequence[int] = ()) -> WritingTask | None:
    """The next comparison whose replies should not be sent, first those that the reviewer ranked themselves.

    Args:
        later: ids of comparisons put off; they come when nothing else is left, the first put off first.
    """
    require_role(s, by=by, project_id=project_id, roles=RANKERS)
    comparison = s.scalars(
        select(Comparison)
        .join(Comparison.prompt)
        .where(*_rejected(project_id), Prompt.held_out.is_(False))
        .order_by(put_off_last(Comparison.id, later), ~ranked_by(by), Comparison.id)
        .limit(1)
    ).first()
    if comparison is None:
        return None
    replies = [(response.id, response.text) for response in comparison.responses]
    return WritingTask(comparison.prompt, replies, comparison_id=comparison.id)


def list_corrections(s: Session, *, by: int, project_id: int, limit: int = 30) -> list[CorrectionChain]:
    """Corrections that were not corrected further, newest first."""
    require_role(s, by=by, project_id=project_id, roles=RANKERS)
    corrections = s.scalars(
        select(Correction)
        .join(Correction.response)
        .join(Response.prompt)
        .options(contains_eager(Correction.response).contains_eager(Response.prompt))
        .where(Prompt.project_id == project_id, Prompt.held_out.is_(False), Correction.undone_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(limit)
    ).all()
    superseded = _load_superseded(s, {correction.response_id for correction in corrections})
    return [
        CorrectionChain(
            correction,
            chain=_chain(s, correction),
            is_own=correction.reviewer_id == by,
            sealed_by=_find_unranked(s, by=by, response_id=correction.response_id)
            if correction.reviewer_id != by
            else (),
        )
        for correction in corrections
        if correction.id not in superseded
    ]


def _find_unranked(s: Session, *, by: int, response_id: int) -> Sequence[int]:
    return s.scalars(
        select(Comparison.id)
        .join(ComparisonResponse, ComparisonResponse.comparison_id == Comparison.id)
        .where(
            ComparisonResponse.response_id == response_id,
            Comparison.state == ComparisonState.OPEN,
            ~ranked_by(by),
            ~revealed_to(by),
        )
    ).all()


def _chain(s: Session, correction: Correction) -> list[tuple[str, str]]:
    above = _chain(s, s.get_one(Correction, correction.parent_id)) if correction.parent_id is not None else []
    return [*above, (correction.reviewer.label, correction.text)]


def find_superseded(corrections: Sequence[tuple[int, int | None, bool]]) -> set[int]:
    """Ids of the corrections that have a standing one somewhere below them, through withdrawn ones too.

    Args:
        corrections: id, the parent's id or None, and whether it stands; all of one reply, withdrawn ones included.
    """
    parents = {correction_id: parent for correction_id, parent, _ in corrections}
    superseded: set[int] = set()
    for correction_id, _, stands in corrections:
        above = parents[correction_id] if stands else None
        while above is not None and above not in superseded:
            superseded.add(above)
            above = parents.get(above)
    return superseded
