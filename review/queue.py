"""A team's queue: what comes next for whom, how many people each comparison wants, and leases.

Where a project wants a number of people, each comparison of the overlap share wants so many and every other one a
single person; the database counts, not the browser. What a reviewer has on the screen is leased to them for `LEASE`;
nothing is lost when a lease runs out, for the count decides.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from db.comparisons import OFFERED, OWN_RANKING, WORD_OF_PERSON, has_at_most, people_wanted_for, ranked_by
from db.lookup import insert_into
from db.models import (
    Comparison,
    ComparisonState,
    Lease,
    Project,
    Prompt,
    QueueOrder,
    Ranking,
    Reviewer,
    Role,
    SamplingReason,
    now,
)
from db.people import RANKERS, require_role
from errors import Refused
from review.assignment import Offer, load_offer, waiting_comparisons, withheld_comparisons
from review.filters import Filter, filter_conditions
from review.uncertainty import CONTROL, WINDOW, least_certain, load_candidates, responder_strengths

LEASE = timedelta(minutes=10)
TRIES = 5
"""How often a claim looks again when others were quicker."""
LOOK_BACK = 10
"""A hidden second look comes after at least so many other rankings."""
GOLD_EVERY = 10
"""About one comparison in so many is a gold one, while any wait."""
MOST_REPEATS = 0.2


@dataclass(frozen=True)
class ReviewerLeases:
    """Comparisons that a reviewer has on the screen."""

    reviewer: str
    pairs: int
    until: datetime
    """When the last of their leases ends."""


def set_queue(
    s: Session,
    *,
    by: int,
    project_id: int,
    people: int | None,
    share: float,
    next_by: QueueOrder = QueueOrder.RANDOM,
    repeat_share: float = 0.0,
    authors_rank: bool = False,
) -> None:
    """Say how the project's queue works; managers only.

    Args:
        people: how many rank each comparison of the share, in 1..10; None lets all rank all.
        share: of comparisons that want so many, in (0, 1]; the others want one person.
        next_by: which comparison comes next.
        repeat_share: of what a reviewer is given, how much they ranked before; in [0, `MOST_REPEATS`].
        authors_rank: whether people may rank what they wrote themselves.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    if people is not None and not 1 <= people <= 10:
        raise Refused("Between 1 and 10 people can be wanted for a pair.")
    if not 0 < share <= 1:
        raise Refused("The share lies above 0 and at most at 1.")
    if not 0 <= repeat_share <= MOST_REPEATS:
        raise Refused(f"Hidden second looks are at most {MOST_REPEATS:.0%} of what somebody is given.")
    project = s.get_one(Project, project_id)
    project.people_wanted, project.overlap_share = people, share
    project.queue_order, project.repeat_share, project.authors_rank = next_by, repeat_share, authors_rank
    s.flush()


def claim(
    s: Session, *, project_id: int, reviewer_id: int, later: Sequence[int] = (), only: Filter | None = None
) -> Offer | None:
    """What this reviewer has next on the screen, leased to them; none when there is nothing. In a writing transaction.

    Args:
        later: comparisons that the reviewer put off; they come when nothing else is left, the first put off first.
        only: narrows the queue down. Raises `NotAllowed` for what only managers may filter by.
    """
    project, reviewer = s.get_one(Project, project_id), s.get_one(Reviewer, reviewer_id)
    require_role(s, by=reviewer_id, project_id=project_id, roles=RANKERS)
    only = only or Filter()
    if only.responder_ids or only.standing is not None:  # that would tell who wrote a response
        require_role(s, by=reviewer_id, project_id=project_id, roles=(Role.MANAGER,))
    narrowed = filter_conditions(only)
    drawn = (
        _find_leased(s, project=project, reviewer_id=reviewer_id, later=later, narrowed=narrowed)
        or (None if only.is_set else _find_repeat(s, project=project, reviewer_id=reviewer_id, but_not=later))
        or _draw(s, project=project, reviewer=reviewer, but_not=later, narrowed=narrowed)
    )
    for put_off in later:
        this = [*narrowed, Comparison.id == put_off]
        drawn = drawn or _draw(s, project=project, reviewer=reviewer, but_not=(), narrowed=this)
    if drawn is None:
        return None
    comparison_id, reason = drawn
    lease(s, comparison_id=comparison_id, reviewer_id=reviewer_id, drawn=reason)
    return load_offer(s, comparison_id=comparison_id, reviewer_id=reviewer_id, swapped=reason is SamplingReason.REPEAT)


