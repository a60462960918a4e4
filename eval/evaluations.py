"""Setting up an Evaluation, whose protocol is fixed before the first judgment, and closing it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from db.lookup import get_existing
from db.models import Evaluation, Judgment, Pairing, Project, Prompt, Responder, Response, Reviewer, Role, now
from db.people import require_role
from errors import AlreadyThere, Refused
from eval.contestants import EvaluationDraft, draft_evaluation
from eval.live import current_standing, has_peeked
from eval.power import ALPHA, PowerAnalysis, power_analysis
from eval.protocol import (
    FixedPairing,
    LeakPolicy,
    LeftOutPair,
    Participant,
    Plan,
    Protocol,
    Stopping,
    canonical_json,
    check_plan,
    draw_overlap,
    plan_of,
    protocol_of,
    text_sha256,
)
from texts.typed import clean_comment


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
    undecided: LeakPolicy = LeakPolicy.ASK,
) -> Evaluation:
    """Fix the protocol: candidate, baselines, pairings over the held-out prompts, and the plan.

    Nothing changes it later. Prompts that a rule routes to people are left out.

    Args:
        seed: draws the order of pairings, the sides, whose reply stands for the people, and the overlap.
        plan: the least there is, one verdict for each pairing, unless told.
        leave_out: ids of responses that tell who wrote them, whose pairings are not judged.
        keep: ids of such responses that take part on purpose.
        undecided: what becomes of such responses that are in neither list.

    Raises `Refused` when a Responder has not answered every prompt, baselines are missing, or a reply that tells who
    wrote it is undecided; `BadSetting` for a plan that cannot be.
    """
    plan = plan or Plan()
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split())
    if not clean:
        raise Refused("An evaluation needs a name. Type one.")
    # a manager who ends or adds a text rule meanwhile waits, and then finds the evaluation open
    s.get(Project, project_id, with_for_update={"read": True})
    draft = draft_evaluation(
        s,
        by=by,
        project_id=project_id,
        candidate_id=candidate_id,
        baseline_ids=baseline_ids,
        seed=seed,
        one_person_a_prompt=plan.one_person_a_prompt,
    )
    plan = replace(plan, primary=plan.primary or draft.contrasts[:1])
    open_leaks = [reply for reply in draft.leaks if reply.response_id not in {*leave_out, *keep}]
    if open_leaks and undecided is LeakPolicy.ASK:
        how = ", ".join(dict.fromkeys(mark.kind.value for reply in open_leaks for mark in reply.marks))
        tells, them = ("reply tells", "it") if len(open_leaks) == 1 else ("replies tell", "them")
        raise Refused(
            f"{len(open_leaks)} {tells} who wrote {them} ({how}). Say for each whether to leave it out or to keep it."
        )
    check_plan(plan, known=draft.contrasts)
    if plan.ask_machine and not any(baseline.kind == "HUMAN" for baseline in draft.baselines):
        raise Refused("No baseline is a person, so there is no machine to guess. Leave that question out.")
    left_out = {*leave_out, *(reply.response_id for reply in open_leaks if undecided is LeakPolicy.LEAVE_OUT)}
    protocol = _fix_protocol(s, project_id=project_id, draft=draft, plan=plan, seed=seed, leave_out=frozenset(left_out))
    text = canonical_json(protocol)
    evaluation = Evaluation(
        project_id=project_id,
        name=clean,
        candidate_id=candidate_id,
        seed=seed,
        protocol=text,
        protocol_sha256=text_sha256(text),
        created_by_id=by,
        pairings=[Pairing(**asdict(pairing)) for pairing in protocol.pairings],
    )
    s.add(evaluation)
    try:
        with s.begin_nested():
            s.flush()
    except IntegrityError:
        raise AlreadyThere(f"There is an evaluation “{clean}” already. Choose another name.") from None
    return evaluation


def _fix_protocol(
    s: Session, *, project_id: int, draft: EvaluationDraft, plan: Plan, seed: int, leave_out: frozenset[int]
) -> Protocol:
    kept = draft.without(leave_out)
    if not kept.pairs:
        raise Refused("With those replies left out nothing is there to judge. Keep some, or hold out more prompts.")
    overlap = draw_overlap([*map(kept.places_to_judge, kept.contrasts)], share=plan.overlap, seed=seed)
    wanted = [0 if pair.identical else plan.judgments + (place in overlap) for place, pair in enumerate(kept.pairs)]
    pairs = zip(kept.pairs, wanted, strict=True)
    pairings = tuple(FixedPairing(pair.prompt_id, *pair.replies, pair.identical, number) for pair, number in pairs)
    analyses = power_analyses(kept, plan)
    return Protocol(
        project_id=project_id,
        candidate=_participant(draft.candidate),
        baselines=tuple(map(_participant, draft.baselines)),
        plan=plan,
        seed=seed,
        alpha=ALPHA / len(plan.primary),
        needed_decided=max(analysis.needed.decided for analysis in analyses),
        expected_decided=min(analysis.decided for analysis in analyses),
        left_out=tuple(
            LeftOutPair(pair.prompt_id, *pair.replies) for pair in draft.pairs if leave_out.intersection(pair.replies)
        ),
        kept_telltales=tuple(reply.response_id for reply in draft.leaks if reply.response_id not in leave_out),
        texts_sha256=_hash_texts(s, pairings),
        pairings=pairings,
    )


def power_analyses(draft: EvaluationDraft, plan: Plan) -> list[PowerAnalysis]:
    """For each primary contrast whether the pairs that are left give what it needs."""
    analyses = []
    contrasts = max(1, len(plan.primary))
    for places in map(draft.places_to_judge, plan.primary or draft.contrasts[:1]):
        verdicts = len(places) * plan.judgments + len(draw_overlap([places], share=plan.overlap, seed=0))
        prompts = {draft.pairs[place].prompt_id for place in places}
        analyses.append(power_analysis(plan, prompts=len(prompts), verdicts=verdicts, contrasts=contrasts))
    return analyses


def _participant(responder: Responder) -> Participant:
    version = responder.model_version
    name, sha256 = (version.name, version.sha256) if version else (None, None)
    return Participant(responder.id, responder.label, responder.kind.value, name, sha256)


def _hash_texts(s: Session, pairings: Sequence[FixedPairing]) -> str:
    ids = {i for pairing in pairings for i in (pairing.candidate_response_id, pairing.baseline_response_id)}
    prompt_ids = {pairing.prompt_id for pairing in pairings}
    rows = s.execute(select(Prompt.id, Prompt.text, Prompt.context).where(Prompt.id.in_(prompt_ids)))
    prompts = {prompt_id: [text, context] for prompt_id, text, context in rows}
    replies = {row.id: row.text for row in s.execute(select(Response.id, Response.text).where(Response.id.in_(ids)))}
    texts = [
        [prompts[pairing.prompt_id], replies[pairing.candidate_response_id], replies[pairing.baseline_response_id]]
        for pairing in pairings
    ]
    return text_sha256(json.dumps(texts, ensure_ascii=False))


def verify_protocol(s: Session, *, evaluation_id: int) -> None:
    """Raise `Refused` where protocol, pairings or texts are not what was hashed: the database was changed."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    protocol = protocol_of(evaluation)
    if protocol is None:
        return
    rows = s.scalars(select(Pairing).where(Pairing.evaluation_id == evaluation_id).order_by(Pairing.id)).all()
    stored = tuple(
        FixedPairing(p.prompt_id, p.candidate_response_id, p.baseline_response_id, p.identical, p.wanted or 0)
        for p in rows
    )
    if (
        text_sha256(evaluation.protocol or "") != evaluation.protocol_sha256
        or stored != protocol.pairings
        or _hash_texts(s, stored) != protocol.texts_sha256
    ):
        raise Refused(
            f"What “{evaluation.name}” was set up with is not what it was: its protocol, pairings or texts were "
            "changed in the database. Its verdicts prove nothing any more; set up a new evaluation."
        )


