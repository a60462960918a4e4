"""Corrections: a reviewer writes what should have been sent."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Correction, Prompt, Response, Role, now
from db.people import require
from errors import NotFound, Refused
from template import TURN_MARK

CORRECTORS = (Role.MANAGER, Role.ANNOTATOR)


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in white space at most."""
    return one.split() == other.split()


def correct(s: Session, *, by: int, response_id: int, text: str, reason: str | None = None) -> Correction:
    """Save a corrected reply beside the original, which stays as it was; it takes the place of one's earlier one.

    Raises `Refused` when nothing was changed, or the prompt is held out.
    """
    response = s.get(Response, response_id)
    if response is None:
        raise NotFound("That reply is not in the database any more. Reload the page.")
    require(s, by=by, project_id=response.prompt.project_id, roles=CORRECTORS)
    if response.prompt.held_out:
        raise Refused("This prompt is held out, so nothing about it may reach training. Correct a training prompt.")
    if not text.strip():
        raise Refused("An empty correction cannot be sent. Write the reply, or leave the box as it was.")
    if same_words(text, response.text):
        raise Refused("Nothing was changed, so nothing was saved. Change the text first.")
    newest = standing_correction(s, by=by, response_id=response_id)
    if newest is not None and same_words(newest.text, text):
        raise Refused("You saved exactly this correction already.")
    if found := TURN_MARK.search(text):
        raise Refused(f"“{found.group()}” is how chat models mark the end of a turn. Take it out of the reply.")
    if newest is not None:
        newest.undone_at = now()  # the new text is what they mean; only one of a person's for a reply is learned from
    correction = Correction(
        response_id=response_id, reviewer_id=by, text=text.strip(), reason=(reason or "").strip() or None
    )
    s.add(correction)
    s.flush()
    return correction


def standing_correction(s: Session, *, by: int, response_id: int) -> Correction | None:
    """The reviewer's own correction of a reply, if there is one."""
    return s.scalars(
        select(Correction)
        .where(Correction.response_id == response_id, Correction.reviewer_id == by, Correction.undone_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(1)
    ).first()


def withdraw(s: Session, *, by: int, correction_id: int) -> None:
    """Take back one's own correction; it stays in the database as undone."""
    correction = s.get(Correction, correction_id)
    if correction is None or correction.reviewer_id != by or correction.undone_at is not None:
        raise NotFound("That correction is not yours, or it was withdrawn already. Reload the page.")
    require(s, by=by, project_id=correction.response.prompt.project_id, roles=CORRECTORS)
    correction.undone_at = now()
    s.flush()


def correction_count(s: Session, *, project_id: int) -> int:
    """Standing corrections in the project."""
    return (
        s.scalar(
            select(func.count(Correction.id))
            .join(Response, Response.id == Correction.response_id)
            .join(Prompt, Prompt.id == Response.prompt_id)
            .where(Prompt.project_id == project_id, Correction.undone_at.is_(None))
        )
        or 0
    )
