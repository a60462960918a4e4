"""The same pair to the same reviewer once more, unannounced and with its sides swapped: how consistent they are.

Which pairs come again is drawn by the evaluation's seed, so no one chooses. One comes again after `LEAST_APART` others
at the earliest, when few remember it. The second verdict counts for nothing else: not for the win rate, no quota, no
agreement between people.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from db.models import Evaluation, Judgment, Pairing, RepeatJudgment, Reviewer
from eval.protocol import plan_of
from stats.estimates import Interval
from stats.intervals import Proportion, proportion

LEAST_APART = 10
"""Verdicts of the same reviewer between the two looks at a pair, at least."""


@dataclass(frozen=True)
class RepeatQueue:
    """What is still to come to one reviewer."""

    due: RepeatJudgment | Judgment | None
    """A second look that was drawn and not judged, or the Judgment that comes again now; none where nothing does."""
    done: int
    expected: int
    """Second looks at pairs judged so far that are still to come, if others are judged meanwhile."""


def is_repeated(evaluation: Evaluation, *, reviewer_id: int, pairing_id: int, share: float) -> bool:
    """Whether this pair is one that this reviewer is given twice. Pure."""
    return random.Random(f"again:{evaluation.seed}:{reviewer_id}:{pairing_id}").random() < share


def select_judgments(*, evaluation_id: int, reviewer_id: int) -> Select[Judgment]:
    """The reviewer's judgments that have a verdict."""
    return (
        select(Judgment)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Judgment.reviewer_id == reviewer_id,
            Judgment.verdict.is_not(None),
        )
    )


def repeat_queue(s: Session, *, evaluation: Evaluation, reviewer_id: int) -> RepeatQueue:
    """Which pair comes again now, if any, and how many did or will."""
    share = plan_of(evaluation).again
    if not share:
        return RepeatQueue(None, 0, 0)
    judgments = select_judgments(evaluation_id=evaluation.id, reviewer_id=reviewer_id)
    rows = s.execute(
        judgments.add_columns(RepeatJudgment)
        .outerjoin(RepeatJudgment, RepeatJudgment.judgment_id == Judgment.id)
        .order_by(Judgment.judged_at, Judgment.id)
    ).all()
    waiting: list[tuple[int, RepeatJudgment | Judgment]] = []
    for place, (judgment, repeat) in enumerate(rows):
        if repeat is not None:
            waiting += [(place, repeat)] if repeat.verdict is None else []
        elif is_repeated(evaluation, reviewer_id=reviewer_id, pairing_id=judgment.pairing_id, share=share):
            waiting.append((place, judgment))
    # one that was drawn is no exception: the verdicts between may have been taken back since
    due = next((judgment for place, judgment in waiting if len(rows) - 1 - place >= LEAST_APART), None)
    done = sum(repeat is not None and repeat.verdict is not None for _, repeat in rows)
    return RepeatQueue(due, done, len(waiting))


def newest_repeat(s: Session, *, evaluation_id: int, reviewer_id: int) -> RepeatJudgment | None:
    """The reviewer's newest second look with a verdict."""
    judgments = select_judgments(evaluation_id=evaluation_id, reviewer_id=reviewer_id).with_only_columns(Judgment.id)
    return s.scalars(
        select(RepeatJudgment)
        .where(RepeatJudgment.judgment_id.in_(judgments), RepeatJudgment.verdict.is_not(None))
        .order_by(RepeatJudgment.judged_at.desc(), RepeatJudgment.judgment_id.desc())
        .limit(1)
    ).first()


@dataclass(frozen=True)
class RepeatedVerdict:
    """One pair that a reviewer judged twice, seen from the candidate."""

    reviewer: str
    prompt_id: int
    same: bool
    followed_side: bool
    """They chose the same side both times, so the other reply."""


@dataclass(frozen=True)
class Consistency:
    """How often a second look says what the first did."""

    same: Proportion
    followed_side: int

    @property
    def sentence(self) -> str:
        """For a person."""
        same = self.same
        if not same.n:
            return "Given pairs a second time: no pair came a second time."
        side = "; never the same side for the other reply"
        if self.followed_side:
            side = f"; in {self.followed_side} they chose the same side again, so the other reply"
        return (
            f"Given {same.n} pairs a second time with the sides swapped, reviewers said the same of {same.count} "
            f"({same.rate:.0%}, {Interval(same.low, same.high).percent}){side}."
        )


def consistency(repeats: Sequence[RepeatedVerdict]) -> Consistency:
    """How consistent the second looks are, of one reviewer or of all. Pure."""
    same = proportion((repeat.prompt_id, repeat.same) for repeat in repeats)
    return Consistency(same, sum(repeat.followed_side for repeat in repeats))


def load_repeats(s: Session, *, evaluation_id: int, simulated: bool) -> tuple[RepeatedVerdict, ...]:
    """What one kind of reviewer said twice in an Evaluation."""
    rows = s.scalars(
        select(RepeatJudgment)
        .join(Judgment, Judgment.id == RepeatJudgment.judgment_id)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Pairing.evaluation_id == evaluation_id, Reviewer.simulated.is_(simulated))
        .options(joinedload(RepeatJudgment.judgment).joinedload(Judgment.pairing))
        .order_by(RepeatJudgment.judgment_id)
    )
    return tuple(
        RepeatedVerdict(
            " ".join(first.reviewer.label.split()),
            first.pairing.prompt_id,
            same=first.verdict.outcome(candidate_left=first.candidate_left)
            is repeat.verdict.outcome(candidate_left=repeat.candidate_left),
            followed_side=first.verdict is repeat.verdict and repeat.verdict.decided,
        )
        for repeat in rows
        if (first := repeat.judgment).verdict is not None and repeat.verdict is not None
    )
