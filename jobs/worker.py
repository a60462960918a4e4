"""``python -m jobs.worker``: carries the waiting runs of a database, one at a time and a light one beside it.

The table of runs is the queue: a worker claims the oldest run that waits in one short transaction, so several workers,
each with a home of its own, may share a database.
"""

import logging
import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import delete

from db.models import Worker
from db.session import reading, session
from errors import DatabaseUnavailable, PickwellError
from files import keep_private
from jobs.child import child_command
from jobs.database import check_database
from jobs.launcher import Command
from jobs.life import BEAT, AlreadyRunning, forget_dead_workers, hold_home, keep_showing_life, show_life
from jobs.runs import HEAVY, LIGHT, list_unknown_runs
from jobs.supervise import Pace, carry_next

LOOK = 1.0
"""Seconds between two looks for a run that waits."""

log = logging.getLogger("jobs.worker")


def main(command: Command = child_command, pace: Pace = Pace()) -> int:
    """Work until SIGTERM, SIGINT or SIGHUP; gives the exit status: 2 when another worker has this home."""
    keep_private()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, lambda *_: stop.set())
    try:
        check_database()
        with hold_home():
            work(stop, command, pace)
    except AlreadyRunning as problem:
        print(problem, file=sys.stderr)
        return 2
    except PickwellError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
