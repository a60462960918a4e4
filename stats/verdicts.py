"""What a reviewer says of replies: one table from a verdict to its words, its key, its order and its outcome. Pure.

A verdict is about positions, which is all that a reviewer can know; an outcome is what it means for one of the two
replies. An order says the same of any number of replies: a verdict is an order of two.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

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
        return _OF_TWO.get(self)


class Verdict(StrEnum):
    """What a reviewer says of two replies. Its place in this list is its code in arrays (`stats.votes`)."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"
    TIE = "TIE"
    """Both good, neither better."""
    BOTH_BAD = "BOTH_BAD"
    """Neither could be sent; counts as a tie and is reported."""

    @property
    def word(self) -> str:
        """In files of votes."""
        return self.lower()

    @property
    def words(self) -> str:
        """For people."""
        return _TABLE[self].words

    @property
    def key(self) -> str:
        """The arrow key that says it."""
        return _TABLE[self].key

    @property
    def order(self) -> Order:
        """The places of the left and of the right reply."""
        return _TABLE[self].order

    @property
    def decided(self) -> bool:
        """Whether one reply is better."""
        return self in (Verdict.LEFT, Verdict.RIGHT)

    def outcome(self, *, candidate_left: bool) -> Outcome:
        """What it means for the candidate; nowhere else does a position become a win or a loss."""
        return _TABLE[self].outcomes[0 if candidate_left else 1]

    @classmethod
    def of_no_side(cls, said: str) -> "Verdict | None":
        """TIE or BOTH_BAD where a file's word, in lower case and with single spaces, means that; else none."""
        return next((verdict for verdict in cls if said in _TABLE[verdict].spoken), None)


class _Row(NamedTuple):
    words: str
    key: str
    order: Order
    outcomes: tuple[Outcome, Outcome]
    """Of the left and of the right reply."""
    spoken: tuple[str, ...] = ()
    """What it is called in imported files, which name a better reply by its column or its writer."""


_TABLE = {
    Verdict.LEFT: _Row("left is better", "Left", Order((1, 2)), (Outcome.WIN, Outcome.LOSS)),
    Verdict.RIGHT: _Row("right is better", "Right", Order((2, 1)), (Outcome.LOSS, Outcome.WIN)),
    Verdict.TIE: _Row("both good", "Up", Order((1, 1)), (Outcome.TIE,) * 2, ("tie", "equal", "both good", "same")),
    Verdict.BOTH_BAD: _Row(
        "both bad", "Down", Order((1, 1), none_good=True), (Outcome.BOTH_BAD,) * 2, ("both bad", "neither", "none")
    ),
}
_OF_TWO = {row.order: verdict for verdict, row in _TABLE.items()}
