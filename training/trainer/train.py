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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from db.models import Method, Reference
from errors import PickwellError, TrainingFailed
from llm.folder import hash_weights
from llm.template import template_hash
from training.data.rows import Rows, read_rows, read_thumbs, unpaired
from training.data.terms import Split
from training.recipe.learning_curve import shared_rows
from training.trainer import methods, trackers
from training.trainer.examples import WITH_REFERENCE, Example, examples
from training.trainer.guards import Encoded, check_rows, check_space, encode
from training.trainer.on_cpu import score_replies_only, use_every_core, use_onednn
from training.trainer.processes import Silent, is_first, processes
from training.trainer.run_folder import (
    ADAPTER,
    BEST,
    CHECKPOINTS,
    MERGED,
    METRICS,
    SAMPLES,
    WARNINGS,
    Listener,
    RunInput,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
    finished,
    forget_steps_after,
    last_checkpoint,
    read_lines,
    step_of,
    versions,
)
from training.trainer.watching import Learned, Shifted, Watch, Written, ending_asked, fixed_prompts
from training.trainer.weights import (
    bytes_to_write,
    device_name,
    finish,
    load_model,
    load_tokenizer,
    on_gpu,
    stop_ids,
)

TELL_EVERY = 1.0
"""Seconds between two words on how far the scoring is, at least."""
SUPERVISED, PREFERRED = "supervised", "preferred"
"""Folders of the two stages, each a training of its own."""
SUPERVISED_RATE = 2e-4
"""Least learning rate of an adapter in the supervised stage, which takes more than DPO: alignment-handbook's."""


def train(folder: Path, listener: Listener) -> None:
    """Do what ``folder/run.json`` says.

    Raises `TrainingFailed`, `BrokenModel` or `Refused` (a changed Snapshot), each with a sentence. Whatever the
    listener raises ends the training, with a checkpoint, and comes through.
    """
    if finished(folder):
        _clear(folder)
        return
    given = RunInput.read(folder)
    rows = read_rows(Path(given.snapshot), sha256=given.snapshot_sha256)
    rows |= {Split.TRAIN: shared_rows(rows[Split.TRAIN], given.share, given.seed)}
    _set_environment(folder, given)
    try:
        use_every_core()
        use_onednn()
        score_replies_only()
        if is_first() and not _in_two_stages(given):
            # whoever listens may have missed what the last attempt said at its end
            forget_steps_after(folder, step_of(last_checkpoint(folder)))
            _say_again(folder, listener)
        _train(folder, given, rows, listener)
    except Exception as problem:
        sentence = _sentence(problem, folder)
        if sentence is None:
            raise
        raise TrainingFailed(sentence) from problem


