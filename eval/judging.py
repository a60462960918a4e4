"""The blind side: a reviewer is given a prompt and two texts, and gives a verdict.

What leaves this file for a page is in `BlindView`, and nothing in it tells who wrote what: the id is the judgment's.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, or_, select, union_all
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.models import (
    ComparisonResponse,
    Correction,
    Evaluation,
    Guess,
    Judgment,
    Pairing,
    Peek,
    Ranking,
    Responder,
    Response,
    Reveal,
    Reviewer,
    SecondLook,
    Tag,
    now,
)
from db.people import JUDGES, require
from errors import NotFound, Refused
from eval import second_looks
from eval.protocol import read_protocol
from review.reasons import put_labels
from stats.verdicts import Verdict
from texts.rules import as_shown
from texts.typed import comment

HELD_FOR = timedelta(minutes=10)
"""So long a pairing that somebody has on the screen is offered to nobody else in their place."""


@dataclass(frozen=True)
class BlindView:
    """One pairing as a reviewer may see it."""

    judgment_id: int
    prompt: str
    context: str | None
    left: str
    right: str
    again: bool = False
    """A second look at a pair that they have judged; never told."""


@dataclass(frozen=True)
class JudgingProgress:
    """How far a reviewer is in an evaluation."""

    done: int
    total: int
    """Those, and what still wants a verdict that may be theirs. Second looks count like any other, untold."""


def _may_judge(evaluation_id: int, reviewer_id: int) -> Select[int]:
    """Ids of pairings that the reviewer may see: none with identical replies, none that holds a reply of theirs, or one
    that they ranked, corrected or saw the author of.
    """
    candidate, baseline = aliased(Response), aliased(Response)
    first, second = aliased(Responder), aliased(Responder)
    return (
        select(Pairing.id)
        .join(candidate, candidate.id == Pairing.candidate_response_id)
        .join(baseline, baseline.id == Pairing.baseline_response_id)
        .join(first, first.id == candidate.responder_id)
        .join(second, second.id == baseline.responder_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Pairing.identical.is_(False),
            func.coalesce(first.reviewer_id, 0) != reviewer_id,
            func.coalesce(second.reviewer_id, 0) != reviewer_id,
            Pairing.candidate_response_id.not_in(_dealt_with(reviewer_id)),
            Pairing.baseline_response_id.not_in(_dealt_with(reviewer_id)),
        )
    )


def _dealt_with(reviewer_id: int) -> CompoundSelect[int]:
    """Ids of responses that the reviewer ranked, undone or not, corrected, or saw revealed; found once for a query."""
    offered = select(ComparisonResponse.response_id)
    return union_all(
        offered.join(Ranking, Ranking.comparison_id == ComparisonResponse.comparison_id).where(
            Ranking.reviewer_id == reviewer_id
        ),
        offered.join(Reveal, Reveal.comparison_id == ComparisonResponse.comparison_id).where(
            Reveal.reviewer_id == reviewer_id
        ),
        select(Correction.response_id).where(Correction.reviewer_id == reviewer_id),
    )


def _wants_more(reviewer: Reviewer, *, or_held: bool = False) -> ColumnElement[bool]:
    """Whether a Pairing wants a verdict beside other people's; simulated reviewers fill no quota and meet none.

    Args:
        or_held: take for a verdict what somebody else has on the screen.
    """
    if reviewer.simulated:
        return Pairing.id.is_not(None)
    taken: ColumnElement[bool] = Judgment.verdict.is_not(None)
    if or_held:
        taken = or_(taken, Judgment.drawn_at > now() - HELD_FOR)
    other = aliased(Reviewer)
    others = (
        select(func.count(Judgment.id))
        .join(other, other.id == Judgment.reviewer_id)
        .where(
            Judgment.pairing_id == Pairing.id, Judgment.reviewer_id != reviewer.id, other.simulated.is_(False), taken
        )
        .correlate(Pairing)
        .scalar_subquery()
    )
    return or_(Pairing.wanted.is_(None), others < Pairing.wanted)


def open_evaluations(s: Session, *, project_id: int) -> list[Evaluation]:
    """Evaluations that still take verdicts, newest first."""
    return list(
        s.scalars(
            select(Evaluation)
            .where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None))
            .order_by(Evaluation.id.desc())
        )
    )


def still_to_judge(s: Session, *, evaluation_id: int, reviewer_id: int) -> Select[int]:
    """Ids of the pairings that want a verdict which may be this reviewer's."""
    given = select(Judgment.pairing_id).where(Judgment.reviewer_id == reviewer_id, Judgment.verdict.is_not(None))
    reviewer = s.get_one(Reviewer, reviewer_id)
    return _may_judge(evaluation_id, reviewer_id).where(Pairing.id.not_in(given), _wants_more(reviewer))


