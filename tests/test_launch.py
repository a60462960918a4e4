"""Trainings beyond this process: what is started, and how their folder is read."""

import dataclasses
import json
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

from errors import TrainingFailed
from files import MANIFEST, write_json
from settings import ROOT
from training.data.terms import Split
from training.trainer import processes as launching
from training.trainer import train as training_here
from training.trainer.following import FAILED, LOG, Following, Lines, alone, begin_anew, log_end
from training.trainer.processes import (
    accelerate_command,
    accelerate_config,
    check_resources,
    follow,
    train_apart,
    train_as_recipe_says,
)
from training.trainer.run_folder import (
    MERGED,
    METRICS,
    SAMPLES,
    STAGE,
    WARNINGS,
    RunInput,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
)

GIVEN = RunInput(
    name="Tiny",
    base_model="model",
    template_hash=None,
    snapshot="snapshot",
    snapshot_sha256="0" * 64,
    learning_rate=1e-3,
    beta=0.1,
    sft_weight=0.0,
    epochs=1.0,
    batch_size=4,
    warmup_steps=0,
    lora_rank=8,
    lora_alpha=16,
    max_length=512,
)
SAMPLE = SampleReport(step=2, place=1, prompt_id=7, reply="Zwölf\nEier", tokens=4, ended=True)
WARNING = WarningReport(step=2, kind="overfitting", sentence="It learns by heart.")


def a_step(step: int, loss: float = 0.7) -> StepReport:
    return StepReport(Split.TRAIN, step, 5, loss, 0.0, 0.0, -1.0, -1.0, 1e-3, 0.5)


def a_line(said: StepReport | SampleReport | WarningReport) -> str:
    return json.dumps(dataclasses.asdict(said)) + "\n"


class Heard:
    """A Listener that remembers, and raises at what it is told to."""

    def __init__(self, *, lost_at: object = None) -> None:
        self.said: list[object] = []
        self._lost_at = lost_at

    def _hear(self, said: object) -> None:
        self.said.append(said)
        if said == self._lost_at:
            raise Lost

    def stage(self, text: str) -> None:
        self._hear(text)

    def step(self, said: StepReport) -> None:
        self._hear(said)

    def sample(self, said: SampleReport) -> None:
        self._hear(said)

    def warning(self, said: WarningReport) -> None:
        self._hear(said)


class Lost(Exception):
    pass


def finish(folder: Path) -> None:
    """Make the folder that of a finished training."""
    (folder / MERGED).mkdir()
    write_json(folder / MERGED / MANIFEST, {})
    RunManifest("model", "0", "0", "0", 5, 20, 1.0, 100, "CPU", {}).write(folder)


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
        train_apart(tmp_path, dataclasses.replace(GIVEN, processes=2), Heard())


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


@pytest.mark.parametrize(("processes", "goes"), [(1, "here"), (2, "apart")])
def test_the_recipe_says_how_many_processes_share_a_training(
    processes: int, goes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[str] = []
    monkeypatch.setattr(training_here, "train", lambda *_: went.append("here"))
    monkeypatch.setattr(launching, "train_apart", lambda *_: went.append("apart"))
    given = dataclasses.replace(GIVEN, processes=processes)
    train_as_recipe_says(tmp_path, given, Heard())
    assert went == [goes]
    finish(tmp_path)
    train_as_recipe_says(tmp_path, given, Heard())
    assert went == [goes], "a finished training is started again"
