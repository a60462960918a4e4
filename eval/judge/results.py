"""What model judges said of a closed Evaluation, beside people's verdicts; read from the database.

Nothing here goes back into `eval.report.results`: a judge is in no contrast, strength, agreement or export of people's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from db.models import (
    Evaluation,
    JudgeRun,
    JudgeVerdict,
    ModelVersion,
    Pairing,
    Responder,
    Response,
    Reviewer,
    RunStatus,
)
from errors import Refused
from eval.judge.agreement import (
    Measures,
    Orders,
    PersonsVote,
    TwiceJudged,
    helped,
    measures,
    orders,
    why_not,
)
from eval.protocol import Stopping, read_protocol
from eval.report.results import Results, Verdicts, names_of, pairings_of
from llm.template import text_hash
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate, Estimated
from stats.judge_labels import WithJudge
from stats.verdicts import Verdict
from texts.rules import as_shown


@dataclass(frozen=True)
class Judge:
    """Who judged, and on whose word."""

    run_id: int
    name: str
    """The Responder's."""
    model: str
    """Name of the ModelVersion, or of the model behind an endpoint and its address."""
    weights_sha256: str | None
    instructions: str
    instructions_sha256: str
    requested_by: str
    requested_at: datetime
    after_closing: bool
    """Asked for when people's verdicts could be read already."""
    status: RunStatus
    kin: bool
    """It is a model that takes part, trained from one, made from the same as one, or called like one."""


@dataclass(frozen=True)
class Helped:
    """One contrast with the judge's help, if that may be used."""

    candidate: str
    baseline: str
    measures: Measures
    figure: Estimated[WithJudge]
    why_not: str
    """Why the figure is not to be used; empty where it may be, or there is none."""

    @property
    def used(self) -> bool:
        """Whether the figure may stand beside people's."""
        return not self.why_not and not isinstance(self.figure, CannotEstimate)


@dataclass(frozen=True)
class Beside:
    """A judge beside one kind of reviewer."""

    simulated: bool
    """The reviewers are a written rule, not people."""
    measures: Measures
    """On all contrasts together."""
    contrasts: tuple[Helped, ...]
    """In the order of the result."""


@dataclass(frozen=True)
class JudgeFound:
    """One judge's run over a closed Evaluation."""

    judge: Judge
    orders: Orders
    beside: tuple[Beside, ...]
    """People first, as in the result."""
    anytime: bool = False
    """The Evaluation could end as soon as the evidence was enough."""


def judge_label(responder: Responder) -> str:
    """The judge's model as screens name it."""
    if responder.model_version is not None:
        return responder.model_version.name
    return f"{responder.endpoint_model} at {responder.endpoint_url}"


def judges(s: Session, *, found: Results) -> tuple[JudgeFound, ...]:
    """Every judge whose run has ended with some verdicts, in the order in which they were asked for.

    Args:
        found: the closed Evaluation's results by people.

    Raises `Refused` while the Evaluation is open.
    """
    evaluation = s.get_one(Evaluation, found.evaluation.id)
    if evaluation.closed_at is None:
        raise Refused("What a model judge said is told once the evaluation is closed: it would sway the judging.")
    runs = [run for run in runs_of(s, evaluation_id=evaluation.id) if run.status.ended]
    if not runs:
        return ()
    pairings = pairings_of(s, evaluation_id=evaluation.id)
    names = names_of(pairings)
    anytime = evaluation.protocol is not None and read_protocol(evaluation.protocol).plan.stopping is Stopping.ANYTIME
    told = []
    for run in runs:
        judged = _judged(s, run, pairings, names)
        if judged:
            told.append(
                JudgeFound(
                    _judge(s, run, evaluation, pairings),
                    orders(judged),
                    tuple(_beside(run, one, judged, pairings, names) for one in found.verdicts),
                    anytime,
                )
            )
    return tuple(told)


def runs_of(s: Session, *, evaluation_id: int) -> Sequence[JudgeRun]:
    """The JudgeRuns over an Evaluation, oldest first."""
    return s.scalars(
        select(JudgeRun)
        .where(JudgeRun.evaluation_id == evaluation_id)
        .order_by(JudgeRun.id)
        .options(joinedload(JudgeRun.responder).joinedload(Responder.model_version))
    ).all()