def _set_environment(folder: Path, given: RunInput) -> None:
    """Before the libraries are loaded: no telemetry, no bars in the log, one GPU, no network for a local model."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ |= trackers.environment(folder) if given.trackers else {}
    if Path(given.base_model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if processes() == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def _train(folder: Path, given: RunInput, rows: Rows, listener: Listener) -> None:
    if _in_two_stages(given):
        _after_supervised(folder, given, rows, listener)
        return
    began = time.monotonic()
    made = _examples(given, rows)
    if not made[Split.TRAIN]:
        raise TrainingFailed(
            "There is nothing to train on: every reply is called good in one place and bad in another. Decide between "
            "those rankings, freeze again, and train on that snapshot."
        )
    told = Written(folder, listener) if is_first() else Silent()
    told.stage("Loading the model")
    tokenizer = load_tokenizer(given.base_model, expected=given.template_hash)
    learned = Learned.read(folder)
    if learned is None:
        learned = _optimize(folder, given, made, tokenizer, told)
        _give_memory_back()
    if not is_first():
        return
    learned.write(folder)
    weights = None
    if given.makes_model:
        told.stage("Merging the adapter into the model" if given.adapter else "Saving the model")
        weights = hash_weights(finish(folder, given))
    RunManifest(
        base_model=given.base_model,
        snapshot_sha256=given.snapshot_sha256,
        weights_sha256=weights or "",
        adapter_sha256=hash_weights(folder / ADAPTER) if weights and given.adapter else None,
        template_hash=template_hash(tokenizer.chat_template),
        steps=methods.steps(given, made),
        pairs=len(made[Split.TRAIN]),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=_peak_memory_mb(),
        device=device_name(),
        versions=versions(),
        best_step=learned.step,
        stopped=learned.stopped,
        method=given.method.value,
        adapter=given.adapter.value if given.adapter else None,
        makes_model=given.makes_model,
    ).write(folder)
    _clear(folder)


def _in_two_stages(given: RunInput) -> bool:
    """Whether a supervised stage comes first."""
    return given.sft_epochs > 0 and given.method in WITH_REFERENCE


def _clear(folder: Path) -> None:
    """Remove what nobody needs once the training is finished."""
    for name in (CHECKPOINTS, BEST, SUPERVISED, PREFERRED):
        shutil.rmtree(folder / name, ignore_errors=True)


def _give_memory_back() -> None:
    """The trained model goes, before another copy is loaded to merge into: trainer and callback hold each other."""
    gc.collect()
    if on_gpu():
        import torch

        torch.cuda.empty_cache()


def _examples(given: RunInput, rows: Rows) -> dict[Split, list[Example]]:
    """What the method learns from, of both splits."""
    if given.method is not Method.KTO:
        return {split: examples(given.method, of_split) for split, of_split in rows.items()}
    thumbs = read_thumbs(Path(given.snapshot), sha256=given.snapshot_sha256)
    return {
        split: examples(
            given.method,
            of_split,
            [
                Example(one.prompt_id, one.prompt, (one.completion,), one.label)
                for one in unpaired(of_split, thumbs[split])
            ],
        )
        for split, of_split in rows.items()
    }


def _after_supervised(folder: Path, given: RunInput, rows: Rows, listener: Listener) -> None:
    """Train in two stages, each in a folder of its own; steps count on, and the model of the second is kept."""
    began = time.monotonic()
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
        base_model=str(folder / SUPERVISED / MERGED),
        reference_model=given.base_model if given.reference is Reference.BASE else None,
        sft_epochs=0.0,
    )
    before, after = (methods.steps(stage, _examples(stage, rows)) for stage in (first, second))
    for name in (METRICS, SAMPLES, WARNINGS):
        (folder / name).unlink(missing_ok=True)
    told = Written(folder, listener)
    for name, stage, heard in (
        (SUPERVISED, first, Shifted(told, 0, after)),
        (PREFERRED, second, Shifted(told, before, 0)),
    ):
        place = folder / name
        place.mkdir(exist_ok=True)
        stage.write(place)
        if not finished(place):
            forget_steps_after(place, step_of(last_checkpoint(place)))
        _say_again(place, heard)
        if not finished(place):
            _train(place, stage, rows, heard)
    done = finished(folder / PREFERRED)
    if done is None:
        raise TrainingFailed(f"The second stage left no model in {folder / PREFERRED}. Start the training again.")
    supervised = finished(folder / SUPERVISED)
    early = supervised.stopped if supervised else None
    if given.makes_model:
        shutil.rmtree(folder / MERGED, ignore_errors=True)
        shutil.copytree(folder / PREFERRED / MERGED, folder / MERGED, copy_function=_link_or_copy)
    replace(
        done,
        base_model=given.base_model,
        steps=before + after,
        best_step=(done.best_step or 0) + before,
        seconds=round(time.monotonic() - began, 1),
        stopped=done.stopped or early,
        adapter_sha256=None,
        adapter=None,  # one for the model that the supervised stage made fits no other, and that one is not kept
    ).write(folder)
    _clear(folder)


def _link_or_copy(source: str, target: str) -> None:
    """A second name for a file, which takes no room on the disk; a copy where the disk knows no second names.

    Not moved: whoever is killed between that and the manifest could not go on.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _say_again(folder: Path, listener: Listener) -> None:
    """Tell what a stage that began in an earlier attempt wrote down."""
    for step in read_lines(folder / METRICS, StepReport):
        listener.step(step)
    for sample in read_lines(folder / SAMPLES, SampleReport):
        listener.sample(sample)
    for warning in read_lines(folder / WARNINGS, WarningReport):
        listener.warning(warning)


