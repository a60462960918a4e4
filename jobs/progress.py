"""What a running attempt says about itself, fenced: an attempt that lost its run can write nothing any more.

A stage's ``run(progress)`` gets a `Progress`. It calls `Progress.update` about once a second, `Progress.guard` first
in every transaction that saves results, and `Progress.succeed` in the last one.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from db.models import RunStatus, now
from db.session import reading, session
from errors import Refused
from jobs.processes import Group
from jobs.runs import KINDS, UNMANAGED, run_folder, the_run


class RunLost(Exception):
    """The attempt no longer owns the run, or the run was cancelled: stop at once, quietly."""


@dataclass(frozen=True)
class Progress:
    """One attempt at one run."""

    kind: str
    """``generation``, ``training`` or ``parity``."""
    run_id: int
    attempt: int
    """Counts from 1; every write names it."""

    @property
    def folder(self) -> Path:
        """The run's own folder for input, logs, checkpoints and output; created."""
        folder = run_folder(self.kind, self.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def update(
        self, *, stage: str | None = None, done: int | None = None, total: int | None = None, **columns: Any
    ) -> None:
        """Write where the attempt stands, in a transaction of its own; at most once a second is the caller's duty.

        ``columns`` are further columns of the run. Raises `RunLost` when the attempt no longer owns the run.
        """
        said = {"stage": stage, "done": done, "total": total}
        columns |= {name: value for name, value in said.items() if value is not None}
        with session() as s:
            self._write(s, beat_at=now(), **columns)

    def guard(self, s: Session) -> None:
        """Raise `RunLost` unless this attempt still owns the run and nobody asked to cancel it.

        Called first in the transaction that saves results: the row stays locked until it ends, so that a worker that
        takes the run over waits for it or makes it fail, never both.
        """
        model = KINDS[self.kind].model
        mine = select(model.id).where(
            model.id == self.run_id,
            model.attempt == self.attempt,
            model.status == RunStatus.RUNNING,
            model.cancel_requested.is_(False),
        )
        if s.scalar(mine.with_for_update()) is None:
            raise RunLost(f"Attempt {self.attempt} no longer has {self.kind} run {self.run_id}.")

    def succeed(self, s: Session) -> None:
        """Mark the run SUCCEEDED inside the caller's final transaction. Raises `RunLost` as `guard` does."""
        self.guard(s)
        self._write(s, status=RunStatus.SUCCEEDED, finished_at=now(), stage="", error=None)

    def fail(self, s: Session, error: str) -> None:
        """Mark the run FAILED with a sentence. Raises `RunLost` as `guard` does: a cancelled run has not failed."""
        self.guard(s)
        self._write(s, status=RunStatus.FAILED, finished_at=now(), stage="", error=error)

    def cancel_requested(self) -> bool:
        """Whether somebody asked to cancel the run."""
        model = KINDS[self.kind].model
        with reading() as s:
            return bool(s.scalar(select(model.cancel_requested).where(model.id == self.run_id)))

    def _write(self, s: Session, **columns: Any) -> None:
        model = KINDS[self.kind].model
        mine = (model.id == self.run_id, model.attempt == self.attempt, model.status == RunStatus.RUNNING)
        result = cast(CursorResult[Any], s.execute(update(model).where(*mine).values(**columns)))
        if result.rowcount == 0:
            raise RunLost(f"Attempt {self.attempt} no longer has {self.kind} run {self.run_id}.")


def unmanaged(kind: str, run_id: int) -> Progress:
    """Take a QUEUED run up in this process, without a worker, and give its `Progress`.

    For the command line and tests. Raises `Refused` when the run is not QUEUED.
    """
    me = Group.of(os.getpid())
    with session() as s:
        run = the_run(s, kind=kind, run_id=run_id)
        if run.status is not RunStatus.QUEUED:
            raise Refused(f"Run {run_id} is {run.status.value}; only a QUEUED run can be started.")
        run.status = RunStatus.RUNNING
        run.attempt += 1
        run.worker = f"{UNMANAGED}{platform.node()}-{me.leader}"
        run.process_group, run.process_started, run.boot_id = me.leader, me.started, me.boot
        run.started_at = run.beat_at = now()
        run.finished_at = run.error = None
        return Progress(kind, run_id, run.attempt)
