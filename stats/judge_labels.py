"""People's verdicts combined with a model judge's on more prompts: prediction-powered inference. Pure.

The rate is the judge's mean over all prompts, corrected by its errors where people judged too: unbiased however bad the
judge is, and with a narrower interval where it is good (Angelopoulos et al. 2023, Science 382; the judge's weight as in
PPI++, arXiv 2311.01453). The interval of a judge alone covered 3.7 % in simulation. The result is shown beside the
people's own figure; the two kinds of verdict are never pooled otherwise.

Intervals are as everywhere (`stats.intervals.variance_intervals`): simulated with 20 to 80 prompts judged by people
they cover 93 to 99 %, normal ones 65 to 95 %. The judge's help counts for no more than if people had judged all that
the model judged: where both nearly always agree, the sample's own variance would promise more.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from stats.clusters import unique_pairs
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import variance_intervals
from stats.votes import Numbers, Votes

Scores: TypeAlias = dict[int, tuple[float, int]]
"""By prompt the mean score for the candidate, and the number of its votes."""
LEAST_PROMPTS = 20
"""Prompts that both judged; fewer hardly show the judge's errors."""


@dataclass(frozen=True)
class JudgeAssistedRate:
    """A candidate's win rate by people, with and without the judge's help."""

    candidate: str
    baseline: str
    both: int
    """Prompts judged by people and by the model."""
    judge_only: int
    """Prompts judged by the model alone."""
    people: float
    """People's mean over prompts, without the judge."""
    people_interval: Interval
    rate: float
    """Prediction-powered mean over prompts."""
    interval: Interval
    """95 %; the unit is a prompt."""
    judge_alone: float
    """The judge's own mean; not to be trusted by itself."""
    correlation: float
    """Pearson's r of people's and the judge's scores of a prompt."""
    weight: float
    """The judge's weight, 0 to 1."""
    gain: float
    """How many times as many people's votes would give the same variance; 1 + judge_only / both at most."""


def prediction_powered_mean(
    people: Numbers, judge: Numbers, judge_only: Numbers, *, weight: float | None = None
) -> tuple[float, float, float]:
    """Mean, its standard error, and the judge's weight.

    Args:
        people: (n,) people's scores.
        judge: (n,) the judge's scores of the same prompts.
        judge_only: (N,) the judge's scores of further prompts.
        weight: of the judge; None for the weight of least variance, cov(people, judge) / ((1 + n/N) var(judge)).
    """
    n, more = len(people), len(judge_only)
    parameters = 1
    if weight is None:
        variance = float(np.concatenate([judge, judge_only]).var(ddof=1))
        covariance = float(np.cov(people, judge)[0, 1])
        weight = float(np.clip(covariance / ((1 + n / more) * variance), 0, 1)) if variance > 0 else 0.0
        parameters += weight > 0  # as in a regression, a weight from the same prompts costs a degree of freedom
    error = people - weight * judge
    mean = weight * judge_only.mean() + error.mean()
    variance = weight**2 * judge_only.var(ddof=1) / more + error.var(ddof=parameters) / n
    return float(mean), float(np.sqrt(variance)), weight


def judge_assisted_rates(people: Votes, judge: Votes) -> tuple[Estimated[JudgeAssistedRate], ...]:
    """One result for each pair of responders that the model judged. Both arguments come from one `Votes`, so that their
    codes agree.
    """
    names = judge.responders
    people_scores = _scores_by_pair(people)
    return tuple(
        _combine_scores(names[i], names[j], people_scores.get((i, j), {}), judge_scores)
        for (i, j), judge_scores in sorted(_scores_by_pair(judge).items())
    )


def _combine_scores(candidate: str, baseline: str, people: Scores, judge: Scores) -> Estimated[JudgeAssistedRate]:
    both = sorted(people.keys() & judge.keys())
    judge_only = sorted(judge.keys() - people.keys())
    if len(both) < LEAST_PROMPTS or len(judge_only) < 2:
        return CannotEstimate(
            f"“{candidate}” against “{baseline}”: people and the model judged {len(both)} prompts both, the model "
            f"alone {len(judge_only)}. It takes {LEAST_PROMPTS} of the one and some of the other, drawn alike."
        )
    y, f = np.array([people[p][0] for p in both]), np.array([judge[p][0] for p in both])
    g = np.array([judge[p][0] for p in judge_only])
    votes = sum(people[p][1] for p in both)
    if y.std() == 0:
        return CannotEstimate(f"“{candidate}” against “{baseline}”: people said the same of every prompt.")
    people_variance = float(y.var(ddof=1) / len(y))
    corrected, error, weight = prediction_powered_mean(y, f, g)
    mean = min(max(corrected, 0.0), 1.0)
    variance = max(error**2, people_variance * len(both) / (len(both) + len(judge_only)))
    gain = people_variance / variance
    return JudgeAssistedRate(
        candidate,
        baseline,
        both=len(both),
        judge_only=len(judge_only),
        people=float(y.mean()),
        people_interval=_interval(float(y.mean()), people_variance, trials=votes, prompts=len(both)),
        rate=mean,
        interval=_interval(mean, variance, trials=votes * gain, prompts=len(both)),
        judge_alone=float(np.concatenate([f, g]).mean()),
        correlation=float(np.corrcoef(y, f)[0, 1]) if f.std() > 0 else 0.0,
        weight=weight,
        gain=gain,
    )


def _interval(mean: float, variance: float, *, trials: float, prompts: int) -> Interval:
    """Interval of a mean over prompts that people judged, worth `trials` independent trials at most."""
    inner = min(max(mean, 0.5 / trials), 1 - 0.5 / trials)  # a mean of 0 or 1 would have no binomial variance
    low, high = variance_intervals(
        np.array([inner]), np.array([variance]), n=np.array([trials]), freedom=np.array([prompts - 1])
    )
    return Interval(min(float(low[0]), mean), max(float(high[0]), mean))


def _scores_by_pair(votes: Votes) -> dict[tuple[int, int], Scores]:
    """For each pair of responders the scores of its prompts."""
    scores: dict[tuple[int, int], Scores] = defaultdict(dict)
    c = votes.contests
    pairs, prompts, cell = unique_pairs(c.pair, votes.prompt)
    count = np.bincount(cell)
    for pair, prompt, mean, n in zip(pairs, prompts, np.bincount(cell, c.score) / count, count, strict=True):
        candidate, baseline = c.pairs[pair]
        scores[int(candidate), int(baseline)][int(prompt)] = float(mean), int(n)
    return scores
