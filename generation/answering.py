"""How one run asks and saves: many requests in flight, answers saved in batches, failures counted by prompt."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from textwrap import shorten
from typing import ClassVar, TypeAlias

from openai import AsyncOpenAI
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.models import GenerationRun, Responder, Response
from db.session import reading, session
from errors import EngineFailed
from generation.adapters import engine_weights
from generation.plan import find_missing, find_missing_in_trial
from generation.resampling import find_samples_to_redraw
from generation.responders import prompt_format
from jobs.progress import Progress
from llm.client import (
    EndpointLost,
    EndpointRefusal,
    GeneratedSamples,
    MissingSamples,
    RequestFailure,
    RequestSettings,
    UnanswerablePrompt,
    openai_client,
    request_samples,
)
from llm.endpoints import Endpoint
from llm.engine import Weights
from llm.folder import read_stop_tokens, read_template
from llm.template import system_hash, template_hash
from settings import Engine, settings

TRIES = 3
"""Failures after which a prompt is given up."""
DEATHS_ALONE = 2
"""How often the engine may die while one prompt alone is in flight before that prompt is given up."""
BATCH = 8
"""Prompts saved in one transaction, or fewer once `PATIENCE` is over."""
PATIENCE = 2.0
"""Seconds that an answer may wait for its batch to fill."""

log = logging.getLogger("generation.answering")


class EngineDied(Exception):
    """The endpoint stopped answering."""


@dataclass(frozen=True)
class Answerer:
    """One of the run's Responders, copied so that no database object crosses into the event loop."""

    label: str
    request: RequestSettings
    weights: Weights | None
    """What an engine loads to answer; None for a remote endpoint."""
    rendering: Mapping[str, str | None]
    """How the model turns a conversation into tokens, by columns of a Response: template's hash, stop tokens."""

    @property
    def engine(self) -> str | None:
        """The location that the engine loads; answerers with the same one share an engine. None for an endpoint."""
        return self.weights.location if self.weights is not None else None


Endpoints: TypeAlias = Mapping[Weights | None, Endpoint]
"""Where to ask each of the models that one engine serves."""


