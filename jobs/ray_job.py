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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import psutil
from dotenv import dotenv_values
from pydantic import SecretStr
from sqlalchemy import make_url

from db.session import reading
from errors import PickwellError
from jobs.child import HANDED_ON, QUIET
from jobs.processes import StillThere
from jobs.progress import Progress
from jobs.runs import KINDS, Resources, log_file, the_run
from settings import ROOT, settings

JOBS = "/api/jobs/"
"""Between a cluster's address and a job's name, in the job's URL."""
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


class ClusterRefuses(PickwellError):
    """A run that cannot be carried on the Ray cluster."""


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
class Machine:
    """What one machine of the cluster has."""

    cpus: int
    gpus: int
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class End:
    """How a job ended."""

    exit_status: int | None
    """Of its command; none where Ray itself gave it up."""
    words: str
    """What Ray says of it."""


class Silence(Exception):
    """The cluster does not answer."""


class Cluster(Protocol):
    """What is asked of a cluster. Every method raises `Silence` when it does not answer."""

    def machines(self) -> Sequence[Machine]:
        """Those that are alive."""

    def submit(self, name: str, *, command: str, share: Resources, environment: Mapping[str, str]) -> None:
        """Submit a job; one of that name that is there already is as good."""

    def state(self, name: str) -> State | None:
        """How the job stands; none for one that the cluster does not know."""

    def end_of(self, name: str) -> End:
        """How a job that has ended did."""

    def stop(self, name: str) -> None:
        """Ask the job to stop."""


@dataclass(frozen=True)
class Order:
    """What is to be submitted."""

    progress: Progress
    line: Sequence[str]
    """The command, which begins with a Python."""

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return log_file(self.progress.kind, self.progress.run_id, self.progress.attempt)