def as_columns(s: Session, *, found: Results, run_id: int) -> list[dict[str, Any]]:
    """A judge's answers as rows of a file of their own, in no column of people's."""
    run = s.get_one(JudgeRun, run_id)
    if run.evaluation_id != found.evaluation.id:
        raise Refused("That judge judged another evaluation. Reload the page.")
    pairings = pairings_of(s, evaluation_id=run.evaluation_id)
    names = names_of(pairings)
    drawn = {_key(one): one.id for one in pairings}
    rows = s.scalars(
        select(JudgeVerdict)
        .where(JudgeVerdict.run_id == run_id)
        .options(joinedload(JudgeVerdict.candidate_response), joinedload(JudgeVerdict.baseline_response))
        .order_by(
            JudgeVerdict.candidate_response_id, JudgeVerdict.baseline_response_id, JudgeVerdict.candidate_left.desc()
        )
    )
    return [
        {
            "prompt": one.candidate_response.prompt_id,
            "judged_by": f"model judge {judge_label(run.responder)}",
            "candidate": names[one.candidate_response.responder_id],
            "baseline": names[one.baseline_response.responder_id],
            "candidate_left": one.candidate_left,
            "verdict": one.verdict.value.lower() if one.verdict else "",
            "said": one.said,
            "pairing_id": drawn.get((one.candidate_response_id, one.baseline_response_id), ""),
            "candidate_response_id": one.candidate_response_id,
            "baseline_response_id": one.baseline_response_id,
            "judge_run_id": run_id,
        }
        for one in rows
    ]


def unreadable(s: Session, *, run_id: int, most: int = 10) -> list[tuple[str, int]]:
    """The judge's words that name no verdict, and how often; the most frequent first."""
    said = s.scalars(select(JudgeVerdict.said).where(JudgeVerdict.run_id == run_id, JudgeVerdict.verdict.is_(None)))
    counts: dict[str, int] = {}
    for words in said:
        counts[words] = counts.get(words, 0) + 1
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]


def _key(one: Pairing) -> tuple[int, int]:
    return one.candidate_response_id, one.baseline_response_id


def _judge(s: Session, run: JudgeRun, evaluation: Evaluation, pairings: Sequence[Pairing]) -> Judge:
    responder = run.responder
    taking_part = {evaluation.candidate, *(one.baseline_response.responder for one in pairings)}
    version = responder.model_version
    line = _line(version)
    kin = any(line & _line(one.model_version) or _called(one) == _called(responder) for one in taking_part)
    return Judge(
        run_id=run.id,
        name=responder.name,
        model=judge_label(responder),
        weights_sha256=version.sha256 if version else None,
        instructions=responder.instructions or "",
        instructions_sha256=text_hash(responder.instructions or ""),
        requested_by=s.get_one(Reviewer, run.requested_by_id).label,
        requested_at=run.created_at,
        after_closing=evaluation.closed_at is not None and run.created_at > evaluation.closed_at,
        status=run.status,
        kin=kin,
    )


def _called(responder: Responder) -> str | object:
    """What the model is called, at whichever address; nobody else's where no model answers."""
    name = responder.model_version.name if responder.model_version is not None else responder.endpoint_model
    return name.rpartition("/")[2].casefold() if name else object()


def _line(version: ModelVersion | None) -> set[int]:
    """The model and all that it was trained from."""
    found: set[int] = set()
    while version is not None:
        found.add(version.id)
        version = version.parent
    return found


def _judged(
    s: Session, run: JudgeRun, pairings: Sequence[Pairing], names: Mapping[int, str]
) -> tuple[TwiceJudged, ...]:
    """The pairs with an answer in both orders; the Evaluation's own, then those left over by lot."""
    answers: dict[tuple[int, int], dict[bool, Verdict | None]] = {}
    rows = s.execute(
        select(
            JudgeVerdict.candidate_response_id,
            JudgeVerdict.baseline_response_id,
            JudgeVerdict.candidate_left,
            JudgeVerdict.verdict,
        ).where(JudgeVerdict.run_id == run.id)
    )
    for candidate, baseline, left, verdict in rows:
        answers.setdefault((candidate, baseline), {})[left] = verdict
    if not answers:
        return ()
    found = []
    for one in pairings:
        said = answers.pop(_key(one), {})
        if one.identical or len(said) == 2:
            name = names[one.baseline_response.responder_id]
            found.append(
                TwiceJudged(str(one.prompt_id), name, said.get(True), said.get(False), identical=one.identical)
            )
    if answers:
        shown = as_shown(s, project_id=run.project_id)
        ids = {i for key in answers for i in key}
        replies = {one.id: one for one in s.scalars(select(Response).where(Response.id.in_(ids)))}
        for (candidate, baseline), said in sorted(answers.items()):
            mine, other = replies[candidate], replies[baseline]
            if len(said) == 2 and other.responder_id in names:
                found.append(
                    TwiceJudged(
                        str(mine.prompt_id),
                        names[other.responder_id],
                        said[True],
                        said[False],
                        identical=shown(mine.text).split() == shown(other.text).split(),
                        drawn=False,
                    )
                )
    return tuple(found)


