"""Model folders as the trainer needs them: load a base model, merge an adapter into it, save the result whole."""

import shutil
from pathlib import Path
from typing import Any

from errors import BrokenModel, TrainingFailed
from files import MANIFEST, write_json
from model_folder import hash_weights
from template import template_hash
from training.run_folder import ADAPTER, MERGED, RunInput

ADAM_COPIES = 3
"""Float32 values that a checkpoint keeps for each trained one: itself and Adam's two moments."""
SPARE_BYTES = 100_000_000
"""For tokenizers, logs and rounding."""


def on_gpu() -> bool:
    """Whether training runs on a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def device_name() -> str:
    """What training runs on, for the record."""
    import torch

    return torch.cuda.get_device_name() if on_gpu() else f"CPU, {torch.get_num_threads()} threads"


def load_tokenizer(location: str, *, expected: str | None) -> Any:
    """The base model's tokenizer. Raises `BrokenModel` without a chat template, or with another than ``expected``."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        raise BrokenModel(f"The tokenizer of {location} cannot be loaded ({_first_line(problem)}). {_REMEDY}") from None
    if not tokenizer.chat_template:
        raise BrokenModel(f"{location} has no chat template: it is no instruct model. Choose one that is.")
    if expected and template_hash(tokenizer.chat_template) != expected:
        raise BrokenModel(
            f"The chat template of {location} changed since the model was registered, so its replies so far do not fit "
            "it any more. Put the old template back, or register the model under a new name."
        )
    return tokenizer


def load_model(location: str) -> Any:
    """The base model: float32 on a CPU, bfloat16 on a GPU that has it. Safetensors only, no code from the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if on_gpu() and torch.cuda.is_bf16_supported() else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(
            location, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as problem:
        raise BrokenModel(f"The model {location} cannot be loaded ({_first_line(problem)}). {_REMEDY}") from None


_REMEDY = "It takes a folder or hub id with config.json, safetensors weights and a tokenizer."


def _first_line(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0][:200]


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a reply, by the tokenizer or by the model's generation settings."""
    ids = {tokenizer.eos_token_id}
    for config in (model.generation_config, model.config):
        said = getattr(config, "eos_token_id", None)
        ids |= set(said) if isinstance(said, list) else {said}
    return {token for token in ids if token is not None}


def bytes_to_write(model: Any, *, checkpoints: int) -> int:
    """What a training of ``model`` (with its adapter) will write: the merged model and ``checkpoints`` checkpoints."""
    parameters = list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return int(weights + checkpoints * trained * 4 * ADAM_COPIES + SPARE_BYTES)


def merge(folder: Path, given: RunInput) -> Path:
    """Merge ``folder/adapter`` into a fresh copy of the base model as ``folder/merged``, whole or not at all.

    The adapter goes into weights of the precision that it was trained on: rounded to fewer bits, much of a short
    training would be lost. Tokenizer, chat template and generation settings are the base model's. Raises
    `TrainingFailed` when the adapter changes nothing or the template would not come out the same.
    """
    from peft import PeftModel

    tokenizer = load_tokenizer(given.base_model, expected=given.template_hash)
    model = PeftModel.from_pretrained(load_model(given.base_model), str(folder / ADAPTER))
    if not any(value.any() for name, value in model.named_parameters() if "lora_B" in name):
        raise TrainingFailed("The training changed nothing: the adapter is zero. Use a higher learning rate.")
    try:
        merged: Any = model.merge_and_unload(safe_merge=True)
    except ValueError as problem:
        raise TrainingFailed(f"The adapter cannot be merged ({problem}). Train with a lower learning rate.") from None

    scratch, place = folder / f"{MERGED}.tmp", folder / MERGED
    for old in (scratch, place):
        shutil.rmtree(old, ignore_errors=True)
    merged.save_pretrained(str(scratch))
    tokenizer.save_pretrained(str(scratch))
    template = template_hash(tokenizer.chat_template)
    load_tokenizer(str(scratch), expected=template)
    manifest = {
        "base_model": given.base_model,
        "snapshot_sha256": given.snapshot_sha256,
        "weights_sha256": hash_weights(scratch),
        "template_hash": template,
    }
    write_json(scratch / MANIFEST, manifest)
    scratch.rename(place)
    return place
