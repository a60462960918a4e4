"""Corrections: a reviewer writes what should have been sent."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Correction, Prompt, Response, Role
from db.people import require
from errors import NotFound, Refused

CORRECTORS = (Role.MANAGER, Role.ANNOTATOR)


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in white space at most."""
    return one.split() == other.split()


def correct(s: Session, *, by: int, response_id: int, text: str, reason: str | None = None) -> Correction:
    """Save a corrected reply beside the original, which stays as it was.

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
    newest = s.scalars(
        select(Correction)
        .where(Correction.response_id == response_id, Correction.reviewer_id == by, Correction.undone_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(1)
    ).first()
    if newest is not None and same_words(newest.text, text):
        raise Refused("You saved exactly this correction already.")
    correction = Correction(
        response_id=response_id, reviewer_id=by, text=text.strip(), reason=(reason or "").strip() or None
    )
    s.add(correction)
    s.flush()
    return correction


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
