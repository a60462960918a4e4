"""How far reviewers agree about which responder won. Pure.

The unit is one prompt with one unordered pair of responders; the value is the winner: one, the other, or neither. Alpha
is Krippendorff's, nominal (2018, Content Analysis, chapter 12), from counts of each value in each unit, so that a
million votes take a moment; `evalica.alpha` gives the same. Its interval is by bootstrap over prompts. A low alpha says
something about the task or the guideline; it is no reason to drop a reviewer's votes.
"""

from dataclasses import dataclass

import numpy as np

from stats.clusters import group_means, unique_pairs
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.resampling import LEAST_PROMPTS, ROUNDS, resamples
from stats.votes import LEFT, RIGHT, TIE, Codes, Numbers, Votes

NO_OVERLAP = CannotEstimate(
    "no pair was judged twice. Give 10 to 20 % of the pairs to several reviewers to know how far they agree."
)


@dataclass(frozen=True)
class ReviewerAgreement:
    """How far one reviewer agrees with the others."""

    reviewer: str
    votes: int
    shared: int
    """Pairs on which the others' majority is for one answer."""
    with_the_rest: Estimated[float]
    """Share of these on which the reviewer agrees with that majority."""
    interval: Estimated[Interval]
    """95 %, clustered by prompt."""
    left_rate: Estimated[float]
    """Share of the decided votes that prefer the left."""
    tie_rate: float
    """Share of the votes that are a tie, both bad included."""
    repeats: int
    """Votes on a pair that this reviewer had voted on before."""
    same_again: Estimated[float]
    """Share of equal answers among pairs of the reviewer's own votes on the same replies, on whichever side."""


@dataclass(frozen=True)
class VoteAgreement:
    """How far all reviewers agree."""

    units: int
    """Units that two or more reviewers judged."""
    pairs_of_votes: int
    """Pairs of reviewers on the same unit."""
    raw: Estimated[float]
    """Share of these pairs that agree."""
    without_ties: Estimated[float]
    """Share of pairs of decided votes that agree."""
    alpha: Estimated[float]
    """1 is full agreement, 0 what chance would give."""
    alpha_interval: Estimated[Interval]
    """95 %."""
    ceiling: Estimated[float]
    """No candidate can win a larger share of decided votes, and no judge agree with a reviewer more often; see
    `agreement_ceiling`."""
    reviewers: tuple[ReviewerAgreement, ...]


def vote_agreement(votes: Votes, *, rounds: int = ROUNDS, seed: int = 0) -> VoteAgreement:
    """Agreement of all reviewers and of each. The majority of a reviewer's votes on a unit counts as their answer; with
    equally many votes for both sides it is neither.
    """
    votes = votes.asked
    answers = _answers(votes)
    table = np.bincount(answers.unit * 3 + answers.value, minlength=len(answers.unit_prompt) * 3).astype(float)
    table = table.reshape(-1, 3)
    shared = table.sum(axis=1) > 1
    counts, prompt = table[shared], answers.unit_prompt[shared]
    equal, pairs = _pairs(counts).sum(), _pairs(counts.sum(axis=1)).sum()
    decided_equal, decided_pairs = _pairs(counts[:, :2]).sum(), _pairs(counts[:, :2].sum(axis=1)).sum()
    alpha: Estimated[float] = NO_OVERLAP
    interval: Estimated[Interval] = NO_OVERLAP
    if len(counts):
        alpha, interval = _alpha_with_interval(counts, prompt, rounds, seed)
    without_ties: Estimated[float] = CannotEstimate("no pair has two decided votes.")
    if decided_pairs:
        without_ties = float(decided_equal / decided_pairs)
    return VoteAgreement(
        units=len(counts),
        pairs_of_votes=int(pairs),
        raw=float(equal / pairs) if len(counts) else NO_OVERLAP,
        without_ties=without_ties,
        alpha=alpha,
        alpha_interval=interval,
        ceiling=without_ties if isinstance(without_ties, CannotEstimate) else agreement_ceiling(without_ties),
        reviewers=_agreement_by_reviewer(votes, answers, table[answers.unit]),
    )


def _pairs(n: Numbers | Codes) -> Numbers:
    """How many pairs n things make."""
    return np.asarray(n * (n - 1) / 2)


def agreement_ceiling(agreement: float) -> Estimated[float]:
    """The highest rate of agreement with a reviewer that is possible where reviewers agree, without ties, at the rate a
    in [0, 1]: q = (1 + sqrt(2a - 1)) / 2.

    If a reviewer prefers one reply of a pair with probability p, two reviewers agree with a = E[p^2 + (1-p)^2]. A judge
    that always picks the likelier reply agrees with a reviewer with E[max(p, 1-p)], at most q by Jensen's inequality.
    """
    if agreement < 0.5:
        return CannotEstimate("reviewers agree less often than two coins would, so there is no ceiling to speak of.")
    return float((1 + np.sqrt(2 * agreement - 1)) / 2)


def nominal_alpha(counts: Numbers) -> float | None:
    """Nominal alpha from (units, values) counts of how often each value was given; None where all values are equal."""
    alpha = float(_alphas(_alpha_terms(counts).sum(axis=0)[None])[0])
    return alpha if np.isfinite(alpha) else None


