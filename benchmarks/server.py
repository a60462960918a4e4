"""Servers that a measurement starts on loopback, and ends with everything that they started."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from settings import ROOT

GRACE = 15.0
"""Seconds in which a server may end by itself before it is killed."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    """Such as http://127.0.0.1:8501."""
    process: psutil.Process
    log: Path
    """What it prints."""

    @property
    def megabytes(self) -> float:
        """Resident memory of the process and its children, in MB of a million bytes."""
        everybody = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in everybody) / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the process and its living children have used."""
        everybody = [self.process, *self.process.children(recursive=True)]
        return float(sum(one.cpu_times().user + one.cpu_times().system for one in everybody))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str], *, port: int, health: str, log: Path, environment: Mapping[str, str], patience: float = 60.0
) -> Iterator[Server]:
    """Start a server in a process group of its own, and end the whole group afterwards.

    Args:
        command: what to run, in the folder of this checkout.
        port: that it was told to listen on.
        health: path that answers 200 as soon as it serves.
        log: file for what it prints.
        environment: variables beside those of this process.
        patience: seconds until it has to answer.
    """
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
        )
        try:
            _wait_for(address + health, process, patience, log)
            yield Server(address, psutil.Process(process.pid), log)
        finally:
            _end(process)


@contextmanager
def the_app(home: Path) -> Iterator[Server]:
    """The app as `make run` starts it, on the database in `home`, without the worker."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.address", "127.0.0.1"]
    with serving(
        [*command, "--server.port", str(port)],
        port=port,
        health="/_stcore/health",
        log=home / "app.log",
        environment={"PICKWELL_HOME": str(home)},
    ) as server:
        yield server


def _wait_for(url: str, process: subprocess.Popen[bytes], patience: float, log: Path) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer. The last that it said: {log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
