"""A worker for as long as a command needs one, and waiting for runs."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from db.models import Run, RunStatus
from db.session import reading
from errors import Refused, to_type
from jobs.runs import KINDS, get_run, worker_alive
from settings import ROOT, settings

PATIENCE = 30.0
"""Seconds without any worker after which waiting has no use; a new one shows life within ten."""


@contextmanager
def ensure_worker() -> Iterator[None]:
    """A worker process for the length of the block; one that runs already is used and left alone."""
    with reading() as s:
        if worker_alive(s):
            yield
            return
    settings().home.mkdir(parents=True, exist_ok=True)
    with (settings().home / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "jobs.worker"], cwd=ROOT, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


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
