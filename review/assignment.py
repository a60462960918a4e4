"""Which Comparisons a reviewer may rank, how one is shown, and how far the reviewer is."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select, union
from sqlalchemy.orm import Session

from db.comparisons import OFFERED, has_at_most, ranked_by
from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Flag,
    Project,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reveal,
    Reviewer,
    SamplingReason,
)
from texts.rules import load_text_filter
from texts.shown import TextFilter


@dataclass(frozen=True)
class OfferedReply:
    """One of the replies that are to be put in order."""

    response_id: int
    text: str
    """As it is shown."""


@dataclass(frozen=True)
class Offer:
    """Replies to put in order, as the reviewer sees them: no word of who wrote what."""

    comparison_id: int
    prompt_id: int
    prompt: str
    context: str | None
    replies: tuple[OfferedReply, ...]
    """From left to right."""
    synthetic: bool = False
    """The prompt was made up by a rule or a model."""

    @property
    def is_pair(self) -> bool:
        """Whether there are two, which stand side by side."""
        return len(self.replies) == 2


@dataclass(frozen=True)
class RankingProgress:
    """How many comparisons one reviewer has ranked, and how many wait for them."""

    done: int
    """Rankings of theirs that stand, hidden second looks among them."""
    waiting: int

    @property
    def total(self) -> int:
        """What is ranked and what waits."""
        return self.done + self.waiting


def left_first(comparison_id: int, reviewer_id: int) -> bool:
    """Whether the response with the lower id stands left, for this reviewer: a fair coin that a reload cannot turn."""
    return hashlib.sha256(f"sides:{comparison_id}:{reviewer_id}".encode()).digest()[0] % 2 == 0


def withheld_comparisons(s: Session, *, project: Project, reviewer_id: int) -> list[Select[int]]:
    """Ids of comparisons that are not this reviewer's to rank: flagged, revealed, or with a reply of their own."""
    queries = [
        select(Flag.comparison_id).where(Flag.reviewer_id == reviewer_id, Flag.settled_at.is_(None)),
        select(Reveal.comparison_id).where(Reveal.reviewer_id == reviewer_id),
    ]
    if not project.authors_rank:
        # looked up first: hardly any reviewer writes replies, and then there is nothing to join
        wrote = select(Responder.id).where(Responder.project_id == project.id, Responder.reviewer_id == reviewer_id)
        queries += [
            select(ComparisonResponse.comparison_id).join(Response).where(Response.responder_id == responder_id)
            for responder_id in s.scalars(wrote)
        ]
    return [query for query in queries if s.scalar(query.limit(1)) is not None]


def waiting_comparisons(
    s: Session,
    *,
    project: Project,
    reviewer: Reviewer,
    but_not: Collection[int] = (),
    conditions: Collection[ColumnElement[bool]] = (),
) -> Select[int]:
    """Ids of the comparisons that the reviewer has still to rank, the next one first.

    The order looks random and stays the same, so that a reload shows the same pair. Where no number of people is
    wanted, those that fewest people have ranked come first; else the order is the same for all, so that the overlap
    fills from the start and agreement shows early. Simulated reviewers fill no quota and meet none.
    """
    breadth = project.people_wanted is None and not reviewer.simulated
    return (
        select(Comparison.id)
        .where(
            Comparison.project_id == project.id,
            # one state by "=": with "IN" the index would not give the order
            OFFERED if reviewer.simulated else Comparison.state == ComparisonState.OPEN,
            Comparison.prompt.has(Prompt.held_out.is_(False)),
            ~ranked_by(reviewer.id),
            Comparison.id.not_in(list(but_not)),
            *(Comparison.id.not_in(ids) for ids in withheld_comparisons(s, project=project, reviewer_id=reviewer.id)),
            *conditions,
        )
        .order_by(*([Comparison.people] if breadth else []), Comparison.random_order, Comparison.id)
    )


def ranking_progress(s: Session, *, project_id: int, reviewer_id: int) -> RankingProgress:
    """How many comparisons the reviewer has ranked, and how many wait for them; counted from what is stored."""
    project = s.get_one(Project, project_id)
    is_open = Comparison.state == ComparisonState.OPEN
    rankings = (
        select(func.count())
        .select_from(Ranking)
        .join(Ranking.comparison)
        .where(
            Ranking.reviewer_id == reviewer_id,
            Ranking.undone_at.is_(None),
            Ranking.adjudicates.is_(False),
            Comparison.project_id == project_id,
        )
    )
    open_to_all = select(func.count()).where(Comparison.project_id == project_id, is_open)
    # what is left of all by three counts: to look for each comparison whether it is ranked would take longer
    waiting = s.scalar(open_to_all) or 0
    waiting -= s.scalar(rankings.where(is_open, Ranking.sampling_reason != SamplingReason.REPEAT)) or 0
    if ids := withheld_comparisons(s, project=project, reviewer_id=reviewer_id):
        waiting -= s.scalar(open_to_all.where(Comparison.id.in_(union(*ids)), ~ranked_by(reviewer_id))) or 0
    return RankingProgress(done=s.scalar(rankings.where(OFFERED)) or 0, waiting=max(0, waiting))


def next_offer(s: Session, *, project_id: int, reviewer_id: int) -> Offer | None:
    """The next pair for this reviewer, whatever others have on the screen; none when all are ranked.

    Of exactly two; `review.queue.claim` gives larger ones too.
    """
    project, reviewer = s.get_one(Project, project_id), s.get_one(Reviewer, reviewer_id)
    pairs = waiting_comparisons(s, project=project, reviewer=reviewer, conditions=[has_at_most(2)])
    comparison_id = s.scalar(pairs.limit(1))
    return load_offer(s, comparison_id=comparison_id, reviewer_id=reviewer_id) if comparison_id is not None else None


def shown_order(comparison: Comparison, *, reviewer_id: int, swapped: bool = False) -> Sequence[Response]:
    """The responses from left to right, shuffled for each comparison and reviewer by a hash that no reload changes.

    In a hidden second look all stand the other way round.
    """
    if len(comparison.responses) == 2:
        order = comparison.responses[:: 1 if left_first(comparison.id, reviewer_id) else -1]
    else:
        seed = f"cards:{comparison.id}:{reviewer_id}"
        order = sorted(comparison.responses, key=lambda reply: hashlib.sha256(f"{seed}:{reply.id}".encode()).digest())
    return order[::-1] if swapped else order


def load_offer(
    s: Session, *, comparison_id: int, reviewer_id: int, swapped: bool = False, shown: TextFilter | None = None
) -> Offer:
    """One comparison as this reviewer sees it.

    Args:
        shown: the project's text filter, where several are asked for at once.
    """
    comparison = s.get_one(Comparison, comparison_id)
    shown = shown or load_text_filter(s, project_id=comparison.project_id)
    replies = shown_order(comparison, reviewer_id=reviewer_id, swapped=swapped)
    prompt = comparison.prompt
    return Offer(
        comparison_id=comparison.id,
        prompt_id=prompt.id,
        prompt=prompt.text,
        context=prompt.context,
        replies=tuple(OfferedReply(response.id, shown(response.text)) for response in replies),
        synthetic=prompt.synthetic,
    )
