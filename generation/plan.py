"""Which responses are still missing, and the runs that are to generate them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import readable_location, refuse_retired
from db.models import (
    Companion,
    GenerationRun,
    ModelVersion,
    ParityCheck,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    RunStatus,
    Scope,
    TrialPrompt,
)
from errors import Refused
from generation.adapters import engine_key
from generation.base_model import check_loadable
from generation.responders import get_responder
from intake.routing import answered_by_model
from llm.client import MissingSamples


def missing_samples(wanted: Mapping[int, int], existing: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """Sample numbers to generate for each prompt; prompts that lack none are left out.

    Args:
        wanted: prompt id → how many samples it should have.
        existing: (prompt id, sample) pairs that exist.
    """
    answered = set(existing)
    gaps = {
        prompt_id: tuple(sample for sample in range(count) if (prompt_id, sample) not in answered)
        for prompt_id, count in wanted.items()
    }
    return {prompt_id: samples for prompt_id, samples in gaps.items() if samples}


def find_missing(
    s: Session, *, responder_id: int, scope: Scope, samples: int, prompt_limit: int | None
) -> Sequence[MissingSamples]:
    """The prompts in scope that lack samples of the Responder, in import order."""
    responder = s.get_one(Responder, responder_id)
    in_project = Prompt.project_id == responder.project_id, answered_by_model(responder_id)
    prompts = s.scalars(select(Prompt).where(*in_project).order_by(Prompt.id)).all()
    training = [p for p in prompts if not p.held_out and scope is not Scope.HELD_OUT][:prompt_limit]
    held_out = [p for p in prompts if p.held_out and scope is not Scope.TRAINING]
    answers = s.execute(select(Response.prompt_id, Response.sample).where(Response.responder_id == responder_id))
    existing = [(prompt_id, sample) for prompt_id, sample in answers]
    # an evaluation compares one reply for each prompt, so held-out prompts get one
    gaps = missing_samples({p.id: samples for p in training} | {p.id: 1 for p in held_out}, existing)
    return [_gap(p, gaps[p.id], responder_id) for p in (*training, *held_out) if p.id in gaps]


def find_missing_in_trial(s: Session, *, run: GenerationRun) -> Sequence[MissingSamples]:
    """What the workbench still wants of the run's Responder and of all others that the same engine can answer for."""
    rows = s.execute(
        select(Prompt, Responder.id)
        .join(TrialPrompt, TrialPrompt.prompt_id == Prompt.id)
        .join(Responder, Responder.id == TrialPrompt.responder_id)
        .outerjoin(Response, (Response.prompt_id == Prompt.id) & (Response.responder_id == Responder.id))
        .where(Responder.project_id == run.project_id, has_model_of(run.responder), Response.id.is_(None))
        .order_by(Responder.id, Prompt.id)
    )
    return [_gap(prompt, (0,), responder_id) for prompt, responder_id in rows]


def has_model_of(responder: Responder) -> ColumnElement[bool]:
    """SQL condition that a Responder answers with the same model as this one, here or behind an endpoint."""
    columns = ("model_version_id", "endpoint_url", "endpoint_model", "key_variable")
    return and_(*(getattr(Responder, name).is_not_distinct_from(getattr(responder, name)) for name in columns))


def _gap(prompt: Prompt, samples: tuple[int, ...], responder_id: int) -> MissingSamples:
    return MissingSamples(prompt.id, prompt.text, prompt.context, prompt.extra, samples, responder_id)


def refuse_unfit(s: Session, version: ModelVersion) -> None:
    """Raise `Refused` where the model may not answer, `BrokenModel` where it cannot."""
    refuse_retired(version)
    if problem := parity_problem(s, version):
        raise Refused(f"{version.name} may not answer, since a check of how it is served failed: {problem}")
    check_loadable(readable_location(version))


def parity_problem(s: Session, version: ModelVersion) -> str | None:
    """The problem that the model's newest finished ParityCheck found; None where it passed or there was no check."""
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
    """Queue a run for one Responder's missing responses; see `start_generations`."""
    (run,) = start_generations(
        s, by=by, responder_ids=[responder_id], scope=scope, samples=samples, prompt_limit=prompt_limit, seed=seed
    )
    return run


