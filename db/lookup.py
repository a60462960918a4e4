"""What many rooms look up (a project by name, the models on offer, their newest checks) or save in one way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import Base, ModelVersion, ParityCheck, Project
from errors import NotFound, Refused, to_type

T = TypeVar("T", bound=Base)


def find_project(s: Session, name: str) -> Project:
    """The project of that name, or the only one if the name is empty. Raises `NotFound` with the existing names."""
    projects = s.scalars(select(Project).order_by(Project.id)).all()
    if not name and len(projects) == 1:
        return projects[0]
    for project in projects:
        if project.name == name:
            return project
    if not projects:
        raise NotFound(f"There is no project yet. Make one on the first page or with {to_type('new-project')}.")
    names = ", ".join(f"“{project.name}”" for project in projects)
    raise NotFound(f"There is no project “{name}”. There are: {names}." if name else f"Name one of: {names}.")


def refuse_retired(version: ModelVersion | None) -> None:
    """Raise `Refused` for a model that was retired from new work; None (a Responder without a model) passes."""
    if version is not None and version.retired_at is not None:
        raise Refused(f"{version.name} is retired. Bring it back on the page Trained models, or choose another model.")


def readable_location(version: ModelVersion) -> str:
    """Where tokenizer, template and settings of a model can be read: its base's, while an adapter is not merged."""
    while version.adapter_folder and version.parent and not Path(version.location).exists():
        version = version.parent
    return version.location


def list_models(s: Session, *, include_retired: bool = False) -> Sequence[ModelVersion]:
    """The ModelVersions that are offered for new work, oldest first; with `include_retired`, all ModelVersions."""
    condition = () if include_retired else (ModelVersion.retired_at.is_(None),)
    return s.scalars(select(ModelVersion).where(*condition).order_by(ModelVersion.id)).all()


def newest_parity_checks(s: Session, *, model_version_ids: Sequence[int]) -> dict[int, ParityCheck]:
    """The newest ParityCheck of each model that has one, by the model's id."""
    newest = select(func.max(ParityCheck.id)).where(ParityCheck.model_version_id.in_(model_version_ids))
    checks = s.scalars(select(ParityCheck).where(ParityCheck.id.in_(newest.group_by(ParityCheck.model_version_id))))
    return {check.model_version_id: check for check in checks}


def get_existing(s: Session, table: type[T], row_id: int, what: str, **options: Any) -> T:
    """The row with that id; options are `Session.get`'s, such as a lock. Raises `NotFound`, which calls it `what`."""
    row = s.get(table, row_id, **options)
    if row is None:
        raise NotFound(f"That {what} is not in the database any more. Reload the page.")
    return row


def add_unique(s: Session, row: Base, *, refusal: str) -> None:
    """Save a row of which only one may stand at a time. Raises `Refused`, with `refusal`, where one stands already."""
    try:
        with s.begin_nested():
            s.add(row)
            s.flush()
    except IntegrityError:
        raise Refused(refusal) from None


def insert_into(s: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what becomes of a row that is there already (`on_conflict_…`), for either database."""
    return (postgresql.insert if s.get_bind().dialect.name == "postgresql" else sqlite.insert)(table)


def get_model(s: Session, model_version_id: int) -> ModelVersion:
    """The ModelVersion with that id. Raises `NotFound`."""
    return get_existing(s, ModelVersion, model_version_id, "model")
