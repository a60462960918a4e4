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
from itertools import count, product
from textwrap import shorten
from typing import TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, joinedload

from db.lookup import get_existing, get_model, refuse_retired
from db.models import (
    Evaluation,
    JudgeRun,
    JudgeVerdict,
    ModelVersion,
    Project,
    Responder,
    ResponderKind,
    Role,
    RunStatus,
    now,
)
from db.people import current_guideline, require_role
from db.session import reading, session
from errors import EngineFailed, Refused
from eval.contestants import list_participants
from eval.judge.message import LONGEST_ANSWER, default_instructions, judge_message, parse_verdict
from eval.judge.pairs import JudgedPair, load_judged_pairs
from generation import worker
from generation.adapters import ensure_merged
from generation.answering import AnsweringJob, Endpoints, EngineDied, load_answerers
from generation.plan import refuse_unfit
from generation.responders import RemoteModel, ResponderSpec, Sampling, create_responder, normalize_spec, spec_of
from jobs.progress import Progress
from jobs.runs import Resources
from llm.client import GeneratedSamples, MissingSamples
from llm.endpoints import remote_endpoint
from llm.engine import serve, tail
from stats.verdicts import Verdict
from texts.shown import mask_names
from texts.typed import clean_text

JUDGE_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=8)
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


def default_judge_instructions(s: Session, *, project_id: int) -> str:
    """What a judge of this project is told unless a manager writes otherwise."""
    guideline = current_guideline(s, project_id=project_id)
    return default_instructions(s.get_one(Project, project_id).task, guideline.text if guideline else "")


def request_judge(s: Session, *, by: int, evaluation_id: int, contestant: ResponderSpec) -> JudgeRun:
    """Have a model judge an Evaluation, open or closed: a QUEUED run that a worker takes up; managers only.

    Raises `Refused` for a judge that takes part itself, is retired or did not pass its check, or was asked before;
    and for an Evaluation without anything to judge.
    """
    evaluation = get_existing(s, Evaluation, evaluation_id, "evaluation")
    require_role(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    spec = normalize_spec(contestant)
    taking_part = list_participants(s, evaluation)
    _refuse_unusable(spec, taking_part)
    version = None
    if not isinstance(spec.model, RemoteModel):
        version = get_model(s, spec.model)
        refuse_unfit(s, version)
    _refuse_own_cause(spec, version, taking_part)
    pairs = load_judged_pairs(s, evaluation_id=evaluation_id).pairs
    if all(pair.identical for pair in pairs):
        raise Refused("This evaluation has no two replies that differ, so there is nothing for a model to judge.")
    # two tabs that ask for the same at once wait for each other
    s.get(Project, evaluation.project_id, with_for_update=True)
    judges = select(JudgeRun.responder_id).where(JudgeRun.project_id == evaluation.project_id)
    known = select(Responder).where(Responder.id.in_(judges), Responder.listed.is_(False)).order_by(Responder.id)
    judge = next((judge for judge in s.scalars(known) if spec_of(judge) == spec), None)
    if judge is not None:
        _refuse_again(s, judge=judge, evaluation_id=evaluation_id)
    else:
        names = set(s.scalars(select(Responder.name).where(Responder.project_id == evaluation.project_id)))
        name = next(name for number in count(1) if (name := f"Model judge {number}") not in names)
        judge = create_responder(s, by=by, project_id=evaluation.project_id, name=name, spec=spec, listed=False)
    run = JudgeRun(
        project_id=evaluation.project_id,
        evaluation_id=evaluation_id,
        responder_id=judge.id,
        requested_by_id=by,
        total=2 * sum(not pair.identical for pair in pairs),
    )
    s.add(run)
    s.flush()
    return run


def list_judge_runs(s: Session, *, evaluation_id: int) -> Sequence[JudgeRun]:
    """The runs over one Evaluation, newest first."""
    return s.scalars(
        select(JudgeRun)
        .where(JudgeRun.evaluation_id == evaluation_id)
        .order_by(JudgeRun.id.desc())
        .options(joinedload(JudgeRun.responder).joinedload(Responder.model_version))
    ).all()


def _refuse_unusable(spec: ResponderSpec, taking_part: Sequence[Responder]) -> None:
    prompt, sampling = spec.prompt, spec.sampling
    if sampling.temperature != 0:
        raise Refused("A judge answers at temperature 0, so that the same pair gets the same verdict. Set it to 0.")
    if sampling.max_tokens > MOST_TOKENS:
        raise Refused(f"A judge's answer is a word or two; with reasoning before it, at most {MOST_TOKENS:,} tokens.")
    if not prompt.instructions:
        raise Refused("The judge needs instructions: what is a better reply here? Write them.")
    if prompt.field_names:
        raise Refused(
            "The judge's instructions are sent as they are, without fields. Take the double braces out of them."
        )
    if prompt.examples:
        raise Refused("A judge is shown no examples: they could tell who writes how. Take them out.")
    models = {responder.model_version.name for responder in taking_part if responder.model_version is not None}
    names = {responder.name for responder in taking_part} | models
    people = [responder.name for responder in taking_part if responder.kind is ResponderKind.HUMAN]
    text = prompt.instructions
    # of people's names each part tells, as in the replies
    whole_words = {name: rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names) if len(name) >= SHORTEST_NAME}
    named = [
        *(name for name, pattern in whole_words.items() if re.search(pattern, text, re.IGNORECASE)),
        *(name for name in people if mask_names(text, [name]) != mask_names(text, [])),
    ]
    if named:
        raise Refused(
            f"The instructions name “{named[0]}”, who takes part, and a judge is not told who wrote what. Take it out."
        )


