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
from collections.abc import Callable, Mapping, MutableMapping, Sequence
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
    given = run.input()
    if run.finished():
        run.remove_scratch()
        return
    rows = read_rows(Path(given.snapshot), sha256=given.snapshot_sha256)
    rows |= {Split.TRAIN: take_share(rows[Split.TRAIN], given.share, given.seed)}
    _set_environment(os.environ, folder, given)
    try:
        cpu.use_every_core()
        cpu.use_onednn()
        cpu.score_replies_only()
        if given.sft_epochs > 0 and given.method in WITH_REFERENCE:
            _train_in_two_stages(run, given, rows, listener)
            return
        if is_first():
            # the listener may have missed the last reports of the attempt before
            run.forget_after(run.last_step())
            run.tell(listener)
        _train(run, given, rows, listener)
    except Exception as problem:
        if sentence := _sentence(problem, folder):
            raise TrainingFailed(sentence) from problem
        raise


def _set_environment(environ: MutableMapping[str, str], folder: Path, given: RunInput) -> None:
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
    if Path(given.base_model).is_dir():
        usual["HF_HUB_OFFLINE"] = "1"
    if processes() == 1:
        usual["CUDA_VISIBLE_DEVICES"] = "0"
    for name, value in usual.items():
        environ.setdefault(name, value)
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):  # either would send what is logged to another machine
        environ.pop(name, None)


def _train(run: RunFolder, given: RunInput, rows: Rows, listener: Listener) -> None:
    began = time.monotonic()
    made = _examples(given, rows)
    if not made[Split.TRAIN]:
        raise TrainingFailed(
            "There is nothing to train on: every reply is called good in one place and bad in another. Decide between "
            "those rankings, freeze again, and train on that snapshot."
        )
    heard = FileListener(run, listener) if is_first() else NullListener()
    heard.stage("Loading the model")
    tokenizer = load_tokenizer(given.base_model, expected=given.template_hash)
    learned = run.read_result()
    if learned is None:
        learned = _optimize(run, given, made, tokenizer, heard)
        _free_memory()
    if not is_first():
        return
    run.write_result(learned)
    weights = None
    if given.makes_model:
        heard.stage("Merging the adapter into the model" if given.adapter else "Saving the model")
        weights = hash_weights(save_model(run, given))
    pairs = len(made[Split.TRAIN])
    run.finish(
        RunManifest(
            base_model=given.base_model,
            snapshot_sha256=given.snapshot_sha256,
            weights_sha256=weights or "",
            adapter_sha256=hash_weights(run.adapter) if weights and given.adapter else None,
            template_hash=template_hash(tokenizer.chat_template),
            steps=given.steps(pairs),
            pairs=pairs,
            seconds=round(time.monotonic() - began, 1),
            peak_memory_mb=_peak_memory_mb(),
            device=device_name(),
            versions=library_versions(),
            best_step=learned.step,
            stopped=learned.stopped,
            method=given.method.value,
            adapter=given.adapter.value if given.adapter else None,
            makes_model=given.makes_model,
        )
    )


def _free_memory() -> None:
    # before another copy of the model is loaded to merge into: trainer and callback hold each other
    gc.collect()
    if has_cuda():
        import torch

        torch.cuda.empty_cache()


def _examples(given: RunInput, rows: Rows) -> dict[Split, list[TrainingExample]]:

    kto = given.method is Method.KTO
    thumbs = read_unpaired_rows(Path(given.snapshot), sha256=given.snapshot_sha256) if kto else {}
    return {split: examples(given.method, of_split, thumbs.get(split, ())) for split, of_split in rows.items()}


