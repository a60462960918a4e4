"""What every figure of an evaluation is made of: an interval, or a sentence why there is none. Pure."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, TypeAlias, TypeVar


@dataclass(frozen=True)
class Interval:
    """Where the true value lies, in the unit of the estimate it belongs to."""

    low: float
    high: float
    level: float = 0.95
    """How often intervals made like this one hold the true value."""

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
    """Stands where a figure would: these votes cannot tell, and a number would only look as if they could."""

    reason: str
    """One sentence for a person; says what would help where something would."""
    BEGINNING: ClassVar[str] = "Cannot be estimated: "

    def __str__(self) -> str:
        return f"{self.BEGINNING}{self.reason}"


T = TypeVar("T")
Estimated: TypeAlias = T | CannotEstimate
