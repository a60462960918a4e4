"""Attempts as jobs of a Ray cluster: a cluster that does as it is told, real rows, and what becomes of both."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.orm import Session

import settings as settings_module
from db.models import GenerationRun, RunStatus, Scope, Worker, now
from db.session import reading, session
from jobs import child, ray_job
from jobs.attempts import claim
from jobs.child import ALONE_AT_MOST, HANDED_ON, LOOK, child_command, end_once_alone
from jobs.launcher import place_of
from jobs.progress import Progress
from jobs.ray_job import (
    NOT_SEEN,
    Cluster,
    ClusterRefuses,
    Job,
    JobState,
    Machine,
    Silence,
    job_command,
    order_job,
    refuse_sqlite_elsewhere,
    share_of,
)
from jobs.runs import Resources, cancel_run, retry_run
from jobs.supervise import Pace, carry_next
from settings import ROOT
from tests.factories import a_model, a_project, a_reviewer

QUICK = Pace(poll=0.0, beat=0.0, cancel_grace=0.0, stop_grace=0.0, linger=0.0, retry=0.01, patience=0.1)
ADDRESS = "http://127.0.0.1:8265"
RUNNING, SUCCEEDED = "RUNNING", "SUCCEEDED"


class FakeCluster(Cluster):
    """A cluster whose jobs go through given states, one at each look; what a look does besides is given, too."""

    def __init__(self, states: Sequence[Any], *, answer_lost: bool = False) -> None:
        self.states, self.answer_lost = list(states), answer_lost
        self.submitted: dict[str, tuple[str, Resources]] = {}
        self.environment: Mapping[str, str] = {}
        self.kept_before: list[bool] = []
        """Whether the run's row had the job's name as it was submitted."""
        self.stopped: list[str] = []

    def machines(self) -> Sequence[Machine]:
        return [Machine(cpus=2, gpus=0)]

    def submit(self, name: str, *, command: str, share: Resources, environment: Mapping[str, str]) -> None:
        assert name not in self.submitted, "a second job was submitted"
        self.submitted[name], self.environment = (command, share), environment
        with reading() as s:
            self.kept_before.append(any(row.job and row.job.endswith(name) for row in s.query(GenerationRun)))
        if self.answer_lost:
            raise Silence("the connection was reset")

    def look(self, name: str) -> JobState | None:
        if name in self.stopped:
            return JobState("STOPPED")
        if name not in self.submitted:
            return None
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        if callable(state):
            state()
            return JobState(RUNNING)
        return state if isinstance(state, JobState) else JobState(state)

    def stop(self, name: str) -> None:
        self.stopped.append(name)


def a_run(s: Session, **columns: Any) -> GenerationRun:
    project = a_project(s)
    by = a_reviewer(s, project).id
    responder = a_model(s, project).id
    run = GenerationRun(project_id=project.id, responder_id=responder, scope=Scope.ALL, requested_by_id=by, **columns)
    s.add(run)
    s.flush()
    return run


@pytest.fixture
def run_id(database: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A QUEUED run, and a cluster that is named."""
    monkeypatch.setenv("PICKWELL_RAY_ADDRESS", f"{ADDRESS}/")
    settings_module.settings.cache_clear()
    with session() as s:
        return a_run(s).id


@pytest.fixture
def carry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GenerationRun]:
    """Carries the next run on a cluster and gives the run as it is then."""

    def carry(cluster: FakeCluster, run_id: int, stop: threading.Event | None = None) -> GenerationRun:
        def connected(address: str) -> FakeCluster:
            assert address == ADDRESS
            return cluster

        monkeypatch.setattr(ray_job, "connect_cluster", connected)
        carry_next(worker="w", stop=stop or threading.Event(), pace=QUICK)
        return look(run_id)

    return carry


def look(run_id: int) -> GenerationRun:
    with reading() as s:
        return s.get_one(GenerationRun, run_id)


def succeed(run_id: int) -> None:
    with session() as s:
        Progress("generation", run_id, look(run_id).attempt).succeed(s)


Carry = Callable[..., GenerationRun]


# ------------------------------------------------------------------------------------------------- one attempt


def test_an_attempt_is_a_job_whose_name_is_known_before_it_is_submitted(run_id: int, carry: Carry) -> None:
    seen: list[GenerationRun] = []
    cluster = FakeCluster([lambda: seen.append(look(run_id)), lambda: succeed(run_id), SUCCEEDED])
    run = carry(cluster, run_id)
    assert (run.status, run.attempt, run.error, run.process_group) == (RunStatus.SUCCEEDED, 1, None, None)
    ((name, (command, share)),) = cluster.submitted.items()
    assert name.startswith(f"pickwell-generation-{run_id}-1-")
    assert run.job == f"{ADDRESS}/api/jobs/{name}"
    assert cluster.kept_before == [True], "whoever took the run over would not find the job"
    assert seen[0].stage == "Waiting for the Ray cluster"
    assert share == Resources(cpus=1, gpus=0)
    assert f"-m jobs.child generation {run_id} 1 >> {Progress('generation', run_id, 1).log}" in command


