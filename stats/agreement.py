"""How far reviewers agree on the pairs that several of them ranked. Pure.

Krippendorff's alpha (Krippendorff 2018, Content Analysis), nominal, over {first better, second better, both good, both
bad}: 1 is full agreement, 0 what chance would give, below 0 worse than that. A low alpha says something about the task
or the guideline; it is no reason to drop anybody's word.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

RESAMPLES = 1000
"""Draws for alpha's interval."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one reviewer said of one comparison, whichever side the responses stood on."""

    comparison_id: int
    reviewer: str
    said: str


@dataclass(frozen=True)
class Agreement:
    """How far some reviewers agree."""

    comparisons: int
    """Those with two opinions or more; only these tell anything."""
    pairs: int
    """Pairs of opinions on the same comparison."""
    raw: float | None
    """Share of those pairs that say the same; none without pairs."""
    alpha: float | None
    """None where it cannot be computed: no overlap, or everybody always said the same one thing."""
    low: float | None
    high: float | None
    """95 % interval of alpha by Krippendorff's bootstrap."""

    @property
    def sentence(self) -> str:
        """The finding in words that claim no more than the numbers."""
        if self.raw is None:
            return "No pair has been ranked by two people yet, so nothing can be said about agreement."
        shared = f"{self.raw:.0%} of {self.pairs} double judgments agree"
        if self.alpha is None or self.low is None or self.high is None:
            return f"{shared}; too few or too uniform for more."
        return f"{shared}; alpha {self.alpha:.2f} [{self.low:.2f} to {self.high:.2f}]."


def agreement(opinions: Sequence[Opinion]) -> Agreement:
    """Raw agreement and alpha with its interval; the order of opinions does not matter."""
    by_comparison = _shared(opinions)
    found = [(one, other) for said in by_comparison.values() for one, other in combinations(said.values(), 2)]
    raw = sum(one == other for one, other in found) / len(found) if found else None
    alpha = low = high = None
    if len({said for pair in found for said in pair}) > 1:
        # imported here: it takes two seconds, and only this page needs it
        from evalica import alpha_bootstrap

        table = pd.DataFrame.from_dict(by_comparison, orient="columns").sort_index(axis=0).sort_index(axis=1)
        result = alpha_bootstrap(table, "nominal", n_resamples=RESAMPLES, random_state=0)
        if math.isfinite(result.alpha):
            alpha, low, high = float(result.alpha), float(result.low), float(result.high)
    return Agreement(len(by_comparison), len(found), raw, alpha, low, high)


def with_others(opinions: Sequence[Opinion]) -> Mapping[str, Agreement]:
    """For each reviewer, the raw agreement of their opinions with those of all others; alpha is not of one person."""
    counts: dict[str, list[bool]] = defaultdict(list)
    comparisons: dict[str, int] = defaultdict(int)
    for said in _shared(opinions).values():
        for reviewer in said:
            comparisons[reviewer] += 1
        for one, other in combinations(said, 2):
            same = said[one] == said[other]
            counts[one].append(same)
            counts[other].append(same)
    return {
        reviewer: Agreement(comparisons[reviewer], len(same), sum(same) / len(same), None, None, None)
        for reviewer, same in sorted(counts.items())
    }


def _shared(opinions: Sequence[Opinion]) -> dict[int, dict[str, str]]:
    """Comparison to reviewer to what they said, where there are two reviewers or more."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for opinion in sorted(opinions, key=lambda o: (o.comparison_id, o.reviewer)):
        found[opinion.comparison_id][opinion.reviewer] = opinion.said
    return {comparison_id: said for comparison_id, said in found.items() if len(said) > 1}
