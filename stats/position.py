"""Whether the left side is favoured, and the strengths without that favour. Pure.

Bradley-Terry with an intercept, the log odds of the left side between equals (Agresti 2002, section 10.6); standard
errors clustered by reviewer, since the habit is a reviewer's, or by prompt where there are fewer than five.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import means
from stats.contrasts import ENOUGH_REVIEWERS
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.logistic import cluster_scores, clustered_covariance, fit
from stats.strengths import parts, unbounded
from stats.votes import LEFT, LEFT_SCORE, RIGHT, Votes


@dataclass(frozen=True)
class LeftEffect:
    """The left side's advantage between equals."""

    log_odds: float
    """0 is none."""
    standard_error: float
    p_value: float
    """Two-sided, t with clusters less one."""
    clustered_by: str
    """Reviewer or prompt."""
    left_rate_between_equals: float
    """The same as a rate in [0, 1]."""
    corrected_log_strengths: dict[str, float]
    """Bradley-Terry strengths with half ties, without the favour; their sum is zero."""


@dataclass(frozen=True)
class Position:
    """How often the left reply won."""

    left: int
    right: int
    left_rate: Estimated[float]
    """left / (left + right); responders stand on both sides, so one half is expected where sides are drawn."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    p_value: Estimated[float]
    """Exact two-sided binomial test, as if votes were independent."""
    effect: Estimated[LeftEffect]


def position(votes: Votes) -> Position:
    """Left rate with its test, and the intercept."""
    decided = votes.where(votes.verdict <= RIGHT)
    left = int((decided.verdict == LEFT).sum())
    right = decided.n - left
    if not decided.n:
        none = CannotEstimate("no vote is decided.")
        return Position(0, 0, none, none, none, none)
    from scipy.stats import binomtest

    found = means(np.zeros(decided.n, np.int64), decided.prompt, (decided.verdict == LEFT).astype(float), groups=1)
    low, high = found.intervals
    interval: Estimated[Interval] = CannotEstimate("all decided votes are on one prompt.")
    if np.isfinite(low[0]):
        interval = Interval(float(low[0]), float(high[0]))
    p_value = float(binomtest(left, left + right).pvalue)
    return Position(left, right, left / decided.n, interval, p_value, left_effect(votes))


def left_effect(votes: Votes) -> Estimated[LeftEffect]:
    """The intercept with its standard error, and strengths corrected for it."""
    votes = votes.asked
    if len(parts(votes)) > 1:
        return CannotEstimate("some responders were never judged against the others, so there is no common scale.")
    if unbounded(votes):
        return CannotEstimate("somebody is undefeated or never won, so strengths have no finite estimate.")
    reviewers = len(np.unique(votes.reviewer))
    by = "reviewer" if reviewers >= ENOUGH_REVIEWERS else "prompt"
    cluster = votes.reviewer if by == "reviewer" else votes.prompt
    if len(np.unique(cluster)) < 2:
        return CannotEstimate("all votes are on one prompt, so nothing shows how it would be on another.")
    k = len(votes.responders)
    kinds, kind = np.unique(votes.left * k + votes.right, return_inverse=True)
    design = np.zeros((len(kinds), k + 1))
    design[:, k] = 1.0
    design[np.arange(len(kinds)), kinds // k] += 1.0
    design[np.arange(len(kinds)), kinds % k] -= 1.0
    design = design[:, 1:]  # the first responder is where the scale begins
    if np.linalg.matrix_rank(design) < k:
        return CannotEstimate(
            "who stood left tells who it was, so the side cannot be told from the responder. Draw the sides."
        )
    count = np.bincount(kind)
    score = LEFT_SCORE[votes.verdict]
    fitted = fit(design, np.bincount(kind, score) / count, count.astype(float))
    if not fitted.converged:
        return CannotEstimate("the fit has no finite maximum: too few votes decide against the side.")
    residual = score - 1 / (1 + np.exp(-(design @ fitted.coefficients)))[kind]
    scores = cluster_scores(residual, design, kind, cluster)
    error = float(np.sqrt(clustered_covariance(fitted, scores, votes=votes.n)[-1, -1].clip(0)))
    if not 1e-9 < error < 1e3:
        return CannotEstimate("the votes do not vary enough to tell how sure one can be.")
    from scipy.stats import t

    intercept = float(fitted.coefficients[-1])
    theta = np.array([0.0, *fitted.coefficients[:-1]])
    theta -= theta.mean()
    return LeftEffect(
        log_odds=intercept,
        standard_error=error,
        p_value=float(2 * t.sf(abs(intercept) / error, len(scores) - 1)),
        clustered_by=by,
        left_rate_between_equals=float(1 / (1 + np.exp(-intercept))),
        corrected_log_strengths={n: float(v) for n, v in zip(votes.responders, theta, strict=True)},
    )
