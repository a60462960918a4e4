"""A LearningCurve's arithmetic: which rows a share has, what each point says, and what the whole allows to say. Pure.

The trainer takes `take_share` from here, so there is no database here.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeVar

from errors import Refused
from stats.intervals import wilson_interval

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of a Snapshot's training rows, one training for each."""
LEAST_VALIDATION = 10
"""Validation rows below which every interval would take in nearly everything."""
CHANCE = 0.5
"""What guessing gets right."""


class PromptRow(Protocol):
    """A row of a prompt; one that also has a ``cluster`` stays with its near-duplicates."""

    @property
    def prompt_id(self) -> int:
        """Id of the prompt."""


R = TypeVar("R", bound=PromptRow)


def take_share(rows: Sequence[R], share: float, seed: int) -> list[R]:
    """The first ``share`` of the rows, in an order of prompts that is drawn by hash; in the order that they came in.

    A smaller share's rows are all in a larger one's, every row of a prompt (or of a cluster of near-duplicates, where
    rows name one) is in or out, and there are at least ``share`` times as many rows as were given. Raises `Refused`
    for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise Refused(f"A share of {share:g} of the rows cannot be trained on. Give one above 0 and up to 1.")
    # counted in whole rows; 0.1 * 30 is a little more than 3 in binary
    wanted = math.ceil(round(share * len(rows), 6))
    marks = [str(getattr(row, "cluster", "") or f"prompt {row.prompt_id}") for row in rows]
    counts = Counter(marks)
    order = sorted(counts, key=lambda mark: hashlib.sha256(f"{seed}:{mark}".encode()).hexdigest())
    before = accumulate((counts[mark] for mark in order), initial=0)
    taken = {mark for mark, have in zip(order, before, strict=False) if have < wanted}
    return [row for row, mark in zip(rows, marks, strict=True) if mark in taken]


@dataclass(frozen=True)
class CurvePoint:
    """What a training on one share got right of the validation rows."""

    share: float
    pairs: int
    right: int
    """Validation rows whose chosen reply it prefers, more than the base model does, to the rejected one."""
    rows: int
    """Validation rows; the same for every point."""
    step: int
    """Optimizer step of the model that was looked at."""

    @property
    def accuracy(self) -> float:
        """Share of the validation rows, in [0, 1]."""
        return self.right / self.rows

    @property
    def low(self) -> float:
        """Lower end of the accuracy's 95 % interval (Wilson 1927), each row taken for one draw."""
        return wilson_interval(self.accuracy, self.rows)[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return wilson_interval(self.accuracy, self.rows)[1]


def count_right(accuracy: float, rows: int) -> int:
    """Rows that are right, from the trainer's mean, which is of batches and so a little off where the last is short."""
    return min(rows, max(0, round(accuracy * rows)))


def describe_trend(points: Sequence[CurvePoint]) -> str:
    """What the last two points say of whether more feedback would help, in words that claim no more than they can."""
    if len(points) < 2:
        return "Two of the trainings have to be done before anything can be said."
    before, last = sorted(points, key=lambda point: point.share)[-2:]
    span = f"From {before.share * 100:.0f} to {last.share * 100:.0f} %"
    change = round(abs(last.accuracy - before.accuracy) * 100)
    by = f"by {change} point{'' if change == 1 else 's'}"
    if last.low > before.high:
        return f"{span} it rose {by}, beyond both intervals: it is still rising, so more ranking should help."
    if last.high < before.low:
        return f"{span} it fell {by}, beyond both intervals: more of the same feedback does not help this recipe."
    if last.right > before.right:
        return f"{span} it rose {by}, and the intervals overlap: more ranking may help, but these numbers cannot tell."
    if last.right < before.right:
        return f"{span} it fell {by}, and the intervals overlap: flat, as far as these numbers can tell."
    return f"{span} it stayed the same: flat, as far as these numbers can tell."


def explain_chance(points: Sequence[CurvePoint]) -> str | None:
    """A sentence where the largest share's point cannot be told from guessing; none where it can."""
    if not points:
        return None
    last = max(points, key=lambda point: point.share)
    if last.low > CHANCE:
        return None
    right = f"At {last.share * 100:.0f} % it gets {last.right} of {last.rows} right"
    return f"{right}: these numbers cannot tell it from guessing."
