"""A team's queue: how many people each pair wants, and a lease that keeps two of them off the same one.

A project that wants no number of people lets everybody rank every pair. Otherwise each comparison of the overlap share
wants so many people, and every other one a single person; the database counts, not the browser. A pair that somebody
has on the screen is leased to them for `LEASE`; nothing is lost when a lease runs out, for the count decides.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, delete, func, literal, select
from sqlalchemy.orm import Session

from db.comparisons import OWN_WORD
from db.models import Comparison, Lease, Project, Ranking, Reviewer, Role, now
from db.people import require
from errors import Refused
from review.assignment import Offer, waiting_for
from review.cards import ManyOffer, offer_any

LEASE = timedelta(minutes=10)
TRIES = 5
"""How often a claim looks again when others were quicker."""


@dataclass(frozen=True)
class Held:
    """Pairs that somebody has on the screen."""

    reviewer: str
    pairs: int
    until: datetime
    """When the last of their leases ends."""


def set_overlap(s: Session, *, by: int, project_id: int, people: int | None, share: float) -> None:
    """Say how many people each comparison of the share wants; None lets everybody rank all. Managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    if people is not None and not 1 <= people <= 10:
        raise Refused("Between 1 and 10 people can be wanted for a pair.")
    if not 0 < share <= 1:
        raise Refused("The share lies above 0 and at most at 1.")
    project = s.get_one(Project, project_id)
    project.people_wanted, project.overlap_share = people, share
    s.flush()


def wanted(project: Project) -> ColumnElement[int] | None:
    """How many people a Comparison wants, as SQL; None where everybody may rank it."""
    if project.people_wanted is None:
        return None
    # plain integers, the same on every database and in every run: the share is the same comparisons always
    in_share = (Comparison.id * 7919) % 1009 < round(project.overlap_share * 1009)
    return case((in_share, project.people_wanted), else_=1)


def claim(s: Session, *, project_id: int, reviewer_id: int, later: Collection[int] = ()) -> Offer | ManyOffer | None:
    """The next comparison for this reviewer, leased to them; none when there is none. In a writing transaction.

    Simulated reviewers have no quota and no leases: theirs is no person's word.
    """
    project, reviewer = s.get_one(Project, project_id), s.get_one(Reviewer, reviewer_id)
    limit = wanted(project)
    waiting = waiting_for(reviewer_id, project_id, later)
    if limit is None or reviewer.simulated:
        comparison_id = s.scalar(waiting.limit(1))
        return offer_any(s, comparison_id=comparison_id, reviewer_id=reviewer_id) if comparison_id is not None else None
    mine = s.scalar(
        waiting.where(
            Comparison.id.in_(select(Lease.comparison_id).where(Lease.reviewer_id == reviewer_id, Lease.until > now())),
            Comparison.id.not_in(list(later)),
            _words(reviewer_id) < limit,
        ).limit(1)
    )
    for _ in range(TRIES):
        found = mine or s.scalar(
            waiting.where(_words(reviewer_id) + _leases(reviewer_id) < limit)
            .limit(1)
            .with_for_update(of=Comparison, skip_locked=True)
        )
        if found is None:
            return None
        # on PostgreSQL another claim may have been saved between the look and the lock
        if mine or s.scalar(select(_words(reviewer_id) + _leases(reviewer_id) < limit).where(Comparison.id == found)):
            s.merge(Lease(comparison_id=found, reviewer_id=reviewer_id, until=now() + LEASE))
            s.flush()
            return offer_any(s, comparison_id=found, reviewer_id=reviewer_id)
    return None


def check_quota(s: Session, *, comparison: Comparison, reviewer_id: int) -> None:
    """Raise `Refused` where as many people as wanted have ranked already; locks the comparison until the end.

    A lease that ran out does no harm while there is room.
    """
    s.refresh(comparison, with_for_update=True)
    limit = wanted(s.get_one(Project, comparison.project_id))
    if limit is None or s.get_one(Reviewer, reviewer_id).simulated:
        return
    full = select(_words(reviewer_id) >= limit).where(Comparison.id == comparison.id)
    if s.scalar(full):
        raise Refused("Enough people have ranked this pair by now, so yours was not needed. Here is the next one.")


def release(s: Session, *, comparison_id: int, reviewer_id: int) -> None:
    """Give a pair back."""
    s.execute(delete(Lease).where(Lease.comparison_id == comparison_id, Lease.reviewer_id == reviewer_id))


def held_by_others(s: Session, *, project_id: int, reviewer_id: int) -> list[Held]:
    """Who else has pairs on the screen now."""
    rows = s.execute(
        select(Reviewer.name, func.count(), func.max(Lease.until))
        .join(Lease, Lease.reviewer_id == Reviewer.id)
        .join(Comparison, Comparison.id == Lease.comparison_id)
        .where(Comparison.project_id == project_id, Lease.until > now(), Lease.reviewer_id != reviewer_id)
        .group_by(Reviewer.id, Reviewer.name)
        .order_by(Reviewer.name)
    ).all()
    return [Held(*row) for row in rows]


def _words(reviewer_id: int) -> ColumnElement[int]:
    """Other people's standing rankings of a Comparison."""
    return (
        select(func.count())
        .select_from(Ranking)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(
            Ranking.comparison_id == Comparison.id,
            OWN_WORD,
            Reviewer.simulated.is_(False),
            Ranking.reviewer_id != literal(reviewer_id),
        )
        .correlate(Comparison)
        .scalar_subquery()
    )


def _leases(reviewer_id: int) -> ColumnElement[int]:
    """Other people's live leases on a Comparison that they have not ranked."""
    ranked = (
        select(Ranking.id)
        .where(Ranking.comparison_id == Lease.comparison_id, Ranking.reviewer_id == Lease.reviewer_id, OWN_WORD)
        .exists()
    )
    return (
        select(func.count())
        .select_from(Lease)
        .where(
            Lease.comparison_id == Comparison.id,
            Lease.until > now(),
            Lease.reviewer_id != literal(reviewer_id),
            ~ranked,
        )
        .correlate(Comparison)
        .scalar_subquery()
    )
