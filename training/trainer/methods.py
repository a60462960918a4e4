"""TRL's trainer for each method, set up for this machine and proved to see our rows.

Loaded in the trainer's process only. Settings that differ from TRL's were measured on two cores (docs/experiments.md):
no bf16 and no checkpointing of gradients (with them a step took minutes), one pair at a time in one pass, with the
reference computed beforehand.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from db.models import Adapter, Method, Split
from files import file_sha256
from llm.folder import hash_weights, is_hub_id
from training.recipe.recipe import EXPERIMENTAL, WITH_REFERENCE, Loss
from training.trainer.cpu import longest_first, with_longest_first, with_precomputed_reference, with_shared_prompts
from training.trainer.examples import TrainingExample
from training.trainer.guards import EncodedRow, check_trainer_rows
from training.trainer.processes import is_first, processes
from training.trainer.reference import ReferenceScores
from training.trainer.run_folder import RunFolder, RunInput
from training.trainer.weights import has_cuda, hub_revision, lora_config

CHECKPOINTS_KEPT = 2
SIMPO_GAMMA = 0.5
"""SimPO's target margin, as a share of beta (Meng et al. 2024, section 2.3)."""

ExamplesBySplit = Mapping[Split, Sequence[TrainingExample]]


def expected_first_loss(run_input: RunInput) -> float | None:
    """The loss of a model that is its own reference; none where it has a part that rewards do not fix."""
    if run_input.method is not Method.DPO or run_input.rpo_alpha:
        return None
    return {Loss.IPO: 1 / (4 * run_input.beta**2), Loss.APO_ZERO: 1.0}.get(run_input.loss, math.log(2))


def make_trainer(
    run: RunFolder,
    run_input: RunInput,
    rows: ExamplesBySplit,
    encoded: Mapping[Split, Sequence[EncodedRow]],
    *,
    tokenizer: Any,
    model: Any,
    reference: Any,
    callbacks: Sequence[Any],
    on_progress: Callable[[int], None],
) -> Any:
    """The trainer, ready to train. Raises `TrainingFailed` where it would see other rows than ours.

    Its first step has the longest row, so that a training that memory does not hold fails there.

    Args:
        reference: model to hold the trained one to; none for the one that the training starts from.
        on_progress: gets the number of rows that the reference model has scored.
    """
    trainer_class, config_class, more = _trl_classes(run_input, on_progress=on_progress)
    in_one_pass = run_input.method is Method.DPO and processes() == 1 and not has_cuda()  # not measured elsewhere
    lengths = [row.tokens if in_one_pass else row.length for row in encoded[Split.TRAIN]]
    seen = run_input.steps(len(lengths)) * run_input.effective_batch_size
    if run_input.method is Method.KTO:  # goes through its rows as they stand, for each is paired with its neighbours
        order = longest_first(range(len(lengths)), lengths, seen=seen)
        rows = {**rows, Split.TRAIN: [rows[Split.TRAIN][place] for place in order]}
        encoded = {**encoded, Split.TRAIN: [encoded[Split.TRAIN][place] for place in order]}
    else:
        trainer_class = with_longest_first(trainer_class, lengths, seen=seen)
    if in_one_pass:
        trainer_class = with_shared_prompts(trainer_class, [model] if reference is None else [model, reference])
    trainer = trainer_class(
        model=model,
        args=config_class(**_common_settings(run, run_input, rows), **more),
        train_dataset=_dataset(run, run_input.method, rows, Split.TRAIN),
        eval_dataset=_dataset(run, run_input.method, rows, Split.VALIDATION) if rows[Split.VALIDATION] else None,
        processing_class=tokenizer,
        peft_config=lora_config(run_input),
        callbacks=list(callbacks),
        **({"ref_model": reference} if run_input.method in WITH_REFERENCE and reference is not None else {}),
    )
    if run_input.method in EXPERIMENTAL:
        # these tokenize in a way of their own, with a second end of turn after ours; so they get our tokens
        trainer.train_dataset = _token_dataset(encoded[Split.TRAIN])
        trainer.eval_dataset = _token_dataset(encoded[Split.VALIDATION]) if encoded[Split.VALIDATION] else None
    else:
        for split, dataset in ((Split.TRAIN, trainer.train_dataset), (Split.VALIDATION, trainer.eval_dataset or ())):
            check_trainer_rows(encoded[split], [_trainer_row(run_input.method, row) for row in dataset])
    return trainer


def _trl_classes(run_input: RunInput, *, on_progress: Callable[[int], None]) -> tuple[Any, Any, dict[str, Any]]:
    """Trainer class, configuration class, and what only this method's configuration has."""
    if run_input.method is Method.SFT:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        return SFTTrainer, SFTConfig, {"packing": False, "completion_only_loss": True}
    if run_input.method is Method.KTO:
        from trl.trainer.kto_config import KTOConfig
        from trl.trainer.kto_trainer import KTOTrainer

        return KTOTrainer, KTOConfig, {"train_sampling_strategy": "sequential"}
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if run_input.method is Method.ORPO:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig, {"remove_unused_columns": False}
    if run_input.method is Method.SIMPO:
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        more = {"loss_type": "simpo", "simpo_gamma": SIMPO_GAMMA * run_input.beta, "cpo_alpha": run_input.rpo_alpha}
        return CPOTrainer, CPOConfig, {**more, "remove_unused_columns": False}
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    beforehand = not has_cuda()
    trainer_class = DPOTrainer
    if beforehand and processes() == 1:  # several processes share the scoring out among them, as TRL does it
        trainer_class = with_precomputed_reference(DPOTrainer, _reference_scores(run_input), on_progress)
    losses = {run_input.loss.value.lower(): 1.0} | ({"sft": run_input.rpo_alpha} if run_input.rpo_alpha else {})
    # On a GPU batches are padded otherwise in the pass beforehand, and bfloat16 would not give the same numbers.
    more = {"precompute_ref_log_probs": beforehand}
    return trainer_class, DPOConfig, {"loss_type": list(losses), "loss_weights": list(losses.values()), **more}


