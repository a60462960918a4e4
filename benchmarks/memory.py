"""Memory of a server over a soak, sampled beside the load."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from benchmarks.server import Server

EVERY = 15.0
"""Seconds between two samples, at most."""
WARM_UP = 120.0
"""Seconds at the start that are left out; at most a fifth of the soak."""


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB of a million bytes, after the warm-up."""

    warm_up_s: float
    samples: int
    start_mb: float
    """Median of the first three samples."""
    end_mb: float
    """Median of the last three."""
    most_mb: float
    slope_mb_per_hour: float
    """Of a line fitted to all samples by least squares."""
    slope_of_the_second_half_mb_per_hour: float
    """The same for the later half: a heap that settles has a smaller one than a heap that leaks."""


async def watch(server: Server, seconds: float) -> Memory:
    """Sample a server's memory for so many seconds."""
    warm_up = min(WARM_UP, seconds / 5)
    every = min(EVERY, (seconds - warm_up) / 8)
    began = time.monotonic()
    samples: list[tuple[float, float]] = []
    await asyncio.sleep(warm_up)
    while (at := time.monotonic() - began) < seconds:
        samples.append((at / 3600, server.megabytes))
        await asyncio.sleep(min(every, seconds - at + 0.01))
    megabytes = [value for _, value in samples]
    return Memory(
        warm_up_s=round(warm_up, 1),
        samples=len(samples),
        start_mb=round(statistics.median(megabytes[:3]), 1),
        end_mb=round(statistics.median(megabytes[-3:]), 1),
        most_mb=round(max(megabytes), 1),
        slope_mb_per_hour=_slope(samples),
        slope_of_the_second_half_mb_per_hour=_slope(samples[len(samples) // 2 :]),
    )


def _slope(samples: list[tuple[float, float]]) -> float:
    hours, megabytes = zip(*samples, strict=True)
    return round(statistics.linear_regression(hours, megabytes).slope, 1)
