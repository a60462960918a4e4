"""An attempt at a run as a job of a Ray cluster, through its Jobs API.

The cluster's machines see the home under the same path as this one (a shared file system) and reach the same database;
the program itself is sent along. The job's name is fixed before it is submitted, and a cluster takes a name once, so
there are never two jobs for one attempt, whichever answers are lost. One that no worker follows ends itself.
"""

import json
import os
import shlex
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
from dotenv import dotenv_values
from sqlalchemy import make_url

from db.session import reading
from errors import PickwellError, missing_package
from jobs.child import HANDED_ON, QUIET
from jobs.processes import TIED, StillThere
from jobs.progress import Progress
from jobs.runs import KINDS, Resources, get_run
from settings import ENV_FILE, ROOT, settings

JOBS = "/api/jobs/"
"""Between a cluster's address and a job's name, in the job's URL."""
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
"""States of a job that nothing will change any more."""
POLL = 0.25
"""Seconds between two looks at a job that was told to stop."""
PATIENCE = 120.0
"""Seconds of a cluster's silence, at least, before a run is given up."""
STOP_WAIT = 10
"""Seconds that Ray gives a job that was told to stop before it kills it."""
STOPPING = STOP_WAIT + 5.0
"""Seconds after which a job that was told to stop should have ended."""
NOT_SEEN = 78
"""Exit status of a job that does not find what it was handed."""
NEEDED = ("db", "jobs", "texts", "stats", "llm", "intake", "generation", "review", "training", "eval", "release")
"""Folders of the program that a run may import from; the rest stays here."""
ALSO_HANDED = ("HF_TOKEN", "HF_ENDPOINT", "MLFLOW_TRACKING_URI")
"""What a run may need from the environment beside the settings and keys, whose names begin with PICKWELL_."""
STAY = ("PICKWELL_RAY_ADDRESS", TIED)
"""What means something in this process only."""


class ClusterRefuses(PickwellError):
    """A run that cannot be carried on the Ray cluster."""


class Silence(Exception):
    """The cluster does not answer."""


@dataclass(frozen=True)
class Machine:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class JobState:
    """How a job stands, in Ray's words."""

    status: str
    """PENDING, RUNNING or one of `ENDED`."""
    exit_status: int | None = None
    """Of its command, once that has ended; none where Ray itself gave it up."""
    words: str = ""