def _optimize(
    folder: Path, given: RunInput, rows: Mapping[Split, Sequence[Example]], tokenizer: Any, listener: Listener
) -> Learned:
    """Every optimizer step that is still to do; the last one leaves a checkpoint."""
    from transformers import PrinterCallback

    done = last_checkpoint(folder)
    if is_first():
        forget_steps_after(folder, step_of(done))
    in_all = methods.steps(given, rows)
    model = load_model(given.base_model, adapter=given.adapter)
    encoded = {split: [_encoded(tokenizer, one) for one in of_split] for split, of_split in rows.items()}
    check_rows(
        [row for of_split in encoded.values() for row in of_split],
        tokenizer=tokenizer,
        stop_ids=stop_ids(model, tokenizer),
        max_length=given.max_length,
    )
    reference = load_model(given.reference_model) if given.reference_model else None
    watch = Watch(
        folder,
        given,
        listener,
        tokenizer=tokenizer,
        prompts=fixed_prompts(rows[Split.VALIDATION] or rows[Split.TRAIN]),
        first_loss=methods.expected_first_loss(given),
        own_reference=reference is None,
    )
    scoring = _Scoring(listener, in_all=sum(map(len, rows.values())))
    trainer = methods.make_trainer(
        folder,
        given if given.kept else replace(given, kept=str(folder / "reference")),
        rows,
        encoded,
        tokenizer=tokenizer,
        model=model,
        reference=reference,
        callbacks=[watch.callback()],
        told=scoring.told,
    )
    watch.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    if given.stop_early:  # decided at the very step that this attempt goes on from
        said = read_lines(folder / WARNINGS, WarningReport)
        watch.stopped = next((one.sentence for one in said if one.stops and one.step == step_of(done)), None)
    check_space(
        folder,
        needed=bytes_to_write(
            trainer.model, folder, checkpoints=methods.CHECKPOINTS_KEPT + 1, makes_model=given.makes_model
        ),
    )
    listener.stage("Training")
    # the trainer, resumed at the end of its work, would make one more step
    if step_of(done) < in_all and not watch.stopped:
        with ending_asked(watch):
            trainer.train(resume_from_checkpoint=str(done) if done else None)
        if watch.problem is not None:
            raise watch.problem
    last = last_checkpoint(folder)
    if watch.best is None and last is None:
        raise TrainingFailed(f"The training left no checkpoint in {folder / CHECKPOINTS}. Start it again.")
    best = watch.best or watch.keep_checkpoint(last or folder)
    watch.trainer = None
    return Learned(best.step, watch.stopped)


def _encoded(tokenizer: Any, one: Example) -> Encoded:
    return encode(tokenizer, one.prompt_id, one.prompt, one.replies)


class _Scoring:
    """Says how far the reference model's scores are, in words, at most once a second."""

    def __init__(self, listener: Listener, *, in_all: int) -> None:
        self._listener, self._in_all = listener, in_all
        self._before = self._last = 0
        self._at = float("-inf")

    def told(self, done: int) -> None:
        """``done`` rows of the data set at hand are scored; the data sets come one after the other."""
        if done < self._last:
            self._before += self._last
        self._last = done
        if time.monotonic() - self._at >= TELL_EVERY:
            self._at = time.monotonic()
            count = min(self._before + done, self._in_all)
            self._listener.stage(f"Scoring the pairs with the reference model, {count} of {self._in_all}")


def _peak_memory_mb() -> int:
    """The most that this process has had: of the GPU's memory where it trains there, else of the machine's."""
    if on_gpu():
        import torch

        return int(torch.cuda.max_memory_allocated() // 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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


class Printing(Silent):
    """Prints what goes on, for somebody at a shell; steps are printed anyway."""

    def stage(self, text: str) -> None:
        """Print it."""
        print(f"{text} …", flush=True)


def main() -> None:
    """Train in the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.trainer.train FOLDER")
    try:
        train(Path(sys.argv[1]).resolve(), Printing() if is_first() else Silent())
    except PickwellError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
