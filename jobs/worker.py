"""``python -m jobs.worker``: carries the waiting runs of a database, one at a time and a light one beside it.

The table of runs is the queue: a worker claims the oldest run that waits in one short transaction, so several workers,
each with a home of its own, may share a database.
"""

import fcntl
import logging
import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import delete, select

from db.models import Worker, now
from db.session import reading, session
from errors import DatabaseUnavailable, PickwellError, Refused
from jobs.child import child_command
from jobs.database import check_database
from jobs.launcher import Command
from jobs.processes import SAME_START
from jobs.runs import HEAVY, LIGHT, list_unknown_runs
from jobs.supervise import Pace, carry_next
from settings import settings

BEAT = 3.0
"""Seconds between two signs of life."""

LOOK = 1.0
"""Seconds between two looks for a run that waits."""

log = logging.getLogger("jobs.worker")


class AlreadyRunning(Refused):
    """Another worker has this home."""


def main(command: Command = child_command, pace: Pace = Pace()) -> int:
    """Work until SIGTERM, SIGINT or SIGHUP; gives the exit status: 2 when another worker has this home."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, lambda *_: stop.set())
    try:
        check_database()
        with hold_lock(settings().home.resolve() / "worker.lock"):
            work(stop, command, pace)
    except AlreadyRunning as problem:
        print(problem, file=sys.stderr)
        return 2
    except PickwellError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


@contextmanager
def hold_lock(file: Path) -> Iterator[None]:
    """Hold the home's lock, which the system releases whatever way this process ends. Raises `AlreadyRunning`."""
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


def work(stop: threading.Event, command: Command, pace: Pace) -> None:
    """Be the home's worker until ``stop``."""
    me = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    forget_dead_workers()
    show_life(me)
    beating = threading.Thread(target=keep_showing_life, args=(me, stop), daemon=True)
    beating.start()
    with reading() as s:
        for sentence in list_unknown_runs(s):
            log.warning("%s", sentence)

    def carry(kinds: Collection[str]) -> None:
        while not stop.is_set():
            try:
                carried = carry_next(worker=me, stop=stop, kinds=kinds, command=command, pace=pace)
            except Exception:  # a full disk or a locked database passes, and the worker should be there afterwards
                log.exception("The waiting runs could not be read; trying again.")
                carried = False
            if not carried:
                stop.wait(LOOK)

    beside = threading.Thread(target=carry, args=(LIGHT,))
    beside.start()
    log.info("Worker %s is ready.", me)
    try:
        carry(HEAVY)
    finally:
        stop.set()
        beside.join()
        beating.join(timeout=2 * BEAT)
        with suppress(DatabaseUnavailable), session() as s:
            s.execute(delete(Worker).where(Worker.id == me))
        log.info("Worker %s has stopped.", me)


def forget_dead_workers() -> None:
    """Remove the rows of this machine's workers whose process is gone, so that their runs are free at once."""
    with session() as s:
        for worker in s.scalars(select(Worker).where(Worker.host == platform.node())):
            try:
                started = psutil.Process(worker.pid).create_time()
                alive = worker.pid != os.getpid() and started <= worker.started_at.timestamp() + SAME_START
            except psutil.NoSuchProcess:
                alive = False
            if not alive:
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


if __name__ == "__main__":
    sys.exit(main())
