"""One attempt at one run from start to end: start it, watch it, and never leave its row RUNNING behind."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from db.models import RunStatus
from db.session import reading
from errors import DatabaseUnavailable, PickwellError
from jobs.attempts import begin, claim, explain_exit, hand_back, settle_run, worker_failed_sentence
from jobs.child import child_command
from jobs.launcher import Command, Place, launch
from jobs.processes import StillThere
from jobs.progress import Progress, RunLost
from jobs.runs import KINDS, get_run, log_tail

log = logging.getLogger("jobs.supervise")


@dataclass(frozen=True)
class Pace:
    """How often the supervisor looks and how long it waits, in seconds."""

    poll: float = 0.5
    """Between two looks at the attempt and at whether somebody cancelled."""
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
    patience: float = 120.0
    """Until a run is given up whose attempt before cannot be seen to have ended."""


class AttemptEnd(Enum):
    """Why watching ended."""

    EXITED = "has ended"
    CANCELLED = "was cancelled"
    STOPPED = "was interrupted, since the worker stops"
    LOST = "has lost the run to somebody else"


def carry_next(
    *,
    worker: str,
    stop: threading.Event,
    kinds: Collection[str] = KINDS,
    command: Command = child_command,
    pace: Pace = Pace(),
) -> bool:
    """Claim the next run of the kinds and carry it until it has ended, or ``stop`` is set; False where none waits."""
    attempt = claim(worker=worker, kinds=kinds)
    if attempt is None:
        return False
    progress = attempt.progress
    name = f"{progress.kind} run {progress.run_id}: attempt {progress.attempt}"
    error = ""
    try:
        _see_ended(attempt.before, stop=stop, pace=pace)
        if not begin(progress):
            return True
        log.info("%s begins.", name)
        outcome, error = _carry(progress, launch(progress, command), stop=stop, pace=pace)
    except StillThere as problem:
        outcome, error = AttemptEnd.STOPPED if stop.is_set() else AttemptEnd.EXITED, str(problem)
    except RunLost:
        outcome = AttemptEnd.LOST
    except PickwellError as problem:
        outcome, error = AttemptEnd.EXITED, str(problem)
    except Exception as problem:  # the row says so whatever it was; what it was stands in the worker's log
        log.exception("%s could not be carried.", name)
        outcome, error = AttemptEnd.EXITED, worker_failed_sentence(problem)
    log.info("%s %s.", name, outcome.value)
    if outcome is AttemptEnd.STOPPED:
        _insist(lambda: hand_back(progress), stop=stop, pace=pace)
    elif outcome is not AttemptEnd.LOST:
        _insist(lambda: settle_run(progress, error), stop=stop, pace=pace)
    return True


def _see_ended(place: Place | None, *, stop: threading.Event, pace: Pace) -> None:
    """End what is left of the attempt before. Raises `StillThere`, at once where ``stop`` is set."""
    deadline = time.monotonic() + pace.patience
    while place is not None:
        try:
            place.end(grace=0)
            return
        except StillThere as problem:
            log.warning("%s", problem)
            if stop.wait(pace.retry) or time.monotonic() > deadline:
                raise


def _carry(progress: Progress, place: Place, *, stop: threading.Event, pace: Pace) -> tuple[AttemptEnd, str]:
    """Watch the attempt, and see everything of it ended, whatever happens on the way; why it ended by itself."""
    outcome, exit_status = None, 0
    try:
        outcome, exit_status = _watch(progress, place, stop=stop, pace=pace)
    finally:
        try:
            if outcome is AttemptEnd.CANCELLED:
                place.end(grace=pace.cancel_grace, hurry=stop)
            else:
                place.end(grace=pace.stop_grace if outcome is AttemptEnd.STOPPED else 0)
        except StillThere as problem:  # the row keeps its place, and the next attempt sees to it first
            log.error("%s run %s: %s", progress.kind, progress.run_id, problem)
    tail = log_tail(progress.kind, progress.run_id, kilobytes=4)
    return outcome, place.explain(exit_status, tail) or explain_exit(exit_status, tail)


def _watch(progress: Progress, place: Place, *, stop: threading.Event, pace: Pace) -> tuple[AttemptEnd, int]:
    """Look at the row and the attempt in turn until it ends, or has to; the exit status where it ended by itself."""
    beat = ended = None
    while True:
        moment = time.monotonic()
        try:
            attempt, status, cancelled = _read_row(progress)
            if attempt != progress.attempt or status is RunStatus.QUEUED:
                return AttemptEnd.LOST, 0
            if status.ended:
                ended = ended or moment
                if moment - ended > pace.linger:
                    return AttemptEnd.EXITED, 0
            elif cancelled:
                return AttemptEnd.CANCELLED, 0
            elif beat is None or moment - beat >= pace.beat:
                progress.update(**place.columns)
                beat = moment
        except RunLost:
            pass  # its end came between looking and writing; the next look tells which
        except DatabaseUnavailable as problem:
            log.warning("The database does not answer, the attempt goes on: %s", problem)
        exit_status = place.wait(pace.poll)
        if exit_status is not None:
            return AttemptEnd.EXITED, exit_status
        if stop.is_set():
            return AttemptEnd.STOPPED, 0


def _read_row(progress: Progress) -> tuple[int, RunStatus, bool]:
    with reading() as s:
        run = get_run(s, progress.run_id)
        return run.attempt, run.status, run.cancel_requested


def _insist(action: Callable[[], None], *, stop: threading.Event, pace: Pace) -> None:
    """Write to the database, again and again while it refuses: a run must not stay RUNNING for want of disk space."""
    while True:
        try:
            return action()
        except DatabaseUnavailable as problem:
            log.error("The database does not take what became of a run: %s", problem)
            if stop.wait(pace.retry):
                return None  # the next worker finds the row RUNNING and claims it
