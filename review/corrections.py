"""Corrections: a reviewer writes what should have been sent, and others may correct that again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from db.comparisons import OWN_WORD
from db.lookup import existing
from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Correction,
    Prompt,
    Ranking,
    Response,
    Reveal,
    Reviewer,
    now,
)
from db.people import RANKERS, require
from errors import NotFound, Refused
from llm.template import TURN_MARK
from review.assignment import ranked_by
from review.drafts import DraftPlace, WritingTask, forget_draft, put_off_last
from review.reveals import reveal
from texts.typed import LONGEST_REPLY, cleaned, comment, short_enough


@dataclass(frozen=True)
class Corrected:
    """One standing correction, as the list shows it."""

    correction_id: int
    response_id: int
    prompt: Prompt
    original: str
    chain: Sequence[tuple[str, str]]
    """Who wrote and what, from the first correction of the reply to this one."""
    mine: bool
    reason: str | None
    at: datetime
    sealed_by: Sequence[int]
    """Comparisons with this reply that the reader may still rank: they would learn what somebody thought of it."""

    @property
    def text(self) -> str:
        """What this correction says."""
        return self.chain[-1][1]


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in white space at most."""
    return one.split() == other.split()


def correct(
    s: Session, *, by: int, response_id: int, text: str, reason: str | None = None, parent_id: int | None = None
) -> Correction:
    """Save a corrected reply beside the original, which stays as it was; it takes the place of one's earlier one.

    With a parent, it corrects somebody's correction: both stay, and the newest of the chain is learned from. Whoever
    corrects a comparison that they have not ranked gives up ranking it: the queue told them what others said.

    Raises `Refused` when nothing was changed, or the prompt is held out.
    """
    response = existing(s, Response, response_id, "reply")
    require(s, by=by, project_id=response.prompt.project_id, roles=RANKERS)
    if response.prompt.held_out:
        raise Refused("This prompt is held out, so nothing about it may reach training. Correct a training prompt.")
    parent = _parent(s, response_id=response_id, parent_id=parent_id, by=by)
    clean = short_enough(cleaned(text), LONGEST_REPLY, "The correction")
    if not clean:
        raise Refused("An empty correction cannot be sent. Write the reply, or leave the box as it was.")
    if same_words(clean, parent.text if parent else response.text):
        raise Refused("Nothing was changed, so nothing was saved. Change the text first.")
    newest = standing_correction(s, by=by, response_id=response_id)
    if newest is not None and same_words(newest.text, clean):
        raise Refused("You saved exactly this correction already.")
    if found := TURN_MARK.search(clean):
        raise Refused(f"“{found.group()}” is how chat models mark the end of a turn. Take it out of the reply.")
    if newest is not None and _corrected_further(s, newest):
        raise Refused("Somebody has corrected your correction further. Correct theirs, under Corrections so far.")
    if newest is not None:
        newest.undone_at = now()  # the new text is what they mean; only one of a person's for a reply is learned from
        parent_id = parent_id or newest.parent_id
    correction = Correction(
        response_id=response_id, parent_id=parent_id, reviewer_id=by, text=clean, reason=comment(reason)
    )
    s.add(correction)
    typed = DraftPlace(reviewer_id=by, prompt_id=response.prompt_id, response_id=response_id, parent_id=parent_id)
    forget_draft(s, at=typed)
    if parent is not None:
        for comparison_id in _still_to_rank(s, by=by, response_id=response_id):
            reveal(s, by=by, comparison_id=comparison_id, roles=RANKERS)
    s.flush()
    return correction


def _parent(s: Session, *, response_id: int, parent_id: int | None, by: int) -> Correction | None:
    if parent_id is None:
        return None
    parent = s.get(Correction, parent_id)
    if parent is None or parent.response_id != response_id or parent.undone_at is not None:
        raise NotFound("The correction that you started from was withdrawn meanwhile. Reload the page.")
    if parent.reviewer_id == by:
        raise Refused("That correction is yours: change it where you wrote it, and the new text takes its place.")
    return parent


def _corrected_further(s: Session, correction: Correction) -> bool:
    rows = s.execute(
        select(Correction.id, Correction.parent_id, Correction.undone_at.is_(None)).where(
            Correction.response_id == correction.response_id
        )
    )
    return correction.id in corrected_further([(i, parent, stands) for i, parent, stands in rows])


