"""Giving a Ranking, adding its reason, and taking it back."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import MAX_RESPONSES, MIN_RESPONSES, ranked_by
from db.lookup import add_unique, get_existing
from db.models import Comparison, Placement, Project, Ranking, Reveal, Role, SamplingReason, now
from db.people import RANKERS, current_guideline, require_role
from errors import NotFound, Refused
from review.assignment import shown_order
from review.queue import check_quota, lease, release, sampling_reason_for
from review.slots import dense_places
from stats.verdicts import BETTER, MUCH_BETTER, Order
from texts.typed import clean_comment


@dataclass(frozen=True)
class GivenRanking:
    """A ranking, as it reads with its replies in the order in which they stand before a reviewer."""

    ranking_id: int
    comparison_id: int
    reviewer: str
    order: Order
    strength: int | None
    reason: str | None

    @classmethod
    def of(cls, ranking: Ranking, response_ids: Iterable[int]) -> "GivenRanking":
        """The ranking, seen with its responses from left to right."""
        places = {placement.response_id: placement.place for placement in ranking.placements}
        order = Order(tuple(places[response_id] for response_id in response_ids), none_good=ranking.both_bad)
        label = ranking.reviewer.label
        return cls(ranking.id, ranking.comparison_id, label, order, ranking.strength, ranking.reason)


def rank(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    order: Order,
    first_id: int | None = None,
    reason: str | None = None,
    seconds: float | None = None,
) -> Ranking:
    """Save a reviewer's order of a comparison's responses.

    Args:
        order: of the responses as they were drawn for this reviewer; gaps between places are closed.
        first_id: the response that stood first on the screen, so that a stale tab is noticed.
        seconds: from the comparison's appearance to the order.

    Raises `Refused` when this reviewer has ranked it already (a held key, a double click, a second tab), when as many
    people as the project wants have, and wherever `new_ranking` does.
    """
    drawn = sampling_reason_for(s, comparison_id=comparison_id, reviewer_id=by)
    ranking = new_ranking(
        s, by=by, comparison_id=comparison_id, order=order, first_id=first_id, reason=reason, roles=RANKERS, drawn=drawn
    )
    ranking.seconds = seconds
    if drawn is not SamplingReason.REPEAT:
        check_quota(s, comparison=s.get_one(Comparison, comparison_id), reviewer_id=by)
    release(s, comparison_id=comparison_id, reviewer_id=by)
    what = "pair" if len(ranking.placements) == 2 else "comparison"
    add_unique(s, ranking, refusal=f"You have ranked this {what} already. Undo first if you want to change it.")
    return ranking


def new_ranking(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    order: Order,
    roles: Collection[Role],
    drawn: SamplingReason,
    first_id: int | None = None,
    reason: str | None = None,
) -> Ranking:
    """An order under the guideline in force, not yet in the session; arguments as for `rank`.

    Raises `NotFound`, `NotAllowed`, and `Refused` for another first response than `first_id`, places that do not fit, a
    discarded comparison, a held-out prompt, one's own responses, and where the reviewer has seen what others said,
    unless the comparison is not `drawn` for them but decided.
    """
    comparison = _find_rankable(s, by=by, comparison_id=comparison_id, roles=roles, drawn=drawn)
    responses = shown_order(comparison, reviewer_id=by, swapped=drawn is SamplingReason.REPEAT)
    count = len(responses)
    if not MIN_RESPONSES <= count <= MAX_RESPONSES:
        raise Refused(
            f"This comparison has {count} responses, and {MIN_RESPONSES} to {MAX_RESPONSES} can be ordered here."
        )
    if first_id not in (None, responses[0].id):
        if count == 2:
            raise Refused("This pair was on the screen with its sides the other way round. Here it is again.")
        raise Refused("This comparison was on the screen in another order. Here it is again.")
    if len(order.places) != count or not all(1 <= place <= count for place in order.places):
        raise Refused(f"Each of the {count} responses needs a place from 1 to {count}. Reload the page.")
    places = [1] * count if order.none_good else dense_places(order.places)
    guideline = current_guideline(s, project_id=comparison.project_id)
    return Ranking(
        comparison_id=comparison.id,
        reviewer_id=by,
        sampling_reason=drawn,
        guideline_id=guideline.id if guideline else None,
        both_bad=order.none_good,
        strength=BETTER if order.verdict and order.verdict.decided else None,
        reason=clean_comment(reason),
        placements=[
            Placement(response_id=response.id, place=place, position=position)
            for position, (response, place) in enumerate(zip(responses, places, strict=True))
        ],
    )


def _find_rankable(
    s: Session, *, by: int, comparison_id: int, roles: Collection[Role], drawn: SamplingReason
) -> Comparison:
    comparison = get_existing(s, Comparison, comparison_id, "pair")
    require_role(s, by=by, project_id=comparison.project_id, roles=roles)
    if comparison.discarded_at is not None:
        raise Refused("A manager discarded this pair meanwhile. Here is the next one.")
    if comparison.prompt.held_out:
        raise Refused("This prompt is held out: its responses are only judged blind, never ranked for training.")
    own_allowed = s.get_one(Project, comparison.project_id).authors_rank
    if not own_allowed and any(response.responder.reviewer_id == by for response in comparison.responses):
        raise Refused("You wrote one of these responses, so somebody else has to rank them.")
    if drawn is not SamplingReason.NONE and s.get(Reveal, (comparison_id, by)) is not None:
        raise Refused("You have seen what others said of this pair, so it is not yours to rank any more.")
    return comparison


def last_ranking(s: Session, *, by: int, project_id: int) -> GivenRanking | None:
    """The reviewer's newest standing ranking that was given here, with the sides as they stood."""
    ranking = s.scalars(
        select(Ranking)
        .join(Ranking.comparison)
        .where(
            Comparison.project_id == project_id,
            Ranking.reviewer_id == by,
            Ranking.undone_at.is_(None),
            Ranking.adjudicates.is_(False),
            Ranking.prompt_set_id.is_(None),
        )
        .order_by(Ranking.id.desc())
        .limit(1)
    ).first()
    if ranking is None:
        return None
    shown = sorted(ranking.placements, key=lambda placement: placement.position)
    return GivenRanking.of(ranking, (placement.response_id for placement in shown))


