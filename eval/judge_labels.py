"""People's verdicts helped by a model judge's on more prompts: prediction-powered inference. Pure.

The judge's mean over all prompts, corrected by how it errs where people judged too: right on average however bad the
judge is, and narrower where it is good (Angelopoulos et al. 2023, Science 382; the weight of the judge as in PPI++,
arXiv 2311.01453). A judge alone covered 3.7 % in simulation. An extra beside the people's own figure; the two kinds of
verdict are never pooled otherwise.
"""

from dataclasses import dataclass

import numpy as np

from eval.estimates import CannotEstimate, Estimated, Interval
from eval.votes import Numbers, Votes

LEAST_PROMPTS = 20
"""Prompts that both judged; with fewer the judge's errors are hardly known."""


@dataclass(frozen=True)
class WithJudge:
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
    """95 %, normal; the unit is a prompt."""
    judge_alone: float
    """The judge's own mean; not to be believed by itself."""
    correlation: float
    """r between people's and the judge's scores of a prompt."""
    weight: float
    """How much of the judge is used, 0 to 1."""
    gain: float
    """How many times as many people's votes would give the same interval."""


def prediction_powered_mean(
    people: Numbers, judged: Numbers, judged_only: Numbers, *, weight: float | None = None
) -> tuple[float, float, float]:
    """Mean, its standard error, and the judge's weight.

    Args:
        people: (n,) people's scores.
        judged: (n,) the judge's scores of the same prompts.
        judged_only: (N,) the judge's scores of further prompts.
        weight: of the judge; None for the one with the least variance, cov(people, judged) / ((1 + n/N) var(judge)).
    """
    n, more = len(people), len(judged_only)
    everything = np.concatenate([judged, judged_only])
    if weight is None:
        variance = float(everything.var(ddof=1))
        shared = float(np.cov(people, judged)[0, 1])
        weight = float(np.clip(shared / ((1 + n / more) * variance), 0, 1)) if variance > 0 else 0.0
    error = people - weight * judged
    mean = weight * judged_only.mean() + error.mean()
    variance = weight**2 * judged_only.var(ddof=1) / more + error.var(ddof=1) / n
    return float(mean), float(np.sqrt(variance)), weight


def with_judge(people: Votes, judge: Votes) -> tuple[Estimated[WithJudge], ...]:
    """For each pair of responders that the model judged; both kinds of vote of one `Votes`, so that codes agree."""
    names = judge.responders
    scores = [_scores(votes) for votes in (people, judge)]
    return tuple(
        _one(names[one], names[other], scores[0].get((one, other), {}), found)
        for (one, other), found in sorted(scores[1].items())
    )


def _one(candidate: str, baseline: str, people: dict[int, float], judge: dict[int, float]) -> Estimated[WithJudge]:
    both = sorted(people.keys() & judge.keys())
    only = sorted(judge.keys() - people.keys())
    if len(both) < LEAST_PROMPTS or len(only) < 2:
        return CannotEstimate(
            f"“{candidate}” against “{baseline}”: people and the model judged {len(both)} prompts both, the model "
            f"alone {len(only)}. It takes {LEAST_PROMPTS} of the one and some of the other, drawn alike."
        )
    y, f = np.array([people[p] for p in both]), np.array([judge[p] for p in both])
    g = np.array([judge[p] for p in only])
    if y.std() == 0:
        return CannotEstimate(f"“{candidate}” against “{baseline}”: people said the same of every prompt.")
    plain = float(y.std(ddof=1) / np.sqrt(len(y)))
    mean, error, weight = prediction_powered_mean(y, f, g)
    return WithJudge(
        candidate,
        baseline,
        both=len(both),
        judge_only=len(only),
        people=float(y.mean()),
        people_interval=_normal(float(y.mean()), plain),
        rate=mean,
        interval=_normal(mean, error),
        judge_alone=float(np.concatenate([f, g]).mean()),
        correlation=float(np.corrcoef(y, f)[0, 1]) if f.std() > 0 else 0.0,
        weight=weight,
        gain=(plain / error) ** 2,
    )


def _normal(mean: float, error: float) -> Interval:
    return Interval(max(0.0, min(mean - 1.96 * error, 1.0)), min(1.0, max(mean + 1.96 * error, 0.0)))


def _scores(votes: Votes) -> dict[tuple[int, int], dict[int, float]]:
    """By pair of responders each prompt's mean score for the candidate."""
    found: dict[tuple[int, int], dict[int, float]] = {}
    if not votes.n:
        return found
    c = votes.contests
    width = int(votes.prompt.max()) + 1
    cells, cell = np.unique(c.pair * width + votes.prompt, return_inverse=True)
    mean = np.bincount(cell, c.score) / np.bincount(cell)
    for key, value in zip(cells, mean, strict=True):
        one, other = c.pairs[key // width]
        found.setdefault((int(one), int(other)), {})[int(key % width)] = float(value)
    return found
