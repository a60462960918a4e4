"""Means of scores by group, with cluster-robust variances for votes that share a prompt or a reviewer. Pure.

For a group with mean m over n votes and clusters g: V = G/(G-1) * sum_g (sum_{i in g} (y_i - m))^2 / n^2, as in Miller
2024 (arXiv 2411.00640). Two ways, prompts and reviewers: max(V_p + V_r - V_iid, V_p, V_r), from Cameron, Gelbach and
Miller 2011 (Journal of Business & Economic Statistics 29). Everything is an array over groups, so thousands of slices
take as long as one.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import variance_intervals, wilson_intervals
from stats.votes import Codes, Numbers


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """One entry for each group."""

    n: Codes
    """Votes."""
    clusters: Codes
    """Distinct clusters (prompts or reviewers) of these votes."""
    rate: Numbers
    """Mean score; 0.5 where there are no votes."""
    independent: Numbers
    """Variance of the mean if all votes were independent: V_iid."""
    variance: Numbers
    """Cluster-robust variance of the mean; NaN with fewer than two clusters."""
    each_once: Numbers
    """Mean of the clusters' means: every prompt counts once, however many votes it has."""

    @cached_property
    def intervals(self) -> tuple[Numbers, Numbers]:
        """95 % intervals as for the WinRate: Wilson's where no cluster has two votes, NaN for a single cluster."""
        low, high = np.full(len(self.n), np.nan), np.full(len(self.n), np.nan)
        single = (self.clusters == self.n) & (self.n > 0)
        shared = (self.clusters > 1) & ~single
        if single.any():
            low[single], high[single] = wilson_intervals(self.rate[single], self.n[single])
        if shared.any():
            low[shared], high[shared] = variance_intervals(
                self.rate[shared], self.variance[shared], n=self.n[shared], freedom=self.clusters[shared] - 1
            )
        return low, high

    def interval(self, group: int, *, otherwise: str) -> Estimated[Interval]:
        """The 95 % interval of one group; the reason `otherwise` where it has none."""
        low, high = (float(limits[group]) for limits in self.intervals)
        return CannotEstimate(otherwise) if np.isnan(low) else Interval(low, high)


def unique_pairs(first: Codes, second: Codes) -> tuple[Codes, Codes, Codes]:
    """The pairs of codes that occur, sorted: first codes, second codes, and for each vote the index of its pair."""
    width = int(second.max(initial=0)) + 1
    pairs, index = np.unique(first * width + second, return_inverse=True)
    return pairs // width, pairs % width, index


def group_means(group: Codes, cluster: Codes, score: Numbers, *, groups: int) -> GroupMeans:
    """Means of `score` by `group` (codes below `groups`), clustered by `cluster`; all of shape (n,)."""
    n = np.bincount(group, minlength=groups)
    rate = np.full(groups, 0.5)
    np.divide(np.bincount(group, score, minlength=groups), n, out=rate, where=n > 0)
    residual = score - rate[group]
    squared = np.maximum(n, 1).astype(float) ** 2
    independent = np.bincount(group, residual**2, minlength=groups) / squared
    cell_group, _, cell = unique_pairs(group, cluster)
    clusters = np.bincount(cell_group, minlength=groups)
    between = np.bincount(cell_group, np.bincount(cell, residual) ** 2, minlength=groups)
    variance = np.full(groups, np.nan)
    several = clusters > 1
    variance[several] = (clusters / np.maximum(clusters - 1, 1) * between / squared)[several]
    cell_mean = np.bincount(cell, score) / np.bincount(cell)
    each_once = np.full(groups, 0.5)
    np.divide(np.bincount(cell_group, cell_mean, minlength=groups), clusters, out=each_once, where=clusters > 0)
    # a sum of rounding errors is no variance
    return GroupMeans(n, clusters, rate, independent, np.where(variance < 1e-24, 0.0, variance), each_once)


def two_way_variance(prompts: GroupMeans, reviewers: GroupMeans) -> tuple[Numbers, Numbers]:
    """Variance of the mean for prompts and reviewers like these, from the same votes clustered by each, and its degrees
    of freedom (Satterthwaite 1946, Biometrics Bulletin 2): at least those of the smaller number of clusters, and more
    where the other kind makes up the variance. NaN where either kind has a single cluster.

    Votes that no reviewer gave may be in `prompts` alone: they vary only by prompt.
    """
    by_reviewer = (reviewers.n / np.maximum(prompts.n, 1)) ** 2 * reviewers.variance
    independent = (reviewers.n / np.maximum(prompts.n, 1)) ** 2 * reviewers.independent
    larger = np.maximum(prompts.variance, by_reviewer)
    variance = np.maximum(prompts.variance + by_reviewer - independent, larger)
    least = np.minimum(prompts.clusters, reviewers.clusters) - 1.0
    squares = prompts.variance**2 / np.maximum(prompts.clusters - 1, 1)
    squares += by_reviewer**2 / np.maximum(reviewers.clusters - 1, 1)
    freedom = np.divide(variance**2, squares, out=least.copy(), where=squares > 0)
    return variance, np.maximum(freedom, least)


def intraclass_correlation(group: Codes, cluster: Codes, score: Numbers) -> float | None:
    """How alike votes on the same prompt are, within a group: the intraclass correlation in [0, 1] of one-way analysis
    of variance (Donner 1986, International Statistical Review 54). None where no prompt has two votes or all are equal.
    """
    count = np.bincount(group)
    residual = score - (np.bincount(group, score) / np.maximum(count, 1))[group]
    cell_group, _, cell = unique_pairs(group, cluster)
    size = np.bincount(cell).astype(float)
    n, cells, groups = len(score), len(cell_group), int((count > 0).sum())
    if n == cells or cells <= groups:
        return None
    cell_mean = np.bincount(cell, residual) / size
    between = float((size * cell_mean**2).sum()) / (cells - groups)
    within = float(((residual - cell_mean[cell]) ** 2).sum()) / (n - cells)
    total = np.bincount(cell_group, size)
    squares = np.bincount(cell_group, size**2)
    typical = (n - float((squares[total > 0] / total[total > 0]).sum())) / (cells - groups)
    total_variance = between + (typical - 1) * within
    return float(np.clip((between - within) / total_variance, 0.0, 1.0)) if total_variance > 1e-12 else None