def _beside(
    run: JudgeRun,
    verdicts: Verdicts,
    judged: Sequence[TwiceJudged],
    pairings: Sequence[Pairing],
    names: Mapping[int, str],
) -> Beside:
    people = _votes(verdicts)
    drawn = [one for one in judged if one.drawn]
    return Beside(
        simulated=verdicts.simulated,
        measures=measures(people, drawn),
        contrasts=tuple(_helped(run, verdicts, one, people, judged, pairings, names) for one in verdicts.contrasts),
    )


def _votes(verdicts: Verdicts) -> list[PersonsVote]:
    return [
        PersonsVote(row.prompt, row.reviewer, row.baseline, row.outcome, asked=row.judged_by != "nobody")
        for row in verdicts.rows
    ]


def _helped(
    run: JudgeRun,
    verdicts: Verdicts,
    contrast: HeadToHead,
    people: Sequence[PersonsVote],
    judged: Sequence[TwiceJudged],
    pairings: Sequence[Pairing],
    names: Mapping[int, str],
) -> Helped:
    together = contrast is verdicts.together
    members = verdicts.people if together else {contrast.baseline}
    # with all people as one, a prompt's other people would stand beside the one that was drawn for it
    mine = [one for one in judged if one.baseline in members and (one.drawn or not together)]
    mine = [_renamed(one, contrast.baseline) for one in mine]
    votes = [
        PersonsVote(one.prompt, one.reviewer, contrast.baseline, one.outcome, one.asked)
        for one in people
        if one.baseline in members
    ]
    found = measures(votes, mine)
    places = [one for one in pairings if names[one.baseline_response.responder_id] in members]
    figure = _figure(run, verdicts, contrast, votes, mine, places)
    useless = "" if isinstance(figure, CannotEstimate) else why_not(found)
    return Helped(contrast.candidate, contrast.baseline, found, figure, useless)


def _renamed(one: TwiceJudged, baseline: str) -> TwiceJudged:
    return TwiceJudged(one.prompt, baseline, one.candidate_left, one.candidate_right, one.identical, one.drawn)


def _figure(
    run: JudgeRun,
    verdicts: Verdicts,
    contrast: HeadToHead,
    votes: Sequence[PersonsVote],
    judged: Sequence[TwiceJudged],
    places: Sequence[Pairing],
) -> Estimated[WithJudge]:
    """People's rate with the judge's help, where both have what that takes."""
    who = "The simulated reviewer" if verdicts.simulated else "People"
    if run.status is not RunStatus.SUCCEEDED:
        return CannotEstimate("the model judge has not come to its end. Let it go on where it stands.")
    given = {one.pairing_id for one in verdicts.rows if one.judgment_id is not None}
    theirs = {one.prompt for one in votes}
    if not any(one.prompt not in theirs for one in judged):
        return CannotEstimate(
            f"{who[0].lower()}{who[1:]} judged every pair that the model judge did, so it has nothing to add. It helps "
            "where an evaluation ends before all pairs are judged, or where several people wrote the replies."
        )
    by = {one.reviewer for one in verdicts.rows if one.judgment_id is not None}
    holes = passed_over([one.id in given for one in places if not one.identical])
    if holes > max(1, len(by)):
        return CannotEstimate(
            f"{holes} pairs were passed over while later ones were judged, so those judged are no random part of all, "
            "and the model's verdicts on the rest cannot stand for people's."
        )
    return helped(votes, judged, candidate=contrast.candidate, baseline=contrast.baseline)


def passed_over(judged: Sequence[bool]) -> int:
    """How many places before the last judged one have no verdict. Pure.

    Pairs are given out in a drawn order, so those judged are a random part if they are the first ones. One for each
    reviewer may be on a screen when the judging ends.
    """
    last = max((at for at, one in enumerate(judged) if one), default=-1)
    return sum(not one for one in judged[: last + 1])
