"""``pickwell run`` as a service manager, a closed terminal and a crash meet it: real processes on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from jobs.life import home_has_worker
from settings import ROOT, settings

pytestmark = pytest.mark.slow


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not come to pass."
        time.sleep(0.1)


def lives(process: psutil.Process) -> bool:
    """Whether a process still does anything; an orphan that ended may wait for long until somebody takes note."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def heed_signals() -> None:
    """As a shell starts what a person types: nothing is ignored, as it is under nohup or in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Service:
    """``pickwell run`` with the echo engine."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.port = port or free_port(host)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "cli.py", "run"],
            cwd=ROOT,
            env=os.environ | {"PICKWELL_PORT": str(self.port), "PICKWELL_HOST": host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_signals,
        )

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_stcore/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def start(database: Path) -> Iterator[Callable[..., Service]]:
    """Starts services; none of their processes outlives the test."""
    services: list[Service] = []
    everything: list[psutil.Process] = []

    def starting(**options: object) -> Service:
        service = Service(**options)  # type: ignore[arg-type]
        services.append(service)
        until(lambda: service.answers() and home_has_worker())
        everything.extend(service.below())
        return service

    yield starting
    for service in services:
        service.process.kill()
        service.process.wait()
    for process in everything:
        if process.is_running():
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_ends_app_and_worker_too(start: Callable[..., Service], number: signal.Signals) -> None:
    service = start()
    below = service.below()
    assert len(below) >= 2
    service.process.send_signal(number)
    service.process.wait(timeout=40)
    until(lambda: not any(map(lives, below)), 40)
    assert not service.answers()


def test_after_a_crash_of_everything_a_new_start_has_a_worker_at_once_and_keeps_one(
    start: Callable[..., Service],
) -> None:
    first = start()
    for process in [*first.below(), psutil.Process(first.process.pid)]:
        process.kill()
    second = start(port=first.port)
    worker = int((settings().home / "worker.lock").read_text())
    os.kill(worker, signal.SIGKILL)
    until(lambda: home_has_worker() and int((settings().home / "worker.lock").read_text() or worker) != worker)
    assert second.answers()


def test_a_port_that_is_taken_is_said_before_anything_else_with_the_settings_name(
    start: Callable[..., Service],
) -> None:
    taken = start().port
    late = Service(port=taken)
    words, _ = late.process.communicate(timeout=60)
    assert late.process.returncode == 1
    assert "PICKWELL_PORT" in words
    assert "answers on" not in words


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_taken_with_and_without_brackets_and_printed_as_a_browser_wants_it(
    start: Callable[..., Service], host: str
) -> None:
    service = Service(port=free_port("::1"), host=host)
    service.url = f"http://[::1]:{service.port}"
    until(service.answers)
    service.process.terminate()
    words, _ = service.process.communicate(timeout=60)
    assert f"answers on {service.url} " in words
