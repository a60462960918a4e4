"""A bootstrap over prompts, by kinds of prompt. Pure.

Prompts with the same votes are interchangeable, so a resample draws how often each *kind* of prompt occurs. This is the
same bootstrap, independent of prompts' names and of the order of rows, and faster where there are few kinds.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stats.votes import Codes

ROUNDS = 1000
"""Resamples."""
LEAST_PROMPTS = 10
"""With fewer prompts a bootstrap's intervals are far too narrow."""
MEMORY = 64e6
"""Bytes that one batch of resamples may take."""


def resamples(size: Codes, *, rounds: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Batches (rows, kinds) of how often each kind occurs in a resample of as many prompts; `rounds` rows in all.

    Single precision holds whole numbers up to 16 million exactly, and half the memory is more than twice as fast.

    Args:
        size: (kinds,) prompts of each kind.
    """
    prompts, kinds = int(size.sum()), len(size)
    batch = max(1, int(MEMORY / 4 / kinds))
    kind_of_prompt = np.repeat(np.arange(kinds), size)
    for start in range(0, rounds, batch):
        rows = min(batch, rounds - start)
        if kinds * 8 < prompts:  # few kinds: the multinomial distribution is quicker than drawing prompt by prompt
            yield rng.multinomial(prompts, size / prompts, size=rows).astype(np.float32)
        else:
            counts = np.empty((rows, kinds), dtype=np.float32)
            for row in range(rows):
                counts[row] = np.bincount(kind_of_prompt[rng.integers(0, prompts, prompts)], minlength=kinds)
            yield counts
