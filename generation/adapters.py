"""Adapters that were trained elsewhere: whether one fits its base, and the copy of the base that it is merged into.

Light: headers and configuration are read here; merging loads torch and happens in a process of its own.
"""

import subprocess
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from db.lookup import get_existing, refuse_retired
from db.models import Adapter, ModelVersion, ParityCheck, Responder, Role
from db.people import require_role
from errors import BrokenModel
from files import read_json
from generation.base_model import free_model_name
from llm.engine import Weights, can_load_adapters
from llm.folder import check_model_folder, hash_weights, is_hub_id, read_shapes, read_template
from llm.serving import RANKS
from llm.template import template_hash
from settings import ROOT, settings

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_REWRITING_INITS = ("pissa", "olora", "corda", "loftq", "eva", "lora_ga")
"""Initializations (PEFT's init_lora_weights) that rewrite the base itself: their adapters fit no untouched base."""


def add_adapter(
    s: Session, *, by: int, project_id: int, name: str, folder: str, base_id: int, quantised: bool = False
) -> ModelVersion:
    """Register an adapter's folder (as PEFT saves it) on its base as a ModelVersion; managers only.

    Args:
        quantised: the adapter was trained on a base in four bits (QLoRA); PEFT's files do not say.

    Raises `BrokenModel` for an adapter that is damaged, unsafe or for another base; `AlreadyThere` for a taken name.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    base = get_existing(s, ModelVersion, base_id, "base model")
    refuse_retired(base)
    name = free_model_name(s, name)
    path = Path(folder).expanduser().resolve()
    config = check_adapter(path, base.location)
    sha256 = hash_weights(path)
    template = read_template(base.location)
    version = ModelVersion(
        name=name,
        location=str(settings().models_dir / "merged" / f"{sha256[:16]}-on-{base.id}"),
        sha256=sha256,
        template_hash=template_hash(template) if template else None,
        layout=base.layout,
        stop_tokens=base.stop_tokens,
        dtype=base.dtype,
        adapter=adapter_kind(config, quantised=quantised),
        adapter_folder=str(path),
        parent_id=base.id,
    )
    s.add(version)
    s.flush()
    s.add(ParityCheck(project_id=project_id, model_version_id=version.id, requested_by_id=by))
    s.flush()
    return version


def adapter_kind(config: Mapping[str, Any], *, quantised: bool = False) -> Adapter:
    """The kind of adapter that PEFT's configuration describes."""
    if config.get("use_dora"):
        return Adapter.DORA
    if quantised:
        return Adapter.QLORA
    return Adapter.RSLORA if config.get("use_rslora") else Adapter.LORA


def check_adapter(folder: Path, base: str) -> Mapping[str, Any]:
    """Check that the adapter is whole, safe and made for this base, and return its configuration.

    Every matrix pair must fit a matrix of the base: A is rank x inputs, B is outputs x rank. Raises `BrokenModel`.
    """
    config = read_json(folder / CONFIG)
    if not folder.is_dir() or not config:
        raise BrokenModel(f"{folder} holds no adapter: there is no {CONFIG} in it. Give the folder that PEFT saved.")
    if not (folder / WEIGHTS).is_file():
        if (folder / "adapter_model.bin").exists():
            raise BrokenModel(
                f"The adapter in {folder} is pickled, and such a file can run code as it is loaded. Save it as "
                "safetensors: model.save_pretrained(folder)."
            )
        raise BrokenModel(f"The adapter in {folder} has no {WEIGHTS}. Give the folder that PEFT saved.")
    if config.get("peft_type") != "LORA":
        raise BrokenModel(
            f"The adapter in {folder} is of type {config.get('peft_type')}. Only LoRA and its kin (rsLoRA, DoRA, "
            "QLoRA) can be served."
        )
    init = str(config.get("init_lora_weights", True)).lower()
    if init.startswith(BASE_REWRITING_INITS):
        raise BrokenModel(
            f"The adapter in {folder} began as {init}, which rewrote the base's own weights, so it does not fit the "
            "base as it is. Convert it to plain LoRA when saving (PEFT's path_initial_model_for_weight_conversion)."
        )
    if is_hub_id(base):
        return config
    check_model_folder(base)
    _refuse_misfit(folder, read_shapes(Path(base)))
    return config


def _refuse_misfit(folder: Path, base: Mapping[str, tuple[int, ...]]) -> None:
    matrices = read_shapes(folder)
    if not matrices:
        raise BrokenModel(f"The adapter in {folder} is empty or damaged. Save it again.")
    for name, shape in matrices.items():
        module, _, part = name.removeprefix("base_model.model.").partition(".lora_")
        if part[:1] not in ("A", "B") or len(shape) != 2:
            continue
        weight = base.get(f"{module}.weight")
        fits = weight is not None and (shape[1] == weight[1] if part[:1] == "A" else shape[0] == weight[0])
        if not fits:
            base_part = f"that is {weight[0]} x {weight[1]} there" if weight else "the base has no such part"
            raise BrokenModel(
                f"The adapter in {folder} was made for another base: its {module} is {shape[0]} x {shape[1]}, and "
                f"{base_part}. Choose the base that it was trained on."
            )


def engine_weights(version: ModelVersion) -> Weights:
    """What an engine loads for the model: base and adapter where it can combine them, else one merged folder."""
    merged = Weights(version.name, version.location)
    if version.adapter in (None, Adapter.DORA) or version.adapter_folder is None or not can_load_adapters():
        return merged
    config = read_json(Path(version.adapter_folder) / CONFIG)
    rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
    if version.parent is None or config.get("modules_to_save") or rank > RANKS[-1]:
        return merged  # vLLM takes no such adapter, and one of them would keep all others from starting
    return Weights(version.name, version.parent.location, version.adapter_folder, rank or None)


def engine_key(responder: Responder) -> Hashable:
    """A key of the engine that answers for the Responder; Responders with equal keys can share an engine."""
    if responder.model_version is None:
        return responder.endpoint_url, responder.endpoint_model, responder.key_variable
    return engine_weights(responder.model_version).location


def ensure_merged(version: ModelVersion | None) -> None:
    """Merge an added adapter into a copy of its base, unless the copy exists or no engine needs it.

    Takes seconds to minutes. Raises `BrokenModel` with the last line of the merging process's errors.
    """
    if version is not None and not settings().engine_url:
        _ensure_folder(version.parent if engine_weights(version).adapter_folder else version)


def _ensure_folder(version: ModelVersion | None) -> None:
    if version is None or version.adapter_folder is None or version.parent is None or Path(version.location).exists():
        return
    _ensure_folder(version.parent)
    folders = [version.parent.location, version.adapter_folder, version.location]
    process = subprocess.run([sys.executable, "-m", "llm.merging", *folders], cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        reason = process.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise BrokenModel(f"The adapter of {version.name} could not be merged into its base: {reason[0]}")
