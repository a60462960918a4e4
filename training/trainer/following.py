"""A training in processes of its own, heard through its folder: what it writes there, its Listener is given here."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from db.models import Split
from errors import PickwellError
from jobs.processes import TIED, die_with_parent
from jobs.runs import collapse
from training.trainer.run_folder import (
    METRICS,
    SAMPLES,
    STAGE,
    WARNINGS,
    Listener,
    SampleReport,
    StepReport,
    WarningReport,
)

LOG = "processes.log"
"""What the processes of the last attempt print; the attempt's own log gets a copy."""
FAILED = "failed.txt"
"""The sentence with which a training in processes of its own gave up."""
TAIL_LINES = 30
LAUNCHER_SPEAKS = "torch/distributed/elastic"
"""In the first line with which torch's launcher says that a process failed: what that printed is before it."""

Said = TypeVar("Said")


def alone(folder: Path, train: Callable[[Path, Listener], None]) -> None:
    """Train in this process, which may be one of several: the trainer's ``main``.

    What goes on is printed and put into the folder, and so is the sentence of a failure. Ends with the process that
    started it.
    """
    parent = int(os.environ.get(TIED, os.getpid()))
    if parent != os.getpid():  # which is tied already
        die_with_parent(parent)
    try:
        train(folder, Noting(folder) if is_first() else Silent())
    except PickwellError as problem:
        write_whole(folder / FAILED, str(problem))
        raise SystemExit(str(problem)) from None


def processes() -> int:
    """How many processes train together; torch's launcher tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one of them that writes files."""
    return os.environ.get("RANK", "0") == "0"


def write_whole(file: Path, text: str) -> None:
    """Replace the file's text in one go."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)


class Silent:
    """Hears everything and does nothing: for every process but the first, and for steps that are in a file already."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def step(self, said: StepReport) -> None:
        """Nothing."""

    def sample(self, said: SampleReport) -> None:
        """Nothing."""

    def warning(self, said: WarningReport) -> None:
        """Nothing."""


class Noting(Silent):
    """Puts the stage where the follower looks: of two stages each writes into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def stage(self, text: str) -> None:
        """Print it and put it where the follower looks."""
        print(f"{text} …", flush=True)
        write_whole(self._folder / STAGE, text)


@dataclass
class Lines:
    """The whole lines of a growing file, each given once.

    A resumed training cuts lines off the file's end and writes them again: then it is read from the beginning, and of
    its lines those that differ from all before are given.
    """

    file: Path
    _at: int = 0
    """Bytes read so far; always the end of a line."""
    _last: bytes = b""
    """The line that ends there: no longer so means that the file was written anew."""
    _given: set[bytes] = field(default_factory=set)

    def new(self) -> list[bytes]:
        """What came since the last call, without a last line that is still being written."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._at - len(self._last))
                if stream.read(len(self._last)) != self._last:
                    self._at, self._last = 0, b""
                    stream.seek(0)
                text = stream.read()
        except FileNotFoundError:
            self._at, self._last = 0, b""
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        lines = [line + b"\n" for line in whole.split(b"\n")[:-1]]
        self._last = lines[-1] if lines else self._last
        found = [line for line in dict.fromkeys(lines) if line not in self._given]
        self._given.update(found)
        return found


class Following:
    """Gives a Listener what a training's processes write into its folder."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener
        self._stage: str | None = None
        self._printed = 0
        self._lines = {name: Lines(folder / name) for name in (METRICS, SAMPLES, WARNINGS)}

    def look(self) -> None:
        """Give everything that is new. Whatever the Listener raises comes through."""
        self._print_log()
        stage = _text(self._folder / STAGE)
        if stage and stage != self._stage:
            self._stage = stage
            self._listener.stage(stage)
        for line in self._lines[METRICS].new():
            if (step := _read(line, lambda said: StepReport(**said | {"split": Split(said["split"])}))) is not None:
                self._listener.step(step)
        for line in self._lines[SAMPLES].new():
            if (sample := _read(line, lambda said: SampleReport(**said))) is not None:
                self._listener.sample(sample)
        for line in self._lines[WARNINGS].new():
            if (warning := _read(line, lambda said: WarningReport(**said))) is not None:
                self._listener.warning(warning)

    def _print_log(self) -> None:
        try:
            with (self._folder / LOG).open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._printed:
                    self._printed = 0  # another attempt's
                stream.seek(self._printed)
                new = stream.read()
        except FileNotFoundError:
            self._printed = 0
            return
        self._printed += len(new)
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()


def _read(line: bytes, kind: Callable[[dict[str, Any]], Said]) -> Said | None:
    """The report in a line; none for one that was cut as a process died, with the next one behind it."""
    try:
        return kind(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return None


def begin_anew(folder: Path) -> None:
    """Forget what the last attempt said of itself, so that it is not taken for this one's."""
    for name in (STAGE, FAILED, LOG):
        (folder / name).unlink(missing_ok=True)


def failure(folder: Path) -> str:
    """The sentence with which the training gave up; empty where it left none."""
    return _text(folder / FAILED)


def log_end(folder: Path) -> str:
    """The last lines that its processes printed, without what their launcher says after the first of them failed."""
    lines = collapse(_text(folder / LOG)).splitlines()
    end = next((place for place, line in enumerate(lines) if LAUNCHER_SPEAKS in line), None)
    if end is None or not any("Traceback" in line for line in lines[:end]):
        end = len(lines)
    return "\n".join(lines[max(0, end - TAIL_LINES) : end])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
