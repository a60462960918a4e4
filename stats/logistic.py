"""Logistic regression on scores in [0, 1], half ties included, with cluster-robust standard errors. Pure.

The same as `GLM(..., Binomial()).fit(cov_type="cluster")` of `statsmodels`, with which the tests compare it; here equal
votes are counted together, so that a million votes are fitted as their few hundred kinds.
"""

from dataclasses import dataclass

import numpy as np

from stats.votes import Codes, Numbers

STEPS = 100
"""Newton steps at most."""


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A fit: its coefficients and the inverse Hessian, which a covariance needs."""

    coefficients: Numbers
    """(p,): log odds."""
    inverse: Numbers
    """(p, p): inverse of the negative Hessian; the covariance if all votes were independent."""
    converged: bool
    """False where some coefficient has no finite estimate."""


def fit_logistic(design: Numbers, mean: Numbers, weight: Numbers, *, ridge: Numbers | None = None) -> LogisticFit:
    """Maximum likelihood by Newton's method.

    Args:
        design: (rows, p).
        mean: (rows,) mean score in [0, 1] of the votes of each row.
        weight: (rows,) how many votes each row stands for.
        ridge: (p,) penalties on half the squared coefficients.
    """
    penalty = np.zeros(design.shape[1]) if ridge is None else ridge
    beta: Numbers = np.zeros(design.shape[1])
    inverse: Numbers = np.eye(len(beta))
    step: Numbers = np.full(len(beta), np.inf)
    for _ in range(STEPS):
        probability = sigmoid(design @ beta)
        gradient = design.T @ (weight * (mean - probability)) - penalty * beta
        hessian = (design.T * (weight * probability * (1 - probability))) @ design + np.diag(penalty)
        try:
            inverse = np.asarray(np.linalg.inv(hessian), dtype=float)
        except np.linalg.LinAlgError:
            break
        step = inverse @ gradient
        beta = beta + step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-9 or np.abs(beta).max() > 30:
            break
    return LogisticFit(beta, inverse, bool(np.abs(step).max() < 1e-6 and np.abs(beta).max() < 30))


def clustered_covariance(fit: LogisticFit, design: Numbers, kind: Codes, score: Numbers, cluster: Codes) -> Numbers:
    """Covariance (p, p) of the coefficients when votes of one cluster are alike (Liang and Zeger 1986, with the usual
    correction G/(G-1) * (n-1)/(n-p) for few clusters).

    Args:
        design: (kinds, p), the few different rows.
        kind: (n,) each vote's row of `design`.
        score: (n,) in [0, 1].
        cluster: (n,) codes.
    """
    from scipy.sparse import coo_array

    residual = score - sigmoid(design @ fit.coefficients)[kind]
    names, index = np.unique(cluster, return_inverse=True)
    (groups, n), (kinds, p) = (len(names), len(score)), design.shape
    gradients = coo_array((residual, (index, kind)), shape=(groups, kinds)).tocsr() @ design  # (clusters, p)
    correction = groups / (groups - 1) * (n - 1) / max(n - p, 1)
    return np.asarray(correction * fit.inverse @ (gradients.T @ gradients) @ fit.inverse)


def sigmoid(log_odds: Numbers) -> Numbers:
    """Probabilities from log odds."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))
