"""Drawing sides, and the one place where a verdict about positions becomes an outcome for the candidate. Pure."""

import random
from enum import StrEnum

from db.models import Verdict


class Outcome(StrEnum):
    """What a verdict means for the candidate."""

    WIN = "WIN"
    TIE = "TIE"
    LOSS = "LOSS"
    BOTH_BAD = "BOTH_BAD"
    """A tie that is reported by itself."""


SCORE = {Outcome.WIN: 1.0, Outcome.TIE: 0.5, Outcome.BOTH_BAD: 0.5, Outcome.LOSS: 0.0}
"""What an outcome adds to the candidate's score: ties are half."""


def draw_side(*, lefts: int, rights: int, seed: str) -> bool:
    """Whether the candidate stands left: a fair coin, but never more than two apart in the counts so far.

    Args:
        lefts: how often the candidate stood left for this reviewer against this baseline.
        rights: how often it stood right.
        seed: text that fixes the coin (evaluation's seed, reviewer, pairing).
    """
    if abs(lefts - rights) >= 2:
        return lefts < rights
    return random.Random(seed).random() < 0.5


def outcome(verdict: Verdict, *, candidate_left: bool) -> Outcome:
    """The verdict as seen from the candidate."""
    if verdict is Verdict.TIE:
        return Outcome.TIE
    if verdict is Verdict.BOTH_BAD:
        return Outcome.BOTH_BAD
    return Outcome.WIN if (verdict is Verdict.LEFT) == candidate_left else Outcome.LOSS
