"""TRL's trainer for each method, set up for this machine and proved to see our rows.

Loaded in the trainer's process only. Settings that differ from TRL's were measured on two cores (docs/experiments.md):
no bf16 and no checkpointing of gradients (with them a step took minutes), one pair at a time in one pass, with the
reference computed beforehand.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from db.models import Adapter, Loss, Method
from files import file_sha256
from llm.folder import hash_weights, is_hub_id
from training.data.terms import Split
from training.trainer import trackers
from training.trainer.examples import WITH_REFERENCE, Example
from training.trainer.guards import Encoded, check_seen
from training.trainer.processes import is_first, processes
from training.trainer.reference import Kept, Told, with_kept_reference
from training.trainer.run_folder import CHECKPOINTS, RunInput, steps_of
from training.trainer.shared_prompt import with_shared_prompts
from training.trainer.weights import lora_config, on_gpu, revision_of

CHECKPOINTS_KEPT = 2
TRL_LOSSES: Mapping[Loss, str] = {
    Loss.SIGMOID: "sigmoid",
    Loss.IPO: "ipo",
    Loss.ROBUST: "robust",
    Loss.APO_ZERO: "apo_zero",
    Loss.SIGMOID_NORM: "sigmoid_norm",
}
SIMPO_GAMMA = 0.5
"""SimPO's target margin, as a share of beta (Meng et al. 2024, section 2.3)."""

Examples = Mapping[Split, Sequence[Example]]


def steps(given: RunInput, rows: Examples) -> int:
    """Optimizer steps of the training."""
    return steps_of(
        pairs=len(rows[Split.TRAIN]), epochs=given.epochs, batch_size=given.batch_size, max_steps=given.max_steps
    )


def expected_first_loss(given: RunInput) -> float | None:
    """The loss of a model that is its own reference; none where it has a part that rewards do not fix."""
    if given.method is not Method.DPO or given.sft_weight:
        return None
    return {Loss.IPO: 1 / (4 * given.beta**2), Loss.APO_ZERO: 1.0}.get(given.loss, math.log(2))


def make_trainer(
    folder: Path,
    given: RunInput,
    rows: Examples,
    encoded: Mapping[Split, Sequence[Encoded]],
    *,
    tokenizer: Any,
    model: Any,
    reference: Any,
    callbacks: Sequence[Any],
    told: Told,
) -> Any:
    """The trainer, ready to train. Raises `TrainingFailed` where it would see other rows than ours.

    Args:
        reference: model to hold the trained one to; none for the one that the training starts from.
        told: hears how many rows the reference model has scored.
    """
    trainer_class, config_class, more = _kind(given, told=told)
    if given.method is Method.DPO and processes() == 1 and not on_gpu():  # elsewhere nobody has measured what it gives
        trainer_class = with_shared_prompts(trainer_class, [one for one in (model, reference) if one is not None])
    arguments = config_class(**_common(folder, given, rows), **more)
    given_reference = {"ref_model": reference} if given.method in WITH_REFERENCE and reference is not None else {}
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=_dataset(folder, given.method, rows, Split.TRAIN),
        eval_dataset=_dataset(folder, given.method, rows, Split.VALIDATION) if rows[Split.VALIDATION] else None,
        processing_class=tokenizer,
        peft_config=lora_config(given),
        callbacks=list(callbacks),
        **given_reference,
    )
    if given.method in (Method.ORPO, Method.SIMPO):
        # these tokenize in a way of their own, with a second end of turn after ours; so they get our tokens
        trainer.train_dataset = _tokens(encoded[Split.TRAIN])
        trainer.eval_dataset = _tokens(encoded[Split.VALIDATION]) if encoded[Split.VALIDATION] else None
    else:
        for split, seen in ((Split.TRAIN, trainer.train_dataset), (Split.VALIDATION, trainer.eval_dataset or ())):
            check_seen(encoded[split], [_seen(given.method, row) for row in seen])
    return trainer


def _kind(given: RunInput, *, told: Told) -> tuple[Any, Any, dict[str, Any]]:
    """Trainer class, configuration class, and what only this method's configuration has."""
    if given.method is Method.SFT:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        return SFTTrainer, SFTConfig, {"packing": False, "completion_only_loss": True}
    if given.method is Method.KTO:
        from trl.trainer.kto_config import KTOConfig
        from trl.trainer.kto_trainer import KTOTrainer

        # at least two at once: the KL term is estimated from replies to the other prompts of the batch
        more = {"beta": given.beta, "train_sampling_strategy": "sequential"}
        return KTOTrainer, KTOConfig, more
    if given.method in (Method.ORPO, Method.SIMPO):
        return _experimental(given)
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    beforehand = not on_gpu()
    # several processes share the scoring out among them, as TRL does it
    keeping = beforehand and processes() == 1
    trainer = with_kept_reference(DPOTrainer, _kept(given), told) if keeping else DPOTrainer
    loss = TRL_LOSSES[given.loss]
    more = {
        "loss_type": [loss, "sft"] if given.sft_weight else [loss],
        "loss_weights": [1.0, given.sft_weight] if given.sft_weight else [1.0],
        "beta": given.beta,
        "label_smoothing": given.label_smoothing,
        # On a GPU batches are padded otherwise in the pass beforehand, and bfloat16 would not give the same numbers.
        "precompute_ref_log_probs": beforehand,
    }
    return trainer, DPOConfig, more


