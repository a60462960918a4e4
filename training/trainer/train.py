"""Train a model on a frozen Snapshot by a Recipe: supervised, DPO, KTO, ORPO or SimPO, with an adapter or whole.

    python -m training.trainer.train FOLDER

FOLDER/run.json (see `training.trainer.run_folder`) is all that it reads beside the model and the Snapshot; FOLDER gets
checkpoints/, metrics.jsonl, samples.jsonl, warnings.jsonl, adapter/, merged/ and, last, manifest.json. Killed, it goes
on from the last checkpoint with the same losses; complete, it does nothing.
"""

import errno
import gc
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from db.models import Method, Split
from errors import PickwellError, TrainingFailed
from llm.folder import hash_weights
from llm.template import template_hash
from settings import settings
from training.data.rows import Rows, read_rows, read_unpaired_rows
from training.recipe.learning_curve import take_share
from training.recipe.recipe import WITH_REFERENCE, Reference
from training.trainer import cpu, methods
from training.trainer.examples import TrainingExample, examples
from training.trainer.guards import check_rows, check_space, encode_row
from training.trainer.monitor import FileListener, Monitor, OffsetListener, end_on_sigterm, select_fixed_prompts
from training.trainer.processes import NullListener, is_first, processes
from training.trainer.run_folder import (
    FILES,
    PREFERRED,
    SUPERVISED,
    Listener,
    RunFolder,
    RunInput,
    RunManifest,
    TrainingResult,
    WarningReport,
    checkpoint_step,
    library_versions,
)
from training.trainer.weights import (
    bytes_to_write,
    device_name,
    has_cuda,
    load_model,
    load_tokenizer,
    save_model,
    stop_ids,
)

TELL_EVERY = 1.0
SUPERVISED_RATE = 2e-4
"""Least learning rate of an adapter in the supervised stage, which takes more than DPO: alignment-handbook's."""


def train(folder: Path, listener: Listener) -> None:
    """Do what ``folder/run.json`` says.

    Raises `TrainingFailed`, `BrokenModel` or `Refused` (a changed Snapshot), each with a sentence. Whatever the
    listener raises ends the training, with a checkpoint, and comes through.
    """
    run = RunFolder(folder)
    run_input = run.input()
    if run.finished():
        run.remove_scratch()
        return
    rows = read_rows(Path(run_input.snapshot), sha256=run_input.snapshot_sha256)
    rows |= {Split.TRAIN: take_share(rows[Split.TRAIN], run_input.share, run_input.seed)}
    _set_environment(os.environ, folder, run_input)
    try:
        cpu.use_every_core()
        cpu.use_onednn()
        cpu.score_replies_only()
        if run_input.sft_epochs > 0 and run_input.method in WITH_REFERENCE:
            _train_in_two_stages(run, run_input, rows, listener)
            return
        if is_first():
            # the listener may have missed the last reports of the attempt before
            run.forget_after(run.last_step())
            run.tell(listener)
        _train(run, run_input, rows, listener)
    except Exception as problem:
        if sentence := _explain_problem(problem, folder):
            raise TrainingFailed(sentence) from problem
        raise


def _set_environment(environ: MutableMapping[str, str], folder: Path, run_input: RunInput) -> None:
    """Before the libraries are loaded: no telemetry, no bars in the log, one GPU, no network for a local model.

    Trackers write to this machine: event files in the folder, the others in the home, unless MLFLOW_TRACKING_URI names
    a server.
    """
    home = settings().home.resolve()
    usual = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TQDM_DISABLE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "TRACKIO_DIR": str(home / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": "pickwell",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_MLFLOW_LOG_ARTIFACTS": "FALSE",
    }
    if Path(run_input.base_model).is_dir():
        usual["HF_HUB_OFFLINE"] = "1"
    if processes() == 1:
        usual["CUDA_VISIBLE_DEVICES"] = "0"
    for name, value in usual.items():
        environ.setdefault(name, value)
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):  # either would send what is logged to another machine
        environ.pop(name, None)


