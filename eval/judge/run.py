"""A JudgeRun at work: `python -m jobs.child judge RUN_ID ATTEMPT` calls `run`.

The judge reads every pair of an Evaluation twice, with the sides changed, through the same engines and endpoints as any
Responder. Each verdict is saved as it comes and is not asked for again. Nothing here logs what a judge said.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, joinedload

from db.lookup import refuse_retired
from db.models import (
    Evaluation,
    JudgeRun,
    JudgeVerdict,
    ModelVersion,
    Pairing,
    Project,
    Responder,
    ResponderKind,
    Response,
    Role,
    RunStatus,
    now,
)
from db.people import guideline_of, require
from db.session import reading, session
from errors import EngineFailed, NotFound, Refused
from eval.judge.message import LONGEST_SAID, default_instructions, judge_message, verdict_in
from eval.judge.pairs import JudgedPair, pairs_of
from generation import worker
from generation.adapters import ensure_merged
from generation.answering import Endpoints, EngineDied, Work, answerers_of
from generation.plan import refuse_unfit
from generation.responders import Contestant, Remote, Sampling, contestant_of, create_responder, tidied
from jobs.progress import Progress
from jobs.runs import Resources
from llm.client import Answer, Missing
from llm.endpoints import remote_endpoint
from llm.engine import serve, tail
from stats.verdicts import Verdict
from texts.shown import mask_names
from texts.typed import cleaned

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=8)
"""How a judge answers unless a manager gives it more room, as models need that reason first."""
MOST_TOKENS = 4096
MOST_LOST = 0.05
"""Share of the questions that may stay without an answer; where more do, something else is wrong."""
SHORTEST_NAME = 3
"""Characters; a Responder called A is not named wherever an answer is."""
SAME_TEXT = "(the same text on both sides, so it was not asked)"
NO_ANSWER = "(no answer) "

Key: TypeAlias = tuple[int, int, bool]
"""Candidate's and baseline's Response, and whether the candidate stands left."""

log = logging.getLogger("eval.judge.run")


# ------------------------------------------------------------------------------------------------ asking for a run


def instructions_for(s: Session, *, project_id: int) -> str:
    """What a judge of this project is told unless a manager writes otherwise."""
    guideline = guideline_of(s, project_id=project_id)
    return default_instructions(s.get_one(Project, project_id).task, guideline.text if guideline else "")


def request_judge(s: Session, *, by: int, evaluation_id: int, contestant: Contestant) -> JudgeRun:
    """Have a model judge an Evaluation, open or closed: a QUEUED run that a worker takes up; managers only.

    Raises `Refused` for a judge that takes part itself, is retired or did not pass its check, or was asked before;
    and for an Evaluation without anything to judge.
    """
    evaluation = s.get(Evaluation, evaluation_id)
    if evaluation is None:
        raise NotFound("That evaluation is not in the database any more. Reload the page.")
    require(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    contestant = tidied(contestant)
    taking_part = _taking_part(s, evaluation)
    _check(contestant, taking_part)
    version = None
    if not isinstance(contestant.model, Remote):
        version = s.get(ModelVersion, contestant.model)
        if version is None:
            raise NotFound("That model is not in the database any more. Reload the page.")
        refuse_unfit(s, version)
    _refuse_own_cause(contestant, version, taking_part)
    pairs = pairs_of(s, evaluation_id=evaluation_id).pairs
    if not any(not pair.identical for pair in pairs):
        raise Refused("This evaluation has no two replies that differ, so there is nothing for a model to judge.")
    # two tabs that ask for the same at once wait for each other
    s.get(Project, evaluation.project_id, with_for_update=True)
    judge = _same_judge(s, project_id=evaluation.project_id, contestant=contestant)
    if judge is not None:
        _refuse_again(s, judge=judge, evaluation_id=evaluation_id)
    else:
        judge = create_responder(
            s,
            by=by,
            project_id=evaluation.project_id,
            name=_free_name(s, project_id=evaluation.project_id),
            contestant=contestant,
            kept=False,
        )
    made = JudgeRun(
        project_id=evaluation.project_id,
        evaluation_id=evaluation_id,
        responder_id=judge.id,
        requested_by_id=by,
        total=2 * sum(not pair.identical for pair in pairs),
    )
    s.add(made)
    s.flush()
    return made


def judge_runs(s: Session, *, evaluation_id: int) -> Sequence[JudgeRun]:
    """The runs over one Evaluation, newest first."""
    return s.scalars(
        select(JudgeRun)
        .where(JudgeRun.evaluation_id == evaluation_id)
        .order_by(JudgeRun.id.desc())
        .options(joinedload(JudgeRun.responder).joinedload(Responder.model_version))
    ).all()


def _taking_part(s: Session, evaluation: Evaluation) -> Sequence[Responder]:
    """The candidate and every baseline that a pairing has."""
    used = (
        select(Response.responder_id)
        .join(Pairing, Pairing.baseline_response_id == Response.id)
        .where(Pairing.evaluation_id == evaluation.id)
    )
    rest = s.scalars(select(Responder).where(Responder.id.in_(used)).order_by(Responder.id))
    return [evaluation.candidate, *rest]


def _check(contestant: Contestant, taking_part: Sequence[Responder]) -> None:
    """Raise `Refused` for settings or instructions that a judge may not have."""
    prompt, sampling = contestant.prompt, contestant.sampling
    if sampling.temperature != 0:
        raise Refused("A judge answers at temperature 0, so that the same pair gets the same verdict. Set it to 0.")
    if sampling.max_tokens > MOST_TOKENS:
        raise Refused(f"A judge's answer is a word or two; with reasoning before it, at most {MOST_TOKENS:,} tokens.")
    if not prompt.instructions:
        raise Refused("The judge needs instructions: what is a better reply here? Write them.")
    if prompt.named:
        raise Refused(
            "The judge's instructions are sent as they are, without fields. Take the double braces out of them."
        )
    if prompt.examples:
        raise Refused("A judge is shown no examples: they could tell who writes how. Take them out.")
    names = {one.name for one in taking_part}
    names |= {one.model_version.name for one in taking_part if one.model_version is not None}
    said = prompt.instructions
    named = [
        *(
            name
            for name in sorted(names)
            if len(name) >= SHORTEST_NAME and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said, re.IGNORECASE)
        ),
        # of people's names each part tells, as in the replies
        *(
            one.name
            for one in taking_part
            if one.kind is ResponderKind.HUMAN and mask_names(said, [one.name]) != mask_names(said, [])
        ),
    ]
    if named:
        raise Refused(
            f"The instructions name “{named[0]}”, who takes part, and a judge is not told who wrote what. Take it out."
        )


def _refuse_own_cause(contestant: Contestant, version: ModelVersion | None, taking_part: Sequence[Responder]) -> None:
    for one in taking_part:
        if isinstance(contestant.model, Remote):
            own = one.kind is ResponderKind.REMOTE and (
                (one.endpoint_url or "").casefold(),
                (one.endpoint_model or "").casefold(),
            ) == (contestant.model.url.casefold(), contestant.model.model.casefold())
        else:
            theirs = one.model_version
            own = (
                version is not None
                and theirs is not None
                and (theirs.id == version.id or (version.sha256 is not None and theirs.sha256 == version.sha256))
            )
        if own:
            raise Refused(
                f"This model wrote the replies of {one.label}, which take part, and models prefer their own texts. "
                "Choose another model as judge."
            )


def _same_judge(s: Session, *, project_id: int, contestant: Contestant) -> Responder | None:
    """The judge that is exactly this one, if there is one."""
    judges = select(JudgeRun.responder_id).where(JudgeRun.project_id == project_id)
    query = select(Responder).where(Responder.id.in_(judges), Responder.kept.is_(False)).order_by(Responder.id)
    return next((one for one in s.scalars(query) if contestant_of(one) == contestant), None)


def _refuse_again(s: Session, *, judge: Responder, evaluation_id: int) -> None:
    before = s.scalars(
        select(JudgeRun)
        .where(JudgeRun.responder_id == judge.id, JudgeRun.evaluation_id == evaluation_id)
        .order_by(JudgeRun.id.desc())
    ).first()
    if before is None:
        return
    if not before.status.ended:
        raise Refused(f"This judge is at work on this evaluation already (run {before.id}). Wait for it, or cancel it.")
    if before.status is RunStatus.SUCCEEDED:
        raise Refused("This judge has judged this evaluation already, and would say the same again. Change something.")
    raise Refused(f"This judge has begun already (run {before.id}). Press Try again or Resume there, to go on.")


def _free_name(s: Session, *, project_id: int) -> str:
    names = set(s.scalars(select(Responder.name).where(Responder.project_id == project_id)))
    number = 1
    while f"Model judge {number}" in names:
        number += 1
    return f"Model judge {number}"


# ------------------------------------------------------------------------------------------------ carrying it


@dataclass
class Judging(Work):
    """A `Work` whose gaps are questions to a judge and whose answers are verdicts."""

    questions: Mapping[Key, Missing] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    """Why a question has no answer, by its number."""

    def left(self) -> Sequence[Missing]:
        """The questions without a verdict, but for those given up."""
        with reading() as s:
            there = _said(s, run_id=self.progress.run_id)
        gaps = [gap for key, gap in self.questions.items() if key not in there]
        self._total, self._open = len(self.questions), len(gaps)
        return self._not_given_up(gaps)

    def tell(self, stage: str) -> None:
        """Say how far the run is."""
        self._told = time.monotonic()
        words = stage.replace("Generating", "Judging", 1)
        self.progress.update(stage=words, done=self._total - self._open, total=self._total)

    def give_up_rest(self) -> None:
        """Keep what has no answer as a verdict that is none. Raises `EngineFailed` where that is too much."""
        lost = {key: gap for key, gap in self.questions.items() if gap.prompt_id in self.problems}
        if not lost:
            return
        if len(lost) == len(self.questions):
            raise EngineFailed(f"The model judge answered nothing. {self.last_problem}")
        if len(lost) > MOST_LOST * len(self.questions):
            raise EngineFailed(
                f"{len(lost):,} of {len(self.questions):,} questions have no answer; the verdicts that came are saved. "
                f"{self.last_problem} Then press Try again, and only the rest is asked."
            )
        self._keep([(key, None, NO_ANSWER + self.problems[gap.prompt_id]) for key, gap in lost.items()])

    def keep_identical(self, pairs: Sequence[JudgedPair]) -> None:
        """Ties of pairs with the same text twice, in both orders; nobody is asked about them."""
        with reading() as s:
            there = _said(s, run_id=self.progress.run_id)
        keys = [
            (one.candidate_response_id, one.baseline_response_id, left)
            for one in pairs
            if one.identical
            for left in (True, False)
        ]
        self._keep([(key, Verdict.TIE, SAME_TEXT) for key in keys if key not in there])

    def _give_up(self, gap: Missing) -> None:
        log.warning("%s", self.last_problem)
        self.problems[gap.prompt_id] = self.last_problem
        self.given_up.add((gap.responder_id, gap.prompt_id))

    def _quoted(self, gap: Missing) -> str:
        """A question by the prompt's first words, for people: they know no numbers."""
        return f"The pair of replies to “{shorten(str((gap.extra or {}).get('prompt', '')), 50, placeholder=' …')}”"

    def _save(self, batch: Sequence[tuple[Missing, Answer]], endpoints: Endpoints) -> None:
        by_number = {gap.prompt_id: key for key, gap in self.questions.items()}
        rows = []
        for gap, answer in batch:
            (one,) = answer.samples
            verdict = verdict_in(one.text, cut=one.finish_reason == "length")
            rows.append((by_number[gap.prompt_id], verdict, one.text))
        self._keep(rows)
        self._open -= len(rows)
        self.answered += len(rows)
        self.tokens += sum(answer.tokens for _, answer in batch)

    def _keep(self, rows: Sequence[tuple[Key, Verdict | None, str]]) -> None:
        if not rows:
            return
        at = now()
        with session() as s:
            self.progress.guard(s)
            s.execute(
                insert(JudgeVerdict),
                [
                    {
                        "run_id": self.progress.run_id,
                        "candidate_response_id": candidate,
                        "baseline_response_id": baseline,
                        "candidate_left": left,
                        "verdict": verdict,
                        "said": cleaned(said)[:LONGEST_SAID],  # a database takes no half characters
                        "created_at": at,
                    }
                    for (candidate, baseline, left), verdict, said in rows
                ],
            )


