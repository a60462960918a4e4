"""The WinRate: wins plus half the ties over n, always with counts and an interval. Pure; the only definition.

The prompt is the unit that was drawn, so judgments of the same prompt are one cluster: with several per prompt the
naive interval covers far less than it says. Formulas: Wilson 1927 for one judgment a prompt; else the cluster-robust
variance of the mean, as in Miller 2024, arXiv 2411.00640.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from eval.blinding import SCORE, Outcome

Z95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True)
class Observation:
    """One judged pairing."""

    prompt: Hashable
    """The cluster: judgments of the same prompt belong together."""
    outcome: Outcome


@dataclass(frozen=True)
class WinRate:
    """How often the candidate is preferred."""

    wins: int
    ties: int
    """Both good and both bad together."""
    losses: int
    both_bad: int
    """Those of the ties where neither reply could be sent."""
    prompts: int
    """Different prompts judged."""
    rate: float
    """(wins + ties/2) / n, in [0, 1]."""
    low: float
    high: float
    """95 % interval, clustered by prompt."""

    @property
    def n(self) -> int:
        """Judgments."""
        return self.wins + self.ties + self.losses

    @property
    def sentence(self) -> str:
        """The finding in words that claim no more than the interval allows."""
        if self.n == 0:
            return "Nothing has been judged yet."
        if self.low > 0.5:
            finding = "preferred"
        elif self.high < 0.5:
            finding = "not preferred"
        else:
            return "No difference can be told from these judgments: the interval includes 50 %."
        if self.wins and self.losses:
            ratio = max(self.wins, self.losses) / min(self.wins, self.losses)
            odds = f"{ratio:.1f} to 1" if self.wins > self.losses else f"1 to {ratio:.1f}"
            return f"{finding.capitalize()}, {odds} in decided judgments."
        return f"{finding.capitalize()}, in every decided judgment."


def win_rate(observations: Sequence[Observation]) -> WinRate:
    """The candidate's win rate with a prompt-clustered 95 % interval.

    Without observations the rate is 0.5 and the interval is all of [0, 1].
    """
    outcomes = [observation.outcome for observation in observations]
    wins, losses = outcomes.count(Outcome.WIN), outcomes.count(Outcome.LOSS)
    both_bad = outcomes.count(Outcome.BOTH_BAD)
    ties = outcomes.count(Outcome.TIE) + both_bad
    clusters: dict[Hashable, list[float]] = defaultdict(list)
    for observation in observations:
        clusters[observation.prompt].append(SCORE[observation.outcome])
    n = len(observations)
    if n == 0:
        return WinRate(0, 0, 0, 0, 0, rate=0.5, low=0.0, high=1.0)
    rate = (wins + ties / 2) / n
    low, high = _interval(list(clusters.values()), rate=rate, n=n)
    return WinRate(wins, ties, losses, both_bad, len(clusters), rate=rate, low=low, high=high)


def _interval(clusters: Sequence[Sequence[float]], *, rate: float, n: int) -> tuple[float, float]:
    groups = len(clusters)
    if groups == n:
        return wilson(rate, n)
    variance = (
        groups / (groups - 1) * sum(sum(score - rate for score in cluster) ** 2 for cluster in clusters) / n**2
        if groups > 1
        else 0.0
    )
    if variance == 0:
        # every prompt agrees, or there is one: a zero-width interval would claim certainty
        return wilson(rate, groups)
    half = Z95 * math.sqrt(variance)
    return max(0.0, rate - half), min(1.0, rate + half)


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Wilson's score interval, 95 %, for a rate in [0, 1] seen in n independent trials."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(rate * n, n, alpha=0.05, method="wilson")
    return float(low), float(high)
