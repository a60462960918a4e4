"""The blind side: a reviewer is given a prompt and two texts, and gives a verdict.

What leaves this file for a page is in `BlindView`, and nothing in it tells who wrote what: the id is the judgment's.
"""

from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.models import Evaluation, Judgment, Pairing, Responder, Response, Reviewer, Role, Verdict, now
from db.people import require
from db.text_rules import as_shown
from errors import NotFound, Refused
from eval.blinding import draw_side

JUDGES = (Role.REVIEWER, Role.MANAGER)


@dataclass(frozen=True)
class BlindView:
    """One pairing as a reviewer may see it."""

    judgment_id: int
    prompt: str
    context: str | None
    left: str
    right: str


@dataclass(frozen=True)
class JudgingProgress:
    """How far a reviewer is in an evaluation."""

    done: int
    total: int


def _may_judge(evaluation_id: int, reviewer_id: int) -> Select[int]:
    """Ids of pairings that the reviewer may see: none that holds a reply of theirs, none with identical replies."""
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
        )
    )


def open_evaluations(s: Session, *, project_id: int) -> list[Evaluation]:
    """Evaluations that still take verdicts, newest first."""
    return list(
        s.scalars(
            select(Evaluation)
            .where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None))
            .order_by(Evaluation.id.desc())
        )
    )


def progress(s: Session, *, evaluation_id: int, reviewer_id: int) -> JudgingProgress:
    """How many pairings the reviewer has judged of those they may judge."""
    allowed = _may_judge(evaluation_id, reviewer_id).subquery()
    total = s.scalar(select(func.count()).select_from(allowed)) or 0
    done = (
        s.scalar(
            select(func.count(Judgment.id)).where(
                Judgment.pairing_id.in_(select(allowed.c.id)),
                Judgment.reviewer_id == reviewer_id,
                Judgment.verdict.is_not(None),
            )
        )
        or 0
    )
    return JudgingProgress(done=done, total=total)


def next_view(s: Session, *, by: int, evaluation_id: int) -> BlindView | None:
    """The next pairing for this reviewer, its sides drawn and stored before it is shown; none when all are judged.

    Pairings with the fewest verdicts come first, so that several reviewers share the work before they overlap.
    """
    evaluation = _open(s, by=by, evaluation_id=evaluation_id)
    # one of this person's tabs at a time: PostgreSQL shows each query what others committed since the one before
    s.execute(select(Reviewer.id).where(Reviewer.id == by).with_for_update(key_share=True))
    begun = s.scalars(
        select(Judgment)
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(
            Pairing.evaluation_id == evaluation_id,
            Judgment.reviewer_id == by,
            Judgment.verdict.is_(None),
        )
        .order_by(Judgment.id)
        .limit(1)
    ).first()
    if begun is not None:
        return _view(s, begun)
    verdicts = (
        select(func.count(Judgment.id))
        .where(Judgment.pairing_id == Pairing.id, Judgment.verdict.is_not(None))
        .correlate(Pairing)
        .scalar_subquery()
    )
    mine = select(Judgment.pairing_id).where(Judgment.reviewer_id == by)
    pairing_id = s.scalar(
        _may_judge(evaluation_id, by).where(Pairing.id.not_in(mine)).order_by(verdicts, Pairing.id).limit(1)
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


def _view(s: Session, judgment: Judgment) -> BlindView:
    pairing = judgment.pairing
    shown = as_shown(s, project_id=pairing.prompt.project_id)
    candidate, baseline = pairing.candidate_response.text, pairing.baseline_response.text
    left, right = (candidate, baseline) if judgment.candidate_left else (baseline, candidate)
    return BlindView(
        judgment_id=judgment.id,
        prompt=pairing.prompt.text,
        context=pairing.prompt.context,
        left=shown(left),
        right=shown(right),
    )


def judge(s: Session, *, by: int, judgment_id: int, verdict: Verdict, seconds: float | None = None) -> None:
    """Save the verdict on one's own drawn judgment.

    Raises `Refused` when it was judged already (a held key, a second tab) or the evaluation is closed.
    """
    judgment = _own(s, by=by, judgment_id=judgment_id)
    if judgment.verdict is not None:
        raise Refused("You have judged this pair already. Undo first if you want to change it.")
    judgment.verdict = verdict
    judgment.judged_at = now()
    judgment.seconds = seconds
    s.flush()


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


def judged_view(s: Session, *, by: int, judgment_id: int) -> BlindView:
    """What the reviewer had on the screen when they gave their verdict. Raises `Refused` where there is none."""
    judgment = s.get(Judgment, judgment_id)
    if judgment is None or judgment.reviewer_id != by:
        raise NotFound("That pair was not drawn for you. Reload the page.")
    require(s, by=by, project_id=judgment.pairing.prompt.project_id, roles=JUDGES)
    if judgment.verdict is None:
        raise Refused("What was found out about a pair is told after your verdict on it.")
    return _view(s, judgment)


def undo_last(s: Session, *, by: int, evaluation_id: int) -> bool:
    """Take back one's newest verdict in an open evaluation, so that the same pair, same sides, comes again."""
    _open(s, by=by, evaluation_id=evaluation_id, lock=True)
    judgment = last_verdict(s, reviewer_id=by, evaluation_id=evaluation_id)
    if judgment is None:
        return False
    judgment.verdict = None
    judgment.judged_at = None
    judgment.seconds = None
    s.flush()
    return True


def _open(s: Session, *, by: int, evaluation_id: int, lock: bool = False) -> Evaluation:
    """An evaluation that takes verdicts; locked, nobody closes it before this transaction ends."""
    evaluation = s.get(
        Evaluation, evaluation_id, with_for_update={"read": True} if lock else None, populate_existing=lock
    )
    if evaluation is None:
        raise NotFound("That evaluation is not in the database any more. Reload the page.")
    require(s, by=by, project_id=evaluation.project_id, roles=JUDGES)
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed, so it takes no more verdicts.")
    return evaluation


def _own(s: Session, *, by: int, judgment_id: int) -> Judgment:
    judgment = s.get(Judgment, judgment_id, with_for_update=True, populate_existing=True)
    if judgment is None or judgment.reviewer_id != by:
        raise NotFound("That pair was not drawn for you. Reload the page.")
    _open(s, by=by, evaluation_id=judgment.pairing.evaluation_id, lock=True)
    return judgment
