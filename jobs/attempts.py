"""Attempts at a run: who may begin one, how it is written down, and how it ends.

Every function opens its own short transaction; all writes but the first name the attempt.
"""

import json
import logging
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from db.models import RunStatus, Worker, now
from db.session import reading, session
from jobs.processes import Group
from jobs.progress import Progress
from jobs.runs import ALIVE, UNMANAGED, AnyRun, log_tail, run_folder, the_run
from settings import settings

LOST_LIMIT = 3
"""So many attempts may be lost in a row without progress; the next would most likely be, too."""

TAKES = "attempts.jsonl"
"""File in a run's folder with one `Take` a line."""

DISK_FULL = re.compile(r"\[Errno 28\]|No space left on device|database or disk is full")

log = logging.getLogger("jobs.attempts")


@dataclass(frozen=True)
class Take:
    """A worker taking a run up, as kept in ``attempts.jsonl`` of the run's folder."""

    attempt: int
    lost: bool
    """The attempt before it was lost with its worker."""
    done: int
    """The run's count at that moment."""


def lost_in_a_row(takes: list[Take], *, done: int) -> int:
    """How many attempts were lost one after another at this count, the one just found lost included."""
    lost = 1
    for take in reversed(takes):
        if not take.lost or take.done != done:
            break
        lost += 1
    return lost


def begin(kind: str, run_id: int, *, worker: str) -> Take | None:
    """Take the run up for `worker` if it is for the taking.

    A run is taken when it is QUEUED, or RUNNING without a living worker; in that case the processes of the attempt
    before are ended first, and proved to be gone. None when there is nothing to do.
    """
    with reading() as s:
        seen = the_run(s, kind=kind, run_id=run_id)
        if seen.status.ended or carried(s, seen, but_by=worker):
            return None
        before = (seen.status, seen.attempt, seen.worker)
        lost = seen.status is RunStatus.RUNNING and seen.worker is not None
        group = None if is_unmanaged(seen) else group_of(seen)
    if group is not None and not group.end(grace=0):
        log.error("Process group %s of %s run %s outlives being killed.", group.leader, kind, run_id)
        return None
    takes = _takes(kind, run_id)
    with session() as s:
        run = the_run(s, kind=kind, run_id=run_id, lock=True)
        if (run.status, run.attempt, run.worker) != before:
            return None  # somebody was faster; whatever they made of it will be looked at again
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
            return None
        if lost and (times := lost_in_a_row(takes, done=run.done)) >= LOST_LIMIT:
            _end(run, RunStatus.FAILED, lost_sentence(times, log_tail(kind, run_id, kilobytes=4)))
            return None
        run.status = RunStatus.RUNNING
        run.attempt += 1
        run.worker = worker
        run.process_group = run.process_started = run.boot_id = None
        run.started_at = run.beat_at = now()
        run.finished_at = run.error = None
        return Take(run.attempt, lost, run.done)


def write_down(progress: Progress, take: Take) -> None:
    """Keep the take in the run's folder."""
    with (progress.folder / TAKES).open("a") as file:
        file.write(json.dumps(asdict(take)) + "\n")


def carried(s: Session, run: AnyRun, *, but_by: str | None = None) -> bool:
    """Whether the run is RUNNING and somebody living carries it; the worker ``but_by`` does not count."""
    if run.status is not RunStatus.RUNNING or run.worker is None or run.worker == but_by:
        return False
    if is_unmanaged(run):
        group = group_of(run)
        return group is not None and group.leader_alive()
    owner = s.get(Worker, run.worker)
    return owner is not None and owner.beat_at > now() - ALIVE


def is_unmanaged(run: AnyRun) -> bool:
    """Whether the last attempt ran in the process that asked for it: never ours to end."""
    return (run.worker or "").startswith(UNMANAGED)


def group_of(run: AnyRun) -> Group | None:
    """The process group of a run's last attempt, if it got as far as having one."""
    if run.process_group is None or run.process_started is None or run.boot_id is None:
        return None
    return Group(run.process_group, run.process_started, run.boot_id)


@contextmanager
def _still_mine(progress: Progress) -> Iterator[AnyRun | None]:
    """The attempt's run, locked and to be written at the block's end; none when it has ended or is another's."""
    with session() as s:
        run = the_run(s, kind=progress.kind, run_id=progress.run_id, lock=True)
        yield run if run.attempt == progress.attempt and run.status is RunStatus.RUNNING else None


def settle(progress: Progress, *, exit_status: int) -> None:
    """After every process of the attempt has ended: give the run its final status unless it already has one."""
    tail = log_tail(progress.kind, progress.run_id, kilobytes=4)
    with _still_mine(progress) as run:
        if run is None:
            return
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
        else:
            _end(run, RunStatus.FAILED, why(exit_status, tail))


def give_up(progress: Progress, error: str) -> None:
    """Make the run FAILED for a reason outside the attempt's process, unless it already has a final status."""
    with _still_mine(progress) as run:
        if run is not None:
            _end(run, RunStatus.FAILED, error)


def hand_back(progress: Progress) -> None:
    """The worker is stopping: leave the run RUNNING without a worker, for the next one to take up."""
    with _still_mine(progress) as run:
        if run is None:
            return
        if run.cancel_requested:
            _end(run, RunStatus.CANCELLED)
        else:
            run.worker = run.process_group = run.process_started = run.boot_id = None


def why(exit_status: int, tail: str) -> str:
    """Why an attempt ended without saying so: a sentence, then the tail of its log where that can help."""
    if DISK_FULL.search(tail):
        return disk_full()
    if exit_status == -signal.SIGKILL:
        said = "The system killed the process, most likely because memory ran out."
    elif exit_status < 0:
        said = f"The process was ended by signal {signal.Signals(-exit_status).name}."
    elif exit_status == 0:
        said = "The process ended before its work was finished."
    else:
        said = "The process stopped because of an error that it did not expect."
    return f"{said} Press Try again; if it happens again, the end of its log says more:\n\n{tail}".strip()


def worker_failed(problem: Exception) -> str:
    """The sentence for an attempt that the worker itself could not carry."""
    if DISK_FULL.search(str(problem)):
        return disk_full()
    return f"The worker could not carry the run: {problem}. Press Try again; if it happens again, see the worker's log."


def disk_full() -> str:
    """The sentence for a disk without room."""
    return f"The disk is full: free some space under {settings().home.resolve()}, then press Try again."


def lost_sentence(times: int, tail: str) -> str:
    """The sentence for a run that takes its worker down with it."""
    count = {3: "three times"}.get(times, f"{times} times")
    return (
        f"The worker was lost {count} while it carried this run, without any progress. Check that the machine has "
        f"enough memory, then press Try again. The end of the log:\n\n{tail}"
    ).strip()


def _takes(kind: str, run_id: int) -> list[Take]:
    file = run_folder(kind, run_id) / TAKES
    takes = []
    for line in file.read_text().splitlines() if file.exists() else ():
        with suppress(ValueError, TypeError):  # a line cut short by a full disk or a power cut says nothing
            takes.append(Take(**json.loads(line)))
    return takes


def _end(run: AnyRun, status: RunStatus, error: str | None = None) -> None:
    run.status, run.error, run.stage, run.finished_at = status, error, "", now()
