"""The project's own worker at the work: from an empty home through the database and back to it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ParamSpec, TypeVar

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.work import RUN_SEED, SAMPLE, Asked, Done, Took, Work, emails
from db.models import GenerationRun, Prompt, Responder, Response, Scope
from db.people import create_project, ensure_reviewer
from db.session import migrate, reading, session
from generation import worker
from generation.base_model import register_base_model
from generation.plan import start_generation
from generation.responders import Contestant, Sampling, create_responder
from intake.mapping import ColumnMapping
from intake.prompts import save_import
from intake.reading import read_table
from jobs.progress import unmanaged
from llm.client import seed_of
from llm.engine import serve
from llm.template import PromptFormat
from settings import settings

P = ParamSpec("P")
T = TypeVar("T")


def project(work: Work) -> Done:
    """Import, ask, answer, save, offer; the engine's start and end are timed apart."""
    migrate()
    clock = EngineClock()
    # the worker alone knows when its engine is there and when it is done with
    setattr(worker, "serve", clock.around(serve))  # noqa: B010
    with session() as s:
        by, responder_id = _project_with_prompts(s, work)
        run = start_generation(
            s,
            by=by,
            responder_id=responder_id,
            scope=Scope.TRAINING,
            samples=work.samples,
            prompt_limit=work.prompts,
            seed=RUN_SEED,
        )
    mine = unmanaged("generation", run.id)
    began = time.perf_counter()
    worker.run(mine)
    whole = time.perf_counter() - began
    with reading() as s:
        tokens = s.get_one(GenerationRun, run.id).tokens
        instructions = s.get_one(Responder, responder_id).instructions or ""
        saved = s.scalars(select(Response)).all()
        prompts = s.scalars(select(Prompt).order_by(Prompt.id).limit(work.prompts)).all()
    took = Took(
        responses=len(saved),
        tokens=tokens,
        prompt_tokens=sum({one.prompt_id: one.prompt_tokens or 0 for one in saved}.values()),
        ended=sum(one.finish_reason == "stop" for one in saved),
        start_s=clock.start,
        seconds=whole - clock.start - clock.stop,
        stop_s=clock.stop,
    )
    asked = [Asked(_turns(instructions, one), seed_of(RUN_SEED, one.id, 0)) for one in prompts]
    return Done(took, asked, clock.command, clock.environment)


class EngineClock:
    """Seconds that starting and ending the engine took, and how it was started."""

    def __init__(self) -> None:
        self.start = self.stop = 0.0
        self.command: list[str] = []
        self.environment: dict[str, str] = {}

    def around(self, serve: Callable[P, AbstractContextManager[T]]) -> Callable[P, AbstractContextManager[T]]:
        """`serve`, timed."""

        @contextmanager
        def timed(*given: P.args, **named: P.kwargs) -> Iterator[T]:
            began = time.perf_counter()
            with serve(*given, **named) as endpoint:
                self.start += time.perf_counter() - began
                self._look()
                yield endpoint
                began = time.perf_counter()
            self.stop += time.perf_counter() - began

        return timed

    def _look(self) -> None:
        """Read from the engine's process what it was started with, which is never out of date."""
        for process in psutil.Process().children():
            line = process.cmdline()
            if "-m" in line:
                self.command = line[line.index("-m") + 2 :]
                self.environment = {k: v for k, v in process.environ().items() if os.environ.get(k) != v}


def _turns(instructions: str, prompt: Prompt) -> list[dict[str, str]]:
    turns = PromptFormat(instructions).messages(prompt.text)
    return [{"role": one["role"], "content": one["content"]} for one in turns]


def _project_with_prompts(s: Session, work: Work) -> tuple[int, int]:
    """The sample's instructions and as many emails as wanted; ids of the manager and of the Responder."""
    about = json.loads((SAMPLE / "project.json").read_text(encoding="utf-8"))
    by = ensure_reviewer(s, name="Somebody").id
    made = create_project(
        s, name="Throughput", task=about["task"], instructions=about["instructions"], guideline="None.", by=by
    )
    content = "\n".join(json.dumps({"email": email}) for email in emails(work.prompts)).encode()
    save_import(
        s,
        by=by,
        project_id=made.id,
        table=read_table(content, file_name="emails.jsonl", max_cell=settings().max_cell_kb * 1024),
        content=content,
        mapping=ColumnMapping(prompt="email"),
    )
    contestant = Contestant(
        register_base_model(s).id,
        PromptFormat(about["instructions"]),
        Sampling(work.temperature, work.top_p, work.max_tokens),
    )
    responder = create_responder(s, by=by, project_id=made.id, name="Base model", contestant=contestant)
    return by, responder.id
