"""Giving a Ranking, adding its reason, and taking it back."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.comparisons import FEWEST, MOST
from db.models import Comparison, Drawn, Placement, Project, Ranking, Response, Reveal, Role, now
from db.people import guideline_of, require
from errors import NotFound, Refused
from review.assignment import drawn_order, ranked_by
from review.queue import check_quota, drawn_for, lease_again, release
from review.slots import dense
from texts.typed import comment

RANKERS = (Role.MANAGER, Role.ANNOTATOR)


class Choice(StrEnum):
    """What a reviewer says of a pair."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"
    TIE = "TIE"
    """Both good, neither better."""
    BOTH_BAD = "BOTH_BAD"
    """Neither could be sent."""


@dataclass(frozen=True)
class LastRanking:
    """What a reviewer said last, for the undo bar."""

    ranking_id: int
    comparison_id: int
    choice: Choice | None
    """None where more than two were put in order."""
    strength: int | None
    reason: str | None
    places: tuple[int, ...]
    """As they stood on the screen, from left to right."""
    both_bad: bool


def places(choice: Choice) -> tuple[int, int]:
    """The places of the left and the right response."""
    return {Choice.LEFT: (1, 2), Choice.RIGHT: (2, 1)}.get(choice, (1, 1))


def rank_pair(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    choice: Choice,
    reason: str | None = None,
    seconds: float | None = None,
    left_id: int | None = None,
) -> Ranking:
    """Save a reviewer's ranking of a pair, with the sides as they were drawn for this reviewer.

    Raises `Refused` when this reviewer has ranked the pair already (a held key, a double click, a second tab), when
    as many people as the project wants have, or when another response stands left now than `left_id` (a stale tab).
    """
    drawn = drawn_for(s, comparison_id=comparison_id, reviewer_id=by)
    ranking = new_ranking(
        s, by=by, comparison_id=comparison_id, choice=choice, reason=reason, roles=RANKERS, drawn=drawn
    )
    ranking.seconds = seconds
    if left_id is not None and left_id != next(p.response_id for p in ranking.placements if p.position == 0):
        raise Refused("This pair was on the screen with its sides the other way round. Here it is again.")
    return save(s, ranking)


def save(s: Session, ranking: Ranking) -> Ranking:
    """Count a new ranking and keep it, unless enough people have ranked, or this reviewer has."""
    comparison_id, by = ranking.comparison_id, ranking.reviewer_id
    if ranking.drawn is not Drawn.REPEAT:
        check_quota(s, comparison=s.get_one(Comparison, comparison_id), reviewer_id=by)
    release(s, comparison_id=comparison_id, reviewer_id=by)
    try:
        with s.begin_nested():
            s.add(ranking)
            s.flush()
    except IntegrityError:
        what = "pair" if len(ranking.placements) == 2 else "comparison"
        raise Refused(f"You have ranked this {what} already. Undo first if you want to change it.") from None
    return ranking


def new_ranking(
    s: Session,
    *,
    by: int,
    comparison_id: int,
    choice: Choice,
    reason: str | None,
    roles: Collection[Role],
    drawn: Drawn,
) -> Ranking:
    """A ranking of a pair, not yet in the session, with the sides as they are drawn for this reviewer.

    Raises `Refused` for a word that is no choice and for more than two responses, and whatever `rankable` does.
    """
    if choice not in set(Choice):
        raise Refused(f"“{str(choice)[:40]}” is no choice. Say left, right, both good or both bad.")
    comparison = rankable(s, by=by, comparison_id=comparison_id, roles=roles, drawn=drawn)
    if len(comparison.responses) != 2:
        raise Refused("This comparison has more than two responses, and only pairs can be ranked here.")
    sides = drawn_order(comparison, reviewer_id=by, swapped=drawn is Drawn.REPEAT)
    ranking = ranking_of(
        s,
        by=by,
        comparison=comparison,
        placed=list(zip(sides, places(choice), strict=True)),
        both_bad=choice is Choice.BOTH_BAD,
        drawn=drawn,
        reason=reason,
    )
    ranking.strength = 1 if choice in (Choice.LEFT, Choice.RIGHT) else None
    return ranking


