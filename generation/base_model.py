"""Base models as ModelVersions: the one in the settings, and others that are added by folder or hub id."""

import re
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Layout, ModelVersion, Role
from db.people import require
from errors import AlreadyThere, BrokenModel, Refused
from files import MANIFEST, write_json
from llm.folder import (
    check_model_folder,
    dtype_of,
    is_hub_id,
    special_tokens_of,
    stop_tokens_of,
    template_of,
    weights_sha256,
)
from llm.template import LAYOUTS, check_system_prompt, template_hash
from settings import Engine, settings


def check_loadable(location: str) -> None:
    """`check_model_folder`, unless nothing is loaded here: the echo engine and a remote endpoint read no folder."""
    if settings().engine is not Engine.echo and not settings().engine_url:
        check_model_folder(location)


def register_base_model(s: Session) -> ModelVersion:
    """The ModelVersion of the base model in the settings, made at the first call; its name is the folder's.

    Raises `BrokenModel` when its folder cannot be used.
    """
    location = _resolved(settings().base_model or str(settings().default_model_dir))
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
    return _stored(s, name=name, location=location, layout=None)


def add_model(
    s: Session, *, by: int, project_id: int, name: str, location: str, layout: Layout | None = None
) -> ModelVersion:
    """Make a model folder or hub id a ModelVersion; managers only.

    Args:
        layout: stands in for the chat template of a model that has none; refused for one that has its own.

    Raises `BrokenModel` for a folder that cannot be used, `AlreadyThere` for a taken name, `BadTemplate` where the
    template would leave the system prompt out.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split())
    if not clean or s.scalar(select(ModelVersion.id).where(ModelVersion.name == clean)) is not None:
        raise AlreadyThere("Choose a name that no other model has.")
    if not location.strip():
        raise Refused("Say where the model is: a folder on this machine, or its id on the hub.")
    place = _resolved(location.strip())
    if layout is not None:
        place = _laid_out(place, name=clean, layout=layout)
    check_loadable(place)
    template = template_of(place)
    if template is not None:
        check_system_prompt(template, special=special_tokens_of(place))
    return _stored(s, name=clean, location=place, layout=layout)


def _resolved(location: str) -> str:
    return location if is_hub_id(location) else str(Path(location).expanduser().resolve())


def _stored(s: Session, *, name: str, location: str, layout: Layout | None) -> ModelVersion:
    template = template_of(location)
    version = ModelVersion(
        name=name,
        location=location,
        sha256=weights_sha256(location),
        template_hash=template_hash(template) if template else None,
        layout=layout,
        stop_tokens=stop_tokens_of(location),
        dtype=dtype_of(location),
    )
    s.add(version)
    s.flush()
    return version


def _laid_out(location: str, *, name: str, layout: Layout) -> str:
    """A folder of ours that holds the model by links, and the layout as its chat template.

    So engine and trainer find the same template where they look for any model's.
    """
    if is_hub_id(location):
        raise Refused("A layout needs the model as a folder on this machine. Download it, and give the folder.")
    check_model_folder(location, templated=False)
    if template_of(location) is not None:
        raise Refused("The model has its own chat template, and that is always used. Choose no layout.")
    place = settings().models_dir / "laid-out" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{layout.value.lower()}"
    if place.exists():
        raise AlreadyThere(f"There is a folder {place} already. Choose another name for the model.")
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    try:
        for file in Path(location).iterdir():
            if file.is_file() and file.name != MANIFEST:
                (scratch / file.name).symlink_to(file)
        (scratch / "chat_template.jinja").write_text(LAYOUTS[layout.value], encoding="utf-8")
        write_json(scratch / MANIFEST, {"model": location, "layout": layout.value})
        scratch.chmod(0o755)
        scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return str(place)
