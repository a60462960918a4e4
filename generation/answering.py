"""One run's asking and saving: many requests in flight, answers saved in batches, failures counted by prompt."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TypeAlias

from openai import AsyncOpenAI
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.models import GenerationRun, Responder, Response
from db.session import reading, session
from errors import EngineFailed
from generation.adapters import weights_of
from generation.plan import missing, missing_in_trial
from generation.resampling import to_draw_again
from generation.responders import prompt_format
from jobs.progress import Progress
from llm.client import Answer, Asking, Gone, Hopeless, Missing, Trouble, Unanswerable, ask, client_for
from llm.endpoints import Endpoint
from llm.engine import Weights
from llm.folder import stop_tokens_of, template_of
from llm.template import system_hash, template_hash
from settings import Engine, settings

TRIES = 3
"""How often a prompt may fail."""
ALONE = 2
"""How often the engine may die with nothing but one prompt in flight before that prompt is given up."""
BATCH = 8
"""Prompts saved in one transaction, fewer when `PATIENCE` is over."""
PATIENCE = 2.0
"""Seconds that an answer may wait to be saved when others keep coming."""

log = logging.getLogger("generation.answering")


class EngineDied(Exception):
    """The endpoint stopped answering."""


@dataclass(frozen=True)
class Rendered:
    """How a model turns a conversation into tokens, noted with every Response."""

    template_hash: str | None
    stop_tokens: str | None

    @classmethod
    def by(cls, weights: Weights | None) -> "Rendered":
        """What the model's folder says of template and end; nothing where the model is elsewhere."""
        if weights is None or settings().engine is Engine.echo or settings().engine_url:
            return cls(None, None)
        template = template_of(weights.location)
        return cls(template_hash(template) if template else None, stop_tokens_of(weights.location))


@dataclass(frozen=True)
class Answerer:
    """One of the run's Responders, copied so that no database object crosses into the event loop."""

    label: str
    asking: Asking
    weights: Weights | None
    """What an engine loads for it; none where an endpoint elsewhere answers."""
    rendered: Rendered

    @property
    def engine(self) -> str | None:
        """What an engine is started with: those for whom it is the same share one."""
        return self.weights.location if self.weights is not None else None


Endpoints: TypeAlias = Mapping[Weights | None, Endpoint]
"""Of one engine, which may answer with several models: where each is asked."""


