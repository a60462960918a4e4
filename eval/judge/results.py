"""What model judges said of a closed Evaluation, beside people's verdicts; read from the database.

Nothing here goes back into `eval.report.results`: a judge is in no contrast, strength, agreement or export of people's.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from db.models import Evaluation, JudgeRun, JudgeVerdict, Pairing, Responder, Response, Reviewer, RunStatus
from errors import Refused
from eval.judge.agreement import (
    JudgeAgreement,
    OrderEffects,
    PersonVote,
    SwappedVerdicts,
    assisted_rate,
    judge_agreement,
    order_effects,
    reason_against_use,
)
from eval.judge.run import list_judge_runs
from eval.protocol import Stopping, plan_of
from eval.report.results import Results, ReviewerResults, load_pairings, replies_of, responder_names
from stats.contrasts import Contrast
from stats.estimates import CannotEstimate, Estimated
from stats.judge_labels import JudgeAssistedRate
from stats.verdicts import Verdict
from texts.rules import load_text_filter
from training.lineage import model_lineage


@dataclass(frozen=True)
class AssistedRate:
    """One contrast with the judge's help, if that may be used."""

    baseline: str
    figure: Estimated[JudgeAssistedRate]
    why_not: str
    """Why the figure is not to be used; empty where it may be, or there is none."""

    @property
    def used(self) -> bool:
        """Whether the figure may stand beside people's."""
        return not self.why_not and not isinstance(self.figure, CannotEstimate)


@dataclass(frozen=True)
class JudgeComparison:
    """A judge beside one kind of reviewer."""

    simulated: bool
    measures: JudgeAgreement
    """On all contrasts together."""
    contrasts: tuple[AssistedRate, ...]


@dataclass(frozen=True)
class JudgeFindings:
    """One judge's run over a closed Evaluation."""

    run: JudgeRun
    requested_by: str
    after_closing: bool
    """Asked for when people's verdicts could be read already."""
    kin: bool
    """It is a model that takes part, trained from one, made from the same as one, or called like one."""
    orders: OrderEffects
    beside: tuple[JudgeComparison, ...]
    anytime: bool
    """The Evaluation could end as soon as the evidence was enough."""


def judge_label(responder: Responder) -> str:
    """The judge's model as screens name it."""
    if responder.model_version is not None:
        return responder.model_version.name
    return f"{responder.endpoint_model} at {responder.endpoint_url}"


def load_judge_findings(s: Session, *, results: Results) -> tuple[JudgeFindings, ...]:
    """Every judge of a closed Evaluation whose run has ended with some verdicts, in the order of asking.

    Raises `Refused` while the Evaluation is open.
    """
    evaluation = s.get_one(Evaluation, results.evaluation.id)
    if evaluation.closed_at is None:
        raise Refused("What a model judge said is told once the evaluation is closed: it would sway the judging.")
    runs = [run for run in reversed(list_judge_runs(s, evaluation_id=evaluation.id)) if run.status.ended]
    if not runs:
        return ()
    pairings = load_pairings(s, evaluation_id=evaluation.id)
    names = responder_names(pairings)
    taking_part = {reply.responder for reply in replies_of(pairings)}
    return tuple(
        JudgeFindings(
            run=run,
            requested_by=s.get_one(Reviewer, run.requested_by_id).label,
            after_closing=run.created_at > evaluation.closed_at,
            kin=any(_are_kin(run.responder, responder) for responder in taking_part),
            orders=order_effects(pairs),
            beside=tuple(_compare(run, reviewers, pairs, pairings, names) for reviewers in results.by_reviewers),
            anytime=plan_of(evaluation).stopping is Stopping.ANYTIME,
        )
        for run in runs
        if (pairs := _load_swapped_verdicts(s, run, pairings, names))
    )


def answer_rows(s: Session, *, results: Results, run_id: int) -> list[dict[str, Any]]:
    """A judge's answers as rows of a file of their own, in no column of people's."""
    run = s.get_one(JudgeRun, run_id)
    if run.evaluation_id != results.evaluation.id:
        raise Refused("That judge judged another evaluation. Reload the page.")
    pairings = load_pairings(s, evaluation_id=run.evaluation_id)
    names = responder_names(pairings)
    pairing_ids = {_key(pairing): pairing.id for pairing in pairings}
    rows = s.scalars(
        select(JudgeVerdict)
        .where(JudgeVerdict.run_id == run_id)
        .options(joinedload(JudgeVerdict.candidate_response), joinedload(JudgeVerdict.baseline_response))
    )
    answers = sorted(rows, key=lambda answer: (_key(answer), not answer.candidate_left))
    return [
        {
            "prompt": answer.candidate_response.prompt_id,
            "judged_by": f"model judge {judge_label(run.responder)}",
            "candidate": names[answer.candidate_response.responder_id],
            "baseline": names[answer.baseline_response.responder_id],
            "candidate_left": answer.candidate_left,
            "verdict": answer.verdict.value.lower() if answer.verdict else "",
            "said": answer.reply,
            "pairing_id": pairing_ids.get(_key(answer), ""),
            "candidate_response_id": answer.candidate_response_id,
            "baseline_response_id": answer.baseline_response_id,
            "judge_run_id": run_id,
        }
        for answer in answers
    ]