class Job:
    """An attempt as a job, by the job's URL."""

    def __init__(self, url: str, progress: Progress | None = None, line: Sequence[str] = ()) -> None:
        """Without an attempt and its command line it is another worker's, which may have submitted it or not."""
        self._url, self._progress, self._line = url, progress, line
        self.address, _, self.name = url.rpartition(JOBS)
        self._submitted, self._heard_at, self._state = False, time.monotonic(), JobState("PENDING")

    @cached_property
    def _cluster(self) -> "Cluster":
        return connect_cluster(self.address)

    @property
    def columns(self) -> Mapping[str, Any]:
        """The job's URL, as the run's row keeps it."""
        return {"job": self._url}

    @property
    def handed(self) -> Path:
        """The file by which the job is handed its environment."""
        return settings().home.resolve() / "handed-on" / f"{self.name}.json"

    def wait(self, seconds: float) -> int | None:
        """Look at the job, which is submitted at the first look that the cluster answers; see `Processes.wait`."""
        try:
            self._state = self._look()
            self._heard_at = time.monotonic()
        except Silence as problem:
            if time.monotonic() - self._heard_at > PATIENCE:
                raise ClusterRefuses(self._no_answer(problem)) from None
        if self._state.status not in ENDED:
            time.sleep(seconds)
            return None
        return 0 if self._state.status == "SUCCEEDED" else self._state.exit_status or 1

    def _look(self) -> JobState:
        state = self._cluster.look(self.name)
        if state is None and not self._submitted and self._progress is not None:
            self._submit(self._progress)
            state = JobState("PENDING")
        self._submitted = True
        return state or JobState("STOPPED")  # a cluster that was started anew knows it no more

    def _submit(self, progress: Progress) -> None:
        machines = self._cluster.machines()
        refuse_sqlite_elsewhere(machines)
        with reading() as s:
            wanted = import_module(KINDS[progress.kind].module).resources(get_run(s, progress.run_id))
        share = share_of(machines, wanted)
        self.handed.parent.mkdir(mode=0o700, exist_ok=True)
        self.handed.unlink(missing_ok=True)
        with os.fdopen(os.open(self.handed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(job_environment(), file)
        self._cluster.submit(
            self.name,
            command=job_command(self._line, handed=self.handed, log=progress.log),
            share=share,
            environment={HANDED_ON: str(self.handed), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT), **QUIET},
        )

    def end(self, *, grace: float, hurry: threading.Event | None = None) -> None:
        """Stop the job and see that it has ended; see `Processes.end`."""
        deadline = time.monotonic() + grace + STOPPING
        told = False
        try:
            while (state := self._cluster.look(self.name)) is not None and state.status not in ENDED:
                if time.monotonic() > deadline:
                    raise StillThere(
                        f"The job {self.name} on the Ray cluster at {self.address} does not stop. Stop it there, then "
                        "press Try again."
                    )
                if not told:
                    self._cluster.stop(self.name)
                    told = True
                time.sleep(POLL)
        except Silence as problem:
            raise StillThere(self._no_answer(problem)) from None
        self.handed.unlink(missing_ok=True)

    def explain(self, exit_status: int, tail: str) -> str | None:
        """What only a cluster does to a run; see `Processes.explain`."""
        if exit_status == NOT_SEEN:
            return (
                f"The Ray cluster does not see the home {settings().home.resolve()}. Put PICKWELL_HOME on a file "
                "system that every machine of the cluster has under the same path, and press Try again."
            )
        if self._state.status == "STOPPED":
            return "The job was stopped on the Ray cluster. Press Try again: it goes on from where it was."
        if "ModuleNotFoundError" in tail:
            why = "The Ray cluster's Python lacks a package: install requirements/train.txt there, and press Try again."
        elif self._state.status == "FAILED" and self._state.exit_status is None:
            why = "The job on the Ray cluster failed. Press Try again; if it happens again, Ray and its log say more:"
            tail = f"{self._state.words}\n\n{tail}"
        else:
            return None
        return f"{why}\n\n{tail}".strip()

    def _no_answer(self, problem: Exception) -> str:
        return (
            f"The Ray cluster at {self.address} does not answer ({str(problem).strip().splitlines()[0][:200]}). See "
            "that it runs and that PICKWELL_RAY_ADDRESS names its Jobs API, then press Try again: a job that still "
            "runs there is ended first."
        )


def order_job(progress: Progress, line: Sequence[str]) -> Job:
    """A job for the attempt, with a name that nobody else gives; it is submitted once it is waited for."""
    name = f"pickwell-{progress.kind}-{progress.run_id}-{progress.attempt}-{uuid.uuid4().hex[:8]}"
    return Job(f"{settings().ray_address.rstrip('/')}{JOBS}{name}", progress, line)


def refuse_sqlite_elsewhere(machines: Sequence[Machine]) -> None:
    """Raise `ClusterRefuses` where the database is a SQLite file and a job might run on another machine than this."""
    here = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    elsewhere = next((machine.address for machine in machines if machine.address not in here), None)
    if elsewhere is not None and make_url(settings().url).get_backend_name() == "sqlite":
        raise ClusterRefuses(
            f"The Ray cluster has the machine {elsewhere} beside this one, and a SQLite file serves one machine only. "
            "Set PICKWELL_DATABASE_URL to a PostgreSQL database that every machine of the cluster reaches, and start "
            "Pickwell again."
        )


def share_of(machines: Sequence[Machine], wanted: Resources) -> Resources:
    """What to ask of one machine: the GPUs that are wanted where the cluster has any, else the cores.

    Raises `ClusterRefuses` where no machine has so many, for which Ray would wait in vain, and `Silence` where the
    cluster has no machine yet.
    """
    if not machines:
        raise Silence("it has no machine yet")
    gpus, cpus = max(machine.gpus for machine in machines), max(machine.cpus for machine in machines)
    on_gpus = bool(wanted.gpus and gpus)
    number, most, unit = (wanted.gpus, gpus, "GPU") if on_gpus else (wanted.cpus, cpus, "core")
    if most < number:
        raise ClusterRefuses(
            f"This run wants {number} {unit}{'s' if number != 1 else ''} and no machine of the Ray cluster has more "
            f"than {most}. Choose a recipe with fewer processes, set PICKWELL_TENSOR_PARALLEL and "
            "PICKWELL_DATA_PARALLEL to less, or add a larger machine."
        )
    return Resources(cpus=0, gpus=number) if on_gpus else Resources(cpus=number, gpus=0)


def job_command(line: Sequence[str], *, handed: Path, log: Path) -> str:
    """The job's command for a shell: look whether the home is there, then run the line with this Python or theirs."""
    file, here, rest = shlex.quote(str(handed)), shlex.quote(line[0]), shlex.join(line[1:])
    return (
        f"[ -r {file} ] || exit {NOT_SEEN}; python={here}; [ -x {here} ] || python=python3; "
        f'exec "$python" {rest} >> {shlex.quote(str(log))} 2>&1'
    )


def job_environment() -> dict[str, str]:
    """The settings, the keys of endpoints and the hub's token, for a job's environment.

    What a job is submitted with can be seen by everybody who sees the cluster, so they go by a file that only this
    user may read and that the job removes as it begins.
    """
    environment = {**dotenv_values(ENV_FILE), **os.environ}
    own = {name: value for name, value in environment.items() if value and name.startswith("PICKWELL_")}
    here = settings().whole_paths() | {"PICKWELL_DATABASE_URL": settings().url}
    also = {name: os.environ[name] for name in ALSO_HANDED if name in os.environ}
    return {name: value for name, value in (own | here | also).items() if name not in STAY}


def runtime_environment(root: Path) -> dict[str, Any]:
    """The program as Ray sends it to the cluster: the folders that a run needs and the modules beside them."""
    excluded = [
        f"/{path.name}"
        for path in sorted(root.iterdir())
        if not (path.is_dir() and path.name in NEEDED) and not (path.is_file() and path.suffix == ".py")
    ]
    return {"working_dir": str(root), "excludes": [*excluded, "__pycache__"]}


def connect_cluster(address: str) -> "Cluster":
    """The cluster at an address. Raises `Silence`, and `ClusterRefuses` where Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise ClusterRefuses(
            missing_package("The Ray cluster that PICKWELL_RAY_ADDRESS names", "ray[default]") + " Or unset it."
        ) from None
    with _silence():
        return Cluster(address, JobSubmissionClient(address))


class Cluster:
    """What is asked of a cluster. Every method raises `Silence` when it does not answer."""

    def __init__(self, address: str, client: Any) -> None:
        self._address, self._client = address, client

    def machines(self) -> Sequence[Machine]:
        """Those that are alive."""
        from ray.util.state import list_nodes

        with _silence():
            nodes = list_nodes(address=self._address, detail=True, raise_on_missing_output=False)
        return [
            Machine(int(node.resources_total.get("CPU", 0)), int(node.resources_total.get("GPU", 0)), node.node_ip)
            for node in nodes
            if node.state == "ALIVE"
        ]

    def submit(self, name: str, *, command: str, share: Resources, environment: Mapping[str, str]) -> None:
        """Submit a job; one of that name that is there already is as good."""
        with _silence(but="already exists"):  # the answer to an earlier try was lost
            self._client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env={**runtime_environment(ROOT), "env_vars": dict(environment)},
                entrypoint_num_cpus=share.cpus,
                entrypoint_num_gpus=share.gpus,
            )

    def look(self, name: str) -> JobState | None:
        """How the job stands; none for one that the cluster does not know."""
        with _silence(but="does not exist"):
            job = self._client.get_job_info(name)
            return JobState(job.status.value, job.driver_exit_code, job.message or "")
        return None

    def stop(self, name: str) -> None:
        """Ask the job to stop."""
        with _silence():
            self._client.stop_job(name)


@contextmanager
def _silence(*, but: str | None = None) -> Iterator[None]:
    """What Ray's client raises for a cluster that cannot be reached or refuses, as `Silence`; ``but`` that passes."""
    try:
        yield
    except (OSError, RuntimeError) as problem:
        # the exceptions of requests are OSErrors; Ray's, for answers other than 200, are not
        if but is None or but not in str(problem):
            raise Silence(str(problem) or type(problem).__name__) from None
