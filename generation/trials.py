"""The workbench: trying a Responder version on a few training prompts, and comparing it with earlier versions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import get_model, readable_location
from db.models import (
    GenerationRun,
    ModelVersion,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Role,
    RunStatus,
    Scope,
    TrialPrompt,
)
from db.people import require_role
from errors import NotFound, Refused
from generation.plan import has_model_of, refuse_unfit
from generation.responders import (
    RemoteModel,
    ResponderSpec,
    create_responder,
    create_version,
    free_number,
    normalize_spec,
    prompt_columns,
    spec_of,
)
from llm.folder import read_special_tokens, read_template
from llm.template import render_conversation

MAX_TRIAL_PROMPTS = 20
"""Most prompts in one trial: a few show what to change; an evaluation is for more."""
MILLION = 1_000_000
_FIRST_SAMPLE = Response.sample == 0


@dataclass(frozen=True)
class TriedVersion:
    """A Responder version that was tried out, how many prompts it was asked, and how many of them it has answered."""

    responder: Responder
    prompts: int
    answered: int


@dataclass(frozen=True)
class VersionDifference:
    """One part of a Responder that differs between two versions."""

    part: str
    before: str
    after: str


def start_trial(
    s: Session, *, by: int, project_id: int, spec: ResponderSpec, prompt_ids: Sequence[int], base: int | None = None
) -> Responder:
    """Ask a version for its replies to a few training prompts; a trial run whose engine still waits answers at once.

    Args:
        base: id of the Responder that it was changed from, if any.

    A version that exists already is asked only what it was not asked before. Managers only. Raises `Refused` for no
    or too many prompts, or held-out ones: a prompt that was used for tuning proves nothing in an evaluation.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    _check_prompts(s, project_id=project_id, prompt_ids=prompt_ids)
    spec = normalize_spec(spec)
    if isinstance(spec.model, int):
        refuse_unfit(s, get_model(s, spec.model))
    responder = _find_version(s, project_id=project_id, spec=spec)
    if responder is None and base is not None:
        responder = create_version(s, by=by, responder_id=base, spec=spec, listed=False)
    elif responder is None:
        name = f"Try {free_number(s, project_id=project_id, prefix='Try ', first=1)}"
        responder = create_responder(s, by=by, project_id=project_id, name=name, spec=spec, listed=False)
    earlier = set(s.scalars(select(TrialPrompt.prompt_id).where(TrialPrompt.responder_id == responder.id)))
    s.add_all(TrialPrompt(responder_id=responder.id, prompt_id=i) for i in prompt_ids if i not in earlier)
    s.flush()
    if not _has_trial_run(s, responder):
        s.add(
            GenerationRun(
                project_id=project_id,
                responder_id=responder.id,
                scope=Scope.TRAINING,
                samples=1,
                trial=True,
                total=len(prompt_ids),
                requested_by_id=by,
            )
        )
        s.flush()
    return responder


def list_tried_versions(s: Session, *, project_id: int) -> Sequence[TriedVersion]:
    """The versions that were tried out, newest first."""
    rows = s.execute(
        select(Responder, func.count(TrialPrompt.prompt_id), func.count(Response.id))
        .join(TrialPrompt, TrialPrompt.responder_id == Responder.id)
        .outerjoin(
            Response,
            (Response.responder_id == Responder.id) & (Response.prompt_id == TrialPrompt.prompt_id) & _FIRST_SAMPLE,
        )
        .where(Responder.project_id == project_id)
        .group_by(Responder.id)
        .order_by(Responder.id.desc())
        .options(selectinload(Responder.examples), selectinload(Responder.model_version))
    )
    return [TriedVersion(responder, prompts, answered) for responder, prompts, answered in rows]


def list_trial_prompts(s: Session, *, responder_ids: Sequence[int]) -> Sequence[Prompt]:
    """The prompts that any of these Responders was asked on the workbench, in import order."""
    prompt_ids = select(TrialPrompt.prompt_id).where(TrialPrompt.responder_id.in_(responder_ids))
    return s.scalars(select(Prompt).where(Prompt.id.in_(prompt_ids)).order_by(Prompt.id)).all()


def trial_answers(s: Session, *, responder: Responder, prompt_ids: Sequence[int]) -> dict[int, Response]:
    """The version's first replies to these prompts, by prompt id."""
    of_prompts = Response.responder_id == responder.id, Response.prompt_id.in_(prompt_ids), _FIRST_SAMPLE
    return {response.prompt_id: response for response in s.scalars(select(Response).where(*of_prompts))}


