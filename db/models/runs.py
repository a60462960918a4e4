"""Every run, whichever kind it is, and the worker processes that carry them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, enum, now


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """No worker will touch the run again."""
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


class Run(Base):
    """Long work for a Project, whichever kind it is: this table is the queue, and what a kind adds has its own."""

    __tablename__ = "run"
    __mapper_args__ = {"polymorphic_on": "kind"}

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """Short name of the kind, as in `jobs.runs.KINDS`."""
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    """Where it was asked for."""
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    """Whoever asked for it, or for the run that did."""
    status: Mapped[RunStatus] = mapped_column(enum(RunStatus), default=RunStatus.QUEUED)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    paused: Mapped[bool] = mapped_column(default=False)
    """Cancelled by somebody who means to go on later."""
    attempt: Mapped[int] = mapped_column(default=0)
    """How often a worker took it up; every write of a worker names its attempt."""
    losses: Mapped[int] = mapped_column(default=0)
    """Attempts that were lost with their worker, one after another, without progress in between."""
    done_before: Mapped[int] = mapped_column(default=0)
    """`done` as the last attempt was claimed."""
    worker: Mapped[str | None]
    """Id of the worker that has it."""
    process_group: Mapped[int | None]
    process_started: Mapped[float | None]
    """Start of the group's leader, seconds since the epoch: a pid alone may be somebody else's by now."""
    boot_id: Mapped[str | None]
    """Boot of the machine that the process group belongs to; after another boot it means nothing."""
    job: Mapped[str | None]
    """URL of the job that carries it on a Ray cluster, there before the job is."""
    beat_at: Mapped[datetime | None]
    """Last sign of life from the worker."""
    stage: Mapped[str] = mapped_column(default="")
    """What it is doing now, for people."""
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    """Why it failed: a sentence, or the tail of the log."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


Index("ix_run_status_created_at", Run.status, Run.created_at)


class Worker(Base):
    """A worker process and its last sign of life."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int]
    host: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(default=now)
    beat_at: Mapped[datetime] = mapped_column(default=now)
