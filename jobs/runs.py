"""Runs as the app and the command line see them: cancel, try again, why one waits, what its log says.

The app's process imports this, so nothing heavy is imported here.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from db.models import (
    BenchmarkRun,
    ExportRun,
    GenerationRun,
    JudgeRun,
    ParityCheck,
    PushRun,
    Role,
    Run,
    RunStatus,
    TrainingRun,
    now,
)
from db.people import require_role
from errors import DatabaseProblem, EngineFailed, NotFound, PickwellError, Refused, TrainingFailed, to_type
from jobs.life import carried, worker_alive
from settings import settings

NO_WORKER = f"No worker is running, so this waits. Start one with {to_type('run')}."

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Kind:
    """Everything that is declared of a kind of run."""

    model: type[Run]
    title: str
    """As people read it."""
    module: str
    """What carries it, by its ``run(progress)``; beside it, ``resources(run)`` gives the `Resources` for that."""
    error: type[PickwellError]
    """What a command that waited for one raises when it has failed."""
    light: bool = False
    """It copies and uploads and leaves the machine to another run, so it waits for none but its like."""

    @property
    def name(self) -> str:
        """Short name, as in the table, in folder names, logs and the command of a child."""
        return str(self.model.__mapper__.polymorphic_identity)


KINDS = {
    kind.name: kind
    for kind in (
        Kind(GenerationRun, "Generation run", "generation.worker", EngineFailed),
        Kind(TrainingRun, "Training run", "training.trainer.worker", TrainingFailed),
        Kind(ParityCheck, "Check of how a model is served", "generation.parity_check", EngineFailed),
        Kind(JudgeRun, "Model judge", "eval.judge.run", EngineFailed),
        Kind(BenchmarkRun, "Benchmark", "eval.benchmarks.runs", TrainingFailed),
        Kind(ExportRun, "Export", "release.export", PickwellError, light=True),
        Kind(PushRun, "Push", "release.hub", PickwellError, light=True),
    )
}
"""Every kind of run by its short name."""

HEAVY, LIGHT = (frozenset(name for name, kind in KINDS.items() if kind.light is light) for light in (False, True))
"""Names of the kinds that need the machine to themselves, and of those that do not: one of each goes on at once."""


@dataclass(frozen=True)
class Resources:
    """What a run takes of one machine of a cluster: GPUs where it wants any and the cluster has any, else cores."""

    cpus: int = 1
    gpus: int = 0


def find_kind(name: str) -> Kind:
    """The kind with that short name. Raises `NotFound`."""
    if name not in KINDS:
        raise NotFound(f"There is no kind of run called {name}; there are {', '.join(KINDS)}.")
    return KINDS[name]


def list_unknown_runs(s: Session) -> list[str]:
    """A sentence for each run under way whose kind this version does not know; none is touched."""
    under_way = Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING))
    unknown = select(Run.id, Run.kind).where(under_way, Run.kind.not_in(KINDS)).order_by(Run.id)
    return [_unknown_kind_sentence(run_id, kind) for run_id, kind in s.execute(unknown)]


def _unknown_kind_sentence(run_id: int, kind: str) -> str:
    return f"This version does not know the kind “{kind}” of run {run_id} and leaves it alone. Update the program."


def get_run(s: Session, run_id: int, *, lock: bool = False) -> Run:
    """The run's row as it is now; with ``lock``, nobody else changes it until the transaction ends.

    Raises `NotFound`, and `DatabaseProblem` for a kind that this version does not know.
    """
    kind = s.scalar(select(Run.kind).where(Run.id == run_id))
    if kind is None:
        raise NotFound(f"Run {run_id} is not there (any more).")
    if kind not in KINDS:
        raise DatabaseProblem(_unknown_kind_sentence(run_id, kind))
    locked = {"of": Run} if lock else None
    return s.get_one(KINDS[kind].model, run_id, with_for_update=locked, populate_existing=lock)


def cancel_run(s: Session, *, by: int, run_id: int) -> None:
    """Stop a run: a QUEUED one is CANCELLED at once, a RUNNING one by its worker within half a minute; managers only.

    Raises `Refused` when the run has already succeeded or failed.
    """
    run = _lock_as_manager(s, by=by, run_id=run_id)
    if run.status in (RunStatus.SUCCEEDED, RunStatus.FAILED):
        raise Refused(f"{run_title(run)} has already ended, so there is nothing to cancel.")
    if run.status is RunStatus.QUEUED:
        run.status, run.finished_at = RunStatus.CANCELLED, now()
    run.cancel_requested = True


def pause_run(s: Session, *, by: int, run_id: int) -> None:
    """Stop a run to go on later, and free the machine meanwhile; what it saved so far stays. Managers only."""
    cancel_run(s, by=by, run_id=run_id)
    get_run(s, run_id).paused = True


def retry_run(s: Session, *, by: int, run_id: int) -> None:
    """Queue a FAILED or CANCELLED run once more; what it has saved so far stays. Managers only.

    Raises `Refused` when the run has not ended, or has succeeded.
    """
    run = _lock_as_manager(s, by=by, run_id=run_id)
    if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        raise Refused(
            f"{run_title(run)} is {run.status.value}; only one that failed or was cancelled can be tried again."
        )
    run.status, run.cancel_requested, run.stage, run.paused = RunStatus.QUEUED, False, "", False
    run.error = run.started_at = run.finished_at = None


def _lock_as_manager(s: Session, *, by: int, run_id: int) -> Run:
    """The run, locked, for a manager of its project."""
    run = get_run(s, run_id, lock=True)
    require_role(s, by=by, project_id=run.project_id, roles=(Role.MANAGER,))
    return run


def run_title(run: Run) -> str:
    """The run as people read of it."""
    return f"{KINDS[run.kind].title} {run.id}"


def is_claimable(*, but_by: str | None = None) -> ColumnElement[bool]:
    """In SQL: the run is for the taking, QUEUED or left behind; the worker ``but_by`` does not count as living."""
    return or_(Run.status == RunStatus.QUEUED, (Run.status == RunStatus.RUNNING) & ~carried(but_by=but_by))


def waiting_reason(s: Session, run: Run) -> str | None:
    """Why the run does not move, as a sentence for people; None when it does, or has ended."""
    if run.status.ended:
        return None
    if not worker_alive(s):
        return NO_WORKER
    if run.status is RunStatus.RUNNING and run.worker is not None:
        return None
    ahead = _run_ahead(s, run)
    return f"{ahead} is before this one; it starts by itself after that." if ahead else None


def _run_ahead(s: Session, run: Run) -> str | None:
    """The first other run that a worker carries now or will take before this one."""
    queued = Run.status == RunStatus.QUEUED
    earlier = or_(Run.status == RunStatus.RUNNING, queued & (Run.created_at < run.created_at))
    query = select(Run.kind, Run.id).where(
        earlier, Run.id != run.id, Run.kind.in_(LIGHT if run.kind in LIGHT else HEAVY)
    )
    first = s.execute(query.order_by(queued, Run.created_at).limit(1)).first()
    return f"{KINDS[first.kind].title} {first.id}" if first else None


def run_folder(kind: str, run_id: int) -> Path:
    """The run's folder for input, logs, checkpoints and output, whether or not it is there yet."""
    return settings().runs_dir / f"{kind}-{run_id}"


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
    text = collapse_redraws(text)
    return text if start == 0 and len(text) <= size else text[-size:].partition("\n")[2] or text[-size:]


def collapse_redraws(text: str) -> str:
    """Terminal output as it looks at the end: of a line redrawn with carriage returns the last drawing; no colours."""
    lines = COLOUR.sub("", text).split("\n")
    return "\n".join(next((part for part in reversed(line.split("\r")) if part), "") for line in lines)
