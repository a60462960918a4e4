"""Carry one TrainingRun: `python -m jobs.child training RUN_ID ATTEMPT` calls `run`.

The training itself knows no database (`python -m training.dpo FOLDER`); here its input is written, its steps are kept
as they come, and what it made is registered in one transaction at the end.
"""

import time
from dataclasses import fields
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import models
from db.models import Adapter, Example, ModelVersion, ParityCheck, Responder, ResponderKind, TrainingRun, TrainingStep
from db.session import reading, session
from errors import NotFound, TrainingFailed
from jobs.progress import Progress
from model_folder import dtype_of, hash_weights, stop_tokens_of
from training import dpo
from training.preferences import Split
from training.recipe import model_name_is_taken
from training.run_folder import ADAPTER, MERGED, RecipeValues, RunInput, RunManifest, StepReport, finished, versions
from training.snapshot import folder_of

WRITE_EVERY = 1.0
"""Seconds between writes to the database, at least."""


def run(progress: Progress) -> None:
    """Train, or go on training, and register the model and its Responder.

    Raises `TrainingFailed` and other `PickwellError`s with a sentence, and `jobs.progress.RunLost`.
    """
    with reading() as s:
        given = run_input(s, run_id=progress.run_id)
    given.write(progress.folder)
    progress.update(versions=versions())
    listener = Listener(progress)
    dpo.train(progress.folder, listener.report, listener.stage)
    listener.flush()
    manifest = finished(progress.folder)
    if manifest is None or hash_weights(progress.folder / MERGED) != manifest.weights_sha256:
        raise TrainingFailed(f"The model in {progress.folder / MERGED} was changed after the training. Train it again.")
    with session() as s:
        progress.guard(s)
        register(s, run_id=progress.run_id, location=str(progress.folder / MERGED), manifest=manifest)
        progress.succeed(s)


def run_input(s: Session, *, run_id: int) -> RunInput:
    """What the run's rows say, in the form that the trainer takes."""
    run = s.get(TrainingRun, run_id)
    if run is None:
        raise NotFound(f"There is no training run {run_id}.")
    return RunInput(
        base_model=run.base_model.location,
        template_hash=run.base_model.template_hash,
        snapshot=str(folder_of(run.snapshot)),
        snapshot_sha256=run.snapshot.sha256,
        **{knob.name: getattr(run.recipe, knob.name) for knob in fields(RecipeValues)},
    )


class Listener:
    """Keeps what the trainer reports, in one short transaction about once a second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._waiting: list[StepReport] = []
        self._first: StepReport | None = None
        self._written = float("-inf")

    def stage(self, text: str) -> None:
        """Say what is going on, for people."""
        self._progress.update(stage=text)

    def report(self, said: StepReport) -> None:
        """Take one step's report; a repeated step of a resumed attempt replaces the old one."""
        self._waiting.append(said)
        if said.split is Split.TRAIN and self._first is None:
            self._first = said
        if time.monotonic() - self._written >= WRITE_EVERY:
            self.flush()

    def flush(self) -> None:
        """Write whatever was not written yet. Raises `RunLost` when the run is no longer this attempt's."""
        if not self._waiting:
            return
        with session() as s:
            self._progress.guard(s)
            for said in self._waiting:
                s.merge(_step(self._progress.run_id, said))
        last = self._waiting[-1]
        self._progress.update(stage=f"Training{_time_left(self._first, last)}", done=last.step, total=last.steps)
        self._waiting.clear()
        self._written = time.monotonic()


def _step(run_id: int, said: StepReport) -> TrainingStep:
    return TrainingStep(
        training_run_id=run_id,
        split=models.Split(said.split),
        step=said.step,
        loss=said.loss,
        reward_margin=said.reward_margin,
        reward_accuracy=said.reward_accuracy,
        logps_chosen=said.logps_chosen,
        logps_rejected=said.logps_rejected,
        learning_rate=said.learning_rate,
        seconds=said.seconds,
    )


def _time_left(first: StepReport | None, last: StepReport) -> str:
    """Words for the time that the steps still to do will take, from the steps that this attempt has done."""
    if first is None or last.step <= first.step or last.step >= last.steps:
        return ""
    seconds = (last.seconds - first.seconds) / (last.step - first.step) * (last.steps - last.step)
    return ", under a minute left" if seconds < 60 else f", about {seconds / 60:.0f} min left"


def register(s: Session, *, run_id: int, location: str, manifest: RunManifest) -> ModelVersion:
    """Make the trained folder a ModelVersion, and a Responder that answers as the base model's Responder does.

    The instructions are the Snapshot's, since with others the model would meet prompts unlike those it learned from.
    """
    run = s.get_one(TrainingRun, run_id)
    name = run.model_name
    if model_name_is_taken(s, project_id=run.project_id, name=name):  # since the run was asked for
        name = f"{name} (training {run_id})"
    version = ModelVersion(
        name=name,
        location=location,
        sha256=manifest.weights_sha256,
        template_hash=manifest.template_hash,
        stop_tokens=stop_tokens_of(location),
        dtype=dtype_of(location),
        adapter=Adapter.LORA,
        adapter_folder=str(Path(location).with_name(ADAPTER)),
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
        responder.examples = [Example(place=e.place, prompt=e.prompt, reply=e.reply) for e in prompt_of.examples]
    base = s.scalar(
        select(Responder)
        .where(
            Responder.project_id == run.project_id,
            Responder.model_version_id == run.base_model_id,
            Responder.kept,
        )
        .order_by(Responder.id)
    )
    if base is not None:
        responder.temperature, responder.top_p, responder.max_tokens = base.temperature, base.top_p, base.max_tokens
    s.add(responder)
    s.add(ParityCheck(project_id=run.project_id, model_version_id=version.id))
    s.flush()
    return version