def count_unreadable_answers(s: Session, *, run_id: int) -> list[tuple[str, int]]:
    """The judge's words that name no verdict, and how often; the ten most frequent first."""
    none = JudgeVerdict.run_id == run_id, JudgeVerdict.verdict.is_(None)
    return Counter(s.scalars(select(JudgeVerdict.reply).where(*none).order_by(JudgeVerdict.reply))).most_common(10)


def _key(pair: Pairing | JudgeVerdict) -> tuple[int, int]:
    return pair.candidate_response_id, pair.baseline_response_id


def _are_kin(judge: Responder, other: Responder) -> bool:
    lineages = ({version.id for version in model_lineage(responder.model_version)} for responder in (judge, other))
    names = [_model_name(responder) for responder in (judge, other)]
    return bool(set.intersection(*lineages)) or names[0] == names[1] != ""


def _model_name(responder: Responder) -> str:
    """The model's name, at whichever address; empty where no model answers."""
    name = responder.model_version.name if responder.model_version is not None else responder.endpoint_model
    return (name or "").rpartition("/")[2].casefold()


def _load_swapped_verdicts(
    s: Session, run: JudgeRun, pairings: Sequence[Pairing], names: Mapping[int, str]
) -> tuple[SwappedVerdicts, ...]:
    """The pairs with an answer in both orders; the Evaluation's own, then those left over by lot."""
    answers: dict[tuple[int, int], dict[bool, Verdict | None]] = defaultdict(dict)
    for answer in s.scalars(select(JudgeVerdict).where(JudgeVerdict.run_id == run.id)):
        answers[_key(answer)][answer.candidate_left] = answer.verdict
    if not answers:
        return ()
    pairs = []
    for pairing in pairings:
        verdicts = answers.pop(_key(pairing), {})
        if pairing.identical or len(verdicts) == 2:
            pair = str(pairing.prompt_id), names[pairing.baseline_response.responder_id]
            pairs.append(SwappedVerdicts(*pair, verdicts.get(True), verdicts.get(False), identical=pairing.identical))
    filter_text = load_text_filter(s, project_id=run.project_id)
    ids = {i for key in answers for i in key}
    replies = {reply.id: reply for reply in s.scalars(select(Response).where(Response.id.in_(ids)))}
    for (candidate, baseline), verdicts in sorted(answers.items()):
        mine, other = replies[candidate], replies[baseline]
        if len(verdicts) == 2 and other.responder_id in names:
            same = filter_text(mine.text).split() == filter_text(other.text).split()
            pair = str(mine.prompt_id), names[other.responder_id]
            pairs.append(SwappedVerdicts(*pair, verdicts[True], verdicts[False], identical=same, drawn=False))
    return tuple(pairs)


def _compare(
    run: JudgeRun,
    reviewers: ReviewerResults,
    pairs: Sequence[SwappedVerdicts],
    pairings: Sequence[Pairing],
    names: Mapping[int, str],
) -> JudgeComparison:
    people = [
        PersonVote(row.prompt, row.reviewer, row.baseline, row.outcome, asked=row.judged_by != "nobody")
        for row in reviewers.rows
    ]
    judged_rows = [row for row in reviewers.rows if row.judgment_id is not None]
    judged_pairings = {row.pairing_id for row in judged_rows}

    def assist_contrast(contrast: Contrast) -> AssistedRate:
        together = contrast is reviewers.people_together
        members = reviewers.people if together else {contrast.baseline}
        # with all people as one, a prompt's other people would stand beside the one that was drawn for it
        mine = [pair for pair in pairs if pair.baseline in members and (pair.drawn or not together)]
        mine = [replace(pair, baseline=contrast.baseline) for pair in mine]
        votes = [replace(vote, baseline=contrast.baseline) for vote in people if vote.baseline in members]
        gaps = count_passed_over(
            [
                pairing.id in judged_pairings
                for pairing in pairings
                if names[pairing.baseline_response.responder_id] in members and not pairing.identical
            ]
        )
        if run.status is not RunStatus.SUCCEEDED:
            reason = "the model judge has not come to its end. Let it go on where it stands."
        elif {pair.prompt for pair in mine} <= {vote.prompt for vote in votes}:
            who = "the simulated reviewer" if reviewers.simulated else "people"
            reason = (
                f"{who} judged every pair that the model judge did, so it has nothing to add. It helps where an "
                "evaluation ends before all pairs are judged, or where several people wrote the replies."
            )
        elif gaps > max(1, len({row.reviewer for row in judged_rows})):
            reason = (
                f"{gaps} pairs were passed over while later ones were judged, so those judged are no random part of "
                "all, and the model's verdicts on the rest cannot stand for people's."
            )
        else:
            figure = assisted_rate(votes, mine, candidate=contrast.candidate, baseline=contrast.baseline)
            useless = "" if isinstance(figure, CannotEstimate) else reason_against_use(judge_agreement(votes, mine))
            return AssistedRate(contrast.baseline, figure, useless)
        return AssistedRate(contrast.baseline, CannotEstimate(reason), "")

    measures = judge_agreement(people, [pair for pair in pairs if pair.drawn])
    return JudgeComparison(reviewers.simulated, measures, tuple(map(assist_contrast, reviewers.contrasts)))


def count_passed_over(judged: Sequence[bool]) -> int:
    """How many places before the last judged one have no verdict. Pure.

    Pairs are given out in a drawn order, so those judged are a random part if they are the first ones. One for each
    reviewer may be on a screen when the judging ends.
    """
    last = max((place for place, is_judged in enumerate(judged) if is_judged), default=-1)
    return judged[: last + 1].count(False)
