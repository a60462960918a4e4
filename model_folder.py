"""Model folders seen from outside: whether one is whole and safe, its chat template, the hash of its weights.

Light on purpose: no torch here, so pages may call it. A model is named by a local folder or by a hub id; a hub id is
the engine's to fetch, and only what is in the hub's cache on this machine is looked at.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from errors import BrokenModel
from files import MANIFEST, file_sha256, read_json
from settings import settings

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def is_hub_id(location: str) -> bool:
    """Whether `location` names a model on the hub and not a folder here."""
    return not location.startswith((".", "~")) and bool(_HUB_ID.fullmatch(location)) and not Path(location).exists()


def check_model_folder(location: str) -> None:
    """Raise `BrokenModel` unless `location` is a hub id or a complete model folder with safetensors weights."""
    if is_hub_id(location):
        return
    folder = Path(location)
    if not folder.is_dir():
        raise BrokenModel(f"There is no model folder {folder}. {_remedy(folder)}")
    if _ours(folder) and not (folder / MANIFEST).is_file():
        raise BrokenModel(f"The model folder {folder} is only half written. {_remedy(folder)}")
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise BrokenModel(f"The model folder {folder} has no {name}. {_remedy(folder)}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        if any(file.suffix in _PICKLED for file in folder.iterdir()):
            raise BrokenModel(
                f"The weights in {folder} are pickled, and such a file can run code as it is loaded. "
                "Save them as safetensors: model.save_pretrained(folder)."
            )
        raise BrokenModel(f"The model folder {folder} has no weights (*.safetensors). {_remedy(folder)}")
    for file in [*weights, *_missing_shards(folder)]:
        if not _whole(file):
            raise BrokenModel(f"The weights {file} are cut short or damaged. {_remedy(folder)}")
    if not _template(folder):
        raise BrokenModel(
            f"The model in {folder} has no chat template, so it cannot be asked anything. Use an instruction-tuned "
            "model, or put its template there as chat_template.jinja."
        )


def template_of(location: str) -> str | None:
    """The chat template's text; none for a hub id that is not in this machine's cache, or a model without one."""
    folder = _local_folder(location)
    return _template(folder) if folder else None


def ending_of(location: str) -> dict[str, Any]:
    """The ids of the tokens that end and pad a reply, as the model's own settings have them."""
    folder = _local_folder(location) or Path(location)
    known = read_json(folder / "config.json") | read_json(folder / "generation_config.json")
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: known[name] for name in names if known.get(name) is not None}


def weights_sha256(location: str) -> str | None:
    """Sha256 of the weights: of the file, or of the shards' hashes by name. None for a hub id.

    Our own folders have it in their manifest; others are read whole, about a second per GB.
    """
    folder = Path(location)
    if is_hub_id(location) or not folder.is_dir():
        return None
    known = read_json(folder / MANIFEST).get("weights_sha256")
    return known if isinstance(known, str) else hash_weights(folder)


def hash_weights(folder: Path) -> str:
    """Sha256 of the safetensors in `folder`, computed: of the only file, or of the shards' names and hashes."""
    hashes = {file.name: file_sha256(file) for file in sorted(folder.glob("*.safetensors"))}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in hashes.items()).encode()).hexdigest()


def _ours(folder: Path) -> bool:
    place = folder.resolve()
    return place == settings().default_model_dir or place.is_relative_to(settings().runs_dir)


def _remedy(folder: Path) -> str:
    if folder.resolve() == settings().default_model_dir:
        return "Run `make setup`, which gets the default model and what it takes to use it."
    if _ours(folder):
        return "Train it again, or choose another model."
    return "Put the whole model there, or set PICKWELL_BASE_MODEL to a folder that has it."


def _missing_shards(folder: Path) -> list[Path]:
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    return [folder / name for name in sorted(set(index.values())) if not (folder / name).is_file()]


def _whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says (https://github.com/huggingface/safetensors)."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= size - 8:
                return False
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def _template(folder: Path) -> str | None:
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several named templates: the one called default is used for chat
        template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _local_folder(location: str) -> Path | None:
    if not is_hub_id(location):
        return Path(location)
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(location, "config.json") if "/" in location else None
    return Path(config).parent if isinstance(config, str) else None
