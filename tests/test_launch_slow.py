"""Trainings in several real processes; a tiny random Llama."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from errors import TrainingFailed
from tests.test_launch import Heard, Lost
from tests.test_training_slow import a_run, losses
from training.trainer import processes as launching
from training.trainer.processes import train_apart, train_as_recipe_says
from training.trainer.run_folder import ADAPTER, RunInput, StepReport, finished, last_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.whole_machine]

SAME = 1e-5
"""How far losses may differ, of about 6: the order of sums is another."""


def steps(heard: Heard) -> dict[tuple[str, int], float]:
    return {(said.split.value, said.step): said.loss for said in heard.said if isinstance(said, StepReport)}


def processes_of(folder: Path) -> list[psutil.Process]:
    """Whoever has the folder on its command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if str(folder) in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / ADAPTER / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def one_process(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the other trainings have to come to."""
    folder = a_run(tmp_path_factory.mktemp("one"), tiny)
    train_as_recipe_says(folder, RunInput.read(folder), Heard())
    return folder


def same_as(one: Path, folder: Path, heard: Heard) -> None:
    import torch

    expected = losses(one)
    assert losses(folder) == pytest.approx(expected, abs=SAME)
    assert steps(heard) == losses(folder)
    ours, theirs = adapter(folder), adapter(one)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
    assert finished(folder) is not None


def test_two_processes_learn_what_one_does_and_a_lost_run_leaves_none(
    one_process: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = a_run(tmp_path, tiny, processes=2)
    given, lost = RunInput.read(folder), LostAfter(folder, step=3)
    with pytest.raises(Lost):
        train_as_recipe_says(folder, given, lost)
    assert lost.processes >= 3, "the launcher and two of its own"
    assert processes_of(folder) == []
    heard = Heard()
    train_as_recipe_says(folder, given, heard)
    same_as(one_process, folder, heard)


class LostAfter(Heard):
    """Loses its run at a step."""

    def __init__(self, folder: Path, *, step: int) -> None:
        super().__init__()
        self._folder, self._step = folder, step
        self.processes = 0

    def step(self, said: StepReport) -> None:
        super().step(said)
        if said.step == self._step:
            self.processes = len(processes_of(self._folder))
            raise Lost


def test_a_model_shared_out_with_fsdp_learns_the_same_and_goes_on_after_being_killed(
    one_process: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_gpus = launching.accelerate_config
    monkeypatch.setattr(
        launching,
        "accelerate_config",
        lambda **_: as_on_gpus(processes=2, gpus=2) | {"mixed_precision": "no"},
    )
    folder = a_run(tmp_path, tiny, processes=2)
    given = RunInput.read(folder)
    with pytest.raises(TrainingFailed):
        train_apart(folder, given, Killing(folder, step=3), trainer="tests.fsdp_on_cpu")
    assert processes_of(folder) == []
    checkpoint = last_checkpoint(folder)
    assert checkpoint is not None
    assert (checkpoint / "pytorch_model_fsdp.bin").exists(), "this was not FSDP"
    heard = Heard()
    train_apart(folder, given, heard, trainer="tests.fsdp_on_cpu")
    same_as(one_process, folder, heard)


class Killing(Heard):
    """Kills every process of a training at a step."""

    def __init__(self, folder: Path, *, step: int) -> None:
        super().__init__()
        self._folder, self._step = folder, step

    def step(self, said: StepReport) -> None:
        super().step(said)
        if said.step == self._step:
            for process in processes_of(self._folder):
                process.send_signal(signal.SIGKILL)