@dataclass
class AnsweringJob:
    """The state of one run's work in this process."""

    keeps_wordless: ClassVar[bool] = False
    """Whether an answer without words is one all the same, as a judge's that names no verdict."""

    progress: Progress
    answerers: Mapping[int, Answerer]
    """By the Responder's id."""
    seed: int
    tokens: int
    """Generated so far, in earlier attempts too."""
    trial: bool = False
    answered: int = 0
    """Prompts that this process has answered."""
    last_problem: str = ""
    wordless: Counter[str] = field(default_factory=Counter)
    """Replies without words, which are not saved, by the reason."""
    given_up: set[tuple[int, int]] = field(default_factory=set)
    """(Responder id, prompt id) pairs that are not asked again."""
    _failures: Counter[tuple[int, int]] = field(default_factory=Counter)
    _deaths: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often the engine died while it was answering the prompt."""
    _total: int = 0
    _open: int = 0
    """Responses of the total that are still missing."""
    _reported_at: float = 0.0
    """When progress was last reported, on the monotonic clock."""

    def list_missing(self) -> Sequence[MissingSamples]:
        """List what is still to be answered, without the prompts that were given up."""
        with reading() as s:
            run = s.get_one(GenerationRun, self.progress.run_id)
            if self.trial:
                gaps = find_missing_in_trial(s, run=run)
                new = {gap.responder_id for gap in gaps} - set(self.answerers)
                self.answerers = {**self.answerers, **load_answerers(s, new)}
            else:
                gaps = [
                    gap
                    for responder_id in self.answerers
                    for gap in find_missing(
                        s,
                        responder_id=responder_id,
                        scope=run.scope,
                        samples=run.samples,
                        prompt_limit=run.prompt_limit,
                    )
                ]
            self._open = sum(len(gap.sample_numbers) for gap in gaps)
            self._total = max(run.total, self._total, self._open)
            gaps = [gap for gap in gaps if _key(gap) not in self.given_up]
            if not gaps and not self.trial:
                gaps = [
                    gap
                    for responder_id in self.answerers
                    for gap in find_samples_to_redraw(s, responder_id=responder_id, run_id=run.id)
                    if _key(gap) not in self.given_up
                ]
        return gaps

    def report_progress(self, stage: str) -> None:
        """Report how far the run is."""
        self._reported_at = time.monotonic()
        self.progress.update(
            stage=stage,
            done=self._total - self._open,
            total=self._total,
            tokens=self.tokens,
            failed=len(self.given_up),
            problem=self.describe_problems() or None,
        )

    def describe_problems(self) -> str:
        """What went wrong so far: the replies without words by their reason, and the last problem of all."""
        counts = [f"Without words, so counted as no reply: {n:,}, {why}." for why, n in self.wordless.items()]
        return " ".join([*counts, self.last_problem]).strip()

    @property
    def seconds_since_report(self) -> float:
        """Seconds since progress was last reported."""
        return time.monotonic() - self._reported_at

    def report_engine_start(self, waited: float) -> None:
        """Report every few seconds that the engine is starting."""
        if self.seconds_since_report > 3:
            self._reported_at = time.monotonic()
            self.progress.update(stage=f"Starting the engine, {waited:.0f} s so far, about a minute")

    def answer(self, endpoints: Endpoints, gaps: Sequence[MissingSamples]) -> None:
        """Ask for all gaps once, and save batches as they come. Raises `EngineDied`, `EngineFailed`.

        Each gap is filled by its own Responder's model. Prompts that were in flight when the engine died are asked
        after all others, one at a time: this finds the prompt that kills the engine, and no other prompt waits for it.
        """
        harmless = [gap for gap in gaps if not self._deaths[_key(gap)]]
        if harmless:
            asyncio.run(self._answer(endpoints, harmless, settings().concurrency))
            return
        for gap in sorted(gaps, key=lambda gap: self._deaths[_key(gap)]):
            asyncio.run(self._answer(endpoints, [gap], 1))

    async def _answer(self, endpoints: Endpoints, gaps: Sequence[MissingSamples], at_once: int) -> None:
        saved_at = started_at = time.monotonic()
        tokens_before, open_before = self.tokens, self._open
        slots = asyncio.Semaphore(at_once)
        batch: list[tuple[MissingSamples, GeneratedSamples]] = []
        in_flight: list[MissingSamples] = []

        def save() -> None:
            nonlocal batch, saved_at
            self._save(batch, endpoints)
            batch, saved_at = [], time.monotonic()
            if self.seconds_since_report > 1:
                elapsed = time.monotonic() - started_at
                seconds_left = elapsed * self._open / max(1, open_before - self._open)
                rate = (self.tokens - tokens_before) / elapsed
                time_left = f"about {seconds_left / 60:.0f} min" if seconds_left >= 60 else "under a minute"
                time_left = f", {time_left} left" if self._open > 0 else ""
                self.report_progress(f"Generating, {rate:.0f} tokens a second{time_left}")

        async with openai_client(next(iter(endpoints.values()))) as client:

            async def answer_gap(gap: MissingSamples) -> tuple[MissingSamples, GeneratedSamples | None]:
                async with slots:
                    in_flight.append(gap)
                    answer = await self._try_gap(client, endpoints[self.answerers[gap.responder_id].weights], gap)
                    in_flight.remove(gap)  # stays where the engine died: then the prompt is a suspect
                    return gap, answer

            tasks = [asyncio.create_task(answer_gap(gap)) for gap in gaps]
            try:
                for future in asyncio.as_completed(tasks):
                    gap, answer = await future
                    if answer is not None and (answer.samples or self.keeps_wordless):
                        batch.append((gap, answer))
                    if batch and (len(batch) >= BATCH or time.monotonic() - saved_at > PATIENCE):
                        save()
            except EndpointLost:
                save()
                self._count_deaths(in_flight)
                raise EngineDied from None
            except EndpointRefusal as problem:
                save()
                raise EngineFailed(str(problem)) from None
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            save()

    def _count_deaths(self, gaps: Sequence[MissingSamples]) -> None:
        """Count a death for each gap in flight when the engine died; give up one that was alone too often."""
        for gap in gaps:
            self._deaths[_key(gap)] += 1
        if len(gaps) == 1 and self._deaths[_key(gaps[0])] > DEATHS_ALONE:
            self.last_problem = (
                f"{self._describe_prompt(gaps[0])} killed the engine each time it was asked. It is left out; "
                "report it to the engine's makers."
            )
            self._give_up(gaps[0])

    def _give_up(self, gap: MissingSamples) -> None:
        log.warning("%s", self.last_problem)
        log.warning("Prompt %d is given up; the others go on.", gap.prompt_id)
        self.given_up.add(_key(gap))

    async def _try_gap(self, client: AsyncOpenAI, endpoint: Endpoint, gap: MissingSamples) -> GeneratedSamples | None:
        """Ask for one gap; None where that failed, which is counted, as is an answer without words."""
        request, answer = self.answerers[gap.responder_id].request, None
        try:
            answer = await request_samples(client, endpoint, request, gap, seed=self.seed)
            if not answer.wordless or self.keeps_wordless:
                return answer
            # an engine here says the same again, as its seed is the same
            self._failures[_key(gap)] = TRIES if endpoint.started_here else self._failures[_key(gap)] + 1
            self.last_problem = f"{self._describe_prompt(gap)} got no words: {answer.wordless[-1]}."
            if self._failures[_key(gap)] >= TRIES:
                self.wordless.update(answer.wordless)
        except UnanswerablePrompt as problem:
            self._failures[_key(gap)] = TRIES
            self.last_problem = f"{self._describe_prompt(gap)} was refused: {problem}"
        except RequestFailure as problem:
            self._failures[_key(gap)] += 1
            self.last_problem = f"{self._describe_prompt(gap)} could not be answered: {problem}"
        if self._failures[_key(gap)] >= TRIES:
            self._give_up(gap)
        else:
            log.warning("%s", self.last_problem)
        return answer

    def _describe_prompt(self, gap: MissingSamples) -> str:
        """Name a prompt by its first words, since readers of a message know no ids."""
        words = f"The prompt “{shorten(gap.text, 50, placeholder=' …')}”"
        return words if len(self.answerers) == 1 else f"{words}, asked of {self.answerers[gap.responder_id].label},"

    def _save(self, batch: Sequence[tuple[MissingSamples, GeneratedSamples]], endpoints: Endpoints) -> None:
        rows = [
            {
                "prompt_id": gap.prompt_id,
                "responder_id": gap.responder_id,
                **asdict(sample),
                **answerer.rendering,
                "system_hash": system_hash(answer.turns),
                "dtype": endpoints[answerer.weights].dtype,
                "replaces_id": gap.replaces_id,
                "generation_run_id": self.progress.run_id,
            }
            for gap, answer in batch
            for answerer in [self.answerers[gap.responder_id]]
            for sample in answer.samples
        ]
        if not rows:
            return
        redrawn = sum(len(answer.samples) for gap, answer in batch if gap.replaces_id is not None)
        with session() as s:
            self.progress.guard(s)
            s.execute(insert(Response), rows)
            s.get_one(GenerationRun, self.progress.run_id).resampled += redrawn
        self._open -= len(rows) - redrawn
        self.answered += len(batch)
        self.tokens += sum(answer.tokens for _, answer in batch)


def load_answerers(s: Session, responder_ids: Collection[int]) -> dict[int, Answerer]:
    """The Answerer of each of these Responders, by the Responder's id."""
    answerers: dict[int, Answerer] = {}
    for responder in s.scalars(select(Responder).where(Responder.id.in_(responder_ids)).order_by(Responder.id)):
        weights = engine_weights(responder.model_version) if responder.model_version is not None else None
        request = RequestSettings.of(responder, prompt_format(responder))
        answerers[responder.id] = Answerer(responder.label, request, weights, _read_rendering(weights))
    return answerers


def _read_rendering(weights: Weights | None) -> dict[str, str | None]:
    if weights is None or settings().engine is Engine.echo or settings().engine_url:
        return {"template_hash": None, "stop_tokens": None}  # no folder is read here
    template = read_template(weights.location)
    return {
        "template_hash": template_hash(template) if template else None,
        "stop_tokens": read_stop_tokens(weights.location),
    }


def _key(gap: MissingSamples) -> tuple[int, int]:
    return gap.responder_id, gap.prompt_id