def progress(s: Session, *, evaluation_id: int, reviewer_id: int) -> JudgingProgress:
    """How many pairings the reviewer has judged, and how many may still be theirs."""
    done = s.scalar(
        select(func.count(Judgment.id))
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Judgment.reviewer_id == reviewer_id,
            Judgment.verdict.is_not(None),
        )
    )
    waiting = s.scalars(still_to_judge(s, evaluation_id=evaluation_id, reviewer_id=reviewer_id)).all()
    evaluation = s.get_one(Evaluation, evaluation_id)
    share = second_looks.share_of(evaluation)
    looks = second_looks.pending(s, evaluation=evaluation, reviewer_id=reviewer_id)
    given = (done or 0) + looks.done
    if not waiting:
        return JudgingProgress(done=given, total=given + (looks.due is not None))
    later = sum(
        second_looks.comes_again(evaluation, reviewer_id=reviewer_id, pairing_id=one, share=share) for one in waiting
    )
    return JudgingProgress(done=given, total=given + len(waiting) + looks.expected + later)


def next_view(s: Session, *, by: int, evaluation_id: int) -> BlindView | None:
    """The next pairing for this reviewer, its sides drawn and stored before it is shown.

    None when all that is theirs is judged, or others have the last ones on the screen. Pairings with the fewest
    verdicts come first, so that several reviewers share the work before they overlap; one with enough is offered to
    nobody.
    """
    # one of this person's tabs at a time: PostgreSQL shows each query what others committed since the one before
    s.execute(select(Reviewer.id).where(Reviewer.id == by).with_for_update(key_share=True))
    # one person at a time draws, so that two never take the last place of a pairing
    evaluation = _open(s, by=by, evaluation_id=evaluation_id, draw=True)
    reviewer = s.get_one(Reviewer, by)
    mine = select(Judgment.pairing_id).where(Judgment.reviewer_id == by)
    theirs = _may_judge(evaluation_id, by)
    begun = s.scalars(
        select(Judgment)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Judgment.reviewer_id == by,
            Judgment.verdict.is_(None),
            Pairing.id.in_(theirs),
            _wants_more(reviewer, or_held=True),
        )
        .order_by(Judgment.id)
        .limit(1)
    ).first()
    if begun is not None:
        if begun.drawn_at < now() - HELD_FOR / 2:
            begun.drawn_at = now()  # kept for them a while longer
            s.flush()
        return _view(s, begun)
    due = second_looks.pending(s, evaluation=evaluation, reviewer_id=by).due
    if due is not None:
        look = second_looks.draw_again(s, due)
        return _view(s, s.get_one(Judgment, look.judgment_id), look=look)
    verdicts = (
        select(func.count(Judgment.id))
        .where(Judgment.pairing_id == Pairing.id, Judgment.verdict.is_not(None))
        .correlate(Pairing)
        .scalar_subquery()
    )
    pairing_id = s.scalar(
        theirs.where(Pairing.id.not_in(mine), _wants_more(reviewer, or_held=True))
        .order_by(verdicts, Pairing.id)
        .limit(1)
    )
    if pairing_id is None:
        return None
    pairing = s.get_one(Pairing, pairing_id)
    judgment = Judgment(
        pairing_id=pairing_id,
        reviewer_id=by,
        candidate_left=_draw(s, evaluation=evaluation, pairing=pairing, reviewer_id=by),
    )
    try:
        with s.begin_nested():
            s.add(judgment)
            s.flush()
    except IntegrityError:  # drawn in another tab since we looked
        return next_view(s, by=by, evaluation_id=evaluation_id)
    return _view(s, judgment)


def _draw(s: Session, *, evaluation: Evaluation, pairing: Pairing, reviewer_id: int) -> bool:
    baseline = aliased(Response)
    rows = s.execute(
        select(Judgment.candidate_left, func.count())
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(baseline, baseline.id == Pairing.baseline_response_id)
        .where(
            Pairing.evaluation_id == evaluation.id,
            Judgment.reviewer_id == reviewer_id,
            baseline.responder_id == pairing.baseline_response.responder_id,
        )
        .group_by(Judgment.candidate_left)
    )
    counts = {left: count for left, count in rows}  # noqa: C416
    return draw_side(
        lefts=counts.get(True, 0),
        rights=counts.get(False, 0),
        seed=f"{evaluation.seed}:{reviewer_id}:{pairing.id}",
    )


