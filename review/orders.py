"""Giving a Ranking of up to six responses at once: a place for each."""

from collections.abc import Collection, Sequence

from sqlalchemy.orm import Session

from db.comparisons import FEWEST, MOST
from db.models import Drawn, Ranking, Role
from errors import Refused
from review.cards import drawn_order
from review.queue import drawn_for
from review.rankings import RANKERS, rankable, ranking_of, save
from review.slots import dense


def rank_order(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    places: Sequence[int] = (),
    none_good: bool = False,
    first_id: int | None = None,
    seconds: float | None = None,
) -> Ranking:
    """Save a reviewer's order of a comparison's responses, one Placement each.

    Args:
        places: of the responses from left to right as they were drawn for this reviewer, 1 for the best; equal ones
            are a tie, and gaps are closed.
        none_good: none could be sent; the places count for nothing then.
        first_id: the response that stood first on the screen, so that a stale tab is noticed.
        seconds: from the cards' appearance to the order.

    Raises `Refused` for places that fit no card, and wherever `rank_pair` does.
    """
    ranking = new_order(
        s,
        by=by,
        comparison_id=comparison_id,
        places=places,
        none_good=none_good,
        first_id=first_id,
        roles=RANKERS,
        drawn=drawn_for(s, comparison_id=comparison_id, reviewer_id=by),
    )
    ranking.seconds = seconds
    return save(s, ranking)


def new_order(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    places: Sequence[int],
    none_good: bool,
    roles: Collection[Role],
    drawn: Drawn,
    first_id: int | None = None,
) -> Ranking:
    """An order, not yet in the session; arguments and errors are those of `rank_order`."""
    comparison = rankable(s, by=by, comparison_id=comparison_id, roles=roles, drawn=drawn)
    cards = drawn_order(comparison, reviewer_id=by, swapped=drawn is Drawn.REPEAT)
    if not FEWEST <= len(cards) <= MOST:
        raise Refused(f"This comparison has {len(cards)} responses, and {FEWEST} to {MOST} can be ordered here.")
    if first_id is not None and first_id != cards[0].id:
        raise Refused("This comparison was on the screen in another order. Here it is again.")
    if none_good:
        places = [1] * len(cards)
    if len(places) != len(cards) or not all(1 <= place <= len(cards) for place in places):
        raise Refused(f"Each of the {len(cards)} responses needs a place from 1 to {len(cards)}. Reload the page.")
    placed = list(zip(cards, dense(places), strict=True))
    return ranking_of(s, by=by, comparison=comparison, placed=placed, both_bad=none_good, drawn=drawn)
