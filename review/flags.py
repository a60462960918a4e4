"""Pairs that something is wrong with: reviewers flag them with a note, a manager settles it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import MAX_RESPONSES, MIN_RESPONSES
from db.lookup import add_unique, get_existing
from db.models import Comparison, Flag, Reviewer, Role, now
from db.people import RANKERS, require_role
from errors import NotFound, Refused
from review.assignment import Offer, load_offer
from review.queue import release
from texts.rules import load_text_filter
from texts.typed import clean_comment


@dataclass(frozen=True)
class OpenFlag:
    """A pair with an open flag."""

    flag_id: int
    note: str
    reviewer: str
    offer: Offer
    """As the reviewer saw it: notes speak of left and right, and of card C."""


def flag_comparison(s: Session, *, by: int, comparison_id: int, note: str) -> Flag:
    """Say what is wrong with a pair; it leaves the flagger's queue. Raises `Refused` without a note."""
    comparison = get_existing(s, Comparison, comparison_id, "pair")
    require_role(s, by=by, project_id=comparison.project_id, roles=RANKERS)
    if not MIN_RESPONSES <= len(comparison.responses) <= MAX_RESPONSES:
        raise Refused(
            f"Only comparisons of {MIN_RESPONSES} to {MAX_RESPONSES} responses are shown, so only those can be flagged."
        )
    clean = clean_comment(note)
    if clean is None:
        raise Refused("A flag needs a note: say what is wrong, so that somebody can mend it.")
    flagged = Flag(comparison_id=comparison_id, reviewer_id=by, note=clean)
    add_unique(s, flagged, refusal="You have flagged this pair already; a manager will look at it.")
    release(s, comparison_id=comparison_id, reviewer_id=by)
    return flagged


def list_open_flags(s: Session, *, by: int, project_id: int) -> Sequence[OpenFlag]:
    """Flags that are not settled, oldest first; managers only."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    rows = s.execute(
        select(Flag, Reviewer)
        .join(Comparison, Comparison.id == Flag.comparison_id)
        .join(Reviewer, Reviewer.id == Flag.reviewer_id)
        .where(Comparison.project_id == project_id, Flag.settled_at.is_(None))
        .order_by(Flag.id)
    ).all()
    shown = load_text_filter(s, project_id=project_id)
    return [
        OpenFlag(
            row.id, row.note, who.label, load_offer(s, comparison_id=row.comparison_id, reviewer_id=who.id, shown=shown)
        )
        for row, who in rows
    ]


def settle_flag(s: Session, *, by: int, flag_id: int, discard: bool) -> None:
    """Settle a flag: discard the pair for good (its rankings stay and count no more), or keep it. Managers only."""
    flagged = s.get(Flag, flag_id)
    if flagged is None or flagged.settled_at is not None:
        raise NotFound("That flag was settled already. Reload the page.")
    comparison = s.get_one(Comparison, flagged.comparison_id)
    require_role(s, by=by, project_id=comparison.project_id, roles=(Role.MANAGER,))
    same = select(Flag).where(Flag.comparison_id == comparison.id, Flag.settled_at.is_(None))
    for open_flag in s.scalars(same if discard else same.where(Flag.id == flag_id)):
        open_flag.settled_at, open_flag.settled_by_id = now(), by
    if discard:
        comparison.discarded_at, comparison.discarded_by_id = now(), by
    s.flush()
