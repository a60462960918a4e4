"""Where an attempt is carried: by a process group on this machine, or as a job of the Ray cluster that is named.

Either runs the same command, ``python -m jobs.child KIND ID ATTEMPT``, and is watched and ended in the same way.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from db.models import Run
from jobs.child import child_command
from jobs.processes import TIED, Group, StillThere
from jobs.progress import Progress
from jobs.ray_job import Job, order_job
from settings import ROOT, settings

Command: TypeAlias = Callable[[str, int, int], Sequence[str]]
"""The command line for kind, run id and attempt."""


class Processes:
    """An attempt as a process group on this machine."""

    def __init__(self, group: Group, leader: "subprocess.Popen[bytes] | None" = None) -> None:
        """Without the process of its leader, it is what another worker started."""
        self._group, self._leader = group, leader

    @property
    def columns(self) -> Mapping[str, Any]:
        """What the run's row keeps, so that another worker finds it; see `place_of`."""
        return {
            "process_group": self._group.leader,
            "process_started": self._group.started,
            "boot_id": self._group.boot,
        }

    def wait(self, seconds: float) -> int | None:
        """Wait for the end, at most so long; the exit status once it has come. Raises a sentence where none can."""
        assert self._leader is not None
        with suppress(subprocess.TimeoutExpired):
            return self._leader.wait(timeout=seconds)
        return None

    def end(self, *, grace: float, hurry: threading.Event | None = None) -> None:
        """End everything there and see that it has ended.

        Args:
            grace: seconds that it has to end by itself.
            hurry: cuts that short once it is set.

        Raises `StillThere` where its end is not proved.
        """
        if not self._group.end(grace=grace, hurry=hurry):
            raise StillThere(
                f"Process group {self._group.leader} outlives being killed, as when a disk does not answer. Restart "
                "the machine, then press Try again."
            )
        if self._leader is not None:
            self._leader.wait()

    def explain(self, exit_status: int, tail: str) -> str | None:
        """Why it ended, where the place has something to say to that; ``tail`` is the end of the attempt's log."""


Place: TypeAlias = Processes | Job
"""Where an attempt is, or was, carried."""


def launch(progress: Progress, command: Command = child_command) -> Place:
    """Start an attempt where the settings say: on the cluster that `Settings.ray_address` names, else here.

    A process dies with the thread that calls this, so that must be the one that watches.
    """
    line = command(progress.kind, progress.run_id, progress.attempt)
    if settings().ray_address:
        job = order_job(progress, line)
        # the name is in the row before the job is anywhere, so that whoever takes the run over finds it
        progress.update(**job.columns, stage="Waiting for the Ray cluster")
        return job
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with progress.log.open("ab") as output:
        leader = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", TIED: str(os.getpid())},
        )
    return Processes(Group.of(leader.pid), leader)


def place_of(run: Run) -> Place | None:
    """Where the run's last attempt was carried, if it got that far."""
    if run.job is not None:
        return Job(run.job)
    if run.process_group is None or run.process_started is None or run.boot_id is None:
        return None
    return Processes(Group(run.process_group, run.process_started, run.boot_id))
