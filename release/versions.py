"""ModelVersions over time: which there are, the licence of each, and retiring it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.lookup import get_model, list_models
from db.models import (
    BenchmarkRun,
    Companion,
    GenerationRun,
    JudgeRun,
    ModelVersion,
    ParityCheck,
    Responder,
    Role,
    RunStatus,
    TrainingRun,
    now,
)
from db.people import require_role
from errors import Refused
from files import MANIFEST, read_json
from llm.folder import is_hub_id
from training.lineage import model_lineage
from training.trainer.history import list_training_runs

NOT_KNOWN = "not known: ask"
"""Said of a licence that neither a manager nor the base's folder names."""
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?^license:[ \t]*[\"']?([\w.+-]+)", re.DOTALL | re.MULTILINE)
_TITLES = {"apache license": "apache-2.0", "mit license": "mit", "bsd 3-clause license": "bsd-3-clause"}
"""First lines of well-known licences, and the names that model hubs have for them."""


@dataclass(frozen=True)
class Licence:
    """What may be done with a model: a licence's name, or `NOT_KNOWN`; and who says so, in words."""

    text: str
    source: str


def licence_of(version: ModelVersion) -> Licence:
    """The licence that a manager typed for the model or the nearest one it was made from, else what its files say."""
    lineage = model_lineage(version)
    for model in lineage:
        if model.licence:
            return Licence(model.licence, "a manager typed it" if model is version else f"typed for {model.name}")
    base = lineage[-1]
    stored = None if is_hub_id(base.location) else licence_in(Path(base.location))
    return stored or Licence(NOT_KNOWN, f"nothing in the folder of {base.name} says it")


def licence_in(folder: Path) -> Licence | None:
    """What a model's folder says of its licence: its manifest, its card's front matter, or a licence's first line."""
    for name in (MANIFEST, "config.json"):
        stored = read_json(folder / name)
        for value in (stored.get("licence"), stored.get("license")):
            if isinstance(value, str) and value.strip():
                return Licence(value.strip()[:100], f"{name} of the base model")
    if match := _FRONT_MATTER.search(_beginning(folder / "README.md")):
        return Licence(match.group(1), "the base model's card")
    for name in LICENCE_FILES:
        if text := _beginning(folder / name).strip():
            first = text.splitlines()[0].strip()
            return Licence(_TITLES.get(first.lower(), first[:100]), f"{name} of the base model")
    return None


def _beginning(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(20_000)
    except OSError:
        return ""


def set_licence(s: Session, *, by: int, project_id: int, model_version_id: int, licence: str) -> ModelVersion:
    """Note a base model's licence, or with an empty one forget what was typed; managers only.

    Raises `Refused` for a model that was made from another: it has its base's.
    """
    version = _as_manager(s, by=by, project_id=project_id, model_version_id=model_version_id)
    if version.parent_id is not None:
        base = model_lineage(version)[-1]
        raise Refused(f"{version.name} has the licence of {base.name}, which it was made from. Type it there.")
    version.licence = " ".join(licence.split()) or None
    s.flush()
    return version


def _as_manager(s: Session, *, by: int, project_id: int, model_version_id: int) -> ModelVersion:
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    return get_model(s, model_version_id)


def retire(s: Session, *, by: int, project_id: int, model_version_id: int) -> ModelVersion:
    """Offer a model no more for trainings, generations and evaluations; what it did stays. Managers only.

    Raises `Refused` while a run uses it, or where no other model would be left to start from.
    """
    version = _as_manager(s, by=by, project_id=project_id, model_version_id=model_version_id)
    if version.retired_at is not None:
        return version
    if use := find_use(s, version):
        raise Refused(f"{version.name} is in use: {use}. Wait for its end or cancel it, then retire the model.")
    if all(other is version for other in list_models(s)):
        raise Refused(f"{version.name} is the only model that is not retired. Add or train another one first.")
    version.retired_at = now()
    s.flush()
    return version


def unretire(s: Session, *, by: int, project_id: int, model_version_id: int) -> ModelVersion:
    """Offer a retired model again; managers only."""
    version = _as_manager(s, by=by, project_id=project_id, model_version_id=model_version_id)
    version.retired_at = None
    s.flush()
    return version


def find_use(s: Session, version: ModelVersion) -> str | None:
    """The first run under way, in any project, that loads the model, in words; none where no run does."""
    under_way = [status for status in RunStatus if not status.ended]
    answers = select(Responder.id).where(Responder.model_version_id == version.id).scalar_subquery()
    beside = select(Companion.generation_run_id).where(Companion.responder_id.in_(answers)).scalar_subquery()
    for words, model, uses in (
        ("training run {}", TrainingRun, TrainingRun.base_model_id == version.id),
        ("generation run {}", GenerationRun, GenerationRun.responder_id.in_(answers) | GenerationRun.id.in_(beside)),
        ("the check of how it is served, run {}", ParityCheck, ParityCheck.model_version_id == version.id),
        ("the model judge, run {}", JudgeRun, JudgeRun.responder_id.in_(answers)),
        ("benchmark run {}", BenchmarkRun, BenchmarkRun.model_version_id == version.id),
    ):
        run_id = s.scalar(select(model.id).where(uses, model.status.in_(under_way)).order_by(model.id))
        if run_id is not None:
            return words.format(run_id)
    return None


@dataclass(frozen=True)
class ModelEntry:
    """A ModelVersion with the project's training that made it, if one did."""

    version: ModelVersion
    run: TrainingRun | None


def list_model_entries(s: Session, *, project_id: int) -> Sequence[ModelEntry]:
    """Every model there is, retired ones too, newest first, with the project's training where that made it."""
    runs = {run.model_version_id: run for run in list_training_runs(s, project_id=project_id)}
    return [ModelEntry(version, runs.get(version.id)) for version in reversed(list_models(s, include_retired=True))]
