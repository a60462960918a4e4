"""The win rate in parts of the votes: by reviewer, by tag, by which reply is longer. Pure.

Rates of small parts vary by chance, so each part also has a shrunken rate: it lies the closer to the contrast's rate,
the fewer votes the part has and the less the parts differ beyond chance (empirical Bayes with DerSimonian and Laird's
variance between parts, 1986, Controlled Clinical Trials 7). Parts explain a result and find no winner: their intervals
are not corrected for the number of parts.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import group_means, unique_pairs
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.votes import Codes, Numbers, Votes

LEAST_PROMPTS = 5
"""With fewer prompts a part has no rate worth showing."""
LONGER = ("candidate shorter", "same length", "candidate longer")


@dataclass(frozen=True)
class Slice:
    """One part of one contrast."""

    candidate: str
    baseline: str
    by: str
    """How the votes were divided: reviewer, tag or length."""
    part: str
    votes: int
    prompts: int
    rate: Estimated[float]
    """(wins + ties/2) / n of this part."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    shrunken: Estimated[float]
    """Best estimate of the part's true rate, given the others'."""


def slices(votes: Votes) -> tuple[Slice, ...]:
    """All parts that the votes' columns allow; reviewers or tags are left out where there is only one."""
    parts: list[Slice] = []
    asked = votes.asked
    if len(np.unique(asked.reviewer)) > 1:
        parts += slice_by(asked, asked.reviewer, asked.reviewers, by="reviewer")
    if votes.tag is not None and len(np.unique(votes.tag)) > 1:
        parts += slice_by(votes, votes.tag, votes.tags, by="tag")
    if votes.left_length is not None and votes.right_length is not None:
        difference = votes.left_length - votes.right_length
        measured = votes.where(np.isfinite(difference))
        sign = np.sign(difference[np.isfinite(difference)]) * np.where(measured.contests.candidate_left, 1, -1)
        if measured.n:
            parts += slice_by(measured, (sign + 1).astype(np.int64), LONGER, by="length")
    return tuple(parts)


def slice_by(votes: Votes, part: Codes, names: tuple[str, ...], *, by: str) -> list[Slice]:
    """Each contrast divided by part; `part` (n,) holds codes into `names`."""
    c = votes.contests
    pairs, parts, index = unique_pairs(c.pair, part)
    rates = group_means(index, votes.prompt, c.score, groups=len(pairs))
    low, high = rates.intervals
    enough = rates.clusters >= LEAST_PROMPTS
    # the interval's variance, which stays above 0 where all votes of a part are equal
    variance = np.where(enough, ((high - low) / 3.92) ** 2, np.nan)
    shrunken = _shrunken_rates(pairs, rates.rate, variance)
    result: list[Slice] = []
    for i, (pair, code) in enumerate(zip(pairs, parts, strict=True)):
        candidate, baseline = c.pairs[pair]
        prompts = int(rates.clusters[i])
        few = CannotEstimate(f"prompts here: {prompts}; it takes {LEAST_PROMPTS}.")
        result.append(
            Slice(
                candidate=votes.responders[candidate],
                baseline=votes.responders[baseline],
                by=by,
                part=names[code],
                votes=int(rates.n[i]),
                prompts=prompts,
                rate=float(rates.rate[i]) if enough[i] else few,
                interval=Interval(float(low[i]), float(high[i])) if enough[i] else few,
                shrunken=float(shrunken[i]) if enough[i] and np.isfinite(shrunken[i]) else few,
            )
        )
    return result


def _shrunken_rates(pair: Codes, rate: Numbers, variance: Numbers) -> Numbers:
    """Shrunken rates; NaN where the variance is NaN or a pair has only one usable part."""
    usable = np.isfinite(variance)
    v = np.where(usable, variance, 1.0)
    weight = np.where(usable, 1 / v, 0.0)

    def by_pair(values: Numbers) -> Numbers:
        return np.asarray(np.bincount(pair, values), dtype=float)

    total, squares, number = by_pair(weight), by_pair(weight**2), by_pair(usable.astype(float))
    safe = np.maximum(total, 1e-300)
    fixed_mean = by_pair(weight * rate) / safe
    q = by_pair(weight * (rate - fixed_mean[pair]) ** 2)  # Cochran's Q
    between = np.maximum(0.0, (q - (number - 1)) / np.maximum(total - squares / safe, 1e-12))
    random_weight = np.where(usable, 1 / (v + between[pair]), 0.0)
    random_mean = by_pair(random_weight * rate) / np.maximum(by_pair(random_weight), 1e-300)
    kept = between[pair] / (between[pair] + v)
    return np.where(usable & (number[pair] > 1), kept * rate + (1 - kept) * random_mean[pair], np.nan)
