"""Carry one TrainingRun: `python -m jobs.child training RUN_ID ATTEMPT` calls `run`.

The training itself knows no database (`python -m training.trainer.train FOLDER`); here its input is written, its steps
are kept as they come, and what it made is registered in one transaction at the end.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import (
    Adapter,
    FewShotExample,
    ModelVersion,
    ParityCheck,
    Responder,
    ResponderKind,
    Split,
    TrainingRun,
    TrainingSample,
    TrainingStep,
    TrainingWarning,
)
from db.session import reading, session
from errors import NotFound, Refused, TrainingFailed
from jobs.progress import Progress, RunLost
from jobs.runs import Resources
from llm.folder import hash_weights, read_dtype, read_stop_tokens
from settings import settings
from training.data.snapshot import snapshot_folder
from training.recipe.recipe import Reference, from_row
from training.recipe.start import model_name_is_taken
from training.trainer.monitor import Interrupted
from training.trainer.processes import NullListener, is_first, processes, train_in_processes
from training.trainer.run_folder import (
    ADAPTER,
    Listener,
    Report,
    RunFolder,
    RunInput,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
    library_versions,
)

Trainer: TypeAlias = Callable[[Path, Listener], None]

WRITE_EVERY = 1.0
"""Seconds between writes to the database, at least."""
ROWS: Mapping[type[Report], tuple[type[TrainingStep | TrainingSample | TrainingWarning], str]] = {
    StepReport: (TrainingStep, "steps"),
    SampleReport: (TrainingSample, ""),
    WarningReport: (TrainingWarning, "stops"),
}
"""What becomes of each kind of report, and what is not stored of it."""
TRAINING = "Training"
"""What the trainer calls its steps."""


def resources(run: TrainingRun) -> Resources:
    """A GPU, or a core, for each process."""
    count = from_row(run.recipe).processes
    return Resources(cpus=count, gpus=count)


def run(progress: Progress, train: Trainer | None = None) -> None:
    """Train, or go on training, and register the model and its Responder.

    Args:
        train: what trains in a folder; none takes the real one.

    Raises `TrainingFailed` and other `PickwellError`s with a sentence, and `jobs.progress.RunLost`.
    """
    if processes() > 1:  # one of those that `train_in_processes` started
        try:
            _train(progress, train)
        except RunLost as lost:
            sys.exit(str(lost))  # so that the others end, too
        return
    with reading() as s:
        training_input = run_input(s, run_id=progress.run_id)
    folder = RunFolder(progress.folder)
    folder.begin(training_input)
    progress.update(versions=library_versions())
    if training_input.processes > 1 and not folder.finished():
        train_in_processes(progress, training_input)
    else:
        _train(progress, train)
    manifest = folder.finished()
    if manifest is None or (manifest.makes_model and hash_weights(folder.merged) != manifest.weights_sha256):
        raise TrainingFailed(f"The model in {folder.merged} was changed after the training. Train it again.")
    with session() as s:
        progress.guard(s)
        register(s, run_id=progress.run_id, location=str(folder.merged), manifest=manifest)
        progress.succeed(s)


def _train(progress: Progress, train: Trainer | None) -> None:
    listener = DatabaseListener(progress)
    try:
        (train or _real_trainer())(progress.folder, listener if is_first() else NullListener())
    except Interrupted as problem:  # the worker stops, or somebody cancelled: no failure, and the row knows which
        raise RunLost(str(problem)) from None
    listener.flush()


def _real_trainer() -> Trainer:
    from training.trainer.train import train

    return train


def run_input(s: Session, *, run_id: int) -> RunInput:
    """What the run's rows say, in the form that the trainer takes."""
    run = s.get(TrainingRun, run_id)
    if run is None:
        raise NotFound(f"There is no training run {run_id}.")
    base, recipe = run.base_model, from_row(run.recipe)
    reference = None
    if recipe.reference is Reference.BASE and not recipe.sft_epochs:
        if base.parent is None:
            raise Refused(
                f"{base.name} is a base model itself, so there is no earlier one to hold it to. Choose the model that "
                "the training starts from as the reference."
            )
        reference = base.parent.location
    return RunInput(
        base_model=base.location,
        template_hash=base.template_hash,
        snapshot=str(snapshot_folder(run.snapshot)),
        snapshot_sha256=run.snapshot.sha256,
        share=run.share,
        reference_model=reference,
        kept=str(settings().home.resolve() / "reference"),
        makes_model=run.curve_id is None,
        tracker=settings().tracker.value,
        **asdict(recipe),
    )


