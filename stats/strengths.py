"""One scale for all responders: Bradley and Terry's strengths, and Davidson's with ties as a parameter. Pure.

Bradley-Terry: P(i beats j) = s(th_i - th_j), a tie counted as half a win for each; shrinks the spread where ties are
frequent (by 19 % at 18 % of ties). Davidson 1970 (JASA 65): P(i) = e^th_i / Z, P(tie) = nu e^((th_i + th_j) / 2) / Z.
Both are fitted by Newton's method, a thousand resamples at once; `evalica.bradley_terry` and `evalica.newman` (whose v
is nu / 2) give the same and are what the tests compare with. Strengths are natural logs of odds and sum to zero.

Uncertainty is by bootstrap over prompts, so votes that share a prompt stay together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stats.estimates import CannotEstimate, Estimated, Interval
from stats.resampling import LEAST_PROMPTS, MEMORY, ROUNDS, resamples
from stats.votes import LEFT, RIGHT, Flags, Numbers, Votes

RIDGE = 0.1
"""Penalty on squared strengths that keeps undefeated responders finite; used for nothing else."""
STEPS = 200
"""Newton steps at most; ten are usual."""
ELO = 400 / np.log(10)
"""Elo points for one unit of strength."""
Fit: TypeAlias = Callable[[Numbers, Numbers], tuple[Numbers, Numbers, Flags]]
"""Strengths (R, k) and log nu (R,) from wins (R, k, k) and ties (R, k, k), and which of the R need the penalty."""
NO_TIES, ONLY_TIES = -30.0, 30.0
"""Log nu that stands for none and for infinite."""
FEW = CannotEstimate(f"a bootstrap needs {LEAST_PROMPTS} prompts or more.")


@dataclass(frozen=True)
class Strength:
    """One responder on the common scale."""

    responder: str
    log_strength: float
    """Natural log; all of one model sum to zero. A difference of 0.69 is 2 to 1."""
    interval: Estimated[Interval]
    """95 %, bootstrap by prompt; none for whoever is unbounded."""
    probability_best: Estimated[float]
    """Share of the resamples in which it is the strongest."""
    unbounded_because: str
    """Empty; or why the number is held finite by a weak penalty only, and means no more than its direction."""

    @property
    def elo(self) -> float:
        """The same in Elo points, 0 on average."""
        return float(self.log_strength * ELO)


@dataclass(frozen=True)
class Strengths:
    """All responders by one model, strongest first."""

    model: str
    """Bradley-Terry with half ties, or Davidson."""
    responders: tuple[Strength, ...]
    tie_parameter: Estimated[float] | None
    """Davidson's nu: 2 would make a tie as likely as a decision between equals; None for Bradley-Terry."""
    tie_interval: Estimated[Interval] | None
    probability_stronger: dict[str, dict[str, float]] | None
    """Name to name to the share of resamples in which the first is the stronger; None without a bootstrap."""
    resamples: int
    penalised_resamples: int
    """Of those, how many needed the weak penalty because somebody in them was undefeated."""


@dataclass(frozen=True)
class BothStrengths:
    """The two models on the same votes."""

    bradley_terry: Estimated[Strengths]
    davidson: Estimated[Strengths]

    @property
    def best(self) -> Estimated[Strengths]:
        """Davidson's; Bradley and Terry's where ties leave him none."""
        return self.bradley_terry if isinstance(self.davidson, CannotEstimate) else self.davidson


def strengths(votes: Votes, *, rounds: int = ROUNDS, seed: int = 0) -> BothStrengths:
    """Strengths of all responders by both models, with intervals from the same resamples of the prompts."""
    wins, ties = counts(votes)
    if why := _cannot(votes, wins + ties):
        return BothStrengths(why, why)
    drawn = _resampled(votes, rounds, seed) if len(np.unique(votes.prompt)) >= LEAST_PROMPTS else None
    describe = partial(_described, votes, wins, ties, drawn)
    bradley_terry = describe("Bradley-Terry, ties as half a win", fit_bradley_terry, has_ties=False)
    if not wins.any():
        return BothStrengths(bradley_terry, CannotEstimate("every vote is a tie, so no tie parameter fits."))
    return BothStrengths(bradley_terry, describe("Davidson, ties as an outcome", fit_davidson, has_ties=True))


