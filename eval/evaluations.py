"""Setting up an Evaluation, whose protocol is fixed before the first judgment, and closing it."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from db.models import Evaluation, Judgment, Pairing, Peek, Project, Prompt, Responder, Response, Reviewer, Role, now
from db.people import require
from errors import AlreadyThere, NotFound, Refused
from eval.contestants import LookedOver, Telling, look_over
from eval.forecast import ALPHA, Forecast, forecast
from eval.live import stands
from eval.protocol import (
    Fixed,
    LeftOutPair,
    Participant,
    Plan,
    Protocol,
    Stopping,
    Undecided,
    canonical,
    check_plan,
    draw_overlap,
    hash_of,
    read_protocol,
)
from texts.typed import comment


def create_evaluation(
    s: Session,
    *,
    by: int,
    project_id: int,
    name: str,
    candidate_id: int,
    baseline_ids: Sequence[int],
    seed: int,
    plan: Plan | None = None,
    leave_out: Collection[int] = (),
    keep: Collection[int] = (),
    undecided: Undecided = Undecided.ASK,
) -> Evaluation:
    """Fix the protocol: candidate, baselines, pairings over the held-out prompts, and the plan.

    Nothing changes it later. Prompts that a rule routes to people are left out.

    Args:
        seed: draws the order of pairings, the sides, whose reply stands for the people, and the overlap.
        plan: the least there is, one verdict for each pairing, unless told.
        leave_out: ids of responses that tell who wrote them, whose pairings nobody judges.
        keep: ids of such responses that take part on purpose.
        undecided: what becomes of such responses that are in neither list.

    Raises `Refused` when a Responder has not answered every prompt, baselines are missing, or a reply that tells who
    wrote it is undecided; `BadSetting` for a plan that cannot be.
    """
    plan = plan or Plan()
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split())
    if not clean:
        raise Refused("An evaluation needs a name. Type one.")
    # whoever ends or adds a text rule meanwhile waits, and then finds the evaluation open
    s.get(Project, project_id, with_for_update={"read": True})
    looked = look_over(
        s,
        by=by,
        project_id=project_id,
        candidate_id=candidate_id,
        baseline_ids=baseline_ids,
        seed=seed,
        one_person_a_prompt=plan.one_person_a_prompt,
    )
    plan = replace(plan, primary=plan.primary or looked.contrasts[:1])
    waiting = {one.response_id for one in looked.telling} - {*leave_out, *keep}
    if undecided is Undecided.ASK:
        _refuse_undecided([one for one in looked.telling if one.response_id in waiting])
    _check(looked, plan)
    left_out = frozenset(leave_out) | (frozenset(waiting) if undecided is Undecided.LEAVE_OUT else frozenset())
    protocol = _fix(s, project_id=project_id, looked=looked, plan=plan, seed=seed, leave_out=left_out)
    text = canonical(protocol)
    evaluation = Evaluation(
        project_id=project_id,
        name=clean,
        candidate_id=candidate_id,
        seed=seed,
        protocol=text,
        protocol_sha256=hash_of(text),
        created_by_id=by,
        pairings=[
            Pairing(
                prompt_id=one.prompt_id,
                candidate_response_id=one.candidate_response_id,
                baseline_response_id=one.baseline_response_id,
                identical=one.identical,
                wanted=one.wanted,
            )
            for one in protocol.pairings
        ],
    )
    s.add(evaluation)
    try:
        with s.begin_nested():
            s.flush()
    except IntegrityError:
        raise AlreadyThere(f"There is an evaluation “{clean}” already. Choose another name.") from None
    return evaluation


def _check(looked: LookedOver, plan: Plan) -> None:
    check_plan(plan, known=looked.contrasts)
    if plan.ask_machine and not any(one.kind == "HUMAN" for one in looked.baselines):
        raise Refused("No baseline is a person, so there is no machine to guess. Leave that question out.")


def _refuse_undecided(undecided: Sequence[Telling]) -> None:
    if undecided:
        how = ", ".join(dict.fromkeys(mark.tells.value for one in undecided for mark in one.marks))
        raise Refused(
            f"{len(undecided)} {'reply tells' if len(undecided) == 1 else 'replies tell'} who wrote "
            f"{'it' if len(undecided) == 1 else 'them'} ({how}). Say for each whether to leave it out or to keep it."
        )


def _fix(
    s: Session, *, project_id: int, looked: LookedOver, plan: Plan, seed: int, leave_out: frozenset[int]
) -> Protocol:
    kept = looked.left_with(leave_out)
    if not kept.pairs:
        raise Refused("With those replies left out nothing is there to judge. Keep some, or hold out more prompts.")
    second = draw_overlap([kept.to_judge(one) for one in kept.contrasts], share=plan.overlap, seed=seed)
    pairings = tuple(
        Fixed(
            pair.prompt_id,
            *pair.replies,
            pair.identical,
            0 if pair.identical else plan.judgments + (place in second),
        )
        for place, pair in enumerate(kept.pairs)
    )
    cast = forecasts(kept, plan)
    return Protocol(
        project_id=project_id,
        candidate=_participant(looked.candidate),
        baselines=tuple(_participant(one) for one in looked.baselines),
        plan=plan,
        seed=seed,
        alpha=ALPHA / len(plan.primary),
        needed_decided=max(one.needed.decided for one in cast),
        expected_decided=min(one.decided for one in cast),
        left_out=tuple(
            LeftOutPair(pair.prompt_id, *pair.replies) for pair in looked.pairs if leave_out.intersection(pair.replies)
        ),
        kept_telltales=tuple(one.response_id for one in looked.telling if one.response_id not in leave_out),
        texts_sha256=_texts_hash(s, pairings),
        pairings=pairings,
    )


def forecasts(looked: LookedOver, plan: Plan) -> list[Forecast]:
    """For each primary contrast whether the pairs that are left give what it needs."""
    found = []
    for contrast in plan.primary or looked.contrasts[:1]:
        places = looked.to_judge(contrast)
        second = draw_overlap([places], share=plan.overlap, seed=0)
        found.append(
            forecast(
                plan,
                prompts=len({looked.pairs[place].prompt_id for place in places}),
                verdicts=len(places) * plan.judgments + len(second),
                contrasts=max(1, len(plan.primary)),
            )
        )
    return found


def _participant(responder: Responder) -> Participant:
    version = responder.model_version
    return Participant(
        id=responder.id,
        label=responder.label,
        kind=responder.kind.value,
        model=version.name if version else None,
        weights_sha256=version.sha256 if version else None,
    )


def _texts_hash(s: Session, pairings: Sequence[Fixed]) -> str:
    prompts = {one.prompt_id for one in pairings}
    asked = {
        row.id: [row.text, row.context]
        for row in s.execute(select(Prompt.id, Prompt.text, Prompt.context).where(Prompt.id.in_(prompts)))
    }
    replies = {i for one in pairings for i in (one.candidate_response_id, one.baseline_response_id)}
    said = {row.id: row.text for row in s.execute(select(Response.id, Response.text).where(Response.id.in_(replies)))}
    texts = [
        [asked[one.prompt_id], said[one.candidate_response_id], said[one.baseline_response_id]] for one in pairings
    ]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()


def protocol_of(evaluation: Evaluation) -> Protocol | None:
    """What was fixed; none where the evaluation is older than protocols."""
    return read_protocol(evaluation.protocol) if evaluation.protocol is not None else None


def verify_protocol(s: Session, *, evaluation_id: int) -> None:
    """Raise `Refused` where protocol, pairings or texts are not what was hashed: somebody changed the database."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    protocol = protocol_of(evaluation)
    if protocol is None or evaluation.protocol is None:
        return
    rows = s.scalars(select(Pairing).where(Pairing.evaluation_id == evaluation_id).order_by(Pairing.id)).all()
    there = tuple(
        Fixed(p.prompt_id, p.candidate_response_id, p.baseline_response_id, p.identical, p.wanted or 0) for p in rows
    )
    if (
        hash_of(evaluation.protocol) != evaluation.protocol_sha256
        or there != protocol.pairings
        or _texts_hash(s, there) != protocol.texts_sha256
    ):
        raise Refused(
            f"What “{evaluation.name}” was set up with is not what it was: its protocol, pairings or texts were "
            "changed in the database. Its verdicts prove nothing any more; set up a new evaluation."
        )