def questions_of(pairs: Sequence[JudgedPair], *, judge_id: int) -> dict[Key, Missing]:
    """What a judge is asked: each pair that differs, in both orders, numbered. Pure."""
    found: dict[Key, Missing] = {}
    for one in pairs:
        if one.identical:
            continue
        for left in (True, False):
            sides = (one.candidate, one.baseline) if left else (one.baseline, one.candidate)
            message = judge_message(one.prompt, one.context, *sides)
            key = one.candidate_response_id, one.baseline_response_id, left
            found[key] = Missing(len(found), message, None, {"prompt": one.prompt}, (0,), judge_id)
    return found


def resources(run: JudgeRun) -> Resources:
    """What the judge's engine takes, if it is started here."""
    return worker.resources_for(run.responder)


def run(progress: Progress) -> None:
    """Ask about everything that has no verdict yet."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    progress.update(stage="Reading the pairs")
    with reading() as s:
        given = s.get_one(JudgeRun, progress.run_id)
        judge = given.responder
        refuse_retired(judge.model_version)
        ensure_merged(judge.model_version)
        pairs = pairs_of(s, evaluation_id=given.evaluation_id).pairs
        answerers = answerers_of(s, [judge.id])
    work = Judging(progress, answerers, seed=0, tokens=0, questions=questions_of(pairs, judge_id=judge.id))
    log.info(
        "%d questions at temperature %g, at most %d tokens.", len(work.questions), judge.temperature, judge.max_tokens
    )
    work.keep_identical(pairs)
    deaths = 0
    while gaps := work.left():
        answered = work.answered
        try:
            with _endpoint_of(judge, work) as endpoints:
                while gaps:
                    work.answer(endpoints, gaps)
                    gaps = work.left()
        except EngineDied:
            deaths = 1 if work.answered > answered else deaths + 1
            if deaths > worker.RESTARTS:
                raise EngineFailed(_died(judge, progress, deaths)) from None
            log.warning("The engine died; it is started again (%d of %d).", deaths, worker.RESTARTS)
            if judge.model_version is None:
                time.sleep(worker.WAIT * deaths)
    work.give_up_rest()
    with session() as s:
        progress.guard(s)
        done = sum(key in work.questions for key in _said(s, run_id=progress.run_id))
        s.get_one(JudgeRun, progress.run_id).done = done
        progress.succeed(s)


@contextmanager
def _endpoint_of(judge: Responder, work: Judging) -> Iterator[Endpoints]:
    """Where the judge is asked, there for the length of the block."""
    (answerer,) = work.answerers.values()
    if answerer.weights is None:
        work.tell("Asking the endpoint")
        yield {None: remote_endpoint(judge)}
        return
    work.tell("Starting the engine, about a minute")
    with serve(answerer.weights, log=work.progress.folder / "engine.log", waiting=work.starting) as (endpoint,):
        yield {answerer.weights: endpoint}


def _said(s: Session, *, run_id: int) -> set[Key]:
    """What the run has a verdict on, or words that are none."""
    rows = s.execute(
        select(
            JudgeVerdict.candidate_response_id, JudgeVerdict.baseline_response_id, JudgeVerdict.candidate_left
        ).where(JudgeVerdict.run_id == run_id)
    )
    return {(candidate, baseline, left) for candidate, baseline, left in rows}


def _died(judge: Responder, progress: Progress, deaths: int) -> str:
    if judge.model_version is None:
        return (
            f"The endpoint {judge.endpoint_url} stopped answering {deaths} times in a row; the verdicts that came are "
            "saved. Try the run again later to go on from there."
        )
    engine_log = progress.folder / "engine.log"
    return (
        f"The engine died {deaths} times in a row; the verdicts that came are saved. Try the run again to go on from "
        f"there. Its log, {engine_log}, ends:\n{tail(engine_log)}"
    )
