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


def expected_first_loss(given: RunInput) -> float | None:
    """The loss of a model that is its own reference; none where it has a part that rewards do not fix."""
    if given.method is not Method.DPO or given.rpo_alpha:
        return None
    return {Loss.IPO: 1 / (4 * given.beta**2), Loss.APO_ZERO: 1.0}.get(given.loss, math.log(2))


def make_trainer(
    run: RunFolder,
    given: RunInput,
    rows: ExamplesBySplit,
    encoded: Mapping[Split, Sequence[EncodedRow]],
    *,
    tokenizer: Any,
    model: Any,
    reference: Any,
    callbacks: Sequence[Any],
    told: Callable[[int], None],
) -> Any:
    """The trainer, ready to train. Raises `TrainingFailed` where it would see other rows than ours.

    Its first step has the longest row, so that a training that memory does not hold fails there.

    Args:
        reference: model to hold the trained one to; none for the one that the training starts from.
        told: gets the number of rows that the reference model has scored.
    """
    trainer_class, config_class, more = _trl_classes(given, told=told)
    in_one_pass = given.method is Method.DPO and processes() == 1 and not has_cuda()  # elsewhere nobody has measured it
    lengths = [row.tokens if in_one_pass else row.length for row in encoded[Split.TRAIN]]
    seen = given.steps(len(lengths)) * given.effective_batch_size
    if given.method is Method.KTO:  # goes through its rows as they stand, for each is paired with its neighbours
        order = longest_first(range(len(lengths)), lengths, seen=seen)
        rows = {**rows, Split.TRAIN: [rows[Split.TRAIN][place] for place in order]}
        encoded = {**encoded, Split.TRAIN: [encoded[Split.TRAIN][place] for place in order]}
    else:
        trainer_class = with_longest_first(trainer_class, lengths, seen=seen)
    if in_one_pass:
        trainer_class = with_shared_prompts(trainer_class, [each for each in (model, reference) if each is not None])
    trainer = trainer_class(
        model=model,
        args=config_class(**_common_settings(run, given, rows), **more),
        train_dataset=_dataset(run, given.method, rows, Split.TRAIN),
        eval_dataset=_dataset(run, given.method, rows, Split.VALIDATION) if rows[Split.VALIDATION] else None,
        processing_class=tokenizer,
        peft_config=lora_config(given),
        callbacks=list(callbacks),
        **({"ref_model": reference} if given.method in WITH_REFERENCE and reference is not None else {}),
    )
    if given.method in EXPERIMENTAL:
        # these tokenize in a way of their own, with a second end of turn after ours; so they get our tokens
        trainer.train_dataset = _token_dataset(encoded[Split.TRAIN])
        trainer.eval_dataset = _token_dataset(encoded[Split.VALIDATION]) if encoded[Split.VALIDATION] else None
    else:
        for split, dataset in ((Split.TRAIN, trainer.train_dataset), (Split.VALIDATION, trainer.eval_dataset or ())):
            check_trainer_rows(encoded[split], [_trainer_row(given.method, row) for row in dataset])
    return trainer


def _trl_classes(given: RunInput, *, told: Callable[[int], None]) -> tuple[Any, Any, dict[str, Any]]:
    """Trainer class, configuration class, and what only this method's configuration has."""
    if given.method is Method.SFT:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        return SFTTrainer, SFTConfig, {"packing": False, "completion_only_loss": True}
    if given.method is Method.KTO:
        from trl.trainer.kto_config import KTOConfig
        from trl.trainer.kto_trainer import KTOTrainer

        return KTOTrainer, KTOConfig, {"train_sampling_strategy": "sequential"}
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if given.method is Method.ORPO:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig, {"remove_unused_columns": False}
    if given.method is Method.SIMPO:
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        more = {"loss_type": "simpo", "simpo_gamma": SIMPO_GAMMA * given.beta, "cpo_alpha": given.rpo_alpha}
        return CPOTrainer, CPOConfig, {**more, "remove_unused_columns": False}
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    beforehand = not has_cuda()
    # several processes share the scoring out among them, as TRL does it
    keeping = beforehand and processes() == 1
    trainer = with_precomputed_reference(DPOTrainer, _reference_scores(given), told) if keeping else DPOTrainer
    losses = {given.loss.value.lower(): 1.0} | ({"sft": given.rpo_alpha} if given.rpo_alpha else {})
    # On a GPU batches are padded otherwise in the pass beforehand, and bfloat16 would not give the same numbers.
    more = {"precompute_ref_log_probs": beforehand}
    return trainer, DPOConfig, {"loss_type": list(losses), "loss_weights": list(losses.values()), **more}


