"""Where an attempt is carried: by a process group on this machine, or as a job of the Ray cluster that is named.

Either runs the same command, ``python -m jobs.child KIND ID ATTEMPT``, and is watched and ended in the same way.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from db.models import Run
from jobs.child import PARENT, child_command
from jobs.processes import Group, StillThere
from jobs.progress import Progress
from jobs.ray_job import Job, ordered
from jobs.runs import log_file
from settings import ROOT, settings

Command = Callable[[str, int, int], Sequence[str]]
"""The command line for kind, run id and attempt."""


class Place(Protocol):
    """Where an attempt is, or was, carried."""

    def end(self, *, grace: float, hurry: threading.Event | None = None) -> None:
        """End everything there and see that it has ended.

        Args:
            grace: seconds that it has to end by itself.
            hurry: cuts that short once it is set.

        Raises `StillThere` where its end is not proved.
        """


class Launched(Place, Protocol):
    """An attempt that this worker started."""

    @property
    def columns(self) -> Mapping[str, Any]:
        """What the run's row keeps, so that another worker finds the place; see `place_of`."""

    def wait(self, seconds: float) -> int | None:
        """Wait for the end, at most so long; the exit status once it has come. Raises a sentence where none can."""

    def explain(self, exit_status: int, tail: str) -> str | None:
        """Why it ended, where the place itself has something to say; ``tail`` is the end of the attempt's log."""


def launch(progress: Progress, command: Command = child_command) -> Launched:
    """Start an attempt where the settings say: on the cluster that `Settings.ray_address` names, else here."""
    line = command(progress.kind, progress.run_id, progress.attempt)
    if settings().ray_address:
        job = ordered(progress, line)
        # the name is in the row before the job is anywhere, so that whoever takes the run over finds it
        progress.update(**job.columns, stage="Waiting for the Ray cluster")
        return job
    return Processes.started(progress, line)


def place_of(run: Run) -> Place | None:
    """Where the run's last attempt was carried, if it got that far."""
    if run.job is not None:
        return Job(run.job)
    group = group_of(run)
    return Processes(group) if group is not None else None


def group_of(run: Run) -> Group | None:
    """The process group of a run's last attempt, if it got as far as having one."""
    if run.process_group is None or run.process_started is None or run.boot_id is None:
        return None
    return Group(run.process_group, run.process_started, run.boot_id)


@dataclass(frozen=True)
class Processes:
    """An attempt as a process group on this machine."""

    group: Group
    leader: "subprocess.Popen[bytes] | None" = None
    """None for an attempt that another worker started."""

    @classmethod
    def started(cls, progress: Progress, line: Sequence[str]) -> "Processes":
        """Start the command as the leader of a session of its own; its output goes to the attempt's log.

        It dies with the thread that calls this, so that must be the one that watches.
        """
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with log_file(progress.kind, progress.run_id, progress.attempt).open("ab") as output:
            leader = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())},
            )
        return cls(Group.of(leader.pid), leader)

    @property
    def columns(self) -> Mapping[str, Any]:
        """Pid and start of the leader, and the machine's boot."""
        return {
            "process_group": self.group.leader,
            "process_started": self.group.started,
            "boot_id": self.group.boot,
        }

    def wait(self, seconds: float) -> int | None:
        """Wait for the leader's end."""
        assert self.leader is not None
        with suppress(subprocess.TimeoutExpired):
            return self.leader.wait(timeout=seconds)
        return None

    def end(self, *, grace: float, hurry: threading.Event | None = None) -> None:
        """End every process of the group."""
        if not self.group.end(grace=grace, hurry=hurry):
            raise StillThere(
                f"Process group {self.group.leader} outlives being killed, as when a disk does not answer. Restart the "
                "machine, then press Try again."
            )
        if self.leader is not None:
            self.leader.wait()

    def explain(self, exit_status: int, tail: str) -> str | None:
        """Nothing: the exit status says it."""
