"""A GenerationRun at work, in a process of its own that the worker starts and watches.

It answers for one Responder, or for several that share an engine; each keeps its own model, prompt and pairs. Only
what is missing is generated and every batch is saved as it comes, so a run that was killed goes on where it was. An
engine that dies is started again; a prompt that keeps failing is given up and counted, and never stops the rest.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import func, select

from db.models import GenerationRun, Responder, Response, Run, RunStatus
from db.session import reading, session
from errors import EngineFailed, missing_package
from generation import similarity
from generation.adapters import ensure_merged
from generation.answering import AnsweringJob, Endpoints, EngineDied, load_answerers
from generation.asserting import find_unchecked, run_assertions, save_results
from generation.pairing import make_comparisons
from intake.routing import apply_classifiers
from jobs.progress import Progress
from jobs.runs import HEAVY, Resources
from llm.client import MissingSamples
from llm.endpoints import remote_endpoint
from llm.engine import gpus_wanted, serve, tail

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


@contextmanager
def _open_endpoints(job: AnsweringJob, responder: Responder, engine: str | None) -> Iterator[Endpoints]:
    """Where the models of one engine are asked, or the endpoint elsewhere, there for the length of the block."""
    if engine is None:
        job.report_progress("Asking the endpoint")
        yield {None: remote_endpoint(responder)}
        return
    job.report_progress("Starting the engine, about a minute")
    distinct = dict.fromkeys(answerer.weights for answerer in job.answerers.values() if answerer.engine == engine)
    models = [weights for weights in distinct if weights is not None]
    with serve(*models, log=job.progress.folder / "engine.log", on_wait=job.report_engine_start) as endpoints:
        yield {weights: endpoint for weights, endpoint in zip(models, endpoints, strict=True)}  # noqa: C416


def resources(run: GenerationRun) -> Resources:
    """What the engine takes, if it is started here."""
    return resources_for(run.responder, *(companion.responder for companion in run.companions))


def resources_for(*responders: Responder) -> Resources:
    """GPUs where one of them is a model that an engine here answers for."""
    local = any(responder.model_version_id is not None for responder in responders)
    return Resources(gpus=gpus_wanted() if local else 0)


def run(progress: Progress) -> None:
    """Answer everything that is missing, then offer the pairs for ranking."""
    for noisy in ("httpx", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # a line for each request hides everything else
    with reading() as s:
        row = s.get_one(GenerationRun, progress.run_id)
        responders = [row.responder, *(companion.responder for companion in row.companions)]
        for responder in responders:
            ensure_merged(responder.model_version)
        first, answerers = row.responder, load_answerers(s, [responder.id for responder in responders])
        job, project_id = AnsweringJob(progress, answerers, row.seed, row.tokens, row.trial), row.project_id
    deaths = 0
    while True:
        while gaps := job.list_missing():
            answered = job.answered
            # one engine for all, unless the settings changed since they were put together
            engine = job.answerers[gaps[0].responder_id].engine
            try:
                _answer_all(job, first, engine, gaps)
            except EngineDied:
                deaths = 1 if job.answered > answered else deaths + 1
                if deaths > RESTARTS:
                    raise EngineFailed(_describe_death(first, engine, progress, deaths)) from None
                log.warning("The engine died; it is started again (%d of %d).", deaths, RESTARTS)
                if engine is None:
                    time.sleep(WAIT * deaths)  # an endpoint elsewhere is not ours to restart
        if _finish(job, project_id=project_id):
            return


def _answer_all(job: AnsweringJob, responder: Responder, engine: str | None, gaps: Sequence[MissingSamples]) -> None:
    """Ask until nothing is left; the workbench's engine then waits a while for more. Raises `EngineDied`."""

    def own(gaps: Sequence[MissingSamples]) -> Sequence[MissingSamples]:
        return [gap for gap in gaps if job.answerers[gap.responder_id].engine == engine]

    with _open_endpoints(job, responder, engine) as endpoints:
        while gaps := own(gaps):
            if all(gap.replaces_id is not None for gap in gaps):
                job.report_progress("Drawing again what came out nearly the same")
            job.answer(endpoints, gaps)
            gaps = job.list_missing()
            if not own(gaps) and job.trial and all(endpoint.started_here for endpoint in endpoints.values()):
                gaps = _wait_for_more(job)


