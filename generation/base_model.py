"""Base models as ModelVersions: the one in the settings, and others that are added by folder or hub id."""

import re
import shutil
import tempfile
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import ChatLayout, ModelVersion, Role
from db.people import require_role
from errors import AlreadyThere, BrokenModel, Refused
from files import MANIFEST, write_json
from llm.folder import (
    check_model_folder,
    is_hub_id,
    read_dtype,
    read_special_tokens,
    read_stop_tokens,
    read_template,
    weights_sha256,
)
from llm.template import LAYOUTS, check_system_prompt, template_hash
from settings import Engine, settings


def check_loadable(location: str) -> None:
    """Call `check_model_folder`, except for the echo engine and a remote endpoint, which read no folder here."""
    if settings().engine is not Engine.echo and not settings().engine_url:
        check_model_folder(location)


def register_base_model(s: Session) -> ModelVersion:
    """Return the ModelVersion of the base model in the settings, and create it at the first call, named as its folder.

    Raises `BrokenModel` when its folder cannot be used.
    """
    location = _resolve(settings().base_model or str(settings().default_model_dir))
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
    return _store(s, name=name, location=location, layout=None)


def free_model_name(s: Session, name: str) -> str:
    """The name without superfluous spaces. Raises `AlreadyThere` for an empty or taken one."""
    clean = " ".join(name.split())
    if not clean or s.scalar(select(ModelVersion.id).where(ModelVersion.name == clean)) is not None:
        raise AlreadyThere("Choose a name that no other model has.")
    return clean


def add_model(
    s: Session, *, by: int, project_id: int, name: str, location: str, layout: ChatLayout | None = None
) -> ModelVersion:
    """Register a model folder or hub id as a ModelVersion; managers only.

    Args:
        layout: replaces the chat template of a model that has none; refused for a model that has its own.

    Raises `BrokenModel` for a folder that cannot be used, `AlreadyThere` for a taken name, `BadTemplate` where the
    template would leave the system prompt out.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    name = free_model_name(s, name)
    if not location.strip():
        raise Refused("Say where the model is: a folder on this machine, or its id on the hub.")
    location = _resolve(location.strip())
    if layout is not None:
        location = _make_layout_folder(location, name=name, layout=layout)
    check_loadable(location)
    template = read_template(location)
    if template is not None:
        check_system_prompt(template, special=read_special_tokens(location))
    return _store(s, name=name, location=location, layout=layout)


def _resolve(location: str) -> str:
    return location if is_hub_id(location) else str(Path(location).expanduser().resolve())


def _store(s: Session, *, name: str, location: str, layout: ChatLayout | None) -> ModelVersion:
    template = read_template(location)
    version = ModelVersion(
        name=name,
        location=location,
        sha256=weights_sha256(location),
        template_hash=template_hash(template) if template else None,
        layout=layout,
        stop_tokens=read_stop_tokens(location),
        dtype=read_dtype(location),
    )
    s.add(version)
    s.flush()
    return version


def _make_layout_folder(location: str, *, name: str, layout: ChatLayout) -> str:
    """Make a folder of links to the model's files, with the layout as its chat template, and return its path.

    So engine and trainer find the same template where they look for any model's.
    """
    if is_hub_id(location):
        raise Refused("A layout needs the model as a folder on this machine. Download it, and give the folder.")
    check_model_folder(location, needs_template=False)
    if read_template(location) is not None:
        raise Refused("The model has its own chat template, and that is always used. Choose no layout.")
    folder = settings().models_dir / "laid-out" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{layout.value.lower()}"
    if folder.exists():
        raise AlreadyThere(f"There is a folder {folder} already. Choose another name for the model.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        for file in Path(location).iterdir():
            if file.is_file() and file.name != MANIFEST:
                (scratch / file.name).symlink_to(file)
        (scratch / "chat_template.jinja").write_text(LAYOUTS[layout.value], encoding="utf-8")
        write_json(scratch / MANIFEST, {"model": location, "layout": layout.value})
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return str(folder)
