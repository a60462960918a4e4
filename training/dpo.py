"""Direct Preference Optimization of a model on a frozen Snapshot, with a LoRA adapter that is merged at the end.

    python -m training.dpo FOLDER

FOLDER/run.json (see `training.run_folder`) is all that it reads beside the model and the Snapshot; FOLDER gets
checkpoints/, metrics.jsonl, adapter/, merged/ and, last, manifest.json. Killed, it goes on from the last checkpoint
with the same losses; complete, it does nothing. One process, on the first GPU or the CPU.

Settings that differ from TRL's were measured on two cores: no bf16 and no checkpointing of gradients (with them a step
took minutes), one pair at a time with the reference computed beforehand (3.6 s a pair instead of 9.6).
"""

import errno
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

from errors import TrainingFailed
from model_folder import hash_weights
from template import template_hash
from training.following import alone, is_first, processes
from training.guards import check_finite, check_first_step, check_rows, check_seen, check_space, encode
from training.preferences import Split
from training.rows import Rows, read_rows
from training.run_folder import (
    CHECKPOINTS,
    METRICS,
    RunInput,
    RunManifest,
    StepReport,
    finished,
    forget_steps_after,
    keep_adapter,
    last_checkpoint,
    step_of,
    steps_of,
    versions,
)
from training.weights import bytes_to_write, device_name, load_model, load_tokenizer, merge, on_gpu, stop_ids

CHECKPOINTS_KEPT = 2
TELL_EVERY = 1.0
"""Seconds between two words on how far the scoring is, at least."""

Report = Callable[[StepReport], None]
Stage = Callable[[str], None]


def train(folder: Path, report: Report, stage: Stage = lambda text: None) -> None:
    """Do what ``folder/run.json`` says; ``report`` hears every step and ``stage`` what goes on, in words.

    Raises `TrainingFailed`, `BrokenModel` or `Refused` (a changed Snapshot), each with a sentence. Whatever ``report``
    raises ends the training and comes through.
    """
    if finished(folder):
        return
    given = RunInput.read(folder)
    rows = read_rows(Path(given.snapshot), sha256=given.snapshot_sha256)
    _set_environment(given)
    try:
        _train(folder, given, rows, report, stage)
    except Exception as problem:
        sentence = _sentence(problem, folder)
        if sentence is None:
            raise
        raise TrainingFailed(sentence) from problem


def _set_environment(given: RunInput) -> None:
    """Before the libraries are loaded: no telemetry, no bars in the log, one GPU, no network for a local model."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if Path(given.base_model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if processes() == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def _train(folder: Path, given: RunInput, rows: Rows, report: Report, stage: Stage) -> None:
    began = time.monotonic()
    stage("Loading the model")
    tokenizer = load_tokenizer(given.base_model, expected=given.template_hash)
    steps = _steps(given, rows)
    done = last_checkpoint(folder)
    if is_first():
        forget_steps_after(folder, step_of(done))
    if step_of(done) < steps:  # the trainer, resumed at the end of its work, would make one more step
        _optimize(folder, given, rows, tokenizer, report, stage)
    if not is_first():
        return
    stage("Merging the adapter into the model")
    keep_adapter(folder, steps=steps)
    merged = merge(folder, given)
    RunManifest(
        base_model=given.base_model,
        snapshot_sha256=given.snapshot_sha256,
        weights_sha256=hash_weights(merged),
        template_hash=template_hash(tokenizer.chat_template),
        steps=steps,
        pairs=len(rows[Split.TRAIN]),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        device=device_name(),
        versions=versions(),
    ).write(folder)


def _optimize(folder: Path, given: RunInput, rows: Rows, tokenizer: Any, report: Report, stage: Stage) -> None:
    """Every optimizer step that is still to do; the last one leaves a checkpoint."""
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.dpo_trainer import DPOTrainer

    model = load_model(given.base_model)
    encoded = {split: [encode(tokenizer, row) for row in of_split] for split, of_split in rows.items()}
    check_rows(
        [row for of_split in encoded.values() for row in of_split],
        tokenizer=tokenizer,
        stop_ids=stop_ids(model, tokenizer),
        max_length=given.max_length,
    )
    with _scoring_told(model, stage, pairs=sum(map(len, rows.values()))):
        trainer: Any = DPOTrainer(
            model=model,
            args=_arguments(folder, given, rows),
            train_dataset=_dataset(folder, rows, Split.TRAIN),
            eval_dataset=_dataset(folder, rows, Split.VALIDATION) if rows[Split.VALIDATION] else None,
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=given.lora_rank, lora_alpha=given.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[_callback(folder, given, report)],
        )
    trainer.remove_callback(PrinterCallback)
    check_seen(encoded[Split.TRAIN], trainer.train_dataset)
    check_seen(encoded[Split.VALIDATION], trainer.eval_dataset or ())
    check_space(folder, needed=bytes_to_write(trainer.model, checkpoints=CHECKPOINTS_KEPT + 1))
    stage("Training")
    done = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(done) if done else None)


@contextmanager
def _scoring_told(model: Any, stage: Stage, *, pairs: int) -> Iterator[None]:
    """Say how far the base model's own scores are: on a CPU the trainer computes them as it is made, pair by pair."""
    done, told = 0, time.monotonic()

    def count(*_: Any) -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            stage(f"Scoring the pairs with the base model, {min(done, pairs)} of {pairs}")

    # on the embedding, since PEFT calls the model's forward past the model's own hooks
    hook = model.get_input_embeddings().register_forward_hook(count)
    try:
        stage("Scoring the pairs with the base model")
        yield
    finally:
        hook.remove()


