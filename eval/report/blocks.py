"""What a report is made of. Pure.

Whoever writes one (the page Evaluate, the HTML file, the shell) knows these blocks and nothing of votes: all that is
counted, estimated or worded is in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from stats.estimates import CannotEstimate, Estimated, Interval


class Medium(StrEnum):
    """Where a block stands."""

    ALL = "all"
    SCREEN = "screen"
    FILE = "file"


@dataclass(frozen=True)
class Sentence:
    """One sentence, or a few."""

    text: str
    warns: bool | None = None
    """Of something that was looked at, whether it gives reason to doubt; none for what only tells."""
    small: bool = False
    """A note to what stands above it."""
    on: Medium = Medium.ALL


@dataclass(frozen=True)
class Sentences:
    """A list of sentences."""

    lines: tuple[Sentence, ...]
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """One row of a picture: a value with its interval, or a sentence why there is none."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    missing: str = ""
    is_candidate: bool = False
    best: float | None = None


@dataclass(frozen=True)
class Picture:
    """Values with their intervals on one scale."""

    rows: tuple[Dot, ...]
    scale: str
    title: str = ""
    shares: bool = True
    """The values are shares from 0 to 1; else numbers round 0."""
    on: Medium = Medium.ALL


@dataclass(frozen=True)
class OutcomeBars:
    """One bar for each name, made of counts by outcome in the order of `eval.report.pictures.OUTCOMES`."""

    rows: tuple[tuple[str, Mapping[str, int]], ...]


@dataclass(frozen=True)
class Grid:
    """Rows with the same columns, or a sentence why there are none."""

    rows: tuple[Mapping[str, object], ...]
    why: str = ""
    wide: bool = False
    """Too many columns for paper."""
    title: str = ""

    @property
    def sheets(self) -> "list[Sheet]":
        """Each row by itself, headed by its first column."""
        return [
            Sheet(" ".join(map(str, next(iter(row.items())))), tuple((name, str(cell)) for name, cell in row.items()))
            for row in self.rows
        ]

    @property
    def in_short(self) -> tuple[list[dict[str, object]], list[str]]:
        """The rows with a dash where something cannot be estimated, and each reason once."""
        rows, reasons = [], dict[str, None]()
        for row in self.rows:
            missing = {name: cell for name, cell in row.items() if str(cell).startswith(CannotEstimate.BEGINNING)}
            reasons |= {f"{name} – {cell}": None for name, cell in missing.items()}
            rows.append({**row, **dict.fromkeys(missing, "–")})
        return rows, list(reasons)


@dataclass(frozen=True)
class Sheet:
    """Names and values of one thing, all of them plain text."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


Block: TypeAlias = Sentence | Sentences | Picture | OutcomeBars | Grid | Sheet


@dataclass(frozen=True)
class Section:
    """Blocks under one heading."""

    title: str
    blocks: tuple[Block, ...]
    on: Medium = Medium.ALL


@dataclass(frozen=True)
class Report:
    """What one kind of reviewer found, people or simulated ones; never both."""

    simulated: bool
    finding: Sentence
    numbers: Sentence
    picture: Picture
    rests_on: Sentences
    doubts: Sentences
    figures: tuple[Section, ...]


def dot(name: str, value: Estimated[float], interval: Estimated[Interval] | None, n: int) -> Dot:
    """An estimate as a row; without one, or without an interval, the row has the reason."""
    if isinstance(value, CannotEstimate):
        return Dot(name, None, n=n, missing=value.reason)
    if isinstance(interval, Interval):
        return Dot(name, value, interval.low, interval.high, n)
    return Dot(name, value, n=n, missing=interval.reason if interval else "")
