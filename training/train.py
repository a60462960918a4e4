"""Train a model on a frozen Snapshot by a Recipe: supervised, DPO, KTO, ORPO or SimPO, with an adapter or whole.

    python -m training.train FOLDER

FOLDER/run.json (see `training.run_folder`) is all that it reads beside the model and the Snapshot; FOLDER gets
checkpoints/, metrics.jsonl, samples.jsonl, warnings.jsonl, adapter/, merged/ and, last, manifest.json. Killed, it goes
on from the last checkpoint with the same losses; complete, it does nothing.
"""

import errno
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
from model_folder import hash_weights
from template import template_hash
from training import methods
from training.examples import WITH_REFERENCE, Example, examples, unpaired
from training.guards import Encoded, check_rows, check_space, encode
from training.preferences import Split
from training.rows import Rows, read_rows
from training.run_folder import (
    CHECKPOINTS,
    MERGED,
    Listener,
    RunInput,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
    finished,
    forget_steps_after,
    last_checkpoint,
    step_of,
    versions,
)
from training.watching import Learned, Shifted, Watch, Written, ending_asked, fixed_prompts
from training.weights import (
    bytes_to_write,
    device_name,
    finish,
    load_model,
    load_tokenizer,
    on_gpu,
    stop_ids,
    use_every_core,
)

TELL_EVERY = 1.0
"""Seconds between two words on how far the scoring is, at least."""
SUPERVISED = "supervised"
"""Folder of the supervised stage, a training of its own."""
SUPERVISED_RATE = 1e-4
"""Least learning rate of an adapter in the supervised stage, which takes more than DPO (alignment-handbook: 2e-4)."""


def train(folder: Path, listener: Listener) -> None:
    """Do what ``folder/run.json`` says.

    Raises `TrainingFailed`, `BrokenModel` or `Refused` (a changed Snapshot), each with a sentence. Whatever the
    listener raises ends the training, with a checkpoint, and comes through.
    """
    if finished(folder):
        return
    given = RunInput.read(folder)
    rows = read_rows(Path(given.snapshot), sha256=given.snapshot_sha256)
    _set_environment(given)
    try:
        use_every_core()
        _train(folder, given, rows, listener)
    except Exception as problem:
        sentence = _sentence(problem, folder)
        if sentence is None:
            raise
        raise TrainingFailed(sentence) from problem


def _set_environment(given: RunInput) -> None:
    """Before the libraries are loaded: no telemetry, no bars in the log, one GPU, no network for a local model."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if Path(given.base_model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def _train(folder: Path, given: RunInput, rows: Rows, listener: Listener) -> None:
    began = time.monotonic()
    made = _examples(given, rows)
    supervised = given.sft_epochs > 0 and given.method in WITH_REFERENCE
    before = 0
    if supervised:
        given, before = _after_supervised(folder, given, rows, listener, later=methods.steps(given, made))
    told = Written(folder, Shifted(listener, before, 0) if before else listener)
    told.stage("Loading the model")
    tokenizer = load_tokenizer(given.base_model, expected=given.template_hash)
    learned = Learned.read(folder)
    if learned is None:
        learned = _optimize(folder, given, made, tokenizer, told)
        learned.write(folder)
    weights = None
    if given.makes_model:
        told.stage("Merging the adapter into the model" if given.adapter else "Saving the model")
        weights = hash_weights(finish(folder, given))
    shutil.rmtree(folder / SUPERVISED / MERGED, ignore_errors=True)
    RunManifest(
        base_model=given.base_model,
        snapshot_sha256=given.snapshot_sha256,
        weights_sha256=weights or "",
        template_hash=template_hash(tokenizer.chat_template),
        steps=methods.steps(given, made) + before,
        pairs=len(made[Split.TRAIN]),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=_peak_memory_mb(),
        device=device_name(),
        versions=versions(),
        best_step=learned.step + before,
        stopped=learned.stopped,
        method=given.method.value,
        # an adapter of the model that the supervised stage made fits no other, and that one is not kept
        adapter=given.adapter.value if given.adapter and not supervised else None,
        makes_model=given.makes_model,
    ).write(folder)
    methods.clear(folder)


def _examples(given: RunInput, rows: Rows) -> dict[Split, list[Example]]:
    """What the method learns from, of both splits."""
    return {split: examples(given.method, of_split, unpaired(of_split)) for split, of_split in rows.items()}


def _after_supervised(
    folder: Path, given: RunInput, rows: Rows, listener: Listener, *, later: int
) -> tuple[RunInput, int]:
    """Carry the supervised stage, unless it is done; gives what is left to do, and the steps that were done."""
    place = folder / SUPERVISED
    place.mkdir(exist_ok=True)
    stage = replace(
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
    stage.write(place)
    steps = methods.steps(stage, _examples(stage, rows))
    if not finished(place):
        _train(place, stage, rows, Shifted(listener, 0, later))
    reference = given.base_model if given.reference is Reference.BASE else None
    return replace(given, base_model=str(place / MERGED), reference_model=reference, sft_epochs=0.0), steps


def _optimize(
    folder: Path, given: RunInput, rows: Mapping[Split, Sequence[Example]], tokenizer: Any, listener: Listener
) -> Learned:
    """Every optimizer step that is still to do; the last one leaves a checkpoint."""
    from transformers import PrinterCallback

    done = last_checkpoint(folder)
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
    check_space(folder, needed=bytes_to_write(trainer.model, checkpoints=methods.CHECKPOINTS_KEPT + 1))
    listener.stage("Training")
    if step_of(done) < in_all:  # the trainer, resumed at the end of its work, would make one more step
        with ending_asked(watch):
            trainer.train(resume_from_checkpoint=str(done) if done else None)
        if watch.problem is not None:
            raise watch.problem
    last = last_checkpoint(folder)
    if watch.best is None and last is None:
        raise TrainingFailed(f"The training left no checkpoint in {folder / CHECKPOINTS}. Start it again.")
    best = watch.best or watch.keep_checkpoint(last or folder)
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


class _Quiet:
    """A Listener for the command line: stages are printed, the rest is in the folder's files."""

    def stage(self, text: str) -> None:
        """Print it."""
        print(f"{text} …", flush=True)

    def step(self, said: StepReport) -> None:
        """Printed by the trainer."""

    def sample(self, said: SampleReport) -> None:
        """In the folder."""

    def warning(self, said: WarningReport) -> None:
        """Print it."""
        print(f"step {said.step}: {said.sentence}", flush=True)


def main() -> None:
    """Train in the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python -m training.train FOLDER")
    try:
        train(Path(sys.argv[1]).resolve(), _Quiet())
    except PickwellError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
