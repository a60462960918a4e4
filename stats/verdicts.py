"""What a reviewer says of replies: one table from a verdict to its words, its key, its order and its outcome. Pure.

A verdict is about positions, which is all that a reviewer can know; an outcome is what it means for one of the two
replies. An order says the same of any number of replies: a verdict is an order of two.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

BETTER, MUCH_BETTER = 1, 2
"""How strong a verdict for one side is, where somebody was asked."""


class Outcome(StrEnum):
    """What a verdict means for one of the two replies, such as the candidate's."""

    WIN = "WIN"
    TIE = "TIE"
    BOTH_BAD = "BOTH_BAD"
    """A tie that is reported by itself."""
    LOSS = "LOSS"

    @property
    def score(self) -> float:
        """What it adds to that reply's score; a tie is half for each."""
        return {Outcome.WIN: 1.0, Outcome.LOSS: 0.0}.get(self, 0.5)


@dataclass(frozen=True)
class Order:
    """What a reviewer says of replies in the positions in which they stood."""

    places: tuple[int, ...]
    """Of the replies from left to right, 1 for the best; equal ones are a tie."""
    none_good: bool = False
    """None could be sent; then all share place 1."""

    @property
    def verdict(self) -> "Verdict | None":
        """The same of two replies; none of more."""
        return _VERDICT_BY_ORDER.get(self)


class Verdict(StrEnum):
    """What a reviewer says of two replies. Its place in this list is its code in arrays (`stats.votes`)."""

    words: str
    """For people."""
    key: str
    """The arrow key that says it."""
    order: Order
    """The places of the left and of the right reply."""
    outcomes: tuple[Outcome, ...]
    """What it means for the left and for the right reply."""
    spoken: tuple[str, ...]
    """What imported files call it, in lower case; they name a better reply by its column or its writer."""

    def __new__(
        cls,
        value: str,
        words: str = "",
        key: str = "",
        order: Order = Order(()),
        outcomes: tuple[Outcome, ...] = (),
        spoken: tuple[str, ...] = (),
    ) -> Self:
        """A row of the table; with its value alone, the member that there is."""
        verdict = str.__new__(cls, value)
        verdict._value_ = value
        verdict.words, verdict.key, verdict.order = words, key, order
        verdict.outcomes, verdict.spoken = outcomes, spoken
        return verdict

    LEFT = "LEFT", "left is better", "Left", Order((1, 2)), (Outcome.WIN, Outcome.LOSS)
    RIGHT = "RIGHT", "right is better", "Right", Order((2, 1)), (Outcome.LOSS, Outcome.WIN)
    TIE = "TIE", "both good", "Up", Order((1, 1)), (Outcome.TIE,) * 2, ("tie", "equal", "both good", "same")
    """Both good, neither better."""
    BOTH_BAD = (
        "BOTH_BAD",
        "both bad",
        "Down",
        Order((1, 1), True),
        (Outcome.BOTH_BAD,) * 2,
        ("both bad", "neither", "none"),
    )
    """Neither could be sent; counts as a tie and is reported."""

    @property
    def word(self) -> str:
        """In files of votes."""
        return self.lower()

    @property
    def decided(self) -> bool:
        """Whether one reply is better."""
        return self in (Verdict.LEFT, Verdict.RIGHT)

    def outcome(self, *, candidate_left: bool) -> Outcome:
        """What it means for the candidate; nowhere else does a position become a win or a loss."""
        return self.outcomes[0 if candidate_left else 1]


_VERDICT_BY_ORDER = {verdict.order: verdict for verdict in Verdict}
