"""One scale for all responders: Bradley and Terry's strengths, and Davidson's with ties as a parameter. Pure.

Bradley-Terry: P(i beats j) = sigmoid(th_i - th_j), a tie counted as half a win for each, which shrinks the spread where
ties are frequent (by 19 % at 18 % of ties). Davidson 1970 (JASA 65): P(i) = e^th_i / Z,
P(tie) = nu e^((th_i + th_j) / 2) / Z. Newton's method fits both, a thousand resamples at once; the tests compare them
with `evalica.bradley_terry` and `evalica.newman` (whose v is nu / 2). Strengths are natural logs of odds and sum to 0.

Intervals are by bootstrap over prompts, so votes that share a prompt stay together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from stats.clusters import unique_pairs
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.logistic import sigmoid
from stats.resampling import LEAST_PROMPTS, MEMORY, ROUNDS, resamples
from stats.votes import RIGHT, Flags, Numbers, Votes

RIDGE = 0.1
"""Penalty on squared strengths, only for undefeated responders, whose strengths would be infinite."""
STEPS = 200
"""Newton steps at most; ten are usual."""
ELO = 400 / np.log(10)
"""Elo points for one unit of strength."""
Fit: TypeAlias = Callable[[Numbers, Numbers], tuple[Numbers, Numbers, Flags]]
"""From wins (R, k, k) and ties (R, k, k) to strengths (R, k), log nu (R,), and which of the R got the penalty (R,)."""
NO_TIES, ONLY_TIES = -30.0, 30.0
"""Log nu for a nu of 0 and for an infinite one."""
FEW = CannotEstimate(f"a bootstrap needs {LEAST_PROMPTS} prompts or more.")


@dataclass(frozen=True)
class Rating:
    """One responder on the common scale."""

    responder: str
    log_strength: float
    """Natural log; all of one model sum to zero. A difference of 0.69 is 2 to 1."""
    interval: Estimated[Interval]
    """95 %, bootstrap by prompt; none for an unbounded strength."""
    probability_best: Estimated[float]
    """Share of the resamples in which it is the strongest."""
    unbounded_because: str
    """Why only a weak penalty keeps the strength finite, so that only its direction means anything; else empty."""

    @property
    def elo(self) -> float:
        """The same in Elo points, 0 on average."""
        return float(self.log_strength * ELO)


@dataclass(frozen=True)
class Ratings:
    """All responders by one model, strongest first."""

    model: str
    """Bradley-Terry with half ties, or Davidson."""
    responders: tuple[Rating, ...]
    tie_parameter: Estimated[float] | None
    """Davidson's nu: with 2 a tie between equals is as likely as a decision; None for Bradley-Terry."""
    tie_interval: Estimated[Interval] | None
    probability_stronger: dict[str, dict[str, float]] | None
    """Name to name to the share of resamples in which the first is the stronger; None without a bootstrap."""
    resamples: int
    penalised_resamples: int
    """Resamples that needed the weak penalty because a responder in them was undefeated."""


@dataclass(frozen=True)
class RatingsByModel:
    """The ratings by both models from the same votes."""

    bradley_terry: Estimated[Ratings]
    davidson: Estimated[Ratings]

    @property
    def best(self) -> Estimated[Ratings]:
        """Davidson's; Bradley and Terry's where ties leave him none."""
        return self.bradley_terry if isinstance(self.davidson, CannotEstimate) else self.davidson


def ratings(votes: Votes, *, rounds: int = ROUNDS, seed: int = 0) -> RatingsByModel:
    """Ratings of all responders by both models, with intervals from the same resamples of the prompts."""
    wins, ties = counts(votes)
    if reason := _reason_against(votes, wins + ties):
        return RatingsByModel(reason, reason)
    resampled = _resample_counts(votes, rounds, seed) if len(np.unique(votes.prompt)) >= LEAST_PROMPTS else None
    estimate = partial(_estimate_ratings, votes, wins, ties, resampled)
    bradley_terry = estimate("Bradley-Terry, ties as half a win", fit_bradley_terry, has_ties=False)
    if not wins.any():
        return RatingsByModel(bradley_terry, CannotEstimate("every vote is a tie, so no tie parameter fits."))
    return RatingsByModel(bradley_terry, estimate("Davidson, ties as an outcome", fit_davidson, has_ties=True))


