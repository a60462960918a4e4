"""A training as a job of a Ray cluster, which this process submits, follows and stops.

    python -m training.trainer.ray_job FOLDER        (what the job runs)

The cluster's machines see the run's folder, the snapshot and the model under the same paths as this one (a shared file
system); the program itself is sent along. The job writes the folder as any training does, and here it is read. A job
outlives the process that follows it: the next attempt finds it by its name, which is kept in the folder before it is
submitted, so there are never two for one run. One that nobody has followed for half an hour ends itself.
"""

import os
import shlex
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, Protocol

from errors import TrainingFailed, missing_package
from files import read_json, write_json, write_whole
from settings import ROOT, settings
from training.trainer.following import Following, Silent, alone, begin_anew, failure
from training.trainer.processes import train_apart
from training.trainer.run_folder import RUN, Listener, RunFolder, RunInput

JOB = "ray.json"
"""The job of a run, from before it is submitted until its end was heard."""
FOLLOWED = "followed.txt"
"""Written anew again and again by whoever follows the job."""
ALONE_AT_MOST = 30 * 60.0
"""Seconds that a job goes on without anybody who follows it."""
BEAT = 15.0
"""Seconds between two signs of following."""
POLL = 1.0
"""Seconds between two looks at the job."""
PATIENCE = 120.0
"""Seconds of a cluster's silence, at least, before a run is given up."""
STOPPING = 15.0
"""Seconds that a job has to stop; Ray kills it after three."""
NOT_SEEN = "pickwell: the run's folder is not there"
TAIL_CHARACTERS = 3000
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "WANDB_MODE": "disabled"}
NEEDED = ("db", "jobs", "texts", "stats", "llm", "generation", "training")
"""Folders of the program that a training imports from; the rest stays here."""


class State(Enum):
    """How a job stands, in Ray's words."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Nothing will change it any more."""
        return self in (State.STOPPED, State.SUCCEEDED, State.FAILED)


@dataclass(frozen=True)
class Job:
    """A job of a cluster."""

    address: str
    name: str
    """Ray's submission id."""


@dataclass(frozen=True)
class Machine:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int


class Silence(Exception):
    """The cluster does not answer."""


class Cluster(Protocol):
    """What is asked of a cluster. Every method raises `Silence` when it does not answer."""

    def machines(self) -> Sequence[Machine]:
        """Those that are alive."""

    def submit(self, name: str, *, command: str, cpus: int, gpus: int) -> None:
        """Submit a job; one of that name that is there already is as good."""

    def state(self, name: str) -> State | None:
        """How the job stands; none for one that the cluster does not know."""

    def last_words(self, name: str) -> str:
        """What Ray says of the job's end, and the end of what it printed."""

    def stop(self, name: str) -> None:
        """Ask the job to stop."""


def run_on_ray(
    folder: Path,
    given: RunInput,
    listener: Listener,
    *,
    cancelled: Callable[[], bool],
    connect: Callable[[str], Cluster] | None = None,
) -> None:
    """Train on the cluster; see `training.trainer.launch.launch`."""
    connect = connect or connected
    job = _kept(folder) or Job(settings().ray_address, f"pickwell-{folder.name}-{uuid.uuid4().hex[:8]}")
    if not job.address:
        raise TrainingFailed(
            "The recipe trains on a Ray cluster and none is named. Set PICKWELL_RAY_ADDRESS to the address of its Jobs "
            "API, as http://127.0.0.1:8265, and start Pickwell again."
        )
    try:
        cluster = connect(job.address)
        state = cluster.state(job.name)
        if state in (None, State.STOPPED):
            job = Job(job.address, job.name if state is None else f"pickwell-{folder.name}-{uuid.uuid4().hex[:8]}")
            _submit(cluster, job, folder, given)
    except Silence as problem:
        raise TrainingFailed(_no_answer(job, problem)) from None
    try:
        with _told_to_end():
            state = _follow(cluster, job, folder, listener)
    except ToldToEnd:
        if cancelled():
            _stop(cluster, job, folder)
        raise
    except Silence as problem:
        raise TrainingFailed(_no_answer(job, problem)) from None
    except BaseException:
        _stop(cluster, job, folder)
        raise
    words = ""
    with suppress(Silence):
        words = cluster.last_words(job.name)
    (folder / JOB).unlink(missing_ok=True)
    if state is State.SUCCEEDED and RunFolder(folder).finished():
        return
    raise TrainingFailed(failure(folder) or ended_sentence(state, folder=folder, words=words))


