"""What is still to be answered, and asking for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import (
    GenerationRun,
    ModelVersion,
    ParityCheck,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Role,
    RunStatus,
    Scope,
    TrialPrompt,
)
from db.people import require
from db.routing import answered_by_model
from errors import NotFound, Refused
from generation.base_model import check_loadable


@dataclass(frozen=True)
class Missing:
    """A prompt and the sample numbers it still lacks from one Responder."""

    prompt_id: int
    text: str
    context: str | None
    extra: Mapping[str, Any] | None
    """Further columns of the prompt, for templates."""
    samples: tuple[int, ...]
    responder_id: int
    temperature: float | None = None
    """Other than the Responder's own, where the sample is drawn again."""
    replaces_id: int | None = None
    """The Response that it is drawn in place of."""


def missing_samples(wanted: Mapping[int, int], existing: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """Sample numbers to generate for each prompt.

    Args:
        wanted: prompt id → how many samples it should have.
        existing: (prompt id, sample) pairs that are there.
    """
    there = set(existing)
    found = {
        prompt_id: tuple(sample for sample in range(count) if (prompt_id, sample) not in there)
        for prompt_id, count in wanted.items()
    }
    return {prompt_id: samples for prompt_id, samples in found.items() if samples}


def missing(
    s: Session, *, responder_id: int, scope: Scope, samples: int, prompt_limit: int | None
) -> Sequence[Missing]:
    """The prompts in scope with samples that the Responder has not given, in import order."""
    responder = s.get_one(Responder, responder_id)
    mine = Prompt.project_id == responder.project_id, answered_by_model(responder_id)
    prompts = s.scalars(select(Prompt).where(*mine).order_by(Prompt.id)).all()
    training = [p for p in prompts if not p.held_out and scope is not Scope.HELD_OUT][:prompt_limit]
    held_out = [p for p in prompts if p.held_out and scope is not Scope.TRAINING]
    answers = s.execute(select(Response.prompt_id, Response.sample).where(Response.responder_id == responder_id))
    existing = [(prompt_id, sample) for prompt_id, sample in answers]
    # an evaluation compares one reply for each prompt, so held-out prompts get one
    gaps = missing_samples({p.id: samples for p in training} | {p.id: 1 for p in held_out}, existing)
    return [_gap(p, gaps[p.id], responder_id) for p in (*training, *held_out) if p.id in gaps]


def missing_in_trial(s: Session, *, run: GenerationRun) -> Sequence[Missing]:
    """What the workbench still wants of this Responder and of others that the same engine can answer for."""
    responder = run.responder
    same = (
        Responder.model_version_id == responder.model_version_id
        if responder.model_version_id is not None
        else (Responder.endpoint_url == responder.endpoint_url)
        & (Responder.endpoint_model == responder.endpoint_model)
        & (Responder.key_variable.is_not_distinct_from(responder.key_variable))
    )
    rows = s.execute(
        select(Prompt, Responder.id)
        .join(TrialPrompt, TrialPrompt.prompt_id == Prompt.id)
        .join(Responder, Responder.id == TrialPrompt.responder_id)
        .outerjoin(Response, (Response.prompt_id == Prompt.id) & (Response.responder_id == Responder.id))
        .where(Responder.project_id == run.project_id, same, Response.id.is_(None))
        .order_by(Responder.id, Prompt.id)
    )
    return [_gap(prompt, (0,), responder_id) for prompt, responder_id in rows]


def _gap(prompt: Prompt, samples: tuple[int, ...], responder_id: int) -> Missing:
    return Missing(prompt.id, prompt.text, prompt.context, prompt.extra, samples, responder_id)


def refuse_unfit(s: Session, version: ModelVersion) -> None:
    """Raise `Refused` or `BrokenModel` where the model may not or cannot answer."""
    if problem := blocked(s, version):
        raise Refused(f"{version.name} may not answer, since a check of how it is served failed: {problem}")
    whole = version.parent if version.adapter_folder and not Path(version.location).exists() else None
    check_loadable((whole or version).location)


def blocked(s: Session, version: ModelVersion) -> str | None:
    """What the model's newest finished ParityCheck found; none where that passed or there was none."""
    check = s.scalar(
        select(ParityCheck)
        .where(ParityCheck.model_version_id == version.id, ParityCheck.passed.is_not(None))
        .order_by(ParityCheck.id.desc())
    )
    return check.problem if check is not None and not check.passed else None


def start_generation(
    s: Session,
    *,
    by: int,
    responder_id: int,
    scope: Scope,
    samples: int = 2,
    prompt_limit: int | None = None,
    seed: int = 0,
) -> GenerationRun:
    """Ask for the missing responses: a QUEUED run that a worker takes up; managers only.

    Raises `Refused` when nothing is missing, or the Responder is at work already; `BrokenModel` when its model cannot
    be loaded.
    """
    responder = s.get(Responder, responder_id)
    if responder is None:
        raise NotFound("That responder is not in the database any more. Reload the page.")
    require(s, by=by, project_id=responder.project_id, roles=(Role.MANAGER,))
    if responder.kind is ResponderKind.HUMAN:
        raise Refused(f"{responder.label} is a person: import their replies instead.")
    if responder.model_version is not None:
        refuse_unfit(s, responder.model_version)
    if not 1 <= samples <= 8:
        raise Refused("Choose 1 to 8 responses for each prompt.")
    busy = s.scalar(
        select(GenerationRun.id).where(
            GenerationRun.responder_id == responder_id,
            GenerationRun.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]),
        )
    )
    if busy is not None:
        raise Refused(f"{responder.label} is generating already (run {busy}). Wait for it, or cancel it.")
    gaps = missing(s, responder_id=responder_id, scope=scope, samples=samples, prompt_limit=prompt_limit)
    if not gaps:
        raise Refused(
            f"{responder.label} has answered all of these prompts already. Import more, or ask for more samples."
        )
    run = GenerationRun(
        project_id=responder.project_id,
        responder_id=responder_id,
        scope=scope,
        samples=samples,
        prompt_limit=prompt_limit,
        seed=seed,
        total=sum(len(gap.samples) for gap in gaps),
        requested_by_id=by,
    )
    s.add(run)
    s.flush()
    return run