def _alpha_with_interval(
    counts: Numbers, prompt: Codes, rounds: int, seed: int
) -> tuple[Estimated[float], Estimated[Interval]]:
    alpha = nominal_alpha(counts)
    if alpha is None:
        none = CannotEstimate("all these votes say the same one thing, so there is nothing to agree about.")
        return none, none
    _, index = np.unique(prompt, return_inverse=True)
    by_prompt = np.stack([np.bincount(index, column) for column in _alpha_terms(counts).T], axis=1)
    if len(by_prompt) < LEAST_PROMPTS:
        return alpha, CannotEstimate(f"a bootstrap needs {LEAST_PROMPTS} shared prompts or more.")
    kinds, size = np.unique(np.round(by_prompt, 9), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    batches = resamples(size, rounds=rounds, rng=rng)
    alphas = np.concatenate([_alphas(batch.astype(float) @ kinds) for batch in batches])
    alphas = alphas[np.isfinite(alphas)]
    if len(alphas) < rounds * 0.9:
        return alpha, CannotEstimate("too few votes differ for a bootstrap.")
    low, high = np.percentile(alphas, [2.5, 97.5])
    return alpha, Interval(float(low), float(high))


def _alpha_terms(counts: Numbers) -> Numbers:
    """(units, values + 1): what each unit adds to the values' totals and, last, to the observed disagreement."""
    size = counts.sum(axis=1)
    usable = size > 1
    disagreement = (size**2 - (counts**2).sum(axis=1)) / np.maximum(size - 1, 1)
    return np.column_stack([counts * usable[:, None], disagreement * usable])


def _alphas(sums: Numbers) -> Numbers:
    """1 - observed / expected disagreement, from sums of terms (rounds, values + 1); NaN where all values are equal."""
    totals, disagreement = sums[:, :-1], sums[:, -1]
    n = totals.sum(axis=1)
    expected = n**2 - (totals**2).sum(axis=1)
    safe = np.where(expected > 0, expected, 1.0)
    return np.where(expected > 0, 1 - (n - 1) * disagreement / safe, np.nan)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Each reviewer's answer on each unit, in arrays with one entry for each; and how consistent each reviewer is."""

    unit: Codes
    reviewer: Codes
    value: Codes
    """0 the candidate won, 1 the baseline, 2 neither."""
    unit_prompt: Codes
    """(units,)"""
    repeats: Codes
    """(reviewers,) votes on a unit that the reviewer had voted on."""
    same_again: Numbers
    """(reviewers,) share of equal answers among pairs of a reviewer's votes on one unit; NaN without such pairs."""


def _answers(votes: Votes) -> _Answers:
    c = votes.contests
    reviewers = max(len(votes.reviewers), 1)
    unit_prompt, _, vote_unit = unique_pairs(votes.prompt, c.pair)
    unit, reviewer, index = unique_pairs(vote_unit, votes.reviewer)
    winner = np.where(c.score > 0.5, 0, np.where(c.score < 0.5, 1, 2))
    times = np.bincount(index * 3 + winner, minlength=len(unit) * 3).reshape(-1, 3)
    number = times.sum(axis=1)
    pairs = np.bincount(reviewer, _pairs(number), minlength=reviewers)
    equal = np.bincount(reviewer, _pairs(times).sum(axis=1), minlength=reviewers)
    return _Answers(
        unit=unit,
        reviewer=reviewer,
        value=np.select([times[:, 0] > times[:, 1], times[:, 1] > times[:, 0]], [0, 1], 2),
        unit_prompt=unit_prompt,
        repeats=np.bincount(reviewer, number - 1, minlength=reviewers).astype(np.int64),
        same_again=np.where(pairs > 0, equal / np.maximum(pairs, 1), np.nan),
    )


def _agreement_by_reviewer(votes: Votes, answers: _Answers, table: Numbers) -> tuple[ReviewerAgreement, ...]:
    """Each reviewer beside the others; `table` (answers, values) counts all reviewers' answers on the same unit."""
    r = len(votes.reviewers)
    others = table.copy()
    others[np.arange(len(others)), answers.value] -= 1
    most = others.max(axis=1)
    clear = (most > 0) & ((others == most[:, None]).sum(axis=1) == 1)
    agrees = others.argmax(axis=1) == answers.value
    prompt = answers.unit_prompt[answers.unit]
    rates = group_means(answers.reviewer[clear], prompt[clear], agrees[clear].astype(float), groups=r)
    n = np.bincount(votes.reviewer, minlength=r)
    decided = np.bincount(votes.reviewer[votes.verdict <= RIGHT], minlength=r)
    left = np.bincount(votes.reviewer[votes.verdict == LEFT], minlength=r)
    ties = np.bincount(votes.reviewer[votes.verdict >= TIE], minlength=r)
    alone = CannotEstimate("nobody else judged the same pairs with a clear majority.")
    no_decision = CannotEstimate("no vote is decided.")
    no_repeat = CannotEstimate("this reviewer judged no pair twice.")
    return tuple(
        ReviewerAgreement(
            reviewer=name,
            votes=int(n[i]),
            shared=int(rates.n[i]),
            with_the_rest=float(rates.rate[i]) if rates.n[i] else alone,
            interval=rates.interval(i, otherwise="the shared votes are on one prompt.") if rates.n[i] else alone,
            left_rate=float(left[i] / decided[i]) if decided[i] else no_decision,
            tie_rate=float(ties[i] / n[i]),
            repeats=int(answers.repeats[i]),
            same_again=float(answers.same_again[i]) if answers.repeats[i] else no_repeat,
        )
        for i, name in enumerate(votes.reviewers)
        if n[i]
    )