def draw_side(*, lefts: int, rights: int, seed: str) -> bool:
    """Whether the candidate stands left: a fair coin, but never more than two apart in the counts so far. Pure.

    Args:
        lefts: how often the candidate stood left for this reviewer against this baseline.
        rights: how often it stood right.
        seed: text that fixes the coin (evaluation's seed, reviewer, pairing).
    """
    if abs(lefts - rights) >= 2:
        return lefts < rights
    return random.Random(seed).random() < 0.5


def _view(s: Session, judgment: Judgment, *, look: SecondLook | None = None) -> BlindView:
    pairing = judgment.pairing
    shown = as_shown(s, project_id=pairing.prompt.project_id)
    candidate, baseline = pairing.candidate_response.text, pairing.baseline_response.text
    candidate_left = judgment.candidate_left if look is None else look.candidate_left
    left, right = (candidate, baseline) if candidate_left else (baseline, candidate)
    return BlindView(
        judgment_id=judgment.id,
        prompt=pairing.prompt.text,
        context=pairing.prompt.context,
        left=shown(left),
        right=shown(right),
        again=look is not None,
    )


def judge(s: Session, *, by: int, judgment_id: int, verdict: Verdict, seconds: float | None = None) -> None:
    """Save the verdict on one's own drawn judgment.

    Raises `Refused` when it was judged already (a held key, a second tab), the pairing has enough verdicts by others,
    it is not theirs to judge any more, or the evaluation is closed.
    """
    judgment = _own(s, by=by, judgment_id=judgment_id)
    if judgment.verdict is not None:
        raise Refused("You have judged this pair already. Undo first if you want to change it.")
    # the count below holds until this transaction ends
    this = select(Pairing.id).where(Pairing.id == judgment.pairing_id)
    s.execute(this.with_for_update(key_share=True))
    if s.scalar(this.where(_wants_more(s.get_one(Reviewer, by)))) is None:
        raise Refused("Somebody else judged this pair meanwhile, so it needs no other verdict. Here is the next.")
    if s.scalar(_may_judge(judgment.pairing.evaluation_id, by).where(Pairing.id == judgment.pairing_id)) is None:
        raise Refused("You have ranked, corrected or looked up one of these replies, so this pair is not yours.")
    judgment.verdict = verdict
    judgment.judged_at = now()
    judgment.seconds = seconds
    s.flush()


def judge_again(s: Session, *, by: int, judgment_id: int, verdict: Verdict, seconds: float | None = None) -> None:
    """Save the verdict of a second look. Raises `Refused` where there is one, or the evaluation is closed."""
    judgment = _own(s, by=by, judgment_id=judgment_id)
    look = s.get(SecondLook, judgment.id)
    if look is None:
        raise NotFound("That pair was not drawn for you a second time. Reload the page.")
    second_looks.say_again(s, look=look, verdict=verdict, seconds=seconds)


def last_verdict(s: Session, *, reviewer_id: int, evaluation_id: int) -> Judgment | None:
    """The reviewer's newest judgment with a verdict."""
    return s.scalars(
        select(Judgment)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Judgment.reviewer_id == reviewer_id,
            Judgment.verdict.is_not(None),
        )
        .order_by(Judgment.judged_at.desc(), Judgment.id.desc())
        .limit(1)
    ).first()


def explainable(s: Session, *, reviewer_id: int, evaluation_id: int) -> Judgment | None:
    """The reviewer's newest judgment, which they may say why of; none where a second look came after it."""
    last = last_verdict(s, reviewer_id=reviewer_id, evaluation_id=evaluation_id)
    look = second_looks.newest_again(s, evaluation_id=evaluation_id, reviewer_id=reviewer_id)
    return None if last is not None and look is not None and _after(look, last) else last


def judged_view(s: Session, *, by: int, judgment_id: int) -> BlindView:
    """What the reviewer had on the screen when they gave their verdict. Raises `Refused` where there is none."""
    judgment = s.get(Judgment, judgment_id)
    if judgment is None or judgment.reviewer_id != by:
        raise NotFound("That pair was not drawn for you. Reload the page.")
    require(s, by=by, project_id=judgment.pairing.prompt.project_id, roles=JUDGES)
    if judgment.verdict is None:
        raise Refused("What was found out about a pair is told after your verdict on it.")
    return _view(s, judgment)


def pending_guess(s: Session, *, by: int, evaluation_id: int) -> BlindView | None:
    """The reviewer's newest judged pair, where they are still to be asked which side was the machine."""
    evaluation = s.get(Evaluation, evaluation_id)
    if evaluation is None or evaluation.closed_at is not None or not _asks(evaluation):
        return None
    last = last_verdict(s, reviewer_id=by, evaluation_id=evaluation_id)
    return _view(s, last) if last is not None and last.guess is None else None