def _refuse_own_cause(spec: ResponderSpec, version: ModelVersion | None, taking_part: Sequence[Responder]) -> None:
    model = spec.model
    for responder in taking_part:
        own, theirs = False, responder.model_version
        if isinstance(model, RemoteModel):
            address = [(part or "").casefold() for part in (responder.endpoint_url, responder.endpoint_model)]
            own = responder.kind is ResponderKind.REMOTE and address == [model.url.casefold(), model.model.casefold()]
        elif version is not None and theirs is not None:
            own = theirs.id == version.id or theirs.sha256 == version.sha256 is not None
        if own:
            raise Refused(
                f"This model wrote the replies of {responder.label}, which take part, and models prefer their own "
                "texts. Choose another model as judge."
            )


def _refuse_again(s: Session, *, judge: Responder, evaluation_id: int) -> None:
    runs = select(JudgeRun).where(JudgeRun.responder_id == judge.id, JudgeRun.evaluation_id == evaluation_id)
    before = s.scalars(runs.order_by(JudgeRun.id.desc())).first()
    if before is None:
        return
    if not before.status.ended:
        raise Refused(f"This judge is at work on this evaluation already (run {before.id}). Wait for it, or cancel it.")
    if before.status is RunStatus.SUCCEEDED:
        raise Refused("This judge has judged this evaluation already, and would say the same again. Change something.")
    raise Refused(f"This judge has begun already (run {before.id}). Press Try again or Resume there, to go on.")


@dataclass
class JudgingJob(AnsweringJob):
    """An `AnsweringJob` whose gaps are questions to a judge and whose answers are verdicts."""

    keeps_wordless = True

    questions: Mapping[Key, MissingSamples] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    """Why a question has no answer, by its number."""

    def list_missing(self) -> Sequence[MissingSamples]:
        """The questions without a verdict, but for those given up."""
        answered = self._answered_keys()
        gaps = [gap for key, gap in self.questions.items() if key not in answered]
        self._total, self._open = len(self.questions), len(gaps)
        return [gap for gap in gaps if (gap.responder_id, gap.prompt_id) not in self.given_up]

    def report_progress(self, stage: str) -> None:
        """Say how far the run is."""
        self._reported_at = time.monotonic()
        words = stage.replace("Generating", "Judging", 1)
        self.progress.update(stage=words, done=self._total - self._open, total=self._total)

    def give_up_rest(self) -> None:
        """Keep what has no answer as a verdict that is none. Raises `EngineFailed` where that is too much."""
        lost = {key: gap for key, gap in self.questions.items() if gap.prompt_id in self.problems}
        if lost and len(lost) == len(self.questions):
            raise EngineFailed(f"The model judge answered nothing. {self.last_problem}")
        if len(lost) > MOST_LOST * len(self.questions):
            raise EngineFailed(
                f"{len(lost):,} of {len(self.questions):,} questions have no answer; the verdicts that came are saved. "
                f"{self.last_problem} Then press Try again, and only the rest is asked."
            )
        self._save_verdicts([(key, None, NO_ANSWER + self.problems[gap.prompt_id]) for key, gap in lost.items()])

    def keep_identical(self, pairs: Sequence[JudgedPair]) -> None:
        """Ties of pairs with the same text twice, in both orders; the judge is not asked about them."""
        answered = self._answered_keys()
        keys = [
            (pair.candidate_response_id, pair.baseline_response_id, left)
            for pair in pairs
            if pair.identical
            for left in (True, False)
        ]
        self._save_verdicts([(key, Verdict.TIE, SAME_TEXT) for key in keys if key not in answered])

    def _answered_keys(self) -> set[Key]:
        with reading() as s:
            return _load_answered(s, run_id=self.progress.run_id)

    def _give_up(self, gap: MissingSamples) -> None:
        log.warning("%s", self.last_problem)
        self.problems[gap.prompt_id] = self.last_problem
        self.given_up.add((gap.responder_id, gap.prompt_id))

    def _describe_prompt(self, gap: MissingSamples) -> str:
        """A question by the prompt's first words, for people: they know no numbers."""
        return f"The pair of replies to “{shorten(str((gap.extra or {}).get('prompt', '')), 50, placeholder=' …')}”"

    def _save(self, batch: Sequence[tuple[MissingSamples, GeneratedSamples]], endpoints: Endpoints) -> None:
        by_number = {gap.prompt_id: key for key, gap in self.questions.items()}
        rows = []
        for gap, answer in batch:
            verdict, words = None, " ".join(answer.wordless)
            for sample in answer.samples:
                verdict, words = parse_verdict(sample.text, cut=sample.finish_reason == "length"), sample.text
            rows.append((by_number[gap.prompt_id], verdict, words))
        self._save_verdicts(rows)
        self._open -= len(rows)
        self.answered += len(rows)
        self.tokens += sum(answer.tokens for _, answer in batch)

    def _save_verdicts(self, rows: Sequence[tuple[Key, Verdict | None, str]]) -> None:
        if not rows:
            return
        values = [
            {
                "run_id": self.progress.run_id,
                "candidate_response_id": candidate,
                "baseline_response_id": baseline,
                "candidate_left": left,
                "verdict": verdict,
                "reply": clean_text(answer)[:LONGEST_ANSWER],  # a database takes no half characters
                "created_at": now(),
            }
            for (candidate, baseline, left), verdict, answer in rows
        ]
        with session() as s:
            self.progress.guard(s)
            s.execute(insert(JudgeVerdict), values)