def _wait_for_more(job: AnsweringJob) -> Sequence[MissingSamples]:
    """What the workbench asks next; nothing when the time is over, or as soon as another run waits for the machine."""
    until = time.monotonic() + LINGER
    while (left := until - time.monotonic()) > 0 and not _others_wait():
        if gaps := job.list_missing():
            return gaps
        if job.seconds_since_report > 2:
            job.report_progress(f"Ready for more; the engine stays for another {left:.0f} s")
        time.sleep(LOOK)
    return []


def _others_wait() -> bool:
    with reading() as s:
        return s.scalar(select(Run.id).where(Run.status == RunStatus.QUEUED, Run.kind.in_(HEAVY)).limit(1)) is not None


def _finish(job: AnsweringJob, *, project_id: int) -> bool:
    """End the run, and offer each Responder's own pairs; False where the workbench asked for more just now."""
    progress = job.progress
    if not job.trial:
        _check_all(job, project_id=project_id)
        _compare_meanings(job, project_id=project_id)
        job.report_progress("Offering pairs")
    with session() as s:
        progress.guard(s)
        if job.trial:
            if job.list_missing():
                return False
        else:
            saved = s.scalar(select(func.count()).where(Response.generation_run_id == progress.run_id))
            if job.given_up and not saved:
                raise EngineFailed(f"No prompt could be answered. {job.last_problem}")
            apply_classifiers(s, project_id=project_id)
            for responder_id, answerer in job.answerers.items():
                counts = make_comparisons(s, project_id=project_id, responder_ids=[responder_id])
                log.info(
                    "%s: %d pairs offered for ranking, %d with the same words left out, %d with nearly the same.",
                    answerer.label,
                    counts.created,
                    counts.identical,
                    counts.near_identical,
                )
        progress.succeed(s)
    return True


def _check_all(job: AnsweringJob, *, project_id: int) -> None:
    """Look at every new response by the project's assertions, a few at a time and holding no lock: it takes a while."""
    with reading() as s:
        run_id = job.progress.run_id
        new = s.scalars(select(Response.id).where(Response.generation_run_id == run_id).order_by(Response.id)).all()
    for start in range(0, len(new), CHECKED_AT_ONCE):
        with reading() as s:
            unchecked = find_unchecked(s, project_id=project_id, response_ids=new[start : start + CHECKED_AT_ONCE])
        results = run_assertions(unchecked)
        with session() as s:
            job.progress.guard(s)
            save_results(s, results)
        if job.seconds_since_report > 1:
            job.report_progress(f"Checking replies, {start:,} of {len(new):,}")


def _compare_meanings(job: AnsweringJob, *, project_id: int) -> None:
    """Measure how near this run's replies are to people's, where an assertion asks for it.

    The replies are saved by now, so what goes wrong here fails no run: the Check page has a button for what is left.
    """
    progress = job.progress
    with reading() as s:
        if not similarity.count_uncompared(s, project_id=project_id, run_id=progress.run_id):
            return
    if missing := similarity.missing_packages():
        log.warning("%s", missing_package("Comparing meanings", *missing))
        return
    job.report_progress("Comparing meanings, loading the model")
    try:
        embed = similarity.sentence_embeddings()
    except (OSError, ImportError, RuntimeError, ValueError):
        log.exception("Meanings were not compared, since the model for it does not load. Try again on the Check page.")
        return
    for compared in similarity.compare(project_id, embed, run_id=progress.run_id, fence=progress.guard):
        if job.seconds_since_report > 1:
            job.report_progress(f"Comparing meanings, {compared.done:,} of {compared.total:,}")


def _describe_death(responder: Responder, engine: str | None, progress: Progress, deaths: int) -> str:
    if engine is None:
        return (
            f"The endpoint {responder.endpoint_url} stopped answering {deaths} times in a row; what was "
            "answered is saved. Start the run again later to go on from there."
        )
    engine_log = progress.folder / "engine.log"
    return (
        f"The engine died {deaths} times in a row; what was answered is saved. Start the run again to go on from "
        f"there. Its log, {engine_log}, ends:\n{tail(engine_log)}"
    )
