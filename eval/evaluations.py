"""Setting up an Evaluation, whose pairings are fixed before the first judgment, and closing it."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import (
    Evaluation,
    Judgment,
    Pairing,
    Preference,
    Project,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Role,
    TrainingRun,
    now,
)
from db.people import require
from db.text_rules import as_shown
from errors import AlreadyThere, NotFound, Refused


@dataclass(frozen=True)
class Ready:
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


def _judged(project_id: int) -> ColumnElement[bool]:
    """Whether a Prompt is one to judge on: held out, and not routed to people."""
    return and_(Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_(None))


def routed_held_out(s: Session, *, project_id: int) -> int:
    """How many held-out prompts people answer and no model does, so that no evaluation has them."""
    routed = Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_not(None)
    return s.scalar(select(func.count()).select_from(Prompt).where(*routed)) or 0


def readiness(s: Session, *, project_id: int) -> list[Ready]:
    """Every Responder of the project and how many of the held-out prompts to judge on it has answered."""
    held_out = s.scalar(select(func.count()).select_from(Prompt).where(_judged(project_id))) or 0
    rows = s.execute(
        select(Responder, func.count(func.distinct(Prompt.id)))
        .outerjoin(Response, Response.responder_id == Responder.id)
        .outerjoin(Prompt, (Prompt.id == Response.prompt_id) & _judged(project_id))
        .where(Responder.project_id == project_id, Responder.kept)
        .group_by(Responder.id)
        .order_by(Responder.id)
    ).all()
    # a retired model is offered for nothing new
    return [
        Ready(responder, answered, held_out)
        for responder, answered in rows
        if responder.model_version is None or responder.model_version.retired_at is None
    ]


def create_evaluation(
    s: Session,
    *,
    by: int,
    project_id: int,
    name: str,
    candidate_id: int,
    baseline_ids: Sequence[int],
    seed: int,
    one_person_a_prompt: bool = True,
) -> Evaluation:
    """Fix candidate, baselines and pairings over the held-out prompts; texts that look the same are nobody's to judge.

    Prompts that a rule routes to people are left out.

    Args:
        seed: draws the order of pairings, the sides, and whose reply stands for the people.
        one_person_a_prompt: with several human baselines, take one person's reply for each prompt, each person's
            equally often, so that "our people" are judged once per prompt.

    Raises `Refused` when a Responder has not answered every one of them, or baselines are missing.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split())
    if not clean:
        raise Refused("An evaluation needs a name. Type one.")
    chosen = list(dict.fromkeys(baseline_ids))
    if not chosen:
        raise Refused("Choose at least one baseline to compare the candidate with.")
    if candidate_id in chosen:
        raise Refused("The candidate cannot be its own baseline. Take it out of the baselines.")
    ready = {entry.responder.id: entry for entry in readiness(s, project_id=project_id)}
    for responder_id in (candidate_id, *chosen):
        if responder_id not in ready:
            raise NotFound("That responder is not part of this project, or its model is retired. Reload the page.")
        entry = ready[responder_id]
        if not entry.held_out:
            raise Refused("This project has no held-out prompts that models answer. Import some as held out first.")
        if not entry.complete:
            raise Refused(
                f"{entry.responder.label} has answered {entry.answered} of {entry.held_out} held-out prompts. "
                "Generate or import the rest first."
            )
        _refuse_seen(s, entry.responder)
    # whoever ends or adds a text rule meanwhile waits, and then finds the evaluation open
    s.get(Project, project_id, with_for_update={"read": True})
    shown = as_shown(s, project_id=project_id)
    replies = _replies(s, project_id=project_id, responder_ids=[candidate_id, *chosen])
    people = [i for i in chosen if ready[i].responder.kind is ResponderKind.HUMAN]
    drawn = _draw_pairs(sorted(replies), chosen, people if one_person_a_prompt else [], seed)
    evaluation = Evaluation(
        project_id=project_id,
        name=clean,
        candidate_id=candidate_id,
        seed=seed,
        protocol_sha256=hashlib.sha256(json.dumps([candidate_id, chosen, drawn, seed]).encode()).hexdigest(),
        created_by_id=by,
    )
    for prompt_id, baseline_id in drawn:
        candidate, baseline = replies[prompt_id][candidate_id], replies[prompt_id][baseline_id]
        evaluation.pairings.append(
            Pairing(
                prompt_id=prompt_id,
                candidate_response_id=candidate.id,
                baseline_response_id=baseline.id,
                identical=shown(candidate.text).split() == shown(baseline.text).split(),
            )
        )
    s.add(evaluation)
    try:
        with s.begin_nested():
            s.flush()
    except IntegrityError:
        raise AlreadyThere(f"There is an evaluation “{clean}” already. Choose another name.") from None
    return evaluation


def _refuse_seen(s: Session, responder: Responder) -> None:
    """Raise `Refused` where the Responder's model, or one that it was trained from, learned from a held-out prompt.

    Within a project that cannot be; another project may train on what this one holds out.
    """
    held_out = s.execute(
        select(Prompt.content_hash, Prompt.cluster).where(Prompt.project_id == responder.project_id, Prompt.held_out)
    ).all()
    hashes, clusters = {row.content_hash for row in held_out}, {row.cluster for row in held_out}
    version = responder.model_version
    while version is not None:
        learned = s.execute(
            select(Prompt.content_hash, Prompt.cluster)
            .join(Preference, Preference.prompt_id == Prompt.id)
            .join(TrainingRun, TrainingRun.snapshot_id == Preference.snapshot_id)
            .where(TrainingRun.model_version_id == version.id)
            .distinct()
        ).all()
        seen = sum(row.content_hash in hashes or row.cluster in clusters for row in learned)
        if seen:
            raise Refused(
                f"{responder.label} learned from {seen} of these held-out prompts: {version.name} was trained on them "
                "in another project. Choose another responder, or hold out prompts that it has not seen."
            )
        version = version.parent


def _replies(s: Session, *, project_id: int, responder_ids: Sequence[int]) -> dict[int, dict[int, Response]]:
    rows = s.scalars(
        select(Response)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(_judged(project_id), Response.responder_id.in_(responder_ids), Response.sample == 0)
    )
    found: dict[int, dict[int, Response]] = {}
    for response in rows:
        found.setdefault(response.prompt_id, {})[response.responder_id] = response
    return found


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


def close_evaluation(s: Session, *, by: int, evaluation_id: int) -> Evaluation:
    """End the judging; from now on names and results may be seen, and no verdict changes."""
    evaluation = s.get(Evaluation, evaluation_id, with_for_update=True, populate_existing=True)
    if evaluation is None:
        raise NotFound("That evaluation is not in the database any more. Reload the page.")
    require(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER,))
    if evaluation.closed_at is not None:
        raise Refused("This evaluation is closed already.")
    judged = s.scalar(
        select(func.count(Judgment.id))
        .join(Pairing, Pairing.id == Judgment.pairing_id)
        .where(Pairing.evaluation_id == evaluation_id, Judgment.verdict.is_not(None))
    )
    if not judged and not all(pairing.identical for pairing in evaluation.pairings):
        raise Refused("Nothing has been judged yet, so there is no result to open. Judge at least one pair first.")
    evaluation.closed_at = now()
    s.flush()
    return evaluation
