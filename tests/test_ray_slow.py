"""Runs of several kinds on a real Ray cluster of this machine: what is submitted, killed, cancelled and goes on."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

import settings as settings_module
from db.models import GenerationRun, Response, Role, Run, RunStatus, Scope, Split, TrainingRun, TrainingStep
from db.session import reading, session
from jobs.processes import Group
from jobs.ray_job import Silence, connect_cluster
from jobs.runs import cancel_run, log_tail, run_folder
from jobs.supervise import carry_next
from settings import ROOT
from tests.factories import a_comparison, a_model, a_project, a_prompt, a_ranking, a_response, a_reviewer
from training.data.snapshot import freeze
from training.recipe.recipe import SMALL
from training.recipe.start import start_training
from training.trainer.run_folder import CHECKPOINTS

pytestmark = pytest.mark.slow

STEPS = 40


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
            if connect_cluster(address).machines():
                return
        except Silence:
            pass
        try:
            head.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"Ray does not start here: {log.read_text()}")


@pytest.fixture
def named(cluster: str, database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PICKWELL_RAY_ADDRESS", cluster)
    settings_module.settings.cache_clear()
    return cluster


def until(condition: Callable[[], object], *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.1)


def look(run_id: int) -> Run:
    with reading() as s:
        return s.get_one(Run, run_id)


def a_training(s: Session, tiny: Path) -> int:
    """A QUEUED training of some steps, with a checkpoint after every tenth."""
    project = a_project(s)
    by = a_reviewer(s, project, Role.MANAGER, Role.ANNOTATOR)
    base, other = a_model(s, project, location=str(tiny)), a_model(s, project)
    for n in range(12):
        prompt = a_prompt(s, project)
        pair = (
            a_response(s, prompt, base, f"It is on its way, parcel {n}."),
            a_response(s, prompt, other, f"No {n}!"),
        )
        a_ranking(s, a_comparison(s, *pair), by, *pair)
    assert base.model_version_id is not None
    return start_training(
        s,
        by=by.id,
        project_id=project.id,
        snapshot_id=freeze(s, by=by.id, project_id=project.id).id,
        base_model_id=base.model_version_id,
        recipe=dataclasses.replace(SMALL, epochs=100.0, max_steps=STEPS, evaluation_count=0, stop_early=False),
        model_name="tuned",
    ).id


def jobs_of(address: str, run: Run) -> list[str]:
    """States of the run's jobs, oldest first."""
    from ray.job_submission import JobSubmissionClient

    jobs = JobSubmissionClient(address).list_jobs()
    begun = {job.start_time: job.status.value for job in jobs if job.start_time}
    return [begun[when] for when in sorted(begun) if when > 1000 * run.created_at.timestamp()]


def processes_of(kind: str, run_id: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if f"jobs.child {kind} {run_id} " in " ".join(process.info["cmdline"] or ())
    ]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        with (tmp_path / "worker.log").open("ab") as log:
            started.append(subprocess.Popen([sys.executable, "-m", "jobs.worker"], cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield start
    print((tmp_path / "worker.log").read_text())
    for worker in started:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=60)


def test_a_training_whose_worker_is_killed_is_ended_and_goes_on_from_its_checkpoint(
    named: str, tiny: Path, start_worker: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    with session() as s:
        run_id = a_training(s, tiny)
    folder = run_folder("training", run_id)
    worker = start_worker()
    until((folder / CHECKPOINTS / "checkpoint-10" / "trainer_state.json").is_file)
    worker.kill()
    worker.wait()
    (child,) = processes_of("training", run_id)
    assert child.is_running(), "a job outlives its worker"
    start_worker()
    until(lambda: look(run_id).status.ended)
    run = look(run_id)
    assert (run.status, run.attempt, run.error) == (RunStatus.SUCCEEDED, 2, None), log_tail("training", run_id)
    assert not child.is_running()
    until(lambda: jobs_of(named, run)[-1] == "SUCCEEDED")
    first, second = jobs_of(named, run)
    assert first in ("STOPPED", "SUCCEEDED"), "asked to stop, it may be the first to end, and with a checkpoint"
    assert second == "SUCCEEDED"
    with reading() as s:
        assert s.get_one(TrainingRun, run_id).model_version is not None
        train = TrainingStep.split == Split.TRAIN.value
        seconds = s.scalars(select(TrainingStep.seconds).where(train).order_by(TrainingStep.step)).all()
    assert len(seconds) == STEPS
    anew = [step for step, (before, after) in enumerate(pairwise(seconds), 1) if (after or 0) < (before or 0)]
    assert len(anew) == 1, "the second attempt began once, after the first one's checkpoint"
    assert anew[0] >= 10


def test_replies_are_generated_on_the_cluster_through_the_echo_engine(named: str) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project).id
        for _ in range(5):
            a_prompt(s, project)
        responder = a_model(s, project).id
        run = GenerationRun(project_id=project.id, responder_id=responder, scope=Scope.ALL, requested_by_id=by)
        s.add(run)
        s.flush()
    carry_next(worker="w", stop=threading.Event())
    done = look(run.id)
    assert (done.status, done.attempt, done.error) == (RunStatus.SUCCEEDED, 1, None), log_tail("generation", run.id)
    with reading() as s:
        assert s.scalar(select(func.count(Response.id)).where(Response.generation_run_id == run.id)) == 10
    until(lambda: jobs_of(named, run) == ["SUCCEEDED"])


def test_a_cancelled_run_leaves_no_process_on_the_cluster(named: str, tiny: Path) -> None:
    with session() as s:
        run_id = a_training(s, tiny)
    carrying = threading.Thread(target=lambda: carry_next(worker="w", stop=threading.Event()))
    carrying.start()
    until(lambda: look(run_id).done or look(run_id).status.ended)
    with session() as s:
        cancel_run(s, by=look(run_id).requested_by_id, run_id=run_id)
    carrying.join(timeout=60)
    assert look(run_id).status is RunStatus.CANCELLED
    psutil.wait_procs(processes_of("training", run_id), timeout=10)
    assert processes_of("training", run_id) == []
    assert jobs_of(named, look(run_id)) == ["STOPPED"]