@dataclass(frozen=True)
class Counted:
    """How far an evaluation's judging is."""

    planned: int | None
    """People's verdicts wanted; none where no number was planned."""
    given: int
    """People's verdicts that count towards it."""
    verdicts: int
    """People's verdicts in all."""
    by_rule_alone: bool
    """No person judged anything, and a simulated reviewer judged every pairing."""

    @property
    def complete(self) -> bool:
        """Whether all that was planned is there."""
        return self.planned is None or self.given >= self.planned or self.by_rule_alone

    @property
    def missing(self) -> int:
        """Verdicts that are planned and not there."""
        return max(0, (self.planned or 0) - self.given)


def counted(s: Session, *, evaluation_id: int) -> Counted:
    """How many verdicts there are of those that the protocol wants."""
    given = Judgment.verdict.is_not(None)
    rows = s.execute(
        select(
            Pairing.wanted,
            Pairing.identical,
            func.count(Judgment.id).filter(given, Reviewer.simulated.is_(False)),
            func.count(Judgment.id).filter(given, Reviewer.simulated),
        )
        .outerjoin(Judgment, Judgment.pairing_id == Pairing.id)
        .outerjoin(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Pairing.evaluation_id == evaluation_id)
        .group_by(Pairing.id, Pairing.wanted, Pairing.identical)
    ).all()
    people = sum(row[2] for row in rows)
    unplanned = any(wanted is None for wanted, *_ in rows)
    return Counted(
        planned=None if unplanned else sum(wanted or 0 for wanted, *_ in rows),
        given=sum(min(wanted or 0, by_people) for wanted, _, by_people, _ in rows),
        verdicts=people,
        by_rule_alone=not people and all(identical or by_rule for _, identical, _, by_rule in rows),
    )