def _experimental(given: RunInput) -> tuple[Any, Any, dict[str, Any]]:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if given.method is Method.ORPO:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig, {"beta": given.beta, "remove_unused_columns": False}
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    more = {
        "loss_type": "simpo",
        "beta": given.beta,
        "simpo_gamma": SIMPO_GAMMA * given.beta,
        "cpo_alpha": given.sft_weight,
        "remove_unused_columns": False,
    }
    return CPOTrainer, CPOConfig, more


def _common(folder: Path, given: RunInput, rows: Examples) -> dict[str, Any]:
    """What every method's configuration has."""
    import torch

    gpu = on_gpu()
    in_all = steps(given, rows)
    least = 2 if given.method is Method.KTO else 1
    share = given.batch_size // processes()  # rows of a step that are this process's
    sizes = [n for n in ((4, 2, 1) if gpu else (1, 2)) if n >= least and share % n == 0]
    at_once = sizes[0] if sizes else max(least, share)
    validated = bool(rows[Split.VALIDATION]) and given.evaluations > 0
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "learning_rate": given.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": given.warmup_steps,
        "max_steps": in_all,
        "max_length": given.max_length,
        "seed": given.seed,
        "data_seed": given.seed,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": max(1, share // at_once),
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would show the mean of earlier losses in place of a NaN
        "eval_strategy": "steps" if validated else "no",
        "eval_steps": max(1, math.ceil(in_all / given.evaluations)) if validated else None,
        "save_strategy": "steps",
        "save_steps": given.save_every,
        "save_total_limit": CHECKPOINTS_KEPT,
        "save_only_model": False,
        "report_to": given.trackers or "none",
        **(trackers.arguments(folder) if given.trackers else {}),
        "disable_tqdm": True,
    }


def _kept(given: RunInput) -> Kept:
    """Where the reference's log-probabilities are kept, for all that decides them."""
    location = given.reference_model or given.base_model
    # where the hub's cache cannot tell the commit, no other training may rely on what this one finds
    weights = f"{location}@{revision_of(location) or uuid4()}" if is_hub_id(location) else hash_weights(Path(location))
    # another reference than the model in training is loaded whole
    precision = "QLORA" if given.adapter is Adapter.QLORA and given.reference_model is None else "float32"
    config = Path(location) / "config.json"
    model = {
        "weights": weights,
        "config": file_sha256(config) if config.is_file() else None,
        "template": given.template_hash,
        "precision": precision,
    }
    return Kept(Path(given.kept or "."), model=model)


def _dataset(folder: Path, method: Method, rows: Examples, split: Split) -> Any:
    """TRL's columns, in its conversational format; on disk, where all processes of a training find the same."""
    from datasets import Dataset, Features, Value, load_from_disk

    message = [{"role": Value("string"), "content": Value("string")}]
    mine = rows[split]
    names = ("chosen", "rejected") if mine and len(mine[0].replies) == 2 else ("completion",)
    data: dict[str, Any] = {"prompt": [row.prompt for row in mine]}
    data |= {name: [row.replies[place] for row in mine] for place, name in enumerate(names)}
    features: dict[str, Any] = dict.fromkeys(data, message)
    if method is Method.KTO:
        data["label"], features["label"] = [row.label for row in mine], Value("bool")
    place = folder / CHECKPOINTS / split.value.lower()
    if is_first():
        shutil.rmtree(place, ignore_errors=True)
        Dataset.from_dict(data, features=Features(features)).save_to_disk(str(place))
    wait_for_all()
    return load_from_disk(str(place))


def wait_for_all() -> None:
    """Let no process of this training go on before all are here."""
    from accelerate import PartialState

    if processes() > 1:
        PartialState().wait_for_everyone()


def _tokens(rows: Sequence[Encoded]) -> Any:
    """The columns that TRL's experimental trainers make for themselves, from our tokens."""
    from datasets import Dataset

    def columns(row: Encoded) -> dict[str, list[int]]:
        made = {"prompt_input_ids": row.prompt, "prompt_attention_mask": [1] * len(row.prompt)}
        for name, reply in zip(("chosen", "rejected"), row.replies, strict=True):
            made[f"{name}_input_ids"] = [*row.prompt, *reply]
            made[f"{name}_attention_mask"] = [1] * (len(row.prompt) + len(reply))
            made[f"{name}_labels"] = [-100] * len(row.prompt) + reply
        return made

    return Dataset.from_list([columns(row) for row in rows])


def _seen(method: Method, row: Mapping[str, Any]) -> tuple[list[int], ...]:
    """One of the trainer's rows as prompt and replies in tokens."""
    if method is Method.SFT:
        start = next((place for place, label in enumerate(row["labels"]) if label != -100), len(row["labels"]))
        ids = list(row["input_ids"])
        return ids[:start], ids[start:]
    replies = ("completion_ids",) if method is Method.KTO else ("chosen_ids", "rejected_ids")
    return tuple(list(row[name]) for name in ("prompt_ids", *replies))
