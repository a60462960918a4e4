"""Looking at who wrote a comparison and what others said: at any time, at the price of one's own ranking."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, cast, select
from sqlalchemy.orm import Session, selectinload

from db.comparisons import ranked_by
from db.lookup import get_existing
from db.models import (
    AuditRecord,
    Comparison,
    Correction,
    Judgment,
    JudgmentReason,
    ModelVersion,
    Ranking,
    RepeatJudgment,
    Reveal,
    Reviewer,
    Role,
)
from db.people import require_role
from review.queue import release
from texts.rules import load_text_filter


@dataclass(frozen=True)
class ResponseView:
    """One response with who wrote it."""

    response_id: int
    responder: str
    text: str
    """As it was given; while sealed, as it is shown to reviewers who rank."""
    shown: str
    """As it is shown to reviewers who rank."""


@dataclass(frozen=True)
class AuditEntry:
    """One line of the audit trail."""

    change: AuditRecord
    by: str
    name: str | None
    """Of what was changed, if it has one: a model's."""


@dataclass(frozen=True)
class ComparisonDetails:
    """A comparison with everything that is known of it."""

    comparison: Comparison
    """With its prompt."""
    sealed: bool
    """The manager may still rank it: then there are no names and nothing that others said."""
    responses: Sequence[ResponseView]
    rankings: Sequence[Ranking]
    """Undone ones too."""
    corrections: Sequence[Correction]
    history: Sequence[AuditEntry]


def reveal_comparison(s: Session, *, by: int, comparison_id: int, roles: Collection[Role] = (Role.MANAGER,)) -> None:
    """Note that a reviewer learns who wrote a comparison or what others said of it, and ranks it no more from then on.

    Noted of a reviewer who has ranked it too: they could undo, and rank again with others' words in mind.
    """
    comparison = get_existing(s, Comparison, comparison_id, "comparison")
    require_role(s, by=by, project_id=comparison.project_id, roles=roles)
    if s.get(Reveal, (comparison_id, by)) is None:
        s.add(Reveal(comparison_id=comparison_id, reviewer_id=by))
        release(s, comparison_id=comparison_id, reviewer_id=by)
        s.flush()


def is_open_to(s: Session, *, by: int, comparison_id: int) -> bool:
    """Whether it is open to this manager already: they ranked it, or looked before."""
    ranked = select(ranked_by(by)).where(Comparison.id == comparison_id)
    return s.get(Reveal, (comparison_id, by)) is not None or bool(s.scalar(ranked))


def open_comparison(s: Session, *, by: int, comparison_id: int) -> ComparisonDetails:
    """Everything about a comparison, for a manager who ranked it or gave that up with `reveal_comparison`; else sealed.

    Opening it unsealed is a look that is noted. In a writing transaction.
    """
    comparison = get_existing(s, Comparison, comparison_id, "comparison")
    require_role(s, by=by, project_id=comparison.project_id, roles=(Role.MANAGER,))
    s.refresh(comparison, ["prompt"])  # read on the screen, when the session is closed
    shown = load_text_filter(s, project_id=comparison.project_id)
    if not is_open_to(s, by=by, comparison_id=comparison_id):
        # as reviewers see them, in an order that tells nothing
        texts = sorted(shown(response.text) for response in comparison.responses)
        return ComparisonDetails(comparison, True, [ResponseView(0, "", text, text) for text in texts], (), (), ())
    reveal_comparison(s, by=by, comparison_id=comparison_id)
    response_ids = [response.id for response in comparison.responses]
    rankings = s.scalars(
        select(Ranking)
        .where(Ranking.comparison_id == comparison_id)
        .options(selectinload(Ranking.placements), selectinload(Ranking.reviewer))
        .order_by(Ranking.id)
    ).all()
    corrections = s.scalars(
        select(Correction)
        .where(Correction.response_id.in_(response_ids))
        .options(selectinload(Correction.reviewer))
        .order_by(Correction.id)
    ).all()
    about = (AuditRecord.comparison_id == comparison_id) | AuditRecord.response_id.in_(response_ids)
    return ComparisonDetails(
        comparison=comparison,
        sealed=False,
        responses=[
            ResponseView(response.id, response.responder.label, response.text, shown(response.text))
            for response in comparison.responses
        ],
        rankings=rankings,
        corrections=corrections,
        history=_load_entries(s, about)[::-1],
    )


def list_project_changes(s: Session, *, by: int, project_id: int, limit: int = 50) -> list[AuditEntry]:
    """The project's newest changes of any kind, and those of models, which all projects share, newest first.

    Managers only. Entries about comparisons and judgments are left out: they would tell what others said.
    `open_comparison` has the former.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    of_project = (AuditRecord.project_id == project_id) | (AuditRecord.table == ModelVersion.__tablename__)
    of_pair = AuditRecord.comparison_id.is_not(None) | AuditRecord.response_id.is_not(None)
    of_judgment = AuditRecord.table.in_(table.__tablename__ for table in (Judgment, JudgmentReason, RepeatJudgment))
    return _load_entries(s, of_project, ~of_pair, ~of_judgment, limit=limit)


def _load_entries(s: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> list[AuditEntry]:
    is_model = (AuditRecord.table == ModelVersion.__tablename__) & (AuditRecord.row == cast(ModelVersion.id, String))
    rows = s.execute(
        select(AuditRecord, Reviewer, ModelVersion.name)
        .outerjoin(Reviewer, Reviewer.id == AuditRecord.reviewer_id)
        .outerjoin(ModelVersion, is_model)
        .where(*conditions)
        .order_by(AuditRecord.id.desc())
        .limit(limit)
    )
    return [AuditEntry(change, who.label if who else "Pickwell", name) for change, who, name in rows]
