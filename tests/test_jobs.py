"""Long work outside the app: real processes, real databases, and tiny scripts in place of the stages."""

import importlib
import os
import platform
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from db.models import ExportForm, ExportRun, GenerationRun, Part, Project, Role, Run, RunStatus, Scope, Worker, now
from db.session import reading, session
from errors import DatabaseProblem, DatabaseUnavailable, NotAllowed, NotFound, Refused
from jobs import child, local
from jobs import supervise as supervising
from jobs.attempts import LOST_LIMIT, begin, claim, explain_exit, hand_back, settle_run
from jobs.life import ALIVE, hold_home, worker_alive
from jobs.processes import TIED, Group, boot_id
from jobs.progress import Progress, RunLost, unmanaged_progress
from jobs.runs import (
    HEAVY,
    KINDS,
    LIGHT,
    NO_WORKER,
    cancel_run,
    collapse_redraws,
    get_run,
    list_unknown_runs,
    log_tail,
    pause_run,
    retry_run,
    run_folder,
    waiting_reason,
)
from jobs.supervise import Pace, carry_next
from settings import ROOT, settings
from tests.factories import a_model, a_project, a_reviewer

QUICK = Pace(poll=0.05, beat=0.1, cancel_grace=0.5, stop_grace=0.5, linger=0.5, retry=0.01, patience=0.1)
both_databases = pytest.mark.both_databases

CHILD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from db.models import Worker
from db.session import reading, session
from errors import TrainingFailed
from jobs.child import carry
from jobs.processes import TIED, die_with_parent
from jobs.progress import Progress
from jobs.runs import get_run

die_with_parent(int(os.environ[TIED]))
here = Path(__file__).parent

def succeed(progress):
    with session() as s:
        progress.succeed(s)

def grandchild():
    "Starts a process that ignores SIGTERM and leaves its pid in a file once it does."
    file = here / "grandchild"
    code = (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(file) + '.new'!r}).write_text(str(os.getpid()));"
        f"os.rename({str(file) + '.new'!r}, {str(file)!r}); time.sleep(600)"
    )
    subprocess.Popen([sys.executable, "-c", code])

def asked(progress):
    with reading() as s:
        return get_run(s, progress.run_id).cancel_requested

def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.01)

