"""Whether longer replies win, and the win rate at equal lengths. Pure.

logit P(candidate) = a + b * tanh(d / sd(d)), d the candidate's length less the baseline's; at d = 0 it is s(a), the
length-controlled rate, shown beside the raw one and never instead (Dubois et al. 2024, arXiv 2404.04475, here without
their difficulty of a prompt, which takes many models' votes on it). What one always wrote shorter has no votes at equal
length: then the rate would be an extrapolation, wrong by up to 14 points on published data, and is not given.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import means
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.logistic import cluster_scores, clustered_covariance, fit
from stats.votes import LEFT, RIGHT, Codes, Flags, Numbers, Votes

LEAST_SHARE = 0.2
"""In so many pairs each of the two has to be the longer one."""
LEAST_PROMPTS = 10
"""For a standard error of the fit."""
RIDGE = 1.0
"""Penalty on b: as if it were drawn from a normal distribution of standard deviation 1."""


@dataclass(frozen=True)
class LengthControlled:
    """One contrast at equal lengths."""

    candidate: str
    baseline: str
    votes: int
    """Votes with both lengths."""
    candidate_longer: float
    """Share of the votes in which the candidate's reply is the longer one."""
    baseline_longer: float
    raw_rate: float
    """Win rate of the same votes."""
    rate: Estimated[float]
    """Length-controlled."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    slope: Estimated[float]
    """b: log odds for a reply that is much longer; 0 where length does not matter."""


@dataclass(frozen=True)
class Lengths:
    """What length does to these votes."""

    votes: int
    """Votes with both lengths."""
    mean_length: dict[str, float]
    """By responder, over its votes."""
    longer_wins: Estimated[float]
    """Of decided votes on replies of different length, the share that went to the longer: what a rule that always
    picks the longer would have got right."""
    longer_wins_interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    contrasts: tuple[LengthControlled, ...]


def lengths(votes: Votes) -> Estimated[Lengths]:
    """Lengths' effect, on votes that have both lengths."""
    if votes.left_length is None or votes.right_length is None:
        return CannotEstimate("there are no lengths. Add left_length and right_length, or left_text and right_text.")
    some = votes.where(np.isfinite(votes.left_length) & np.isfinite(votes.right_length))
    if not some.n or some.left_length is None or some.right_length is None:
        return CannotEstimate("no vote has both lengths.")
    names, k = some.responders, len(some.responders)
    who = np.concatenate([some.left, some.right])
    count = np.bincount(who, minlength=k)
    total = np.bincount(who, np.concatenate([some.left_length, some.right_length]), minlength=k)
    told = (some.verdict <= RIGHT) & (some.left_length != some.right_length)
    right_call = (some.verdict == LEFT) == (some.left_length > some.right_length)
    share, interval = _share(right_call[told], some.prompt[told])
    c = some.contests
    difference = np.where(c.candidate_left, 1, -1) * (some.left_length - some.right_length)
    order = np.argsort(c.pair, kind="stable")
    at = np.split(order, np.searchsorted(c.pair[order], np.arange(1, len(c.pairs))))
    return Lengths(
        votes=some.n,
        mean_length={n: float(total[i] / count[i]) for i, n in enumerate(names) if count[i]},
        longer_wins=share,
        longer_wins_interval=interval,
        contrasts=tuple(
            _controlled(
                some.responders[one], some.responders[other], c.score[here], difference[here], some.prompt[here]
            )
            for (one, other), here in zip(c.pairs, at, strict=True)
        ),
    )


def _share(right: Flags, prompt: Codes) -> tuple[Estimated[float], Estimated[Interval]]:
    if not len(right):
        none = CannotEstimate("no decided vote is on replies of different length.")
        return none, none
    found = means(np.zeros(len(right), np.int64), prompt, right.astype(float), groups=1)
    low, high = found.intervals
    if not np.isfinite(low[0]):
        return float(found.rate[0]), CannotEstimate("all of these votes are on one prompt.")
    return float(found.rate[0]), Interval(float(low[0]), float(high[0]))


def _controlled(candidate: str, baseline: str, score: Numbers, difference: Numbers, prompt: Codes) -> LengthControlled:
    longer, shorter = float((difference > 0).mean()), float((difference < 0).mean())
    rate, interval, slope = _at_equal_length(score, difference, prompt, min(longer, shorter))
    return LengthControlled(
        candidate, baseline, len(score), longer, shorter, float(score.mean()), rate, interval, slope
    )


def _at_equal_length(
    score: Numbers, difference: Numbers, prompt: Codes, overlap: float
) -> tuple[Estimated[float], Estimated[Interval], Estimated[float]]:
    why = ""
    if overlap < LEAST_SHARE:
        why = f"each has to write the longer reply in {LEAST_SHARE:.0%} of the votes; one does in {overlap:.0%} only."
    elif len(np.unique(prompt)) < LEAST_PROMPTS:
        why = f"it takes {LEAST_PROMPTS} prompts or more."
    elif (score == score[0]).all():
        why = "all votes say the same."
    if not why:
        design = np.stack([np.ones(len(score)), np.tanh(difference / difference.std())], axis=1)
        fitted = fit(design, score, np.ones(len(score)), ridge=np.array([0.0, RIDGE]))
        residual = score - 1 / (1 + np.exp(-(design @ fitted.coefficients)))
        scores = cluster_scores(residual, design, np.arange(len(score)), prompt)
        error = float(np.sqrt(clustered_covariance(fitted, scores, votes=len(score))[0, 0].clip(0)))
        if not fitted.converged or not 1e-9 < error < 1e3:
            why = "length tells the winner of every vote, so nothing is known of equal lengths."
        else:
            from scipy.stats import t

            level = float(fitted.coefficients[0])
            width = float(t.ppf(0.975, len(scores) - 1)) * error
            low, high = (float(1 / (1 + np.exp(-(level + side * width)))) for side in (-1, 1))
            return float(1 / (1 + np.exp(-level))), Interval(low, high), float(fitted.coefficients[1])
    none = CannotEstimate(why)
    return none, none, none
