"""What every figure of an evaluation is made of: an interval, or a sentence why there is none. Pure."""

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
        return f"{self.low:.1%} to {self.high:.1%}"


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
