"""How many votes an evaluation needs to find a preference of given odds. Pure.

First the least n from which the exact two-sided sign test has the wanted power, at this n and the next eleven (power
goes up and down with whole numbers); then more for ties, which decide nothing, and for votes that share a prompt.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from errors import BadSetting
from stats.votes import Codes, Numbers

STEADY = 12
"""Sample sizes in a row that must have the power."""


@dataclass(frozen=True)
class SampleSize:
    """The votes and prompts to plan for."""

    decided: int
    """Decided votes needed if each is on a prompt of its own."""
    votes: int
    """Votes in all, with ties and with several on a prompt."""
    prompts: int
    """Prompts in all, each judged `votes_per_prompt` times."""
    by_formula: float
    """Decided votes by the normal approximation, to compare with textbooks."""
    design_effect: float
    """The factor for votes that share a prompt: 1 + (m - 1) * correlation."""


def sample_size(
    *,
    odds: float,
    power: float = 0.8,
    alpha: float = 0.05,
    tie_rate: float = 0.0,
    votes_per_prompt: float = 1.0,
    correlation: float = 0.0,
) -> SampleSize:
    """Votes needed to find that one of two is preferred.

    Args:
        odds: wins for each loss of the better one, above 1: 2.0 is "2 to 1".
        power: probability to find the preference if the odds are as given.
        alpha: two-sided probability to find one where there is none; for several contrasts divide it by their number.
        tie_rate: share of votes that decide nothing, in [0, 1).
        votes_per_prompt: m, 1 or more.
        correlation: how alike votes on one prompt are, 0 to 1 (`stats.clusters.intraclass_correlation` measures it).

    Source: Miller 2024 (arXiv 2411.00640) for the design effect.
    """
    if not 1 < odds <= 1000:
        raise BadSetting(f"Odds of {odds:g} to 1 cannot be planned for. Give more than 1 and at most 1000.")
    if not (0 < power < 1 and 0 < alpha < 1 and 0 <= tie_rate < 1 and votes_per_prompt >= 1 and 0 <= correlation <= 1):
        raise BadSetting("Power, alpha, ties and correlation are shares between 0 and 1; votes a prompt are 1 or more.")
    from scipy.stats import norm

    p = odds / (1 + odds)
    formula = ((norm.isf(alpha / 2) * 0.5 + norm.ppf(power) * np.sqrt(p * (1 - p))) / (p - 0.5)) ** 2
    if formula > 2e5:
        raise BadSetting(f"Odds of {odds:g} to 1 need some {formula:,.0f} decided votes. Plan for clearer odds.")
    decided = _least_votes(p, power, alpha, limit=int(formula * 1.5) + 60)
    effect = 1 + (votes_per_prompt - 1) * correlation
    votes = ceil(decided / (1 - tie_rate) * effect - 1e-9)
    return SampleSize(decided, votes, ceil(votes / votes_per_prompt - 1e-9), float(formula), effect)


def sign_test_power(n: int, *, odds: float, alpha: float = 0.05) -> float:
    """Probability that the exact two-sided sign test finds these odds with n decided votes on as many prompts."""
    return float(_powers(np.array([n]), odds / (1 + odds), alpha)[0])


def _least_votes(p: float, power: float, alpha: float, *, limit: int) -> int:
    n = np.arange(1, limit + STEADY)
    enough = _powers(n, p, alpha) >= power
    steady = np.convolve(enough, np.ones(STEADY, int), mode="valid") == STEADY
    return int(n[int(np.argmax(steady))]) if steady.any() else _least_votes(p, power, alpha, limit=2 * limit)


def _powers(n: Codes, p: float, alpha: float) -> Numbers:
    from scipy.stats import binom

    # the least number of wins at which the test rejects; n + 1 where it never does
    least = binom.isf(alpha / 2, n, 0.5).astype(np.int64) + 1
    return np.asarray(binom.sf(least - 1, n, p) + binom.cdf(n - least, n, p))