def cost_of(responder: Responder, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """US dollars for one reply of the Responder; None where a price or a count is unknown."""
    if None in (responder.price_in, responder.price_out, tokens_in, tokens_out):
        return None
    return ((responder.price_in or 0) * (tokens_in or 0) + (responder.price_out or 0) * (tokens_out or 0)) / MILLION


def sum_known(values: Sequence[float | None]) -> float | None:
    """The sum of the values; None where there is no value or one is unknown. Pure."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def differences(before: Responder, after: Responder) -> list[VersionDifference]:
    """The parts that differ, in the order of the form. Pure."""
    old, new = responder_parts(before), responder_parts(after)
    return [
        VersionDifference(part, old.get(part, ""), new.get(part, ""))
        for part in dict.fromkeys([*old, *new])
        if old.get(part, "") != new.get(part, "")
    ]


def responder_parts(responder: Responder) -> dict[str, str]:
    """Everything that determines a version's replies, by its name on the screen."""
    parts = {
        "Model": responder.model_version.name if responder.model_version else str(responder.endpoint_model),
        "System prompt": responder.instructions or "",
        "User's turn": responder.user_template or "",
    }
    parts |= {f"Field {name}": text for name, text in (responder.fields or {}).items()}
    for example in responder.examples:
        parts[f"Example {example.place}"] = f"{example.prompt}\n→ {example.reply}"
    parts["Sampling"] = (
        f"temperature {responder.temperature:g}, top-p {responder.top_p:g}, at most {responder.max_tokens} tokens"
    )
    return parts


def training_prompts(s: Session, *, project_id: int, most: int = 200) -> Sequence[Prompt]:
    """The first training prompts, in import order: enough to choose a few from."""
    query = select(Prompt).where(Prompt.project_id == project_id, Prompt.held_out.is_(False))
    return s.scalars(query.order_by(Prompt.id).limit(most)).all()


def render_for_model(s: Session, *, spec: ResponderSpec, prompt: Prompt) -> tuple[str, str]:
    """The text that the model reads for a prompt, turn marks included, and a sentence on whose template that is.

    Raises `BadTemplate` where the prompt cannot be rendered.
    """
    columns = prompt_columns(s, project_id=prompt.project_id)
    spec.prompt.check(columns)
    turns = spec.prompt.messages(prompt.text, prompt.context, prompt.extra)
    version = s.get(ModelVersion, spec.model) if isinstance(spec.model, int) else None
    location = readable_location(version) if version else ""
    template = read_template(location) if version else None
    if template is None:
        text = "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in turns)
        return text, "The endpoint puts its own marks round these turns."
    text = render_conversation(template, turns, special_tokens=read_special_tokens(location))
    layout = f"the layout {version.layout.value.lower()}" if version and version.layout else "the model's own template"
    return text, f"Rendered with {layout}, word for word as in training; the reply begins at the end."


def _check_prompts(s: Session, *, project_id: int, prompt_ids: Sequence[int]) -> None:
    if not 1 <= len(prompt_ids) <= MAX_TRIAL_PROMPTS:
        raise Refused(f"Choose 1 to {MAX_TRIAL_PROMPTS} prompts to try it on.")
    query = select(Prompt.held_out).where(Prompt.id.in_(prompt_ids), Prompt.project_id == project_id)
    held_out = s.scalars(query).all()
    if len(held_out) != len(set(prompt_ids)):
        raise NotFound("One of these prompts is not in the project any more. Reload the page.")
    if any(held_out):
        raise Refused("Held-out prompts are for the blind evaluation only. Try it on training prompts.")


def _find_version(s: Session, *, project_id: int, spec: ResponderSpec) -> Responder | None:
    """The version with exactly this spec, if there is one."""
    model = spec.model
    query = select(Responder).where(Responder.project_id == project_id, Responder.kind != ResponderKind.HUMAN)
    if isinstance(model, RemoteModel):
        query = query.where(Responder.endpoint_model == model.model)
    else:
        query = query.where(Responder.model_version_id == model)
    query = query.where(Responder.instructions == spec.prompt.instructions).order_by(Responder.id)
    return next((responder for responder in s.scalars(query) if spec_of(responder) == spec), None)


def _has_trial_run(s: Session, responder: Responder) -> bool:
    """Whether an unfinished trial run can answer for the Responder: such a run looks for more before it ends."""
    run_id = s.scalar(
        select(GenerationRun.id)
        .where(
            GenerationRun.project_id == responder.project_id,
            GenerationRun.trial,
            GenerationRun.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]),
            GenerationRun.cancel_requested.is_(False),
            GenerationRun.responder.has(has_model_of(responder)),
        )
        .with_for_update()
    )
    return run_id is not None
