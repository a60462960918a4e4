"""Pairs on which people contradict each other, and the manager's word that decides while all rankings stay."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, selectinload

from db.comparisons import OFFERED, WORD_OF_PERSON, ranked_by, revealed_to
from db.lookup import add_unique
from db.models import Comparison, Ranking, Role, SamplingReason, now
from db.people import require_role
from errors import NotFound
from review.assignment import Offer, load_offer
from review.rankings import GivenRanking, new_ranking
from review.reveals import reveal_comparison
from stats.verdicts import Order
from texts.rules import load_text_filter

DECISION = Ranking.adjudicates & Ranking.undone_at.is_(None)
"""Condition: a Ranking is a manager's standing decision."""


@dataclass(frozen=True)
class Conflict:
    """What people put in opposite orders, or of which one would send something and another nothing."""

    offer: Offer
    rankings: Sequence[GivenRanking]
    decision: GivenRanking | None
    """The manager's, if one stands."""


def count_conflicts(s: Session, *, by: int, project_id: int, decided: bool) -> int:
    """Count the comparisons that people contradict each other on, with or without a decision; managers only."""
    return s.scalar(select(func.count()).select_from(_contested(s, by, project_id, decided).subquery())) or 0


def list_conflicts(s: Session, *, by: int, project_id: int, decided: bool, limit: int = 20) -> list[Conflict]:
    """Comparisons that people contradict each other on, oldest first, decided ones newest first; managers only."""
    shown = load_text_filter(s, project_id=project_id)
    conflicts = []
    for comparison_id in s.scalars(_contested(s, by, project_id, decided).limit(limit)).all():
        offer = load_offer(s, comparison_id=comparison_id, reviewer_id=by, shown=shown)
        rankings = s.scalars(
            select(Ranking)
            .where(Ranking.comparison_id == comparison_id, WORD_OF_PERSON | DECISION)
            .options(selectinload(Ranking.placements), selectinload(Ranking.reviewer))
            .order_by(Ranking.id)
        )
        response_ids = [reply.response_id for reply in offer.replies]
        views = [(ranking.adjudicates, GivenRanking.of(ranking, response_ids)) for ranking in rankings]
        others = [view for is_decision, view in views if not is_decision]
        decision = next((view for is_decision, view in views if is_decision), None)
        conflicts.append(Conflict(offer, others, decision))
    return conflicts


def _contested(s: Session, by: int, project_id: int, decided: bool) -> Select[int]:
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    decision = (
        select(Ranking.id).where(Ranking.comparison_id == Comparison.id, DECISION).correlate(Comparison)
    ).scalar_subquery()
    comparisons = select(Comparison.id).where(Comparison.project_id == project_id, Comparison.contested, OFFERED)
    if decided:
        # only what this manager has looked at or ranked: a list of decisions is no way to learn what others said
        seen = revealed_to(by) | ranked_by(by)
        return comparisons.where(decision.is_not(None), seen).order_by(decision.desc())
    return comparisons.where(decision.is_(None)).order_by(Comparison.id)


def decide(s: Session, *, by: int, comparison_id: int, order: Order, reason: str | None = None) -> Ranking:
    """Decide between others' rankings of a comparison, with its replies as they stand for this manager.

    Raises `Refused` where it is decided already, and whatever `review.rankings.new_ranking` does.
    """
    decision = new_ranking(
        s,
        by=by,
        comparison_id=comparison_id,
        order=order,
        reason=reason,
        roles=(Role.MANAGER,),
        drawn=SamplingReason.NONE,
    )
    decision.adjudicates = True
    reveal_comparison(s, by=by, comparison_id=comparison_id)
    add_unique(s, decision, refusal="Somebody has decided this already. Reload the page.")
    return decision


def withdraw_decision(s: Session, *, by: int, ranking_id: int) -> None:
    """Take a decision back; the rankings count again, and contradict each other again."""
    decision = s.get(Ranking, ranking_id)
    if decision is None or not decision.adjudicates or decision.undone_at is not None:
        raise NotFound("That decision does not stand any more. Reload the page.")
    require_role(s, by=by, project_id=decision.comparison.project_id, roles=(Role.MANAGER,))
    decision.undone_at = now()
    s.flush()
