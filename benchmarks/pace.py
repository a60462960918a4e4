"""When a client presses, whatever is measured: it thinks, presses, sees the next pair, and thinks again."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How fast and for how long each client goes on."""

    think: float
    """Mean of an exponential think time, in seconds; 0 presses again as soon as that is allowed."""
    presses: int | None = None
    """Of each client; None for any number."""
    seconds: float | None = None
    """After which nobody presses any more; None for any time."""
    seed: int = 0
    """Of the think times."""

    async def turns(self, client: int, *, least: float) -> AsyncIterator[random.Random]:
        """Wait before each press of a client; gives what to draw its choice with.

        Args:
            client: its number, so that no two think alike.
            least: seconds that come before any press, whatever the think time.
        """
        draw = random.Random(f"{self.seed}:{client}")
        began = time.monotonic()
        done = 0
        while self.presses is None or done < self.presses:
            wait = least + (draw.expovariate(1 / self.think) if self.think else 0.0)
            if self.seconds is not None and time.monotonic() - began + wait > self.seconds:
                return
            await asyncio.sleep(wait)
            yield draw
            done += 1
