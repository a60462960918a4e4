"""What an Evaluation fixed before its first judgment, as its result shows it. The one place that reads it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Evaluation, Pairing, Responder, Response, Reviewer
from eval.protocol import Protocol, Stopping, read_protocol

STOPPING_WORDS = {
    Stopping.FIXED: "When every planned verdict is there; nobody knows before how it stands",
    Stopping.ANYTIME: "When the evidence is enough (peeking-safe); managers who do not judge in it may look",
}


def protocol_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What was fixed, as label and words; empty for an evaluation from before protocols."""
    if evaluation.protocol is None:
        return []
    fixed = read_protocol(evaluation.protocol)
    plan = fixed.plan
    second = sum(one.wanted > plan.judgments for one in fixed.pairings)
    judged = sum(not one.identical for one in fixed.pairings)
    rows = [
        ("Candidate", fixed.candidate.label),
        ("Against", ", ".join(one.label for one in fixed.baselines)),
        ("Primary contrast", "; ".join(fixed.label_of(one) for one in plan.primary)),
        ("Pairs", f"{judged} to judge, {fixed.identical} with the same text on both sides (ties)"),
        ("Verdicts wanted", f"{fixed.planned}: {plan.judgments} a pair, one more on {second} of them"),
        ("Smallest difference that matters", f"{plan.odds:g} to 1, found in {plan.power:.0%} of such evaluations"),
        ("Decided verdicts", _sample(fixed)),
        ("Expected", f"{plan.tie_rate:.0%} ties, verdicts on one prompt alike by {plan.correlation:g}"),
        ("It ends", STOPPING_WORDS[plan.stopping]),
        ("Asked after each verdict", "which side was the machine" if plan.ask_machine else "nothing"),
        ("Pairs given twice", f"{plan.again:.0%} of each reviewer's, unannounced" if plan.again else "none"),
        ("Replies that tell who wrote them", _telling(fixed)),
        ("Hash", evaluation.protocol_sha256),
    ]
    return [*rows, ("Closed early", evaluation.closed_early)] if evaluation.closed_early else rows


def _sample(fixed: Protocol) -> str:
    enough = "enough" if fixed.expected_decided >= fixed.needed_decided else "too few to be sure of finding it"
    return f"{fixed.needed_decided} needed, about {fixed.expected_decided} expected: {enough}"


def _telling(fixed: Protocol) -> str:
    if not fixed.left_out and not fixed.kept_telltales:
        return "none was found"
    return f"pairs left out: {len(fixed.left_out)}; replies kept on purpose: {len(fixed.kept_telltales)}"


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
    if evaluation.protocol is not None:
        return _of_protocol(s, evaluation, read_protocol(evaluation.protocol))
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


def _of_protocol(s: Session, evaluation: Evaluation, fixed: Protocol) -> Stated:
    by = s.get_one(Reviewer, evaluation.created_by_id)
    primary = [(fixed.candidate.label, fixed.label_of(one)) for one in fixed.plan.primary]
    return Stated(
        primary=primary[0] if len(primary) == 1 else None,  # of several, each is corrected for
        rows=(
            *protocol_rows(evaluation),
            ("Sides", "drawn on the server for each reviewer and pair, at most two apart for each baseline"),
            ("Seed of the draw", str(evaluation.seed)),
            ("Set up", f"{evaluation.created_at:%d %B %Y, %H:%M} UTC by {by.label}"),
            ("Closed", f"{evaluation.closed_at:%d %B %Y, %H:%M} UTC" if evaluation.closed_at else "not yet"),
        ),
    )
