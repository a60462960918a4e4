"""The WinRate: wins plus half the ties over n, always with counts and an interval. Pure; the only definition.

The interval is clustered by prompt (`intervals.clustered`): judgments of the same prompt belong together.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from eval.blinding import SCORE, Outcome
from intervals import clustered


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
    low, high = clustered(clusters.values())
    return WinRate(wins, ties, losses, both_bad, len(clusters), rate=(wins + ties / 2) / n, low=low, high=high)
