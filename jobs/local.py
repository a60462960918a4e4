"""A worker for as long as a command needs one, and waiting for runs."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from db.models import Run, RunStatus
from db.session import reading
from errors import DatabaseUnavailable, Refused, to_type
from jobs.life import worker_alive
from jobs.processes import tied
from jobs.runs import KINDS, get_run
from settings import ROOT, settings

PATIENCE = 30.0
"""Seconds without any worker after which waiting has no use; a new one shows life within ten."""
LOOK, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two looks whether somebody still works, and at most before another worker is tried."""


@contextmanager
def ensure_worker() -> Iterator[None]:
    """Some worker for the length of the block: one that lives already, else one of its own, started anew if it ends."""
    stop = threading.Event()
    keeper = threading.Thread(target=_keep_worker, args=(stop,))
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _keep_worker(stop: threading.Event) -> None:
    process: subprocess.Popen[bytes] | None = None
    pause = 0.0
    while not stop.wait(pause):
        if _somebody_works():
            pause = LOOK
        elif process is None or process.poll() is not None:
            process = _start_worker()
            pause = min(2 * pause + LOOK, LONGEST_PAUSE)  # one that cannot start is tried less and less often
    if process is not None:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def _somebody_works() -> bool:
    try:
        with reading() as s:
            return worker_alive(s)
    except DatabaseUnavailable:
        return True  # nobody could work now


def _start_worker() -> subprocess.Popen[bytes]:
    settings().home.mkdir(parents=True, exist_ok=True)
    with (settings().home / "worker.log").open("ab") as log:
        command = tied([sys.executable, "-m", "jobs.worker"], by=signal.SIGTERM)
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def wait_for(run_id: int, *, watch: Callable[[Run], None] = lambda run: None) -> Run:
    """Wait until a run has ended; `watch` sees it every half second.

    Raises the kind's error with the run's own sentence when it failed or was cancelled, and `Refused` when no worker
    has been alive for `PATIENCE` seconds.
    """
    alive_at = time.monotonic()
    while True:
        with reading() as s:
            run = get_run(s, run_id)
            alive = worker_alive(s)
        watch(run)
        if run.status.ended:
            break
        if alive:
            alive_at = time.monotonic()
        elif time.monotonic() - alive_at > PATIENCE:
            raise Refused(
                f"No worker is alive, so the {run.kind} run {run_id} waits. Start one with {to_type('run')}: it goes "
                f"on from here. The end of {settings().home / 'worker.log'} may say why."
            )
        time.sleep(0.5)
    if run.status is not RunStatus.SUCCEEDED:
        raise KINDS[run.kind].error(run.error or f"The {run.kind} run {run_id} was {run.status.value.lower()}.")
    return run
