"""Train in this process, in several side by side, or on the Ray cluster that PICKWELL_RAY_ADDRESS names.

    python -m training.trainer.launch FOLDER

Wherever that is, ``FOLDER/run.json`` goes in and the rest of FOLDER comes out, and a training that was killed goes on
from its last checkpoint.

Several processes are started by ``accelerate launch``. On GPUs they share the model out among them (FSDP2); on a CPU,
for which accelerate has no FSDP, each holds all of it and they share the rows out (DDP over gloo).
"""

import sys
from collections.abc import Callable
from pathlib import Path

from settings import settings
from training.trainer.following import alone
from training.trainer.processes import train_apart
from training.trainer.ray_job import run_on_ray
from training.trainer.run_folder import Listener, RunFolder, RunInput


def launch(folder: Path, given: RunInput, listener: Listener, *, cancelled: Callable[[], bool] = lambda: True) -> None:
    """Train as ``folder/run.json``, which holds ``given``, says; the Listener hears everything in this process.

    Args:
        cancelled: asked when this process is told to end (SIGTERM): a job on a cluster is stopped if so, and goes on
            for the next attempt to find if not.

    Raises `TrainingFailed` and other `PickwellError`s with a sentence. Whatever the Listener raises ends the training,
    wherever it runs, and comes through.
    """
    if RunFolder(folder).finished():
        return
    if settings().ray_address:
        run_on_ray(folder, given, listener, cancelled=cancelled)
    elif given.processes > 1:
        train_apart(folder, given, listener)
    else:
        train_here(folder, listener)


def train_here(folder: Path, listener: Listener) -> None:
    """Train in this process."""
    from training.trainer.train import train

    train(folder, listener)


def main() -> None:
    """Train the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.trainer.launch FOLDER")
    alone(Path(sys.argv[1]).resolve(), lambda folder, listener: launch(folder, RunFolder(folder).input(), listener))


if __name__ == "__main__":
    main()
