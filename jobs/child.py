"""``python -m jobs.child KIND RUN_ID ATTEMPT``: one attempt at one run, started and watched by the worker.

Everything heavy (torch, vLLM) is loaded here and dies here. What it prints goes to the attempt's log.
"""

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from db.session import session
from errors import PickwellError
from jobs.processes import die_with_parent
from jobs.progress import Progress, RunLost

STAGES = {
    "generation": "generation.worker",
    "training": "training.trainer.worker",
    "parity": "generation.parity_check",
    "judge": "eval.judge.run",
    "benchmark": "eval.benchmarks.runs",
}
"""The module that carries each kind of run, by its ``run(progress)``."""

PARENT = "PICKWELL_WORKER_PID"
"""Environment variable in which the worker leaves its pid."""

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


def main(arguments: Sequence[str]) -> int:
    """Carry the attempt that the arguments name."""
    kind, run_id, attempt = arguments[0], int(arguments[1]), int(arguments[2])
    if PARENT in os.environ:
        die_with_parent(int(os.environ[PARENT]))
    os.environ |= QUIET
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stage = importlib.import_module(STAGES[kind])
    return carry(Progress(kind, run_id, attempt), stage.run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