class Job:
    """An attempt as a job, by the job's URL."""

    def __init__(self, url: str, order: Order | None = None) -> None:
        """``order`` is what to submit; none for a job of another worker, which may have submitted it or not."""
        self._url, self._order = url, order
        self.address, _, self.name = url.rpartition(JOBS)
        self._submitted, self._heard = False, time.monotonic()
        self._state, self._end = State.PENDING, End(None, "")

    @property
    def columns(self) -> Mapping[str, Any]:
        """The job's URL."""
        return {"job": self._url}

    @cached_property
    def _cluster(self) -> Cluster:
        return connected(self.address)

    @property
    def handed(self) -> Path:
        """The file by which the job is handed its environment."""
        return settings().home.resolve() / "handed-on" / f"{self.name}.json"

    def wait(self, seconds: float) -> int | None:
        """Look at the job, which is submitted at the first look that the cluster answers."""
        try:
            self._state = self._look()
            self._heard = time.monotonic()
        except Silence as problem:
            if time.monotonic() - self._heard > PATIENCE:
                raise ClusterRefuses(self._no_answer(problem)) from None
        if not self._state.ended:
            time.sleep(seconds)
            return None
        if self._state is State.SUCCEEDED:
            return 0
        with suppress(Silence):
            self._end = self._cluster.end_of(self.name)
        if self._order is not None and self._end.exit_status is None:
            with self._order.log.open("a") as file:
                file.write(f"{self._end.words}\n")
        return self._end.exit_status or 1

    def _look(self) -> State:
        state = self._cluster.state(self.name)
        if state is None and not self._submitted and self._order is not None:
            self._submit(self._order)
            state = State.PENDING
        self._submitted = True
        return state or State.STOPPED  # a cluster that was started anew knows it no more

    def _submit(self, order: Order) -> None:
        machines = self._cluster.machines()
        refuse_sqlite_elsewhere(machines)
        module = import_module(KINDS[order.progress.kind].module)
        with reading() as s:
            share = share_of(machines, module.resources(the_run(s, order.progress.run_id)))
        self.handed.parent.mkdir(mode=0o700, exist_ok=True)
        self.handed.unlink(missing_ok=True)
        with os.fdopen(os.open(self.handed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(handed_on(), file)
        environment = {HANDED_ON: str(self.handed), "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT), **QUIET}
        command = job_command(order.line, handed=self.handed, log=order.log)
        self._cluster.submit(self.name, command=command, share=share, environment=environment)

    def end(self, *, grace: float, hurry: threading.Event | None = None) -> None:
        """Stop the job and see that it has ended."""
        deadline = time.monotonic() + grace + STOPPING
        try:
            state = self._cluster.state(self.name)
            if state is not None and not state.ended:
                self._cluster.stop(self.name)
            while state is not None and not state.ended:
                if time.monotonic() > deadline:
                    raise StillThere(
                        f"The job {self.name} on the Ray cluster at {self.address} does not stop. Stop it there, then "
                        "press Try again."
                    )
                time.sleep(POLL)
                state = self._cluster.state(self.name)
        except Silence as problem:
            raise StillThere(self._no_answer(problem)) from None
        self.handed.unlink(missing_ok=True)

    def explain(self, exit_status: int, tail: str) -> str | None:
        """What only a cluster does to a run."""
        if exit_status == NOT_SEEN:
            return (
                f"The Ray cluster does not see the home {settings().home.resolve()}. Put PICKWELL_HOME on a file "
                "system that every machine of the cluster has under the same path, and press Try again."
            )
        if self._state is State.STOPPED:
            return "The job was stopped on the Ray cluster. Press Try again: it goes on from where it was."
        if "ModuleNotFoundError" in tail:
            said = (
                "The Ray cluster's Python lacks a package: install requirements-train.txt there, and press Try again."
            )
        elif self._state is State.FAILED and self._end.exit_status is None:
            said = (
                "The job on the Ray cluster failed. Press Try again; if it happens again, the end of its log says more:"
            )
        else:
            return None
        return f"{said}\n\n{tail}".strip()

    def _no_answer(self, problem: Exception) -> str:
        return (
            f"The Ray cluster at {self.address} does not answer ({str(problem).strip().splitlines()[0][:200]}). See "
            "that it runs and that PICKWELL_RAY_ADDRESS names its Jobs API, then press Try again: a job that still "
            "runs there is ended first."
        )


def ordered(progress: Progress, line: Sequence[str]) -> Job:
    """A job for the attempt, with a name that nobody else gives; it is submitted once it is waited for."""
    name = f"pickwell-{progress.kind}-{progress.run_id}-{progress.attempt}-{uuid.uuid4().hex[:8]}"
    return Job(f"{settings().ray_address.rstrip('/')}{JOBS}{name}", Order(progress, line))


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


def handed_on() -> dict[str, str]:
    """The settings, the keys of endpoints and the hub's token, for a job's environment.

    What a job is submitted with can be seen by everybody who sees the cluster, so they go by a file that only this
    user may read and that the job removes as it begins.
    """
    given = settings().model_copy(update={"home": settings().home.resolve(), "database_url": settings().url})
    own = {
        f"PICKWELL_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given
        if name != "ray_address"
    }
    keys = {
        name: value
        for name, value in {**dotenv_values(ROOT / ".env"), **os.environ}.items()
        if value and name.startswith("PICKWELL_KEY_")
    }
    return own | keys | {name: os.environ[name] for name in ALSO_HANDED if name in os.environ}


def sent_along(root: Path) -> dict[str, Any]:
    """The program as Ray sends it to the cluster: the folders that a run needs and the modules beside them."""
    stays = [
        f"/{place.name}"
        for place in sorted(root.iterdir())
        if not (place.is_dir() and place.name in NEEDED) and not (place.is_file() and place.suffix == ".py")
    ]
    return {"working_dir": str(root), "excludes": [*stays, "__pycache__"]}


def connected(address: str) -> Cluster:
    """A cluster behind Ray's Jobs API. Raises `Silence`, and `ClusterRefuses` where Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError:
        raise ClusterRefuses(
            "PICKWELL_RAY_ADDRESS names a Ray cluster and Ray is not installed here. Install it with "
            "pip install -r requirements-ray.txt, and press Try again."
        ) from None
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
        return [
            Machine(int(node.resources_total.get("CPU", 0)), int(node.resources_total.get("GPU", 0)), node.node_ip)
            for node in nodes
            if node.state == "ALIVE"
        ]

    def submit(self, name: str, *, command: str, share: Resources, environment: Mapping[str, str]) -> None:
        with _silence():
            try:
                self._client.submit_job(
                    entrypoint=command,
                    submission_id=name,
                    runtime_env={**sent_along(ROOT), "env_vars": dict(environment)},
                    entrypoint_num_cpus=share.cpus,
                    entrypoint_num_gpus=share.gpus,
                )
            except RuntimeError as problem:
                if "already exists" not in str(problem):  # the answer to an earlier try was lost
                    raise

    def state(self, name: str) -> State | None:
        with _silence():
            try:
                return State(self._client.get_job_status(name).value)
            except RuntimeError as problem:
                if "does not exist" in str(problem):
                    return None
                raise

    def end_of(self, name: str) -> End:
        with _silence():
            about = self._client.get_job_info(name)
            return End(about.driver_exit_code, about.message or "")

    def stop(self, name: str) -> None:
        with _silence():
            self._client.stop_job(name)


@contextmanager
def _silence() -> Iterator[None]:
    """What Ray's client raises for a cluster that cannot be reached or refuses, as `Silence`."""
    try:
        yield
    except (OSError, RuntimeError) as problem:
        # the exceptions of requests are OSErrors; Ray's, for answers other than 200, are not
        raise Silence(str(problem) or type(problem).__name__) from None