def _common_settings(run: RunFolder, run_input: RunInput, rows: ExamplesBySplit) -> dict[str, Any]:
    import torch

    gpu = has_cuda()
    steps = run_input.steps(len(rows[Split.TRAIN]))
    # KTO: at least two at once, for its KL term is estimated from replies to the other prompts of the batch
    least = 2 if run_input.method is Method.KTO else 1
    share = run_input.effective_batch_size // processes()  # rows of a step that are this process's
    sizes = [n for n in ((4, 2, 1) if gpu else (1, 2)) if n >= least and share % n == 0]
    at_once = sizes[0] if sizes else max(least, share)
    evaluated = bool(rows[Split.VALIDATION]) and run_input.evaluation_count > 0
    return run_input.trl_arguments() | {
        "output_dir": str(run.checkpoints),
        "lr_scheduler_type": "cosine",
        "max_steps": steps,
        "data_seed": run_input.seed,
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": max(1, share // at_once),
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": gpu,
        "dataloader_pin_memory": gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would show the mean of earlier losses in place of a NaN
        "eval_strategy": "steps" if evaluated else "no",
        "eval_steps": max(1, math.ceil(steps / run_input.evaluation_count)) if evaluated else None,
        "save_strategy": "steps",
        "save_steps": run_input.save_every,
        "save_total_limit": CHECKPOINTS_KEPT,
        "save_only_model": False,
        "report_to": run_input.tracker,
        "run_name": run.path.name,
        "project": "pickwell",
        "trackio_space_id": None,  # transformers' own would send everything to the hub
        "trackio_static_space_id": False,
        "disable_tqdm": True,
    }


def _reference_scores(run_input: RunInput) -> ReferenceScores:
    """Where the reference's log-probabilities are kept, for all that decides them."""
    location = run_input.reference_model or run_input.base_model
    # where the hub's cache cannot tell the commit, no other training may rely on what this one finds
    weights = f"{location}@{hub_revision(location) or uuid4()}" if is_hub_id(location) else hash_weights(Path(location))
    # another reference than the model in training is loaded whole
    precision = "QLORA" if run_input.adapter is Adapter.QLORA and run_input.reference_model is None else "float32"
    file = Path(location) / "config.json"
    config = file_sha256(file) if file.is_file() else None
    model = {"weights": weights, "config": config, "template": run_input.template_hash, "precision": precision}
    return ReferenceScores(Path(run_input.kept or "."), model=model)


def _dataset(run: RunFolder, method: Method, rows: ExamplesBySplit, split: Split) -> Any:
    """TRL's columns, in its conversational format; on disk, where all processes of a training find the same."""
    from accelerate import PartialState
    from datasets import Dataset, Features, Value, load_from_disk

    message = [{"role": Value("string"), "content": Value("string")}]
    examples = rows[split]
    names = ("chosen", "rejected") if examples and len(examples[0].replies) == 2 else ("completion",)
    data: dict[str, Any] = {"prompt": [example.prompt for example in examples]}
    data |= {name: [example.replies[side] for example in examples] for side, name in enumerate(names)}
    features: dict[str, Any] = dict.fromkeys(data, message)
    if method is Method.KTO:
        data["label"], features["label"] = [example.label for example in examples], Value("bool")
    folder = run.checkpoints / split.value.lower()
    if is_first():
        shutil.rmtree(folder, ignore_errors=True)
        Dataset.from_dict(data, features=Features(features)).save_to_disk(str(folder))
    if processes() > 1:
        PartialState().wait_for_everyone()
    return load_from_disk(str(folder))


def _token_dataset(rows: Sequence[EncodedRow]) -> Any:
    """The columns that TRL's experimental trainers make for themselves, from our tokens."""
    from datasets import Dataset

    def columns(row: EncodedRow) -> dict[str, list[int]]:
        tokens = {"prompt_input_ids": row.prompt, "prompt_attention_mask": [1] * len(row.prompt)}
        for name, reply in zip(("chosen", "rejected"), row.replies, strict=True):
            tokens[f"{name}_input_ids"] = [*row.prompt, *reply]
            tokens[f"{name}_attention_mask"] = [1] * (len(row.prompt) + len(reply))
            tokens[f"{name}_labels"] = [-100] * len(row.prompt) + reply
        return tokens

    return Dataset.from_list([columns(row) for row in rows])


def _trainer_row(method: Method, row: Mapping[str, Any]) -> tuple[list[int], ...]:
    if method is Method.SFT:
        start = next((place for place, label in enumerate(row["labels"]) if label != -100), len(row["labels"]))
        ids = list(row["input_ids"])
        return ids[:start], ids[start:]
    replies = ("completion_ids",) if method is Method.KTO else ("chosen_ids", "rejected_ids")
    return tuple(list(row[name]) for name in ("prompt_ids", *replies))