def _kept(folder: Path) -> Job | None:
    """The job of an earlier attempt whose end nobody heard."""
    said = read_json(folder / JOB)
    return Job(**said) if said else None


def _submit(cluster: Cluster, job: Job, folder: Path, given: RunInput) -> None:
    share = share_of(cluster.machines(), processes=given.processes)
    begin_anew(folder)
    _be_followed(folder)
    write_json(folder / JOB, asdict(job))
    cluster.submit(job.name, command=job_command(folder, python=sys.executable), cpus=share.cpus, gpus=share.gpus)


def share_of(machines: Sequence[Machine], *, processes: int) -> Machine:
    """What to ask of one machine: a GPU for each process where the cluster has any, else a core for each.

    Raises `TrainingFailed` where no machine has so many, for which Ray would wait in vain, and `Silence` where the
    cluster has no machine yet.
    """
    if not machines:
        raise Silence("it has no machine yet")
    gpus, cpus = (max((getattr(machine, what) for machine in machines), default=0) for what in ("gpus", "cpus"))
    most, what = (gpus, "GPU") if gpus else (cpus, "core")
    if most < processes:
        raise TrainingFailed(
            f"The recipe wants {processes} process{'es' if processes > 1 else ''} and no machine of the Ray cluster "
            f"has more than {most} {what}{'s' if most != 1 else ''}. Choose a recipe with fewer, or add a larger "
            "machine."
        )
    return Machine(cpus=0, gpus=processes) if gpus else Machine(cpus=processes, gpus=0)


def job_command(folder: Path, *, python: str) -> str:
    """The job's command for a shell: look whether the folder is there first, then train with this Python or theirs."""
    run, here = shlex.quote(str(folder / RUN)), shlex.quote(python)
    return (
        f'if [ ! -f {run} ]; then echo "{NOT_SEEN}"; exit 3; fi; '
        f"python={here}; [ -x {here} ] || python=python3; "
        f'exec "$python" -m training.trainer.ray_job {shlex.quote(str(folder))}'
    )


def sent_along(root: Path) -> dict[str, Any]:
    """The program as Ray sends it to the cluster: the folders that a training needs and the modules beside them."""
    stays = [
        f"/{place.name}"
        for place in sorted(root.iterdir())
        if not (place.is_dir() and place.name in NEEDED) and not (place.is_file() and place.suffix == ".py")
    ]
    return {"working_dir": str(root), "excludes": [*stays, "__pycache__"]}


def _follow(cluster: Cluster, job: Job, folder: Path, listener: Listener) -> State:
    """Until the job has ended. Raises `Silence`, and whatever the Listener raises."""
    following, wait = Following(folder, listener), threading.Event()
    heard, followed, waiting = time.monotonic(), float("-inf"), False
    while True:
        following.look()
        if time.monotonic() - followed >= BEAT:
            _be_followed(folder)
            followed = time.monotonic()
        try:
            state = cluster.state(job.name)
            heard = time.monotonic()
        except Silence:
            if time.monotonic() - heard > PATIENCE:
                raise
            state = State.RUNNING
        if state is None:
            return State.STOPPED
        if state.ended:
            following.look()
            return state
        if state is State.PENDING and not waiting:
            listener.stage("Waiting for the Ray cluster")
        waiting = state is State.PENDING
        wait.wait(POLL)


def _be_followed(folder: Path) -> None:
    write_whole(folder / FOLLOWED, str(time.time()))


def _stop(cluster: Cluster, job: Job, folder: Path) -> None:
    """Stop the job and wait until it has; one that cannot be reached stays in the folder for the next attempt."""
    wait = threading.Event()
    with suppress(Silence):
        cluster.stop(job.name)
        deadline = time.monotonic() + STOPPING
        while time.monotonic() < deadline:
            state = cluster.state(job.name)
            if state is None or state.ended:
                (folder / JOB).unlink(missing_ok=True)
                return
            wait.wait(POLL / 4)


class ToldToEnd(SystemExit):
    """What SIGTERM becomes."""


@contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM becomes `ToldToEnd` in the block; only a process's main thread can have that."""

    def told(*_: object) -> NoReturn:
        raise ToldToEnd(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ended_sentence(state: State, *, folder: Path, words: str) -> str:
    """Why a job that left no sentence of its own gave no model."""
    if NOT_SEEN in words:
        return (
            f"The Ray cluster does not see the run's folder {folder}. Put PICKWELL_HOME on a file system that every "
            "machine of the cluster has under the same path, and press Try again."
        )
    if state is State.STOPPED:
        return "The job was stopped on the Ray cluster. Press Try again: it goes on from its last checkpoint."
    if state is State.SUCCEEDED:
        return (
            f"The job on the Ray cluster came to its end and left no model in {folder}. Check that the cluster writes "
            "to the same file system as this machine, and press Try again."
        )
    if "ModuleNotFoundError" in words:
        said = "The Ray cluster's Python lacks a package: install requirements/train.txt there, and press Try again."
    else:
        said = "The job on the Ray cluster failed. Press Try again; if it happens again, the end of its log says more:"
    return f"{said}\n\n{words[-TAIL_CHARACTERS:]}".strip()


def _no_answer(job: Job, problem: Exception) -> str:
    return (
        f"The Ray cluster at {job.address} does not answer ({str(problem).strip().splitlines()[0][:200]}). See that it "
        "runs and that PICKWELL_RAY_ADDRESS names its Jobs API, then press Try again: a job that still runs there is "
        "found again."
    )


def connected(address: str) -> Cluster:
    """A cluster behind Ray's Jobs API. Raises `Silence`, and `TrainingFailed` where Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise TrainingFailed(missing_package("Training on a Ray cluster", "ray[default]")) from None
    with _silence():
        return _Ray(address, JobSubmissionClient(address))


class _Ray:
    """Ray's own client, as a `Cluster`."""

    def __init__(self, address: str, client: Any) -> None:
        self._address, self._client = address, client

    def machines(self) -> Sequence[Machine]:
        from ray.util.state import list_nodes

        with _silence():
            nodes = list_nodes(address=self._address, detail=True, raise_on_missing_output=False)
        found: list[Mapping[str, float]] = [node.resources_total for node in nodes if node.state == "ALIVE"]
        return [Machine(cpus=int(has.get("CPU", 0)), gpus=int(has.get("GPU", 0))) for has in found]

    def submit(self, name: str, *, command: str, cpus: int, gpus: int) -> None:
        environment = {**QUIET, "PYTHONUNBUFFERED": "1", "PICKWELL_HOME": str(settings().home.resolve())}
        with _silence(), _as_good_if_there():
            self._client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env={**sent_along(ROOT), "env_vars": environment},
                entrypoint_num_cpus=cpus,
                entrypoint_num_gpus=gpus,
            )

    def state(self, name: str) -> State | None:
        with _silence():
            try:
                return State(self._client.get_job_status(name).value)
            except RuntimeError as problem:
                if "does not exist" in str(problem):
                    return None
                raise

    def last_words(self, name: str) -> str:
        with _silence():
            message = self._client.get_job_info(name).message or ""
            return f"{message}\n{self._client.get_job_logs(name)}"

    def stop(self, name: str) -> None:
        with _silence():
            self._client.stop_job(name)


@contextmanager
def _silence() -> Iterator[None]:
    """What Ray's client raises for a cluster that cannot be reached or refuses, as `Silence`."""
    try:
        yield
    except (
        OSError,
        RuntimeError,
    ) as problem:  # requests' exceptions are OSErrors; ray's answers other than 200 are not
        raise Silence(str(problem) or type(problem).__name__) from None


@contextmanager
def _as_good_if_there() -> Iterator[None]:
    """A job that was submitted although the answer was lost is no failure."""
    try:
        yield
    except RuntimeError as problem:
        if "already exists" not in str(problem):
            raise


class Followed:
    """The job's own look at whether somebody follows it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = folder / FOLLOWED, clock
        self._seen, self._at = "", clock()

    def check(self) -> None:
        """Raise `TrainingFailed` after half an hour without a sign, by this machine's clock."""
        with suppress(OSError):
            if (seen := self._file.read_text()) != self._seen:
                self._seen, self._at = seen, self._clock()
        if self._clock() - self._at > ALONE_AT_MOST:
            raise TrainingFailed(
                "Nobody followed the job on the Ray cluster for half an hour, so it ended itself. Press Try again: it "
                "goes on from its last checkpoint."
            )


def in_job(folder: Path) -> None:
    """Train on the machine that the job was given, in processes of its own."""
    train_apart(folder, RunFolder(folder).input(), Silent(), look=Followed(folder).check)


def main() -> None:
    """Do the work of the job, in the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.trainer.ray_job FOLDER")
    alone(Path(sys.argv[1]), lambda folder, listener: in_job(folder))


if __name__ == "__main__":
    main()
