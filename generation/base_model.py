"""The base model in the settings as a ModelVersion, and whether a model can be loaded where it is to be used."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import ModelVersion
from errors import BrokenModel
from model_folder import check_model_folder, is_hub_id, template_of, weights_sha256
from settings import Engine, settings
from template import template_hash


def check_loadable(location: str) -> None:
    """`check_model_folder`, unless nothing is loaded here: the echo engine and a remote endpoint read no folder."""
    if settings().engine is not Engine.echo and not settings().engine_url:
        check_model_folder(location)


def register_base_model(s: Session) -> ModelVersion:
    """The ModelVersion of the base model in the settings, made at the first call; its name is the folder's.

    Raises `BrokenModel` when its folder cannot be used.
    """
    location = settings().base_model or str(settings().default_model_dir)
    if not is_hub_id(location):
        location = str(Path(location).expanduser().resolve())
    known = s.scalar(select(ModelVersion).where(ModelVersion.location == location, ModelVersion.parent_id.is_(None)))
    if known is not None:
        return known
    check_loadable(location)
    name = location if is_hub_id(location) else Path(location).name
    if s.scalar(select(ModelVersion.id).where(ModelVersion.name == name)) is not None:
        raise BrokenModel(
            f"A different model is called “{name}” already. Rename the folder {location} and set PICKWELL_BASE_MODEL "
            "to its new path."
        )
    template = template_of(location)
    version = ModelVersion(
        name=name,
        location=location,
        sha256=weights_sha256(location),
        template_hash=template_hash(template) if template else None,
    )
    s.add(version)
    s.flush()
    return version
