"""Percentiles of waits, in milliseconds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """How long something took, over so many times."""

    n: int
    p50_ms: float | None
    """None where it never happened."""
    p95_ms: float | None
    """None where it happened fewer than twice."""


def latency(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile (by linear interpolation between the two nearest) of durations in seconds."""
    if len(seconds) < 2:
        return Latency(len(seconds), round(1000 * seconds[0], 1) if seconds else None, None)
    ordered = [1000 * value for value in seconds]
    p95 = statistics.quantiles(ordered, n=20, method="inclusive")[18]
    return Latency(len(seconds), round(statistics.median(ordered), 1), round(p95, 1))
