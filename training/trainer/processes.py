"""A training in several processes of one machine, started by ``accelerate launch``.

Each is ``python -m jobs.child`` of the same attempt again, and the first of them says what goes on. On GPUs they share
the model out among them (FSDP2); on a CPU, for which accelerate has no FSDP, each holds all of it and they share the
rows out (DDP over gloo).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db.models import Method
from db.session import session
from errors import TrainingFailed
from files import write_json
from jobs.attempts import explain_exit
from jobs.processes import tied
from jobs.progress import Progress
from jobs.runs import log_tail
from settings import ROOT
from training.trainer.run_folder import Report, RunInput

CONFIG = "accelerate.json"
LAUNCHER_SPEAKS = "torch/distributed/elastic"
"""In the first line with which torch's launcher says that a process failed: what that printed is before it."""
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


def processes() -> int:
    """How many processes train together; torch's launcher tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one of them that writes files."""
    return os.environ.get("RANK", "0") == "0"


class NullListener:
    """Hears everything and does nothing: for every process but the first, and for steps that are in a file already."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def report(self, report: Report) -> None:
        """Nothing."""


def train_in_processes(progress: Progress, run_input: RunInput, *, module: str = "jobs.child") -> None:
    """Train as the run's folder says in as many processes of this attempt as it wants, by the ``module`` that it is.

    Raises `TrainingFailed` where they end without a word in the run's row, and `jobs.progress.RunLost` where with one.
    """
    gpus, cores = count_gpus(), os.cpu_count() or 1
    check_resources(run_input, gpus=gpus, cores=cores)
    config = progress.folder / CONFIG
    write_json(config, accelerate_config(processes=run_input.processes, gpus=gpus))
    attempt = (progress.kind, str(progress.run_id), str(progress.attempt))
    command = accelerate_command(config, module, *attempt, threads=max(1, cores // run_input.processes))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sys.stdout.flush()
    launcher = subprocess.run(tied(command, by=signal.SIGKILL), cwd=ROOT, env=os.environ | {"PYTHONPATH": path})
    if launcher.returncode == 0:
        return
    with session() as s:
        progress.guard(s)
    tail = log_tail(progress.kind, progress.run_id, kilobytes=16).partition(LAUNCHER_SPEAKS)[0]
    killed = launcher.returncode < 0 or "SIGKILL" in log_tail(progress.kind, progress.run_id)
    raise TrainingFailed(explain_exit(-signal.SIGKILL if killed else launcher.returncode, tail[-4096:]))


def count_gpus() -> int:
    """GPUs that a training may use here."""
    import torch

    return int(torch.cuda.device_count())


def check_resources(run_input: RunInput, *, gpus: int, cores: int) -> None:
    """Raise `TrainingFailed` where the recipe asks for more processes than there are GPUs or cores, or uneven rows."""
    limit, unit = (gpus, "GPU") if gpus else (cores, "core")
    if run_input.processes > limit:
        raise TrainingFailed(
            f"The recipe wants {run_input.processes} processes and there {'is' if limit == 1 else 'are'} {limit} "
            f"{unit}{'' if limit == 1 else 's'}. Choose a recipe with at most {limit}, or train on a larger machine."
        )
    if run_input.effective_batch_size % run_input.processes:
        raise TrainingFailed(
            f"{run_input.effective_batch_size} rows per step cannot be shared out evenly among {run_input.processes} "
            f"processes. Choose a multiple of {run_input.processes}."
        )
    if run_input.method is Method.KTO and run_input.effective_batch_size < 2 * run_input.processes:
        raise TrainingFailed(
            f"KTO needs at least two rows at once in each process: choose {2 * run_input.processes} rows per step or "
            "more."
        )
    if run_input.sft_epochs and run_input.processes > 1:
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


def accelerate_command(config: Path, module: str, *arguments: str, threads: int) -> Sequence[str]:
    """The command line of a module in several processes with so many threads each."""
    options = ["--config_file", str(config), "--num_cpu_threads_per_process", str(threads)]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", module, *arguments]
