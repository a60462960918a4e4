"""``python -m jobs.worker``: carries the queued runs of one home, one at a time, until it is told to stop.

The runs' rows are the truth and the outbox. DBOS makes sure that a run whose worker died is looked at again; its
workflows say no more than "look at this run". So a workflow too many does no harm, and the file ``dbos.sqlite`` may be
deleted while no worker runs.
"""

import fcntl
import logging
import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import cast

import psutil
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import delete, inspect, make_url, select
from sqlalchemy.exc import OperationalError

from db.models import RunStatus, Worker, now
from db.session import engine, is_newest, reading, session
from errors import DatabaseProblem, PickwellError, Refused, to_type
from jobs.attempts import carried
from jobs.child import child_command
from jobs.processes import SAME_START
from jobs.runs import KINDS, AnyRun
from jobs.supervise import Command, Pace, supervise
from settings import settings

QUEUE = "heavy"
"""The one queue: a run needs the whole machine."""

ACTIVE = {"ENQUEUED", "PENDING", "DELAYED"}
"""What DBOS calls a workflow that is still to end."""

BEAT = 3.0
"""Seconds between two signs of life."""

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
        with only_one(settings().home.resolve() / "worker.lock"):
            work(stop, command, pace)
    except AlreadyRunning as problem:
        print(problem, file=sys.stderr)
        return 2
    except PickwellError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def check_database() -> None:
    """Raise `DatabaseProblem` unless the database is there with its tables; nothing is made or migrated."""
    url = make_url(settings().url)
    missing = DatabaseProblem(f"There is no database yet. Run {to_type('setup')}, then start the worker again.")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise missing
    try:
        if not inspect(engine()).has_table(Worker.__tablename__):
            raise missing
        if not is_newest():
            raise DatabaseProblem(
                f"The database was written by another version of Pickwell. Run {to_type('setup')}, which brings an "
                "older one up to date, then start the worker again."
            )
    except OperationalError as problem:
        raise DatabaseProblem(f"The database cannot be reached: {problem.orig}. Start it or correct its URL.") from None


@contextmanager
def only_one(file: Path) -> Iterator[None]:
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
    free = threading.Lock()

    def look(kind: str, run_id: int) -> None:
        with free:
            supervise(kind, run_id, worker=me, stop=stop, command=command, pace=pace)

    forget_the_dead()
    show_life(me)
    beating = threading.Thread(target=keep_showing_life, args=(me, stop), daemon=True)
    beating.start()
    in_time = True
    try:
        workflow = launch(look)
        log.info("Worker %s is ready.", me)
        while not stop.wait(1.0):
            try:
                enqueue_waiting(workflow, me if not free.locked() else None)
            except Exception:  # a full disk or a locked database passes, and the worker should be there afterwards
                log.exception("The waiting runs could not be read; trying again.")
    finally:
        stop.set()
        # The run in hand is given its time to stop; after that its process dies with this one.
        in_time = free.acquire(timeout=pace.stop_grace + 15)
        DBOS.destroy(workflow_completion_timeout_sec=1 if in_time else 0)
        beating.join(timeout=2 * BEAT)
        with suppress(OperationalError), session() as s:
            s.execute(delete(Worker).where(Worker.id == me))
        log.info("Worker %s has stopped.", me)
    if not in_time:
        os._exit(1)


def launch(look: Callable[[str, int], None]) -> Callable[[str, int], None]:
    """Start DBOS on its own SQLite file, which takes up what an earlier worker left, and give the workflow.

    Executor and version are fixed, as a worker that is started again has to be the same one to DBOS. Nothing is
    reported anywhere: no conductor, no OTLP.
    """
    step = DBOS.step(name="supervise")(look)

    @DBOS.workflow(name="run", max_recovery_attempts=None)
    def run(kind: str, run_id: int) -> None:
        step(kind, run_id)

    config: DBOSConfig = {
        "name": "pickwell",
        "system_database_url": f"sqlite:///{settings().home.resolve() / 'dbos.sqlite'}",
        "application_version": "1",
        "executor_id": "worker",
        "enable_otlp": False,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, global_concurrency=1, on_conflict="always_update")
    return run


def enqueue_waiting(workflow: Callable[[str, int], None], idle: str | None) -> None:
    """Enqueue every run that is QUEUED, or RUNNING without anybody to carry it, oldest first.

    ``idle`` is this worker's id while it has no run in hand: then no run can be its own.
    """
    waiting: list[tuple[datetime, str, int, int]] = []
    with reading() as s:
        for kind, (model, _) in KINDS.items():
            unfinished = select(model).where(model.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)))
            for run in cast(Iterable[AnyRun], s.scalars(unfinished)):
                if not carried(s, run, but_by=idle):
                    waiting.append((run.created_at, kind, run.id, run.attempt))
    for _, kind, run_id, attempt in sorted(waiting):
        name = f"{kind}-{run_id}-{attempt}"
        known = DBOS.get_workflow_status(name)
        if known is not None and known.status not in ACTIVE:
            # It looked at the run when it was not to be carried (cancelled, then tried again), so it may look again.
            DBOS.delete_workflow(name)
            known = None
        if known is None:
            with SetWorkflowID(name):
                DBOS.enqueue_workflow(QUEUE, workflow, kind, run_id)


def forget_the_dead() -> None:
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
        except OperationalError as problem:
            log.warning("No sign of life could be written: %s", problem.orig)


if __name__ == "__main__":
    sys.exit(main())
