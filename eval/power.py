"""Whether what is planned is enough to find the smallest difference that matters. Pure."""

from dataclasses import dataclass
from math import floor

from eval.protocol import Plan
from stats.sample_size import SampleSize, sample_size, sign_test_power

ALPHA = 0.05
"""Chance, in all, to find something where nothing is; shared out among the primary contrasts."""


@dataclass(frozen=True)
class PowerAnalysis:
    """What one primary contrast needs and what it gets."""

    odds: float
    needed: SampleSize
    prompts: int
    verdicts: int
    decided: int
    """Independent decided verdicts that those are worth: without ties, and less where several share a prompt."""
    power: float

    @property
    def enough(self) -> bool:
        """Whether it gets what it needs."""
        return self.decided >= self.needed.decided

    @property
    def sentence(self) -> str:
        """What to do, for a person."""
        if not self.verdicts:
            return "There is no pairing to judge: hold out more prompts, or choose another baseline."
        if self.prompts == 1:
            return "All verdicts would be on one prompt, which says nothing of others. Hold out more prompts."
        head = (
            f"{self.needed.decided} decided verdicts needed to find {self.odds:g} to 1, this gives about {self.decided}"
        )
        if self.enough:
            return f"{head}: enough to find it in {self.power:.0%} of evaluations like this one."
        more = max(1, self.needed.prompts - self.prompts)
        return (
            f"{head}, which finds it in {self.power:.0%} of evaluations like this one: find a larger difference or "
            f"hold out more prompts (about {more} more)."
        )


def power_analysis(plan: Plan, *, prompts: int, verdicts: int, contrasts: int = 1) -> PowerAnalysis:
    """The power of a contrast with so many judged prompts and planned verdicts.

    Args:
        contrasts: primary contrasts that share the chance of a false finding.

    Raises `BadSetting` for odds or shares that cannot be planned for.
    """
    alpha = ALPHA / contrasts
    per_prompt = max(1.0, verdicts / prompts) if prompts else 1.0
    needed = sample_size(
        odds=plan.odds,
        power=plan.power,
        alpha=alpha,
        tie_rate=plan.tie_rate,
        votes_per_prompt=per_prompt,
        correlation=plan.correlation,
    )
    decided = floor(verdicts * (1 - plan.tie_rate) / needed.design_effect + 1e-9)
    power = sign_test_power(decided, odds=plan.odds, alpha=alpha) if decided else 0.0
    return PowerAnalysis(plan.odds, needed, prompts, verdicts, decided, power)
