"""Means of scores by group, with the standard errors that votes sharing a prompt or a reviewer leave them. Pure.

For a group with mean m over n votes and clusters g: V = G/(G-1) * sum_g (sum_{i in g} (y_i - m))^2 / n^2, as in Miller
2024 (arXiv 2411.00640). Two ways, prompts and reviewers: max(V_p + V_r - V_iid, V_p, V_r), from Cameron, Gelbach and
Miller 2011 (Journal of Business & Economic Statistics 29). Everything is an array over groups, so that thousands of
slices take as long as one.
"""

from dataclasses import dataclass

import numpy as np

from stats.votes import Codes, Numbers


@dataclass(frozen=True, eq=False)
class Means:
    """One entry for each group."""

    n: Codes
    """Votes."""
    clusters: Codes
    """Different clusters (prompts or reviewers) among them."""
    rate: Numbers
    """Mean score; 0.5 where there are no votes."""
    independent: Numbers
    """Variance of the mean as if every vote were independent: V_iid."""
    variance: Numbers
    """Cluster-robust variance of the mean; not a number with fewer than two clusters."""
    each_once: Numbers
    """Mean of the clusters' own means: every prompt counts once, however many votes it has."""

    @property
    def intervals(self) -> tuple[Numbers, Numbers]:
        """95 % intervals as for the WinRate; Wilson's where no cluster has two votes, not a number for one cluster."""
        from stats.intervals import of_variances, wilsons

        low, high = np.full(len(self.n), np.nan), np.full(len(self.n), np.nan)
        single = (self.clusters == self.n) & (self.n > 0)
        shared = (self.clusters > 1) & ~single
        if single.any():
            low[single], high[single] = wilsons(self.rate[single], self.n[single])
        if shared.any():
            low[shared], high[shared] = of_variances(
                self.rate[shared], self.variance[shared], n=self.n[shared], freedom=self.clusters[shared] - 1
            )
        return low, high


def means(group: Codes, cluster: Codes, score: Numbers, *, groups: int) -> Means:
    """Means of `score` by `group` (codes below `groups`), clustered by `cluster`; all of shape (n,)."""
    n = np.bincount(group, minlength=groups)
    rate = np.full(groups, 0.5)
    np.divide(np.bincount(group, score, minlength=groups), n, out=rate, where=n > 0)
    left_over = score - rate[group]
    squared = np.maximum(n, 1).astype(float) ** 2
    independent = np.bincount(group, left_over**2, minlength=groups) / squared
    width = int(cluster.max()) + 1 if len(cluster) else 1
    cells, cell = np.unique(group * width + cluster, return_inverse=True)
    owner = cells // width
    clusters = np.bincount(owner, minlength=groups)
    sums = np.bincount(cell, left_over, minlength=len(cells))
    between = np.bincount(owner, sums**2, minlength=groups)
    variance = np.full(groups, np.nan)
    several = clusters > 1
    variance[several] = (clusters / np.maximum(clusters - 1, 1) * between / squared)[several]
    own = np.bincount(cell, score, minlength=len(cells)) / np.maximum(np.bincount(cell, minlength=len(cells)), 1)
    each_once = np.full(groups, 0.5)
    np.divide(np.bincount(owner, own, minlength=groups), clusters, out=each_once, where=clusters > 0)
    # sums of rounding errors are no variance
    return Means(n, clusters, rate, independent, np.where(variance < 1e-24, 0.0, variance), each_once)


def two_ways(prompts: Means, reviewers: Means) -> tuple[Numbers, Numbers]:
    """Variance of the mean for prompts and reviewers like these, from the same votes clustered by each, and its degrees
    of freedom (Satterthwaite 1946, Biometrics Bulletin 2): those of the smaller kind where it makes up the variance,
    more where the other does. NaN where either kind has a single cluster.

    Votes that no reviewer gave may be among the prompts' alone: they vary by prompt and by nothing else.
    """
    of_reviewers = (reviewers.n / np.maximum(prompts.n, 1)) ** 2 * reviewers.variance
    chance = (reviewers.n / np.maximum(prompts.n, 1)) ** 2 * reviewers.independent
    larger = np.maximum(prompts.variance, of_reviewers)
    variance = np.maximum(prompts.variance + of_reviewers - chance, larger)
    least = np.minimum(prompts.clusters, reviewers.clusters) - 1.0
    parts = prompts.variance**2 / np.maximum(prompts.clusters - 1, 1)
    parts += of_reviewers**2 / np.maximum(reviewers.clusters - 1, 1)
    freedom = np.divide(variance**2, parts, out=least.copy(), where=parts > 0)
    return variance, np.maximum(freedom, least)


def correlation(group: Codes, cluster: Codes, score: Numbers) -> float | None:
    """How alike votes on the same prompt are, within a group: the intraclass correlation in [0, 1] of one-way analysis
    of variance (Donner 1986, International Statistical Review 54). None where no prompt has two votes or all are equal.
    """
    count = np.bincount(group)
    left_over = score - (np.bincount(group, score) / np.maximum(count, 1))[group]
    width = int(cluster.max()) + 1 if len(cluster) else 1
    cells, cell = np.unique(group * width + cluster, return_inverse=True)
    size = np.bincount(cell).astype(float)
    n, several = len(score), int((count > 0).sum())
    if n == len(cells) or len(cells) <= several:
        return None
    own = np.bincount(cell, left_over) / size
    between = float((size * own**2).sum()) / (len(cells) - several)
    within = float(((left_over - own[cell]) ** 2).sum()) / (n - len(cells))
    total = np.bincount(cells // width, size)
    squares = np.bincount(cells // width, size**2)
    typical = (n - float((squares[total > 0] / total[total > 0]).sum())) / (len(cells) - several)
    total_variance = between + (typical - 1) * within
    return float(np.clip((between - within) / total_variance, 0.0, 1.0)) if total_variance > 1e-12 else None
