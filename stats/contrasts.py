"""Every pair of responders that was judged against each other: counts, win rate, intervals, tests. Pure.

Two questions are kept apart: how *these reviewers* would judge other prompts like these (clustered by prompt), and how
*reviewers like these* would (two-way; not with fewer than five of them). The test is an exact sign test over prompts,
where a prompt's sign is the responder that its votes prefer; Holm's correction (1979, Scandinavian Journal of
Statistics 6) covers all contrasts but the one that was named before the votes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stats.clusters import GroupMeans, group_means, two_way_variance, unique_pairs
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import variance_intervals
from stats.sequential import Evidence, count_decided_prompts, evidence
from stats.votes import BOTH_BAD, LEFT, RIGHT, Numbers, Votes

ENOUGH_REVIEWERS = 5
"""Least number from which the votes speak for reviewers like these."""
NO_DECISION = CannotEstimate("no vote prefers either reply, so nothing speaks for one or the other.")
ONE_PROMPT = CannotEstimate(
    "all votes are on one prompt, so nothing shows how it would be on another. Judge more prompts."
)


@dataclass(frozen=True)
class Contrast:
    """The votes on a candidate against one baseline, and what they show."""

    candidate: str
    baseline: str
    wins: int
    ties: int
    """Both good and both bad together."""
    losses: int
    both_bad: int
    """Ties where neither reply could be sent."""
    unasked: int
    """Ties that no reviewer gave, since both texts are the same."""
    prompts: int
    reviewers: int
    rate: float
    """(wins + ties/2) / n, in [0, 1]."""
    rate_each_prompt_once: float
    """Mean of the prompts' rates; equals `rate` where all prompts have equally many votes."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt, as the WinRate's: these reviewers, other prompts."""
    naive_standard_error: float
    """As if all votes were independent; only to show the effect of clustering."""
    standard_error: Estimated[float]
    """Clustered by prompt."""
    interval_any_reviewer: Estimated[Interval]
    """95 %, for other prompts and other reviewers like these; t as `two_way_variance` says."""
    p_value: Estimated[float]
    """Exact two-sided sign test over prompts."""
    p_value_holm: Estimated[float]
    """The same, corrected for the number of contrasts; the primary contrast keeps its own."""
    primary: bool
    """Whether this contrast was named before the votes."""
    flips_to_change_winner: int | None
    """How many of the winner's votes would have to go to the other for the other to lead; None without a winner."""
    evidence: Evidence
    """Valid however often the votes were looked at."""

    @property
    def n(self) -> int:
        """Votes."""
        return self.wins + self.ties + self.losses

    @property
    def outcomes(self) -> dict[str, int]:
        """Votes by what they mean for the candidate."""
        return {"win": self.wins, "tie": self.ties - self.both_bad, "both bad": self.both_bad, "loss": self.losses}

    @property
    def finding(self) -> str:
        """The result in words that claim no more than the interval and the corrected test allow."""
        if isinstance(self.interval, CannotEstimate):
            return str(self.interval)
        if self.interval.low <= 0.5 <= self.interval.high:
            return "No difference can be told: the interval includes 50 %."
        winner, loser = (self.candidate, self.baseline) if self.rate > 0.5 else (self.baseline, self.candidate)
        more, fewer = max(self.wins, self.losses), min(self.wins, self.losses)
        odds = f"{more / fewer:.1f} to 1 in decided votes" if fewer else "in every decided vote"
        p = self.p_value_holm
        if isinstance(p, CannotEstimate) or p >= 0.05:
            reason = p.reason if isinstance(p, CannotEstimate) else f"the exact test, corrected, has p = {p:.2g}."
            return f"“{winner}” is ahead of “{loser}”, {odds}, but that is no finding: {reason}"
        return f"“{winner}” is preferred to “{loser}”, {odds}."


