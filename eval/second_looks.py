"""The same pair to the same reviewer once more, unannounced and with its sides swapped: how consistent they are.

Which pairs come again is drawn by the evaluation's seed, so nobody chooses; a pair comes again after `APART` others at
the earliest, when few remember it. The second verdict counts for nothing else: not for the win rate, no quota, no
agreement between people.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from db.models import Evaluation, Judgment, Pairing, Reviewer, SecondLook, now
from errors import Refused
from eval.protocol import read_protocol
from stats.estimates import CannotEstimate, Estimated, Interval
from stats.intervals import proportion
from stats.verdicts import Verdict

APART = 10
"""Verdicts of the same reviewer between the two looks at a pair, at least."""


@dataclass(frozen=True)
class Pending:
    """What is still to come to one reviewer."""

    due: SecondLook | Judgment | None
    """A second look that was drawn and not judged, or the Judgment that comes again now; none where nothing does."""
    done: int
    """Second verdicts given."""
    expected: int
    """Second looks at pairs judged so far that are still to come, if others are judged meanwhile."""


def comes_again(evaluation: Evaluation, *, reviewer_id: int, pairing_id: int, share: float) -> bool:
    """Whether this pair is one that this reviewer is given twice. Pure."""
    return random.Random(f"again:{evaluation.seed}:{reviewer_id}:{pairing_id}").random() < share


def pending(s: Session, *, evaluation: Evaluation, reviewer_id: int) -> Pending:
    """Which pair comes again now, if any, and how many did or will."""
    share = share_of(evaluation)
    if not share:
        return Pending(None, 0, 0)
    rows = s.execute(
        select(Judgment, SecondLook)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .outerjoin(SecondLook, SecondLook.judgment_id == Judgment.id)
        .where(
            Pairing.evaluation_id == evaluation.id,
            Judgment.reviewer_id == reviewer_id,
            Judgment.verdict.is_not(None),
        )
        .order_by(Judgment.judged_at, Judgment.id)
    ).all()
    done = sum(look is not None and look.verdict is not None for _, look in rows)
    waiting = [
        (place, look or judgment)
        for place, (judgment, look) in enumerate(rows)
        if (look is not None and look.verdict is None)
        or (
            look is None
            and comes_again(evaluation, reviewer_id=reviewer_id, pairing_id=judgment.pairing_id, share=share)
        )
    ]
    # one that was drawn is no exception: the verdicts between may have been taken back since
    due = next((what for place, what in waiting if len(rows) - 1 - place >= APART), None)
    return Pending(due, done, len(waiting))


def share_of(evaluation: Evaluation) -> float:
    """The share of a reviewer's pairs that come again."""
    return 0.0 if evaluation.protocol is None else read_protocol(evaluation.protocol).plan.again


def draw_again(s: Session, due: SecondLook | Judgment) -> SecondLook:
    """The look, stored before it is shown; its sides are those of the first, swapped."""
    if isinstance(due, SecondLook):
        return due
    look = SecondLook(judgment_id=due.id, candidate_left=not due.candidate_left)
    s.add(look)
    s.flush()
    return look


def say_again(s: Session, *, look: SecondLook, verdict: Verdict, seconds: float | None) -> None:
    """Save the second verdict. Raises `Refused` where there is one."""
    if look.verdict is not None:
        raise Refused("You have judged this pair already. Undo first if you want to change it.")
    look.verdict, look.judged_at, look.seconds = verdict, now(), seconds
    s.flush()


def newest_again(s: Session, *, evaluation_id: int, reviewer_id: int) -> SecondLook | None:
    """The reviewer's newest second look with a verdict."""
    return s.scalars(
        select(SecondLook)
        .join(Judgment, Judgment.id == SecondLook.judgment_id)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Judgment.reviewer_id == reviewer_id,
            SecondLook.verdict.is_not(None),
        )
        .order_by(SecondLook.judged_at.desc(), SecondLook.judgment_id.desc())
        .limit(1)
    ).first()


@dataclass(frozen=True)
class Twice:
    """One pair that a reviewer judged twice, seen from the candidate."""

    reviewer: str
    prompt_id: int
    same: bool
    followed_side: bool
    """They chose the same side both times, so the other reply."""


@dataclass(frozen=True)
class Consistency:
    """How often a second look says what the first did."""

    reviewer: str
    """Empty for everybody together."""
    same: int
    n: int
    followed_side: int
    interval: Estimated[Interval]
    """95 % of the share, clustered by prompt."""

    @property
    def sentence(self) -> str:
        """For a person."""
        if isinstance(self.interval, CannotEstimate):
            return f"Given pairs a second time: {self.interval.reason}"
        side = "; never the same side for the other reply"
        if self.followed_side:
            side = f"; in {self.followed_side} they chose the same side again, so the other reply"
        return (
            f"Given {self.n} pairs a second time with the sides swapped, reviewers said the same of {self.same} "
            f"({self.same / self.n:.0%}, {self.interval.percent}){side}."
        )


def consistency(looks: Sequence[Twice], *, reviewer: str = "") -> Consistency:
    """Of the looks of one reviewer, or of all. Pure."""
    if not looks:
        return Consistency(reviewer, 0, 0, 0, CannotEstimate("no pair came a second time."))
    same = proportion((look.prompt_id, look.same) for look in looks)
    followed = sum(look.followed_side for look in looks)
    return Consistency(reviewer, same.count, same.n, followed, Interval(same.low, same.high))


def looks_of(s: Session, *, evaluation_id: int, simulated: bool) -> tuple[Twice, ...]:
    """What one kind of reviewer said twice in a closed Evaluation. Raises `Refused` while it is open."""
    if s.get_one(Evaluation, evaluation_id).closed_at is None:
        raise Refused("How consistent reviewers are is told once the evaluation is closed.")
    rows = s.scalars(
        select(SecondLook)
        .join(Judgment, Judgment.id == SecondLook.judgment_id)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            SecondLook.verdict.is_not(None),
            Judgment.verdict.is_not(None),
            Reviewer.simulated.is_(simulated),
        )
        .options(joinedload(SecondLook.judgment).joinedload(Judgment.pairing))
        .order_by(SecondLook.judgment_id)
    )
    found = []
    for look in rows:
        first = look.judgment
        assert first.verdict is not None
        assert look.verdict is not None
        found.append(
            Twice(
                " ".join(first.reviewer.label.split()),
                first.pairing.prompt_id,
                same=first.verdict.outcome(candidate_left=first.candidate_left)
                is look.verdict.outcome(candidate_left=look.candidate_left),
                followed_side=first.verdict is look.verdict and look.verdict.decided,
            )
        )
    return tuple(found)
