"""Pairs that something is wrong with: reviewers flag them with a note, a manager settles it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import FEWEST, MOST
from db.lookup import add_only, existing
from db.models import Comparison, Flag, Reviewer, Role, now
from db.people import RANKERS, require
from errors import NotFound, Refused
from review.assignment import Offer, offer
from review.queue import release
from texts.rules import as_shown
from texts.typed import comment


@dataclass(frozen=True)
class Flagged:
    """A pair with an open flag."""

    flag_id: int
    note: str
    reviewer: str
    offer: Offer
    """As the reviewer saw it: notes speak of left and right, and of card C."""


def flag(s: Session, *, by: int, comparison_id: int, note: str) -> Flag:
    """Say what is wrong with a pair; it leaves the flagger's queue. Raises `Refused` without a note."""
    comparison = existing(s, Comparison, comparison_id, "pair")
    require(s, by=by, project_id=comparison.project_id, roles=RANKERS)
    if not FEWEST <= len(comparison.responses) <= MOST:
        raise Refused(f"Only comparisons of {FEWEST} to {MOST} responses are shown, so only those can be flagged.")
    clean = comment(note)
    if clean is None:
        raise Refused("A flag needs a note: say what is wrong, so that somebody can mend it.")
    flagged = Flag(comparison_id=comparison_id, reviewer_id=by, note=clean)
    add_only(s, flagged, refusal="You have flagged this pair already; a manager will look at it.")
    release(s, comparison_id=comparison_id, reviewer_id=by)
    return flagged


def open_flags(s: Session, *, by: int, project_id: int) -> Sequence[Flagged]:
    """Flags that are not settled, oldest first; managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    rows = s.execute(
        select(Flag, Reviewer)
        .join(Comparison, Comparison.id == Flag.comparison_id)
        .join(Reviewer, Reviewer.id == Flag.reviewer_id)
        .where(Comparison.project_id == project_id, Flag.settled_at.is_(None))
        .order_by(Flag.id)
    ).all()
    shown = as_shown(s, project_id=project_id)
    return [
        Flagged(row.id, row.note, who.label, offer(s, comparison_id=row.comparison_id, reviewer_id=who.id, shown=shown))
        for row, who in rows
    ]


def settle(s: Session, *, by: int, flag_id: int, discard: bool) -> None:
    """Settle a flag: discard the pair for good (its rankings stay and count no more), or keep it. Managers only."""
    flagged = s.get(Flag, flag_id)
    if flagged is None or flagged.settled_at is not None:
        raise NotFound("That flag was settled already. Reload the page.")
    comparison = s.get_one(Comparison, flagged.comparison_id)
    require(s, by=by, project_id=comparison.project_id, roles=(Role.MANAGER,))
    same = select(Flag).where(Flag.comparison_id == comparison.id, Flag.settled_at.is_(None))
    for settled in s.scalars(same if discard else same.where(Flag.id == flag_id)):
        settled.settled_at, settled.settled_by_id = now(), by
    if discard:
        comparison.discarded_at, comparison.discarded_by_id = now(), by
    s.flush()