def say_which(s: Session, *, by: int, judgment_id: int, guess: Guess) -> None:
    """Save which side the reviewer took for the machine, after their own verdict, and once: it tests blindness."""
    judgment = _own_judged(s, by=by, judgment_id=judgment_id)
    if not _asks(judgment.pairing.evaluation):
        raise Refused("This evaluation does not ask which side was the machine.")
    if judgment.guess is not None:
        raise Refused("You have answered that for this pair already.")
    judgment.guess = guess
    s.flush()


def explain(s: Session, *, by: int, judgment_id: int, reason: str | None) -> None:
    """Keep, change or (with nothing) take away the comment on one's own verdict. Raises `Refused` for one too long."""
    judgment = _own_judged(s, by=by, judgment_id=judgment_id)
    judgment.comment = comment(reason)
    s.flush()


def tags_of(s: Session, *, judgment_id: int) -> list[str]:
    """The tags put on a judgment."""
    return list(s.scalars(select(Tag.label).where(Tag.judgment_id == judgment_id).order_by(Tag.label)))


def set_tags(s: Session, *, by: int, judgment_id: int, praise: Collection[str], faults: Collection[str]) -> None:
    """Put exactly these tags on one's own verdict. Raises `Refused` for a word that is none."""
    judgment = _own_judged(s, by=by, judgment_id=judgment_id)
    there = s.scalars(select(Tag).where(Tag.judgment_id == judgment.id)).all()
    put_labels(s, there, partial(Tag, judgment_id=judgment.id), praise, faults)


def undo_last(s: Session, *, by: int, evaluation_id: int) -> bool:
    """Take back one's newest verdict in an open evaluation, so that the same pair, same sides, comes again."""
    _open(s, by=by, evaluation_id=evaluation_id, lock=True)
    judgment = last_verdict(s, reviewer_id=by, evaluation_id=evaluation_id)
    if judgment is None:
        return False
    look = second_looks.newest_again(s, evaluation_id=evaluation_id, reviewer_id=by)
    if look is not None and _after(look, judgment):
        look.verdict = look.judged_at = look.seconds = None
        s.flush()
        return True
    judgment.verdict = None
    judgment.judged_at = None
    judgment.seconds = None
    judgment.guess = None
    judgment.drawn_at = now()  # theirs for a while, before somebody else is given it
    for tag in s.scalars(select(Tag).where(Tag.judgment_id == judgment.id)):
        s.delete(tag)  # they spoke of the better one, which may be the other now
    s.flush()
    return True


def _after(look: SecondLook, judgment: Judgment) -> bool:
    return bool(look.judged_at and judgment.judged_at and look.judged_at > judgment.judged_at)


def _asks(evaluation: Evaluation) -> bool:
    return evaluation.protocol is not None and read_protocol(evaluation.protocol).plan.ask_machine


def _open(s: Session, *, by: int, evaluation_id: int, lock: bool = False, draw: bool = False) -> Evaluation:
    """An evaluation that takes this person's verdicts; locked, nobody closes it before this transaction ends.

    Args:
        draw: locked for whoever draws a pairing, so that others who draw wait too.
    """
    how = {"key_share": True} if draw else {"read": True} if lock else None
    evaluation = s.get(Evaluation, evaluation_id, with_for_update=how, populate_existing=how is not None)
    if evaluation is None:
        raise NotFound("That evaluation is not in the database any more. Reload the page.")
    require(s, by=by, project_id=evaluation.project_id, roles=JUDGES)
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed, so it takes no more verdicts.")
    if s.get(Peek, (evaluation_id, by)) is not None:
        raise Refused("You have looked at how this evaluation stands, so it is not yours to judge any more.")
    return evaluation


def _own(s: Session, *, by: int, judgment_id: int) -> Judgment:
    judgment = s.get(Judgment, judgment_id, with_for_update=True, populate_existing=True)
    if judgment is None or judgment.reviewer_id != by:
        raise NotFound("That pair was not drawn for you. Reload the page.")
    _open(s, by=by, evaluation_id=judgment.pairing.evaluation_id, lock=True)
    return judgment


def _own_judged(s: Session, *, by: int, judgment_id: int) -> Judgment:
    judgment = _own(s, by=by, judgment_id=judgment_id)
    if judgment.verdict is None:
        raise Refused("Give your verdict on this pair first.")
    return judgment
