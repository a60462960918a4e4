"""What is asked of a benchmark, and who hears what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from errors import PickwellError, missing_package, requirement_file
from stats.paired import Score


@dataclass(frozen=True)
class Asked:
    """What is to be measured."""

    location: str
    """The model's whole folder, or its hub id."""
    tasks: tuple[str, ...]
    examples: int | None
    quantised: bool
    adapters: tuple[tuple[str, str, str], ...] = ()
    """Base, adapter and place of every merge that has to come first, in this order."""


class BenchmarkFailed(PickwellError):
    """A benchmark that cannot go on, or some of whose tasks cannot be asked."""


class Listener(Protocol):
    """Hears what a measurement finds, as it finds it. Whatever it raises ends the measurement."""

    def begin(self, measured_by: str) -> Sequence[str]:
        """Note what measures, with version and precision; gives the tasks that are still to be asked."""

    def say(self, stage: str, done: int, total: int) -> None:
        """Say what goes on and how many examples of all are done."""

    def finished(self, task: str, scores: Sequence[Score], about: Mapping[str, object]) -> None:
        """Take a task's scores, and what else is to be known of how it was asked."""

    def failed(self, task: str, sentence: str) -> None:
        """Take why a task could not be asked; the others go on."""


def not_installed() -> str | None:
    """What to do where lm-eval is not installed, which is optional; none where it is."""
    if find_spec("lm_eval") is not None:
        return None
    return missing_package("Asking benchmarks", "lm-eval", pip=["--no-deps", "-r", requirement_file("benchmarks")])
