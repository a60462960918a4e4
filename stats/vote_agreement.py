"""How far reviewers agree about who won. Pure.

The unit is one prompt with one unordered pair of responders; the value is who won: one, the other, or neither. Alpha is
Krippendorff's, nominal (2018, Content Analysis, chapter 12), from counts of each value in each unit, so that a million
votes take a moment; `evalica.alpha` gives the same. Its interval is by bootstrap over prompts. A low alpha says
something about the task or the guideline; it is no reason to drop anybody's votes.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import means
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.resampling import LEAST_PROMPTS, ROUNDS, resamples
from stats.votes import LEFT, RIGHT, TIE, Codes, Numbers, Votes

NO_OVERLAP = CannotEstimate(
    "no pair was judged twice. Give 10 to 20 % of the pairs to several reviewers to know how far they agree."
)


@dataclass(frozen=True)
class ReviewerAgreement:
    """One reviewer beside the others."""

    reviewer: str
    votes: int
    shared: int
    """Of these, on pairs where the others' majority is for one answer."""
    with_the_rest: Estimated[float]
    """Share of the shared ones that say what most of the others say."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    left_rate: Estimated[float]
    """Of the decided votes, those for the left."""
    tie_rate: float
    """Share of the votes that are a tie, both bad included."""
    repeats: int
    """Votes on a pair that this reviewer had voted on before."""
    same_again: Estimated[float]
    """Share of the pairs of their own votes on one pair of replies that say the same, whichever side these stood on."""


@dataclass(frozen=True)
class VoteAgreement:
    """How far all agree."""

    units: int
    """Prompts with a pair that two or more reviewers judged."""
    pairs_of_votes: int
    """Pairs of reviewers on the same unit."""
    raw: Estimated[float]
    """Share of these pairs that say the same."""
    without_ties: Estimated[float]
    """The same among pairs of decided votes."""
    alpha: Estimated[float]
    """1 is full agreement, 0 what chance would give."""
    alpha_interval: Estimated[Interval]
    """95 %."""
    ceiling: Estimated[float]
    """No candidate can win a larger share of decided votes than this, and no judge say more often what a reviewer says;
    see `ceiling_of`."""
    reviewers: tuple[ReviewerAgreement, ...]


def vote_agreement(votes: Votes, *, rounds: int = ROUNDS, seed: int = 0) -> VoteAgreement:
    """Agreement in all and of each reviewer. Of several votes of one reviewer on a unit the majority is what they say;
    whoever says both prefers neither.
    """
    votes = votes.asked
    said = _opinions(votes)
    table = np.bincount(said.unit * 3 + said.value, minlength=len(said.unit_prompt) * 3).reshape(-1, 3).astype(float)
    shared = table.sum(axis=1) > 1
    counts, prompt = table[shared], said.unit_prompt[shared]
    same = (counts * (counts - 1)).sum(axis=1) / 2
    size = counts.sum(axis=1)
    both = size * (size - 1) / 2
    decided = counts[:, :2]
    decided_size = decided.sum(axis=1)
    decided_both = (decided_size * (decided_size - 1) / 2).sum()
    alpha: Estimated[float] = NO_OVERLAP
    interval: Estimated[Interval] = NO_OVERLAP
    if len(counts):
        alpha, interval = _alpha_with_interval(counts, prompt, rounds, seed)
    without_ties: Estimated[float] = CannotEstimate("no pair has two decided votes.")
    if decided_both:
        without_ties = float((decided * (decided - 1) / 2).sum() / decided_both)
    return VoteAgreement(
        units=len(counts),
        pairs_of_votes=int(both.sum()),
        raw=float(same.sum() / both.sum()) if len(counts) else NO_OVERLAP,
        without_ties=without_ties,
        alpha=alpha,
        alpha_interval=interval,
        ceiling=without_ties if isinstance(without_ties, CannotEstimate) else ceiling_of(without_ties),
        reviewers=_reviewers(votes, said, table[said.unit]),
    )


def ceiling_of(agreement: float) -> Estimated[float]:
    """The most that agreement without ties, in [0, 1], leaves to anybody: q = (1 + sqrt(2a - 1)) / 2.

    Where a reviewer prefers one reply of a pair with chance p, two agree with a = E[p^2 + (1-p)^2], and whoever always
    says the likelier one agrees with a reviewer with E[max(p, 1-p)], at most q by Jensen's inequality.
    """
    if agreement < 0.5:
        return CannotEstimate("reviewers agree less often than two coins would, so there is no ceiling to speak of.")
    return float((1 + np.sqrt(2 * agreement - 1)) / 2)


def alpha_of(counts: Numbers) -> float | None:
    """Nominal alpha from (units, values) counts of how often each value was given; None where nothing varies."""
    found = float(_alphas(_parts_of_alpha(counts).sum(axis=0)[None])[0])
    return found if np.isfinite(found) else None


def _alpha_with_interval(
    counts: Numbers, prompt: Codes, rounds: int, seed: int
) -> tuple[Estimated[float], Estimated[Interval]]:
    alpha = alpha_of(counts)
    if alpha is None:
        none = CannotEstimate("all these votes say the same one thing, so there is nothing to agree about.")
        return none, none
    _, number = np.unique(prompt, return_inverse=True)
    parts = _parts_of_alpha(counts)
    by_prompt = np.stack([np.bincount(number, column) for column in parts.T], axis=1)
    if len(by_prompt) < LEAST_PROMPTS:
        return alpha, CannotEstimate(f"a bootstrap needs {LEAST_PROMPTS} shared prompts or more.")
    kinds, size = np.unique(np.round(by_prompt, 9), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([_alphas(some.astype(float) @ kinds) for some in resamples(size, rounds=rounds, rng=rng)])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < rounds * 0.9:
        return alpha, CannotEstimate("too few votes differ for a bootstrap.")
    low, high = np.percentile(drawn, [2.5, 97.5])
    return alpha, Interval(float(low), float(high))


def _parts_of_alpha(counts: Numbers) -> Numbers:
    """(units, values + 1): each unit's part in the values' totals, and last in the observed disagreement."""
    size = counts.sum(axis=1)
    usable = size > 1
    off = (size**2 - (counts**2).sum(axis=1)) / np.maximum(size - 1, 1)
    return np.column_stack([counts * usable[:, None], off * usable])


def _alphas(parts: Numbers) -> Numbers:
    """1 - observed / expected disagreement, from sums (rounds, values + 1); not a number where nothing varies."""
    totals, off = parts[:, :-1], parts[:, -1]
    n = totals.sum(axis=1)
    expected = n**2 - (totals**2).sum(axis=1)
    safe = np.where(expected > 0, expected, 1.0)
    return np.where(expected > 0, 1 - (n - 1) * off / safe, np.nan)


@dataclass(frozen=True, eq=False)
class _Opinions:
    """What each reviewer says of each unit, arrays of one entry for each; and by reviewer how steady they are."""

    unit: Codes
    reviewer: Codes
    prompt: Codes
    value: Codes
    """0 the candidate won, 1 the baseline, 2 neither."""
    unit_prompt: Codes
    """(units,)"""
    repeats: Codes
    """(reviewers,) votes on a unit that they had voted on."""
    same_again: Numbers
    """(reviewers,) share of the pairs of their own votes on one unit that say the same; not a number without any."""


def _opinions(votes: Votes) -> _Opinions:
    c = votes.contests
    m, r = max(len(c.pairs), 1), max(len(votes.reviewers), 1)
    units, unit = np.unique(votes.prompt * m + c.pair, return_inverse=True)
    looks, look = np.unique(unit * r + votes.reviewer, return_inverse=True)
    said = np.where(c.score > 0.5, 0, np.where(c.score < 0.5, 1, 2))
    times = np.bincount(look * 3 + said, minlength=len(looks) * 3).reshape(-1, 3)
    # whoever says both of one pair prefers neither
    value = np.select([times[:, 0] > times[:, 1], times[:, 1] > times[:, 0]], [0, 1], 2)
    number = times.sum(axis=1)
    reviewer = looks % r
    pairs = np.bincount(reviewer, number * (number - 1) / 2, minlength=r)
    same = np.bincount(reviewer, (times * (times - 1)).sum(axis=1) / 2, minlength=r)
    return _Opinions(
        unit=looks // r,
        reviewer=reviewer,
        prompt=(units // m)[looks // r],
        value=value,
        unit_prompt=units // m,
        repeats=np.bincount(reviewer, number - 1, minlength=r).astype(np.int64),
        same_again=np.where(pairs > 0, same / np.maximum(pairs, 1), np.nan),
    )


def _reviewers(votes: Votes, said: _Opinions, table: Numbers) -> tuple[ReviewerAgreement, ...]:
    r = len(votes.reviewers)
    rest = table.copy()
    rest[np.arange(len(rest)), said.value] -= 1
    most = rest.max(axis=1)
    clear = (most > 0) & ((rest == most[:, None]).sum(axis=1) == 1)
    agrees = rest.argmax(axis=1) == said.value
    found = means(said.reviewer[clear], said.prompt[clear], agrees[clear].astype(float), groups=r)
    low, high = found.intervals
    n = np.bincount(votes.reviewer, minlength=r)
    decided = np.bincount(votes.reviewer[votes.verdict <= RIGHT], minlength=r)
    left = np.bincount(votes.reviewer[votes.verdict == LEFT], minlength=r)
    ties = np.bincount(votes.reviewer[votes.verdict >= TIE], minlength=r)
    alone = CannotEstimate("nobody else judged the same pairs with a clear majority.")
    one_prompt = CannotEstimate("the shared votes are on one prompt.")
    return tuple(
        ReviewerAgreement(
            reviewer=name,
            votes=int(n[i]),
            shared=int(found.n[i]),
            with_the_rest=float(found.rate[i]) if found.n[i] else alone,
            interval=(Interval(float(low[i]), float(high[i])) if np.isfinite(low[i]) else one_prompt)
            if found.n[i]
            else alone,
            left_rate=float(left[i] / decided[i]) if decided[i] else CannotEstimate("no vote is decided."),
            tie_rate=float(ties[i] / n[i]),
            repeats=int(said.repeats[i]),
            same_again=float(said.same_again[i])
            if said.repeats[i]
            else CannotEstimate("this reviewer judged no pair twice."),
        )
        for i, name in enumerate(votes.reviewers)
        if n[i]
    )
