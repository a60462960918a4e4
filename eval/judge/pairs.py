"""Which pairs of replies a model judge reads: an Evaluation's own, and those that were left over by lot.

The judge's verdicts help people's only where the prompts that people judged are a random part of all that it judged. An
Evaluation takes every held-out prompt there is, so hardly anything is left over: where several people wrote the
baselines, each prompt goes by lot to one of them, and the candidate's pairs with the others' replies are as good as
drawn. Held-out prompts that came later, that people answer, or whose replies tell who wrote them were not drawn, and
are left out here and counted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased, joinedload

from db.models import Evaluation, Pairing, Prompt, ResponderKind, Response
from eval.protocol import protocol_of
from texts.rules import load_text_filter


@dataclass(frozen=True)
class JudgedPair:
    """Two replies to one prompt, as reviewers are shown them."""

    candidate_response_id: int
    baseline_response_id: int
    prompt: str
    context: str | None
    candidate: str
    baseline: str
    identical: bool


@dataclass(frozen=True)
class JudgedPairs:
    """Everything that a judge reads of one Evaluation."""

    pairs: tuple[JudgedPair, ...]
    """The Evaluation's own in the order in which they were drawn, then those left over by lot."""
    came_later: int
    """Held-out prompts with a reply of the candidate and of a baseline that no lot left over."""
    leaking: int
    """Pairs that are not judged, since a reply tells who wrote it."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is not asked about, and why, in sentences."""
        prompts = "prompt has" if self.came_later == 1 else "prompts have"
        later = (
            f"{self.came_later:,} more held-out {prompts} both replies but came later, or a rule gives them to people. "
            "They may be of another kind than those that people judged, so the model judge is not asked about them."
        )
        leaking = (
            f"{self.leaking:,} {'pair was' if self.leaking == 1 else 'pairs were'} left out because a reply tells "
            "who wrote it. The model judge is not asked about them, nor about pairs that nobody looked through "
            "for such replies."
        )
        return (*([later] if self.came_later else []), *([leaking] if self.leaking else []))


def load_judged_pairs(s: Session, *, evaluation_id: int) -> JudgedPairs:
    """The pairs, with their texts by the project's TextRules as they are now."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    pairings = s.scalars(
        select(Pairing)
        .where(Pairing.evaluation_id == evaluation_id)
        .options(
            joinedload(Pairing.prompt),
            joinedload(Pairing.candidate_response),
            joinedload(Pairing.baseline_response).joinedload(Response.responder),
        )
        .order_by(Pairing.id)
    ).all()
    filter_text = load_text_filter(s, project_id=evaluation.project_id)
    protocol = protocol_of(evaluation)
    left_out = protocol.left_out if protocol else ()
    by_lot = _left_by_lot(s, evaluation, pairings) if protocol and not left_out else []
    pairs = []
    for pairing, reply in [*((pairing, pairing.baseline_response) for pairing in pairings), *by_lot]:
        candidate, baseline = filter_text(pairing.candidate_response.text), filter_text(reply.text)
        same = pairing.identical if reply is pairing.baseline_response else candidate.split() == baseline.split()
        ids, prompt = (pairing.candidate_response_id, reply.id), pairing.prompt
        pairs.append(JudgedPair(*ids, prompt.text, prompt.context, candidate, baseline, same))
    known = {pairing.prompt_id for pairing in pairings} | {pair.prompt_id for pair in left_out}
    return JudgedPairs(tuple(pairs), came_later=_count_later(s, evaluation, pairings, known), leaking=len(left_out))


def _left_by_lot(s: Session, evaluation: Evaluation, pairings: Sequence[Pairing]) -> list[tuple[Pairing, Response]]:
    by_people = [pairing for pairing in pairings if pairing.baseline_response.responder.kind is ResponderKind.HUMAN]
    people = {pairing.baseline_response.responder_id for pairing in by_people}
    of_prompt = {pairing.prompt_id: pairing for pairing in by_people}
    if len(people) < 2 or len(of_prompt) < len(by_people):
        return []
    replies = s.scalars(
        select(Response)
        .where(
            Response.responder_id.in_(people),
            Response.sample == 0,
            Response.prompt_id.in_(of_prompt),
            Response.id.not_in([pairing.baseline_response_id for pairing in by_people]),
            Response.created_at <= evaluation.created_at,  # what came later was in no lot
        )
        .order_by(Response.id)
    )
    return [(of_prompt[reply.prompt_id], reply) for reply in replies if reply.text.strip()]


def _count_later(s: Session, evaluation: Evaluation, pairings: Sequence[Pairing], known: Collection[int]) -> int:
    baselines = {pairing.baseline_response.responder_id for pairing in pairings}
    mine, other = aliased(Response), aliased(Response)
    rows = s.scalars(
        select(func.distinct(Prompt.id))
        .join(mine, (mine.prompt_id == Prompt.id) & (mine.responder_id == evaluation.candidate_id))
        .join(other, (other.prompt_id == Prompt.id) & other.responder_id.in_(baselines))
        .where(Prompt.project_id == evaluation.project_id, Prompt.held_out, mine.sample == 0, other.sample == 0)
    )
    return len(set(rows) - set(known))
