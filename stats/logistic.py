"""Logistic regression on scores in [0, 1], half ties included, with cluster-robust standard errors. Pure.

What `statsmodels` does with `GLM(..., Binomial()).fit(cov_type="cluster")`, with which the tests compare it; here
counts come aggregated, so that a million votes are fitted as their few hundred kinds.
"""

from dataclasses import dataclass

import numpy as np

from stats.votes import Codes, Numbers

STEPS = 100
"""Newton steps at most."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Coefficients and what a covariance needs."""

    coefficients: Numbers
    """(p,): log odds."""
    inverse: Numbers
    """(p, p): of the negative Hessian; the covariance if all votes were independent."""
    converged: bool
    """False where some coefficient has no finite estimate."""


def fit(design: Numbers, mean: Numbers, weight: Numbers, *, ridge: Numbers | None = None) -> Fitted:
    """Maximum likelihood by Newton's method.

    Args:
        design: (rows, p).
        mean: (rows,) mean score in [0, 1] of the votes in a row.
        weight: (rows,) how many votes that is.
        ridge: (p,) penalties on half the squared coefficients.
    """
    penalty = np.zeros(design.shape[1]) if ridge is None else ridge
    beta: Numbers = np.zeros(design.shape[1])
    inverse: Numbers = np.eye(len(beta))
    step: Numbers = np.full(len(beta), np.inf)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(design @ beta)))
        gradient = design.T @ (weight * (mean - chance)) - penalty * beta
        hessian = (design.T * (weight * chance * (1 - chance))) @ design + np.diag(penalty)
        try:
            inverse = np.asarray(np.linalg.inv(hessian), dtype=float)
        except np.linalg.LinAlgError:
            break
        step = inverse @ gradient
        beta = beta + step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-9 or np.abs(beta).max() > 30:
            break
    return Fitted(beta, inverse, bool(np.abs(step).max() < 1e-6 and np.abs(beta).max() < 30))


def clustered_covariance(fitted: Fitted, scores: Numbers, *, votes: int) -> Numbers:
    """Covariance (p, p) of the coefficients when votes of one cluster are alike (Liang and Zeger 1986, with the usual
    correction G/(G-1) * (n-1)/(n-p) for few clusters).

    Args:
        scores: (clusters, p), the sum over a cluster's votes of residual times design row; see `cluster_scores`.
        votes: n.
    """
    groups, p = scores.shape
    correction = groups / (groups - 1) * (votes - 1) / max(votes - p, 1)
    return np.asarray(correction * fitted.inverse @ (scores.T @ scores) @ fitted.inverse)


def cluster_scores(residual: Numbers, design: Numbers, kind: Codes, cluster: Codes) -> Numbers:
    """(clusters, p): residuals (n,) times each vote's design row, summed by cluster.

    Args:
        design: (kinds, p), the few different rows.
        kind: (n,) each vote's row of `design`.
        cluster: (n,) codes.
    """
    from scipy.sparse import coo_array

    names, number = np.unique(cluster, return_inverse=True)
    table = coo_array((residual, (number, kind)), shape=(len(names), len(design))).tocsr()
    return np.asarray(table @ design)
