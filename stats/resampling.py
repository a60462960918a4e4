"""A bootstrap over prompts, by kinds of prompt. Pure.

Prompts with the same votes are interchangeable, so a resample draws how often each *kind* of prompt occurs. That is the
same bootstrap, depends on no prompt's name and no row's place, and is faster where there are few kinds.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stats.votes import Codes

ROUNDS = 1000
"""Resamples."""
LEAST_PROMPTS = 10
"""With fewer a bootstrap's intervals are far too narrow."""
MEMORY = 64e6
"""Bytes that one batch of resamples may take."""


def resamples(size: Codes, *, rounds: int, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Batches (some, kinds) of how often each kind is in a resample of as many prompts; `rounds` rows in all.

    Single precision: whole numbers up to 16 million are exact in it, and half the memory is more than twice as fast.

    Args:
        size: (kinds,) prompts of each kind.
    """
    prompts, kinds = int(size.sum()), len(size)
    batch = max(1, int(MEMORY / 4 / kinds))
    few = kinds * 8 < prompts  # then the multinomial distribution is quicker than drawing prompt by prompt
    kind_of_prompt = None if few else np.repeat(np.arange(kinds), size)
    for start in range(0, rounds, batch):
        some = min(batch, rounds - start)
        if kind_of_prompt is None:
            yield rng.multinomial(prompts, size / prompts, size=some).astype(np.float32)
        else:
            drawn = np.empty((some, kinds), dtype=np.float32)
            for at in range(some):
                drawn[at] = np.bincount(kind_of_prompt[rng.integers(0, prompts, prompts)], minlength=kinds)
            yield drawn
