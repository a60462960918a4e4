"""The blind side: a reviewer is given a prompt and two texts, and gives a verdict.

What leaves this file for a page is in `BlindView`, and nothing in it tells who wrote what: the id is the judgment's.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, or_, select, union_all
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.lookup import get_existing
from db.models import (
    ComparisonResponse,
    Correction,
    Evaluation,
    Guess,
    Judgment,
    JudgmentReason,
    Pairing,
    Peek,
    Ranking,
    RepeatJudgment,
    Responder,
    Response,
    Reveal,
    Reviewer,
    now,
)
from db.people import JUDGES, require_role
from errors import NotFound, Refused
from eval import repeats
from eval.protocol import plan_of
from review.reasons import replace_reasons
from stats.verdicts import Verdict
from texts.rules import load_text_filter
from texts.typed import clean_comment

HELD_FOR = timedelta(minutes=10)
"""So long a pairing that a reviewer has on the screen is not offered to another in their place."""


@dataclass(frozen=True)
class BlindView:
    """One pairing as a reviewer may see it."""

    judgment_id: int
    prompt: str
    context: str | None
    left: str
    right: str
    is_repeat: bool = False
    """A second look at a pair that they have judged; never told."""


@dataclass(frozen=True)
class JudgingProgress:
    """How far a reviewer is in an evaluation."""

    done: int
    total: int
    """Those, and what still wants a verdict that may be theirs. Second looks count like any other, untold."""


def _judgeable_pairings(reviewer_id: int) -> Select[int]:
    """Ids of pairings that the reviewer may see: none with identical replies, or with a reply that they know."""
    known = _known_replies(reviewer_id)
    return select(Pairing.id).where(
        Pairing.identical.is_(False),
        Pairing.candidate_response_id.not_in(known),
        Pairing.baseline_response_id.not_in(known),
    )


def _known_replies(reviewer_id: int) -> CompoundSelect[int]:
    """Ids of responses that are the reviewer's own, or that they ranked, undone or not, corrected or saw revealed."""
    offered = select(ComparisonResponse.response_id)
    own = select(Response.id).join(Responder, Responder.id == Response.responder_id)
    return union_all(
        own.where(Responder.reviewer_id == reviewer_id),
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
        or_held: take for a verdict what another reviewer has on the screen.
    """
    if reviewer.simulated:
        return Pairing.id.is_not(None)
    taken: ColumnElement[bool] = Judgment.verdict.is_not(None)
    if or_held:
        taken = or_(taken, Judgment.drawn_at > now() - HELD_FOR)
    other = aliased(Reviewer)
    by_others = Judgment.reviewer_id != reviewer.id, other.simulated.is_(False), taken
    others = select(func.count(Judgment.id)).join(other, other.id == Judgment.reviewer_id).where(*by_others)
    count = others.where(Judgment.pairing_id == Pairing.id).correlate(Pairing).scalar_subquery()
    return or_(Pairing.wanted.is_(None), count < Pairing.wanted)


def open_evaluations(s: Session, *, project_id: int) -> Sequence[Evaluation]:
    """Evaluations that still take verdicts, newest first."""
    still_open = Evaluation.project_id == project_id, Evaluation.closed_at.is_(None)
    return s.scalars(select(Evaluation).where(*still_open).order_by(Evaluation.id.desc())).all()


def unjudged_pairings(s: Session, *, reviewer_id: int) -> Select[int]:
    """Ids of all pairings that want a verdict which may be this reviewer's, of closed evaluations too."""
    judged = select(Judgment.pairing_id).where(Judgment.reviewer_id == reviewer_id, Judgment.verdict.is_not(None))
    reviewer = s.get_one(Reviewer, reviewer_id)
    return _judgeable_pairings(reviewer_id).where(Pairing.id.not_in(judged), _wants_more(reviewer))


def judging_progress(s: Session, *, evaluation_id: int, reviewer_id: int) -> JudgingProgress:
    """How many pairings the reviewer has judged, and how many may still be theirs."""
    judged = repeats.select_judgments(evaluation_id=evaluation_id, reviewer_id=reviewer_id).subquery()
    to_judge = unjudged_pairings(s, reviewer_id=reviewer_id).where(Pairing.evaluation_id == evaluation_id)
    waiting = s.scalars(to_judge).all()
    evaluation = s.get_one(Evaluation, evaluation_id)
    queue = repeats.repeat_queue(s, evaluation=evaluation, reviewer_id=reviewer_id)
    done = (s.scalar(select(func.count()).select_from(judged)) or 0) + queue.done
    if not waiting:
        return JudgingProgress(done, done + (queue.due is not None))
    share = plan_of(evaluation).again
    later = sum(
        repeats.is_repeated(evaluation, reviewer_id=reviewer_id, pairing_id=pairing_id, share=share)
        for pairing_id in waiting
    )
    return JudgingProgress(done, done + len(waiting) + queue.expected + later)


def next_view(s: Session, *, by: int, evaluation_id: int) -> BlindView | None:
    """The next pairing for this reviewer, its sides drawn and stored before it is shown.

    None when all that is theirs is judged, or others have the last ones on the screen. Pairings with the fewest
    verdicts come first, so that several reviewers share the work before they overlap; one with enough is not
    offered.
    """
    # one of this person's tabs at a time: PostgreSQL shows each query what others committed since the one before
    s.execute(select(Reviewer.id).where(Reviewer.id == by).with_for_update(key_share=True))
    # one person at a time draws, so that two never take the last place of a pairing
    evaluation = _load_open(s, by=by, evaluation_id=evaluation_id, lock={"key_share": True})
    reviewer = s.get_one(Reviewer, by)
    mine = select(Judgment.pairing_id).where(Judgment.reviewer_id == by)
    theirs = _judgeable_pairings(by).where(Pairing.evaluation_id == evaluation_id)
    unfinished = s.scalars(
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
    if unfinished is not None:
        if unfinished.drawn_at < now() - HELD_FOR / 2:
            unfinished.drawn_at = now()  # kept for them a while longer
            s.flush()
        return _blind_view(s, unfinished)
    due = repeats.repeat_queue(s, evaluation=evaluation, reviewer_id=by).due
    if due is not None:
        if isinstance(due, Judgment):
            due = RepeatJudgment(judgment=due, judgment_id=due.id, candidate_left=not due.candidate_left)
            s.add(due)
            s.flush()
        return _blind_view(s, due.judgment, repeat=due)
    judged = Judgment.pairing_id == Pairing.id, Judgment.verdict.is_not(None)
    verdicts = select(func.count(Judgment.id)).where(*judged).correlate(Pairing).scalar_subquery()
    free = theirs.where(Pairing.id.not_in(mine), _wants_more(reviewer, or_held=True))
    pairing_id = s.scalar(free.order_by(verdicts, Pairing.id).limit(1))
    if pairing_id is None:
        return None
    pairing = s.get_one(Pairing, pairing_id)
    judgment = Judgment(
        pairing_id=pairing_id,
        reviewer_id=by,
        candidate_left=_draw_side_for(s, evaluation=evaluation, pairing=pairing, reviewer_id=by),
    )
    try:
        with s.begin_nested():
            s.add(judgment)
            s.flush()
    except IntegrityError:  # drawn in another tab since we looked
        return next_view(s, by=by, evaluation_id=evaluation_id)
    return _blind_view(s, judgment)


def _draw_side_for(s: Session, *, evaluation: Evaluation, pairing: Pairing, reviewer_id: int) -> bool:
    baseline = aliased(Response)
    sides = s.scalars(
        select(Judgment.candidate_left)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .join(baseline, baseline.id == Pairing.baseline_response_id)
        .where(
            Pairing.evaluation_id == evaluation.id,
            Judgment.reviewer_id == reviewer_id,
            baseline.responder_id == pairing.baseline_response.responder_id,
        )
    ).all()
    seed = f"{evaluation.seed}:{reviewer_id}:{pairing.id}"
    return draw_side(lefts=sides.count(True), rights=sides.count(False), seed=seed)


def draw_side(*, lefts: int, rights: int, seed: str) -> bool:
    """Whether the candidate stands left: a fair coin, but never more than two apart in the counts so far. Pure.

    The counts are of its sides for one reviewer against one baseline.
    """
    if abs(lefts - rights) >= 2:
        return lefts < rights
    return random.Random(seed).random() < 0.5


def _blind_view(s: Session, judgment: Judgment, *, repeat: RepeatJudgment | None = None) -> BlindView:
    pairing, prompt = judgment.pairing, judgment.pairing.prompt
    filter_text = load_text_filter(s, project_id=prompt.project_id)
    left, right = filter_text(pairing.candidate_response.text), filter_text(pairing.baseline_response.text)
    if not (repeat or judgment).candidate_left:
        left, right = right, left
    return BlindView(judgment.id, prompt.text, prompt.context, left, right, is_repeat=repeat is not None)


def judge(s: Session, *, by: int, judgment_id: int, verdict: Verdict, seconds: float | None = None) -> None:
    """Save the verdict on one's own drawn judgment.

    Raises `Refused` when it was judged already (a held key, a second tab), the pairing has enough verdicts by others,
    it is not theirs to judge any more, or the evaluation is closed.
    """
    judgment = _load_own(s, by=by, judgment_id=judgment_id)
    if judgment.verdict is not None:
        raise Refused("You have judged this pair already. Undo first if you want to change it.")
    # the count below holds until this transaction ends
    this = select(Pairing.id).where(Pairing.id == judgment.pairing_id)
    s.execute(this.with_for_update(key_share=True))
    if s.scalar(this.where(_wants_more(s.get_one(Reviewer, by)))) is None:
        raise Refused("Somebody else judged this pair meanwhile, so it needs no other verdict. Here is the next.")
    if s.scalar(_judgeable_pairings(by).where(Pairing.id == judgment.pairing_id)) is None:
        raise Refused("You have ranked, corrected or looked up one of these replies, so this pair is not yours.")
    judgment.verdict = verdict
    judgment.judged_at = now()
    judgment.seconds = seconds
    s.flush()


def judge_repeat(s: Session, *, by: int, judgment_id: int, verdict: Verdict, seconds: float | None = None) -> None:
    """Save the verdict of a second look. Raises `Refused` where there is one, or the evaluation is closed."""
    repeat = s.get(RepeatJudgment, _load_own(s, by=by, judgment_id=judgment_id).id)
    if repeat is None:
        raise NotFound("That pair was not drawn for you a second time. Reload the page.")
    if repeat.verdict is not None:
        raise Refused("You have judged this pair already. Undo first if you want to change it.")
    repeat.verdict, repeat.judged_at, repeat.seconds = verdict, now(), seconds
    s.flush()


def newest_judgment(s: Session, *, reviewer_id: int, evaluation_id: int) -> Judgment | None:
    """The reviewer's newest judgment with a verdict."""
    judgments = repeats.select_judgments(evaluation_id=evaluation_id, reviewer_id=reviewer_id)
    return s.scalars(judgments.order_by(Judgment.judged_at.desc(), Judgment.id.desc()).limit(1)).first()


def find_explainable(s: Session, *, reviewer_id: int, evaluation_id: int) -> Judgment | None:
    """The reviewer's newest judgment, which they may say why of; none where a second look came after it."""
    last = newest_judgment(s, reviewer_id=reviewer_id, evaluation_id=evaluation_id)
    repeat = repeats.newest_repeat(s, evaluation_id=evaluation_id, reviewer_id=reviewer_id)
    return None if last is not None and repeat is not None and _is_after(repeat, last) else last


def judged_view(s: Session, *, by: int, judgment_id: int) -> BlindView:
    """What the reviewer had on the screen when they gave their verdict. Raises `Refused` where there is none."""
    judgment = _load_drawn(s, by=by, judgment_id=judgment_id)
    require_role(s, by=by, project_id=judgment.pairing.prompt.project_id, roles=JUDGES)
    if judgment.verdict is None:
        raise Refused("What was found out about a pair is told after your verdict on it.")
    return _blind_view(s, judgment)


def find_pair_to_guess(s: Session, *, by: int, evaluation_id: int) -> BlindView | None:
    """The reviewer's newest judged pair, where they are still to be asked which side was the machine."""
    evaluation = s.get(Evaluation, evaluation_id)
    if evaluation is None or evaluation.closed_at is not None or not plan_of(evaluation).ask_machine:
        return None
    last = newest_judgment(s, reviewer_id=by, evaluation_id=evaluation_id)
    return _blind_view(s, last) if last is not None and last.guess is None else None


def save_guess(s: Session, *, by: int, judgment_id: int, guess: Guess) -> None:
    """Save which side the reviewer took for the machine, after their own verdict, and once: it tests blindness."""
    judgment = _load_own_judged(s, by=by, judgment_id=judgment_id)
    if not plan_of(judgment.pairing.evaluation).ask_machine:
        raise Refused("This evaluation does not ask which side was the machine.")
    if judgment.guess is not None:
        raise Refused("You have answered that for this pair already.")
    judgment.guess = guess
    s.flush()


def save_comment(s: Session, *, by: int, judgment_id: int, reason: str | None) -> None:
    """Keep, change or (with nothing) take away the comment on one's own verdict. Raises `Refused` for one too long."""
    judgment = _load_own_judged(s, by=by, judgment_id=judgment_id)
    judgment.comment = clean_comment(reason)
    s.flush()


def list_reason_labels(s: Session, *, judgment_id: int) -> Sequence[str]:
    """The reasons put on a judgment."""
    labels = select(JudgmentReason.label).where(JudgmentReason.judgment_id == judgment_id)
    return s.scalars(labels.order_by(JudgmentReason.label)).all()


def set_reason_labels(
    s: Session, *, by: int, judgment_id: int, praise: Collection[str], faults: Collection[str]
) -> None:
    """Put exactly these reasons on one's own verdict. Raises `Refused` for a word that is none."""
    judgment = _load_own_judged(s, by=by, judgment_id=judgment_id)
    reasons = s.scalars(select(JudgmentReason).where(JudgmentReason.judgment_id == judgment.id)).all()
    replace_reasons(s, reasons, partial(JudgmentReason, judgment_id=judgment.id), praise, faults)


def undo_last(s: Session, *, by: int, evaluation_id: int) -> bool:
    """Take back one's newest verdict in an open evaluation, so that the same pair, same sides, comes again."""
    _load_open(s, by=by, evaluation_id=evaluation_id, lock={"read": True})
    judgment = newest_judgment(s, reviewer_id=by, evaluation_id=evaluation_id)
    if judgment is None:
        return False
    repeat = repeats.newest_repeat(s, evaluation_id=evaluation_id, reviewer_id=by)
    if repeat is not None and _is_after(repeat, judgment):
        repeat.verdict = repeat.judged_at = repeat.seconds = None
    else:
        judgment.verdict = judgment.judged_at = judgment.seconds = judgment.guess = None
        judgment.drawn_at = now()  # theirs for a while, before another reviewer is given it
        for reason in s.scalars(select(JudgmentReason).where(JudgmentReason.judgment_id == judgment.id)):
            s.delete(reason)  # it spoke of the better reply, which may be the other now
    s.flush()
    return True


def _is_after(repeat: RepeatJudgment, judgment: Judgment) -> bool:
    return bool(repeat.judged_at and judgment.judged_at and repeat.judged_at > judgment.judged_at)


def _load_open(s: Session, *, by: int, evaluation_id: int, lock: dict[str, bool]) -> Evaluation:
    """An evaluation that takes this person's verdicts; it is not closed before this transaction ends.

    Args:
        lock: ``{"key_share": True}`` for a reviewer who draws a pairing, so that others who draw wait; else ``read``.
    """
    evaluation = get_existing(s, Evaluation, evaluation_id, "evaluation", with_for_update=lock, populate_existing=True)
    require_role(s, by=by, project_id=evaluation.project_id, roles=JUDGES)
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed, so it takes no more verdicts.")
    if s.get(Peek, (evaluation_id, by)) is not None:
        raise Refused("You have looked at how this evaluation stands, so it is not yours to judge any more.")
    return evaluation


def _load_drawn(s: Session, *, by: int, judgment_id: int, **lock: Any) -> Judgment:
    judgment = s.get(Judgment, judgment_id, **lock)
    if judgment is None or judgment.reviewer_id != by:
        raise NotFound("That pair was not drawn for you. Reload the page.")
    return judgment


def _load_own(s: Session, *, by: int, judgment_id: int) -> Judgment:
    judgment = _load_drawn(s, by=by, judgment_id=judgment_id, with_for_update=True, populate_existing=True)
    _load_open(s, by=by, evaluation_id=judgment.pairing.evaluation_id, lock={"read": True})
    return judgment


def _load_own_judged(s: Session, *, by: int, judgment_id: int) -> Judgment:
    judgment = _load_own(s, by=by, judgment_id=judgment_id)
    if judgment.verdict is None:
        raise Refused("Give your verdict on this pair first.")
    return judgment