def test_an_answer_that_is_lost_makes_no_second_job(run_id: int, carry: Carry) -> None:
    cluster = FakeCluster(["PENDING", lambda: succeed(run_id), SUCCEEDED], answer_lost=True)
    assert carry(cluster, run_id).status is RunStatus.SUCCEEDED
    assert len(cluster.submitted) == 1


def test_a_cluster_that_is_silent_for_a_moment_costs_nothing(run_id: int, carry: Carry) -> None:
    cluster = FakeCluster([RUNNING, Silence("reset"), Silence("reset"), lambda: succeed(run_id), SUCCEEDED])
    assert carry(cluster, run_id).status is RunStatus.SUCCEEDED


def test_a_cluster_that_stays_silent_is_a_sentence_and_its_job_is_ended_before_the_next(
    run_id: int, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_job, "PATIENCE", -1.0)
    cluster = FakeCluster([RUNNING, Silence("Connection refused")])
    run = carry(cluster, run_id)
    assert run.status is RunStatus.FAILED
    assert f"{ADDRESS} does not answer (Connection refused)" in (run.error or "")
    assert run.job is not None
    (first,) = cluster.submitted
    with session() as s:
        retry_run(s, by=run.requested_by_id, run_id=run_id)
    cluster.states = [RUNNING, lambda: succeed(run_id), SUCCEEDED]
    assert carry(cluster, run_id).status is RunStatus.SUCCEEDED
    assert cluster.stopped == [first]
    assert len(cluster.submitted) == 2


def test_a_cancelled_run_stops_its_job(run_id: int, carry: Carry) -> None:
    def ask() -> None:
        with session() as s:
            cancel_run(s, by=look(run_id).requested_by_id, run_id=run_id)

    cluster = FakeCluster([RUNNING, ask, RUNNING])
    assert carry(cluster, run_id).status is RunStatus.CANCELLED
    assert cluster.stopped == list(cluster.submitted)


def test_a_worker_that_stops_stops_the_job_and_leaves_the_run_to_the_next(run_id: int, carry: Carry) -> None:
    stop = threading.Event()
    cluster = FakeCluster([RUNNING, stop.set, RUNNING])
    run = carry(cluster, run_id, stop)
    assert (run.status, run.worker) == (RunStatus.RUNNING, None)
    assert cluster.stopped == list(cluster.submitted)


def test_the_job_of_a_dead_worker_is_stopped_and_seen_to_have_ended_before_another_begins(
    run_id: int, carry: Carry
) -> None:
    claimed = claim(worker="dead")
    assert claimed is not None
    old = order_job(claimed.progress, child_command("generation", run_id, 1))
    claimed.progress.update(**old.columns)
    cluster = FakeCluster([RUNNING, lambda: succeed(run_id), SUCCEEDED])
    cluster.submitted[old.name] = ("", Resources())
    run = carry(cluster, run_id)
    assert (run.status, run.attempt) == (RunStatus.SUCCEEDED, 2)
    assert cluster.stopped == [old.name]


