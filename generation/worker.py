"""A GenerationRun at work, in a process of its own that the worker starts and watches.

Only what is missing is generated and every batch is saved as it comes, so a run that was killed goes on where it was.
An engine that dies is started again; a prompt that keeps failing is given up and counted, and never stops the rest.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import func, select

from db.models import GenerationRun, Responder, Response, RunStatus
from db.routing import apply_classifiers
from db.session import reading, session
from errors import EngineFailed
from generation.adapters import ensure_merged, weights_of
from generation.answering import EngineDied, Rendered, Work, asking_of
from generation.asserting import check_new
from generation.endpoints import Endpoint, remote_endpoint
from generation.engine import Weights, serve, tail
from generation.pairing import make_comparisons
from generation.plan import Missing
from jobs.progress import Progress
from jobs.runs import KINDS
from model_folder import stop_tokens_of, template_of
from settings import Engine, settings
from template import template_hash

RESTARTS = 3
"""How often an engine that dies is started again without an answer in between."""
WAIT = 5.0
"""Seconds, once more after each death, before an endpoint elsewhere is asked again."""
LINGER = 180.0
"""Seconds that the workbench's engine waits for more; starting it anew takes about a minute."""
CHECKED_AT_ONCE = 100
"""Responses looked at by the assertions in one transaction."""
LOOK = 0.5
"""Seconds between two looks for more."""

log = logging.getLogger("generation.worker")


@dataclass(frozen=True)
class _Source:
    """Where the run's answers come from."""

    responder: Responder
    weights: Weights | None
    """None where they come from an endpoint elsewhere."""

    @contextmanager
    def endpoint(self, work: Work) -> Iterator[Endpoint]:
        """The endpoint, there for the length of the block."""
        if self.weights is None:
            work.tell("Asking the endpoint")
            yield remote_endpoint(self.responder)
            return
        work.tell("Starting the engine, about a minute")
        with serve(self.weights, log=work.progress.folder / "engine.log", waiting=work.starting) as endpoint:
            yield endpoint


def run(progress: Progress) -> None:
    """Answer everything that is missing, then offer the pairs for ranking."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # a line for each request hides everything else
    with reading() as s:
        given = s.get_one(GenerationRun, progress.run_id)
        responder, version = given.responder, given.responder.model_version
        weights = weights_of(version) if version is not None else None
        location = version.location if version is not None else None
        asking, seed, tokens = asking_of(s, [responder.id]), given.seed, given.tokens
        trial, project_id = given.trial, responder.project_id
        ensure_merged(version)
    work = Work(progress, asking, seed, _rendered(location), tokens, trial)
    source = _Source(responder, weights)
    deaths = 0
    while True:
        while gaps := work.left():
            answered = work.answered
            try:
                _answer_all(source, work, gaps)
            except EngineDied:
                deaths = 1 if work.answered > answered else deaths + 1
                if deaths > RESTARTS:
                    raise EngineFailed(_died(source, progress, deaths)) from None
                log.warning("The engine died; it is started again (%d of %d).", deaths, RESTARTS)
                if source.weights is None:
                    time.sleep(WAIT * deaths)  # an endpoint elsewhere is not ours to restart
        if _finished(work, project_id=project_id, responder_id=responder.id):
            return


def _answer_all(source: _Source, work: Work, gaps: Sequence[Missing]) -> None:
    """Ask until nothing is left; the workbench's engine then waits a while for more. Raises `EngineDied`."""
    with source.endpoint(work) as endpoint:
        while gaps:
            if all(gap.replaces_id is not None for gap in gaps):
                work.tell("Drawing again what came out nearly the same")
            work.answer(endpoint, gaps)
            gaps = work.left()
            if not gaps and work.trial and endpoint.ours:
                gaps = _wait_for_more(work)


def _wait_for_more(work: Work) -> Sequence[Missing]:
    """What the workbench asks next; nothing when the time is over, or as soon as another run waits for the machine."""
    until = time.monotonic() + LINGER
    while (left := until - time.monotonic()) > 0 and not _others_wait():
        if gaps := work.left():
            return gaps
        if work.seconds_since_told > 2:
            work.tell(f"Ready for more; the engine stays for another {left:.0f} s")
        time.sleep(LOOK)
    return []


def _others_wait() -> bool:
    with reading() as s:
        return any(
            s.scalar(select(kind.model.id).where(kind.model.status == RunStatus.QUEUED).limit(1)) is not None
            for kind in KINDS.values()
        )


def _finished(work: Work, *, project_id: int, responder_id: int) -> bool:
    """End the run, and offer its pairs; False where the workbench asked for more at the last moment."""
    progress = work.progress
    if not work.trial:
        _check_all(work, project_id=project_id)
        work.tell("Offering pairs")
    with session() as s:
        progress.guard(s)
        if work.trial:
            if work.left():
                return False
        else:
            saved = s.scalar(select(func.count()).where(Response.generation_run_id == progress.run_id))
            if work.given_up and not saved:
                raise EngineFailed(f"No prompt could be answered. {work.last_problem}")
            apply_classifiers(s, project_id=project_id)
            made = make_comparisons(s, project_id=project_id, responder_ids=[responder_id])
            log.info(
                "%d pairs offered for ranking, %d with the same words left out, %d with nearly the same.",
                made.created,
                made.identical,
                made.near_identical,
            )
        progress.succeed(s)
    return True


def _check_all(work: Work, *, project_id: int) -> None:
    """Look at every new response by the project's assertions, a few at a time: an expression may take its while."""
    with reading() as s:
        run_id = work.progress.run_id
        new = s.scalars(select(Response.id).where(Response.generation_run_id == run_id).order_by(Response.id)).all()
    for start in range(0, len(new), CHECKED_AT_ONCE):
        with session() as s:
            work.progress.guard(s)
            check_new(s, project_id=project_id, response_ids=new[start : start + CHECKED_AT_ONCE])
        if work.seconds_since_told > 1:
            work.tell(f"Checking replies, {start:,} of {len(new):,}")


def _died(source: _Source, progress: Progress, deaths: int) -> str:
    if source.weights is None:
        return (
            f"The endpoint {source.responder.endpoint_url} stopped answering {deaths} times in a row; what was "
            "answered is saved. Start the run again later to go on from there."
        )
    engine_log = progress.folder / "engine.log"
    return (
        f"The engine died {deaths} times in a row; what was answered is saved. Start the run again to go on from "
        f"there. Its log, {engine_log}, ends:\n{tail(engine_log)}"
    )


def _rendered(location: str | None) -> Rendered:
    """What the model's folder says of template and end; nothing where the model is elsewhere."""
    if location is None or settings().engine is Engine.echo or settings().engine_url:
        return Rendered(None, None)
    template = template_of(location)
    return Rendered(template_hash(template) if template else None, stop_tokens_of(location))
