"""Merges an adapter into a copy of its base, in a process of its own; loads torch and no database.

    python -m llm.merging BASE ADAPTER FOLDER

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


class InfiniteAdapter(BrokenModel):
    """An adapter whose weights are infinite or not numbers."""


def merge(
    base: str,
    adapter: Path,
    folder: Path,
    *,
    expected_template_hash: str | None = None,
    dtype: str = "float32",
    manifest: Mapping[str, str] | None = None,
) -> Path:
    """Write the merged model to `folder`, whole or not at all; a folder that is there already stays as it is.

    The sums are computed in float32: in fewer bits, rounding would lose much of a short training.

    Args:
        base: folder or hub id.
        adapter: folder as PEFT saves it.
        expected_template_hash: hash that the base's chat template must have; None takes any.
        dtype: precision of the copy, by torch's name.
        manifest: entries of the copy's manifest beside ``base_model``, ``weights_sha256`` and ``template_hash``.

    Raises `ZeroAdapter`, `InfiniteAdapter`, and `BrokenModel` where something cannot be loaded or the copy's chat
    template differs from the base's.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokenizer = _load_tokenizer(base)
    base_hash = _template_hash(tokenizer)
    if expected_template_hash is not None and base_hash != expected_template_hash:
        raise BrokenModel(f"The chat template of {base} is not the one that it was registered with. Put that back.")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        model = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError) as problem:
        cause = first_line(problem)
        raise BrokenModel(f"The adapter in {adapter} does not load with {base} ({cause}). Is either damaged?") from None
    if not any(weight.any() for name, weight in model.named_parameters() if "lora_" in name and "_B." in name):
        raise ZeroAdapter(f"The adapter in {adapter} changes nothing: it is zero. Was it saved before its training?")
    try:
        merged = model.merge_and_unload(safe_merge=True)
    except ValueError as problem:
        raise InfiniteAdapter(
            f"The adapter in {adapter} cannot be merged ({problem}). Train it again, slower."
        ) from None

    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)  # left by a merge that was killed
    try:
        merged.to(getattr(torch, dtype)).save_pretrained(str(scratch))
        tokenizer.save_pretrained(str(scratch))
        if _template_hash(_load_tokenizer(str(scratch))) != base_hash:
            raise BrokenModel(f"The chat template of {base} does not come out of its copy as it was. Use another base.")
        entries = {"base_model": base, "weights_sha256": hash_weights(scratch), "template_hash": base_hash}
        write_json(scratch / MANIFEST, entries | dict(manifest or {}))
        if not folder.exists():
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _load_tokenizer(location: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        cause = first_line(problem)
        raise BrokenModel(f"The tokenizer of {location} cannot be loaded ({cause}). Is the folder whole?") from None


def _template_hash(tokenizer: Any) -> str | None:
    return template_hash(tokenizer.chat_template) if tokenizer.chat_template else None


if __name__ == "__main__":
    try:
        merge(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), manifest={"adapter": sys.argv[2]})
    except BrokenModel as problem:
        sys.exit(str(problem))
