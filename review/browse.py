"""A manager's table of comparisons: found by filter and page, discarded, brought back, made gold."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import get_existing
from db.models import Comparison, ComparisonState, Flag, Ranking, Response, Role, now
from db.people import require_role
from errors import NotFound, Refused
from review.adjudication import DECISION, decide
from review.filters import Filter, filter_conditions
from stats.verdicts import Order

PAGE = 25
"""Rows at a time."""


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison in the table; says who took part, not who wrote which reply."""

    comparison: Comparison
    """With its prompt."""
    prompt: str
    """Its first words."""
    responders: str
    flagged: bool


@dataclass(frozen=True)
class ComparisonPage:
    """One page of the table."""

    rows: Sequence[ComparisonLine]
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are, at least 1."""
        return max(1, -(-self.total // PAGE))


def find_comparisons(s: Session, *, by: int, project_id: int, only: Filter, page: int = 1) -> ComparisonPage:
    """The comparisons that fit the filter, newest first, `PAGE` at a time from page 1; managers only."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    fits = [Comparison.project_id == project_id, *filter_conditions(only)]
    total = s.scalar(select(func.count()).select_from(Comparison).where(*fits)) or 0
    comparisons = s.scalars(
        select(Comparison)
        .where(*fits)
        .options(
            selectinload(Comparison.prompt),
            selectinload(Comparison.responses).load_only(Response.responder_id).selectinload(Response.responder),
        )
        .order_by(Comparison.id.desc())
        .limit(PAGE)
        .offset((page - 1) * PAGE)
    ).all()
    ids = [comparison.id for comparison in comparisons]
    flagged = set(s.scalars(select(Flag.comparison_id).where(Flag.comparison_id.in_(ids), Flag.settled_at.is_(None))))
    rows = []
    for comparison in comparisons:
        writers = sorted((response.responder for response in comparison.responses), key=lambda writer: writer.name)
        words = " ".join(comparison.prompt.text.split())[:120]
        names = " · ".join(writer.label for writer in writers)
        rows.append(ComparisonLine(comparison, words, names, comparison.id in flagged))
    return ComparisonPage(rows, total)


def _get_comparison(s: Session, by: int, comparison_id: int) -> Comparison:
    comparison = get_existing(s, Comparison, comparison_id, "comparison")
    require_role(s, by=by, project_id=comparison.project_id, roles=(Role.MANAGER,))
    return comparison


def discard_comparison(s: Session, *, by: int, comparison_id: int) -> None:
    """Stop offering a comparison; its rankings stay and count for nothing."""
    comparison = _get_comparison(s, by, comparison_id)
    if comparison.discarded_at is not None:
        raise Refused("Somebody has discarded this comparison already. Reload the page.")
    comparison.discarded_at, comparison.discarded_by_id = now(), by
    s.flush()


def restore_comparison(s: Session, *, by: int, comparison_id: int) -> None:
    """Offer a discarded comparison again; its rankings count again."""
    comparison = _get_comparison(s, by, comparison_id)
    if comparison.discarded_at is None:
        raise Refused("This comparison is not discarded. Reload the page.")
    comparison.discarded_at = comparison.discarded_by_id = None
    s.flush()


def make_gold(s: Session, *, by: int, comparison_id: int, order: Order) -> Ranking:
    """Say what the right answer is, with the replies as they stand for this manager, and give the pair to all.

    The answer is a decision: it counts for training in place of others' rankings.
    """
    comparison = _get_comparison(s, by, comparison_id)
    if comparison.state is ComparisonState.NOT_OFFERED:
        raise Refused("This comparison is offered to nobody, so it cannot be gold. Bring it back first.")
    _withdraw(s, comparison_id)
    decision = decide(s, by=by, comparison_id=comparison_id, order=order, reason="The known answer of a gold pair.")
    comparison.gold = True
    s.flush()
    return decision


def end_gold(s: Session, *, by: int, comparison_id: int) -> None:
    """No longer use a pair to check on people; its decision stays until it is withdrawn."""
    _get_comparison(s, by, comparison_id).gold = False
    s.flush()


def end_decision(s: Session, *, by: int, comparison_id: int) -> None:
    """Take back the decision that stands on a comparison, also another manager's; it is gold no longer."""
    _get_comparison(s, by, comparison_id).gold = False
    if not _withdraw(s, comparison_id):
        raise NotFound("No decision stands on this comparison any more. Reload the page.")


def _withdraw(s: Session, comparison_id: int) -> bool:
    decisions = s.scalars(select(Ranking).where(Ranking.comparison_id == comparison_id, DECISION)).all()
    for decision in decisions:
        decision.undone_at = now()
    s.flush()
    return bool(decisions)
