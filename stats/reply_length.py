"""Whether longer replies win, and the win rate at equal lengths. Pure.

logit P(candidate) = a + b * tanh(d / sd(d)), d the candidate's length less the baseline's. At d = 0 this is a, and
sigmoid(a) is the length-controlled win rate, shown beside the raw rate and never instead of it (Dubois et al. 2024,
arXiv 2404.04475, here without their difficulty of a prompt, which takes many models' votes on it). Where one responder
always writes the shorter reply, the rate would be an extrapolation, wrong by up to 14 points on published data; then it
is not given.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import group_means
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.logistic import clustered_covariance, fit_logistic, sigmoid
from stats.votes import LEFT, RIGHT, Codes, Flags, Numbers, Votes

LEAST_SHARE = 0.2
"""Each of the two has to write the longer reply in this share of the votes."""
LEAST_PROMPTS = 10
"""A standard error of the fit needs as many."""
RIDGE = 1.0
"""Penalty on b, equal to a normal prior with standard deviation 1."""


@dataclass(frozen=True)
class LengthControlledRate:
    """One contrast at equal lengths."""

    candidate: str
    baseline: str
    votes: int
    """Votes that have both lengths."""
    candidate_longer: float
    """Share of the votes in which the candidate's reply is the longer one."""
    baseline_longer: float
    raw_rate: float
    """Win rate in the same votes."""
    rate: Estimated[float]
    """Length-controlled."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    slope: Estimated[float]
    """b: log odds for a reply that is much longer; 0 where length does not matter."""


@dataclass(frozen=True)
class LengthEffect:
    """The effect of length on these votes."""

    votes: int
    """Votes that have both lengths."""
    mean_length: dict[str, float]
    """By responder, over its votes."""
    longer_wins: Estimated[float]
    """Of decided votes on replies of different length, the share that went to the longer: how often a rule that always
    picks the longer would be right."""
    longer_wins_interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    contrasts: tuple[LengthControlledRate, ...]


def length_effect(votes: Votes) -> Estimated[LengthEffect]:
    """The effect of length, in votes that have both lengths."""
    if votes.left_length is None or votes.right_length is None:
        return CannotEstimate("there are no lengths. Add left_length and right_length, or left_text and right_text.")
    votes = votes.where(np.isfinite(votes.left_length) & np.isfinite(votes.right_length))
    if not votes.n or votes.left_length is None or votes.right_length is None:
        return CannotEstimate("no vote has both lengths.")
    names, k = votes.responders, len(votes.responders)
    responder = np.concatenate([votes.left, votes.right])
    count = np.bincount(responder, minlength=k)
    total = np.bincount(responder, np.concatenate([votes.left_length, votes.right_length]), minlength=k)
    decided = (votes.verdict <= RIGHT) & (votes.left_length != votes.right_length)
    longer_won = (votes.verdict == LEFT) == (votes.left_length > votes.right_length)
    share, interval = _longer_wins(longer_won[decided], votes.prompt[decided])
    c = votes.contests
    difference = np.where(c.candidate_left, 1, -1) * (votes.left_length - votes.right_length)
    order = np.argsort(c.pair, kind="stable")
    votes_by_pair = np.split(order, np.searchsorted(c.pair[order], np.arange(1, len(c.pairs))))
    return LengthEffect(
        votes=votes.n,
        mean_length={name: float(total[i] / count[i]) for i, name in enumerate(names) if count[i]},
        longer_wins=share,
        longer_wins_interval=interval,
        contrasts=tuple(
            _length_controlled(names[i], names[j], c.score[chosen], difference[chosen], votes.prompt[chosen])
            for (i, j), chosen in zip(c.pairs, votes_by_pair, strict=True)
        ),
    )


def _longer_wins(longer_won: Flags, prompt: Codes) -> tuple[Estimated[float], Estimated[Interval]]:
    if not len(longer_won):
        none = CannotEstimate("no decided vote is on replies of different length.")
        return none, none
    rate = group_means(np.zeros(len(longer_won), np.int64), prompt, longer_won.astype(float), groups=1)
    return float(rate.rate[0]), rate.interval(0, otherwise="all of these votes are on one prompt.")


def _length_controlled(
    candidate: str, baseline: str, score: Numbers, difference: Numbers, prompt: Codes
) -> LengthControlledRate:
    longer, shorter = float((difference > 0).mean()), float((difference < 0).mean())
    rate, interval, slope = _at_equal_length(score, difference, prompt, min(longer, shorter))
    return LengthControlledRate(
        candidate, baseline, len(score), longer, shorter, float(score.mean()), rate, interval, slope
    )


def _at_equal_length(
    score: Numbers, difference: Numbers, prompt: Codes, overlap: float
) -> tuple[Estimated[float], Estimated[Interval], Estimated[float]]:
    prompts = len(np.unique(prompt))
    why = ""
    if overlap < LEAST_SHARE:
        why = f"each has to write the longer reply in {LEAST_SHARE:.0%} of the votes; one does in {overlap:.0%} only."
    elif prompts < LEAST_PROMPTS:
        why = f"it takes {LEAST_PROMPTS} prompts or more."
    elif (score == score[0]).all():
        why = "all votes say the same."
    else:
        design = np.stack([np.ones(len(score)), np.tanh(difference / difference.std())], axis=1)
        fit = fit_logistic(design, score, np.ones(len(score)), ridge=np.array([0.0, RIDGE]))
        covariance = clustered_covariance(fit, design, np.arange(len(score)), score, prompt)
        error = float(np.sqrt(covariance[0, 0].clip(0)))
        if fit.converged and 1e-9 < error < 1e3:
            from scipy.stats import t

            level = fit.coefficients[0]
            width = float(t.ppf(0.975, prompts - 1)) * error
            rate, low, high = sigmoid(level + width * np.array([0, -1, 1])).tolist()
            return rate, Interval(low, high), float(fit.coefficients[1])
        why = "length tells the winner of every vote, so nothing is known of equal lengths."
    none = CannotEstimate(why)
    return none, none, none