def judge_questions(pairs: Sequence[JudgedPair], *, judge_id: int) -> dict[Key, MissingSamples]:
    """What a judge is asked: each pair that differs, in both orders, numbered. Pure."""
    questions: dict[Key, MissingSamples] = {}
    for pair, left in product((pair for pair in pairs if not pair.identical), (True, False)):
        sides = (pair.candidate, pair.baseline) if left else (pair.baseline, pair.candidate)
        message = judge_message(pair.prompt, pair.context, *sides)
        key = pair.candidate_response_id, pair.baseline_response_id, left
        questions[key] = MissingSamples(len(questions), message, None, {"prompt": pair.prompt}, (0,), judge_id)
    return questions


def resources(run: JudgeRun) -> Resources:
    """What the judge's engine takes, if it is started here."""
    return worker.resources_for(run.responder)


def run(progress: Progress) -> None:
    """Ask about everything that has no verdict yet."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    progress.update(stage="Reading the pairs")
    with reading() as s:
        judge_run = s.get_one(JudgeRun, progress.run_id)
        judge = judge_run.responder
        refuse_retired(judge.model_version)
        ensure_merged(judge.model_version)
        pairs = load_judged_pairs(s, evaluation_id=judge_run.evaluation_id).pairs
        answerers = load_answerers(s, [judge.id])
    job = JudgingJob(progress, answerers, seed=0, tokens=0, questions=judge_questions(pairs, judge_id=judge.id))
    log.info(
        "%d questions at temperature %g, at most %d tokens.", len(job.questions), judge.temperature, judge.max_tokens
    )
    job.keep_identical(pairs)
    deaths = 0
    while gaps := job.list_missing():
        answered = job.answered
        try:
            with _open_endpoint(judge, job) as endpoints:
                while gaps:
                    job.answer(endpoints, gaps)
                    gaps = job.list_missing()
        except EngineDied:
            deaths = 1 if job.answered > answered else deaths + 1
            if deaths > worker.RESTARTS:
                raise EngineFailed(_describe_death(judge, progress, deaths)) from None
            log.warning("The engine died; it is started again (%d of %d).", deaths, worker.RESTARTS)
            if judge.model_version is None:
                time.sleep(worker.WAIT * deaths)
    job.give_up_rest()
    with session() as s:
        progress.guard(s)
        done = sum(key in job.questions for key in _load_answered(s, run_id=progress.run_id))
        s.get_one(JudgeRun, progress.run_id).done = done
        progress.succeed(s)


@contextmanager
def _open_endpoint(judge: Responder, job: JudgingJob) -> Iterator[Endpoints]:
    (answerer,) = job.answerers.values()
    if answerer.weights is None:
        job.report_progress("Asking the endpoint")
        yield {None: remote_endpoint(judge)}
        return
    job.report_progress("Starting the engine, about a minute")
    engine_log = job.progress.folder / "engine.log"
    with serve(answerer.weights, log=engine_log, on_wait=job.report_engine_start) as (endpoint,):
        yield {answerer.weights: endpoint}


def _load_answered(s: Session, *, run_id: int) -> set[Key]:
    """What the run has a verdict on, or words that are none."""
    key = JudgeVerdict.candidate_response_id, JudgeVerdict.baseline_response_id, JudgeVerdict.candidate_left
    return {
        (candidate, baseline, left) for candidate, baseline, left in s.execute(select(*key).filter_by(run_id=run_id))
    }


def _describe_death(judge: Responder, progress: Progress, deaths: int) -> str:
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
