"""Which Comparisons a reviewer may rank, how one is shown, and how far the reviewer is."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, exists, func, select, union
from sqlalchemy.orm import Session

from db.comparisons import OWN_WORD, of_at_most
from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Drawn,
    Flag,
    Project,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reveal,
    Reviewer,
)
from texts.rules import as_shown
from texts.shown import AsShown


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
    """How far one reviewer is."""

    done: int
    """Rankings of theirs that stand, hidden second looks among them."""
    total: int
    """Those, and what waits for them."""
    waiting_for_others: int
    """Of those done, how many want more people's rankings; 0 where no number of people is wanted."""

    @property
    def waiting(self) -> int:
        """What the reviewer has still to rank."""
        return self.total - self.done


def left_first(comparison_id: int, reviewer_id: int) -> bool:
    """Whether the response with the lower id stands left, for this reviewer: a fair coin that a reload cannot turn."""
    return hashlib.sha256(f"sides:{comparison_id}:{reviewer_id}".encode()).digest()[0] % 2 == 0


def not_theirs(s: Session, *, project: Project, reviewer_id: int) -> list[Select[int]]:
    """Ids of comparisons that are not this reviewer's to rank: flagged, revealed, or with a reply of their own."""
    found = [
        select(Flag.comparison_id).where(Flag.reviewer_id == reviewer_id, Flag.settled_at.is_(None)),
        select(Reveal.comparison_id).where(Reveal.reviewer_id == reviewer_id),
    ]
    if not project.authors_rank:
        # looked up first: hardly anybody wrote something, and then there is nothing to join
        wrote = select(Responder.id).where(Responder.project_id == project.id, Responder.reviewer_id == reviewer_id)
        found += [
            select(ComparisonResponse.comparison_id)
            .join(Response, Response.id == ComparisonResponse.response_id)
            .where(Response.responder_id == responder_id)
            for responder_id in s.scalars(wrote)
        ]
    return [rows for rows in found if s.scalar(rows.limit(1)) is not None]


def ranked_by(reviewer_id: int) -> ColumnElement[bool]:
    """Whether a Comparison has a standing ranking of the reviewer's own."""
    return exists().where(Ranking.comparison_id == Comparison.id, Ranking.reviewer_id == reviewer_id, OWN_WORD)


def waiting_for(
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
    states = [ComparisonState.OPEN, ComparisonState.FULL] if reviewer.simulated else [ComparisonState.OPEN]
    breadth = project.people_wanted is None and not reviewer.simulated
    rows = (
        select(Comparison.id)
        .where(
            Comparison.project_id == project.id,
            # one state by "=": with "IN" the index would not give the order
            Comparison.state == states[0] if len(states) == 1 else Comparison.state.in_(states),
            exists().where(Prompt.id == Comparison.prompt_id, Prompt.held_out.is_(False)),
            ~ranked_by(reviewer.id),
            *conditions,
        )
        .order_by(*([Comparison.people] if breadth else []), Comparison.draw, Comparison.id)
    )
    if but_not:
        rows = rows.where(Comparison.id.not_in(list(but_not)))
    for theirs in not_theirs(s, project=project, reviewer_id=reviewer.id):
        rows = rows.where(Comparison.id.not_in(theirs))
    return rows


def progress(s: Session, *, project_id: int, reviewer_id: int) -> RankingProgress:
    """How many comparisons the reviewer has ranked, and how many wait for them; counted from what is stored."""
    project = s.get_one(Project, project_id)
    mine = s.execute(
        select(Comparison.state, Ranking.drawn, func.count())
        .select_from(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .where(
            Ranking.reviewer_id == reviewer_id,
            Ranking.undone_at.is_(None),
            Ranking.adjudicates.is_(False),
            Comparison.project_id == project_id,
            Comparison.state != ComparisonState.AWAY,
        )
        .group_by(Comparison.state, Ranking.drawn)
    ).all()
    done = sum(count for *_, count in mine)
    own_open = sum(count for state, drawn, count in mine if state is ComparisonState.OPEN and drawn is not Drawn.REPEAT)
    open_to_all = select(func.count()).where(
        Comparison.project_id == project_id, Comparison.state == ComparisonState.OPEN
    )
    elsewhere = 0
    if theirs := not_theirs(s, project=project, reviewer_id=reviewer_id):
        elsewhere = s.scalar(open_to_all.where(Comparison.id.in_(union(*theirs)), ~ranked_by(reviewer_id))) or 0
    waiting = max(0, (s.scalar(open_to_all) or 0) - own_open - elsewhere)
    return RankingProgress(
        done=done, total=done + waiting, waiting_for_others=own_open if project.people_wanted is not None else 0
    )


def next_offer(s: Session, *, project_id: int, reviewer_id: int) -> Offer | None:
    """The next pair for this reviewer, whatever others have on the screen; none when all are ranked.

    Of exactly two; whoever can order more asks `review.queue.claim`.
    """
    project, reviewer = s.get_one(Project, project_id), s.get_one(Reviewer, reviewer_id)
    pairs = waiting_for(s, project=project, reviewer=reviewer, conditions=[of_at_most(2)])
    comparison_id = s.scalar(pairs.limit(1))
    return offer(s, comparison_id=comparison_id, reviewer_id=reviewer_id) if comparison_id is not None else None


def drawn_order(comparison: Comparison, *, reviewer_id: int, swapped: bool = False) -> Sequence[Response]:
    """The responses from left to right, shuffled for each comparison and reviewer by a hash that no reload changes.

    In a hidden second look all stand the other way round.
    """

    def drawn(response: Response) -> bytes:
        return hashlib.sha256(f"cards:{comparison.id}:{reviewer_id}:{response.id}".encode()).digest()

    if len(comparison.responses) == 2:
        order = comparison.responses[:: 1 if left_first(comparison.id, reviewer_id) else -1]
    else:
        order = sorted(comparison.responses, key=drawn)
    return order[::-1] if swapped else order


def offer(
    s: Session, *, comparison_id: int, reviewer_id: int, swapped: bool = False, shown: AsShown | None = None
) -> Offer:
    """One comparison as this reviewer sees it.

    Args:
        shown: the project's `as_shown`, where several are asked for at once.
    """
    comparison = s.get_one(Comparison, comparison_id)
    shown = shown or as_shown(s, project_id=comparison.project_id)
    return Offer(
        comparison_id=comparison.id,
        prompt_id=comparison.prompt_id,
        prompt=comparison.prompt.text,
        context=comparison.prompt.context,
        replies=tuple(
            OfferedReply(response.id, shown(response.text))
            for response in drawn_order(comparison, reviewer_id=reviewer_id, swapped=swapped)
        ),
        synthetic=comparison.prompt.synthetic,
    )
