"""A GenerationRun at work, in a process of its own that the worker starts and watches.

Only what is missing is generated and every batch is saved as it comes, so a run that was killed goes on where it was.
An engine that dies is started again; a prompt that keeps failing is given up and counted, and never stops the rest.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from openai import APIConnectionError, APIError, AsyncOpenAI
from sqlalchemy import func, insert, select

from db.models import GenerationRun, ModelVersion, Response
from db.session import reading, session
from errors import EngineFailed
from generation.client import Answer, Sampling, Unanswerable, ask
from generation.engine import Endpoint, serve, tail
from generation.pairing import make_comparisons
from generation.plan import Missing, missing
from jobs.progress import Progress
from model_folder import template_of
from settings import Engine, settings
from template import template_hash

TRIES = 3
"""How often a prompt may fail, and how often an engine that dies is started again without an answer in between."""
BATCH = 8
"""Prompts saved in one transaction, fewer when `PATIENCE` is over."""
PATIENCE = 2.0
"""Seconds that an answer may wait to be saved when others keep coming."""

log = logging.getLogger("generation.worker")


class EngineDied(Exception):
    """The endpoint stopped answering."""


def run(progress: Progress) -> None:
    """Answer everything that is missing, then offer the pairs for ranking."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # a line for each request hides everything else
    with reading() as s:
        given = s.get_one(GenerationRun, progress.run_id)
        responder = given.responder
        version = s.get_one(ModelVersion, responder.model_version_id)
        work = _Work(progress, Sampling.of(responder), responder.id, given.seed, _template_hash(version), given.tokens)
    deaths = 0
    engine_log = progress.folder / "engine.log"
    while gaps := work.left():
        work.tell("Starting the engine, about a minute")
        answered = work.answered
        try:
            with serve(version.location, name=version.name, log=engine_log, waiting=work.starting) as endpoint:
                while gaps:
                    asyncio.run(work.answer(endpoint, gaps))
                    gaps = work.left()
        except EngineDied:
            deaths = 1 if work.answered > answered else deaths + 1
            if deaths > TRIES:
                raise EngineFailed(
                    f"The engine died {deaths} times in a row; what was answered is saved. Start the run again to go "
                    f"on from there. Its log, {engine_log}, ends:\n{tail(engine_log)}"
                ) from None
            log.warning("The engine died; it is started again (%d of %d).", deaths, TRIES)
    work.tell("Offering pairs")
    with session() as s:
        progress.guard(s)
        saved = s.scalar(select(func.count()).where(Response.generation_run_id == progress.run_id))
        if work.given_up and not saved:
            raise EngineFailed(f"No prompt could be answered. {work.last_problem}")
        made = make_comparisons(s, project_id=responder.project_id, responder_ids=[responder.id])
        log.info(
            "%d pairs offered for ranking, %d with the same words left out, %d with nearly the same.",
            made.created,
            made.identical,
            made.near_identical,
        )
        progress.succeed(s)


def _quoted(gap: Missing) -> str:
    """A prompt by its first words, for people: they know no ids."""
    return f"The prompt “{shorten(gap.text, 50, placeholder=' …')}”"


def _template_hash(version: ModelVersion) -> str | None:
    """Hash of the template that the prompts are rendered with; none where that cannot be known."""
    if settings().engine is Engine.echo or settings().engine_url:
        return None
    template = template_of(version.location)
    return template_hash(template) if template else None