def standing_correction(s: Session, *, by: int, response_id: int) -> Correction | None:
    """The reviewer's own correction of a reply, if there is one."""
    return s.scalars(
        select(Correction)
        .where(Correction.response_id == response_id, Correction.reviewer_id == by, Correction.undone_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(1)
    ).first()


def withdraw(s: Session, *, by: int, correction_id: int) -> None:
    """Take back one's own correction; it stays in the database as undone."""
    correction = s.get(Correction, correction_id)
    if correction is None or correction.reviewer_id != by or correction.undone_at is not None:
        raise NotFound("That correction is not yours, or it was withdrawn already. Reload the page.")
    require(s, by=by, project_id=correction.response.prompt.project_id, roles=RANKERS)
    correction.undone_at = now()
    s.flush()


def _rejected(project_id: int) -> list[ColumnElement[bool]]:
    said = exists().where(
        Ranking.comparison_id == Comparison.id,
        Ranking.both_bad,
        OWN_WORD,
        Reviewer.id == Ranking.reviewer_id,
        Reviewer.simulated.is_(False),
    )
    corrected = exists().where(
        ComparisonResponse.comparison_id == Comparison.id,
        Correction.response_id == ComparisonResponse.response_id,
        Correction.undone_at.is_(None),
    )
    return [
        Comparison.project_id == project_id,
        Comparison.state != ComparisonState.AWAY,
        Comparison.people > 0,
        said,
        ~corrected,
    ]


def rejected_count(s: Session, *, project_id: int) -> int:
    """How many comparisons wait for a correction."""
    return s.scalar(select(func.count()).select_from(Comparison).where(*_rejected(project_id))) or 0


def next_rejected(s: Session, *, by: int, project_id: int, later: Sequence[int] = ()) -> WritingTask | None:
    """The next comparison whose replies nobody would send, those that one ranked oneself first.

    Args:
        later: ids of comparisons put off; they come when nothing else is left, the first put off first.
    """
    require(s, by=by, project_id=project_id, roles=RANKERS)
    comparison = s.scalars(
        select(Comparison)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(*_rejected(project_id), Prompt.held_out.is_(False))
        .order_by(put_off_last(Comparison.id, later), ~ranked_by(by), Comparison.id)
        .limit(1)
    ).first()
    if comparison is None:
        return None
    replies = [(response.id, response.text) for response in comparison.responses]
    return WritingTask.of(comparison.prompt, replies, comparison_id=comparison.id)


def standing_corrections(s: Session, *, by: int, project_id: int, limit: int = 30) -> list[Corrected]:
    """Corrections that nobody has corrected further, newest first."""
    require(s, by=by, project_id=project_id, roles=RANKERS)
    rows = s.scalars(
        select(Correction)
        .join(Response, Response.id == Correction.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(
            Prompt.project_id == project_id,
            Prompt.held_out.is_(False),
            Correction.undone_at.is_(None),
        )
        .order_by(Correction.id.desc())
        .limit(limit)
    ).all()
    return [
        Corrected(
            correction_id=correction.id,
            response_id=correction.response_id,
            prompt=correction.response.prompt,
            original=correction.response.text,
            chain=_chain(s, correction),
            mine=correction.reviewer_id == by,
            reason=correction.reason,
            at=correction.created_at,
            sealed_by=_still_to_rank(s, by=by, response_id=correction.response_id)
            if correction.reviewer_id != by
            else (),
        )
        for correction in rows
        if not _corrected_further(s, correction)
    ]


def _still_to_rank(s: Session, *, by: int, response_id: int) -> Sequence[int]:
    revealed = exists().where(Reveal.comparison_id == Comparison.id, Reveal.reviewer_id == by)
    return s.scalars(
        select(Comparison.id)
        .join(ComparisonResponse, ComparisonResponse.comparison_id == Comparison.id)
        .where(
            ComparisonResponse.response_id == response_id,
            Comparison.state == ComparisonState.OPEN,
            ~ranked_by(by),
            ~revealed,
        )
    ).all()


def _chain(s: Session, correction: Correction) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    step: Correction | None = correction
    while step is not None:
        found.append((step.reviewer.label, step.text))
        step = s.get(Correction, step.parent_id) if step.parent_id is not None else None
    return found[::-1]


def corrected_further(corrections: Sequence[tuple[int, int | None, bool]]) -> set[int]:
    """Ids of the corrections that have a standing one somewhere below them, through withdrawn ones too.

    Args:
        corrections: id, the parent's id or None, and whether it stands; all of one reply, withdrawn ones included.
    """
    parents = {correction_id: parent for correction_id, parent, _ in corrections}
    found: set[int] = set()
    for correction_id, _, stands in corrections:
        above = parents[correction_id] if stands else None
        while above is not None and above not in found:
            found.add(above)
            above = parents.get(above)
    return found
