"""Trainings in several real processes; a tiny random Llama."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from db.models import RunStatus, TrainingRun, TrainingStep
from db.session import reading, session
from errors import TrainingFailed
from jobs.progress import Progress, RunLost, unmanaged_progress
from tests.trainings import a_run, a_training, losses, rows
from training.trainer import processes as launching
from training.trainer.processes import NullListener, train_in_processes
from training.trainer.run_folder import ADAPTER, METRICS, RunFolder

pytestmark = pytest.mark.slow

SAME = 1e-5
"""How far losses may differ, of about 6: the order of sums is another."""
ROWS = rows(42)


def steps(progress: Progress) -> dict[tuple[str, int], float]:
    """What the run's rows have heard."""
    with reading() as s:
        return {(step.split.value, step.step): step.loss for step in s.scalars(select(TrainingStep))}


def processes_of(progress: Progress) -> list[psutil.Process]:
    """Whoever has the attempt on its command line and works for this test's home, whose child it may no longer be."""
    attempt, home = f"{progress.kind} {progress.run_id} {progress.attempt}", os.environ["PICKWELL_HOME"]
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ", "status"])
        if attempt in " ".join(process.info["cmdline"] or ())
        and (process.info["environ"] or {}).get("PICKWELL_HOME") == home
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / ADAPTER / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def one_process(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the other trainings have to come to."""
    from training.trainer.train import train

    folder = a_run(tmp_path_factory.mktemp("one"), tiny, ROWS)
    train(folder, NullListener())
    return folder


@pytest.fixture
def shared(database: Path, tiny: Path) -> Progress:
    """An attempt at a training in two processes, and its folder."""
    with session() as s:
        run_id = a_training(s).id
    progress = unmanaged_progress("training", run_id)
    a_run(progress.folder, tiny, ROWS, processes=2)
    return progress


@contextmanager
def at_step_three(progress: Progress, action: Callable[[], None]) -> Iterator[None]:
    """Do it once the third step is written down."""

    def watch() -> None:
        file = progress.folder / METRICS
        while not file.exists() or file.read_text().count("\n") < 3:
            time.sleep(0.01)
        action()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    yield
    watching.join(timeout=5)
    assert not watching.is_alive()


def same_as(one: Path, progress: Progress) -> None:
    import torch

    expected = losses(one)
    assert losses(progress.folder) == pytest.approx(expected, abs=SAME)
    assert steps(progress) == losses(progress.folder)
    ours, theirs = adapter(progress.folder), adapter(one)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
    assert RunFolder(progress.folder).finished() is not None


def test_two_processes_learn_what_one_does(one_process: Path, shared: Progress) -> None:
    train_in_processes(shared, RunFolder(shared.folder).input())
    same_as(one_process, shared)


def test_a_lost_run_leaves_no_process(shared: Progress) -> None:
    seen: list[int] = []

    def lose() -> None:
        seen.append(len(processes_of(shared)))
        with session() as s:
            s.get_one(TrainingRun, shared.run_id).attempt += 1

    with at_step_three(shared, lose), pytest.raises(RunLost):
        train_in_processes(shared, RunFolder(shared.folder).input())
    assert seen[0] >= 3, "the launcher and two of its own"
    assert processes_of(shared) == []
    with reading() as s:
        run = s.get_one(TrainingRun, shared.run_id)
        assert (run.status, run.attempt) == (RunStatus.RUNNING, 2)


def test_a_model_shared_out_with_fsdp_learns_the_same_and_goes_on_after_being_killed(
    one_process: Path, shared: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_gpus = launching.accelerate_config
    monkeypatch.setattr(
        launching,
        "accelerate_config",
        lambda **_: as_on_gpus(processes=2, gpus=2) | {"mixed_precision": "no"},
    )
    given = RunFolder(shared.folder).input()

    def kill() -> None:
        for process in processes_of(shared):
            process.send_signal(signal.SIGKILL)

    with at_step_three(shared, kill), pytest.raises(TrainingFailed):
        train_in_processes(shared, given, module="tests.fsdp_on_cpu")
    assert processes_of(shared) == []
    checkpoint = RunFolder(shared.folder).last_checkpoint()
    assert checkpoint is not None
    assert (checkpoint / "pytorch_model_fsdp.bin").exists(), "this was not FSDP"
    train_in_processes(shared, given, module="tests.fsdp_on_cpu")
    same_as(one_process, shared)
