"""Train in this process, or in several where the recipe says so, and give what they write to a Listener.

    python -m training.trainer.processes FOLDER

Wherever that is, ``FOLDER/run.json`` goes in and the rest of FOLDER comes out, and a training that was killed goes on
from its last checkpoint.

Several processes are started by ``accelerate launch``. On GPUs they share the model out among them (FSDP2); on a CPU,
for which accelerate has no FSDP, each holds all of it and they share the rows out (DDP over gloo).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import psutil

from db.models import Method
from errors import TrainingFailed
from files import write_json
from jobs.attempts import why
from jobs.processes import tied
from settings import ROOT
from training.trainer.following import LOG, Following, alone, begin_anew, failure, log_end
from training.trainer.run_folder import Listener, RunInput, finished, forget_steps_after, last_checkpoint, step_of

Trainer: TypeAlias = Callable[[Path, RunInput, Listener], None]

TRAINER = "training.trainer.train"
"""The module that trains, as ``python -m TRAINER FOLDER``."""
CONFIG = "accelerate.json"
POLL = 0.5
"""Seconds between two looks into the folder."""
GRACE = 5.0
"""Seconds that processes have to end before they are killed."""
FSDP = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_activation_checkpointing": False,
    "fsdp_offload_params": False,
}
"""Checkpoints are whole, not in shards, so that the adapter in them can be merged by one process."""


def train_as_recipe_says(folder: Path, given: RunInput, listener: Listener) -> None:
    """Train as ``folder/run.json``, which holds ``given``, says; the Listener hears everything in this process.

    Raises `TrainingFailed` and other `PickwellError`s with a sentence. Whatever the Listener raises ends the training
    and comes through.
    """
    from training.trainer.train import train

    if finished(folder):
        return
    if given.processes > 1:
        train_apart(folder, given, listener)
    else:
        train(folder, listener)


def train_apart(folder: Path, given: RunInput, listener: Listener, *, trainer: str = TRAINER) -> None:
    """Train in ``given.processes`` processes of their own on this machine, and give what they write to the Listener."""
    begin_anew(folder)
    forget_steps_after(folder, step_of(last_checkpoint(folder)))
    gpus, cores = count_gpus(), os.cpu_count() or 1
    check_resources(given, gpus=gpus, cores=cores)
    write_json(folder / CONFIG, accelerate_config(processes=given.processes, gpus=gpus))
    command = accelerate_command(folder, threads=max(1, cores // given.processes), trainer=trainer)
    follow(command, folder, listener)
    if finished(folder) is None:
        raise TrainingFailed(broken_off(folder, status=0))


def count_gpus() -> int:
    """GPUs that a training may use here."""
    import torch

    return int(torch.cuda.device_count())


def check_resources(given: RunInput, *, gpus: int, cores: int) -> None:
    """Raise `TrainingFailed` where the recipe asks for more processes than there are GPUs or cores, or uneven rows."""
    there, what = (gpus, "GPU") if gpus else (cores, "core")
    if given.processes > there:
        raise TrainingFailed(
            f"The recipe wants {given.processes} processes and there {'is' if there == 1 else 'are'} {there} "
            f"{what}{'' if there == 1 else 's'}. Choose a recipe with at most {there}, or train on a larger machine."
        )
    if given.batch_size % given.processes:
        raise TrainingFailed(
            f"{given.batch_size} rows per step cannot be shared out evenly among {given.processes} processes. Choose a "
            f"multiple of {given.processes}."
        )
    if given.method is Method.KTO and given.batch_size < 2 * given.processes:
        raise TrainingFailed(
            f"KTO needs at least two rows at once in each process: choose {2 * given.processes} rows per step or more."
        )
    if given.sft_epochs and given.processes > 1:
        raise TrainingFailed(
            "A supervised stage before the other one runs in one process only. Train a supervised model first, then "
            "start from it in several."
        )


def accelerate_config(*, processes: int, gpus: int) -> dict[str, Any]:
    """What ``accelerate launch`` reads; whatever the machine's own default file says is not asked.

    MULTI_GPU is accelerate's word for "start them with torch's launcher"; the trainer then asks for the CPU, and gloo
    joins them. FSDP is set up as TRL's own ``accelerate_configs/fsdp2.yaml`` does.
    """
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP" if gpus else "MULTI_GPU",
        "num_processes": processes,
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,
        "mixed_precision": "bf16" if gpus else "no",
        "downcast_bf16": "no",
        "use_cpu": False,
        "debug": False,
        "rdzv_backend": "static",
        "same_network": True,
        "main_training_function": "main",
    }
    return config | ({"fsdp_config": FSDP} if gpus else {})


def accelerate_command(folder: Path, *, threads: int, trainer: str = TRAINER) -> Sequence[str]:
    """The command line of a training in several processes with so many threads each."""
    options = ["--config_file", str(folder / CONFIG), "--num_cpu_threads_per_process", str(threads)]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", trainer, str(folder)]


def follow(command: Sequence[str], folder: Path, listener: Listener) -> None:
    """Run the command and give what it writes into the folder to the Listener.

    However this ends, the command and every process below it has ended, too. Raises `TrainingFailed` where it failed.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    following = Following(folder, listener)
    with (folder / LOG).open("ab") as output:
        process = psutil.Popen(
            tied(command, by=signal.SIGKILL),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
    try:
        status = None
        while status is None:
            with suppress(psutil.TimeoutExpired):
                status = process.wait(timeout=POLL)
            following.look()
    finally:
        end(process)
    if status != 0:
        raise TrainingFailed(failure(folder) or broken_off(folder, status=status))


def end(process: psutil.Process) -> None:
    """End a process and all below it, those that it put into sessions of their own included."""
    try:
        everybody = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in everybody:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(everybody, timeout=GRACE)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=GRACE)


def broken_off(folder: Path, *, status: int) -> str:
    """Why a training ended that left no sentence of its own."""
    tail = log_end(folder)
    return why(-9 if "SIGKILL" in tail else status, tail)


def main() -> None:
    """Train the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.trainer.processes FOLDER")
    folder = Path(sys.argv[1]).resolve()
    alone(folder, lambda folder, listener: train_as_recipe_says(folder, RunInput.read(folder), listener))


if __name__ == "__main__":
    main()