def _train(run: RunFolder, run_input: RunInput, rows: Rows, listener: Listener) -> None:
    began = time.monotonic()
    by_split = _examples(run_input, rows)
    if not by_split[Split.TRAIN]:
        raise TrainingFailed(
            "There is nothing to train on: every reply is called good in one place and bad in another. Decide between "
            "those rankings, freeze again, and train on that snapshot."
        )
    listener = FileListener(run, listener) if is_first() else NullListener()
    listener.stage("Loading the model")
    tokenizer = load_tokenizer(run_input.base_model, expected=run_input.template_hash)
    result = run.read_result()
    if result is None:
        result = _optimize(run, run_input, by_split, tokenizer, listener)
        _free_memory()
    if not is_first():
        return
    run.write_result(result)
    weights = None
    if run_input.makes_model:
        listener.stage("Merging the adapter into the model" if run_input.adapter else "Saving the model")
        weights = hash_weights(save_model(run, run_input))
    pairs = len(by_split[Split.TRAIN])
    run.finish(
        RunManifest(
            base_model=run_input.base_model,
            snapshot_sha256=run_input.snapshot_sha256,
            weights_sha256=weights or "",
            adapter_sha256=hash_weights(run.adapter) if weights and run_input.adapter else None,
            template_hash=template_hash(tokenizer.chat_template),
            steps=run_input.steps(pairs),
            pairs=pairs,
            seconds=round(time.monotonic() - began, 1),
            peak_memory_mb=_peak_memory_mb(),
            device=device_name(),
            versions=library_versions(),
            best_step=result.step,
            stopped=result.stopped,
            method=run_input.method.value,
            adapter=run_input.adapter.value if run_input.adapter else None,
            makes_model=run_input.makes_model,
        )
    )


def _free_memory() -> None:
    # before another copy of the model is loaded to merge into: trainer and callback hold each other
    gc.collect()
    if has_cuda():
        import torch

        torch.cuda.empty_cache()


def _examples(run_input: RunInput, rows: Rows) -> dict[Split, list[TrainingExample]]:
    kto = run_input.method is Method.KTO
    thumbs = read_unpaired_rows(Path(run_input.snapshot), sha256=run_input.snapshot_sha256) if kto else {}
    return {split: examples(run_input.method, of_split, thumbs.get(split, ())) for split, of_split in rows.items()}


def _train_in_two_stages(run: RunFolder, run_input: RunInput, rows: Rows, listener: Listener) -> None:
    """A supervised stage and the method's own, each in its folder; steps count on, and the second's model is kept."""
    began = time.monotonic()
    supervised, preferred = RunFolder(run.path / SUPERVISED), RunFolder(run.path / PREFERRED)
    first = replace(
        run_input,
        method=Method.SFT,
        sft_epochs=0.0,
        epochs=run_input.sft_epochs,
        learning_rate=max(run_input.learning_rate, SUPERVISED_RATE) if run_input.adapter else run_input.learning_rate,
        reference=Reference.START,
        reference_model=None,
        makes_model=True,
        max_steps=None,
    )
    second = replace(
        run_input,
        base_model=str(supervised.merged),
        reference_model=run_input.base_model if run_input.reference is Reference.BASE else None,
        sft_epochs=0.0,
    )
    before, after = (stage.steps(len(_examples(stage, rows)[Split.TRAIN])) for stage in (first, second))
    for name in FILES.values():
        (run.path / name).unlink(missing_ok=True)
    file_listener = FileListener(run, listener)
    for part, stage, part_listener in (
        (supervised, first, OffsetListener(file_listener, 0, after)),
        (preferred, second, OffsetListener(file_listener, before, 0)),
    ):
        part.path.mkdir(exist_ok=True)
        part.begin(stage)
        if part.finished():
            part.tell(part_listener)
            continue
        part.forget_after(part.last_step())
        part.tell(part_listener)
        _train(part, stage, rows, part_listener)
    early, manifest = supervised.finished(), preferred.finished()
    if manifest is None:
        raise TrainingFailed(f"The second stage left no model in {preferred.path}. Start the training again.")
    if run_input.makes_model:
        shutil.rmtree(run.merged, ignore_errors=True)
        shutil.copytree(preferred.merged, run.merged, copy_function=_link_or_copy)
    run.finish(
        replace(
            manifest,
            base_model=run_input.base_model,
            steps=before + after,
            best_step=(manifest.best_step or 0) + before,
            seconds=round(time.monotonic() - began, 1),
            stopped=manifest.stopped or (early.stopped if early else None),
            adapter_sha256=None,
            adapter=None,  # one for the model that the supervised stage made fits no other, and that one is not kept
        )
    )