def close_evaluation(s: Session, *, by: int, evaluation_id: int, reason: str | None = None) -> Evaluation:
    """End the judging; from now on names and results may be seen, and no verdict changes.

    Args:
        reason: why, where it ends before what was planned; kept, and told with the result.

    Raises `Refused` where planned verdicts are missing and there is no reason, unless the evaluation may stop at any
    time, somebody looked, and the evidence is enough.
    """
    evaluation = s.get(Evaluation, evaluation_id, with_for_update=True, populate_existing=True)
    if evaluation is None:
        raise NotFound("That evaluation is not in the database any more. Reload the page.")
    require(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed already.")
    verify_protocol(s, evaluation_id=evaluation_id)
    judged = s.scalar(
        select(func.count(Judgment.id))
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(Pairing.evaluation_id == evaluation_id, Judgment.verdict.is_not(None))
    )
    if not judged and not all(pairing.identical for pairing in evaluation.pairings):
        raise Refused("Nothing has been judged yet, so there is no result to open. Judge at least one pair first.")
    count = counted(s, evaluation_id=evaluation_id)
    if not count.complete and not _found_enough(s, evaluation, by=by):
        why = comment(reason)
        if why is None:
            raise Refused(
                f"{count.missing} of {count.planned} planned verdicts are missing. Judge the rest, or give a reason "
                "for closing early: it is told with the result."
            )
        evaluation.closed_early = why
    evaluation.closed_at = now()
    s.flush()
    return evaluation


def _found_enough(s: Session, evaluation: Evaluation, *, by: int) -> bool:
    """Whether the stopping rule says so to somebody who may know: a judge who tries to close must learn nothing."""
    protocol = protocol_of(evaluation)
    if protocol is None or protocol.plan.stopping is not Stopping.ANYTIME:
        return False
    return s.get(Peek, (evaluation.id, by)) is not None and stands(s, evaluation_id=evaluation.id).enough


@dataclass(frozen=True)
class Judged:
    """An Evaluation and how far its judging is."""

    evaluation: Evaluation
    pairings: int
    judged: int
    """Pairings with at least one verdict by a person."""
    verdicts: int
    """By people."""
    simulated: int
    """Verdicts by simulated reviewers."""


def evaluations(s: Session, *, project_id: int) -> Sequence[Judged]:
    """The project's Evaluations, newest first."""
    given = Judgment.verdict.is_not(None)
    rows = s.execute(
        select(
            Evaluation,
            func.count(func.distinct(Pairing.id)).filter(Pairing.identical.is_(False)),
            func.count(func.distinct(Judgment.pairing_id)).filter(given, Reviewer.simulated.is_(False)),
            func.count(Judgment.id).filter(given, Reviewer.simulated.is_(False)),
            func.count(Judgment.id).filter(given, Reviewer.simulated),
        )
        .join(Pairing, Pairing.evaluation_id == Evaluation.id)
        .outerjoin(Judgment, Judgment.pairing_id == Pairing.id)
        .outerjoin(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Evaluation.project_id == project_id)
        .group_by(Evaluation.id)
        .order_by(Evaluation.id.desc())
        .options(selectinload(Evaluation.candidate))
    ).all()
    return [Judged(*row) for row in rows]
