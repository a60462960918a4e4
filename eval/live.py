"""How an open Evaluation stands, where its protocol lets managers who do not judge in it look: evidence that holds at
every look. People's verdicts on the primary contrasts only; a simulated reviewer's are no evidence of anything.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from sqlalchemy.orm import Session

from db.lookup import get_existing
from db.models import Evaluation, Peek, Role
from db.people import require_role
from errors import Refused
from eval.protocol import Stopping, contrast_label, plan_of, read_protocol
from eval.report.results import last_reached, load_pairings
from stats.estimates import CannotEstimate
from stats.sequential import Evidence, evidence


@dataclass(frozen=True)
class LiveContrast:
    """One primary contrast as it stands."""

    label: str
    evidence: Evidence
    """From prompts whose planned verdicts are all in."""
    decided: int
    """Of those prompts, how many lean to one side."""
    unfinished: int
    """Prompts with some of their verdicts; they count once all are there."""

    @property
    def sentence(self) -> str:
        """What may be done, for a person."""
        e = self.evidence
        if not e.prompts:
            return "No prompt has all its verdicts yet."
        if not self.decided:
            return f"None of {e.prompts} prompts leans to either side, so nothing speaks for one yet. Judge more."
        if e.stop:
            return (
                f"Enough: the evidence is {e.betting:,.1f} to 1, and {e.enough:g} was asked for. The judging may end."
            )
        return f"Not enough yet: the evidence is {e.betting:,.1f} to 1 of the {e.enough:g} asked for. Go on judging."

    @property
    def note(self) -> str:
        """What the sentence rests on."""
        e = self.evidence
        between = str(e.interval)
        if not isinstance(e.interval, CannotEstimate):
            between = f"Win rate between {e.interval.percent} at {e.interval.level:.0%}, however often one looks"
        waiting = f" {self.unfinished} more prompts wait for their other verdicts." if self.unfinished else ""
        return (
            f"{between}; {e.prompts} prompts with all their verdicts, people's only. E-value {e.betting:,.2f}, "
            f"enough at {e.enough:g}.{waiting}"
        )

    @property
    def progress(self) -> float:
        """How far the evidence is, in [0, 1]; on a scale of logarithms, as evidence multiplies."""
        return min(1.0, log(max(self.evidence.betting, 1.0)) / log(self.evidence.enough))


@dataclass(frozen=True)
class Standing:
    """An open evaluation as it stands."""

    candidate: str
    contrasts: tuple[LiveContrast, ...]


def has_peeked(s: Session, *, evaluation_id: int, reviewer_id: int) -> bool:
    """Whether a manager has looked at how it stands, and judges in it no more."""
    return s.get(Peek, (evaluation_id, reviewer_id)) is not None


def record_peek(s: Session, *, by: int, evaluation_id: int) -> None:
    """Note that a manager looks at how an open evaluation stands; it is not theirs to judge from then on.

    Raises `Refused` where the result stays shut until the end.
    """
    # a verdict of theirs that is being saved in another tab comes first
    _refuse_unless_open_to(s, by=by, evaluation_id=evaluation_id, with_for_update=True, populate_existing=True)
    if not has_peeked(s, evaluation_id=evaluation_id, reviewer_id=by):
        s.add(Peek(evaluation_id=evaluation_id, reviewer_id=by))
        s.flush()


def load_standing(s: Session, *, by: int, evaluation_id: int) -> Standing:
    """How it stands, for a manager who gave up judging in it.

    Raises `Refused` for everyone else, and where the protocol keeps the result shut until the planned end.
    """
    _refuse_unless_open_to(s, by=by, evaluation_id=evaluation_id)
    if not has_peeked(s, evaluation_id=evaluation_id, reviewer_id=by):
        raise Refused("Whoever looks at how it stands judges in it no more. Say first that you give that up.")
    return current_standing(s, evaluation_id=evaluation_id)


def _refuse_unless_open_to(s: Session, *, by: int, evaluation_id: int, **lock: bool) -> None:
    evaluation = get_existing(s, Evaluation, evaluation_id, "evaluation", **lock)
    require_role(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed: read its result.")
    if plan_of(evaluation).stopping is not Stopping.ANYTIME:
        raise Refused("This evaluation stays shut until its planned verdicts are there: looking earlier would sway it.")


def current_standing(s: Session, *, evaluation_id: int) -> Standing:
    """The evidence as it is; no reviewer who judges may be shown it. The evaluation must have a protocol."""
    protocol = read_protocol(s.get_one(Evaluation, evaluation_id).protocol or "")
    pairings = load_pairings(s, evaluation_id=evaluation_id)
    scores_by_pairing = {
        pairing.id: [
            judgment.verdict.outcome(candidate_left=judgment.candidate_left).score
            for judgment in pairing.judgments
            if judgment.verdict is not None and not judgment.reviewer.simulated
        ]
        for pairing in pairings
    }
    contrasts = []
    for contrast in protocol.plan.primary:
        of_contrast = [pairing for pairing in pairings if pairing.baseline_response.responder_id in contrast]
        last = last_reached(of_contrast, {pairing.id for pairing in of_contrast if scores_by_pairing[pairing.id]})
        means: list[float] = []
        unfinished = 0
        for pairing in of_contrast:
            scores = scores_by_pairing[pairing.id]
            if pairing.identical:
                means += [0.5] if last is None or pairing.id < last else []
            elif len(scores) >= (pairing.wanted or 1):
                means.append(sum(scores) / len(scores))
            else:
                unfinished += bool(scores)
        so_far = evidence(np.array(means, dtype=float), contrasts=len(protocol.plan.primary))
        decided = sum(abs(mean - 0.5) > 1e-9 for mean in means)
        contrasts.append(LiveContrast(contrast_label(contrast, protocol.baselines), so_far, decided, unfinished))
    return Standing(protocol.candidate.label, tuple(contrasts))
