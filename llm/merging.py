"""Merge an adapter into a copy of its base, in a process of its own; loads torch and no database.

    python -m llm.merging BASE ADAPTER PLACE

The copy keeps the base's tokenizer, chat template and generation settings; its manifest is written last.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errors import BrokenModel, first_line
from files import MANIFEST, write_json
from llm.folder import hash_weights
from llm.template import template_hash


class ZeroAdapter(BrokenModel):
    """An adapter that changes nothing."""


class NotFinite(BrokenModel):
    """An adapter whose numbers ran away."""


def merge(
    base: str,
    adapter: Path,
    place: Path,
    *,
    expected: str | None = None,
    stored: str = "float32",
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write the merged model to `place`, whole or not at all; a folder that is there already stays as it is.

    The sums are made in float32: rounded to fewer bits, much of a short training would be lost.

    Args:
        base: folder or hub id.
        adapter: folder as PEFT saves it.
        expected: hash that the base's chat template must have; none takes it as it is.
        stored: precision of the copy, by torch's name.
        about: further entries of the manifest, which has ``base_model``, ``weights_sha256`` and ``template_hash``.

    Raises `ZeroAdapter`, `NotFinite`, and `BrokenModel` for what cannot be loaded or a template that does not come
    out the same.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(base)
    template = _template_hash(tokenizer)
    if expected is not None and template != expected:
        raise BrokenModel(f"The chat template of {base} is not the one that it was registered with. Put that back.")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        model = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError) as problem:
        said = first_line(problem)
        raise BrokenModel(f"The adapter in {adapter} does not load with {base} ({said}). Is either damaged?") from None
    if not any(value.any() for name, value in model.named_parameters() if "lora_" in name and "_B." in name):
        raise ZeroAdapter(f"The adapter in {adapter} changes nothing: it is zero. Was it saved before its training?")
    try:
        merged = model.merge_and_unload(safe_merge=True)
    except ValueError as problem:
        raise NotFinite(f"The adapter in {adapter} cannot be merged ({problem}). Train it again, slower.") from None

    scratch = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)  # of a merging that was killed
    try:
        merged.to(getattr(torch, stored)).save_pretrained(str(scratch))
        tokenizer.save_pretrained(str(scratch))
        if _template_hash(_tokenizer(str(scratch))) != template:
            raise BrokenModel(f"The chat template of {base} does not come out of its copy as it was. Use another base.")
        known = {"base_model": base, "weights_sha256": hash_weights(scratch), "template_hash": template}
        write_json(scratch / MANIFEST, known | dict(about or {}))
        if not place.exists():
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def _tokenizer(location: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        said = first_line(problem)
        raise BrokenModel(f"The tokenizer of {location} cannot be loaded ({said}). Is the folder whole?") from None


def _template_hash(tokenizer: Any) -> str | None:
    return template_hash(tokenizer.chat_template) if tokenizer.chat_template else None


if __name__ == "__main__":
    try:
        merge(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), about={"adapter": sys.argv[2]})
    except BrokenModel as problem:
        sys.exit(str(problem))
