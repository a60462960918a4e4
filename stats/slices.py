"""The win rate in parts of the votes: by reviewer, by tag, by which reply is longer. Pure.

Small parts swing by chance, so beside each part's own rate and interval stands its shrunken rate: pulled to the
contrast's rate the more, the less is known of the part and the less the parts differ beyond chance (empirical Bayes
with DerSimonian and Laird's variance between parts, 1986, Controlled Clinical Trials 7). Parts are for looking, not for
finding a winner: none of their intervals is corrected for their number.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import means
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
    """reviewer, tag or length."""
    part: str
    votes: int
    prompts: int
    rate: Estimated[float]
    """(wins + ties/2) / n of this part."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    shrunken: Estimated[float]
    """Best guess of the part's true rate, given the others."""


def slices(votes: Votes) -> tuple[Slice, ...]:
    """All parts that the columns allow; a kind of part with one part only says nothing and is left out."""
    found: list[Slice] = []
    asked = votes.asked
    if len(np.unique(asked.reviewer)) > 1:
        found += sliced(asked, asked.reviewer, asked.reviewers, by="reviewer")
    if votes.tag is not None and len(np.unique(votes.tag)) > 1:
        found += sliced(votes, votes.tag, votes.tags, by="tag")
    if votes.left_length is not None and votes.right_length is not None:
        some = np.isfinite(votes.left_length) & np.isfinite(votes.right_length)
        here = votes.where(some)
        difference = np.where(some, votes.left_length - votes.right_length, 0.0)[some]
        sign = np.sign(difference) * np.where(here.contests.candidate_left, 1, -1)
        if here.n:
            found += sliced(here, (sign + 1).astype(np.int64), LONGER, by="length")
    return tuple(found)


def sliced(votes: Votes, part: Codes, names: tuple[str, ...], *, by: str) -> list[Slice]:
    """Each contrast cut into parts (n,), codes into `names`."""
    c = votes.contests
    k = len(names)
    kinds, kind = np.unique(c.pair * k + part, return_inverse=True)
    found = means(kind, votes.prompt, c.score, groups=len(kinds))
    low, high = found.intervals
    # the interval's variance, which is not nothing where all votes of a part say the same
    variance = np.where(found.clusters >= LEAST_PROMPTS, ((high - low) / 3.92) ** 2, np.nan)
    shrunken = _shrunken(kinds // k, found.rate, variance)
    slices_: list[Slice] = []
    for i, key in enumerate(kinds):
        one, other = c.pairs[key // k]
        enough = found.clusters[i] >= LEAST_PROMPTS
        number = int(found.clusters[i])
        few = CannotEstimate(f"prompts here: {number}; it takes {LEAST_PROMPTS}.")
        slices_.append(
            Slice(
                candidate=votes.responders[one],
                baseline=votes.responders[other],
                by=by,
                part=names[key % k],
                votes=int(found.n[i]),
                prompts=number,
                rate=float(found.rate[i]) if enough else few,
                interval=Interval(float(low[i]), float(high[i])) if enough else few,
                shrunken=float(shrunken[i]) if enough and np.isfinite(shrunken[i]) else few,
            )
        )
    return slices_


def _shrunken(pair: Codes, rate: Numbers, variance: Numbers) -> Numbers:
    """Shrunken rates; not a number where the variance is none, or a pair has one usable part only."""
    usable = np.isfinite(variance)
    v = np.where(usable, variance, 1.0)
    weight = np.where(usable, 1 / v, 0.0)
    m = int(pair.max()) + 1

    def by_pair(values: Numbers) -> Numbers:
        return np.asarray(np.bincount(pair, values, minlength=m), dtype=float)

    total, squares, number = by_pair(weight), by_pair(weight**2), by_pair(usable.astype(float))
    safe = np.maximum(total, 1e-300)
    middle = by_pair(weight * rate) / safe
    spread = by_pair(weight * (rate - middle[pair]) ** 2)
    between = np.maximum(0.0, (spread - (number - 1)) / np.maximum(total - squares / safe, 1e-12))
    again = np.where(usable, 1 / (v + between[pair]), 0.0)
    centre = by_pair(again * rate) / np.maximum(by_pair(again), 1e-300)
    keep = between[pair] / (between[pair] + v)
    return np.where(usable & (number[pair] > 1), keep * rate + (1 - keep) * centre[pair], np.nan)