def _common_settings(run: RunFolder, given: RunInput, rows: ExamplesBySplit) -> dict[str, Any]:
    import torch

    gpu = has_cuda()
    steps = given.steps(len(rows[Split.TRAIN]))
    # KTO: at least two at once, for its KL term is estimated from replies to the other prompts of the batch
    least = 2 if given.method is Method.KTO else 1
    share = given.effective_batch_size // processes()  # rows of a step that are this process's
    sizes = [n for n in ((4, 2, 1) if gpu else (1, 2)) if n >= least and share % n == 0]
    at_once = sizes[0] if sizes else max(least, share)
    evaluated = bool(rows[Split.VALIDATION]) and given.evaluation_count > 0
    return given.trl_arguments() | {
        "output_dir": str(run.checkpoints),
        "lr_scheduler_type": "cosine",
        "max_steps": steps,
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
        "eval_strategy": "steps" if evaluated else "no",
        "eval_steps": max(1, math.ceil(steps / given.evaluation_count)) if evaluated else None,
        "save_strategy": "steps",
        "save_steps": given.save_every,
        "save_total_limit": CHECKPOINTS_KEPT,
        "save_only_model": False,
        "report_to": given.tracker,
        "run_name": run.path.name,
        "project": "pickwell",
        "trackio_space_id": None,  # transformers' own would send everything to the hub
        "trackio_static_space_id": False,
        "disable_tqdm": True,
    }


def _reference_scores(given: RunInput) -> ReferenceScores:
    """Where the reference's log-probabilities are kept, for all that decides them."""
    location = given.reference_model or given.base_model
    # where the hub's cache cannot tell the commit, no other training may rely on what this one finds
    weights = f"{location}@{hub_revision(location) or uuid4()}" if is_hub_id(location) else hash_weights(Path(location))
    # another reference than the model in training is loaded whole
    precision = "QLORA" if given.adapter is Adapter.QLORA and given.reference_model is None else "float32"
    file = Path(location) / "config.json"
    config = file_sha256(file) if file.is_file() else None
    model = {"weights": weights, "config": config, "template": given.template_hash, "precision": precision}
    return ReferenceScores(Path(given.kept or "."), model=model)


def _dataset(run: RunFolder, method: Method, rows: ExamplesBySplit, split: Split) -> Any:
    """TRL's columns, in its conversational format; on disk, where all processes of a training find the same."""
    from accelerate import PartialState
    from datasets import Dataset, Features, Value, load_from_disk

    message = [{"role": Value("string"), "content": Value("string")}]
    examples = rows[split]
    names = ("chosen", "rejected") if examples and len(examples[0].replies) == 2 else ("completion",)
    data: dict[str, Any] = {"prompt": [example.prompt for example in examples]}
    data |= {name: [example.replies[place] for example in examples] for place, name in enumerate(names)}
    features: dict[str, Any] = dict.fromkeys(data, message)
    if method is Method.KTO:
        data["label"], features["label"] = [example.label for example in examples], Value("bool")
    place = run.checkpoints / split.value.lower()
    if is_first():
        shutil.rmtree(place, ignore_errors=True)
        Dataset.from_dict(data, features=Features(features)).save_to_disk(str(place))
    if processes() > 1:
        PartialState().wait_for_everyone()
    return load_from_disk(str(place))


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
