"""Every figure of an evaluation: an estimate with an interval, or a sentence why there is none; in words too. Pure."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, TypeAlias, TypeVar


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of its estimate."""

    low: float
    high: float
    level: float = 0.95
    """The share of intervals computed so that cover the true value."""

    def __post_init__(self) -> None:
        assert isfinite(self.low), self.low
        assert isfinite(self.high), self.high
        assert self.low <= self.high, (self.low, self.high)

    @property
    def percent(self) -> str:
        """In words, for a rate."""
        return in_words(self)


@dataclass(frozen=True)
class CannotEstimate:
    """Takes the place of a figure that these votes are too few or too alike to estimate."""

    reason: str
    """One sentence for a person; says what would help where something would."""
    BEGINNING: ClassVar[str] = "Cannot be estimated: "

    def __str__(self) -> str:
        return f"{self.BEGINNING}{self.reason}"


T = TypeVar("T")
Estimated: TypeAlias = T | CannotEstimate


def in_words(value: Estimated[float | Interval], form: str = ".1%") -> str:
    """A figure, or both ends of an interval, in the given format; or the sentence why there is none."""
    if isinstance(value, Interval):
        return f"{value.low:{form}} to {value.high:{form}}"
    return str(value) if isinstance(value, CannotEstimate) else f"{value:{form}}"


def p_in_words(value: Estimated[float]) -> str:
    """A p value, or the sentence why there is none."""
    if isinstance(value, CannotEstimate):
        return str(value)
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def count_of(n: int, thing: str) -> str:
    """A count of things that take an s: "1 vote", "1,200 votes"."""
    return f"{n:,} {thing}{'s' * (n != 1)}"
