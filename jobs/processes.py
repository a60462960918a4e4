"""Processes that are proved to be who we think, for a pid alone may be somebody else's by now; and that outlive nobody.

    python -m jobs.processes PARENT SIGNAL COMMAND ...

becomes the command, which gets the signal when process PARENT ends, even one that was killed outright. The command's
own children find its pid in their environment under `TIED` and can do the same with `die_with_parent`.
"""

import ctypes
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from errors import PickwellError

SAME_START = 2.0
"""Seconds that two readings of one process's start may differ: the clock is set now and then."""

TIED = "PICKWELL_TIED_TO"
"""Environment variable with the pid of whom a process's children are to end with: a worker, or what `tied` became."""

GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, ProcessLookupError)


class StillThere(PickwellError):
    """What carried an attempt is not proved to have ended."""


def boot_id() -> str:
    """A mark of this machine's present boot: process ids of another boot mean nothing."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else f"{platform.node()}-{psutil.boot_time():.0f}"


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have this process get the signal when the thread that started it ends, and exit now if that has happened already.

    ``parent`` is the pid of the process that started this one. Only Linux can do this; elsewhere a worker that takes
    the run up again ends what is left.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        if ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("The process that started this one is gone, so it ends.")


def tied(command: Sequence[str], *, by: signal.Signals) -> list[str]:
    """The command line of a command that gets the signal when this process ends."""
    return [sys.executable, "-m", "jobs.processes", str(os.getpid()), str(by.value), *command]


@dataclass(frozen=True)
class Group:
    """A process started as the leader of its own session, and every process under it."""

    leader: int
    """Pid of the leader, which is also the number of the group and the session."""
    started: float
    """Start of the leader, seconds since the epoch."""
    boot: str
    """`boot_id` at that time."""

    @classmethod
    def of(cls, pid: int) -> "Group":
        """The group of a leader that is running, or has ended and was not waited for."""
        return cls(pid, psutil.Process(pid).create_time(), boot_id())

    def members(self) -> list[psutil.Process]:
        """Whoever still runs of the group: same group or session, or a descendant of the leader; zombies are gone."""
        if self.boot != boot_id():
            return []
        members: set[psutil.Process] = set()
        with suppress(*GONE):
            leader = psutil.Process(self.leader)
            if not self._is_leader(leader):
                return []  # the system gives a number out again only when no group or session has it
            members.update(leader.children(recursive=True))
        for pid in psutil.pids():
            with suppress(*GONE, PermissionError):
                if self.leader in (os.getpgid(pid), os.getsid(pid)):
                    process = psutil.Process(pid)
                    if process.create_time() >= self.started - SAME_START:
                        members.add(process)
        return [process for process in members if _runs(process)]

    def end(self, *, grace: float, hurry: threading.Event | None = None, patience: float = 10.0) -> bool:
        """Ask every member to end, wait ``grace`` seconds, kill who is left; True when all are gone.

        ``hurry`` cuts the wait short once it is set.
        False when somebody outlives SIGKILL for ``patience`` seconds, as a process stuck in a broken disk does.
        """
        known = set(self.members())
        self._signal(signal.SIGTERM, known)
        deadline = time.monotonic() + grace
        hurry = hurry or threading.Event()
        while (left := self._left(known)) and time.monotonic() < deadline and not hurry.is_set():
            time.sleep(0.05)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            self._signal(signal.SIGKILL, left)
            time.sleep(0.05)
            left = self._left(known)
        return not left

    def _is_leader(self, process: psutil.Process) -> bool:
        return abs(process.create_time() - self.started) < SAME_START

    def _left(self, known: set[psutil.Process]) -> set[psutil.Process]:
        known.update(self.members())  # those who left the session are found only while their parents live
        return {process for process in known if _runs(process)}

    def _signal(self, number: signal.Signals, processes: set[psutil.Process]) -> None:
        # The leader first, lest it takes the end of a server below it for a failure.
        # psutil looks at the start of each again, so that no stranger is hit.
        for process in sorted(processes, key=lambda process: process.pid != self.leader):
            with suppress(*GONE, psutil.AccessDenied):
                process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except GONE:
        return False


def main() -> None:
    """Tie this process to its parent and become the command; see the module."""
    parent, number, *command = sys.argv[1:]
    die_with_parent(int(parent), signal.Signals(int(number)))
    os.environ[TIED] = str(os.getpid())
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