def contrasts(votes: Votes, *, primary: tuple[str, str] | None = None) -> tuple[Contrast, ...]:
    """All pairs with votes, by candidate and baseline in the order of `votes.responders`.

    Args:
        votes: people's or a model's, never both.
        primary: names of the two responders whose contrast was named before the votes, in either order.
    """
    if votes.n == 0:
        return ()
    c = votes.contests
    m = len(c.pairs)
    by_prompt = group_means(c.pair, votes.prompt, c.score, groups=m)
    asked = np.ones(votes.n, bool) if votes.unasked is None else ~votes.unasked
    by_reviewer = group_means(c.pair[asked], votes.reviewer[asked], c.score[asked], groups=m)
    any_low, any_high = _any_reviewer_limits(by_prompt, by_reviewer)
    decided = votes.verdict <= RIGHT
    won = decided & ((votes.verdict == LEFT) == c.candidate_left)
    wins = np.bincount(c.pair[won], minlength=m)
    losses = np.bincount(c.pair[decided & ~won], minlength=m)
    both_bad = np.bincount(c.pair[votes.verdict == BOTH_BAD], minlength=m)
    unasked = np.bincount(c.pair[~asked], minlength=m)
    prompt_means = _prompt_means(votes)
    names = votes.responders
    is_primary = [primary is not None and {names[i], names[j]} == set(primary) for i, j in c.pairs]
    results = []
    for pair, (candidate, baseline) in enumerate(c.pairs):
        several = bool(by_prompt.clusters[pair] > 1)
        results.append(
            Contrast(
                candidate=names[candidate],
                baseline=names[baseline],
                wins=int(wins[pair]),
                ties=int(by_prompt.n[pair] - wins[pair] - losses[pair]),
                losses=int(losses[pair]),
                both_bad=int(both_bad[pair]),
                unasked=int(unasked[pair]),
                prompts=int(by_prompt.clusters[pair]),
                reviewers=int(by_reviewer.clusters[pair]),
                rate=float(by_prompt.rate[pair]),
                rate_each_prompt_once=float(by_prompt.each_once[pair]),
                interval=by_prompt.interval(pair, otherwise=ONE_PROMPT.reason),
                naive_standard_error=float(np.sqrt(by_prompt.independent[pair])),
                standard_error=float(np.sqrt(by_prompt.variance[pair])) if several else ONE_PROMPT,
                interval_any_reviewer=_any_reviewer_interval(
                    float(any_low[pair]), float(any_high[pair]), int(by_reviewer.clusters[pair]), several=several
                ),
                p_value=sign_test(prompt_means[pair]),
                p_value_holm=NO_DECISION,
                primary=is_primary[pair],
                flips_to_change_winner=flips_to_change_winner(int(wins[pair]), int(losses[pair])),
                evidence=evidence(prompt_means[pair], contrasts=1 if is_primary[pair] else m - sum(is_primary)),
            )
        )
    return _apply_holm(results)


def sign_test(prompt_means: Numbers) -> Estimated[float]:
    """Exact two-sided p over prompts that prefer one side, from their mean scores (P,) in [0, 1]."""
    from scipy.stats import binomtest

    wins, losses = count_decided_prompts(prompt_means)
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else NO_DECISION


def flips_to_change_winner(wins: int, losses: int) -> int | None:
    """Votes that would have to change sides for the other to lead (fragility, as in arXiv 2508.11847)."""
    return abs(wins - losses) // 2 + 1 if wins != losses else None


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the same order; as statsmodels' `multipletests`, which collects garbage first."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def _prompt_means(votes: Votes) -> list[Numbers]:
    """For each pair the mean score of each of its prompts."""
    c = votes.contests
    cell_pair, _, cell = unique_pairs(c.pair, votes.prompt)
    mean = np.bincount(cell, c.score) / np.bincount(cell)
    return np.split(mean, np.searchsorted(cell_pair, np.arange(1, len(c.pairs))))


def _any_reviewer_limits(prompts: GroupMeans, reviewers: GroupMeans) -> tuple[Numbers, Numbers]:
    variance, freedom = two_way_variance(prompts, reviewers)
    low, high = np.full(len(variance), np.nan), np.full(len(variance), np.nan)
    enough = (prompts.clusters > 1) & (reviewers.clusters >= ENOUGH_REVIEWERS)
    if enough.any():
        low[enough], high[enough] = variance_intervals(
            prompts.rate[enough], variance[enough], n=prompts.n[enough], freedom=freedom[enough]
        )
    return low, high


def _any_reviewer_interval(low: float, high: float, reviewers: int, *, several: bool) -> Estimated[Interval]:
    if reviewers < ENOUGH_REVIEWERS:
        who = "one reviewer" if reviewers == 1 else f"{reviewers or 'no'} reviewers"
        return CannotEstimate(
            f"the votes are of {who}; with fewer than {ENOUGH_REVIEWERS} they speak for these reviewers only."
        )
    return Interval(low, high) if several else ONE_PROMPT


def _apply_holm(results: list[Contrast]) -> tuple[Contrast, ...]:
    family = [i for i, result in enumerate(results) if not result.primary]
    # a contrast without a decision is one of the family all the same
    p_values = [p if isinstance(p := results[i].p_value, float) else 1.0 for i in family]
    for i, p in zip(family, holm_adjusted(p_values), strict=True):
        if isinstance(results[i].p_value, float):
            results[i] = replace(results[i], p_value_holm=p)
    return tuple(replace(result, p_value_holm=result.p_value) if result.primary else result for result in results)
