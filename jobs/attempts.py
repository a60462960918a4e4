"""Attempts at a run: how one is claimed and begun, and how it ends.

Every function opens its own short transaction; all writes but the first name the attempt.
"""

import re
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select

from db.models import Run, RunStatus, now
from db.session import session
from jobs.launcher import Place, place_of
from jobs.progress import Progress
from jobs.runs import KINDS, get_run, is_claimable, log_tail
from settings import settings

LOST_LIMIT = 3
"""So many attempts may be lost in a row without progress; the next would most likely be, too."""

DISK_FULL = re.compile(r"\[Errno 28\]|No space left on device|[Dd]isk is full")


@dataclass(frozen=True)
class Attempt:
    """A worker's claim on a run: no other takes it up, and no earlier attempt can write any more."""

    progress: Progress
    before: Place | None
    """Where the attempt before was carried; it may still be there."""


def claim(*, worker: str, kinds: Collection[str] = KINDS) -> Attempt | None:
    """Claim the oldest run of the kinds that waits, if one does: QUEUED, or RUNNING while nobody living carries it.

    What ``worker`` itself has of these kinds counts as left behind: it claims when it has none in hand.
    """
    with session() as s:
        claimable = select(Run.id).where(is_claimable(but_by=worker), Run.kind.in_(kinds))
        run_id = s.scalar(claimable.order_by(Run.created_at, Run.id).limit(1).with_for_update(skip_locked=True))
        # PostgreSQL looked for living workers before it had the lock, and one may have begun in between
        if run_id is None or not s.scalar(select(is_claimable(but_by=worker)).where(Run.id == run_id)):
            return None
        run = get_run(s, run_id)
        before = place_of(run)
        lost = run.status is RunStatus.RUNNING and run.worker is not None
        run.losses = lost + (run.losses if lost and run.done == run.done_before else 0)
        run.status, run.worker, run.attempt, run.beat_at = RunStatus.RUNNING, worker, run.attempt + 1, now()
        run.done_before = run.done
        return Attempt(Progress(run.kind, run_id, run.attempt), before)


def begin(progress: Progress) -> bool:
    """Begin an attempt, once the one before is proved to have ended; False where the run ends instead."""
    with _still_mine(progress) as run:
        if run is None:
            return False
        run.process_group = run.process_started = run.boot_id = run.job = None
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
        elif run.losses >= LOST_LIMIT:
            _end(run, RunStatus.FAILED, lost_sentence(run.losses, log_tail(run.kind, run.id, kilobytes=4)))
        else:
            run.started_at, run.finished_at, run.error = now(), None, None
        return not run.status.ended


@contextmanager
def _still_mine(progress: Progress) -> Iterator[Run | None]:
    """The attempt's run, locked and to be written at the block's end; none when it has ended or is another's."""
    with session() as s:
        run = get_run(s, progress.run_id, lock=True)
        yield run if run.attempt == progress.attempt and run.status is RunStatus.RUNNING else None


def settle_run(progress: Progress, error: str) -> None:
    """Give the run its final status unless it has one: CANCELLED if that was asked for, else FAILED with the error."""
    with _still_mine(progress) as run:
        if run is None:
            return
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
        else:
            _end(run, RunStatus.FAILED, error)


def hand_back(progress: Progress) -> None:
    """The worker is stopping: leave the run RUNNING without a worker, for the next one to claim."""
    with _still_mine(progress) as run:
        if run is None:
            return
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
        else:
            run.worker = None


def explain_exit(exit_status: int, tail: str) -> str:
    """Why an attempt ended without saying so: a sentence, then the tail of its log where that can help."""
    if DISK_FULL.search(tail):
        return disk_full_sentence()
    if exit_status == -signal.SIGKILL:
        sentence = "The system killed the process, most likely because memory ran out."
    elif exit_status < 0:
        sentence = f"The process was ended by signal {signal.Signals(-exit_status).name}."
    elif exit_status == 0:
        sentence = "The process ended before its work was finished."
    else:
        sentence = "The process stopped because of an error that it did not expect."
    return f"{sentence} Press Try again; if it happens again, the end of its log says more:\n\n{tail}".strip()


def worker_failed_sentence(problem: Exception) -> str:
    """The sentence for an attempt that the worker itself could not carry."""
    if DISK_FULL.search(str(problem)):
        return disk_full_sentence()
    return f"The worker could not carry the run: {problem}. Press Try again; if it happens again, see the worker's log."


def disk_full_sentence() -> str:
    """The sentence for a disk without room."""
    return f"The disk is full: free some space under {settings().home.resolve()}, then press Try again."


def lost_sentence(times: int, tail: str) -> str:
    """The sentence for a run that takes its worker down with it."""
    count = {3: "three times"}.get(times, f"{times} times")
    return (
        f"The worker was lost {count} while it carried this run, without any progress. Check that the machine has "
        f"enough memory, then press Try again. The end of the log:\n\n{tail}"
    ).strip()


def _end(run: Run, status: RunStatus, error: str | None = None) -> None:
    run.status, run.error, run.stage, run.finished_at = status, error, "", now()