def run(progress):
"""
CHILD_END = "\nsys.exit(carry(Progress(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), run))\n"

WORKER = """
import sys
from jobs.supervise import Pace
from jobs.worker import main
command = lambda kind, run_id, attempt: [sys.executable, CHILD, kind, str(run_id), str(attempt)]
sys.exit(main(command, Pace(poll=0.05, beat=0.1, cancel_grace=0.5, stop_grace=0.5)))
"""

Command = Callable[[str, int, int], Sequence[str]]


def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.02)


def a_run(s: Session) -> int:
    """A QUEUED GenerationRun."""
    project = a_project(s)
    manager = a_reviewer(s, project)
    run = GenerationRun(
        project_id=project.id,
        responder_id=a_model(s, project).id,
        scope=Scope.ALL,
        requested_by_id=manager.id,
    )
    s.add(run)
    s.flush()
    return run.id


def by_of(s: Session, run_id: int) -> int:
    """Who asked for the run: a manager of its project."""
    return get_run(s, run_id).requested_by_id


@pytest.fixture
def run_id(database: Path, backend: str) -> int:
    with session() as s:
        return a_run(s)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[[str], Command]]:
    """Writes the body of a stage's ``run(progress)`` into a script and gives the command that runs it."""

    def write(body: str) -> Command:
        script = tmp_path / "child.py"
        script.write_text(CHILD + textwrap.indent(textwrap.dedent(body), "    ") + CHILD_END)
        return lambda kind, run_id, attempt: [sys.executable, str(script), kind, str(run_id), str(attempt)]

    yield write
    file = tmp_path / "grandchild"
    if file.exists() and not gone(int(file.read_text())):  # only where a test has failed
        os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts real worker processes; whoever is left at the end is killed with everything under it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> subprocess.Popen[bytes]:
        script = tmp_path / "worker.py"
        script.write_text(WORKER.replace("CHILD", repr(str(tmp_path / "child.py"))))
        with (tmp_path / "worker.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(script)],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for below in psutil.Process(process.pid).children(recursive=True):
                below.kill()
            process.kill()
            process.wait()


def look(run_id: int) -> GenerationRun:
    with reading() as s:
        run = s.get_one(GenerationRun, run_id)
        s.expunge(run)
        return run


def has(run_id: int, status: RunStatus) -> Callable[[], bool]:
    return lambda: look(run_id).status is status


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def carry_out(run_id: int, command: Command, stop: threading.Event | None = None) -> GenerationRun:
    carry_next(worker="w", stop=stop or threading.Event(), command=command, pace=QUICK)
    return look(run_id)


# ------------------------------------------------------------------------------------------------- one attempt


@both_databases
def test_a_queued_run_succeeds(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(
        run_id, stage("print('working'); progress.update(stage='Work', done=3, total=3); succeed(progress)")
    )

    assert (run.status, run.attempt, run.done, run.stage, run.error) == (RunStatus.SUCCEEDED, 1, 3, "", None)
    assert run.worker == "w"
    assert run.boot_id == boot_id()
    assert run.process_group is not None
    assert gone(run.process_group)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.beat_at is not None
    assert log_tail("generation", run_id) == "working\n"


def test_an_error_for_people_becomes_its_sentence(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("raise TrainingFailed('The loss is not a number. Lower the learning rate.')"))

    assert (run.status, run.error) == (RunStatus.FAILED, "The loss is not a number. Lower the learning rate.")


def test_a_crash_shows_the_tail_of_the_log(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("raise ZeroDivisionError('nobody expected this')"))

    assert run.status is RunStatus.FAILED
    assert run.finished_at is not None
    assert "ZeroDivisionError: nobody expected this" in (run.error or "")


def test_a_process_that_is_killed_does_not_stay_running(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("os.kill(os.getpid(), signal.SIGKILL)"))

    assert run.status is RunStatus.FAILED
    assert "memory" in (run.error or "")


def test_a_process_that_just_ends_has_failed(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("pass"))

    assert run.status is RunStatus.FAILED
    assert "before its work was finished" in (run.error or "")


def test_a_full_disk_says_where_to_make_room(home: Path, run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("raise OSError(28, 'No space left on device')"))

    assert run.error == f"The disk is full: free some space under {home.resolve()}, then press Try again."


def test_a_command_that_cannot_start_fails_the_run(run_id: int) -> None:
    run = carry_out(run_id, lambda *_: ["/nowhere/python"])

    assert run.status is RunStatus.FAILED
    assert "/nowhere/python" in (run.error or "")


def test_what_a_finished_process_leaves_behind_is_ended(
    run_id: int, stage: Callable[[str], Command], tmp_path: Path
) -> None:
    run = carry_out(run_id, stage("grandchild(); wait_for('grandchild'); succeed(progress)"))

    assert run.status is RunStatus.SUCCEEDED
    assert gone(int((tmp_path / "grandchild").read_text()))


def test_a_process_that_hangs_after_success_is_ended(run_id: int, stage: Callable[[str], Command]) -> None:
    run = carry_out(run_id, stage("succeed(progress); time.sleep(600)"))

    assert run.status is RunStatus.SUCCEEDED
    assert gone(run.process_group or 0)


def test_cancel_ends_the_whole_group_even_who_ignores_sigterm(
    run_id: int, stage: Callable[[str], Command], tmp_path: Path
) -> None:
    command = stage("grandchild(); time.sleep(600)")
    carrying = threading.Thread(target=carry_out, args=(run_id, command))
    carrying.start()
    until((tmp_path / "grandchild").exists)
    with session() as s:
        cancel_run(s, by=by_of(s, run_id), run_id=run_id)
    carrying.join(timeout=20)

    run = look(run_id)
    assert run.status is RunStatus.CANCELLED
    assert gone(run.process_group or 0)
    assert gone(int((tmp_path / "grandchild").read_text()))


def test_a_cancelled_run_that_ends_with_an_error_was_cancelled(
    run_id: int, stage: Callable[[str], Command], tmp_path: Path
) -> None:
    command = stage(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (here / 'ready').touch()
        while not asked(progress):
            time.sleep(0.01)
        raise TrainingFailed('Its helper was ended.')
        """
    )
    carrying = threading.Thread(target=carry_out, args=(run_id, command))
    carrying.start()
    until((tmp_path / "ready").exists)
    with session() as s:
        cancel_run(s, by=by_of(s, run_id), run_id=run_id)
    carrying.join(timeout=20)
    assert (look(run_id).status, look(run_id).error) == (RunStatus.CANCELLED, None)


@both_databases
def test_an_attempt_whose_run_was_taken_over_is_ended_and_writes_nothing(
    run_id: int, stage: Callable[[str], Command]
) -> None:
    command = stage("time.sleep(600)")
    carrying = threading.Thread(target=carry_out, args=(run_id, command))
    carrying.start()
    until(lambda: look(run_id).process_group)
    with session() as s:
        s.get_one(GenerationRun, run_id).attempt = 7
    carrying.join(timeout=20)

    run = look(run_id)
    assert (run.status, run.attempt) == (RunStatus.RUNNING, 7)
    assert gone(run.process_group or 0)


def test_a_stopping_worker_hands_its_run_back(run_id: int, stage: Callable[[str], Command]) -> None:
    stop = threading.Event()
    carrying = threading.Thread(target=carry_out, args=(run_id, stage("time.sleep(600)"), stop))
    carrying.start()
    until(lambda: look(run_id).process_group)
    leader = look(run_id).process_group
    stop.set()
    carrying.join(timeout=20)

    run = look(run_id)
    assert (run.status, run.worker) == (RunStatus.RUNNING, None)
    assert gone(leader or 0)


def test_what_became_of_a_run_is_written_once_the_database_takes_it(
    run_id: int, stage: Callable[[str], Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter(range(2))

    def full_at_first(progress: Progress, error: str) -> None:
        if next(refusals, None) is not None:
            raise DatabaseUnavailable("The disk is full.")
        settle_run(progress, error)

    monkeypatch.setattr(supervising, "settle_run", full_at_first)
    assert carry_out(run_id, stage("pass")).status is RunStatus.FAILED


# ----------------------------------------------------------------------------------------------------- fencing


@both_databases
def test_an_old_attempt_can_write_nothing(run_id: int) -> None:
    old = unmanaged_progress("generation", run_id)
    old.update(done=1)
    with session() as s:
        s.get_one(GenerationRun, run_id).attempt += 1

    with pytest.raises(RunLost):
        old.update(done=2)
    with pytest.raises(RunLost), session() as s:
        old.guard(s)
    with pytest.raises(RunLost), session() as s:
        old.succeed(s)
    with pytest.raises(RunLost), session() as s:
        old.fail(s, "Too late.")
    assert (look(run_id).status, look(run_id).done) == (RunStatus.RUNNING, 1)


@both_databases
def test_a_cancelled_attempt_can_save_no_results(run_id: int) -> None:
    progress = unmanaged_progress("generation", run_id)
    with session() as s:
        progress.guard(s)
    with session() as s:
        cancel_run(s, by=by_of(s, run_id), run_id=run_id)

    with pytest.raises(RunLost), session() as s:
        progress.guard(s)
    with pytest.raises(RunLost), session() as s:
        progress.succeed(s)


@both_databases
def test_a_run_without_a_worker_is_this_process_s_own(run_id: int) -> None:
    progress = unmanaged_progress("generation", run_id)
    progress.update(stage="Loading", tokens=12)

    run = look(run_id)
    assert (run.status, run.attempt, run.stage, run.tokens) == (RunStatus.RUNNING, 1, "Loading", 12)
    assert progress.folder == run_folder("generation", run_id)
    assert progress.folder.is_dir()
    with pytest.raises(Refused):
        unmanaged_progress("generation", run_id)
    with session() as s:
        progress.succeed(s)
    assert look(run_id).status is RunStatus.SUCCEEDED


# ------------------------------------------------------------------------------------------------ lost workers


@both_databases
def test_a_run_that_loses_its_worker_three_times_without_progress_fails(run_id: int) -> None:
    for attempt in range(1, LOST_LIMIT + 1):
        claimed = claim(worker=f"w{attempt}")
        assert claimed is not None
        assert begin(claimed.progress)
    claimed = claim(worker="w4")
    assert claimed is not None
    assert not begin(claimed.progress)
    assert claim(worker="w5") is None
    assert look(run_id).status is RunStatus.FAILED
    assert "lost three times" in (look(run_id).error or "")

    with session() as s:
        retry_run(s, by=by_of(s, run_id), run_id=run_id)
    claimed = claim(worker="w5")
    assert claimed is not None
    assert begin(claimed.progress)


def test_only_losses_in_a_row_at_the_same_count_add_up(run_id: int) -> None:
    counted = []
    for done, back in ((0, False), (0, False), (5, False), (5, True), (5, False), (5, False), (6, False)):
        claimed = claim(worker="w")
        assert claimed is not None
        assert begin(claimed.progress)
        claimed.progress.update(done=done)
        counted.append(look(run_id).losses)
        if back:
            hand_back(claimed.progress)
    assert counted == [0, 1, 2, 1, 0, 1, 2]


@both_databases
def test_a_living_worker_keeps_its_run(run_id: int) -> None:
    with session() as s:
        s.add(Worker(id="w1", pid=1, host="elsewhere"))
    assert claim(worker="w1") is not None
    assert claim(worker="w2") is None

    with session() as s:
        s.get_one(Worker, "w1").beat_at = now() - 2 * ALIVE
    assert claim(worker="w2") is not None


def test_a_pid_of_another_boot_or_another_start_is_nobody_of_ours() -> None:
    me = Group.of(os.getpid())
    for stranger in (Group(me.leader, me.started, "another boot"), Group(me.leader, me.started - 60, me.boot)):
        assert stranger.members() == []
        assert stranger.end(grace=0)


# ---------------------------------------------------------------------------------------------- worker processes


@pytest.mark.slow
@both_databases
def test_the_worker_carries_runs_one_at_a_time_and_leaves_cleanly(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[[], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage(
        """
        with (here / 'spans').open('a') as file:
            file.write(f'+{progress.run_id}\\n')
        progress.update(done=1)
        with (here / 'spans').open('a') as file:
            file.write(f'-{progress.run_id}\\n')
        succeed(progress)
        """
    )
    with session() as s:
        other = a_run(s)
    worker = start_worker()
    until(has(run_id, RunStatus.SUCCEEDED))
    until(has(other, RunStatus.SUCCEEDED))

    assert (tmp_path / "spans").read_text().split() == [f"+{run_id}", f"-{run_id}", f"+{other}", f"-{other}"]
    with reading() as s:
        assert worker_alive(s)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=15) == 0
    with reading() as s:
        assert s.query(Worker).count() == 0


@pytest.mark.slow
def test_a_second_worker_for_the_same_home_is_refused(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[[], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage("wait_for('go'); succeed(progress)")
    first = start_worker()
    until(has(run_id, RunStatus.RUNNING))
    assert start_worker().wait(timeout=15) == 2
    assert f"already running (process {first.pid})" in (tmp_path / "worker.log").read_text()

    (tmp_path / "go").touch()
    until(has(run_id, RunStatus.SUCCEEDED))


@pytest.mark.slow
@both_databases
def test_a_killed_worker_s_run_is_taken_up_again_by_the_next_after_the_old_processes_are_gone(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[[], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage(
        """
        if progress.attempt == 1:
            grandchild()
            time.sleep(600)
        succeed(progress)
        """
    )
    worker = start_worker()
    until((tmp_path / "grandchild").exists)
    until(lambda: look(run_id).process_group)
    old, grandchild = look(run_id).process_group or 0, int((tmp_path / "grandchild").read_text())
    worker.kill()
    worker.wait()
    until(lambda: gone(old))
    assert look(run_id).status is RunStatus.RUNNING

    start_worker()
    until(has(run_id, RunStatus.SUCCEEDED))
    assert look(run_id).attempt == 2
    assert gone(grandchild)
    assert look(run_id).losses == 1


@pytest.mark.slow
@both_databases
def test_several_workers_share_a_database_and_each_run_is_carried_once(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage(
        """
        with (here / 'carried').open('a') as file:
            file.write(f"{progress.run_id} {progress.attempt} {os.environ['PICKWELL_HOME']}\\n")
        if progress.run_id == first:
            wait_for('go')  # until another worker has carried one
        succeed(progress)
        """.replace("first", str(run_id))
    )
    with session() as s:
        runs = [run_id, *(a_run(s) for _ in range(4))]
    url, homes = settings().url, [str(tmp_path / f"home-{n}") for n in range(2)]
    workers = [start_worker(PICKWELL_HOME=home, PICKWELL_DATABASE_URL=url) for home in homes]
    until(lambda: any(look(run).status is RunStatus.SUCCEEDED for run in runs[1:]))
    (tmp_path / "go").touch()
    for run in runs:
        until(has(run, RunStatus.SUCCEEDED))
    carried = [line.split() for line in (tmp_path / "carried").read_text().splitlines()]
    assert sorted((int(run), int(attempt)) for run, attempt, _ in carried) == [(run, 1) for run in runs]
    assert len({home for *_, home in carried}) > 1
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=15) for worker in workers] == [0, 0]


@pytest.mark.slow
@both_databases
def test_a_worker_told_to_stop_leaves_within_seconds_and_the_next_one_goes_on(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[[], subprocess.Popen[bytes]],
) -> None:
    stage("time.sleep(600) if progress.attempt == 1 else succeed(progress)")
    worker = start_worker()
    until(lambda: look(run_id).process_group)
    leader = look(run_id).process_group or 0
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=15) == 0
    assert gone(leader)
    assert look(run_id).status is RunStatus.RUNNING

    start_worker()
    until(has(run_id, RunStatus.SUCCEEDED))
    assert look(run_id).attempt == 2


@pytest.mark.slow
def test_a_run_cancelled_in_the_queue_can_be_tried_again(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[[], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage("wait_for('go'); succeed(progress)")
    with session() as s:
        second = a_run(s)
    start_worker()
    until(has(run_id, RunStatus.RUNNING))
    with session() as s:
        cancel_run(s, by=by_of(s, second), run_id=second)
    (tmp_path / "go").touch()
    until(has(run_id, RunStatus.SUCCEEDED))
    assert look(second).status is RunStatus.CANCELLED

    with session() as s:
        retry_run(s, by=by_of(s, second), run_id=second)
    until(has(second, RunStatus.SUCCEEDED))


@pytest.mark.slow
@both_databases
def test_kill_9_of_workers_and_children_at_random_moments_loses_no_run_and_saves_none_twice(
    run_id: int,
    stage: Callable[[str], Command],
    start_worker: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    stage(
        """
        with reading() as s:
            done = get_run(s, progress.run_id).done
        for n in range(done, 6):
            time.sleep(0.1)
            progress.update(done=n + 1, total=6)
        with session() as s:
            progress.guard(s)
            s.add(Worker(id=f"saved {progress.run_id} {progress.attempt}", pid=0, host="results"))
            progress.succeed(s)
        """
    )
    with session() as s:
        runs = [run_id, *(a_run(s) for _ in range(7))]
    chance, url = random.Random(9), settings().url
    homes = [{"PICKWELL_HOME": str(tmp_path / f"home-{n}"), "PICKWELL_DATABASE_URL": url} for n in range(2)]
    workers = [start_worker(**home) for home in homes]
    killed = {"worker": 0, "child": 0}
    while any(look(run).status is not RunStatus.SUCCEEDED for run in runs):
        time.sleep(chance.uniform(0.2, 2.5))
        turn = chance.randrange(len(workers))
        children = psutil.Process(workers[turn].pid).children()
        if killed["child"] < 4 and children:
            children[0].kill()
            killed["child"] += 1
        elif killed["worker"] < 6:
            workers[turn].kill()
            workers[turn].wait()
            workers[turn] = start_worker(**homes[turn])
            killed["worker"] += 1
        for run in runs:
            if look(run).status is RunStatus.FAILED:  # its process was killed, or it took its workers down
                with session() as s:
                    retry_run(s, by=by_of(s, run), run_id=run)
    assert min(killed.values()) > 2
    with reading() as s:
        saved = [worker.id.split() for worker in s.query(Worker) if worker.host == "results"]
    assert sorted(int(run) for _, run, _ in saved) == runs
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=15) for worker in workers] == [0, 0]


@pytest.mark.slow
def test_a_worker_without_a_database_says_what_to_run(
    start_worker: Callable[[], subprocess.Popen[bytes]], home: Path, tmp_path: Path
) -> None:
    assert start_worker().wait(timeout=15) == 1
    assert "no database yet. Run make setup" in (tmp_path / "worker.log").read_text()
    assert not (home / "pickwell.db").exists()


@pytest.mark.slow
def test_a_worker_refuses_the_database_of_another_version(
    start_worker: Callable[[], subprocess.Popen[bytes]], database: Path, tmp_path: Path
) -> None:
    with session() as s:
        s.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert start_worker().wait(timeout=15) == 1
    assert "another version of Pickwell. Run make setup" in (tmp_path / "worker.log").read_text()


# -------------------------------------------------------------------------------------------- as the app sees it


def test_a_queued_run_is_cancelled_at_once_and_can_be_tried_again(run_id: int, s: Session) -> None:
    cancel_run(s, by=by_of(s, run_id), run_id=run_id)
    run = get_run(s, run_id)
    assert run.status is RunStatus.CANCELLED

    retry_run(s, by=by_of(s, run_id), run_id=run_id)
    assert (run.status, run.cancel_requested, run.error, run.finished_at) == (RunStatus.QUEUED, False, None, None)


def test_a_paused_run_says_so_until_somebody_resumes_it(run_id: int, s: Session) -> None:
    run = get_run(s, run_id)
    run.status = RunStatus.RUNNING
    pause_run(s, by=by_of(s, run_id), run_id=run_id)
    assert (run.status, run.cancel_requested, run.paused) == (RunStatus.RUNNING, True, True)
    run.status = RunStatus.CANCELLED
    retry_run(s, by=by_of(s, run_id), run_id=run_id)
    assert (run.status, run.cancel_requested, run.paused) == (RunStatus.QUEUED, False, False)


def test_a_running_run_is_only_asked_to_end(run_id: int, s: Session) -> None:
    run = get_run(s, run_id)
    run.status = RunStatus.RUNNING
    cancel_run(s, by=by_of(s, run_id), run_id=run_id)
    assert (run.status, run.cancel_requested) == (RunStatus.RUNNING, True)


def test_a_run_that_ended_cannot_be_cancelled_and_one_that_succeeded_not_be_tried_again(
    run_id: int, s: Session
) -> None:
    get_run(s, run_id).status = RunStatus.SUCCEEDED
    with pytest.raises(Refused, match="already ended"):
        cancel_run(s, by=by_of(s, run_id), run_id=run_id)
    with pytest.raises(Refused, match="SUCCEEDED"):
        retry_run(s, by=by_of(s, run_id), run_id=run_id)


def test_only_a_manager_cancels_or_tries_again(run_id: int, s: Session) -> None:
    run = get_run(s, run_id)
    annotator = a_reviewer(s, s.get_one(Project, run.project_id), Role.ANNOTATOR)
    for action in (cancel_run, retry_run):
        with pytest.raises(NotAllowed, match="manager"):
            action(s, by=annotator.id, run_id=run_id)
    assert run.status is RunStatus.QUEUED


def test_a_run_that_is_not_there_is_said_to_be_missing(s: Session) -> None:
    with pytest.raises(NotFound, match="Run 9 is not there"):
        get_run(s, 9)


@both_databases
def test_a_kind_of_run_that_this_version_does_not_know_is_a_sentence_and_left_alone(run_id: int) -> None:
    with session() as s:
        other = a_run(s)
        s.execute(text("UPDATE run SET kind = 'baking' WHERE id = :id"), {"id": run_id})
    with reading() as s:
        with pytest.raises(DatabaseProblem, match=r"does not know the kind .*baking.* Update the program"):
            get_run(s, run_id)
        (sentence,) = list_unknown_runs(s)
    with session() as s:
        s.add(Worker(id="w", pid=1, host="here"))
        assert waiting_reason(s, get_run(s, other)) is None, "nobody waits for what nobody will carry"
    assert f"“baking” of run {run_id}" in sentence
    claimed = claim(worker="w")
    assert claimed is not None
    assert claimed.progress.run_id == other
    assert claim(worker="w2") is None
    with reading() as s:
        assert s.execute(text("SELECT status, attempt FROM run WHERE id = :id"), {"id": run_id}).one() == ("QUEUED", 0)


@both_databases
def test_a_run_says_why_it_waits(s: Session) -> None:
    first, second = (get_run(s, a_run(s)) for _ in range(2))
    assert waiting_reason(s, first) == NO_WORKER
    s.add(Worker(id="w", pid=1, host="here"))
    s.flush()
    assert waiting_reason(s, first) is None
    assert waiting_reason(s, second) == f"Generation run {first.id} is before this one; it starts by itself after that."
    first.status, first.worker = RunStatus.RUNNING, "w"
    s.flush()
    assert waiting_reason(s, first) is None
    assert waiting_reason(s, second) == f"Generation run {first.id} is before this one; it starts by itself after that."
    first.status = RunStatus.FAILED
    s.flush()
    assert waiting_reason(s, first) is None
    assert waiting_reason(s, second) is None


def test_an_export_waits_for_no_training_and_a_training_for_no_export(s: Session) -> None:
    run = get_run(s, a_run(s))
    of = {"project_id": run.project_id, "requested_by_id": run.requested_by_id}
    assert isinstance(run, GenerationRun)
    model_id = run.responder.model_version_id
    exports = [ExportRun(**of, model_version_id=model_id, part=Part.MERGED, form=ExportForm.ZIP) for _ in range(2)]
    s.add_all([*exports, Worker(id="w", pid=1, host="here")])
    s.flush()
    for light in exports:
        light.created_at = run.created_at - ALIVE * light.id
    s.flush()
    assert waiting_reason(s, run) is None
    assert waiting_reason(s, exports[1]) is None
    assert f"Export {exports[1].id} is before this one" in (waiting_reason(s, exports[0]) or "")


def test_a_light_run_is_claimed_beside_a_heavy_one(run_id: int) -> None:
    assert claim(worker="w", kinds=LIGHT) is None
    assert claim(worker="w", kinds=HEAVY) is not None


@pytest.mark.parametrize(("beat", "alive"), [(0, True), (-2, False), (2, False)], ids=["now", "silent", "ahead"])
def test_a_worker_elsewhere_lives_by_its_signs_of_life_and_none_is_of_a_day_to_come(
    s: Session, beat: int, alive: bool
) -> None:
    assert not worker_alive(s)
    s.add(Worker(id="w", pid=1, host="elsewhere", beat_at=now() + beat * ALIVE))
    s.flush()
    assert worker_alive(s) is alive


def test_a_worker_of_this_machine_whose_process_is_gone_is_dead_whatever_it_wrote_last(s: Session) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    s.add(Worker(id="w", pid=gone.pid, host=platform.node()))
    s.flush()
    assert not worker_alive(s)
    s.add(Worker(id="me", pid=os.getpid(), host=platform.node()))
    s.flush()
    assert worker_alive(s)


def test_the_worker_of_this_home_lives_whatever_the_database_says(s: Session, home: Path) -> None:
    with hold_home():
        assert worker_alive(s)
    assert not worker_alive(s)


def test_a_run_whose_dead_worker_wrote_from_a_day_to_come_is_claimed(run_id: int) -> None:
    assert claim(worker="w1") is not None
    with session() as s:
        s.add(Worker(id="w1", pid=1, host="elsewhere", beat_at=now() + timedelta(days=1)))
    assert claim(worker="w2") is not None


def test_the_log_reads_as_a_terminal_would_show_it(home: Path) -> None:
    folder = run_folder("training", 4)
    folder.mkdir(parents=True)
    assert log_tail("training", 4) == ""
    (folder / "attempt-9.log").write_text("old")
    bar = "".join(f"\r{percent}%|###" for percent in range(101))
    (folder / "attempt-10.log").write_bytes(b"\x1b[32mStart\x1b[0m\n" + bar.encode() + b"\r\nbroken \xff byte\n")

    assert log_tail("training", 4) == "Start\n100%|###\nbroken \ufffd byte\n"


def test_a_long_log_is_cut_at_a_line(home: Path) -> None:
    folder = run_folder("training", 4)
    folder.mkdir(parents=True)
    (folder / "attempt-1.log").write_text("".join(f"line {number}\n" for number in range(50_000)))

    tail = log_tail("training", 4, kilobytes=1)
    assert len(tail) <= 1024
    assert tail.startswith("line ")
    assert tail.endswith("line 49999\n")


def test_a_line_redrawn_with_carriage_returns_keeps_its_last_drawing() -> None:
    assert collapse_redraws("a\rb\rc\nd\r\n\re\r\r") == "c\nd\ne"


def test_every_way_to_end_has_its_sentence(home: Path) -> None:
    assert "SIGTERM" in explain_exit(-signal.SIGTERM, "")
    assert explain_exit(1, "the tail").endswith("\n\nthe tail")
    assert explain_exit(0, "sqlite3.OperationalError: database or disk is full").startswith("The disk is full")


# ---------------------------------------------------------------------------------------------------- the child


def test_the_child_runs_the_kind_s_stage_without_telemetry(run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, str | None] = {}

    def run(progress: Progress) -> None:
        said.update({name: os.environ.get(name) for name in child.QUIET})
        with session() as s:
            progress.succeed(s)

    module = types.ModuleType("a_stage")
    monkeypatch.setattr(module, "run", run, raising=False)
    monkeypatch.setitem(sys.modules, "a_stage", module)
    monkeypatch.setitem(KINDS, "generation", replace(KINDS["generation"], module="a_stage"))
    for name in child.QUIET:
        monkeypatch.setenv(name, "")
    unmanaged_progress("generation", run_id)

    assert child.main(["generation", str(run_id), "1"]) == 0
    assert look(run_id).status is RunStatus.SUCCEEDED
    assert said == child.QUIET


def test_a_child_whose_worker_is_gone_does_nothing() -> None:
    orphan = subprocess.run(
        [sys.executable, "-m", "jobs.child", "generation", "1", "1"],
        env=os.environ | {TIED: "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert orphan.returncode == 1
    assert "process that started this one is gone" in orphan.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("baking 1 1", "There is no kind of run called baking; there are generation, training"),
        ("generation 99 1", "Run 99 is not there (any more)."),
        ("training {run} 1", "Run {run} is of the kind generation, not training."),
        ("generation {run} 2", "Run {run} is QUEUED at attempt 0, so nobody carries attempt 2."),
        ("generation x 1", "Say which attempt it is: python -m jobs.child KIND RUN_ID ATTEMPT"),
        ("generation", "Say which attempt it is: python -m jobs.child KIND RUN_ID ATTEMPT"),
    ],
)
def test_a_child_that_is_told_of_no_attempt_says_so_in_a_sentence(
    arguments: str, sentence: str, run_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert child.main(arguments.format(run=run_id).split()) == 2
    assert capsys.readouterr().err.startswith(sentence.format(run=run_id))
    assert look(run_id).status is RunStatus.QUEUED


def test_every_kind_is_declared_once_with_a_module_that_carries_it() -> None:
    for name, kind in KINDS.items():
        module = importlib.import_module(kind.module)
        assert callable(module.run), name
        assert callable(module.resources), name
    assert {mapper.polymorphic_identity for mapper in inspect(Run).self_and_descendants} == {None, *KINDS}


def test_the_app_s_side_of_jobs_stays_light() -> None:
    code = "import sys, jobs.runs, jobs.progress; assert not {'ray', 'torch', 'psycopg'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_worker_that_cannot_start_is_tried_less_and_less_often(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Clock:
        def wait(self, pause: float) -> bool:
            pauses.append(pause)
            return len(pauses) > 8

    def fails() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process

    monkeypatch.setattr(local, "_start_worker", fails)
    monkeypatch.setattr(local, "_somebody_works", lambda: len(pauses) == 8)
    local._keep_worker(Clock())  # type: ignore[arg-type]
    assert pauses == [0, 1, 3, 7, 15, 31, 60, 60, 1], "and looked after at once where one works"
