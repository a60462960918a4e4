"""Putting several cards in order by keys: what each key does, apart from any screen. Pure.

Cards are called A to F, from left to right as they are shown; digits are places (`Slots`) or cards (`BestWorst`). Every
key gives a new state. Places that are submitted are dense: 1, 1, 3 becomes 1, 1, 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from db.comparisons import MAX_RESPONSES, MIN_RESPONSES
from stats.verdicts import MUCH_BETTER, Order

BEST_WORST_OF = 4
"""How many cards can be ordered by their best and their worst alone: that leaves one of six pairs open."""


def card_letter(card: int) -> str:
    """What the card at a position (from 0) is called on the screen."""
    return "ABCDEF"[card]


def place_ordinal(place: int) -> str:
    """A place as people say it."""
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th")


def dense_places(places: Sequence[int]) -> tuple[int, ...]:
    """The same order and the same ties, with no place left empty."""
    used = sorted(set(places))
    return tuple(used.index(place) + 1 for place in places)


def describe_order(order: Order, *, strength: int | None = None) -> str:
    """An order for people: `left is better (much)`, or of cards `C, then A and B, then D`."""
    if order.verdict is not None:
        return order.verdict.words + (" (much)" if strength == MUCH_BETTER else "")
    if order.none_good:
        return "none can be sent"
    ranks = sorted(set(order.places))
    groups = [[card_letter(card) for card, place in enumerate(order.places) if place == rank] for rank in ranks]
    return ", then ".join(_listed(group) for group in groups)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Slots:
    """Cards that are being put in order: a digit puts the focused one in that place."""

    places: tuple[int | None, ...]
    """The place of each card as it was typed, from left to right; none where it has none yet."""
    focus: int = 0
    """The card that the next digit places."""
    warned: bool = False
    """Enter was the last key and nothing is placed: Enter again submits the order as shown."""
    message: str | None = None
    """What the last key was answered with, if it was not simply done."""
    submitted: tuple[int, ...] | None = None
    """The dense places, once that is what they are; from then on no key does anything."""

    @classmethod
    def empty(cls, cards: int) -> "Slots":
        """Nothing placed, the first card focused. Raises `ValueError` for a number that does not fit a screen."""
        if not MIN_RESPONSES <= cards <= MAX_RESPONSES:
            raise ValueError(f"{cards} cards; {MIN_RESPONSES} to {MAX_RESPONSES} can be put in order.")
        return cls(places=(None,) * cards)

    @property
    def complete(self) -> bool:
        """Whether every card has a place."""
        return None not in self.places

    def digit(self, place: int) -> "Slots":
        """Put the focused card in a place, beside any that is there; the next card without a place gets the focus."""
        if self.submitted is not None:
            return self
        cards = len(self.places)
        if not 1 <= place <= cards:
            return replace(self, warned=False, message=f"There are {cards} places: press 1 to {cards}.")
        places = tuple(place if card == self.focus else old for card, old in enumerate(self.places))
        ahead = [(self.focus + step) % cards for step in range(cards)]
        focus = next((card for card in ahead if places[card] is None), self.focus)
        return Slots(places=places, focus=focus)

    def move(self, step: int) -> "Slots":
        """Focus another card: 1 is the next to the right, -1 to the left, and round at the ends."""
        return self.focus_card((self.focus + step) % len(self.places))

    def focus_card(self, card: int) -> "Slots":
        """Focus a card."""
        return self if self.submitted is not None else Slots(places=self.places, focus=card)

    def enter(self) -> "Slots":
        """Submit if every card has a place; if none has, warn first and submit the order as shown the second time."""
        if self.submitted is not None:
            return self
        placed = [place for place in self.places if place is not None]
        if len(placed) == len(self.places):
            return replace(self, message=None, submitted=dense_places(placed))
        shown = range(1, len(self.places) + 1)
        if not placed and self.warned:
            return replace(self, message=None, submitted=tuple(shown))
        if not placed:
            order = ", ".join(card_letter(place - 1) for place in shown)
            message = f"You have placed nothing. Enter again saves the order as it is shown: {order}, best first."
            return replace(self, warned=True, message=message)
        missing = [card_letter(card) for card, place in enumerate(self.places) if place is None]
        return replace(self, message=f"Place card{'s' if len(missing) > 1 else ''} {_listed(missing)} too, then Enter.")


@dataclass(frozen=True)
class BestWorst:
    """Four cards of which two are named: the first digit is the best card's, the second the worst's."""

    best: int | None = None
    worst: int | None = None
    message: str | None = None
    submitted: tuple[int, ...] | None = None

    @property
    def places(self) -> tuple[int | None, ...]:
        """The place of each card: 1 the best, 3 the worst, 2 both others as soon as these are known."""
        others = 2 if self.complete else None
        return tuple({self.best: 1, self.worst: 3}.get(card, others) for card in range(BEST_WORST_OF))

    @property
    def complete(self) -> bool:
        """Whether best and worst are both named."""
        return self.best is not None and self.worst is not None

    def digit(self, number: int) -> "BestWorst":
        """Name a card, counted from 1: the best, then the worst; with both named, the best anew."""
        card = number - 1
        if self.submitted is not None:
            return self
        if not 0 <= card < BEST_WORST_OF:
            return replace(self, message=f"There are {BEST_WORST_OF} cards: press 1 to {BEST_WORST_OF}.")
        if self.best is None or self.complete:
            return BestWorst(best=card)
        if card == self.best:
            message = f"Card {card_letter(card)} is the best already; the worst has to be another one."
            return replace(self, message=message)
        return BestWorst(best=self.best, worst=card)

    def enter(self) -> "BestWorst":
        """Submit if both are named; there is no order as shown to fall back on."""
        if self.submitted is not None:
            return self
        if not self.complete:
            missing = "the worst card" if self.best is not None else "the best card, then the worst"
            return replace(self, message=f"Name {missing}, then Enter.")
        return replace(self, message=None, submitted=tuple(place or 2 for place in self.places))


Cards: TypeAlias = Slots | BestWorst