def test_a_job_that_does_not_stop_lets_no_other_begin(
    run_id: int, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(FakeCluster):
        def stop(self, name: str) -> None:
            self.asked = name

    monkeypatch.setattr(ray_job, "STOPPING", 0.05)
    claimed = claim(worker="dead")
    assert claimed is not None
    claimed.progress.update(job=f"{ADDRESS}/api/jobs/old")
    cluster = Stuck([RUNNING])
    cluster.submitted["old"] = ("", Resources())
    run = carry(cluster, run_id)
    assert (run.status, run.job) == (RunStatus.FAILED, f"{ADDRESS}/api/jobs/old")
    assert "The job old on the Ray cluster" in (run.error or "")
    assert list(cluster.submitted) == ["old"]


def test_a_worker_that_stops_while_the_cluster_is_silent_leaves_the_run_to_the_next(run_id: int, carry: Carry) -> None:
    claimed = claim(worker="dead")
    assert claimed is not None
    claimed.progress.update(job=f"{ADDRESS}/api/jobs/old")
    stop = threading.Event()
    cluster = FakeCluster([Silence("reset")])
    cluster.submitted["old"] = ("", Resources())
    threading.Timer(0.02, stop.set).start()
    run = carry(cluster, run_id, stop)
    assert (run.status, run.worker, run.job) == (RunStatus.RUNNING, None, f"{ADDRESS}/api/jobs/old")


@pytest.mark.parametrize(
    ("end", "printed", "sentence"),
    [
        (JobState("FAILED", NOT_SEEN), "", "does not see the home"),
        (JobState("FAILED", 1), "ModuleNotFoundError: No module named 'trl'", "install requirements/train.txt there"),
        (JobState("FAILED", None, "The actor died"), "", "(?s)on the Ray cluster failed.*The actor died"),
        (JobState("FAILED", 1), "ZeroDivisionError", "(?s)an error that it did not expect.*ZeroDivisionError"),
        (JobState("FAILED", -9), "", "memory ran out"),
        (JobState("STOPPED"), "", "was stopped on the Ray cluster"),
        (JobState(SUCCEEDED), "", "ended before its work was finished"),
    ],
)
def test_a_job_that_ends_without_a_word_says_why(
    end: JobState, printed: str, sentence: str, run_id: int, carry: Carry
) -> None:
    def write() -> None:
        Progress("generation", run_id, 1).log.write_text(printed)

    run = carry(FakeCluster([RUNNING, write, end]), run_id)
    assert run.status is RunStatus.FAILED
    assert re.search(sentence, run.error or "")


def test_ray_that_is_not_installed_is_a_sentence(run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    carry_next(worker="w", stop=threading.Event(), pace=QUICK)
    assert "ray[default]" in (look(run_id).error or "")


# ----------------------------------------------------------------------------------------- what a job is given


def test_a_cluster_with_gpus_gives_those_and_another_gives_cores() -> None:
    head, gpu = Machine(cpus=4, gpus=0), Machine(cpus=8, gpus=2)
    assert share_of([head, gpu], Resources(cpus=2, gpus=2)) == Resources(cpus=0, gpus=2)
    assert share_of([head, gpu], Resources(cpus=1, gpus=0)) == Resources(cpus=1, gpus=0)
    assert share_of([head], Resources(cpus=3, gpus=3)) == Resources(cpus=3, gpus=0)
    with pytest.raises(ClusterRefuses, match="wants 4 GPUs and no machine of the Ray cluster has more than 2"):
        share_of([head, gpu], Resources(cpus=4, gpus=4))
    with pytest.raises(Silence):
        share_of([], Resources())


def test_a_sqlite_file_serves_clusters_on_this_machine_only(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = next(a.address for addresses in psutil.net_if_addrs().values() for a in addresses)
    here, elsewhere = Machine(2, 0, own), Machine(2, 0, "192.0.2.7")
    refuse_sqlite_elsewhere([here])
    with pytest.raises(ClusterRefuses, match=r"machine 192\.0\.2\.7 .*Set PICKWELL_DATABASE_URL to a PostgreSQL"):
        refuse_sqlite_elsewhere([here, elsewhere])
    monkeypatch.setenv("PICKWELL_DATABASE_URL", "postgresql+psycopg://ana:secret@db/pickwell")
    settings_module.settings.cache_clear()
    refuse_sqlite_elsewhere([here, elsewhere])


def test_settings_and_keys_go_to_a_job_by_a_file_of_this_user_and_not_by_what_it_is_submitted_with(
    run_id: int, carry: Carry, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("PICKWELL_ENGINE_API_KEY", "sk-engine")
    monkeypatch.setenv("PICKWELL_KEY_OPENAI", "sk-openai")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PICKWELL_CONCURRENCY", "7")
    settings_module.settings.cache_clear()
    given: dict[str, str] = {}

    def begin() -> None:
        file = Path(cluster.environment[HANDED_ON])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        given.update(json.loads(file.read_text()))

    cluster = FakeCluster([begin, lambda: succeed(run_id), SUCCEEDED])
    carry(cluster, run_id)
    assert given["PICKWELL_ENGINE_API_KEY"] == "sk-engine"
    assert (given["PICKWELL_KEY_OPENAI"], given["HF_TOKEN"]) == ("sk-openai", "hf_secret")
    assert (given["PICKWELL_HOME"], given["PICKWELL_CONCURRENCY"]) == (str(home.resolve()), "7")
    assert given["PICKWELL_DATABASE_URL"] == f"sqlite:///{home.resolve() / 'pickwell.db'}"
    assert "PICKWELL_RAY_ADDRESS" not in given
    ((command, _),) = cluster.submitted.values()
    for secret in ("sk-engine", "sk-openai", "hf_secret"):
        assert secret not in command + str(cluster.environment) + str(look(run_id).job)
    assert list((home / "handed-on").iterdir()) == [], "it stays although the job has ended"
    assert not any("sk-" in file.read_text() for file in (home / "runs").rglob("*") if file.is_file())


def test_a_job_takes_what_it_is_handed_and_leaves_no_file(
    run_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "handed.json"
    file.write_text(json.dumps({"PICKWELL_KEY_OPENAI": "sk-openai"}))
    monkeypatch.setenv(HANDED_ON, str(file))
    monkeypatch.setenv("PICKWELL_KEY_OPENAI", "")
    assert child.main(["generation", str(run_id), "7"]) == 2
    assert "nobody carries attempt 7" in capsys.readouterr().err
    assert os.environ["PICKWELL_KEY_OPENAI"] == "sk-openai"
    assert not file.exists()


def test_a_job_tells_whether_the_home_is_there(tmp_path: Path) -> None:
    command = job_command([sys.executable, "-c", "1"], handed=tmp_path / "it's not here", log=tmp_path / "log")
    assert subprocess.run(["/bin/sh", "-c", command]).returncode == NOT_SEEN


def test_a_python_that_the_cluster_does_not_have_is_replaced_by_its_own(tmp_path: Path) -> None:
    bin_, log = tmp_path / "bin", tmp_path / "a log"
    bin_.mkdir()
    (bin_ / "python3").write_text('#!/bin/sh\necho theirs "$@"\n')
    (bin_ / "python3").chmod(0o755)
    (tmp_path / "handed").touch()
    command = job_command(["/not/there/python", "-m", "jobs.child"], handed=tmp_path / "handed", log=log)
    subprocess.run(["/bin/sh", "-c", command], check=True, env={"PATH": f"{bin_}:{os.environ['PATH']}"})
    assert log.read_text().split() == ["theirs", "-m", "jobs.child"]


def test_the_program_is_sent_without_data_tests_and_secrets(tmp_path: Path) -> None:
    for name in ("training", "db", "var", "tests", ".venv", ".git"):
        (tmp_path / name).mkdir()
    for name in ("errors.py", ".env", "pickwell.db"):
        (tmp_path / name).touch()
    sent = ray_job.runtime_environment(tmp_path)
    assert sent["working_dir"] == str(tmp_path)
    assert sent["excludes"] == ["/.env", "/.git", "/.venv", "/pickwell.db", "/tests", "/var", "__pycache__"]


def test_everything_that_a_run_of_any_kind_imports_is_sent_along() -> None:
    code = (
        "import importlib, sys, jobs.child; from jobs.runs import KINDS; "
        "[importlib.import_module(kind.module) for kind in KINDS.values()]; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {place.name for place in ROOT.iterdir() if (place / "__init__.py").exists()}
    assert ours & set(printed.stdout.split()) <= set(ray_job.NEEDED)


# ------------------------------------------------------------------------------------------- who follows a job


def seconds_until_alone(progress: Progress, beats: Callable[[float], object] = lambda moment: None) -> float:
    """How long a job goes on; ``beats`` is told of every moment between two looks."""
    moment = [0.0]

    def rest(seconds: float) -> None:
        moment[0] += seconds
        beats(moment[0])

    ended: list[bool] = []
    end_once_alone(progress, clock=lambda: moment[0], rest=rest, end=lambda: ended.append(True))
    assert ended
    return moment[0]


def test_a_job_that_no_worker_follows_ends_itself(run_id: int) -> None:
    claimed = claim(worker="w")
    assert claimed is not None
    with session() as s:
        s.add(Worker(id="w", pid=1, host="elsewhere", beat_at=now() - timedelta(days=1)))  # its clock is not ours
        s.add(Worker(id="other", pid=1, host="elsewhere"))

    def beat(moment: float) -> None:
        with session() as s:
            s.get_one(Worker, "w" if moment <= 1800 else "other").beat_at += timedelta(seconds=3)

    assert seconds_until_alone(claimed.progress, beat) == pytest.approx(1800 + ALONE_AT_MOST, abs=2 * LOOK)


def test_a_job_whose_run_another_attempt_has_is_followed_by_nobody(run_id: int) -> None:
    claimed = claim(worker="w")
    assert claimed is not None
    with session() as s:
        s.add(Worker(id="w", pid=1, host="elsewhere"))
        s.get_one(GenerationRun, run_id).attempt += 1
    assert seconds_until_alone(claimed.progress) == pytest.approx(ALONE_AT_MOST, abs=2 * LOOK)


def test_where_an_attempt_was_is_read_from_its_row(run_id: int) -> None:
    run = look(run_id)
    assert place_of(run) is None
    run.job = f"{ADDRESS}/api/jobs/pickwell-generation-1-1-ab"
    place = place_of(run)
    assert isinstance(place, Job)
    assert (place.address, place.name) == (ADDRESS, "pickwell-generation-1-1-ab")
