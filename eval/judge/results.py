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
from eval.judge.agreement import Measures, Orders, PersonsVote, TwiceJudged, helped, measures, orders, why_not
from eval.judge.run import judge_runs
from eval.protocol import Stopping, read_protocol
from eval.report.results import Results, Verdicts, names_of, pairings_of
from stats.contrasts import HeadToHead
from stats.estimates import CannotEstimate, Estimated
from stats.judge_labels import WithJudge
from stats.verdicts import Verdict
from texts.rules import as_shown
from training.lineage import line_of


@dataclass(frozen=True)
class Helped:
    """One contrast with the judge's help, if that may be used."""

    baseline: str
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
class JudgeFindings:
    """One judge's run over a closed Evaluation."""

    run: JudgeRun
    requested_by: str
    after_closing: bool
    """Asked for when people's verdicts could be read already."""
    kin: bool
    """It is a model that takes part, trained from one, made from the same as one, or called like one."""
    orders: Orders
    beside: tuple[Beside, ...]
    """People first, as in the result."""
    anytime: bool
    """The Evaluation could end as soon as the evidence was enough."""


def judge_label(responder: Responder) -> str:
    """The judge's model as screens name it."""
    if responder.model_version is not None:
        return responder.model_version.name
    return f"{responder.endpoint_model} at {responder.endpoint_url}"


def judges(s: Session, *, found: Results) -> tuple[JudgeFindings, ...]:
    """Every judge whose run has ended with some verdicts, in the order in which they were asked for.

    Args:
        found: the closed Evaluation's results by people.

    Raises `Refused` while the Evaluation is open.
    """
    evaluation = s.get_one(Evaluation, found.evaluation.id)
    if evaluation.closed_at is None:
        raise Refused("What a model judge said is told once the evaluation is closed: it would sway the judging.")
    runs = [run for run in reversed(judge_runs(s, evaluation_id=evaluation.id)) if run.status.ended]
    if not runs:
        return ()
    pairings = pairings_of(s, evaluation_id=evaluation.id)
    names = names_of(pairings)
    anytime = evaluation.protocol is not None and read_protocol(evaluation.protocol).plan.stopping is Stopping.ANYTIME
    taking_part = {evaluation.candidate, *(pairing.baseline_response.responder for pairing in pairings)}
    return tuple(
        JudgeFindings(
            run=run,
            requested_by=s.get_one(Reviewer, run.requested_by_id).label,
            after_closing=run.created_at > evaluation.closed_at,
            kin=any(_kin(run.responder, one) for one in taking_part),
            orders=orders(judged),
            beside=tuple(_beside(run, verdicts, judged, pairings, names) for verdicts in found.verdicts),
            anytime=anytime,
        )
        for run in runs
        if (judged := _judged(s, run, pairings, names))
    )


def as_columns(s: Session, *, found: Results, run_id: int) -> list[dict[str, Any]]:
    """A judge's answers as rows of a file of their own, in no column of people's."""
    run = s.get_one(JudgeRun, run_id)
    if run.evaluation_id != found.evaluation.id:
        raise Refused("That judge judged another evaluation. Reload the page.")
    pairings = pairings_of(s, evaluation_id=run.evaluation_id)
    names = names_of(pairings)
    drawn = {_key(pairing): pairing.id for pairing in pairings}
    answers = s.scalars(
        select(JudgeVerdict)
        .where(JudgeVerdict.run_id == run_id)
        .options(joinedload(JudgeVerdict.candidate_response), joinedload(JudgeVerdict.baseline_response))
        .order_by(
            JudgeVerdict.candidate_response_id, JudgeVerdict.baseline_response_id, JudgeVerdict.candidate_left.desc()
        )
    )
    return [
        {
            "prompt": answer.candidate_response.prompt_id,
            "judged_by": f"model judge {judge_label(run.responder)}",
            "candidate": names[answer.candidate_response.responder_id],
            "baseline": names[answer.baseline_response.responder_id],
            "candidate_left": answer.candidate_left,
            "verdict": answer.verdict.value.lower() if answer.verdict else "",
            "said": answer.said,
            "pairing_id": drawn.get(_key(answer), ""),
            "candidate_response_id": answer.candidate_response_id,
            "baseline_response_id": answer.baseline_response_id,
            "judge_run_id": run_id,
        }
        for answer in answers
    ]


def unreadable(s: Session, *, run_id: int, most: int = 10) -> list[tuple[str, int]]:
    """The judge's words that name no verdict, and how often; the most frequent first."""
    none = JudgeVerdict.run_id == run_id, JudgeVerdict.verdict.is_(None)
    counts = Counter(s.scalars(select(JudgeVerdict.said).where(*none)))
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]


