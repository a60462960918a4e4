"""Errors that are sentences for a person, with the remedy.

Pages and the command line show `str(error)` of a `PickwellError` and nothing else; any other exception is a bug and
crashes loudly.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).resolve().parent

CHECKOUT = (_HERE / "pyproject.toml").is_file()
"""Whether this is a checkout, with a Makefile and a home of its own, and not an installed package."""


class PickwellError(Exception):
    """Something a person can put right; the message says how."""


class BadFile(PickwellError):
    """A file to import cannot be read as what it should be."""


class NotAllowed(PickwellError):
    """The person's role in the project does not include this."""


class NotFound(PickwellError):
    """An id or a name that is not in the database."""


class AlreadyThere(PickwellError):
    """A name that has to be unique is taken."""


class Refused(PickwellError):
    """An action that would break one of the product's promises (blindness, held-out prompts, one ranking each)."""


class NotEnoughPreferences(PickwellError):
    """Too few usable preferences to freeze or to train on."""


class BrokenModel(PickwellError):
    """A model folder that is missing, half-written or of an unsafe kind."""


class BadTemplate(PickwellError):
    """A prompt's template that cannot be filled in."""


class EngineFailed(PickwellError):
    """The inference engine did not start, died too often, or refused a request."""


class TrainingFailed(PickwellError):
    """A training run that cannot go on."""


class DatabaseProblem(PickwellError):
    """A database that cannot be opened by this version."""


class DatabaseUnavailable(DatabaseProblem):
    """A database that refuses for now: locked, full, read-only, damaged, gone. Nothing of the transaction is saved."""


class BadSetting(PickwellError):
    """A setting with a value that cannot work."""


def to_type(command: str) -> str:
    """The line for a command of ours: `make run` in a checkout, `pickwell run` where Pickwell is installed."""
    if not CHECKOUT:
        return f"pickwell {command}"
    return f"make {command}" if command in ("run", "setup") else f"python cli.py {command}"


def requirement_file(name: str) -> str:
    """The path of a file of packages."""
    return str(_HERE / "requirements" / f"{name}.txt")


def missing_package(feature: str, *packages: str, pip: Sequence[str] = ()) -> str:
    """Two sentences: what a feature lacks, and the line that installs it, to be followed by a way to do without.

    Args:
        pip: what ``pip install`` is told, where the packages' names and our pins are not enough.
    """
    arguments = pip or ["-c", requirement_file("constraints"), *packages]
    line = shlex.join([sys.executable, "-m", "pip", "install", *arguments])
    lacking = "which is" if len(packages) == 1 else "which are"
    return f"{feature} needs {', '.join(packages)}, {lacking} not installed here. Type “{line}” and try again."


def first_line(problem: object) -> str:
    """What a library's long error begins with, to stand in a sentence of ours."""
    return str(problem).strip().split("\n")[0][:200]
