"""Model folders as the trainer needs them: load a base model, merge an adapter into it, save the result whole."""

import shutil
from pathlib import Path
from typing import Any

from db.models import Adapter
from errors import BrokenModel, TrainingFailed, first_line
from files import MANIFEST, read_json, write_json
from llm.folder import hash_weights, is_hub_id
from llm.merging import InfiniteAdapter, ZeroAdapter, merge
from llm.template import template_hash
from training.trainer.cpu import keep_gradients
from training.trainer.run_folder import RunFolder, RunInput, StepReport

ADAM_COPIES = 3
"""Float32 values that a checkpoint keeps for each trained one: itself and Adam's two moments."""
SPARE_BYTES = 100_000_000
"""For tokenizers, logs and rounding."""


def has_cuda() -> bool:
    """Whether training runs on a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def device_name() -> str:
    """The name of the GPU, or the CPU's threads."""
    import torch

    return torch.cuda.get_device_name() if has_cuda() else f"CPU, {torch.get_num_threads()} threads"


def load_tokenizer(location: str, *, expected: str | None) -> Any:
    """The base model's tokenizer. Raises `BrokenModel` without a chat template, or with another than ``expected``."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError) as problem:
        raise BrokenModel(f"The tokenizer of {location} cannot be loaded ({first_line(problem)}). {_REMEDY}") from None
    if not tokenizer.chat_template:
        raise BrokenModel(f"{location} has no chat template: it is no instruct model. Choose one that is.")
    if expected and template_hash(tokenizer.chat_template) != expected:
        raise BrokenModel(
            f"The chat template of {location} changed since the model was registered, so its replies so far do not fit "
            "it any more. Put the old template back, or register the model under a new name."
        )
    return tokenizer


def load_model(location: str, *, adapter: Adapter | None = Adapter.LORA) -> Any:
    """The base model: float32 on a CPU, bfloat16 on a GPU that has it. Safetensors only, no code from the folder.

    Args:
        adapter: what will be trained. QLoRA's base is loaded in four bits (NF4 with double quantisation, as in its
            paper); where every weight is trained, they are float32 on a GPU too, with bfloat16 for the sums only.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if has_cuda() and torch.cuda.is_bf16_supported() and adapter is not None else torch.float32
    settings = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    if adapter is Adapter.QLORA:
        from transformers import BitsAndBytesConfig

        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(location, **settings)
        keep_gradients(model)
        return model
    except ImportError as problem:
        raise TrainingFailed(
            f"Four bits need bitsandbytes, which cannot be loaded here ({first_line(problem)}). Install the packages "
            "of requirements/train.txt, or choose LoRA."
        ) from None
    except (OSError, ValueError) as problem:
        raise BrokenModel(f"The model {location} cannot be loaded ({first_line(problem)}). {_REMEDY}") from None


_REMEDY = "It takes a folder or hub id with config.json, safetensors weights and a tokenizer."


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a reply, by the tokenizer or by the model's generation settings."""
    ids = {tokenizer.eos_token_id}
    for config in (model.generation_config, model.config):
        ends = getattr(config, "eos_token_id", None)
        ids |= set(ends) if isinstance(ends, list) else {ends}
    return ids - {None}


def bytes_to_write(model: Any, run: RunFolder, *, checkpoints: int, makes_model: bool) -> int:
    """Bytes that a training of ``model`` (with its adapter) has still to write; a resumed one has fewer.

    Up to so many ``checkpoints`` stand there at once: the next one is written before the oldest goes.
    """
    values = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = all(p.requires_grad for p in model.parameters())
    left = max(1, checkpoints - len(list(run.checkpoints.glob("checkpoint-*"))))
    best = 1 if run.best.is_dir() else 2  # a better one stands beside the last before it takes its place
    # as it is merged, however few bits it trains in
    served = model.num_parameters() * (2 if has_cuda() and not whole else 4) if makes_model else 0
    return int(served + 4 * values * (left * ADAM_COPIES + best) + SPARE_BYTES)