@dataclass
class Work:
    """What one run has done so far; lives as long as the process."""

    progress: Progress
    answerers: Mapping[int, Answerer]
    """By the Responder's id."""
    seed: int
    tokens: int
    """Generated so far, by earlier attempts too."""
    trial: bool = False
    answered: int = 0
    """Prompts that this process has answered."""
    last_problem: str = ""
    given_up: set[tuple[int, int]] = field(default_factory=set)
    """Responder and prompt of what is not asked again."""
    _failures: Counter[tuple[int, int]] = field(default_factory=Counter)
    _deaths: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often the engine died while it had the prompt."""
    _total: int = 0
    _open: int = 0
    """Responses of the total that are not there."""
    _told: float = 0.0

    def left(self) -> Sequence[Missing]:
        """What is still to be answered, without what was given up."""
        with reading() as s:
            given = s.get_one(GenerationRun, self.progress.run_id)
            if self.trial:
                gaps = missing_in_trial(s, run=given)
                new = {gap.responder_id for gap in gaps} - set(self.answerers)
                self.answerers = {**self.answerers, **answerers_of(s, new)}
            else:
                gaps = [
                    gap
                    for responder_id in self.answerers
                    for gap in missing(
                        s,
                        responder_id=responder_id,
                        scope=given.scope,
                        samples=given.samples,
                        prompt_limit=given.prompt_limit,
                    )
                ]
            self._open = sum(len(gap.samples) for gap in gaps)
            self._total = max(given.total, self._total, self._open)
            gaps = self._not_given_up(gaps)
            if not gaps and not self.trial:
                gaps = [
                    gap
                    for responder_id in self.answerers
                    for gap in self._not_given_up(to_draw_again(s, responder_id=responder_id, run_id=given.id))
                ]
        return gaps

    def _not_given_up(self, gaps: Sequence[Missing]) -> Sequence[Missing]:
        return [gap for gap in gaps if _key(gap) not in self.given_up]

    def tell(self, stage: str) -> None:
        """Say how far the run is."""
        self._told = time.monotonic()
        self.progress.update(
            stage=stage,
            done=self._total - self._open,
            total=self._total,
            tokens=self.tokens,
            failed=len(self.given_up),
            problem=self.last_problem or None,
        )

    @property
    def seconds_since_told(self) -> float:
        """Since somebody watching last heard of the run."""
        return time.monotonic() - self._told

    def starting(self, waited: float) -> None:
        """Say that the engine is on its way, now and then."""
        if time.monotonic() - self._told > 3:
            self._told = time.monotonic()
            self.progress.update(stage=f"Starting the engine, {waited:.0f} s so far, about a minute")

    def answer(self, endpoints: Endpoints, gaps: Sequence[Missing]) -> None:
        """Ask for all gaps once, saving batches as they come. Raises `EngineDied`, `EngineFailed`.

        Each gap is its own Responder's model's to fill. What the engine had in flight when it died is asked after all
        the rest, one prompt at a time: so the one that kills it is found, and stops nobody else.
        """
        calm = [gap for gap in gaps if not self._deaths[_key(gap)]]
        if calm:
            asyncio.run(self._answer(endpoints, calm, settings().concurrency))
            return
        for gap in sorted(gaps, key=lambda gap: self._deaths[_key(gap)]):
            asyncio.run(self._answer(endpoints, [gap], 1))

    async def _answer(self, endpoints: Endpoints, gaps: Sequence[Missing], at_once: int) -> None:
        began, tokens, opened = time.monotonic(), self.tokens, self._open
        slots = asyncio.Semaphore(at_once)
        batch: list[tuple[Missing, Answer]] = []
        flying: dict[tuple[int, int], Missing] = {}
        saved_at = time.monotonic()

        def save() -> None:
            nonlocal batch, saved_at
            self._save(batch, endpoints)
            batch, saved_at = [], time.monotonic()
            if time.monotonic() - self._told > 1:
                took = time.monotonic() - began
                left = took * self._open / max(1, opened - self._open)
                rate = (self.tokens - tokens) / took
                self.tell(f"Generating, {rate:.0f} tokens a second{_left_in_words(left) if self._open > 0 else ''}")

        async with client_for(next(iter(endpoints.values()))) as client:

            async def one(gap: Missing) -> tuple[Missing, Answer | None]:
                async with slots:
                    flying[_key(gap)] = gap
                    answer = await self._try(client, endpoints[self.answerers[gap.responder_id].weights], gap)
                    del flying[_key(gap)]  # not where the engine died: then it is a suspect
                    return gap, answer

            tasks = [asyncio.create_task(one(gap)) for gap in gaps]
            try:
                for finished in asyncio.as_completed(tasks):
                    gap, answer = await finished
                    if answer is not None:
                        batch.append((gap, answer))
                    if batch and (len(batch) >= BATCH or time.monotonic() - saved_at > PATIENCE):
                        save()
            except Gone:
                save()
                self._suspect(list(flying.values()))
                raise EngineDied from None
            except Hopeless as problem:
                save()
                raise EngineFailed(str(problem)) from None
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            save()

    def _suspect(self, gaps: Sequence[Missing]) -> None:
        """Note what the engine had when it died; a prompt that was alone with it too often is given up."""
        for gap in gaps:
            self._deaths[_key(gap)] += 1
        if len(gaps) == 1 and self._deaths[_key(gaps[0])] > ALONE:
            self.last_problem = (
                f"{self._quoted(gaps[0])} killed the engine each time it was asked. It is left out; report it to the "
                "engine's makers."
            )
            self._give_up(gaps[0])

    def _give_up(self, gap: Missing) -> None:
        log.warning("%s", self.last_problem)
        log.warning("Prompt %d is given up; the others go on.", gap.prompt_id)
        self.given_up.add(_key(gap))

    async def _try(self, client: AsyncOpenAI, endpoint: Endpoint, gap: Missing) -> Answer | None:
        try:
            return await ask(client, endpoint, self.answerers[gap.responder_id].asking, gap, seed=self.seed)
        except Unanswerable as problem:
            self._failures[_key(gap)] = TRIES
            self.last_problem = f"{self._quoted(gap)} was refused: {problem}"
        except Trouble as problem:
            self._failures[_key(gap)] += 1
            self.last_problem = f"{self._quoted(gap)} could not be answered: {problem}"
        if self._failures[_key(gap)] >= TRIES:
            self._give_up(gap)
        else:
            log.warning("%s", self.last_problem)
        return None

    def _quoted(self, gap: Missing) -> str:
        """A prompt by its first words, for people: they know no ids."""
        words = f"The prompt “{shorten(gap.text, 50, placeholder=' …')}”"
        return words if len(self.answerers) == 1 else f"{words}, asked of {self.answerers[gap.responder_id].label},"

    def _save(self, batch: Sequence[tuple[Missing, Answer]], endpoints: Endpoints) -> None:
        rows = [
            {
                "prompt_id": gap.prompt_id,
                "responder_id": gap.responder_id,
                "sample": one.sample,
                "text": one.text,
                "token_ids": one.token_ids,
                "prompt_tokens": one.prompt_tokens,
                "completion_tokens": one.completion_tokens,
                "finish_reason": one.finish_reason,
                "template_hash": who.rendered.template_hash,
                "system_hash": system_hash(answer.turns),
                "stop_tokens": who.rendered.stop_tokens,
                "dtype": endpoints[who.weights].dtype,
                "temperature": one.temperature,
                "seed": one.seed,
                "replaces_id": gap.replaces_id,
                "seconds": one.seconds,
                "generation_run_id": self.progress.run_id,
            }
            for gap, answer in batch
            for who in [self.answerers[gap.responder_id]]
            for one in answer.samples
        ]
        if not rows:
            return
        again = sum(len(answer.samples) for gap, answer in batch if gap.replaces_id is not None)
        with session() as s:
            self.progress.guard(s)
            s.execute(insert(Response), rows)
            s.get_one(GenerationRun, self.progress.run_id).resampled += again
        self._open -= len(rows) - again
        self.answered += len(batch)
        self.tokens += sum(answer.tokens for _, answer in batch)


def answerers_of(s: Session, responder_ids: Collection[int]) -> dict[int, Answerer]:
    """How to ask on behalf of each of these Responders, by id."""
    found: dict[int, Answerer] = {}
    for one in s.scalars(select(Responder).where(Responder.id.in_(responder_ids)).order_by(Responder.id)):
        weights = weights_of(one.model_version) if one.model_version is not None else None
        found[one.id] = Answerer(one.label, Asking.of(one, prompt_format(one)), weights, Rendered.by(weights))
    return found


def _key(gap: Missing) -> tuple[int, int]:
    return gap.responder_id, gap.prompt_id


def _left_in_words(seconds: float) -> str:
    return ", under a minute left" if seconds < 60 else f", about {seconds / 60:.0f} min left"
