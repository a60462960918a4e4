"""Trainings in several processes: what is started, and what becomes of a run whose processes end."""

import dataclasses
import sys
from pathlib import Path

import pytest

from db.models import RunStatus, TrainingRun
from db.session import reading, session
from errors import TrainingFailed
from jobs.progress import Progress, RunLost, unmanaged_progress
from tests.trainings import a_training
from training.trainer import processes as launching
from training.trainer.processes import (
    CONFIG,
    accelerate_command,
    accelerate_config,
    check_resources,
    train_in_processes,
)
from training.trainer.run_folder import RunInput

GIVEN = RunInput(
    name="Tiny",
    base_model="model",
    template_hash=None,
    snapshot="snapshot",
    snapshot_sha256="0" * 64,
)


def test_gpus_share_the_model_out_and_a_cpu_only_the_rows() -> None:
    on_gpus = accelerate_config(processes=4, gpus=4)
    assert (on_gpus["distributed_type"], on_gpus["mixed_precision"], on_gpus["num_processes"]) == ("FSDP", "bf16", 4)
    assert on_gpus["fsdp_config"]["fsdp_version"] == 2
    assert on_gpus["fsdp_config"]["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    on_cpu = accelerate_config(processes=2, gpus=0)
    assert (on_cpu["distributed_type"], on_cpu["mixed_precision"]) == ("MULTI_GPU", "no")
    assert "fsdp_config" not in on_cpu


def test_the_command_is_one_to_type(tmp_path: Path) -> None:
    command = accelerate_command(tmp_path / CONFIG, "jobs.child", "training", "3", "1", threads=3)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[-5:] == ["-m", "jobs.child", "training", "3", "1"]
    assert command[command.index("--num_cpu_threads_per_process") + 1] == "3"


def test_more_processes_than_gpus_are_refused() -> None:
    check_resources(dataclasses.replace(GIVEN, processes=4), gpus=4, cores=2)
    with pytest.raises(TrainingFailed, match=r"wants 4 processes and there are 2 GPUs"):
        check_resources(dataclasses.replace(GIVEN, processes=4), gpus=2, cores=64)
    with pytest.raises(TrainingFailed, match=r"wants 4 processes and there is 1 core\."):
        check_resources(dataclasses.replace(GIVEN, processes=4), gpus=0, cores=1)


def test_rows_that_cannot_be_shared_out_evenly_are_refused() -> None:
    with pytest.raises(TrainingFailed, match="4 rows per step cannot be shared out evenly among 3"):
        check_resources(dataclasses.replace(GIVEN, processes=3), gpus=3, cores=2)


@pytest.fixture
def shared(database: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Progress:
    """A training in two processes, in whose place the code that a test gives runs."""
    code = getattr(request, "param", "")
    monkeypatch.setattr(launching, "accelerate_command", lambda *_, **__: [sys.executable, "-c", code])
    monkeypatch.setattr(launching, "check_resources", lambda *_, **__: None)
    with session() as s:
        run_id = a_training(s).id
    return unmanaged_progress("training", run_id)


def failed(progress: Progress) -> None:
    """Say in the run's row that it has failed, as one of its processes does."""
    with session() as s:
        progress.fail(s, "Too long. Choose more.")


@pytest.mark.parametrize("shared", ["import sys; sys.exit(1)"], indirect=True)
def test_the_sentence_of_a_process_that_gave_up_stays(shared: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(shared)
    with pytest.raises(RunLost):
        train_in_processes(shared, GIVEN)


@pytest.mark.parametrize("shared", ["1 / 0"], indirect=True)
def test_processes_that_leave_no_sentence_leave_the_end_of_their_log(shared: Progress) -> None:
    noise = "E1122 torch/distributed/elastic/multiprocessing/api.py:988] failed (exitcode: 1)\nTraceback\nChildFailed"
    shared.log.write_text(f"[rank0]: Traceback\n[rank0]: ValueError: no\n{noise}")
    with pytest.raises(TrainingFailed, match=r"(?s)error that it did not expect.*ValueError: no") as caught:
        train_in_processes(shared, GIVEN)
    assert "ChildFailed" not in str(caught.value)


@pytest.mark.parametrize("shared", ["import os; os.kill(os.getpid(), 9)"], indirect=True)
def test_a_process_that_the_system_killed_is_told_of_its_memory(shared: Progress) -> None:
    with pytest.raises(TrainingFailed, match="memory ran out"):
        train_in_processes(shared, GIVEN)


def test_one_of_several_processes_trains_and_registers_nothing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.trainer import worker

    monkeypatch.setenv("WORLD_SIZE", "2")
    with session() as s:
        run_id = a_training(s).id
    progress = unmanaged_progress("training", run_id)
    told: list[str] = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        worker.run(progress, lambda folder, listener, rank=rank: listener.stage(f"rank {rank}"))  # type: ignore[misc]
        with reading() as s:
            told.append(s.get_one(TrainingRun, progress.run_id).stage)
    assert told == ["rank 0", "rank 0"]
    with reading() as s:
        assert s.get_one(TrainingRun, progress.run_id).status is RunStatus.RUNNING