def start_generations(
    s: Session,
    *,
    by: int,
    responder_ids: Sequence[int],
    scope: Scope,
    samples: int = 2,
    prompt_limit: int | None = None,
    seed: int = 0,
) -> Sequence[GenerationRun]:
    """Queue runs for the Responders' missing responses, one run for each engine; managers only.

    Responders that one engine can answer for share a run, since starting an engine takes about a minute.

    Raises `Refused` where a Responder lacks no response or is generating already; `BrokenModel` where its model cannot
    be loaded.
    """
    if not responder_ids:
        raise Refused("Choose who is to answer.")
    if not 1 <= samples <= 8:
        raise Refused("Choose 1 to 8 responses for each prompt.")
    engines: dict[Hashable, dict[Responder, int]] = {}
    for responder_id in dict.fromkeys(responder_ids):
        responder = _find_idle_responder(s, by=by, responder_id=responder_id)
        gaps = find_missing(s, responder_id=responder_id, scope=scope, samples=samples, prompt_limit=prompt_limit)
        if not gaps:
            raise Refused(
                f"{responder.label} has answered all of these prompts already. Import more, or ask for more samples."
            )
        engine = responder.project_id, engine_key(responder)
        engines.setdefault(engine, {})[responder] = sum(len(gap.sample_numbers) for gap in gaps)
    runs = [
        GenerationRun(
            project_id=first.project_id,
            responder_id=first.id,
            companions=[Companion(responder_id=other.id) for other in others],
            scope=scope,
            samples=samples,
            prompt_limit=prompt_limit,
            seed=seed,
            total=sum(missing_counts.values()),
            requested_by_id=by,
        )
        for missing_counts in engines.values()
        for first, *others in [list(missing_counts)]
    ]
    s.add_all(runs)
    s.flush()
    return runs


def _find_idle_responder(s: Session, *, by: int, responder_id: int) -> Responder:
    """The Responder, if it is a model that can answer and no unfinished run answers for it. Raises `Refused`."""
    responder = get_responder(s, by=by, responder_id=responder_id)
    if responder.kind is ResponderKind.HUMAN:
        raise Refused(f"{responder.label} is a person: import their replies instead.")
    if responder.model_version is not None:
        refuse_unfit(s, responder.model_version)
    if (unfinished := find_unfinished(s, responder_id=responder_id)) is not None:
        raise Refused(f"{responder.label} is generating already (run {unfinished}). Wait for it, or cancel it.")
    return responder


def find_unfinished(s: Session, *, responder_id: int) -> int | None:
    """Id of the run in which the Responder answers or is about to."""
    companion = GenerationRun.companions.any(Companion.responder_id == responder_id)
    unfinished = GenerationRun.status.in_([RunStatus.QUEUED, RunStatus.RUNNING])
    of_responder = or_(GenerationRun.responder_id == responder_id, companion)
    return s.scalar(select(GenerationRun.id).where(of_responder, unfinished))


def responder_labels(s: Session, *, run_ids: Sequence[int]) -> dict[int, list[str]]:
    """The labels of the Responders that each of these runs answers for: its own first, then its companions."""
    runs = s.scalars(
        select(GenerationRun)
        .where(GenerationRun.id.in_(run_ids))
        .options(selectinload(GenerationRun.responder), selectinload(GenerationRun.companions, Companion.responder))
    )
    labels = {}
    for run in runs:
        companions = sorted(run.companions, key=lambda companion: companion.responder_id)
        labels[run.id] = [run.responder.label, *(companion.responder.label for companion in companions)]
    return labels


def list_generation_runs(s: Session, *, project_id: int) -> Sequence[GenerationRun]:
    """The project's GenerationRuns, newest first."""
    return s.scalars(
        select(GenerationRun)
        .where(GenerationRun.project_id == project_id)
        .order_by(GenerationRun.id.desc())
        .options(selectinload(GenerationRun.responder))
    ).all()
