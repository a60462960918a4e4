"""Looking at who wrote a comparison and what others said: at any time, at the price of one's own ranking."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import existing
from db.models import Change, Comparison, Correction, ModelVersion, Ranking, Reveal, Reviewer, Role
from db.people import require
from review.queue import release
from texts.rules import as_shown


@dataclass(frozen=True)
class Shown:
    """One response with who wrote it."""

    response_id: int
    responder: str
    text: str
    """As it was given; while sealed, as it is shown to whoever ranks."""
    shown: str
    """As it is shown to whoever ranks."""


@dataclass(frozen=True)
class Entry:
    """One line of the audit trail."""

    at: datetime
    by: str
    table: str
    row: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    name: str | None = None
    """Of what was changed, where people know it by one: a model's."""


@dataclass(frozen=True)
class Opened:
    """A comparison with everything that is known of it."""

    comparison: Comparison
    sealed: bool
    """The manager may still rank it: then there are no names and nothing that others said."""
    responses: Sequence[Shown]
    rankings: Sequence[Ranking]
    """Undone ones too."""
    corrections: Sequence[Correction]
    history: Sequence[Entry]


def reveal(s: Session, *, by: int, comparison_id: int, roles: Collection[Role] = (Role.MANAGER,)) -> None:
    """Note that somebody learns who wrote a comparison or what others said of it, and ranks it no more from then on.

    Of who has ranked it too: they could undo, and rank again with others' words in mind.
    """
    comparison = existing(s, Comparison, comparison_id, "comparison")
    require(s, by=by, project_id=comparison.project_id, roles=roles)
    if s.get(Reveal, (comparison_id, by)) is None:
        s.add(Reveal(comparison_id=comparison_id, reviewer_id=by))
        release(s, comparison_id=comparison_id, reviewer_id=by)
        s.flush()


def may_see(s: Session, *, by: int, comparison_id: int) -> bool:
    """Whether it is open to this manager already: they ranked it, or looked before, or nobody is offered it."""
    own = select(Ranking.id).where(
        Ranking.comparison_id == comparison_id,
        Ranking.reviewer_id == by,
        Ranking.undone_at.is_(None),
        Ranking.adjudicates.is_(False),
    )
    return s.get(Reveal, (comparison_id, by)) is not None or s.scalar(own.limit(1)) is not None


def opened(s: Session, *, by: int, comparison_id: int) -> Opened:
    """Everything about a comparison, for a manager who has ranked it or given that up with `reveal`; else sealed.

    Opening it unsealed is a look that is noted. In a writing transaction.
    """
    comparison = existing(s, Comparison, comparison_id, "comparison")
    require(s, by=by, project_id=comparison.project_id, roles=(Role.MANAGER,))
    shown = as_shown(s, project_id=comparison.project_id)
    if not may_see(s, by=by, comparison_id=comparison_id):
        # as whoever ranks sees them, in an order that tells nothing
        texts = sorted(shown(response.text) for response in comparison.responses)
        return Opened(comparison, True, [Shown(0, "", text, text) for text in texts], (), (), ())
    reveal(s, by=by, comparison_id=comparison_id)
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
    about = (Change.comparison_id == comparison_id) | Change.response_id.in_(response_ids)
    return Opened(
        comparison=comparison,
        sealed=False,
        responses=[Shown(one.id, one.responder.label, one.text, shown(one.text)) for one in comparison.responses],
        rankings=rankings,
        corrections=corrections,
        history=_entries(s, _changes().where(about).order_by(Change.id)),
    )


def project_history(s: Session, *, by: int, project_id: int, limit: int = 50) -> list[Entry]:
    """The project's newest changes of any kind, and those of models, which all projects share, newest first.

    Managers only. Entries about comparisons and judgments are left out: they would tell what others said. `opened` has
    the former.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    of_model = Change.table == ModelVersion.__tablename__
    newest = _changes().where(
        (Change.project_id == project_id) | of_model,
        Change.comparison_id.is_(None),
        Change.response_id.is_(None),
        Change.table.not_in(("judgment", "tag")),
    )
    found = _entries(s, newest.order_by(Change.id.desc()).limit(limit))
    ids = {int(one.row) for one in found if one.table == ModelVersion.__tablename__}
    names = {str(model.id): model.name for model in s.scalars(select(ModelVersion).where(ModelVersion.id.in_(ids)))}
    return [replace(one, name=names.get(one.row)) if one.table == ModelVersion.__tablename__ else one for one in found]


def _changes() -> Select[Change, Reviewer | None]:
    return select(Change, Reviewer).outerjoin(Reviewer, Reviewer.id == Change.reviewer_id)


def _entries(s: Session, changes: Select[Change, Reviewer | None]) -> list[Entry]:
    return [
        Entry(
            change.created_at, who.label if who else "Pickwell", change.table, change.row, change.before, change.after
        )
        for change, who in s.execute(changes)
    ]