@dataclass
class _Work:
    """What one run has done so far; lives as long as the process."""

    progress: Progress
    sampling: Sampling
    responder_id: int
    seed: int
    template: str | None
    tokens: int
    """Generated so far, by earlier attempts too."""
    answered: int = 0
    """Prompts answered by this process."""
    last_problem: str = ""
    _total: int = 0
    _open: int = 0
    """Responses of the total that are not there."""
    _told: float = 0.0

    def __post_init__(self) -> None:
        self.given_up: set[int] = set()
        self._failures: Counter[int] = Counter()

    def left(self) -> Sequence[Missing]:
        """What is still to be answered, without what was given up."""
        with reading() as s:
            given = s.get_one(GenerationRun, self.progress.run_id)
            gaps = missing(
                s,
                responder_id=self.responder_id,
                scope=given.scope,
                samples=given.samples,
                prompt_limit=given.prompt_limit,
            )
        self._open = sum(len(gap.samples) for gap in gaps)
        self._total = max(given.total, self._open)
        return [gap for gap in gaps if gap.prompt_id not in self.given_up]

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

    def starting(self, waited: float) -> None:
        """Say that the engine is on its way, now and then."""
        if time.monotonic() - self._told > 3:
            self._told = time.monotonic()
            self.progress.update(stage=f"Starting the engine, {waited:.0f} s so far, about a minute")

    async def answer(self, endpoint: Endpoint, gaps: Sequence[Missing]) -> None:
        """Ask for all gaps once, saving batches as they come. Raises `EngineDied`."""
        began, before = time.monotonic(), self.tokens
        slots = asyncio.Semaphore(settings().concurrency)
        batch: list[tuple[Missing, Answer]] = []
        saved_at = time.monotonic()

        def save() -> None:
            nonlocal batch, saved_at
            self._save(batch)
            batch, saved_at = [], time.monotonic()
            if time.monotonic() - self._told > 1:
                rate = (self.tokens - before) / (time.monotonic() - began)
                self.tell(f"Generating, {rate:.0f} tokens a second")

        async with AsyncOpenAI(
            base_url=endpoint.base_url, api_key=endpoint.api_key, max_retries=1, timeout=600
        ) as client:

            async def one(gap: Missing) -> tuple[Missing, Answer | None]:
                async with slots:
                    return gap, await self._try(client, endpoint, gap)

            tasks = [asyncio.create_task(one(gap)) for gap in gaps]
            try:
                for finished in asyncio.as_completed(tasks):
                    gap, answer = await finished
                    if answer is not None:
                        batch.append((gap, answer))
                    if batch and (len(batch) >= BATCH or time.monotonic() - saved_at > PATIENCE):
                        save()
            except EngineDied:
                save()
                raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            save()

    async def _try(self, client: AsyncOpenAI, endpoint: Endpoint, gap: Missing) -> Answer | None:
        try:
            return await ask(client, endpoint, self.sampling, gap, seed=self.seed)
        except APIConnectionError:
            raise EngineDied from None
        except Unanswerable as problem:
            self._failures[gap.prompt_id] = TRIES
            self.last_problem = (
                f"{_quoted(gap)} was refused: {problem} If it is too long, shorten it, or raise "
                f"PICKWELL_CONTEXT_TOKENS, now {settings().context_tokens}."
            )
        except APIError as problem:
            self._failures[gap.prompt_id] += 1
            self.last_problem = f"{_quoted(gap)} made the engine fail: {problem}"
        log.warning("%s", self.last_problem)
        if self._failures[gap.prompt_id] >= TRIES:
            log.warning("Prompt %d is given up; the others go on.", gap.prompt_id)
            self.given_up.add(gap.prompt_id)
        return None

    def _save(self, batch: Sequence[tuple[Missing, Answer]]) -> None:
        rows = [
            {
                "prompt_id": gap.prompt_id,
                "responder_id": self.responder_id,
                "sample": one.sample,
                "text": one.text,
                "token_ids": one.token_ids,
                "prompt_tokens": one.prompt_tokens,
                "finish_reason": one.finish_reason,
                "template_hash": self.template,
                "seconds": one.seconds,
                "generation_run_id": self.progress.run_id,
            }
            for gap, answer in batch
            for one in answer.samples
        ]
        if not rows:
            return
        with session() as s:
            self.progress.guard(s)
            s.execute(insert(Response), rows)
        self._open -= len(rows)
        self.answered += len(batch)
        self.tokens += sum(answer.tokens for _, answer in batch)