class DatabaseListener:
    """A Listener that keeps what the trainer reports, in one short transaction about once a second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._unwritten: list[TrainingStep | TrainingSample | TrainingWarning] = []
        self._first: StepReport | None = None
        self._last: StepReport | None = None
        self._written_at = float("-inf")

    def stage(self, text: str) -> None:
        """Say what is going on, for people."""
        left = _time_left(self._first, self._last) if text == TRAINING else ""
        self._progress.update(stage=f"{text}{left}")

    def report(self, report: Report) -> None:
        """Take a report; a repeated step of a resumed attempt replaces the old one."""
        kind, unstored = ROWS[type(report)]
        values = {name: value for name, value in asdict(report).items() if name != unstored}
        self._unwritten.append(kind(training_run_id=self._progress.run_id, **values))
        if isinstance(report, StepReport):
            self._last = report
            if report.split is Split.TRAIN and self._first is None:
                self._first = report
            if time.monotonic() - self._written_at >= WRITE_EVERY:
                self.flush()

    def flush(self) -> None:
        """Write whatever was not written yet. Raises `RunLost` when the run is no longer this attempt's."""
        if not self._unwritten:
            return
        with session() as s:
            self._progress.guard(s)
            for row in self._unwritten:
                s.merge(row)
        if self._last is not None:
            stage = f"{TRAINING}{_time_left(self._first, self._last)}"
            self._progress.update(stage=stage, done=self._last.step, total=self._last.steps)
        self._unwritten.clear()
        self._written_at = time.monotonic()


def _time_left(first: StepReport | None, last: StepReport | None) -> str:
    """Words for the time that the steps still to do will take, from the steps that this attempt has done."""
    if first is None or last is None or last.step <= first.step or last.step >= last.steps:
        return ""
    if last.seconds < first.seconds:  # the first one was told again, from an earlier attempt
        return ""
    seconds = (last.seconds - first.seconds) / (last.step - first.step) * (last.steps - last.step)
    return ", under a minute left" if seconds < 60 else f", about {seconds / 60:.0f} min left"


def register(s: Session, *, run_id: int, location: str, manifest: RunManifest) -> ModelVersion | None:
    """Note what came of the run; and, unless it was a point of a LearningCurve, make its model a ModelVersion.

    That gets a Responder, which answers as the base model's does. Its instructions are the Snapshot's: with others the
    model would meet prompts unlike those it learned from.
    """
    run = s.get_one(TrainingRun, run_id)
    run.best_step, run.stopped, run.peak_memory_mb = manifest.best_step, manifest.stopped, manifest.peak_memory_mb
    if not manifest.makes_model:
        return None
    name = run.model_name
    if model_name_is_taken(s, project_id=run.project_id, name=name):  # since the run was asked for
        name = f"{name} (training {run_id})"
    version = ModelVersion(
        name=name,
        location=location,
        sha256=manifest.weights_sha256,
        template_hash=manifest.template_hash,
        stop_tokens=read_stop_tokens(location),
        dtype=read_dtype(location),
        adapter=Adapter(manifest.adapter) if manifest.adapter else None,
        adapter_folder=str(Path(location).with_name(ADAPTER)) if manifest.adapter else None,
        layout=run.base_model.layout,
        licence=run.base_model.licence,
        parent_id=run.base_model_id,
    )
    s.add(version)
    s.flush()
    run.model_version_id = version.id
    responder = Responder(
        project_id=run.project_id,
        name=name,
        kind=ResponderKind.MODEL,
        model_version_id=version.id,
        instructions=run.snapshot.instructions,
    )
    prompt_of = run.snapshot.prompt_of
    if prompt_of is not None:
        responder.user_template, responder.fields = prompt_of.user_template, prompt_of.fields
        responder.examples = [FewShotExample(place=e.place, prompt=e.prompt, reply=e.reply) for e in prompt_of.examples]
    base = s.scalar(
        select(Responder)
        .where(
            Responder.project_id == run.project_id, Responder.model_version_id == run.base_model_id, Responder.listed
        )
        .order_by(Responder.id)
    )
    if base is not None:
        responder.temperature, responder.top_p, responder.max_tokens = base.temperature, base.top_p, base.max_tokens
    s.add(responder)
    s.add(ParityCheck(project_id=run.project_id, model_version_id=version.id, requested_by_id=run.requested_by_id))
    s.flush()
    return version
