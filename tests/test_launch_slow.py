"""Trainings in several real processes and on a real Ray cluster of this machine; a tiny random Llama."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import settings as settings_module
from db.models import Split
from errors import TrainingFailed
from jobs.processes import Group
from tests.trainings import Heard, Lost, a_run, losses
from training.trainer import processes as launching
from training.trainer import ray_job
from training.trainer.launch import launch
from training.trainer.processes import train_apart
from training.trainer.ray_job import JOB
from training.trainer.run_folder import ADAPTER, METRICS, Report, RunFolder, StepReport

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
    launch(folder, RunFolder(folder).input(), Heard())
    return folder


def same_as(one: Path, folder: Path, heard: Heard) -> None:
    import torch

    expected = losses(one)
    assert losses(folder) == pytest.approx(expected, abs=SAME)
    assert steps(heard) == losses(folder)
    ours, theirs = adapter(folder), adapter(one)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
    assert RunFolder(folder).finished() is not None


def test_two_processes_learn_what_one_does_and_a_lost_run_leaves_none(
    one_process: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = a_run(tmp_path, tiny, processes=2)
    given, lost = RunFolder(folder).input(), LostAfter(folder, step=3)
    with pytest.raises(Lost):
        launch(folder, given, lost)
    assert lost.processes >= 3, "the launcher and two of its own"
    assert processes_of(folder) == []
    heard = Heard()
    launch(folder, given, heard)
    same_as(one_process, folder, heard)


class LostAfter(Heard):
    """Loses its run at a step."""

    def __init__(self, folder: Path, *, step: int) -> None:
        super().__init__()
        self._folder, self._step = folder, step
        self.processes = 0

    def report(self, report: Report) -> None:
        super().report(report)
        if isinstance(report, StepReport) and report.step == self._step:
            self.processes = len(processes_of(self._folder))
            raise Lost


def test_a_model_shared_out_with_fsdp_learns_the_same_and_goes_on_after_being_killed(
    one_process: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_gpus = launching.accelerate_config
    monkeypatch.setattr(
        launching, "accelerate_config", lambda **_: as_on_gpus(processes=2, gpus=2) | {"mixed_precision": "no"}
    )
    folder = a_run(tmp_path, tiny, processes=2)
    given = RunFolder(folder).input()
    with pytest.raises(TrainingFailed):
        train_apart(folder, given, Killing(folder, step=3), trainer="tests.fsdp_on_cpu")
    assert processes_of(folder) == []
    checkpoint = RunFolder(folder).last_checkpoint()
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

    def report(self, report: Report) -> None:
        super().report(report)
        if isinstance(report, StepReport) and report.step == self._step:
            for process in processes_of(self._folder):
                process.send_signal(signal.SIGKILL)


# Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray head on loopback with ports of its own, ended by its own group: ``ray stop`` would end everybody's."""
    try:
        import ray  # noqa: F401
    except ImportError:
        pytest.fail("Ray is not installed: pip install -r requirements/dev.txt.")
    gcs, dashboard, *others = free_ports(6)
    agents = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
    address = f"http://127.0.0.1:{dashboard}"
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as place:
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2", "--num-gpus=0"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--{agent}-port={port}" for agent, port in zip(agents, others, strict=True)),
            *("--object-store-memory=80000000", f"--temp-dir={place}"),
        ]
        with (Path(place) / "head.log").open("wb") as log:
            head = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
            )
        group = Group.of(head.pid)
        try:
            wait_until_there(address, head, Path(place) / "head.log")
            yield address
        finally:
            assert group.end(grace=10)
            head.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until_there(address: str, head: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        try:
            if ray_job.connected(address).machines():
                return
        except ray_job.Silence:
            pass
        try:
            head.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"Ray does not start here: {log.read_text()}")


@pytest.fixture
def named(cluster: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PICKWELL_RAY_ADDRESS", cluster)
    settings_module.settings.cache_clear()
    return cluster


class Dying(Heard):
    """A follower whose worker is stopped at the first step."""

    def report(self, report: Report) -> None:
        super().report(report)
        if isinstance(report, StepReport):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_job_on_a_ray_cluster_outlives_its_worker_and_is_followed_to_its_model(
    named: str, tiny: Path, tmp_path: Path
) -> None:
    folder = a_run(tmp_path, tiny, max_steps=3)
    given = RunFolder(folder).input()
    with pytest.raises(SystemExit):
        launch(folder, given, Dying(), cancelled=lambda: False)
    job = json.loads((folder / JOB).read_text())["name"]
    heard = Heard()
    launch(folder, given, heard)
    assert [step for split, step in steps(heard) if split == Split.TRAIN.value] == [1, 2, 3]
    assert steps(heard) == losses(folder)
    assert RunFolder(folder).finished() is not None
    assert not (folder / JOB).exists()
    assert jobs_at(named, folder) == [job], "a second job was submitted"


def test_a_cancelled_job_on_a_ray_cluster_leaves_no_process(named: str, tiny: Path, tmp_path: Path) -> None:
    folder = a_run(tmp_path, tiny)
    with pytest.raises(Lost):
        launch(folder, RunFolder(folder).input(), Heard(lost_at="Loading the model"))
    psutil.wait_procs(processes_of(folder), timeout=10)
    assert processes_of(folder) == []
    assert not (folder / JOB).exists()
    assert not (folder / METRICS).exists()


def jobs_at(address: str, folder: Path) -> list[str]:
    from ray.job_submission import JobSubmissionClient

    names = [str(job.submission_id) for job in JobSubmissionClient(address).list_jobs()]
    return [name for name in names if f"-{folder.name}-" in name]
