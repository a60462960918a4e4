"""What a running attempt says about itself, fenced: an attempt that lost its run can write nothing any more.

A stage's ``run(progress)`` gets a `Progress`. It calls `Progress.update` about once a second, `Progress.guard` first
in every transaction that saves results, and `Progress.succeed` in the last one.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Run, RunStatus, now
from db.session import session
from errors import Refused
from jobs.runs import KINDS, get_run, run_folder


class RunLost(Exception):
    """The attempt no longer owns the run, or the run was cancelled: stop at once, quietly."""


@dataclass(frozen=True)
class Progress:
    """One attempt at one run."""

    kind: str
    """A key of `jobs.runs.KINDS`."""
    run_id: int
    attempt: int
    """Counts from 1; every write names it."""

    @property
    def folder(self) -> Path:
        """The run's own folder for input, logs, checkpoints and output; created."""
        folder = run_folder(self.kind, self.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def log(self) -> Path:
        """Where the attempt's output goes."""
        return self.folder / f"attempt-{self.attempt}.log"

    def update(
        self, *, stage: str | None = None, done: int | None = None, total: int | None = None, **columns: Any
    ) -> None:
        """Write where the attempt stands, in a transaction of its own; at most once a second is the caller's duty.

        ``columns`` are further columns of the run. Raises `RunLost` when the attempt no longer owns the run.
        """
        standing = {"stage": stage, "done": done, "total": total}
        columns |= {name: value for name, value in standing.items() if value is not None}
        with session() as s:
            self._lock_own_run(s)
            self._write(s, beat_at=now(), **columns)

    def guard(self, s: Session) -> None:
        """Raise `RunLost` unless this attempt still owns the run and nobody asked to cancel it.

        Called first in the transaction that saves results: the row stays locked until it ends, so that a worker that
        takes the run over waits for it or makes it fail, never both.
        """
        if self._lock_own_run(s):
            raise self._lost()

    def succeed(self, s: Session) -> None:
        """Mark the run SUCCEEDED inside the caller's final transaction. Raises `RunLost` as `guard` does."""
        self.guard(s)
        self._write(s, status=RunStatus.SUCCEEDED, finished_at=now(), stage="", error=None)

    def fail(self, s: Session, error: str) -> None:
        """Mark the run FAILED with a sentence. Raises `RunLost` as `guard` does: a cancelled run has not failed."""
        self.guard(s)
        self._write(s, status=RunStatus.FAILED, finished_at=now(), stage="", error=error)

    def _lock_own_run(self, s: Session) -> bool:
        """Lock the run and say whether somebody asked to cancel it; raises `RunLost` where it is not this attempt's."""
        mine = (Run.id == self.run_id, Run.attempt == self.attempt, Run.status == RunStatus.RUNNING)
        cancelled = s.scalar(select(Run.cancel_requested).where(*mine).with_for_update())
        if cancelled is None:
            raise self._lost()
        return cancelled

    def _write(self, s: Session, **columns: Any) -> None:
        run = s.get_one(KINDS[self.kind].model, self.run_id)
        for name, value in columns.items():
            setattr(run, name, value)

    def _lost(self) -> RunLost:
        return RunLost(f"Attempt {self.attempt} no longer has {self.kind} run {self.run_id}.")


def unmanaged_progress(kind: str, run_id: int) -> Progress:
    """Take a QUEUED run up in this process, without a worker, and give its `Progress`: for benchmarks and tests.

    Raises `Refused` when the run is not QUEUED.
    """
    with session() as s:
        run = get_run(s, run_id, lock=True)
        if run.status is not RunStatus.QUEUED:
            raise Refused(f"Run {run_id} is {run.status.value}; only a QUEUED run can be started.")
        run.status, run.attempt, run.worker = RunStatus.RUNNING, run.attempt + 1, f"process {os.getpid()}"
        run.started_at = run.beat_at = now()
        run.finished_at = run.error = None
        return Progress(kind, run_id, run.attempt)
