"""``python -m jobs.child KIND RUN_ID ATTEMPT``: one attempt at one run, started and watched by the worker.

Everything heavy (torch, vLLM) is loaded here and dies here. What it prints goes to the attempt's log.
"""

import importlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from sqlalchemy import select

from db.models import Run, RunStatus, Worker
from db.session import reading, session
from errors import DatabaseUnavailable, NotFound, PickwellError, Refused, to_type
from jobs.database import check_database
from jobs.processes import TIED, die_with_parent
from jobs.progress import Progress, RunLost
from jobs.runs import find_kind, get_run

HANDED_ON = "PICKWELL_HANDED_ON"
"""Environment variable of a job on a cluster: the file with the rest of its environment, see `jobs.ray_job`."""

ALONE_AT_MOST = 30 * 60.0
"""Seconds that a job on a cluster goes on without a worker that follows it."""

LOOK = 30.0
"""Seconds between two looks at the worker's beats."""

GRACE = 20.0
"""Seconds that a job which ends itself has for that."""

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "WANDB_MODE": "disabled",
}
"""What keeps the libraries from reporting to their makers; read by them at import."""

log = logging.getLogger("jobs.child")


def child_command(kind: str, run_id: int, attempt: int) -> Sequence[str]:
    """The command line of an attempt."""
    return [sys.executable, "-m", "jobs.child", kind, str(run_id), str(attempt)]


def carry(progress: Progress, stage: Callable[[Progress], None]) -> int:
    """Let the stage do its work and give the process's exit status.

    A `PickwellError` makes the run FAILED with its sentence. Any other exception goes on, so that its traceback ends
    the log, which is what the supervisor shows.
    """
    try:
        stage(progress)
    except RunLost as lost:
        log.warning("%s", lost)
    except PickwellError as problem:
        log.error("%s", problem)
        with suppress(RunLost), session() as s:
            progress.fail(s, str(problem))
        return 1
    return 0


def parse_attempt(arguments: Sequence[str]) -> Progress:
    """The attempt that the arguments name. Raises `NotFound`, `DatabaseProblem` and `Refused`."""
    match arguments:
        case [kind, run_id, attempt] if run_id.isdecimal() and attempt.isdecimal():
            progress = Progress(kind, int(run_id), int(attempt))
        case _:
            raise Refused("Say which attempt it is: python -m jobs.child KIND RUN_ID ATTEMPT, the last two as numbers.")
    find_kind(kind)
    check_database()
    with reading() as s:
        run = get_run(s, progress.run_id)
    if run.kind != kind:
        raise NotFound(f"Run {run.id} is of the kind {run.kind}, not {kind}.")
    if run.attempt != progress.attempt or run.status is not RunStatus.RUNNING:
        raise Refused(
            f"Run {run.id} is {run.status.value} at attempt {run.attempt}, so nobody carries attempt "
            f"{progress.attempt}. The worker begins attempts: start it with {to_type('run')}."
        )
    return progress


def end_here() -> None:
    """Have this process end, in its own way first, and all below it."""
    me = psutil.Process()
    me.terminate()
    time.sleep(GRACE)
    for process in me.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(1)


def end_once_alone(
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[float], None] = time.sleep,
    end: Callable[[], None] = end_here,
) -> None:
    """Look at the beats of the worker that has the attempt, and end once there was no new one for half an hour.

    That is by this machine's clock, whichever the worker's is.
    """
    mine = (Run.id == progress.run_id, Run.attempt == progress.attempt)
    last, at = None, clock()
    while clock() - at <= ALONE_AT_MOST:
        with suppress(DatabaseUnavailable), reading() as s:
            beat = s.scalar(select(Worker.beat_at).join(Run, Run.worker == Worker.id).where(*mine))
            if beat is not None and beat != last:
                last, at = beat, clock()
        rest(LOOK)
    log.error(
        "No worker followed the job on the Ray cluster for half an hour, so it ends itself. The next one goes on."
    )
    end()


def main(arguments: Sequence[str]) -> int:
    """Carry the attempt that the arguments name; 2 where they name none."""
    if TIED in os.environ:
        die_with_parent(int(os.environ[TIED]))
    on_cluster = HANDED_ON in os.environ
    if on_cluster:
        handed = Path(os.environ.pop(HANDED_ON))
        os.environ |= json.loads(handed.read_text(encoding="utf-8"))
        handed.unlink()
    os.environ |= QUIET
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        progress = parse_attempt(arguments)
    except PickwellError as problem:
        print(problem, file=sys.stderr)
        return 2
    if on_cluster:
        threading.Thread(target=end_once_alone, args=(progress,), daemon=True).start()
    return carry(progress, importlib.import_module(find_kind(progress.kind).module).run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