def _link_or_copy(source: str, target: str) -> None:
    # a second name takes no room on the disk; not moved, for a process killed before the manifest could not go on
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _optimize(
    run: RunFolder, run_input: RunInput, rows: methods.ExamplesBySplit, tokenizer: Any, listener: Listener
) -> TrainingResult:
    from transformers import PrinterCallback

    checkpoint = run.last_checkpoint()
    done, steps = checkpoint_step(checkpoint), run_input.steps(len(rows[Split.TRAIN]))
    if is_first():
        run.forget_after(done)
    model = load_model(run_input.base_model, adapter=run_input.adapter)
    encoded = {
        split: [encode_row(tokenizer, example.prompt_id, example.prompt, example.replies) for example in of_split]
        for split, of_split in rows.items()
    }
    check_rows(
        [row for of_split in encoded.values() for row in of_split],
        tokenizer=tokenizer,
        stop_ids=stop_ids(model, tokenizer),
        max_length=run_input.max_length,
    )
    reference = load_model(run_input.reference_model) if run_input.reference_model else None
    monitor = Monitor(
        run,
        run_input,
        listener,
        tokenizer=tokenizer,
        prompts=select_fixed_prompts(rows[Split.VALIDATION] or rows[Split.TRAIN]),
        first_loss=methods.expected_first_loss(run_input),
        own_reference=reference is None,
    )
    monitor.trainer = methods.make_trainer(
        run,
        run_input if run_input.kept else replace(run_input, kept=str(run.path / "reference")),
        rows,
        encoded,
        tokenizer=tokenizer,
        model=model,
        reference=reference,
        callbacks=[monitor.callback()],
        on_progress=_report_scoring(listener, total=sum(map(len, rows.values()))),
    )
    monitor.trainer.remove_callback(PrinterCallback)
    if run_input.stop_early:  # decided at the very step that this attempt goes on from
        stops = (warning for warning in run.read(WarningReport) if warning.stops and warning.step == done)
        monitor.stopped = next((warning.sentence for warning in stops), None)
    checkpoints, model = methods.CHECKPOINTS_KEPT + 1, monitor.trainer.model
    check_space(run.path, needed=bytes_to_write(model, run, checkpoints=checkpoints, makes_model=run_input.makes_model))
    listener.stage("Training")
    # the trainer, resumed at the end of its work, would make one more step
    if done < steps and not monitor.stopped:
        with end_on_sigterm(monitor):
            monitor.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if monitor.problem is not None:
            raise monitor.problem
    last = run.last_checkpoint()
    if monitor.best is None and last is None:
        raise TrainingFailed(f"The training left no checkpoint in {run.checkpoints}. Start it again.")
    best = monitor.best or monitor.keep_checkpoint(last or run.path)
    monitor.trainer = None
    return TrainingResult(best.step, monitor.stopped)


def _report_scoring(listener: Listener, *, total: int) -> Callable[[int], None]:
    """A callback that reports how many pairs the reference model has scored, at most once a second."""
    reported_at = float("-inf")

    def report(done: int) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= TELL_EVERY:
            reported_at = time.monotonic()
            listener.stage(f"Scoring the pairs with the reference model, {done} of {total}")

    return report


def _peak_memory_mb() -> int:
    """Of the GPU where it trains there, else of the machine."""
    if has_cuda():
        import torch

        return int(torch.cuda.max_memory_allocated() // 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _explain_problem(problem: Exception, folder: Path) -> str | None:
    text = str(problem)
    if getattr(problem, "errno", None) == errno.ENOSPC or "No space left on device" in text:
        again = "Free some space and start the training again: it goes on from its last checkpoint."
        return f"The disk of {folder} is full. {again}"
    of_gpu = type(problem).__name__ == "OutOfMemoryError"
    if of_gpu or isinstance(problem, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return (
            f"The {'GPU' if of_gpu else 'machine'} has too little memory for this training. Use fewer pairs per "
            "step, a shorter longest row or a smaller model."
        )
    return None


class PrintingListener(NullListener):
    """Prints what goes on, for somebody at a shell; steps are printed anyway."""

    def stage(self, text: str) -> None:
        """Print it."""
        print(f"{text} …", flush=True)


def main() -> None:
    """Train in the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.trainer.train FOLDER")
    try:
        train(Path(sys.argv[1]).resolve(), PrintingListener() if is_first() else NullListener())
    except PickwellError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