def counts(votes: Votes) -> tuple[Numbers, Numbers]:
    """Wins (k, k), of the row's responder over the column's, and ties (k, k), symmetric."""
    k = len(votes.responders)
    right_won, decided = votes.verdict == RIGHT, votes.verdict <= RIGHT
    winner = np.where(right_won, votes.right, votes.left)
    loser = np.where(right_won, votes.left, votes.right)
    wins = np.bincount(winner * k + loser, decided, minlength=k * k).reshape(k, k)
    ties = np.bincount(winner * k + loser, ~decided, minlength=k * k).reshape(k, k)
    return wins.astype(float), (ties + ties.T).astype(float)


def fit_bradley_terry(wins: Numbers, ties: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """Maximum likelihood with half ties; see `Fit`. Log nu is NaN."""
    points = wins + ties / 2
    games = points + points.swapaxes(1, 2)
    penalised = ~_is_strongly_connected(points > 0)
    ridge = np.where(penalised, RIDGE, 0.0)
    theta = np.zeros(points.shape[:2])
    active = np.arange(len(points))
    for _ in range(STEPS):
        current = theta[active]
        probability = sigmoid(current[:, :, None] - current[:, None, :])
        gradient = (points[active] - games[active] * probability).sum(axis=2) - ridge[active, None] * current
        hessian = _negative_hessian(games[active] * probability * (1 - probability), ridge[active])
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        theta[active] += _limit_step(step)
        active = active[np.abs(step).max(axis=1) > 1e-8]
        if not len(active):
            break
    return theta - theta.mean(axis=1, keepdims=True), np.full(len(points), np.nan), penalised


def fit_davidson(wins: Numbers, ties: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """Maximum likelihood with ties as an outcome; see `Fit`.

    Concave, since win, loss and tie have log weights d/2, -d/2 and log nu, linear in the difference d and in log nu.
    A resample without ties has nu = 0, one with nothing but ties nu infinite.
    """
    rounds, k = wins.shape[:2]
    games = wins + wins.swapaxes(1, 2) + ties
    all_ties, all_wins = ties.sum(axis=(1, 2)) / 2, wins.sum(axis=(1, 2))
    penalised = ~(_is_strongly_connected((wins + ties) > 0) & _has_circle(wins > 0))
    ridge = np.where(penalised, RIDGE, 0.0)
    fixed = (all_ties == 0) | (all_wins == 0)
    log_nu = np.select([all_ties == 0, all_wins == 0], [NO_TIES, ONLY_TIES], 0.0)
    theta = np.zeros((rounds, k))
    active = np.arange(rounds)
    for _ in range(STEPS):
        current = theta[active]
        half = (current[:, :, None] - current[:, None, :]) / 2
        up, down, even = np.exp(half), np.exp(-half), np.exp(log_nu[active])[:, None, None]
        total = up + down + even
        won, lost, tied = up / total, down / total, even / total
        n = games[active]
        surplus = (wins[active] - wins[active].swapaxes(1, 2) - n * (won - lost)).sum(axis=2) / 2
        surplus -= ridge[active, None] * current
        tie_surplus = np.where(fixed[active], 0.0, all_ties[active] - (n * tied).sum(axis=(1, 2)) / 2)
        hessian = np.zeros((len(active), k + 1, k + 1))
        hessian[:, :k, :k] = _negative_hessian(n * (won + lost - (won - lost) ** 2) / 4, ridge[active])
        cross = np.where(fixed[active, None], 0.0, -(n * (won - lost) * tied).sum(axis=2) / 2)
        hessian[:, :k, k] = hessian[:, k, :k] = cross
        hessian[:, k, k] = np.where(fixed[active], 1.0, (n * tied * (1 - tied)).sum(axis=(1, 2)) / 2)
        gradient = np.concatenate([surplus, tie_surplus[:, None]], axis=1)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        limited = _limit_step(step)
        theta[active] += limited[:, :k]
        log_nu[active] += limited[:, k]
        active = active[np.abs(step).max(axis=1) > 1e-8]
        if not len(active):
            break
    return theta - theta.mean(axis=1, keepdims=True), log_nu, penalised


def explain_unbounded(votes: Votes) -> dict[str, str]:
    """Responders without a finite strength, and why: no chain of wins or ties leads to all others and back."""
    from scipy.sparse.csgraph import connected_components

    edges = np.add(*counts(votes)) > 0
    number, group = connected_components(edges, directed=True, connection="strong")
    if number == 1:
        return {}
    reasons: dict[str, str] = {}
    reach = _reachable(edges[None])[0]
    for i, name in enumerate(votes.responders):
        others = group != group[i]
        below, above = reach[i, others].any(), reach[others, i].any()
        alone = (group == group[i]).sum() == 1
        if below == above:
            reasons[name] = "it never lost to those below nor won against those above"
        elif alone:
            reasons[name] = f"it never {'lost' if below else 'won'} or tied"
        else:
            deed = "lost" if below else "won"
            reasons[name] = f"neither it nor any of its peers {deed} or tied against the others"
    return reasons


def connected_groups(votes: Votes) -> tuple[tuple[str, ...], ...]:
    """Responders by connected group of the graph of votes; no chain of votes connects two groups."""
    from scipy.sparse.csgraph import connected_components

    number, groups = connected_components(np.add(*counts(votes)) > 0, directed=False)
    return tuple(
        tuple(name for name, group in zip(votes.responders, groups, strict=True) if group == i) for i in range(number)
    )


def _reason_against(votes: Votes, games: Numbers) -> CannotEstimate | None:
    if not games.any():
        return CannotEstimate("there are no votes.")
    groups = connected_groups(votes)
    if len(groups) > 1:
        names = " | ".join(", ".join(f"“{name}”" for name in group) for group in groups)
        return CannotEstimate(
            f"these groups of responders were never judged against each other: {names}. "
            "Judge at least one pair between every two groups."
        )
    return None


@dataclass(frozen=True, eq=False)
class _Bootstrap:
    """One model's strengths over the resamples; arrays have one entry, or row, for each responder."""

    low: Numbers
    high: Numbers
    best: Numbers
    stronger: Numbers
    """(k, k)"""
    log_nu: Numbers
    """(resamples,)"""
    penalised: int


def _estimate_ratings(
    votes: Votes,
    wins: Numbers,
    ties: Numbers,
    resampled: tuple[Numbers, Numbers] | None,
    model: str,
    fit: Fit,
    *,
    has_ties: bool,
) -> Ratings:
    theta, log_nu, penalised = fit(wins[None], ties[None])
    one_way = has_ties and not _has_circle(wins[None] > 0)[0] and ties.any()
    reasons = explain_unbounded(votes) if penalised[0] else {}
    if one_way and penalised[0] and not reasons:
        reasons = dict.fromkeys(votes.responders, "wins run one way only, so ties and strengths grow together")
    bootstrap = None if resampled is None else _bootstrap(fit, *resampled)
    tie_parameter: Estimated[float] | None = None
    tie_interval: Estimated[Interval] | None = None
    if has_ties:
        tie_parameter, tie_interval = _tie_parameter(float(log_nu[0]), bootstrap, one_way=bool(one_way))
    names = votes.responders
    responders = [
        Rating(
            responder=name,
            log_strength=float(theta[0, i]),
            interval=_interval(bootstrap, i, reasons.get(name, "")),
            probability_best=FEW if bootstrap is None else float(bootstrap.best[i]),
            unbounded_because=reasons.get(name, ""),
        )
        for i, name in enumerate(names)
    ]
    return Ratings(
        model=model,
        responders=tuple(sorted(responders, key=lambda rating: -rating.log_strength)),
        tie_parameter=tie_parameter,
        tie_interval=tie_interval,
        probability_stronger=None
        if bootstrap is None
        else {
            name: {other: float(bootstrap.stronger[i, j]) for j, other in enumerate(names) if j != i}
            for i, name in enumerate(names)
        },
        resamples=0 if resampled is None else len(resampled[0]),
        penalised_resamples=0 if bootstrap is None else bootstrap.penalised,
    )


def _bootstrap(fit: Fit, wins: Numbers, ties: Numbers) -> _Bootstrap:
    theta, log_nu, penalised = _fit_in_batches(fit, wins, ties)
    low, high = np.percentile(theta, [2.5, 97.5], axis=0)
    strongest = theta >= theta.max(axis=1, keepdims=True) - 1e-9
    gaps = (theta[:, i, None] - theta for i in range(theta.shape[1]))
    return _Bootstrap(
        low=low,
        high=high,
        best=(strongest / strongest.sum(axis=1, keepdims=True)).mean(axis=0),
        stronger=np.array([((gap > 1e-9) + 0.5 * (np.abs(gap) <= 1e-9)).mean(axis=0) for gap in gaps]),
        log_nu=log_nu,
        penalised=int(penalised.sum()),
    )


def _interval(bootstrap: _Bootstrap | None, i: int, reason: str) -> Estimated[Interval]:
    if reason:
        return CannotEstimate(f"{reason}, so no end is known.")
    return FEW if bootstrap is None else Interval(float(bootstrap.low[i]), float(bootstrap.high[i]))


def _tie_parameter(
    log_nu: float, bootstrap: _Bootstrap | None, *, one_way: bool
) -> tuple[Estimated[float], Estimated[Interval]]:
    """Davidson's nu with its interval."""
    if one_way:
        none = CannotEstimate("wins run one way only, so ties and strengths grow together.")
        return none, none
    if bootstrap is None:
        return _nu(log_nu), FEW
    low, high = (float(value) for value in np.percentile(bootstrap.log_nu, [2.5, 97.5]))
    if high > ONLY_TIES / 2:
        return _nu(log_nu), CannotEstimate("too few votes are decided.")
    return _nu(log_nu), Interval(_nu(low), _nu(high))


def _nu(log_nu: float) -> float:
    return 0.0 if log_nu < NO_TIES / 2 else float(np.exp(log_nu))


def _resample_counts(votes: Votes, rounds: int, seed: int) -> tuple[Numbers, Numbers]:
    """Wins and ties (rounds, k, k) of resamples with as many prompts, drawn with replacement."""
    from scipy.sparse import csr_array

    k = len(votes.responders)
    c = votes.contests
    m = len(c.pairs)
    outcome = np.where(c.score > 0.5, 0, np.where(c.score < 0.5, 1, 2))
    rng = np.random.default_rng(seed)
    prompt, column, cell = unique_pairs(votes.prompt, outcome * m + c.pair)
    times = np.bincount(cell)
    # prompts with the same votes are of one kind: the sum of a random word for each vote, in 64-bit arithmetic
    words = rng.integers(0, 2**64, 3 * m, dtype=np.uint64)
    kind_hash = np.zeros(len(votes.prompts), dtype=np.uint64)
    np.add.at(kind_hash, prompt, words[column] * times.astype(np.uint64))
    voted = np.unique(prompt)
    _, example, size = np.unique(kind_hash[voted], return_index=True, return_counts=True)
    kind = np.full(len(votes.prompts), -1)  # -1 for all prompts but one example of each kind
    kind[voted[example]] = np.arange(len(size))
    kept = kind[prompt] >= 0
    table = csr_array((times[kept].astype(np.float32), (column[kept], kind[prompt[kept]])), shape=(3 * m, len(size)))
    totals = np.concatenate(
        [(table @ np.ascontiguousarray(batch.T)).T for batch in resamples(size, rounds=rounds, rng=rng)]
    )
    wins, ties = np.zeros((rounds, k, k)), np.zeros((rounds, k, k))
    candidate, baseline = c.pairs.T
    wins[:, candidate, baseline], wins[:, baseline, candidate] = totals[:, :m], totals[:, m : 2 * m]
    ties[:, candidate, baseline] = ties[:, baseline, candidate] = totals[:, 2 * m :]
    return wins, ties


def _fit_in_batches(fit: Fit, wins: Numbers, ties: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """Fit all resamples, a few at a time so that memory stays small for any number of responders."""
    batch = max(1, int(MEMORY / 64 / wins.shape[1] ** 2))
    fits = [fit(wins[start : start + batch], ties[start : start + batch]) for start in range(0, len(wins), batch)]
    theta, log_nu, penalised = zip(*fits, strict=True)
    return np.concatenate(theta), np.concatenate(log_nu), np.concatenate(penalised)


def _negative_hessian(weights: Numbers, ridge: Numbers) -> Numbers:
    """(R, k, k) for pairwise differences, a graph's Laplacian. A constant added to all entries makes it invertible and
    changes no step, since gradients sum to zero.
    """
    k = weights.shape[1]
    hessian = np.ones((k, k)) / k - weights
    diagonal = np.arange(k)
    hessian[:, diagonal, diagonal] += weights.sum(axis=2) + ridge[:, None]
    return np.asarray(hessian)


def _limit_step(step: Numbers) -> Numbers:
    """The step, at most 2 in any coordinate, for Newton's method far from the maximum."""
    return np.asarray(step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2))


def _is_strongly_connected(edges: Flags) -> Flags:
    return np.asarray(_reachable(edges).all(axis=(1, 2)))


def _has_circle(edges: Flags) -> Flags:
    return np.asarray(np.diagonal(_reachable(edges, from_self=False), axis1=1, axis2=2).any(axis=1))


def _reachable(edges: Flags, *, from_self: bool = True) -> Flags:
    """(R, k, k): whether edges (R, k, k) lead from the row's responder to the column's, by repeated squaring.

    Args:
        from_self: whether a responder reaches itself without an edge.
    """
    k = edges.shape[1]
    reach = edges.astype(np.float32)
    if from_self:
        reach = np.maximum(reach, np.eye(k, dtype=np.float32))
    for _ in range(max(1, int(np.ceil(np.log2(max(k, 2)))))):
        reach = np.minimum(reach + reach @ reach, 1.0)
    return np.asarray(reach > 0)