def _find_leased(
    s: Session, *, project: Project, reviewer_id: int, later: Collection[int], narrowed: Sequence[ColumnElement[bool]]
) -> tuple[int, SamplingReason] | None:
    """What is leased to the reviewer already and still theirs to rank, the newest first."""
    limit = people_wanted_for(project)
    room = true() if limit is None else or_(Comparison.gold.is_(True), _count_others(reviewer_id) < limit)
    leased = s.execute(
        select(Lease.comparison_id, Lease.sampling_reason)
        .join(Comparison, Comparison.id == Lease.comparison_id)
        .where(
            Lease.reviewer_id == reviewer_id,
            Lease.until > now(),
            Comparison.project_id == project.id,
            OFFERED,
            # a second tab may have ranked it since
            or_(Lease.sampling_reason == SamplingReason.REPEAT, and_(room, ~ranked_by(reviewer_id))),
            Comparison.id.not_in(list(later)),
            *(Comparison.id.not_in(ids) for ids in withheld_comparisons(s, project=project, reviewer_id=reviewer_id)),
            *narrowed,
        )
        .order_by(Lease.until.desc())
        .limit(1)
    ).one_or_none()
    return (leased.comparison_id, leased.sampling_reason) if leased else None


def lease(s: Session, *, comparison_id: int, reviewer_id: int, drawn: SamplingReason) -> None:
    """Make or renew a lease, so that it comes up before anything else; a second tab may be doing the same."""
    values = {"until": now() + LEASE, "sampling_reason": drawn}
    new = insert_into(s, Lease).values(comparison_id=comparison_id, reviewer_id=reviewer_id, **values)
    s.execute(new.on_conflict_do_update(index_elements=["comparison_id", "reviewer_id"], set_=values))


def _draw(
    s: Session, *, project: Project, reviewer: Reviewer, but_not: Collection[int], narrowed: list[ColumnElement[bool]]
) -> tuple[int, SamplingReason] | None:
    """A comparison with room for one person more, and how it was drawn."""
    limit = people_wanted_for(project)
    counted = limit is not None and not reviewer.simulated
    room = or_(Comparison.gold.is_(True), Comparison.people + _count_leases(reviewer.id) < limit) if counted else true()

    def locked(query: Select[Any]) -> Select[Any]:
        return query.with_for_update(of=Comparison, skip_locked=True) if counted else query

    conditions = [*narrowed, room]
    tried = set(but_not)
    for _ in range(TRIES):
        waiting = waiting_comparisons(s, project=project, reviewer=reviewer, but_not=tried, conditions=conditions)
        comparison_id, drawn = _choose(s, waiting, project=project, reviewer_id=reviewer.id)
        if comparison_id is None:
            comparison_id = s.scalar(locked(waiting.limit(1)))
        if comparison_id is None:
            return None
        # on PostgreSQL another claim may have been saved between the look and the lock
        gold = s.scalar(locked(select(Comparison.gold).where(Comparison.id == comparison_id, room)))
        if gold is not None:
            return comparison_id, SamplingReason.GOLD if gold else drawn
        tried.add(comparison_id)
    return None


def _choose(
    s: Session, waiting: Select[int], *, project: Project, reviewer_id: int
) -> tuple[int | None, SamplingReason]:
    """A comparison put forward on purpose: a gold one now and then, or the least certain one; none otherwise."""
    any_gold = select(Comparison.id).where(Comparison.project_id == project.id, Comparison.gold.is_(True)).limit(1)
    gold = s.scalar(waiting.where(Comparison.gold.is_(True)).limit(1)) if s.scalar(any_gold) is not None else None
    if gold is None and project.queue_order is QueueOrder.RANDOM:
        return None, SamplingReason.RANDOM
    die = _roll(s, reviewer_id=reviewer_id)
    if gold is not None and die % GOLD_EVERY == 0:
        return gold, SamplingReason.GOLD
    if project.queue_order is QueueOrder.UNCERTAIN and die % CONTROL:
        window = load_candidates(s, list(s.scalars(waiting.limit(WINDOW))))
        return least_certain(window, responder_strengths(s, project_id=project.id)), SamplingReason.UNCERTAIN
    return None, SamplingReason.RANDOM


def _rankings_given_here(reviewer_id: int) -> Select[Ranking]:
    """The reviewer's rankings given here, hidden second looks among them, newest first."""
    return (
        select(Ranking)
        .where(
            Ranking.reviewer_id == reviewer_id,
            Ranking.undone_at.is_(None),
            Ranking.sampling_reason != SamplingReason.NONE,
        )
        .order_by(Ranking.id.desc())
    )


def _roll(s: Session, *, reviewer_id: int) -> int:
    """A number below 2**32 that looks random, another one after each ranking: a reload cannot roll it again."""
    last = s.scalars(_rankings_given_here(reviewer_id).limit(1)).first()
    return int.from_bytes(hashlib.sha256(f"die:{reviewer_id}:{last.id if last else 0}".encode()).digest()[:4])


