"""One attempt at one run from start to end: start its process, watch it, and never leave its row RUNNING behind.

`supervise` may be called for a run at any time and any number of times: it looks at the row and does what is needed,
which is nothing when the run has ended or somebody else carries it.
"""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from sqlalchemy.exc import OperationalError

from db.models import RunStatus
from db.session import reading
from jobs.attempts import begin, give_up, hand_back, settle, worker_failed, write_down
from jobs.child import PARENT, child_command
from jobs.processes import Group
from jobs.progress import Progress, RunLost
from jobs.runs import log_file, the_run
from settings import ROOT

log = logging.getLogger("jobs.supervise")

Command = Callable[[str, int, int], Sequence[str]]
"""The command line for kind, run id and attempt."""


@dataclass(frozen=True)
class Pace:
    """How often the supervisor looks and how long it waits, in seconds."""

    poll: float = 0.5
    """Between two looks at the process and at whether somebody cancelled."""
    beat: float = 3.0
    """Between two signs of life in the row."""
    cancel_grace: float = 20.0
    """From asking the processes of a cancelled run to end until they are killed."""
    stop_grace: float = 5.0
    """The same when the worker itself is asked to stop."""
    linger: float = 60.0
    """For a process whose run has already ended, to end by itself."""
    retry: float = 3.0
    """Between two tries to write to a database that refuses, as on a full disk."""


class Outcome(Enum):
    """Why watching ended."""

    EXITED = "has ended"
    CANCELLED = "was cancelled"
    STOPPED = "was interrupted, since the worker stops"
    LOST = "has lost the run to somebody else"


def supervise(
    kind: str,
    run_id: int,
    *,
    worker: str,
    stop: threading.Event,
    command: Command = child_command,
    pace: Pace = Pace(),
) -> None:
    """Carry the run if it needs carrying; returns when it has ended, or has been handed back because of ``stop``."""
    if stop.is_set():
        return
    take = begin(kind, run_id, worker=worker)
    if take is None:
        return
    progress = Progress(kind, run_id, take.attempt)
    log.info("%s run %s: attempt %s begins.", kind, run_id, take.attempt)
    try:
        write_down(progress, take)
        outcome, exit_status = _carry(progress, command, stop=stop, pace=pace)
    except Exception as problem:  # the row says so whatever it was; what it was stands in the worker's log
        log.exception("%s run %s could not be carried.", kind, run_id)
        sentence = worker_failed(problem)
        _insist(lambda: give_up(progress, sentence), stop=stop, pace=pace)
        return
    log.info("%s run %s: attempt %s %s.", kind, run_id, take.attempt, outcome.value)
    if outcome is Outcome.STOPPED:
        _insist(lambda: hand_back(progress), stop=stop, pace=pace)
    elif outcome is not Outcome.LOST:
        _insist(lambda: settle(progress, exit_status=exit_status), stop=stop, pace=pace)


def _carry(progress: Progress, command: Command, *, stop: threading.Event, pace: Pace) -> tuple[Outcome, int]:
    """Start the process, watch it, and see every process of the attempt gone, whatever happens on the way."""
    process = _start(progress, command)
    group = Group.of(process.pid)
    outcome = None
    try:
        outcome = _watch(progress, process, group, stop=stop, pace=pace)
    finally:
        if outcome is Outcome.CANCELLED:
            gone = group.end(grace=pace.cancel_grace, hurry=stop)
        else:
            gone = group.end(grace=pace.stop_grace if outcome is Outcome.STOPPED else 0)
        if not gone:
            log.error(
                "Process group %s of %s run %s outlives being killed.", group.leader, progress.kind, progress.run_id
            )
    return outcome, process.wait() if gone else 0


def _start(progress: Progress, command: Command) -> subprocess.Popen[bytes]:
    """Start the attempt's process as the leader of a session of its own; its output goes to the attempt's log.

    The process dies with the thread that calls this, so that must be the one that watches.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log_file(progress.kind, progress.run_id, progress.attempt).open("ab") as output:
        return subprocess.Popen(
            command(progress.kind, progress.run_id, progress.attempt),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())},
        )


def _watch(
    progress: Progress, process: subprocess.Popen[bytes], group: Group, *, stop: threading.Event, pace: Pace
) -> Outcome:
    """Look at the row and the process in turn until the process ends, or has to."""
    beat = ended = None
    while True:
        moment = time.monotonic()
        try:
            attempt, status, cancelled = _standing(progress)
            if attempt != progress.attempt or status is RunStatus.QUEUED:
                return Outcome.LOST
            if status.ended:
                ended = ended or moment
                if moment - ended > pace.linger:
                    return Outcome.EXITED
            elif cancelled:
                return Outcome.CANCELLED
            elif beat is None or moment - beat >= pace.beat:
                progress.update(process_group=group.leader, process_started=group.started, boot_id=group.boot)
                beat = moment
        except RunLost:
            pass  # its end came between looking and writing; the next look tells which
        except OperationalError as problem:
            log.warning("The database does not answer, the process goes on: %s", problem.orig)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=pace.poll)
            return Outcome.EXITED
        if stop.is_set():
            return Outcome.STOPPED


def _standing(progress: Progress) -> tuple[int, RunStatus, bool]:
    with reading() as s:
        run = the_run(s, kind=progress.kind, run_id=progress.run_id)
        return run.attempt, run.status, run.cancel_requested


def _insist(action: Callable[[], None], *, stop: threading.Event, pace: Pace) -> None:
    """Write to the database, again and again while it refuses: a run must not stay RUNNING for want of disk space."""
    while True:
        try:
            return action()
        except OperationalError as problem:
            log.error("The database does not take what became of a run: %s", problem.orig)
            if stop.wait(pace.retry):
                return None  # the next worker finds the row RUNNING and takes it up
