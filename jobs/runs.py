"""Runs as the app and the command line see them: cancel, try again, why one waits, what its log says.

The app's process imports this, so nothing heavy is imported here, the queue's library included.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, cast

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from db.models import (
    BenchmarkRun,
    GenerationRun,
    JudgeRun,
    ParityCheck,
    Role,
    RunStatus,
    TrainingRun,
    Worker,
    now,
)
from db.people import require
from errors import NotFound, Refused, to_type
from settings import settings

AnyRun = GenerationRun | TrainingRun | ParityCheck | JudgeRun | BenchmarkRun

ALIVE = timedelta(seconds=15)
"""A worker beats every few seconds; one that has been silent for longer is taken for dead."""

UNMANAGED = "here-"
"""Start of `Run.worker` where a run is carried by the process that asked for it, without a worker."""

NO_WORKER = f"No worker is running, so this waits. Start one with {to_type('run')}."

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Kind(NamedTuple):
    """One kind of run."""

    model: type[AnyRun]
    title: str
    """As people read it."""


KINDS: dict[str, Kind] = {
    "generation": Kind(GenerationRun, "Generation run"),
    "training": Kind(TrainingRun, "Training run"),
    "parity": Kind(ParityCheck, "Check of how a model is served"),
    "judge": Kind(JudgeRun, "Model judge"),
    "benchmark": Kind(BenchmarkRun, "Benchmark"),
}
"""Every kind of run by its short name, as in folder names, logs and the command of a child."""


def kind_of(run: AnyRun) -> str:
    """The short name of the run's kind."""
    return next(name for name, kind in KINDS.items() if isinstance(run, kind.model))


def the_run(s: Session, *, kind: str, run_id: int, lock: bool = False) -> AnyRun:
    """The run's row as it is now; with ``lock``, nobody else changes it until the transaction ends.

    Raises `NotFound`.
    """
    if kind not in KINDS:
        raise NotFound(f"There is no kind of run called {kind}; there are {' and '.join(KINDS)}.")
    row = s.get(KINDS[kind].model, run_id, with_for_update=lock or None, populate_existing=lock)
    run = cast(AnyRun | None, row)
    if run is None:
        raise NotFound(f"{KINDS[kind].title} {run_id} is not there (any more).")
    return run


def cancel(s: Session, *, by: int, kind: str, run_id: int) -> None:
    """Stop a run: a QUEUED one is CANCELLED at once, a RUNNING one by its worker within half a minute; managers only.

    Raises `Refused` when the run has already succeeded or failed.
    """
    run = _own_run(s, by=by, kind=kind, run_id=run_id)
    if run.status in (RunStatus.SUCCEEDED, RunStatus.FAILED):
        raise Refused(f"{KINDS[kind].title} {run_id} has already ended, so there is nothing to cancel.")
    if run.status is RunStatus.QUEUED:
        run.status, run.finished_at = RunStatus.CANCELLED, now()
    run.cancel_requested = True


def pause(s: Session, *, by: int, kind: str, run_id: int) -> None:
    """Stop a run to go on later, and free the machine meanwhile; what it saved so far stays. Managers only."""
    cancel(s, by=by, kind=kind, run_id=run_id)
    the_run(s, kind=kind, run_id=run_id).paused = True


def try_again(s: Session, *, by: int, kind: str, run_id: int) -> None:
    """Queue a FAILED or CANCELLED run once more; what it has saved so far stays. Managers only.

    Raises `Refused` when the run has not ended, or has succeeded.
    """
    run = _own_run(s, by=by, kind=kind, run_id=run_id)
    if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        raise Refused(
            f"{KINDS[kind].title} {run_id} is {run.status.value}; only one that failed or was cancelled can be tried "
            "again."
        )
    run.status, run.cancel_requested, run.stage, run.paused = RunStatus.QUEUED, False, "", False
    run.error = run.started_at = run.finished_at = None


def _own_run(s: Session, *, by: int, kind: str, run_id: int) -> AnyRun:
    """The run, locked, for a manager of its project."""
    run = the_run(s, kind=kind, run_id=run_id, lock=True)
    require(s, by=by, project_id=run.project_id, roles=(Role.MANAGER,))
    return run


def worker_alive(s: Session, within: timedelta = ALIVE) -> bool:
    """Whether some worker gave a sign of life within the time."""
    return bool(s.scalar(select(exists().where(Worker.beat_at > now() - within))))


def waiting_reason(s: Session, run: AnyRun) -> str | None:
    """Why the run does not move, as a sentence for people; None when it does, or has ended."""
    running = run.status is RunStatus.RUNNING
    if run.status.ended or (running and (run.worker or "").startswith(UNMANAGED)):
        return None
    if not worker_alive(s):
        return NO_WORKER
    if running and run.worker is not None:
        return None
    before = _before(s, run)
    return f"{before} is before this one; it starts by itself after that." if before else None


def _before(s: Session, run: AnyRun) -> str | None:
    """The first other run that a worker carries now or will take before this one."""
    waiting: list[tuple[bool, float, str]] = []
    for kind in KINDS.values():
        model = kind.model
        earlier = or_(
            model.status == RunStatus.RUNNING,
            (model.status == RunStatus.QUEUED) & (model.created_at < run.created_at),
        )
        for other in s.execute(select(model.id, model.status, model.created_at).where(earlier)):
            if not (isinstance(run, model) and other.id == run.id):
                queued = other.status is RunStatus.QUEUED
                waiting.append((queued, other.created_at.timestamp(), f"{kind.title} {other.id}"))
    return min(waiting)[2] if waiting else None


def run_folder(kind: str, run_id: int) -> Path:
    """The run's folder for input, logs, checkpoints and output, whether or not it is there yet."""
    return settings().runs_dir / f"{kind}-{run_id}"


def log_file(kind: str, run_id: int, attempt: int) -> Path:
    """Where an attempt's output goes."""
    return run_folder(kind, run_id) / f"attempt-{attempt}.log"


def log_tail(kind: str, run_id: int, kilobytes: int = 8) -> str:
    """The end of the newest attempt's log, as somebody at a terminal would have seen it; empty without a log."""
    logs = sorted(run_folder(kind, run_id).glob("attempt-*.log"), key=lambda file: int(file.stem.split("-")[1]))
    if not logs:
        return ""
    size = kilobytes * 1024
    with logs[-1].open("rb") as file:
        # A progress bar redraws one line many times: much is read so that enough is left.
        start = max(0, file.seek(0, 2) - 16 * size)
        file.seek(start)
        text = file.read(16 * size).decode(errors="replace")
    shown = collapse(text)
    return shown if start == 0 and len(shown) <= size else shown[-size:].partition("\n")[2] or shown[-size:]


def collapse(text: str) -> str:
    """Terminal output as it looks at the end: of a line redrawn with carriage returns the last drawing; no colours."""
    lines = COLOUR.sub("", text).split("\n")
    return "\n".join(next((part for part in reversed(line.split("\r")) if part), "") for line in lines)
