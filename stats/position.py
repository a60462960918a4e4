"""Whether reviewers favour the left side, and the strengths corrected for it. Pure.

Bradley-Terry with an intercept, the log odds of the left side between equals (Agresti 2002, section 10.6). Standard
errors are clustered by reviewer, since favouring a side is a reviewer's habit, or by prompt with fewer than five
reviewers.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import group_means, unique_pairs
from stats.contrasts import ENOUGH_REVIEWERS
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.logistic import clustered_covariance, fit_logistic, sigmoid
from stats.ratings import connected_groups, explain_unbounded
from stats.votes import LEFT, LEFT_SCORE, RIGHT, Votes


@dataclass(frozen=True)
class LeftAdvantage:
    """The left side's advantage between equals."""

    log_odds: float
    """0 means no advantage."""
    standard_error: float
    p_value: float
    """Two-sided t test with one degree of freedom fewer than clusters."""
    clustered_by: str
    """Reviewer or prompt."""
    left_rate_between_equals: float
    """The advantage as a win rate in [0, 1]."""
    corrected_log_strengths: dict[str, float]
    """Bradley-Terry strengths with half ties, without the left side's advantage; their sum is zero."""


@dataclass(frozen=True)
class PositionBias:
    """How often the left reply won."""

    left: int
    right: int
    left_rate: Estimated[float]
    """left / (left + right); one half is expected where sides are drawn at random."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    p_value: Estimated[float]
    """Exact two-sided binomial test, as if votes were independent."""
    effect: Estimated[LeftAdvantage]


def position_bias(votes: Votes) -> PositionBias:
    """The left rate with its test, and the left side's advantage between equals."""
    decided = votes.where(votes.verdict <= RIGHT)
    left = int((decided.verdict == LEFT).sum())
    right = decided.n - left
    if not decided.n:
        none = CannotEstimate("no vote is decided.")
        return PositionBias(0, 0, none, none, none, none)
    from scipy.stats import binomtest

    rate = group_means(np.zeros(decided.n, np.int64), decided.prompt, (decided.verdict == LEFT).astype(float), groups=1)
    interval = rate.interval(0, otherwise="all decided votes are on one prompt.")
    p_value = float(binomtest(left, left + right).pvalue)
    return PositionBias(left, right, left / decided.n, interval, p_value, left_advantage(votes))


def left_advantage(votes: Votes) -> Estimated[LeftAdvantage]:
    """The left side's advantage with its standard error, and strengths corrected for it."""
    votes = votes.asked
    if len(connected_groups(votes)) > 1:
        return CannotEstimate("some responders were never judged against the others, so there is no common scale.")
    if explain_unbounded(votes):
        return CannotEstimate("somebody is undefeated or never won, so strengths have no finite estimate.")
    enough_reviewers = len(np.unique(votes.reviewer)) >= ENOUGH_REVIEWERS
    cluster = votes.reviewer if enough_reviewers else votes.prompt
    clusters = len(np.unique(cluster))
    if clusters < 2:
        return CannotEstimate("all votes are on one prompt, so nothing shows how it would be on another.")
    k = len(votes.responders)
    left, right, kind = unique_pairs(votes.left, votes.right)
    design = np.zeros((len(left), k + 1))
    design[:, k] = 1.0
    design[np.arange(len(left)), left] += 1.0
    design[np.arange(len(left)), right] -= 1.0
    design = design[:, 1:]  # the first responder is the zero of the scale
    if np.linalg.matrix_rank(design) < k:
        return CannotEstimate(
            "who stood left tells who it was, so the side cannot be told from the responder. Draw the sides."
        )
    count = np.bincount(kind)
    score = LEFT_SCORE[votes.verdict]
    fit = fit_logistic(design, np.bincount(kind, score) / count, count.astype(float))
    if not fit.converged:
        return CannotEstimate("the fit has no finite maximum: too few votes decide against the side.")
    error = float(np.sqrt(clustered_covariance(fit, design, kind, score, cluster)[-1, -1].clip(0)))
    if not 1e-9 < error < 1e3:
        return CannotEstimate("the votes do not vary enough to tell how sure one can be.")
    from scipy.stats import t

    intercept = float(fit.coefficients[-1])
    log_strengths = np.array([0.0, *fit.coefficients[:-1]])
    log_strengths -= log_strengths.mean()
    return LeftAdvantage(
        log_odds=intercept,
        standard_error=error,
        p_value=float(2 * t.sf(abs(intercept) / error, clusters - 1)),
        clustered_by="reviewer" if enough_reviewers else "prompt",
        left_rate_between_equals=float(sigmoid(fit.coefficients[-1])),
        corrected_log_strengths=dict(zip(votes.responders, log_strengths.tolist(), strict=True)),
    )
