"""How far reviewers agree on the pairs that several of them ranked. Pure.

Krippendorff's alpha (Krippendorff 2018, Content Analysis), nominal, over {first better, second better, both good, both
bad}: 1 is full agreement, 0 what chance would give, below 0 worse than that. A low alpha says something about the task
or the guideline; it is no reason to drop a reviewer's rankings.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

RESAMPLES = 1000
"""Bootstrap resamples for alpha's interval."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """One reviewer's answer on one comparison, independent of which response stood left."""

    comparison_id: int
    reviewer: str
    answer: str


@dataclass(frozen=True)
class Agreement:
    """How far some reviewers agree."""

    comparisons: int
    """Comparisons with two opinions or more; only these count here."""
    pairs: int
    """Pairs of opinions on the same comparison."""
    raw: float | None
    """Share of those pairs whose answers are equal; None without pairs."""
    alpha: float | None
    """None where it cannot be computed: no overlap, or all answers are equal."""
    low: float | None
    high: float | None
    """95 % interval of alpha by Krippendorff's bootstrap."""

    @property
    def sentence(self) -> str:
        """The result in words that claim no more than the numbers."""
        if self.raw is None:
            return "No pair has been ranked by two people yet, so nothing can be said about agreement."
        shared = f"{self.raw:.0%} of {self.pairs} double judgments agree"
        if self.alpha is None or self.low is None or self.high is None:
            return f"{shared}; too few or too uniform for more."
        return f"{shared}; alpha {self.alpha:.2f} [{self.low:.2f} to {self.high:.2f}]."


def agreement(opinions: Sequence[Opinion]) -> Agreement:
    """Raw agreement and alpha with its interval; the order of opinions does not matter."""
    by_comparison = _shared_answers(opinions)
    pairs = [pair for answers in by_comparison.values() for pair in combinations(answers.values(), 2)]
    raw = sum(first == second for first, second in pairs) / len(pairs) if pairs else None
    alpha = low = high = None
    if len({answer for pair in pairs for answer in pair}) > 1:
        # imported here, since both take seconds, and memory that nobody needs who only ranks
        import pandas as pd
        from evalica import alpha_bootstrap

        table = pd.DataFrame.from_dict(by_comparison, orient="columns").sort_index(axis=0).sort_index(axis=1)
        result = alpha_bootstrap(table, "nominal", n_resamples=RESAMPLES, random_state=0)
        if math.isfinite(result.alpha):
            alpha, low, high = float(result.alpha), float(result.low), float(result.high)
    return Agreement(len(by_comparison), len(pairs), raw, alpha, low, high)


def agreement_by_reviewer(opinions: Sequence[Opinion]) -> Mapping[str, Agreement]:
    """For each reviewer, the raw agreement of their opinions with all others'; alpha is not defined for one person."""
    equal: dict[str, list[bool]] = defaultdict(list)
    comparisons = Counter[str]()
    for answers in _shared_answers(opinions).values():
        comparisons.update(answers.keys())
        for first, second in combinations(answers, 2):
            for reviewer in (first, second):
                equal[reviewer].append(answers[first] == answers[second])
    return {
        reviewer: Agreement(comparisons[reviewer], len(pairs), sum(pairs) / len(pairs), None, None, None)
        for reviewer, pairs in sorted(equal.items())
    }


def _shared_answers(opinions: Sequence[Opinion]) -> dict[int, dict[str, str]]:
    """Comparison to reviewer to answer, where two reviewers or more gave one."""
    answers: dict[int, dict[str, str]] = defaultdict(dict)
    for opinion in sorted(opinions, key=lambda opinion: (opinion.comparison_id, opinion.reviewer)):
        answers[opinion.comparison_id][opinion.reviewer] = opinion.answer
    return {comparison_id: by_reviewer for comparison_id, by_reviewer in answers.items() if len(by_reviewer) > 1}
