"""What a reviewer sees of a Comparison, a pair or more: texts in an order drawn for them, no word of who wrote what."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.models import Comparison, Response
from review.assignment import Offer, left_first, offer
from texts.rules import as_shown
from texts.shown import AsShown


@dataclass(frozen=True)
class Card:
    """One response of several."""

    response_id: int
    text: str
    """As it is shown."""


@dataclass(frozen=True)
class ManyOffer:
    """Several responses to put in order, from left to right as this reviewer sees them."""

    comparison_id: int
    prompt_id: int
    prompt: str
    context: str | None
    cards: tuple[Card, ...]
    synthetic: bool = False
    """The prompt was made up by a rule or a model."""


def drawn_order(comparison: Comparison, *, reviewer_id: int, swapped: bool = False) -> Sequence[Response]:
    """The responses from left to right, shuffled for each comparison and reviewer by a hash that no reload changes.

    A pair stands as `left_first` has it, on every screen. In a hidden second look all stand the other way round.
    """

    def drawn(response: Response) -> bytes:
        return hashlib.sha256(f"cards:{comparison.id}:{reviewer_id}:{response.id}".encode()).digest()

    if len(comparison.responses) == 2:
        order = comparison.responses[:: 1 if left_first(comparison.id, reviewer_id) else -1]
    else:
        order = sorted(comparison.responses, key=drawn)
    return order[::-1] if swapped else order


def offer_many(
    s: Session, *, comparison_id: int, reviewer_id: int, swapped: bool = False, shown: AsShown | None = None
) -> ManyOffer:
    """A comparison as cards; `shown` as for `offer`."""
    comparison = s.get_one(Comparison, comparison_id)
    shown = shown or as_shown(s, project_id=comparison.project_id)
    order = drawn_order(comparison, reviewer_id=reviewer_id, swapped=swapped)
    return ManyOffer(
        comparison_id=comparison.id,
        prompt_id=comparison.prompt_id,
        prompt=comparison.prompt.text,
        context=comparison.prompt.context,
        cards=tuple(Card(one.id, shown(one.text)) for one in order),
        synthetic=comparison.prompt.synthetic,
    )


def offer_any(
    s: Session, *, comparison_id: int, reviewer_id: int, swapped: bool = False, shown: AsShown | None = None
) -> Offer | ManyOffer:
    """A pair as left and right, more as cards; `shown` as for `offer`."""
    if len(s.get_one(Comparison, comparison_id).responses) == 2:
        return offer(s, comparison_id=comparison_id, reviewer_id=reviewer_id, swapped=swapped, shown=shown)
    return offer_many(s, comparison_id=comparison_id, reviewer_id=reviewer_id, swapped=swapped, shown=shown)


def original(s: Session, *, response_id: int) -> str:
    """A reply as it was given: what is corrected and learned from."""
    return s.get_one(Response, response_id).text
