"""Model folders without loading the model: whether one is complete and safe, its template, the hash of its weights.

No torch here, so pages may call it. A location is a local folder or a hub id. The engine downloads hub ids; this module
reads only what the hub's cache on this machine has.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from errors import BrokenModel, to_type
from files import MANIFEST, file_sha256, read_json
from settings import settings

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def is_hub_id(location: str) -> bool:
    """Whether `location` names a model on the hub and not a folder here."""
    return not location.startswith((".", "~")) and bool(_HUB_ID.fullmatch(location)) and not Path(location).exists()


def check_model_folder(location: str, *, needs_template: bool = True) -> None:
    """Raise `BrokenModel` unless `location` is a hub id or a complete model folder with safetensors weights.

    Args:
        needs_template: whether it must have a chat template.
    """
    if is_hub_id(location):
        return
    folder = Path(location)
    if not folder.is_dir():
        raise BrokenModel(f"There is no model folder {folder}. {_remedy(folder)}")
    if _is_made_here(folder) and not (folder / MANIFEST).is_file():
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
        if not _read_header(file):
            raise BrokenModel(f"The weights {file} are cut short or damaged. {_remedy(folder)}")
    if "auto_map" in read_json(folder / "config.json"):
        raise BrokenModel(
            f"The model in {folder} brings program code of its own (auto_map in config.json), and that is never run "
            "here. Use a model whose kind the engine knows by itself."
        )
    if needs_template and not _read_template(folder):
        raise BrokenModel(
            f"The model in {folder} has no chat template, so it cannot be asked anything. Choose a layout for it, use "
            "an instruction-tuned model, or put its template there as chat_template.jinja."
        )


def read_template(location: str) -> str | None:
    """The chat template's text; None for a hub id that is not in this machine's cache, or a model without one."""
    folder = _local_folder(location)
    return _read_template(folder) if folder else None


def read_end_tokens(location: str) -> dict[str, Any]:
    """The ids of the tokens that begin, end and pad a reply, from the model's own settings."""
    folder = _local_folder(location) or Path(location)
    config = read_json(folder / "config.json") | read_json(folder / "generation_config.json")
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: config[name] for name in names if config.get(name) is not None}


def read_special_tokens(location: str) -> dict[str, str]:
    """The special tokens that a chat template may name, such as ``bos_token``, as text."""
    folder = _local_folder(location)
    if folder is None:
        return {}
    config = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
    tokens = {name: config.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def read_dtype(location: str) -> str | None:
    """Precision of the stored weights, such as ``bfloat16``; None where the folder does not say."""
    folder = _local_folder(location)
    config = read_json(folder / "config.json") if folder else {}
    dtype = config.get("dtype", config.get("torch_dtype"))
    return dtype if isinstance(dtype, str) else None


def read_stop_tokens(location: str) -> str | None:
    """The tokens that end a reply, as text, separated by spaces; None where the folder does not say."""
    folder = _local_folder(location)
    if folder is None:
        return None
    eos = read_end_tokens(location).get("eos_token_id")
    token_ids = set(eos if isinstance(eos, list) else [eos]) - {None}
    added = read_json(folder / "tokenizer.json").get("added_tokens", [])
    texts = {token["id"]: token["content"] for token in added}
    return " ".join(texts.get(token_id, str(token_id)) for token_id in sorted(token_ids)) or None


def weights_sha256(location: str) -> str | None:
    """Sha256 of the weights, as `hash_weights` computes it; None for a hub id.

    Folders made here have it in their manifest; others are read whole, about a second per GB.
    """
    folder = Path(location)
    if is_hub_id(location) or not folder.is_dir():
        return None
    recorded = read_json(folder / MANIFEST).get("weights_sha256")
    return recorded if isinstance(recorded, str) else hash_weights(folder)


def hash_weights(folder: Path) -> str:
    """Sha256 of the safetensors in `folder`: of the only file, or of the shards' names and hashes."""
    hashes = {file.name: file_sha256(file) for file in sorted(folder.glob("*.safetensors"))}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in hashes.items()).encode()).hexdigest()


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every matrix in the folder's safetensors by its name, read from their headers alone."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: tuple(entry["shape"]) for file in files for name, entry in _read_header(file).items()}


def _read_header(file: Path) -> dict[str, Any]:
    """The tensors that a safetensors file lists (https://github.com/huggingface/safetensors); empty if damaged."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 2 <= length <= size - 8 else {}
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = [entry["data_offsets"][1] for entry in entries.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return entries if ends and size == 8 + length + max(ends) else {}


def _is_made_here(folder: Path) -> bool:
    folder = folder.resolve()
    parents = (settings().runs_dir, settings().models_dir / "merged", settings().models_dir / "laid-out")
    return folder == settings().default_model_dir or any(map(folder.is_relative_to, parents))


def _remedy(folder: Path) -> str:
    if folder.resolve() == settings().default_model_dir:
        return f"Run `{to_type('setup')}`, which gets the default model and what it takes to use it."
    if _is_made_here(folder):
        return "Train it again, or choose another model."
    return "Put the whole model there, or set PICKWELL_BASE_MODEL to a folder that has it."


def _missing_shards(folder: Path) -> list[Path]:
    weight_map = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    return [folder / name for name in sorted(set(weight_map.values())) if not (folder / name).is_file()]


def _read_template(folder: Path) -> str | None:
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
