"""What an Evaluation found, once it is closed: win rates by baseline, people apart from simulated reviewers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import Evaluation, Judgment, Pairing, ResponderKind
from errors import Refused
from eval.blinding import Outcome, outcome
from eval.winrate import Observation, WinRate, win_rate


@dataclass(frozen=True)
class Contrast:
    """The candidate against one baseline, or against all people together."""

    baseline: str
    """Label of the baseline; says "(simulated)" where its replies were made up."""
    is_people: bool
    simulated_judges: bool
    """The verdicts are a written rule's, not people's."""
    rate: WinRate
    identical: int
    """Pairings whose texts were the same: never shown, counted among the ties."""
    left: int
    """Decided verdicts for the left side, whoever stood there."""
    decided: int


@dataclass(frozen=True)
class JudgmentRow:
    """One verdict with everything behind it; what the CSV export holds."""

    prompt: str
    candidate: str
    baseline: str
    candidate_response: str
    baseline_response: str
    reviewer: str
    simulated: bool
    candidate_left: bool | None
    verdict: str
    """What was said, or SAME_TEXT where both replies are the same and nobody was asked."""
    outcome: Outcome
    seconds: float | None
    judged_at: datetime | None


@dataclass(frozen=True)
class Results:
    """A closed Evaluation."""

    evaluation: Evaluation
    candidate: str
    contrasts: tuple[Contrast, ...]
    judgments: tuple[JudgmentRow, ...]


def results(s: Session, *, evaluation_id: int) -> Results:
    """Win rates of a closed evaluation; verdicts of people and of simulated reviewers are never pooled.

    Raises `Refused` while the evaluation is open: nobody may see how it stands.
    """
    evaluation = s.get_one(Evaluation, evaluation_id)
    if evaluation.closed_at is None:
        raise Refused("The results open when the evaluation is closed: seeing them earlier would sway the judging.")
    pairings = s.scalars(
        select(Pairing)
        .where(Pairing.evaluation_id == evaluation_id)
        .options(selectinload(Pairing.judgments).selectinload(Judgment.reviewer))
        .order_by(Pairing.id)
    ).all()
    judges = {
        judgment.reviewer.simulated
        for pairing in pairings
        for judgment in pairing.judgments
        if judgment.verdict is not None
    } or {False}
    contrasts: list[Contrast] = []
    for simulated in sorted(judges):
        people = [p for p in pairings if p.baseline_response.responder.kind is ResponderKind.HUMAN]
        names = list(dict.fromkeys(p.baseline_response.responder.label for p in pairings))
        human_names = list(dict.fromkeys(p.baseline_response.responder.label for p in people))
        if len(human_names) > 1:
            made_up = {p.baseline_response.responder.simulated for p in people}
            mark = {frozenset({True}): " (simulated)", frozenset({True, False}): " (partly simulated)"}
            label = "People, together" + mark.get(frozenset(made_up), "")
            contrasts.append(_contrast(label, True, simulated, people))
        for name in sorted(names, key=lambda n: n not in human_names):
            some = [p for p in pairings if p.baseline_response.responder.label == name]
            contrasts.append(_contrast(name, name in human_names, simulated, some))
    return Results(
        evaluation=evaluation,
        candidate=evaluation.candidate.label,
        contrasts=tuple(contrasts),
        judgments=tuple(_rows(evaluation, pairings)),
    )


def _contrast(label: str, is_people: bool, simulated: bool, pairings: Iterable[Pairing]) -> Contrast:
    observations: list[Observation] = []
    identical = left = decided = 0
    for pairing in pairings:
        if pairing.identical:
            identical += 1
            observations.append(Observation(pairing.prompt_id, Outcome.TIE))
        for judgment in pairing.judgments:
            if judgment.verdict is None or judgment.reviewer.simulated != simulated:
                continue
            result = outcome(judgment.verdict, candidate_left=judgment.candidate_left)
            observations.append(Observation(pairing.prompt_id, result))
            if result in (Outcome.WIN, Outcome.LOSS):
                decided += 1
                left += (result is Outcome.WIN) == judgment.candidate_left
    return Contrast(label, is_people, simulated, win_rate(observations), identical, left, decided)


def _rows(evaluation: Evaluation, pairings: Iterable[Pairing]) -> Iterable[JudgmentRow]:
    for pairing in pairings:
        about = partial(
            JudgmentRow,
            prompt=pairing.prompt.text,
            candidate=evaluation.candidate.label,
            baseline=pairing.baseline_response.responder.label,
            candidate_response=pairing.candidate_response.text,
            baseline_response=pairing.baseline_response.text,
        )
        if pairing.identical:
            yield about(
                reviewer="",
                simulated=False,
                candidate_left=None,
                verdict="SAME_TEXT",
                outcome=Outcome.TIE,
                seconds=None,
                judged_at=None,
            )
        for judgment in pairing.judgments:
            if judgment.verdict is None:
                continue
            yield about(
                reviewer=judgment.reviewer.label,
                simulated=judgment.reviewer.simulated,
                candidate_left=judgment.candidate_left,
                verdict=judgment.verdict.value,
                outcome=outcome(judgment.verdict, candidate_left=judgment.candidate_left),
                seconds=judgment.seconds,
                judged_at=judgment.judged_at,
            )