def strengthen_ranking(s: Session, *, by: int, ranking_id: int) -> None:
    """Say of one's own choice for one side that it is much better."""
    ranking = get_own_ranking(s, by=by, ranking_id=ranking_id)
    if ranking.strength is None:
        raise Refused("Only a choice for the left or the right can be made stronger.")
    ranking.strength = MUCH_BETTER
    s.flush()


def undo_ranking(s: Session, *, by: int, ranking_id: int) -> int:
    """Take back one's own ranking; it stays in the database as undone, and its comparison comes up again at once.

    Returns the comparison's id.
    """
    ranking = get_own_ranking(s, by=by, ranking_id=ranking_id)
    ranking.undone_at = now()
    s.flush()
    drawn = ranking.sampling_reason
    first_look = select(ranked_by(by)).where(Comparison.id == ranking.comparison_id)
    if drawn is SamplingReason.REPEAT and not s.scalar(first_look):
        drawn = SamplingReason.RANDOM  # the first look is undone too, so this would be one
    if s.get(Reveal, (ranking.comparison_id, by)) is None:
        lease(s, comparison_id=ranking.comparison_id, reviewer_id=by, drawn=drawn)
    return ranking.comparison_id


def give_reason(s: Session, *, by: int, ranking_id: int, reason: str) -> None:
    """Add or change the reason of one's own ranking."""
    get_own_ranking(s, by=by, ranking_id=ranking_id).reason = clean_comment(reason)
    s.flush()


def get_own_ranking(s: Session, *, by: int, ranking_id: int) -> Ranking:
    """The reviewer's own standing ranking. Raises `NotFound` for another's, and for one that was undone."""
    ranking = s.get(Ranking, ranking_id)
    if ranking is None or ranking.reviewer_id != by or ranking.undone_at is not None or ranking.adjudicates:
        raise NotFound("That ranking is not yours, or it was undone already. Reload the page.")
    require_role(s, by=by, project_id=ranking.comparison.project_id, roles=RANKERS)
    return ranking
