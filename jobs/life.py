"""Who is alive: this home's worker by its lock, others of this machine by their process, all others by their beats."""

import fcntl
import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from db.models import Run, Worker, now
from db.session import session
from errors import DatabaseUnavailable, Refused
from jobs.processes import SAME_START
from settings import settings

BEAT = 3.0
"""Seconds between two signs of life."""
ALIVE = timedelta(seconds=15)
"""How old a sign of life may be; one from further ahead is of a clock that was set back, and counts for nothing."""

log = logging.getLogger("jobs.life")


class AlreadyRunning(Refused):
    """Another worker has this home."""


@contextmanager
def hold_home() -> Iterator[None]:
    """Be the one worker of this home: hold its lock, which the system releases however this process ends.

    Raises `AlreadyRunning`.
    """
    file = _lock_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"A worker for {file.parent} is already running (process {pid}). Leave it to its work or stop it first."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def home_has_worker() -> bool:
    """Whether a worker of this home lives, whatever the database and the clocks say."""
    file = _lock_file()
    if not file.exists():
        return False
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock_file() -> Path:
    return settings().home.resolve() / "worker.lock"


def shows_life() -> ColumnElement[bool]:
    """In SQL: the worker's newest sign of life is of now, by this machine's clock."""
    return Worker.beat_at.between(now() - ALIVE, now() + ALIVE)


def worker_alive(s: Session) -> bool:
    """Whether some worker of this database lives."""
    if home_has_worker():
        return True
    here = platform.node()
    return any(worker.host != here or _process_runs(worker) for worker in s.scalars(select(Worker).where(shows_life())))


def carried(*, but_by: str | None = None) -> ColumnElement[bool]:
    """In SQL: the run's worker lives; ``but_by`` does not count."""
    return exists().where(Worker.id == Run.worker, Worker.id != (but_by or ""), shows_life())


def _process_runs(worker: Worker) -> bool:
    """Whether a worker of this machine is a process still, and not another one with its old pid."""
    try:
        return psutil.Process(worker.pid).create_time() <= worker.started_at.timestamp() + SAME_START
    except psutil.NoSuchProcess:
        return False


def forget_dead_workers() -> None:
    """Remove the rows of this machine's workers whose process is gone, so that their runs are free at once."""
    with session() as s:
        for worker in s.scalars(select(Worker).where(Worker.host == platform.node())):
            if worker.pid == os.getpid() or not _process_runs(worker):
                s.delete(worker)


def show_life(me: str) -> None:
    """Write the worker's row, or its newest sign of life."""
    with session() as s:
        worker = s.get(Worker, me)
        if worker is None:
            s.add(Worker(id=me, pid=os.getpid(), host=platform.node()))
        else:
            worker.beat_at = now()


def keep_showing_life(me: str, stop: threading.Event) -> None:
    """Show life every few seconds until ``stop``, whatever the database says in between."""
    while not stop.wait(BEAT):
        try:
            show_life(me)
        except DatabaseUnavailable as problem:
            log.warning("No sign of life could be written: %s", problem)