def rankable(s: Session, *, by: int, comparison_id: int, roles: Collection[Role], drawn: Drawn) -> Comparison:
    """The comparison, if this reviewer may rank it, or decide it where it was not `drawn` for them.

    Raises `NotFound`, `NotAllowed`, and `Refused` for a discarded one, a held-out prompt, one's own responses, and
    where the reviewer has seen what others said.
    """
    comparison = s.get(Comparison, comparison_id)
    if comparison is None:
        raise NotFound("That pair is not in the database any more. Reload the page.")
    require(s, by=by, project_id=comparison.project_id, roles=roles)
    if comparison.discarded_at is not None:
        raise Refused("A manager discarded this pair meanwhile. Here is the next one.")
    if comparison.prompt.held_out:
        raise Refused("This prompt is held out: its responses are only judged blind, never ranked for training.")
    own_allowed = s.get_one(Project, comparison.project_id).authors_rank
    if not own_allowed and any(response.responder.reviewer_id == by for response in comparison.responses):
        raise Refused("You wrote one of these responses, so somebody else has to rank them.")
    if drawn is not Drawn.NONE and s.get(Reveal, (comparison_id, by)) is not None:
        raise Refused("You have seen what others said of this pair, so it is not yours to rank any more.")
    return comparison


def ranking_of(
    s: Session,
    *,
    by: int,
    comparison: Comparison,
    placed: Sequence[tuple[Response, int]],
    both_bad: bool,
    drawn: Drawn,
    reason: str | None = None,
) -> Ranking:
    """A ranking under the guideline in force, not yet in the session: each response with its place, from the left."""
    guideline = guideline_of(s, project_id=comparison.project_id)
    ranking = Ranking(
        comparison_id=comparison.id,
        reviewer_id=by,
        drawn=drawn,
        guideline_id=guideline.id if guideline else None,
        both_bad=both_bad,
        reason=comment(reason),
    )
    ranking.placements = [
        Placement(response_id=response.id, place=place, position=position)
        for position, (response, place) in enumerate(placed)
    ]
    return ranking


def choice_of(ranking: Ranking, *, left_id: int) -> Choice:
    """What a ranking of a pair says, seen with the response `left_id` on the left."""
    if ranking.both_bad:
        return Choice.BOTH_BAD
    places_of = {placement.response_id: placement.place for placement in ranking.placements}
    left = places_of.pop(left_id)
    (right,) = places_of.values()
    return Choice.TIE if left == right else Choice.LEFT if left < right else Choice.RIGHT


def last_ranking(s: Session, *, by: int, project_id: int) -> LastRanking | None:
    """The reviewer's newest standing ranking that was given here."""
    ranking = s.scalars(
        select(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
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
    return LastRanking(
        ranking_id=ranking.id,
        comparison_id=ranking.comparison_id,
        choice=choice_of(ranking, left_id=shown[0].response_id) if len(shown) == 2 else None,
        strength=ranking.strength,
        reason=ranking.reason,
        places=tuple(placement.place for placement in shown),
        both_bad=ranking.both_bad,
    )


def strengthen(s: Session, *, by: int, ranking_id: int) -> None:
    """Say of one's own choice for one side that it is much better."""
    ranking = own_ranking(s, by=by, ranking_id=ranking_id)
    if ranking.strength is None:
        raise Refused("Only a choice for the left or the right can be made stronger.")
    ranking.strength = 2
    s.flush()


def undo(s: Session, *, by: int, ranking_id: int) -> int:
    """Take back one's own ranking; it stays in the database as undone, and its comparison comes up again at once.

    Returns the comparison's id.
    """
    ranking = own_ranking(s, by=by, ranking_id=ranking_id)
    ranking.undone_at = now()
    s.flush()
    drawn = ranking.drawn
    if drawn is Drawn.REPEAT and not s.scalar(select(ranked_by(by)).where(Comparison.id == ranking.comparison_id)):
        drawn = Drawn.RANDOM  # the first look is undone too, so this would be one
    if s.get(Reveal, (ranking.comparison_id, by)) is None:
        lease_again(s, comparison_id=ranking.comparison_id, reviewer_id=by, drawn=drawn)
    return ranking.comparison_id


def give_reason(s: Session, *, by: int, ranking_id: int, reason: str) -> None:
    """Add or change the reason of one's own ranking."""
    own_ranking(s, by=by, ranking_id=ranking_id).reason = comment(reason)
    s.flush()


def own_ranking(s: Session, *, by: int, ranking_id: int) -> Ranking:
    """One's own standing ranking. Raises `NotFound` for anybody else's, and for one that was undone."""
    ranking = s.get(Ranking, ranking_id)
    if ranking is None or ranking.reviewer_id != by or ranking.undone_at is not None or ranking.adjudicates:
        raise NotFound("That ranking is not yours, or it was undone already. Reload the page.")
    require(s, by=by, project_id=ranking.comparison.project_id, roles=RANKERS)
    return ranking


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
