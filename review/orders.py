"""Giving a Ranking of up to six responses at once: a place for each."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import Ranking
from errors import Refused
from review.cards import drawn_order
from review.rankings import RANKERS, rankable, ranking_of, save
from review.slots import FEWEST, MOST, dense


def rank_order(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    places: Sequence[int] = (),
    none_good: bool = False,
    seconds: float | None = None,
) -> Ranking:
    """Save a reviewer's order of a comparison's responses, one Placement each.

    Args:
        places: of the responses from left to right as they were drawn for this reviewer, 1 for the best; equal ones
            are a tie, and gaps are closed.
        none_good: none could be sent; the places count for nothing then.
        seconds: from the cards' appearance to the order.

    Raises `Refused` for places that fit no card, and wherever `rank_pair` does.
    """
    comparison = rankable(s, by=by, comparison_id=comparison_id, roles=RANKERS)
    cards = drawn_order(comparison, reviewer_id=by)
    if not FEWEST <= len(cards) <= MOST:
        raise Refused(f"This comparison has {len(cards)} responses, and {FEWEST} to {MOST} can be ordered here.")
    if none_good:
        places = [1] * len(cards)
    if len(places) != len(cards) or not all(1 <= place <= len(cards) for place in places):
        raise Refused(f"Each of the {len(cards)} responses needs a place from 1 to {len(cards)}. Reload the page.")
    placed = list(zip(cards, dense(places), strict=True))
    ranking = ranking_of(s, by=by, comparison=comparison, placed=placed, both_bad=none_good)
    ranking.seconds = seconds
    return save(s, ranking)
