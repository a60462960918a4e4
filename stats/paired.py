"""Two models on the same examples of a benchmark: what one lost or gained, and what so few examples cannot show. Pure.

Each example is compared with itself, so that how hard it is drops out (Miller 2024, arXiv 2411.00640, section 4). The
interval is of the mean difference. Where every value lies in [0, 1], two made-up examples are added, one lost and one
gained (Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, for proportions; beyond them it is
only wider): else no difference in twenty examples would be called certain. Simulated with 20 to 200 examples of which
1 to 60 % differ it covers 95 % or more, and 19 to 99 % without them. For metrics that are 0 or 1 there is McNemar's
exact test too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

LEVEL = 0.05
"""An interval covers 95 %."""
LEAST = 2
"""Examples without which there is no interval."""


@dataclass(frozen=True)
class Score:
    """One metric of one task, as one measurement of one model found it."""

    task: str
    metric: str
    value: float
    standard_error: float | None
    examples: int
    higher_is_better: bool
    by_example: Mapping[str, float] | None
    """The value of each example. A key is ``task's hash-example's hash``; none where an example has no value alone."""
    measured_by: str = ""
    """What measured it, with version and precision."""


class ScoreChange(StrEnum):
    """What the examples show."""

    LOST = "lost"
    GAINED = "gained"
    NOT_SHOWN = "not shown"
    """Neither; which is not to say that nothing was lost."""


@dataclass(frozen=True)
class Difference:
    """One metric of one task: a model less its reference, on the same examples."""

    task: str
    metric: str
    examples: int
    reference: float
    """Mean of the reference's values."""
    value: float
    """Mean of the model's."""
    difference: float
    low: float
    """Of the 95 % interval of the difference."""
    high: float
    higher_is_better: bool
    share: bool
    """Every value lies in [0, 1], so differences are told in points of a hundred."""
    p: float | None = None
    """McNemar's exact test, two-sided; only where every value is 0 or 1."""
    only_reference: int | None = None
    """Examples that only the reference has right; where every value is 0 or 1."""
    only_value: int | None = None
    """Examples that only the model has right."""

    @property
    def outcome(self) -> ScoreChange:
        """Lost or gained only where the interval leaves 0 out and the test, where there is one, agrees."""
        if self.low <= 0 <= self.high or (self.p is not None and self.p >= LEVEL):
            return ScoreChange.NOT_SHOWN
        return ScoreChange.GAINED if (self.difference > 0) is self.higher_is_better else ScoreChange.LOST

    @property
    def hidden(self) -> float:
        """The largest loss inside the interval, 0 or more, in the metric's own units."""
        return max(0.0, -self.low if self.higher_is_better else self.high)

    @property
    def sentence(self) -> str:
        """The finding in plain words; a loss that could be there is always named."""
        between = f"95 % interval {self.amount(self.low, sign=True)} to {self.amount(self.high, sign=True)}"
        if self.outcome is not ScoreChange.NOT_SHOWN:
            return f"{self.outcome.value} {self.amount(abs(self.difference))} on {self.examples:,} examples ({between})"
        wide = self.amount((self.high - self.low) / 2)
        hidden = f": a loss of up to {self.amount(self.hidden)} could be hidden" if self.hidden else ""
        return f"no difference that {self.examples:,} examples can show (±{wide}){hidden}"

    def amount(self, number: float, *, sign: bool = False) -> str:
        """A difference in words: points of a hundred for shares, else the metric's own units."""
        if self.share:
            return f"{100 * number:{'+' if sign else ''}.1f} points"
        return f"{number:{'+' if sign else ''}.3g}"

    def level(self, number: float) -> str:
        """A value of the metric in words."""
        return f"{number:.1%}" if self.share else f"{number:.4g}"


@dataclass(frozen=True)
class NotComparable:
    """Stands where a difference would: these two measurements are not of the same thing."""

    task: str
    metric: str
    reason: str
    """One sentence, with what would help."""