def _steps(given: RunInput, rows: Rows) -> int:
    return steps_of(
        pairs=len(rows[Split.TRAIN]), epochs=given.epochs, batch_size=given.batch_size, max_steps=given.max_steps
    )


def _arguments(folder: Path, given: RunInput, rows: Rows) -> Any:
    import torch
    from trl.trainer.dpo_config import DPOConfig

    gpu = on_gpu()
    share = given.batch_size // processes()
    at_once = next(n for n in (4, 2, 1) if share % n == 0) if gpu else 1
    return DPOConfig(
        output_dir=str(folder / CHECKPOINTS),
        loss_type=["sigmoid", "sft"] if given.sft_weight else ["sigmoid"],
        loss_weights=[1.0, given.sft_weight] if given.sft_weight else [1.0],
        beta=given.beta,
        learning_rate=given.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=given.warmup_steps,
        max_steps=_steps(given, rows),
        max_length=given.max_length,
        seed=given.seed,
        data_seed=given.seed,
        per_device_train_batch_size=at_once,
        per_device_eval_batch_size=at_once,
        gradient_accumulation_steps=share // at_once,
        # On a GPU batches are padded otherwise in the pass beforehand, and bfloat16 would not give the same numbers.
        precompute_ref_log_probs=not gpu,
        use_cpu=not gpu,
        bf16=gpu and torch.cuda.is_bf16_supported(),
        gradient_checkpointing=gpu,
        dataloader_pin_memory=gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show the mean of earlier losses in place of a NaN
        eval_strategy="steps" if rows[Split.VALIDATION] else "no",
        eval_steps=math.ceil(_steps(given, rows) / 2),
        save_strategy="steps",
        save_steps=given.save_every,
        save_total_limit=CHECKPOINTS_KEPT,
        save_only_model=False,
        report_to="none",
        disable_tqdm=True,
    )


def _dataset(folder: Path, rows: Rows, split: Split) -> Any:
    """TRL's three columns; on disk, so that a resumed attempt finds the reference scores that were computed."""
    from datasets import Dataset, Features, Value, load_from_disk

    place = folder / CHECKPOINTS / split.value.lower()
    if not place.exists() and is_first():
        message = [{"role": Value("string"), "content": Value("string")}]
        columns = ("prompt", "chosen", "rejected")
        data = {column: [getattr(row, column) for row in rows[split]] for column in columns}
        scratch = place.with_suffix(".tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        Dataset.from_dict(data, features=Features(dict.fromkeys(columns, message))).save_to_disk(str(scratch))
        scratch.rename(place)
    wait_for_all()
    return load_from_disk(str(place))


def wait_for_all() -> None:
    """Let no process of this training go on before all are here."""
    from accelerate import PartialState

    if processes() > 1:
        PartialState().wait_for_everyone()


def _callback(folder: Path, given: RunInput, report: Report) -> Any:
    from transformers import TrainerCallback

    began = time.monotonic()

    class Reporting(TrainerCallback):
        """Checks every log, writes it down, prints it and passes it on."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if not logs or not {"loss", "eval_loss"} & logs.keys():
                return
            step = state.global_step
            check_finite(logs, step=step)
            if step == 1 and "loss" in logs:
                check_first_step(logs, sft_weight=given.sft_weight)
            said = StepReport.of(logs, step=step, steps=state.max_steps, seconds=round(time.monotonic() - began, 1))
            if not is_first():
                return
            with (folder / METRICS).open("a", encoding="utf-8") as stream:
                stream.write(dumps(asdict(said)) + "\n")
            _print_step(said)
            report(said)

    return Reporting()


def _sentence(problem: Exception, folder: Path) -> str | None:
    """What to tell a person about the ways in which a machine gives out; none for anything else."""
    text = str(problem)
    if getattr(problem, "errno", None) == errno.ENOSPC or "No space left on device" in text:
        return (
            f"The disk of {folder} is full. Free some space and start the training again: it goes on from its last "
            "checkpoint."
        )
    if type(problem).__name__ == "OutOfMemoryError":
        return (
            "The GPU has too little memory for this training. Use fewer pairs per step, a shorter longest row or a "
            "smaller model."
        )
    return None


def _print_step(said: StepReport) -> None:
    margin = "" if said.reward_margin is None else f", margin {said.reward_margin:.4f}"
    print(f"{said.split.value} step {said.step}/{said.steps}: loss {said.loss:.5f}{margin}", flush=True)


def main() -> None:
    """Train in the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.dpo FOLDER")
    alone(Path(sys.argv[1]).resolve(), lambda folder, listener: train(folder, listener.step, listener.stage))


if __name__ == "__main__":
    main()