def counts(votes: Votes) -> tuple[Numbers, Numbers]:
    """Wins (k, k), of the row's over the column's responder, and ties (k, k), symmetric."""
    k = len(votes.responders)
    won, lost, tied = (votes.verdict == LEFT, votes.verdict == RIGHT, votes.verdict > RIGHT)
    winner = np.where(lost, votes.right, votes.left)
    loser = np.where(lost, votes.left, votes.right)
    table = np.bincount(winner * k + loser, won | lost, minlength=k * k).reshape(k, k)
    even = np.bincount(winner * k + loser, tied, minlength=k * k).reshape(k, k)
    return table.astype(float), (even + even.T).astype(float)


def fit_bradley_terry(wins: Numbers, ties: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """Maximum likelihood with half ties; see `Fit`. Log nu is not a number."""
    points = wins + ties / 2
    games = points + points.swapaxes(1, 2)
    penalised = ~_strongly_connected(points > 0)
    ridge = np.where(penalised, RIDGE, 0.0)
    theta = np.zeros(points.shape[:2])
    active = np.arange(len(points))
    for _ in range(STEPS):
        here = theta[active]
        chance = 1 / (1 + np.exp(-(here[:, :, None] - here[:, None, :])))
        gradient = (points[active] - games[active] * chance).sum(axis=2) - ridge[active, None] * here
        curvature = _laplacian(games[active] * chance * (1 - chance), ridge[active])
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        theta[active] += _shortened(step)
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
    penalised = ~(_strongly_connected((wins + ties) > 0) & _has_circle(wins > 0))
    ridge = np.where(penalised, RIDGE, 0.0)
    fixed = (all_ties == 0) | (all_wins == 0)
    log_nu = np.select([all_ties == 0, all_wins == 0], [NO_TIES, ONLY_TIES], 0.0)
    theta = np.zeros((rounds, k))
    active = np.arange(rounds)
    for _ in range(STEPS):
        here = theta[active]
        half = (here[:, :, None] - here[:, None, :]) / 2
        up, down, even = np.exp(half), np.exp(-half), np.exp(log_nu[active])[:, None, None]
        total = up + down + even
        won, lost, tied = up / total, down / total, even / total
        n = games[active]
        surplus = (wins[active] - wins[active].swapaxes(1, 2) - n * (won - lost)).sum(axis=2) / 2
        surplus -= ridge[active, None] * here
        tie_surplus = np.where(fixed[active], 0.0, all_ties[active] - (n * tied).sum(axis=(1, 2)) / 2)
        hessian = np.zeros((len(active), k + 1, k + 1))
        hessian[:, :k, :k] = _laplacian(n * (won + lost - (won - lost) ** 2) / 4, ridge[active])
        cross = np.where(fixed[active, None], 0.0, -(n * (won - lost) * tied).sum(axis=2) / 2)
        hessian[:, :k, k] = hessian[:, k, :k] = cross
        hessian[:, k, k] = np.where(fixed[active], 1.0, (n * tied * (1 - tied)).sum(axis=(1, 2)) / 2)
        gradient = np.concatenate([surplus, tie_surplus[:, None]], axis=1)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        short = _shortened(step)
        theta[active] += short[:, :k]
        log_nu[active] += short[:, k]
        active = active[np.abs(step).max(axis=1) > 1e-8]
        if not len(active):
            break
    return theta - theta.mean(axis=1, keepdims=True), log_nu, penalised


def unbounded(votes: Votes) -> dict[str, str]:
    """Responders whose strength has no finite estimate, and why: no chain of wins or ties leads there and back."""
    from scipy.sparse.csgraph import connected_components

    wins, ties = counts(votes)
    number, group = connected_components((wins + ties) > 0, directed=True, connection="strong")
    if number == 1:
        return {}
    found: dict[str, str] = {}
    reach = _reach(((wins + ties) > 0)[None])[0]
    for at, name in enumerate(votes.responders):
        others = group != group[at]
        below, above = reach[at, others].any(), reach[others, at].any()
        alone = (group == group[at]).sum() == 1
        who = "it" if alone else "neither it nor any of its peers"
        if below and not above:
            found[name] = "it never lost or tied" if alone else f"{who} lost or tied against the others"
        elif above and not below:
            found[name] = "it never won or tied" if alone else f"{who} won or tied against the others"
        else:
            found[name] = "it never lost to those below nor won against those above"
    return found


def parts(votes: Votes) -> tuple[tuple[str, ...], ...]:
    """Responders by part of the graph; between two parts nothing was judged, not even by way of others."""
    from scipy.sparse.csgraph import connected_components

    wins, ties = counts(votes)
    number, group = connected_components((wins + ties) > 0, directed=False)
    names = votes.responders
    return tuple(tuple(n for n, g in zip(names, group, strict=True) if g == one) for one in range(number))


def _cannot(votes: Votes, games: Numbers) -> CannotEstimate | None:
    if not games.any():
        return CannotEstimate("there are no votes.")
    separate = parts(votes)
    if len(separate) > 1:
        groups = " | ".join(", ".join(f"“{name}”" for name in part) for part in separate)
        return CannotEstimate(
            f"these groups of responders were never judged against each other: {groups}. "
            "Judge at least one pair between every two groups."
        )
    return None


@dataclass(frozen=True, eq=False)
class _Bootstrap:
    """What the resamples say by one model; arrays of one entry, or row, for each responder."""

    low: Numbers
    high: Numbers
    best: Numbers
    stronger: Numbers
    """(k, k)"""
    log_nu: Numbers
    """(resamples,)"""
    penalised: int


def _described(
    votes: Votes,
    wins: Numbers,
    ties: Numbers,
    drawn: tuple[Numbers, Numbers] | None,
    model: str,
    fit: Fit,
    *,
    has_ties: bool,
) -> Strengths:
    theta, log_nu, penalised = fit(wins[None], ties[None])
    one_way = has_ties and not _has_circle(wins[None] > 0)[0] and ties.any()
    why = unbounded(votes) if penalised[0] else {}
    if one_way and penalised[0] and not why:
        why = dict.fromkeys(votes.responders, "wins run one way only, so ties and strengths grow together")
    boot = None if drawn is None else _bootstrap(fit, *drawn)
    names = votes.responders
    parameter: Estimated[float] | None = None
    interval: Estimated[Interval] | None = None
    if has_ties:
        parameter, interval = _ties(float(log_nu[0]), boot, one_way=bool(one_way))
    found = [
        Strength(
            responder=name,
            log_strength=float(theta[0, i]),
            interval=_interval(boot, i, why.get(name, "")),
            probability_best=FEW if boot is None else float(boot.best[i]),
            unbounded_because=why.get(name, ""),
        )
        for i, name in enumerate(names)
    ]
    return Strengths(
        model=model,
        responders=tuple(sorted(found, key=lambda one: -one.log_strength)),
        tie_parameter=parameter,
        tie_interval=interval,
        probability_stronger=None
        if boot is None
        else {
            one: {other: float(boot.stronger[i, j]) for j, other in enumerate(names) if j != i}
            for i, one in enumerate(names)
        },
        resamples=0 if drawn is None else len(drawn[0]),
        penalised_resamples=0 if boot is None else boot.penalised,
    )


def _bootstrap(fit: Fit, wins: Numbers, ties: Numbers) -> _Bootstrap:
    theta, log_nu, penalised = _in_batches(fit, wins, ties)
    low, high = np.percentile(theta, [2.5, 97.5], axis=0)
    top = theta >= theta.max(axis=1, keepdims=True) - 1e-9
    gaps = (theta[:, i, None] - theta for i in range(theta.shape[1]))
    return _Bootstrap(
        low=low,
        high=high,
        best=(top / top.sum(axis=1, keepdims=True)).mean(axis=0),
        stronger=np.array([((gap > 1e-9) + 0.5 * (np.abs(gap) <= 1e-9)).mean(axis=0) for gap in gaps]),
        log_nu=log_nu,
        penalised=int(penalised.sum()),
    )


def _interval(boot: _Bootstrap | None, i: int, why: str) -> Estimated[Interval]:
    if why:
        return CannotEstimate(f"{why}, so no end is known.")
    return FEW if boot is None else Interval(float(boot.low[i]), float(boot.high[i]))


def _ties(log_nu: float, boot: _Bootstrap | None, *, one_way: bool) -> tuple[Estimated[float], Estimated[Interval]]:
    """Davidson's nu with its interval."""
    if one_way:
        none = CannotEstimate("wins run one way only, so ties and strengths grow together.")
        return none, none
    if boot is None:
        return _nu(log_nu), FEW
    low, high = (float(value) for value in np.percentile(boot.log_nu, [2.5, 97.5]))
    if high > ONLY_TIES / 2:
        return _nu(log_nu), CannotEstimate("too few votes are decided.")
    return _nu(log_nu), Interval(_nu(low), _nu(high))


def _nu(log_nu: float) -> float:
    return 0.0 if log_nu < NO_TIES / 2 else float(np.exp(log_nu))


def _resampled(votes: Votes, rounds: int, seed: int) -> tuple[Numbers, Numbers]:
    """Wins and ties (rounds, k, k) of resamples with as many prompts, drawn with replacement."""
    from scipy.sparse import csr_array

    k = len(votes.responders)
    c = votes.contests
    m = len(c.pairs)
    outcome = np.where(c.score > 0.5, 0, np.where(c.score < 0.5, 1, 2))
    column = outcome * m + c.pair
    rng = np.random.default_rng(seed)
    cells, times = np.unique(votes.prompt * (3 * m) + column, return_counts=True)
    row, column = cells // (3 * m), cells % (3 * m)
    # a prompt's kind is what was voted on it: the sum of a random word for each vote, in 64-bit arithmetic
    words = rng.integers(0, 2**64, 3 * m, dtype=np.uint64)
    kinds_of = np.zeros(len(votes.prompts), dtype=np.uint64)
    np.add.at(kinds_of, row, words[column] * times.astype(np.uint64))
    present = np.unique(row)
    _, example, size = np.unique(kinds_of[present], return_index=True, return_counts=True)
    place = np.full(len(votes.prompts), -1)
    place[present[example]] = np.arange(len(size))
    kept = place[row] >= 0
    table = csr_array((times[kept].astype(np.float32), (column[kept], place[row[kept]])), shape=(3 * m, len(size)))
    drawn = np.concatenate(
        [(table @ np.ascontiguousarray(some.T)).T for some in resamples(size, rounds=rounds, rng=rng)]
    )
    wins, ties = np.zeros((rounds, k, k)), np.zeros((rounds, k, k))
    one, other = c.pairs.T
    wins[:, one, other], wins[:, other, one] = drawn[:, :m], drawn[:, m : 2 * m]
    ties[:, one, other] = ties[:, other, one] = drawn[:, 2 * m :]
    return wins, ties


def _in_batches(fit: Fit, wins: Numbers, ties: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """The fit of all resamples, a few at a time so that memory stays small however many responders there are."""
    batch = max(1, int(MEMORY / 64 / wins.shape[1] ** 2))
    found = [fit(wins[at : at + batch], ties[at : at + batch]) for at in range(0, len(wins), batch)]
    theta, log_nu, held = zip(*found, strict=True)
    return np.concatenate(theta), np.concatenate(log_nu), np.concatenate(held)


def _laplacian(weights: Numbers, ridge: Numbers) -> Numbers:
    """Negative Hessian (R, k, k) of pairwise differences; a constant on all entries makes it invertible and moves
    nothing, since gradients sum to zero.
    """
    k = weights.shape[1]
    table = np.ones((k, k)) / k - weights
    diagonal = np.arange(k)
    table[:, diagonal, diagonal] += weights.sum(axis=2) + ridge[:, None]
    return np.asarray(table)


def _shortened(step: Numbers) -> Numbers:
    """At most 2 at once, for Newton's method far from the maximum."""
    return np.asarray(step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / 2))


def _strongly_connected(edges: NDArray[np.bool_]) -> Flags:
    return np.asarray(_reach(edges).all(axis=(1, 2)))


def _has_circle(edges: NDArray[np.bool_]) -> Flags:
    return np.asarray(np.diagonal(_reach(edges, stay=False), axis1=1, axis2=2).any(axis=1))


def _reach(edges: NDArray[np.bool_], *, stay: bool = True) -> NDArray[np.bool_]:
    """Who can be reached from whom along edges (R, k, k), by squaring."""
    k = edges.shape[1]
    reach = edges.astype(np.float32)
    if stay:
        reach = np.maximum(reach, np.eye(k, dtype=np.float32))
    for _ in range(max(1, int(np.ceil(np.log2(max(k, 2)))))):
        reach = np.minimum(reach + reach @ reach, 1.0)
    return np.asarray(reach > 0)
