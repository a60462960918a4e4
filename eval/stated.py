"""What an Evaluation fixed before its first judgment, as its result shows it. The one place that reads it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Evaluation, Pairing, Responder, Response, Reviewer


@dataclass(frozen=True)
class Stated:
    """A protocol for readers."""

    primary: tuple[str, str] | None
    """Labels of candidate and baseline of the contrast that was named beforehand; none where none was."""
    rows: tuple[tuple[str, str], ...]
    """Name and value of everything that was fixed, as plain text."""


def stated(s: Session, *, evaluation_id: int) -> Stated:
    """The protocol as it was stored, before anybody judged."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    drawn = s.execute(
        select(Responder, func.count(Pairing.id))
        .join(Response, Response.responder_id == Responder.id)
        .join(Pairing, Pairing.baseline_response_id == Response.id)
        .where(Pairing.evaluation_id == evaluation_id)
        .group_by(Responder.id)
        .order_by(Responder.id)
    ).all()
    prompts = s.scalar(
        select(func.count(func.distinct(Pairing.prompt_id))).where(Pairing.evaluation_id == evaluation_id)
    )
    baselines = [(responder.label, count) for responder, count in drawn]
    by = s.get_one(Reviewer, evaluation.created_by_id)
    primary = (evaluation.candidate.label, baselines[0][0]) if len(baselines) == 1 else None
    closed = f"{evaluation.closed_at:%d %B %Y, %H:%M} UTC" if evaluation.closed_at else "not yet"
    return Stated(
        primary=primary,
        rows=(
            ("Candidate", evaluation.candidate.label),
            ("Baselines", "; ".join(f"{label} on {count:,} prompts" for label, count in baselines)),
            ("Held-out prompts", f"{prompts or 0:,}"),
            ("Contrast named beforehand", " against ".join(primary) if primary else "none: all are corrected for"),
            ("Stopping rule", "results were closed to everybody until a manager ended the judging"),
            ("Sides", "drawn on the server for each reviewer and pair, at most two apart for each baseline"),
            ("Seed of the draw", str(evaluation.seed)),
            ("Sha256 of candidate, baselines, pairs and seed", evaluation.protocol_sha256),
            ("Set up", f"{evaluation.created_at:%d %B %Y, %H:%M} UTC by {by.label}"),
            ("Closed", closed),
        ),
    )