def hub_revision(location: str) -> str | None:
    """The commit of its hub repository in which a model is here: its id alone stays while its weights change.

    Asked after the model is loaded, without the network: transformers 5 notes in the hub's cache which commit it
    loaded, and no longer in the model's configuration. None for a folder, and for what was never loaded.
    """
    if not is_hub_id(location):
        return None
    from huggingface_hub import resolve_revision
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    try:
        return resolve_revision(location, local_files_only=True).resolved
    except (HFValidationError, RevisionResolutionError, OSError):
        return None


def lora_config(run_input: RunInput) -> Any:
    """PEFT's configuration of the adapter; none where every weight is trained."""
    if run_input.adapter is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=run_input.lora_rank,
        lora_alpha=run_input.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        use_dora=run_input.adapter is Adapter.DORA,
        use_rslora=run_input.adapter is Adapter.RSLORA,
    )


def save_model(run: RunFolder, run_input: RunInput) -> Path:
    """Make ``merged`` of the kept model, whole or not at all, and ``adapter`` where there is one; gives the former.

    Tokenizer, chat template and generation settings are the base model's. Raises `TrainingFailed` when the training
    changed nothing or the template would not come out the same.
    """
    shutil.rmtree(run.merged, ignore_errors=True)
    if run_input.adapter is None:
        return _save_whole_model(run, run_input)
    run.adapter.mkdir(exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if run.best.exists():  # else a finished folder is merged again, and the adapter is there
            shutil.copyfile(run.best / name, run.adapter / name)
    try:
        return merge(
            run_input.base_model,
            run.adapter,
            run.merged,
            expected_template_hash=run_input.template_hash,
            dtype="bfloat16" if has_cuda() else "float32",
            manifest={"snapshot_sha256": run_input.snapshot_sha256},
        )
    except ZeroAdapter:
        raise TrainingFailed(_explain_no_change(run)) from None
    except InfiniteAdapter as problem:
        raise TrainingFailed(f"{problem} A lower learning rate would help.") from None


def _save_whole_model(run: RunFolder, run_input: RunInput) -> Path:
    """The model of a training of every weight, with the base model's tokenizer and generation settings."""
    tokenizer = load_tokenizer(run_input.base_model, expected=run_input.template_hash)
    scratch = run.merged.with_name(f"{run.merged.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    model = load_model(str(run.best), adapter=None)
    if _has_same_weights(model, load_model(run_input.base_model, adapter=None)):
        raise TrainingFailed(_explain_no_change(run))
    model.save_pretrained(str(scratch))
    tokenizer.save_pretrained(str(scratch))
    settings = Path(run_input.base_model) / "generation_config.json"
    if settings.is_file():  # the trainer changes the padding token in what it saves
        shutil.copyfile(settings, scratch / settings.name)
    template = template_hash(tokenizer.chat_template)
    load_tokenizer(str(scratch), expected=template)
    manifest = {"base_model": run_input.base_model, "snapshot_sha256": run_input.snapshot_sha256}
    write_json(scratch / MANIFEST, manifest | {"weights_sha256": hash_weights(scratch), "template_hash": template})
    return scratch.rename(run.merged)


def _has_same_weights(model: Any, base: Any) -> bool:
    """Not a comparison of files, since those of another precision would differ without a change."""
    import torch

    weights = base.state_dict()
    return all(name in weights and torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def _explain_no_change(run: RunFolder) -> str:
    kept = read_json(run.best / "best.json").get("step")
    if isinstance(kept, int) and any(report.step > kept for report in run.read(StepReport)):
        return (
            "On the validation rows the model was never better than before the training, so there is no better one to "
            "keep. Read the rows on the page Look at data: are the picks of the training rows and of the validation "
            "rows alike?"
        )
    return "The training changed nothing: the adapter is zero. Use a higher learning rate."