@dataclass(frozen=True)
class EvaluationCounts:
    """An Evaluation and how far its judging is; verdicts are people's, where nothing else is said."""

    evaluation: Evaluation
    pairings: int
    """Those whose texts differ."""
    judged: int
    """Pairings with at least one verdict."""
    verdicts: int
    simulated: int
    planned: int
    given: int
    """Verdicts that count towards it."""
    missed_by_rule: int
    """Pairings that no simulated reviewer judged."""

    @property
    def by_rule_alone(self) -> bool:
        """No person judged anything, and a simulated reviewer judged every pairing."""
        return not self.verdicts and not self.missed_by_rule

    @property
    def complete(self) -> bool:
        """Whether all that was planned is there."""
        return self.given >= self.planned or self.by_rule_alone

    @property
    def missing(self) -> int:
        """Verdicts that are planned and not there."""
        return self.planned - self.given


def list_evaluations(s: Session, *, project_id: int) -> list[EvaluationCounts]:
    """The project's Evaluations, newest first."""
    return _load_counts(s, Evaluation.project_id == project_id)


def count_verdicts(s: Session, *, evaluation_id: int) -> EvaluationCounts:
    """How many verdicts there are of those that the protocol wants."""
    (counts,) = _load_counts(s, Evaluation.id == evaluation_id)
    return counts


