"""Pairs on which people contradict each other, and the manager's word that decides while all rankings stay."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from db.comparisons import OWN_WORD
from db.models import Comparison, Prompt, Ranking, Reviewer, Role, now
from db.people import require
from errors import NotFound, Refused
from review.assignment import Offer, offer
from review.rankings import Choice, choice_of, new_ranking


@dataclass(frozen=True)
class Word:
    """What one person said of a pair, as the one who decides sees the sides."""

    reviewer: str
    choice: Choice
    strength: int | None
    reason: str | None


@dataclass(frozen=True)
class Conflict:
    """A pair that people put in opposite orders, or that one would send and another would not."""

    pair: Offer
    words: Sequence[Word]
    decision: Word | None
    """The manager's, if one stands."""
    decision_id: int | None


def conflicts(s: Session, *, by: int, project_id: int) -> list[Conflict]:
    """Pairs with contradicting rankings by people, decided or not; managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    rankings = s.scalars(
        select(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(
            Comparison.project_id == project_id,
            Prompt.held_out.is_(False),
            Comparison.discarded_at.is_(None),
            Reviewer.simulated.is_(False),
            OWN_WORD,
            Ranking.comparison_id.in_(_ranked_twice()),
        )
        .options(selectinload(Ranking.placements), selectinload(Ranking.reviewer))
        .order_by(Ranking.id)
    ).all()
    of: dict[int, list[Ranking]] = defaultdict(list)
    for ranking in rankings:
        if len(ranking.placements) == 2:
            of[ranking.comparison_id].append(ranking)
    standing = select(Ranking).where(Ranking.comparison_id.in_(of), Ranking.adjudicates, Ranking.undone_at.is_(None))
    decisions = {ranking.comparison_id: ranking for ranking in s.scalars(standing)}
    found = []
    for comparison_id, some in of.items():
        decision = decisions.get(comparison_id)
        if not _contradict(some):
            continue
        pair = offer(s, comparison_id=comparison_id, reviewer_id=by)
        found.append(
            Conflict(
                pair,
                [_word(ranking, pair) for ranking in some],
                _word(decision, pair) if decision else None,
                decision.id if decision else None,
            )
        )
    return found


def decide(s: Session, *, by: int, comparison_id: int, choice: Choice, reason: str | None = None) -> Ranking:
    """Decide between others' rankings of a pair, with the sides as they stand for this manager.

    Raises `Refused` where somebody has decided already.
    """
    ranking = new_ranking(s, by=by, comparison_id=comparison_id, choice=choice, reason=reason, roles=(Role.MANAGER,))
    ranking.adjudicates = True
    try:
        with s.begin_nested():
            s.add(ranking)
            s.flush()
    except IntegrityError:
        raise Refused("Somebody has decided this pair already. Reload the page.") from None
    return ranking


def withdraw_decision(s: Session, *, by: int, ranking_id: int) -> None:
    """Take a decision back; the rankings count again, and contradict each other again."""
    decision = s.get(Ranking, ranking_id)
    if decision is None or not decision.adjudicates or decision.undone_at is not None:
        raise NotFound("That decision does not stand any more. Reload the page.")
    require(s, by=by, project_id=decision.comparison.project_id, roles=(Role.MANAGER,))
    decision.undone_at = now()
    s.flush()


def _ranked_twice() -> Select[int]:
    return select(Ranking.comparison_id).where(OWN_WORD).group_by(Ranking.comparison_id).having(func.count() > 1)


def _contradict(rankings: Sequence[Ranking]) -> bool:
    """Opposite orders, or both bad against anything else."""
    said = {_canonical(ranking) for ranking in rankings}
    return {"FIRST", "SECOND"} <= said or ("BOTH_BAD" in said and len(said) > 1)


def _canonical(ranking: Ranking) -> str:
    if ranking.both_bad:
        return "BOTH_BAD"
    first, second = (p.place for p in sorted(ranking.placements, key=lambda p: p.response_id))
    return "TIE" if first == second else "FIRST" if first < second else "SECOND"


def _word(ranking: Ranking, pair: Offer) -> Word:
    return Word(ranking.reviewer.label, choice_of(ranking, left_id=pair.left_id), ranking.strength, ranking.reason)