def _key(pair: Pairing | JudgeVerdict) -> tuple[int, int]:
    return pair.candidate_response_id, pair.baseline_response_id


def _kin(judge: Responder, other: Responder) -> bool:
    lines = ({version.id for version in line_of(one.model_version)} for one in (judge, other))
    name, other_name = _called(judge), _called(other)
    return bool(set.intersection(*lines)) or name == other_name != ""


def _called(responder: Responder) -> str:
    """What the model is called, at whichever address; empty where no model answers."""
    name = responder.model_version.name if responder.model_version is not None else responder.endpoint_model
    return (name or "").rpartition("/")[2].casefold()


def _judged(
    s: Session, run: JudgeRun, pairings: Sequence[Pairing], names: Mapping[int, str]
) -> tuple[TwiceJudged, ...]:
    """The pairs with an answer in both orders; the Evaluation's own, then those left over by lot."""
    answers: dict[tuple[int, int], dict[bool, Verdict | None]] = defaultdict(dict)
    for answer in s.scalars(select(JudgeVerdict).where(JudgeVerdict.run_id == run.id)):
        answers[_key(answer)][answer.candidate_left] = answer.verdict
    if not answers:
        return ()
    found = []
    for pairing in pairings:
        said = answers.pop(_key(pairing), {})
        if pairing.identical or len(said) == 2:
            name = names[pairing.baseline_response.responder_id]
            prompt = str(pairing.prompt_id)
            found.append(TwiceJudged(prompt, name, said.get(True), said.get(False), identical=pairing.identical))
    shown = as_shown(s, project_id=run.project_id)
    ids = {i for key in answers for i in key}
    replies = {reply.id: reply for reply in s.scalars(select(Response).where(Response.id.in_(ids)))}
    for (candidate, baseline), said in sorted(answers.items()):
        mine, other = replies[candidate], replies[baseline]
        if len(said) == 2 and other.responder_id in names:
            same = shown(mine.text).split() == shown(other.text).split()
            name = names[other.responder_id]
            found.append(TwiceJudged(str(mine.prompt_id), name, said[True], said[False], identical=same, drawn=False))
    return tuple(found)


def _beside(
    run: JudgeRun,
    verdicts: Verdicts,
    judged: Sequence[TwiceJudged],
    pairings: Sequence[Pairing],
    names: Mapping[int, str],
) -> Beside:
    people = [
        PersonsVote(row.prompt, row.reviewer, row.baseline, row.outcome, asked=row.judged_by != "nobody")
        for row in verdicts.rows
    ]

    def helped_contrast(contrast: HeadToHead) -> Helped:
        together = contrast is verdicts.together
        members = verdicts.people if together else {contrast.baseline}
        # with all people as one, a prompt's other people would stand beside the one that was drawn for it
        mine = [one for one in judged if one.baseline in members and (one.drawn or not together)]
        mine = [replace(one, baseline=contrast.baseline) for one in mine]
        votes = [replace(vote, baseline=contrast.baseline) for vote in people if vote.baseline in members]
        places = [one for one in pairings if names[one.baseline_response.responder_id] in members]
        figure = _figure(run, verdicts, contrast, votes, mine, places)
        useless = "" if isinstance(figure, CannotEstimate) else why_not(measures(votes, mine))
        return Helped(contrast.baseline, figure, useless)

    drawn = measures(people, [one for one in judged if one.drawn])
    return Beside(verdicts.simulated, drawn, tuple(map(helped_contrast, verdicts.contrasts)))


def _figure(
    run: JudgeRun,
    verdicts: Verdicts,
    contrast: HeadToHead,
    votes: Sequence[PersonsVote],
    judged: Sequence[TwiceJudged],
    places: Sequence[Pairing],
) -> Estimated[WithJudge]:
    """People's rate with the judge's help, where both have what that takes."""
    if run.status is not RunStatus.SUCCEEDED:
        return CannotEstimate("the model judge has not come to its end. Let it go on where it stands.")
    if {pair.prompt for pair in judged} <= {vote.prompt for vote in votes}:
        return CannotEstimate(
            f"{'the simulated reviewer' if verdicts.simulated else 'people'} judged every pair that the model judge "
            "did, so it has nothing to add. It helps where an evaluation ends before all pairs are judged, or where "
            "several people wrote the replies."
        )
    given = [row for row in verdicts.rows if row.judgment_id is not None]
    there = {row.pairing_id for row in given}
    holes = passed_over([place.id in there for place in places if not place.identical])
    if holes > max(1, len({row.reviewer for row in given})):
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