def _find_repeat(
    s: Session, *, project: Project, reviewer_id: int, but_not: Collection[int]
) -> tuple[int, SamplingReason] | None:
    """A pair that the reviewer ranked a while ago, where a hidden second look is due; none where not."""
    if not project.repeat_share or _roll(s, reviewer_id=reviewer_id) >= project.repeat_share * 2**32:
        return None
    recent = s.scalars(_rankings_given_here(reviewer_id).limit(LOOK_BACK)).all()
    if len(recent) < LOOK_BACK:
        return None
    again = aliased(Ranking)
    repeated = exists().where(
        again.comparison_id == Ranking.comparison_id,
        again.reviewer_id == reviewer_id,
        again.undone_at.is_(None),
        again.sampling_reason == SamplingReason.REPEAT,
    )
    withheld = withheld_comparisons(s, project=project, reviewer_id=reviewer_id)
    old = _rankings_given_here(reviewer_id).where(
        Ranking.id < recent[-1].id,
        Ranking.sampling_reason != SamplingReason.REPEAT,
        Ranking.comparison_id.not_in(list(but_not)),
        *(Ranking.comparison_id.not_in(ids) for ids in withheld),
        ~repeated,
        Ranking.comparison.has(and_(Comparison.project_id == project.id, OFFERED, has_at_most(2))),
    )
    rankings = s.scalars(old.limit(LOOK_BACK)).all()
    return (rankings[-1].comparison_id, SamplingReason.REPEAT) if rankings else None


def sampling_reason_for(s: Session, *, comparison_id: int, reviewer_id: int) -> SamplingReason:
    """How a comparison came to the reviewer; RANDOM where its lease is gone."""
    mine = select(Lease.sampling_reason).where(Lease.comparison_id == comparison_id, Lease.reviewer_id == reviewer_id)
    return s.scalar(mine) or SamplingReason.RANDOM


def check_quota(s: Session, *, comparison: Comparison, reviewer_id: int) -> None:
    """Raise `Refused` where as many people as wanted have ranked already; locks the comparison until the end.

    A lease that ran out does no harm while there is room.
    """
    s.refresh(comparison, with_for_update=True)
    limit = people_wanted_for(s.get_one(Project, comparison.project_id))
    if limit is None or comparison.gold or s.get_one(Reviewer, reviewer_id).simulated:
        return
    if s.scalar(select(_count_others(reviewer_id) >= limit).where(Comparison.id == comparison.id)):
        raise Refused("Enough people have ranked this pair by now, so yours was not needed. Here is the next one.")


def release(s: Session, *, comparison_id: int, reviewer_id: int) -> None:
    """Give a comparison back."""
    s.execute(delete(Lease).where(Lease.comparison_id == comparison_id, Lease.reviewer_id == reviewer_id))


def list_other_leases(s: Session, *, project_id: int, reviewer_id: int) -> list[ReviewerLeases]:
    """Who else has comparisons on the screen now."""
    rows = s.execute(
        select(Reviewer.name, func.count(), func.max(Lease.until))
        .join(Lease, Lease.reviewer_id == Reviewer.id)
        .join(Comparison, Comparison.id == Lease.comparison_id)
        .where(Comparison.project_id == project_id, Lease.until > now(), Lease.reviewer_id != reviewer_id)
        .group_by(Reviewer.id, Reviewer.name)
        .order_by(Reviewer.name)
    ).all()
    return [ReviewerLeases(*row) for row in rows]


def own_rankings(s: Session, *, project_id: int, reviewer_id: int, state: ComparisonState | None) -> dict[int, str]:
    """The first words of the prompts that the reviewer ranked here, by the ranking's id, the 50 newest.

    Args:
        state: only of comparisons in this state; None for all that are offered.
    """
    rows = s.execute(
        select(Ranking.id, Prompt.text)
        .join(Ranking.comparison)
        .join(Comparison.prompt)
        .where(
            Comparison.project_id == project_id,
            OFFERED if state is None else Comparison.state == state,
            Ranking.reviewer_id == reviewer_id,
            Ranking.prompt_set_id.is_(None),
            OWN_RANKING,
        )
        .order_by(Ranking.id.desc())
        .limit(50)
    )
    return {ranking_id: " ".join(text.split())[:160] for ranking_id, text in rows}


def _count_others(reviewer_id: int) -> ColumnElement[int]:
    """Other people's standing rankings of a Comparison."""
    others = select(func.count()).select_from(Ranking).where(Ranking.comparison_id == Comparison.id, WORD_OF_PERSON)
    return others.where(Ranking.reviewer_id != reviewer_id).correlate(Comparison).scalar_subquery()


def _count_leases(reviewer_id: int) -> ColumnElement[int]:
    """Other people's live leases on a Comparison that they have not ranked."""
    ranked = exists().where(
        Ranking.comparison_id == Lease.comparison_id, Ranking.reviewer_id == Lease.reviewer_id, OWN_RANKING
    )
    others = select(func.count()).select_from(Lease).where(Lease.comparison_id == Comparison.id, Lease.until > now())
    return others.where(Lease.reviewer_id != reviewer_id, ~ranked).correlate(Comparison).scalar_subquery()
