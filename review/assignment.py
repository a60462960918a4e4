"""Which Comparison a reviewer sees next, and which response stands on the left."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ScalarSelect, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OWN_WORD
from db.models import (
    Comparison,
    ComparisonResponse,
    Flag,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reviewer,
)
from review.slots import FEWEST, MOST


@dataclass(frozen=True)
class Offer:
    """A pair to rank, as the reviewer sees it: no word of who wrote what."""

    comparison_id: int
    prompt: str
    context: str | None
    left_id: int
    left: str
    right_id: int
    right: str


@dataclass(frozen=True)
class RankingProgress:
    """How far one reviewer is."""

    done: int
    total: int


def left_first(comparison_id: int, reviewer_id: int) -> bool:
    """Whether the response with the lower id stands left, for this reviewer: a fair coin that a reload cannot turn."""
    digest = hashlib.sha256(f"sides:{comparison_id}:{reviewer_id}".encode()).digest()
    return digest[0] % 2 == 0


def _with_responses(fewest: int, most: int) -> ScalarSelect[int]:
    """Ids of comparisons of so many responses."""
    return (
        select(ComparisonResponse.comparison_id)
        .group_by(ComparisonResponse.comparison_id)
        .having(func.count().between(fewest, most))
        .scalar_subquery()
    )


def _open_to(reviewer_id: int, project_id: int) -> Select[int]:
    """Ids of what the reviewer may rank: two to six replies, training prompts, nothing own, discarded or flagged."""
    own = aliased(Responder)
    return (
        select(Comparison.id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            Comparison.project_id == project_id,
            Prompt.held_out.is_(False),
            Comparison.discarded_at.is_(None),
            Comparison.id.in_(_with_responses(FEWEST, MOST)),
            ~exists().where(
                Flag.comparison_id == Comparison.id, Flag.reviewer_id == reviewer_id, Flag.settled_at.is_(None)
            ),
            ~exists().where(
                ComparisonResponse.comparison_id == Comparison.id,
                ComparisonResponse.response_id == Response.id,
                Response.responder_id == own.id,
                own.reviewer_id == reviewer_id,
            ),
        )
    )


def _ranked_by(reviewer_id: int) -> Select[int]:
    return select(Ranking.comparison_id).where(Ranking.reviewer_id == reviewer_id, OWN_WORD)


def progress(s: Session, *, project_id: int, reviewer_id: int) -> RankingProgress:
    """How many pairs the reviewer has ranked, of those open to them."""
    open_ids = _open_to(reviewer_id, project_id).subquery()
    total = s.scalar(select(func.count()).select_from(open_ids)) or 0
    done = s.scalar(select(func.count()).select_from(open_ids).where(open_ids.c.id.in_(_ranked_by(reviewer_id)))) or 0
    return RankingProgress(done=done, total=total)


def waiting_for(reviewer_id: int, project_id: int, later: Collection[int] = ()) -> Select[int]:
    """Ids of the pairs that the reviewer has still to rank, the next one first.

    Pairs that no person has ranked come first, in an order that looks random but stays the same, so that a reload
    shows the same pair. `later` are comparisons put off: they come when nothing else is left.
    """
    by_people = (
        select(func.count())
        .where(
            Ranking.comparison_id == Comparison.id,
            OWN_WORD,
            Ranking.reviewer_id == Reviewer.id,
            Reviewer.simulated.is_(False),
        )
        .correlate(Comparison)
        .scalar_subquery()
    )
    return (
        _open_to(reviewer_id, project_id)
        .where(Comparison.id.not_in(_ranked_by(reviewer_id)))
        # Knuth's multiplicative hash: plain integers, the same on every database
        .order_by(Comparison.id.in_(list(later)), by_people, (Comparison.id * 7919) % 104729, Comparison.id)
    )


def next_offer(s: Session, *, project_id: int, reviewer_id: int, later: Collection[int] = ()) -> Offer | None:
    """The next pair for this reviewer, whatever others have on the screen; none when all are ranked.

    Of exactly two; whoever can order more asks `review.queue.claim`.
    """
    pairs = waiting_for(reviewer_id, project_id, later).where(Comparison.id.in_(_with_responses(2, 2)))
    comparison_id = s.scalar(pairs.limit(1))
    return offer(s, comparison_id=comparison_id, reviewer_id=reviewer_id) if comparison_id is not None else None


def offer(s: Session, *, comparison_id: int, reviewer_id: int) -> Offer:
    """One pair as this reviewer sees it."""
    comparison = s.get_one(Comparison, comparison_id)
    first, second = comparison.responses
    left, right = (first, second) if left_first(comparison_id, reviewer_id) else (second, first)
    return Offer(
        comparison_id=comparison.id,
        prompt=comparison.prompt.text,
        context=comparison.prompt.context,
        left_id=left.id,
        left=left.text,
        right_id=right.id,
        right=right.text,
    )
