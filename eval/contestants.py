"""Who may take part in an Evaluation, and what its pairings would be: looked over before anything is fixed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from db.models import Evaluation, ModelVersion, Pairing, Prompt, Responder, ResponderKind, Response, Role
from db.people import require_role
from errors import NotFound, Refused
from eval.leaks import LeakMark, find_leaks
from eval.protocol import BaselineGroup, check_baselines, list_contrasts
from texts.rules import load_text_filter
from training.lineage import count_learned_prompts, list_trainings, model_lineage


@dataclass(frozen=True)
class ResponderReadiness:
    """Whether a Responder can take part: it needs a response to every held-out prompt that a model should answer.

    Prompts that a rule routes to people have no reply of a model to be compared with, so they are in no count.
    """

    responder: Responder
    answered: int
    held_out: int

    @property
    def complete(self) -> bool:
        """All of these prompts are answered."""
        return self.held_out > 0 and self.answered == self.held_out


def _is_judged_on(project_id: int) -> ColumnElement[bool]:
    """Whether a Prompt is one to judge on: held out, and not routed to people."""
    return and_(Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_(None))


def count_routed_held_out(s: Session, *, project_id: int) -> int:
    """How many held-out prompts people answer and no model does, so that no evaluation has them."""
    routed = Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_not(None)
    return s.scalar(select(func.count()).select_from(Prompt).where(*routed)) or 0


def list_readiness(s: Session, *, project_id: int) -> list[ResponderReadiness]:
    """Every Responder of the project and how many of the held-out prompts to judge on it has answered."""
    held_out = s.scalar(select(func.count()).select_from(Prompt).where(_is_judged_on(project_id))) or 0
    rows = s.execute(
        select(Responder, func.count(func.distinct(Prompt.id)))
        .outerjoin(Response, Response.responder_id == Responder.id)
        .outerjoin(Prompt, (Prompt.id == Response.prompt_id) & _is_judged_on(project_id))
        .outerjoin(ModelVersion, ModelVersion.id == Responder.model_version_id)
        # a retired model is offered for nothing new
        .where(Responder.project_id == project_id, Responder.listed, ModelVersion.retired_at.is_(None))
        .group_by(Responder.id)
        .order_by(Responder.id)
    )
    return [ResponderReadiness(responder, answered, held_out) for responder, answered in rows]


def list_participants(s: Session, evaluation: Evaluation) -> list[Responder]:
    """The candidate, then every baseline that a pairing has."""
    baselines = select(Response.responder_id).join(Pairing, Pairing.baseline_response_id == Response.id)
    is_baseline = Responder.id.in_(baselines.where(Pairing.evaluation_id == evaluation.id))
    return [evaluation.candidate, *s.scalars(select(Responder).where(is_baseline).order_by(Responder.id))]


@dataclass(frozen=True)
class Pair:
    """Two replies that would be judged against each other."""

    prompt_id: int
    baseline_id: int
    candidate_response_id: int
    baseline_response_id: int
    identical: bool
    """Both look the same to reviewers, so that the pair is not judged."""

    @property
    def replies(self) -> tuple[int, int]:
        """Ids of both."""
        return self.candidate_response_id, self.baseline_response_id


@dataclass(frozen=True)
class LeakingReply:
    """A reply that tells who wrote it; not whose it is, for the manager who looks may judge others."""

    response_id: int
    text: str
    marks: tuple[LeakMark, ...]


@dataclass(frozen=True)
class EvaluationDraft:
    """What an Evaluation of these would be made of."""

    candidate: Responder
    baselines: tuple[Responder, ...]
    contrasts: tuple[BaselineGroup, ...]
    pairs: tuple[Pair, ...]
    leaks: tuple[LeakingReply, ...]

    def without(self, left_out: frozenset[int]) -> "EvaluationDraft":
        """The same without the pairs that have one of these responses."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if not left_out.intersection(pair.replies)))

    def places_to_judge(self, contrast: BaselineGroup) -> list[int]:
        """Places of the contrast's pairs that have to be judged."""
        return [place for place, pair in enumerate(self.pairs) if pair.baseline_id in contrast and not pair.identical]


