"""Pairs on which people contradict each other, and the manager's word that decides while all rankings stay."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from db.models import Comparison, ComparisonState, Drawn, Ranking, Reveal, Reviewer, Role, now
from db.people import require
from errors import NotFound, Refused
from review.assignment import Offer, offer, ranked_by
from review.rankings import new_ranking, order_of
from review.reveals import reveal
from stats.verdicts import Order
from texts.rules import as_shown


@dataclass(frozen=True)
class Word:
    """What one person said, as the one who decides sees the sides."""

    ranking_id: int
    reviewer: str
    order: Order
    strength: int | None
    reason: str | None


@dataclass(frozen=True)
class Conflict:
    """What people put in opposite orders, or of which one would send something and another nothing."""

    offer: Offer
    words: Sequence[Word]
    decision: Word | None
    """The manager's, if one stands."""


def count_conflicts(s: Session, *, by: int, project_id: int, decided: bool) -> int:
    """How many comparisons people contradict each other on, with or without a decision; managers only."""
    return s.scalar(select(func.count()).select_from(_contested(s, by, project_id, decided).subquery())) or 0


def conflicts(s: Session, *, by: int, project_id: int, decided: bool, limit: int = 20) -> list[Conflict]:
    """Comparisons that people contradict each other on, oldest first, decided ones newest first; managers only."""
    shown = as_shown(s, project_id=project_id)
    found = []
    for comparison_id in s.scalars(_contested(s, by, project_id, decided).limit(limit)).all():
        offered = offer(s, comparison_id=comparison_id, reviewer_id=by, shown=shown)
        rankings = s.scalars(
            select(Ranking)
            .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
            .where(
                Ranking.comparison_id == comparison_id,
                Ranking.undone_at.is_(None),
                Ranking.drawn != Drawn.REPEAT,
                Reviewer.simulated.is_(False),
            )
            .options(selectinload(Ranking.placements), selectinload(Ranking.reviewer))
            .order_by(Ranking.id)
        ).all()
        decision = next((ranking for ranking in rankings if ranking.adjudicates), None)
        found.append(
            Conflict(
                offered,
                [_word(ranking, offered) for ranking in rankings if not ranking.adjudicates],
                _word(decision, offered) if decision else None,
            )
        )
    return found


def _contested(s: Session, by: int, project_id: int, decided: bool) -> Select[int]:
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    decision = (
        select(Ranking.id)
        .where(Ranking.comparison_id == Comparison.id, Ranking.adjudicates, Ranking.undone_at.is_(None))
        .correlate(Comparison)
        .scalar_subquery()
    )
    rows = select(Comparison.id).where(
        Comparison.project_id == project_id,
        Comparison.contested,
        Comparison.state != ComparisonState.AWAY,
    )
    if decided:
        # only what this manager has looked at or ranked: a list of decisions is no way to learn what others said
        seen = exists().where(Reveal.comparison_id == Comparison.id, Reveal.reviewer_id == by) | ranked_by(by)
        return rows.where(decision.is_not(None), seen).order_by(decision.desc())
    return rows.where(decision.is_(None)).order_by(Comparison.id)


def decide(s: Session, *, by: int, comparison_id: int, order: Order, reason: str | None = None) -> Ranking:
    """Decide between others' rankings of a comparison, with its replies as they stand for this manager.

    Raises `Refused` where somebody has decided already, and whatever `review.rankings.new_ranking` does.
    """
    ranking = new_ranking(
        s, by=by, comparison_id=comparison_id, order=order, reason=reason, roles=(Role.MANAGER,), drawn=Drawn.NONE
    )
    ranking.adjudicates = True
    reveal(s, by=by, comparison_id=comparison_id)
    try:
        with s.begin_nested():
            s.add(ranking)
            s.flush()
    except IntegrityError:
        raise Refused("Somebody has decided this already. Reload the page.") from None
    return ranking


def withdraw_decision(s: Session, *, by: int, ranking_id: int) -> None:
    """Take a decision back; the rankings count again, and contradict each other again."""
    decision = s.get(Ranking, ranking_id)
    if decision is None or not decision.adjudicates or decision.undone_at is not None:
        raise NotFound("That decision does not stand any more. Reload the page.")
    require(s, by=by, project_id=decision.comparison.project_id, roles=(Role.MANAGER,))
    decision.undone_at = now()
    s.flush()


def _word(ranking: Ranking, offered: Offer) -> Word:
    return Word(
        ranking_id=ranking.id,
        reviewer=ranking.reviewer.label,
        order=order_of(ranking, (reply.response_id for reply in offered.replies)),
        strength=ranking.strength,
        reason=ranking.reason,
    )
