"""The WinRate: wins plus half the ties over n, always with counts and an interval. Pure; the only definition.

The prompt is the unit that was drawn, so judgments of the same prompt are one cluster: with several per prompt the
naive interval covers far less than it says. Formulas: Wilson 1927 for one judgment a prompt; else Wilson's with the
effective number of trials that the cluster-robust variance of the mean (Miller 2024, arXiv 2411.00640) amounts to, as
for proportions in surveys (Korn and Graubard 1998, Survey Methodology 24). Simulated with 3 to 40 prompts, two or three
judgments each and true rates of 0.5 to 0.9 it covers 95 % or more; the plain normal interval 79 to 96 %.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from eval.blinding import SCORE, Outcome


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
    if groups == 1:
        return wilson(rate, 1)
    variance = groups / (groups - 1) * sum(sum(score - rate for score in one) ** 2 for one in clusters) / n**2
    # as many independent trials as would vary as much; where all prompts agree, one for each prompt: a zero-width
    # interval would claim certainty
    trials = min(float(n), rate * (1 - rate) / variance) if variance > 0 else float(groups)
    return wilson(rate, trials, freedom=groups - 1)


def wilson(rate: float, n: float, *, freedom: int | None = None) -> tuple[float, float]:
    """Wilson's score interval, 95 %, for a rate in [0, 1] seen in n independent trials.

    With degrees of freedom, Student's t takes the normal distribution's place: the variance itself was estimated.
    """
    from scipy.stats import norm, t
    from statsmodels.stats.proportion import proportion_confint

    alpha = 0.05 if freedom is None else 2 * float(norm.sf(t.ppf(0.975, freedom)))
    low, high = proportion_confint(rate * n, n, alpha=alpha, method="wilson")
    return float(low), float(high)
