"""Trainings beyond this process: what is started, how their folder is read, and what becomes of a job on a cluster."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

import settings as settings_module
from db.models import Split
from errors import TrainingFailed
from files import MANIFEST, write_json, write_whole
from settings import ROOT
from tests.trainings import Heard, Lost
from training.trainer import launch as launch_module
from training.trainer import processes as launching
from training.trainer import ray_job
from training.trainer.following import FAILED, LOG, Following, Lines, alone, begin_anew, log_end
from training.trainer.launch import launch
from training.trainer.processes import accelerate_command, accelerate_config, check_resources, follow, train_apart
from training.trainer.ray_job import FOLLOWED, JOB, Followed, Machine, Silence, State, run_on_ray, share_of
from training.trainer.run_folder import (
    MERGED,
    METRICS,
    SAMPLES,
    STAGE,
    WARNINGS,
    RunFolder,
    RunInput,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
)

GIVEN = RunInput(name="Tiny", base_model="model", template_hash=None, snapshot="snapshot", snapshot_sha256="0" * 64)
SAMPLE = SampleReport(step=2, place=1, prompt_id=7, reply="Zwölf\nEier", tokens=4, ended=True)
WARNING = WarningReport(step=2, kind="overfitting", sentence="It learns by heart.")


def a_step(step: int, loss: float = 0.7) -> StepReport:
    return StepReport(Split.TRAIN, step, 5, loss, 0.0, 0.0, -1.0, -1.0, 1e-3, 0.5)


def a_line(said: StepReport | SampleReport | WarningReport) -> str:
    return json.dumps(dataclasses.asdict(said)) + "\n"


def finish(folder: Path) -> None:
    """Make the folder that of a finished training."""
    (folder / MERGED).mkdir()
    write_json(folder / MERGED / MANIFEST, {})
    RunFolder(folder).finish(RunManifest("model", "0", "0", "0", 5, 20, 1.0, 100, "CPU", {}))


# Reading a folder


def test_what_the_folder_says_is_given_once_and_in_order(tmp_path: Path) -> None:
    heard = Heard()
    following = Following(tmp_path, heard)
    following.look()
    (tmp_path / STAGE).write_text("Training")
    (tmp_path / METRICS).write_text(a_line(a_step(1)))
    following.look()
    with (tmp_path / METRICS).open("a") as stream:
        stream.write(a_line(a_step(2)))
    (tmp_path / SAMPLES).write_text(a_line(SAMPLE))
    (tmp_path / WARNINGS).write_text(a_line(WARNING))
    following.look()
    following.look()
    assert heard.said == ["Training", a_step(1), a_step(2), SAMPLE, WARNING]


@for_all(cuts=st.lists(st.integers(1, 40), max_size=30), texts=st.lists(st.binary(min_size=1, max_size=9), max_size=12))
def test_however_a_file_grows_every_line_is_given_whole(cuts: list[int], texts: list[bytes]) -> None:
    lines = [b"%d %s\n" % (number, text.replace(b"\n", b" ")) for number, text in enumerate(texts)]
    content, found = b"".join(lines), []
    with tempfile.NamedTemporaryFile() as file:
        reader = Lines(Path(file.name))
        for cut in [*cuts, len(content)]:
            file.write(content[:cut])
            file.flush()
            content = content[cut:]
            found += reader.new()
    assert found == lines


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    heard, line = Heard(), a_line(a_step(1))
    following = Following(tmp_path, heard)
    (tmp_path / METRICS).write_text(line[:30])
    following.look()
    assert heard.said == []
    (tmp_path / METRICS).write_text(line)
    following.look()
    assert heard.said == [a_step(1)]


def test_a_resumed_training_that_writes_steps_again_gives_only_those_that_changed(tmp_path: Path) -> None:
    heard = Heard()
    following = Following(tmp_path, heard)
    (tmp_path / METRICS).write_text(a_line(a_step(1)) + a_line(a_step(2)) + a_line(a_step(3, 0.61)))
    following.look()
    heard.said.clear()
    (tmp_path / METRICS).write_text(a_line(a_step(1)) + a_line(a_step(2)))
    following.look()
    (tmp_path / METRICS).write_text(a_line(a_step(1)) + a_line(a_step(2)) + a_line(a_step(3, 0.62)) + a_line(a_step(4)))
    following.look()
    assert heard.said == [a_step(3, 0.62), a_step(4)]


def test_a_line_that_was_cut_as_a_process_died_is_passed_over(tmp_path: Path) -> None:
    heard = Heard()
    (tmp_path / METRICS).write_text(a_line(a_step(1))[:20] + a_line(a_step(1)) + a_line(a_step(2)))
    Following(tmp_path, heard).look()
    assert heard.said == [a_step(2)]


def test_the_processes_output_goes_to_the_attempts_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    following = Following(tmp_path, Heard())
    (tmp_path / LOG).write_text("one\n")
    following.look()
    (tmp_path / LOG).write_text("one\ntwo\n")
    following.look()
    assert capsys.readouterr().out == "one\ntwo\n"


def test_the_log_of_a_failure_ends_before_the_launcher_speaks(tmp_path: Path) -> None:
    said = ["Loading", "[rank0]: Traceback (most recent call last):", "[rank0]: ValueError: no"]
    noise = ["E1122 torch/distributed/elastic/multiprocessing/api.py:988] failed (exitcode: 1)", "Traceback", "Child…"]
    (tmp_path / LOG).write_text("\n".join(said + noise))
    assert log_end(tmp_path).splitlines() == said


def test_a_new_attempt_forgets_what_the_last_one_said_of_itself(tmp_path: Path) -> None:
    for name in (STAGE, FAILED, LOG, METRICS):
        (tmp_path / name).write_text("x")
    begin_anew(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [METRICS]


def test_a_trainer_in_a_process_of_its_own_leaves_its_sentence(tmp_path: Path) -> None:
    def fail(folder: Path, listener: Any) -> None:
        listener.stage("Loading the model")
        raise TrainingFailed("Too long. Choose more.")

    with pytest.raises(SystemExit, match=r"Too long\. Choose more\."):
        alone(tmp_path, fail)
    assert (tmp_path / FAILED).read_text() == "Too long. Choose more."
    assert (tmp_path / STAGE).read_text() == "Loading the model"


def test_only_the_first_process_tells_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    alone(tmp_path, lambda folder, listener: listener.stage("Loading the model"))
    assert list(tmp_path.iterdir()) == []


# Several processes


def test_gpus_share_the_model_out_and_a_cpu_only_the_rows() -> None:
    on_gpus = accelerate_config(processes=4, gpus=4)
    assert (on_gpus["distributed_type"], on_gpus["mixed_precision"], on_gpus["num_processes"]) == ("FSDP", "bf16", 4)
    assert on_gpus["fsdp_config"]["fsdp_version"] == 2
    assert on_gpus["fsdp_config"]["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    on_cpu = accelerate_config(processes=2, gpus=0)
    assert (on_cpu["distributed_type"], on_cpu["mixed_precision"]) == ("MULTI_GPU", "no")
    assert "fsdp_config" not in on_cpu


def test_the_command_is_one_to_type(tmp_path: Path) -> None:
    command = accelerate_command(tmp_path, threads=3)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert command[-3:] == ["-m", launching.TRAINER, str(tmp_path)]
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


def python(code: str) -> Sequence[str]:
    return [sys.executable, "-c", code]


def test_the_sentence_of_a_process_that_gave_up_comes_through(tmp_path: Path) -> None:
    code = f"import sys; open({str(tmp_path / FAILED)!r}, 'w').write('Too long.'); print('noise'); sys.exit(1)"
    with pytest.raises(TrainingFailed, match=r"^Too long\.$"):
        follow(python(code), tmp_path, Heard())


def test_a_process_that_leaves_no_sentence_leaves_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"(?s)error that it did not expect.*ZeroDivisionError"):
        follow(python("1 / 0"), tmp_path, Heard())


def test_a_process_that_the_system_killed_is_told_of_its_memory(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="memory ran out"):
        follow(python("import os; os.kill(os.getpid(), 9)"), tmp_path, Heard())


def test_processes_that_end_well_without_a_model_have_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "follow", lambda *_, **__: None)
    with pytest.raises(TrainingFailed, match="ended before its work was finished"):
        train_apart(tmp_path, GIVEN, Heard())


def test_what_the_listener_raises_ends_every_process_even_in_sessions_of_their_own(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, pathlib, os
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
pathlib.Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{other.pid}}")
pathlib.Path({str(tmp_path / STAGE)!r}).write_text("Training")
other.wait()
"""
    with pytest.raises(Lost):
        follow(python(code), tmp_path, Heard(lost_at="Training"))
    assert not any(psutil.pid_exists(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_follower_that_is_killed_takes_its_processes_with_it(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, time
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
print("here", flush=True)
time.sleep(60)
"""
    follower = f"""
from pathlib import Path
from training.trainer.processes import follow
from training.trainer.following import Silent
follow({python(code)!r}, Path({str(tmp_path)!r}), Silent())
"""
    with subprocess.Popen(python(follower), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        pid = int((tmp_path / "pid").read_text())
        process.kill()
        process.stdout.read()  # to its end: nobody has it open any more
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("values", "goes"),
    [
        ({}, "here"),
        ({"processes": 2}, "apart"),
        ({"ray_address": "http://127.0.0.1:8265"}, "ray"),
        ({"ray_address": "http://127.0.0.1:8265", "processes": 2}, "ray"),
    ],
)
def test_a_cluster_that_is_named_or_else_the_recipes_processes_say_where_a_training_runs(
    values: dict[str, Any], goes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICKWELL_RAY_ADDRESS", values.pop("ray_address", ""))
    settings_module.settings.cache_clear()
    went: list[str] = []
    monkeypatch.setattr(launch_module, "train_here", lambda *_: went.append("here"))
    monkeypatch.setattr(launch_module, "train_apart", lambda *_: went.append("apart"))
    monkeypatch.setattr(launch_module, "run_on_ray", lambda *_, **__: went.append("ray"))
    launch(tmp_path, dataclasses.replace(GIVEN, **values), Heard())
    assert went == [goes]
    finish(tmp_path)
    launch(tmp_path, dataclasses.replace(GIVEN, **values), Heard())
    assert went == [goes], "a finished training is started again"


# A Ray cluster


class FakeCluster:
    """A cluster whose jobs go through given states, one at each look; what a look does to the folder is given, too."""

    def __init__(self, *states: Any, words: str = "") -> None:
        self.states = list(states)
        self.words = words
        self.submitted: dict[str, tuple[str, int, int]] = {}
        self.kept_before: list[bool] = []
        self.stopped: list[str] = []
        self.folder: Path | None = None
        self.nodes = [Machine(cpus=2, gpus=0)]

    def machines(self) -> Sequence[Machine]:
        return self.nodes

    def submit(self, name: str, *, command: str, cpus: int, gpus: int) -> None:
        assert name not in self.submitted
        self.submitted[name] = (command, cpus, gpus)
        if self.folder is not None:
            self.kept_before.append(json.loads((self.folder / JOB).read_text())["name"] == name)

    def state(self, name: str) -> State | None:
        if name in self.stopped:
            return State.STOPPED
        now = self.states.pop(0)
        if now is None or isinstance(now, State):
            return now
        if callable(now):
            now()
            return State.RUNNING
        raise now

    def last_words(self, name: str) -> str:
        return self.words

    def stop(self, name: str) -> None:
        self.stopped.append(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, a named cluster, and no time between two looks."""
    monkeypatch.setenv("PICKWELL_RAY_ADDRESS", "http://127.0.0.1:8265")
    settings_module.settings.cache_clear()
    monkeypatch.setattr(ray_job, "POLL", 0.0)
    place = tmp_path / "training-3"
    place.mkdir()
    return place


def carry(cluster: FakeCluster, folder: Path, listener: Heard | None = None, *, cancelled: bool = True) -> None:
    cluster.folder = folder
    run_on_ray(folder, GIVEN, listener or Heard(), cancelled=lambda: cancelled, connect=lambda address: cluster)


def test_a_job_is_submitted_followed_and_forgotten(folder: Path) -> None:
    heard = Heard()

    def work() -> None:
        write_whole(folder / STAGE, "Training")
        (folder / METRICS).write_text(a_line(a_step(1)))

    cluster = FakeCluster(None, State.PENDING, State.PENDING, work, lambda: finish(folder), State.SUCCEEDED)
    carry(cluster, folder, heard)
    assert heard.said == ["Waiting for the Ray cluster", "Training", a_step(1)]
    assert [name.startswith("pickwell-training-3-") for name in cluster.submitted] == [True]
    assert cluster.kept_before == [True], "a process that died while submitting would submit a second job"
    assert [shares[1:] for shares in cluster.submitted.values()] == [(1, 0)]
    assert not (folder / JOB).exists()
    assert (folder / FOLLOWED).exists()


def test_a_run_whose_worker_died_finds_its_job_and_submits_no_second(folder: Path) -> None:
    cluster = FakeCluster(None, ray_job.ToldToEnd())
    with pytest.raises(SystemExit):
        carry(cluster, folder, cancelled=False)
    (name,) = cluster.submitted
    (folder / METRICS).write_text(a_line(a_step(1)) + a_line(a_step(2)))
    finish(folder)
    heard = Heard()
    cluster.states = [State.RUNNING, State.SUCCEEDED]
    carry(cluster, folder, heard)
    assert list(cluster.submitted) == [name]
    assert heard.said == [a_step(1), a_step(2)]


def test_a_job_that_was_never_submitted_is_submitted_under_its_name(folder: Path) -> None:
    write_json(folder / JOB, {"address": "http://127.0.0.1:8265", "name": "pickwell-training-3-abc"})
    cluster = FakeCluster(None, lambda: finish(folder), State.SUCCEEDED)
    carry(cluster, folder)
    assert list(cluster.submitted) == ["pickwell-training-3-abc"]


def test_a_failure_that_nobody_heard_is_told_and_not_tried_again_by_itself(folder: Path) -> None:
    write_json(folder / JOB, {"address": "http://127.0.0.1:8265", "name": "pickwell-training-3-abc"})
    (folder / FAILED).write_text("Rows are too long.")
    cluster = FakeCluster(State.FAILED, State.FAILED)
    with pytest.raises(TrainingFailed, match="Rows are too long"):
        carry(cluster, folder)
    assert cluster.submitted == {}
    cluster.states = [None, lambda: finish(folder), State.SUCCEEDED]
    carry(cluster, folder)
    assert len(cluster.submitted) == 1


def test_a_stopped_job_is_followed_by_one_of_another_name(folder: Path) -> None:
    write_json(folder / JOB, {"address": "http://127.0.0.1:8265", "name": "pickwell-training-3-abc"})
    cluster = FakeCluster(State.STOPPED, lambda: finish(folder), State.SUCCEEDED)
    carry(cluster, folder)
    (name,) = cluster.submitted
    assert name != "pickwell-training-3-abc"


def test_a_lost_run_stops_its_job(folder: Path) -> None:
    cluster = FakeCluster(None, lambda: write_whole(folder / STAGE, "Training"), State.RUNNING)
    with pytest.raises(Lost):
        carry(cluster, folder, Heard(lost_at="Training"))
    assert cluster.stopped == list(cluster.submitted)
    assert not (folder / JOB).exists()


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_worker_that_stops_leaves_the_job_running_and_a_cancelled_run_does_not(cancelled: bool, folder: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cluster = FakeCluster(None, lambda: os.kill(os.getpid(), signal.SIGTERM), State.RUNNING)
    with pytest.raises(SystemExit):
        carry(cluster, folder, cancelled=cancelled)
    assert bool(cluster.stopped) is cancelled
    assert (folder / JOB).exists() is not cancelled
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cluster_that_is_silent_for_a_moment_costs_nothing(folder: Path) -> None:
    cluster = FakeCluster(None, Silence("reset"), Silence("reset"), lambda: finish(folder), State.SUCCEEDED)
    carry(cluster, folder)
    assert len(cluster.submitted) == 1


def test_a_cluster_that_stays_silent_is_a_sentence_and_its_job_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_job, "PATIENCE", -1.0)
    cluster = FakeCluster(None, Silence("Connection refused"))
    with pytest.raises(TrainingFailed, match=r"127\.0\.0\.1:8265 does not answer \(Connection refused\)"):
        carry(cluster, folder)
    assert (folder / JOB).exists()


@pytest.mark.parametrize(
    ("state", "words", "sentence"),
    [
        (State.FAILED, f"{ray_job.NOT_SEEN}\n", "does not see the run's folder"),
        (State.FAILED, "ModuleNotFoundError: No module named 'trl'", "install requirements/train.txt there"),
        (State.FAILED, "ZeroDivisionError", "(?s)failed.*ZeroDivisionError"),
        (State.STOPPED, "", "was stopped on the Ray cluster"),
        (State.SUCCEEDED, "", "left no model"),
        (None, "", "was stopped on the Ray cluster"),
    ],
)
def test_a_job_that_gives_no_model_says_why(state: State | None, words: str, sentence: str, folder: Path) -> None:
    with pytest.raises(TrainingFailed, match=sentence):
        carry(FakeCluster(None, State.RUNNING, state, words=words), folder)


def test_a_cluster_without_a_name_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICKWELL_RAY_ADDRESS")
    settings_module.settings.cache_clear()
    with pytest.raises(TrainingFailed, match="Set PICKWELL_RAY_ADDRESS"):
        carry(FakeCluster(), folder)


def test_ray_that_is_not_installed_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(TrainingFailed, match=r"pip install -c \S+ 'ray\[default\]'"):
        run_on_ray(folder, GIVEN, Heard(), cancelled=lambda: True)


def test_a_cluster_with_gpus_gives_one_to_each_process_and_another_a_core() -> None:
    head, gpu = Machine(cpus=4, gpus=0), Machine(cpus=8, gpus=2)
    assert share_of([head, gpu], processes=2) == Machine(cpus=0, gpus=2)
    assert share_of([head], processes=3) == Machine(cpus=3, gpus=0)
    with pytest.raises(TrainingFailed, match="no machine of the Ray cluster has more than 2 GPUs"):
        share_of([head, gpu], processes=4)
    with pytest.raises(Silence):
        share_of([], processes=1)


def test_the_jobs_first_line_tells_whether_the_folder_is_there(tmp_path: Path) -> None:
    command = ray_job.job_command(tmp_path / "it's not here", python=sys.executable)
    said = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert (said.returncode, said.stdout.strip()) == (3, ray_job.NOT_SEEN)


def test_a_python_that_the_cluster_does_not_have_is_replaced_by_its_own(tmp_path: Path) -> None:
    folder, bin_ = tmp_path / "a run", tmp_path / "bin"
    for place in (folder, bin_):
        place.mkdir()
    (folder / "run.json").write_text("{}")
    (bin_ / "python3").write_text('#!/bin/sh\necho theirs "$@"\n')
    (bin_ / "python3").chmod(0o755)
    command = ray_job.job_command(folder, python="/not/there/python")
    said = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, env={"PATH": f"{bin_}:{os.environ['PATH']}"}
    )
    assert said.stdout.split() == ["theirs", "-m", "training.trainer.ray_job", *shlex.split(str(folder))]


def test_the_program_is_sent_without_data_tests_and_secrets(tmp_path: Path) -> None:
    for name in ("training", "db", "var", "tests", ".venv", ".git"):
        (tmp_path / name).mkdir()
    for name in ("errors.py", ".env", "pickwell.db"):
        (tmp_path / name).touch()
    sent = ray_job.sent_along(tmp_path)
    assert sent["working_dir"] == str(tmp_path)
    assert sent["excludes"] == ["/.env", "/.git", "/.venv", "/pickwell.db", "/tests", "/var", "__pycache__"]


def test_everything_that_a_job_imports_is_sent_along() -> None:
    code = (
        "import sys, training.trainer.ray_job, training.trainer.launch; print(*{m.split('.')[0] for m in sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {place.name for place in ROOT.iterdir() if (place / "__init__.py").exists()}
    assert ours & set(said.stdout.split()) <= set(ray_job.NEEDED)


def test_a_job_that_nobody_follows_ends_itself(tmp_path: Path) -> None:
    now = 0.0
    followed = Followed(tmp_path, clock=lambda: now)
    for moment in (0, 1000, 1790):
        now = moment
        write_whole(tmp_path / FOLLOWED, str(moment))
        followed.check()
    now = 1790 + ray_job.ALONE_AT_MOST
    followed.check()
    now += 1
    with pytest.raises(TrainingFailed, match="Nobody followed"):
        followed.check()