def _load_counts(s: Session, which: ColumnElement[bool]) -> list[EvaluationCounts]:
    verdicts = func.count(Judgment.id).filter(Judgment.verdict.is_not(None))
    pairings = (
        select(
            Pairing.evaluation_id,
            func.coalesce(Pairing.wanted, 0).label("wanted"),
            Pairing.identical,
            verdicts.filter(Reviewer.simulated.is_(False)).label("people"),
            verdicts.filter(Reviewer.simulated).label("simulated"),
        )
        .outerjoin(Judgment, Judgment.pairing_id == Pairing.id)
        .outerjoin(Reviewer, Reviewer.id == Judgment.reviewer_id)
        .where(Pairing.evaluation_id.in_(select(Evaluation.id).where(which)))
        .group_by(Pairing.id)
        .subquery()
    )
    people, simulated, wanted = pairings.c.people, pairings.c.simulated, pairings.c.wanted
    differs = pairings.c.identical.is_(False)
    rows = s.execute(
        select(
            Evaluation,
            func.count().filter(differs),
            func.count().filter(people > 0),
            cast(func.sum(people), Integer),
            cast(func.sum(simulated), Integer),
            cast(func.sum(wanted), Integer),
            cast(func.sum(case((people < wanted, people), else_=wanted)), Integer),
            func.count().filter(differs, simulated == 0),
        )
        .join(pairings, pairings.c.evaluation_id == Evaluation.id)
        .group_by(Evaluation.id)
        .order_by(Evaluation.id.desc())
        .options(selectinload(Evaluation.candidate))
    )
    return [EvaluationCounts(*row) for row in rows]


def close_evaluation(s: Session, *, by: int, evaluation_id: int, reason: str | None = None) -> Evaluation:
    """End the judging; from now on names and results may be seen, and no verdict changes.

    Args:
        reason: why, where it ends before what was planned; kept, and told with the result.

    Raises `Refused` where planned verdicts are missing and there is no reason, unless the evaluation may stop at any
    time, the manager looked, and the evidence is enough.
    """
    evaluation = get_existing(s, Evaluation, evaluation_id, "evaluation", with_for_update=True, populate_existing=True)
    require_role(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed already.")
    verify_protocol(s, evaluation_id=evaluation_id)
    counts = count_verdicts(s, evaluation_id=evaluation_id)
    if counts.pairings and not counts.verdicts and not counts.simulated:
        raise Refused("Nothing has been judged yet, so there is no result to open. Judge at least one pair first.")
    if not counts.complete and not _evidence_is_enough(s, evaluation, by=by):
        why = clean_comment(reason)
        if why is None:
            raise Refused(
                f"{counts.missing} of {counts.planned} planned verdicts are missing. Judge the rest, or give a reason "
                "for closing early: it is told with the result."
            )
        evaluation.closed_early = why
    evaluation.closed_at = now()
    s.flush()
    return evaluation


def _evidence_is_enough(s: Session, evaluation: Evaluation, *, by: int) -> bool:
    """Whether the stopping rule says so to a manager who may know: a judge who tries to close must learn nothing."""
    is_anytime = plan_of(evaluation).stopping is Stopping.ANYTIME
    if not is_anytime or not has_peeked(s, evaluation_id=evaluation.id, reviewer_id=by):
        return False
    return all(contrast.evidence.stop for contrast in current_standing(s, evaluation_id=evaluation.id).contrasts)