def differences(reference: Sequence[Score], model: Sequence[Score]) -> list[Difference | NotComparable]:
    """Every metric of every task that either was measured on, by task.

    Each side may hold several measurements of a metric, the newest first: the newest two that fit are compared, and
    where none do, it is said of the newest.
    """
    names = dict.fromkeys((one.task, one.metric) for one in (*model, *reference))
    found: list[Difference | NotComparable] = []
    for task, metric in sorted(names):
        before = [one for one in reference if (one.task, one.metric) == (task, metric)]
        after = [one for one in model if (one.task, one.metric) == (task, metric)]
        if not before or not after:
            found.append(NotComparable(task, metric, "only one of the two was measured on it; run it for the other."))
            continue
        tries = [difference(one, other) for other in after for one in before]
        found.append(next((one for one in tries if isinstance(one, Difference)), tries[0]))
    return found


def difference(reference: Score, model: Score) -> Difference | NotComparable:
    """A model less its reference on the same examples; or why they cannot be compared."""
    if reason := _unlike(reference, model):
        return NotComparable(model.task, model.metric, reason)
    before, after = reference.by_example or {}, model.by_example or {}
    pairs = [(before[key], after[key]) for key in sorted(after)]
    gains = [two - one for one, two in pairs]
    share = all(0 <= value <= 1 for pair in pairs for value in pair)
    low, high = _share_interval(gains) if share else _interval(gains)
    binary = share and all(value in (0, 1) for pair in pairs for value in pair)
    lost, won = sum(gain < 0 for gain in gains), sum(gain > 0 for gain in gains)
    return Difference(
        task=model.task,
        metric=model.metric,
        examples=len(pairs),
        reference=fmean(one for one, _ in pairs),
        value=fmean(two for _, two in pairs),
        difference=fmean(gains),
        low=low,
        high=high,
        higher_is_better=model.higher_is_better,
        share=share,
        p=mcnemar(lost, won) if binary else None,
        only_reference=lost if binary else None,
        only_value=won if binary else None,
    )


def _unlike(reference: Score, model: Score) -> str | None:
    """Why two scores are not of the same examples, measured alike; none where they are."""
    if reference.measured_by != model.measured_by:
        return (
            f"one was measured with {model.measured_by or 'a library nobody noted'}, the other with "
            f"{reference.measured_by or 'a library nobody noted'}; run the older one again."
        )
    before, after = reference.by_example, model.by_example
    if before is None or after is None or reference.higher_is_better is not model.higher_is_better:
        return "this metric has no value for each example, so nothing can be paired; look at both values."
    if {key.partition("-")[0] for key in before} != {key.partition("-")[0] for key in after}:
        return "the task was asked in two versions or in other words; run the older one again."
    if len(before) != len(after):
        return f"{len(after):,} examples here and {len(before):,} there; run both with the same number."
    if before.keys() != after.keys():
        return "the examples differ, so the task's data changed in between; run the older one again."
    if len(after) < LEAST:
        return "one example shows nothing; run it with more."
    return None


def _share_interval(gains: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of differences in [-1, 1], with one example lost and one gained added."""
    from scipy.stats import norm

    n = len(gains) + 2
    middle = math.fsum(gains) / n
    variance = (math.fsum(gain * gain for gain in gains) + 2) / n - middle * middle
    half = float(norm.ppf(1 - LEVEL / 2)) * math.sqrt(max(0.0, variance) / n)
    return max(-1.0, middle - half), min(1.0, middle + half)


def _interval(gains: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of differences without bounds: Student's, with n - 1 degrees of freedom."""
    from scipy.stats import t

    n, middle = len(gains), fmean(gains)
    variance = math.fsum((gain - middle) ** 2 for gain in gains) / (n - 1)
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * math.sqrt(variance / n)
    return middle - half, middle + half


def mcnemar(lost: int, won: int) -> float:
    """McNemar's exact test, two-sided: how likely so uneven a split is if losing were as likely as gaining."""
    from scipy.stats import binomtest

    return float(binomtest(won, lost + won).pvalue) if lost + won else 1.0