def draft_evaluation(
    s: Session,
    *,
    by: int,
    project_id: int,
    candidate_id: int,
    baseline_ids: Sequence[int],
    seed: int,
    one_person_a_prompt: bool = True,
) -> EvaluationDraft:
    """What would be judged, drawn by the seed, and which replies tell who wrote them; managers only, nothing is saved.

    Prompts that a rule routes to people are left out. Texts that look the same are not judged.

    Raises `Refused` when a Responder has not answered every held-out prompt, has learned from one, or is on both sides.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    baseline_ids = list(dict.fromkeys(baseline_ids))
    check_baselines(candidate_id, baseline_ids)
    readiness = {entry.responder.id: entry for entry in list_readiness(s, project_id=project_id)}
    for responder_id in (candidate_id, *baseline_ids):
        if responder_id not in readiness:
            raise NotFound("That responder is not part of this project, or its model is retired. Reload the page.")
        _refuse_unready(s, readiness[responder_id])
    candidate, *baselines = (readiness[responder_id].responder for responder_id in (candidate_id, *baseline_ids))
    people = [baseline.id for baseline in baselines if baseline.kind is ResponderKind.HUMAN]
    together = people if one_person_a_prompt else []
    replies = _load_replies(s, project_id=project_id, responder_ids=[candidate_id, *baseline_ids])
    prompt_ids = sorted({prompt_id for prompt_id, _ in replies})
    reply_pairs = [
        (prompt_id, baseline_id, replies[prompt_id, candidate_id], replies[prompt_id, baseline_id])
        for prompt_id, baseline_id in _draw_pairs(prompt_ids, baseline_ids, together, seed)
    ]
    filter_text = load_text_filter(s, project_id=project_id)
    shown_replies = {reply for *_, mine, other in reply_pairs for reply in (mine, other)}
    texts = {reply.id: filter_text(reply.text) for reply in shown_replies}
    pairs = tuple(
        Pair(prompt_id, baseline_id, mine.id, other.id, identical=texts[mine.id].split() == texts[other.id].split())
        for prompt_id, baseline_id, mine, other in reply_pairs
    )
    names = {
        model.name for responder in (candidate, *baselines) for model in (responder, responder.model_version) if model
    }
    reply_ids = {reply_id for pair in pairs if not pair.identical for reply_id in pair.replies}
    by_reply = {reply_id: find_leaks(texts[reply_id], names=names) for reply_id in sorted(reply_ids)}
    leaks = tuple(LeakingReply(reply_id, texts[reply_id], marks) for reply_id, marks in by_reply.items() if marks)
    return EvaluationDraft(candidate, tuple(baselines), list_contrasts(baseline_ids, together), pairs, leaks)


def _refuse_unready(s: Session, readiness: ResponderReadiness) -> None:
    """Raise `Refused` where a Responder has not answered all, or its model, or one before it, learned from a prompt.

    Within a project that cannot be; another project may train on what this one holds out.
    """
    responder = readiness.responder
    if not readiness.held_out:
        raise Refused("This project has no held-out prompts that models answer. Import some as held out first.")
    if not readiness.complete:
        raise Refused(
            f"{responder.label} has answered {readiness.answered} of {readiness.held_out} held-out prompts. "
            "Generate or import the rest first."
        )
    held_out = select(Prompt.id).where(Prompt.project_id == responder.project_id, Prompt.held_out)
    for version in model_lineage(responder.model_version):
        snapshot_ids = [training_run.snapshot_id for training_run in list_trainings(s, [version])]
        if count := count_learned_prompts(s, snapshot_ids=snapshot_ids, prompt_ids=held_out):
            raise Refused(
                f"{responder.label} learned from {count} of these held-out prompts: {version.name} was trained on them "
                "in another project. Choose another responder, or hold out prompts that it has not seen."
            )


def _load_replies(s: Session, *, project_id: int, responder_ids: Sequence[int]) -> dict[tuple[int, int], Response]:
    """By prompt and Responder."""
    rows = s.scalars(
        select(Response)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(_is_judged_on(project_id), Response.responder_id.in_(responder_ids), Response.sample == 0)
    )
    return {(response.prompt_id, response.responder_id): response for response in rows}


def _draw_pairs(
    prompt_ids: Sequence[int], baselines: Sequence[int], people: Sequence[int], seed: int
) -> list[tuple[int, int]]:
    """(prompt, baseline) pairs in a drawn order; several people share the prompts out equally."""
    chance = random.Random(seed)
    order = list(prompt_ids)
    chance.shuffle(order)
    pairs = [
        (prompt_id, baseline_id)
        for prompt_id in order
        for baseline_id in baselines
        if len(people) < 2 or baseline_id not in people
    ]
    if len(people) >= 2:
        pairs += [(prompt_id, people[turn % len(people)]) for turn, prompt_id in enumerate(order)]
    chance.shuffle(pairs)
    return pairs