def _train_in_two_stages(run: RunFolder, given: RunInput, rows: Rows, listener: Listener) -> None:
    """A supervised stage and the method's own, each in its folder; steps count on, and the second's model is kept."""
    began = time.monotonic()
    supervised, preferred = RunFolder(run.path / SUPERVISED), RunFolder(run.path / PREFERRED)
    first = replace(
        given,
        method=Method.SFT,
        sft_epochs=0.0,
        epochs=given.sft_epochs,
        learning_rate=max(given.learning_rate, SUPERVISED_RATE) if given.adapter else given.learning_rate,
        reference=Reference.START,
        reference_model=None,
        makes_model=True,
        max_steps=None,
    )
    second = replace(
        given,
        base_model=str(supervised.merged),
        reference_model=given.base_model if given.reference is Reference.BASE else None,
        sft_epochs=0.0,
    )
    before, after = (stage.steps(len(_examples(stage, rows)[Split.TRAIN])) for stage in (first, second))
    for name in FILES.values():
        (run.path / name).unlink(missing_ok=True)
    written = FileListener(run, listener)
    for part, stage, heard in (
        (supervised, first, OffsetListener(written, 0, after)),
        (preferred, second, OffsetListener(written, before, 0)),
    ):
        part.path.mkdir(exist_ok=True)
        part.begin(stage)
        if part.finished():
            part.tell(heard)
            continue
        part.forget_after(part.last_step())
        part.tell(heard)
        _train(part, stage, rows, heard)
    early, done = supervised.finished(), preferred.finished()
    if done is None:
        raise TrainingFailed(f"The second stage left no model in {preferred.path}. Start the training again.")
    if given.makes_model:
        shutil.rmtree(run.merged, ignore_errors=True)
        shutil.copytree(preferred.merged, run.merged, copy_function=_link_or_copy)
    run.finish(
        replace(
            done,
            base_model=given.base_model,
            steps=before + after,
            best_step=(done.best_step or 0) + before,
            seconds=round(time.monotonic() - began, 1),
            stopped=done.stopped or (early.stopped if early else None),
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
    run: RunFolder, given: RunInput, rows: Mapping[Split, Sequence[TrainingExample]], tokenizer: Any, listener: Listener
) -> TrainingResult:
    from transformers import PrinterCallback

    checkpoint = run.last_checkpoint()
    done, steps = checkpoint_step(checkpoint), given.steps(len(rows[Split.TRAIN]))
    if is_first():
        run.forget_after(done)
    model = load_model(given.base_model, adapter=given.adapter)
    encoded = {
        split: [encode_row(tokenizer, example.prompt_id, example.prompt, example.replies) for example in of_split]
        for split, of_split in rows.items()
    }
    check_rows(
        [row for of_split in encoded.values() for row in of_split],
        tokenizer=tokenizer,
        stop_ids=stop_ids(model, tokenizer),
        max_length=given.max_length,
    )
    reference = load_model(given.reference_model) if given.reference_model else None
    monitor = Monitor(
        run,
        given,
        listener,
        tokenizer=tokenizer,
        prompts=select_fixed_prompts(rows[Split.VALIDATION] or rows[Split.TRAIN]),
        first_loss=methods.expected_first_loss(given),
        own_reference=reference is None,
    )
    monitor.trainer = methods.make_trainer(
        run,
        given if given.kept else replace(given, kept=str(run.path / "reference")),
        rows,
        encoded,
        tokenizer=tokenizer,
        model=model,
        reference=reference,
        callbacks=[monitor.callback()],
        told=_scoring(listener, in_all=sum(map(len, rows.values()))),
    )
    monitor.trainer.remove_callback(PrinterCallback)
    if given.stop_early:  # decided at the very step that this attempt goes on from
        ended = (warning for warning in run.read(WarningReport) if warning.stops and warning.step == done)
        monitor.stopped = next((warning.sentence for warning in ended), None)
    checkpoints, model = methods.CHECKPOINTS_KEPT + 1, monitor.trainer.model
    check_space(run.path, needed=bytes_to_write(model, run, checkpoints=checkpoints, makes_model=given.makes_model))
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


def _scoring(listener: Listener, *, in_all: int) -> Callable[[int], None]:
    """A callback that reports how many pairs the reference model has scored, at most once a second."""
    reported_at = float("-inf")

    def report(done: int) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= TELL_EVERY:
            reported_at = time.monotonic()
            listener.stage(f"Scoring the pairs with the reference model, {done} of {in_all}")

    return report


def _peak_memory_mb() -> int:
    """Of the GPU where it trains there, else of the machine."""
    if has_cuda():
        import torch

        return int(torch.cuda.max_memory_allocated() // 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _sentence(problem: Exception, folder: Path) -> str | None:
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
