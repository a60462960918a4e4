"""Two models on the same examples of a benchmark: losses and gains, and losses too small to be shown. Pure.

The models are compared example by example, so an example's difficulty cancels out (Miller 2024, arXiv 2411.00640,
section 4). The interval is of the mean difference. Where every value lies in [0, 1], two artificial examples are added,
one lost and one gained (Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, for proportions;
for other values the interval is only wider): without them, equal values on all of twenty examples would count as
certainty. Simulated with 20 to 200 examples of which 1 to 60 % differ it covers 95 % or more, and 19 to 99 % without
them. For metrics that are 0 or 1 there is also McNemar's exact test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

LEVEL = 0.05
"""Significance level: intervals cover 95 %."""
LEAST = 2
"""Examples that an interval needs."""


@dataclass(frozen=True)
class Score:
    """One metric of one task in one measurement of one model."""

    task: str
    metric: str
    value: float
    standard_error: float | None
    examples: int
    higher_is_better: bool
    by_example: Mapping[str, float] | None
    """The value of each example by ``task's hash-example's hash``; None where single examples have no value."""
    measured_by: str = ""
    """The library that measured it, with version and precision."""


class ScoreChange(StrEnum):
    """The result of a comparison."""

    LOST = "lost"
    GAINED = "gained"
    NOT_SHOWN = "not shown"
    """The examples show neither, though something may be lost."""


@dataclass(frozen=True)
class ScoreDifference:
    """One metric of one task: the model's value minus the reference's, on the same examples."""

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
    """Whether every value lies in [0, 1], so that differences are given in percentage points."""
    p: float | None = None
    """McNemar's exact test, two-sided; only where every value is 0 or 1."""
    only_reference: int | None = None
    """Examples that only the reference answers correctly; only where every value is 0 or 1."""
    only_value: int | None = None
    """Examples that only the model answers correctly."""

    @property
    def outcome(self) -> ScoreChange:
        """Lost or gained only where the interval excludes 0 and the test, if there is one, agrees."""
        if self.low <= 0 <= self.high or (self.p is not None and self.p >= LEVEL):
            return ScoreChange.NOT_SHOWN
        return ScoreChange.GAINED if (self.difference > 0) is self.higher_is_better else ScoreChange.LOST

    @property
    def hidden(self) -> float:
        """The largest loss inside the interval, 0 or more, in the metric's own units."""
        return max(0.0, -self.low if self.higher_is_better else self.high)

    @property
    def sentence(self) -> str:
        """The result in plain words; always with the largest loss that is still possible."""
        between = f"95 % interval {self.amount(self.low, sign=True)} to {self.amount(self.high, sign=True)}"
        if self.outcome is not ScoreChange.NOT_SHOWN:
            return f"{self.outcome.value} {self.amount(abs(self.difference))} on {self.examples:,} examples ({between})"
        wide = self.amount((self.high - self.low) / 2)
        hidden = f": a loss of up to {self.amount(self.hidden)} could be hidden" if self.hidden else ""
        return f"no difference that {self.examples:,} examples can show (±{wide}){hidden}"

    def amount(self, number: float, *, sign: bool = False) -> str:
        """A difference in words: percentage points for shares, else the metric's own units."""
        if self.share:
            return f"{100 * number:{'+' if sign else ''}.1f} points"
        return f"{number:{'+' if sign else ''}.3g}"

    def level(self, number: float) -> str:
        """A value of the metric in words."""
        return f"{number:.1%}" if self.share else f"{number:.4g}"


@dataclass(frozen=True)
class IncomparableScores:
    """Takes the place of a difference between two measurements that cannot be compared."""

    task: str
    metric: str
    reason: str
    """One sentence, with what would help."""


def score_differences(reference: Sequence[Score], model: Sequence[Score]) -> list[ScoreDifference | IncomparableScores]:
    """Compare every metric of every task that either was measured on; sorted by task and metric.

    Each side may hold several measurements of a metric, the newest first: the newest two that are comparable are
    compared, and if none are, the newest two say why.
    """
    results: list[ScoreDifference | IncomparableScores] = []
    for task, metric in sorted({(score.task, score.metric) for score in (*model, *reference)}):
        before = [score for score in reference if (score.task, score.metric) == (task, metric)]
        after = [score for score in model if (score.task, score.metric) == (task, metric)]
        if not before or not after:
            reason = "only one of the two was measured on it; run it for the other."
            results.append(IncomparableScores(task, metric, reason))
            continue
        attempts = [score_difference(old, new) for new in after for old in before]
        results.append(next((attempt for attempt in attempts if isinstance(attempt, ScoreDifference)), attempts[0]))
    return results


def score_difference(reference: Score, model: Score) -> ScoreDifference | IncomparableScores:
    """A model minus its reference on the same examples; or why they cannot be compared."""
    if reason := _reason_not_comparable(reference, model):
        return IncomparableScores(model.task, model.metric, reason)
    before, after = reference.by_example or {}, model.by_example or {}
    pairs = [(before[key], after[key]) for key in sorted(after)]
    gains = [new - old for old, new in pairs]
    share = all(0 <= value <= 1 for pair in pairs for value in pair)
    low, high = _share_interval(gains) if share else _interval(gains)
    binary = share and all(value in (0, 1) for pair in pairs for value in pair)
    lost, won = sum(gain < 0 for gain in gains), sum(gain > 0 for gain in gains)
    return ScoreDifference(
        task=model.task,
        metric=model.metric,
        examples=len(pairs),
        reference=fmean(old for old, _ in pairs),
        value=fmean(new for _, new in pairs),
        difference=fmean(gains),
        low=low,
        high=high,
        higher_is_better=model.higher_is_better,
        share=share,
        p=mcnemar_p_value(lost, won) if binary else None,
        only_reference=lost if binary else None,
        only_value=won if binary else None,
    )


def _reason_not_comparable(reference: Score, model: Score) -> str | None:
    """Why two scores are not of the same examples or not measured alike; None where they are."""
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
    mean = math.fsum(gains) / n
    variance = (math.fsum(gain * gain for gain in gains) + 2) / n - mean * mean
    half = float(norm.ppf(1 - LEVEL / 2)) * math.sqrt(max(0.0, variance) / n)
    return max(-1.0, mean - half), min(1.0, mean + half)


def _interval(gains: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of differences without bounds: Student's, with n - 1 degrees of freedom."""
    from scipy.stats import t

    n, mean = len(gains), fmean(gains)
    variance = math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1)
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * math.sqrt(variance / n)
    return mean - half, mean + half


def mcnemar_p_value(lost: int, won: int) -> float:
    """McNemar's exact two-sided p value: how probable so uneven a split is if losses and gains are equally likely."""
    from scipy.stats import binomtest

    return float(binomtest(won, lost + won).pvalue) if lost + won else 1.0
