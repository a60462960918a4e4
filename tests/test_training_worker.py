"""A training's worker, with a trainer that only says what it would."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.models import (
    ModelVersion,
    Responder,
    ResponderKind,
    RunStatus,
    Split,
    TrainingRun,
    TrainingSample,
    TrainingStep,
    TrainingWarning,
)
from db.session import reading, session
from errors import TrainingFailed
from jobs.progress import Progress, RunLost, unmanaged_progress
from llm.folder import hash_weights
from tests.trainings import Deaf, a_report, a_training
from training.trainer import worker
from training.trainer.monitor import Interrupted
from training.trainer.run_folder import (
    MERGED,
    Listener,
    RunFolder,
    RunManifest,
    SampleReport,
    StepReport,
    WarningReport,
)


class FakeTrainer:
    """Stands in for the real trainer: reports what it is given and leaves a folder as the real one does."""

    def __init__(self, *said: StepReport, fails_with: Exception | None = None) -> None:
        self.said, self.fails_with, self.calls = said, fails_with, 0

    def __call__(self, folder: Path, listener: Listener) -> None:
        self.calls += 1
        listener.stage("Training")
        for said in self.said:
            listener.report(said)
        listener.report(SampleReport(3, 1, 1, "It is on its way.", 6, ended=True))
        listener.report(WarningReport(3, "margin", "The margin is 9."))
        if self.fails_with:
            raise self.fails_with
        merged = folder / MERGED
        merged.mkdir(exist_ok=True)
        (merged / "model.safetensors").write_bytes(b"weights")
        (merged / "manifest.json").write_text("{}")
        manifest = RunManifest(
            base_model="base",
            snapshot_sha256=RunFolder(folder).input().snapshot_sha256,
            weights_sha256=hash_weights(merged),
            template_hash="template",
            steps=3,
            pairs=11,
            seconds=60.0,
            peak_memory_mb=1000,
            device="CPU",
            versions={},
        )
        RunFolder(folder).finish(manifest)


def carried(fake: FakeTrainer) -> Progress:
    with session() as s:
        run_id = a_training(s).id
    progress = unmanaged_progress("training", run_id)
    worker.run(progress, fake)
    return progress


@pytest.mark.usefixtures("database")
def test_a_finished_training_is_a_model_with_its_parent_and_a_responder() -> None:
    said = [a_report(1), a_report(2), a_report(2, split=Split.VALIDATION), a_report(3)]
    progress = carried(FakeTrainer(*said))
    with reading() as s:
        run = s.get_one(TrainingRun, progress.run_id)
        assert (run.status, run.done, run.total) == (RunStatus.SUCCEEDED, 3, 3)
        assert run.versions is not None
        assert run.versions["trl"]
        version = run.model_version
        assert version is not None
        assert (version.name, version.parent_id, version.template_hash) == ("tuned", run.base_model_id, "template")
        assert version.location == str(progress.folder / MERGED)
        assert version.sha256 == hash_weights(progress.folder / MERGED)
        responder = s.scalars(select(Responder).where(Responder.model_version_id == version.id)).one()
        assert (responder.name, responder.kind, responder.instructions) == (
            "tuned",
            ResponderKind.MODEL,
            "Answer the email.",
        )
        assert (responder.temperature, responder.max_tokens) == (0.3, 99)
        steps = s.scalars(select(TrainingStep).where(TrainingStep.training_run_id == run.id)).all()
        assert sorted((str(step.split), step.step) for step in steps) == sorted((str(r.split), r.step) for r in said)
        assert [one.reply for one in s.scalars(select(TrainingSample))] == ["It is on its way."]
        assert [one.sentence for one in s.scalars(select(TrainingWarning))] == ["The margin is 9."]


@pytest.mark.usefixtures("database")
def test_a_resumed_attempt_may_repeat_steps() -> None:
    progress = carried(FakeTrainer(a_report(1), a_report(2, loss=0.9), a_report(2, loss=0.5), a_report(3)))
    with reading() as s:
        step = s.get_one(TrainingStep, (progress.run_id, Split.TRAIN, 2))
        assert step.loss == 0.5


@pytest.mark.usefixtures("database")
def test_a_cancelled_training_registers_nothing() -> None:
    with session() as s:
        run_id = a_training(s).id
    progress = unmanaged_progress("training", run_id)
    with session() as s:
        s.get_one(TrainingRun, run_id).cancel_requested = True
    with pytest.raises(RunLost):
        worker.run(progress, FakeTrainer(a_report(1)))
    with reading() as s:
        assert s.get_one(TrainingRun, run_id).model_version_id is None
        assert s.scalar(select(func.count(TrainingStep.step))) == 0


@pytest.mark.usefixtures("database")
def test_a_training_that_was_asked_to_stop_has_not_failed() -> None:
    with pytest.raises(RunLost, match="last checkpoint"):
        carried(FakeTrainer(a_report(1), fails_with=Interrupted("It goes on from its last checkpoint.")))
    with reading() as s:
        assert s.scalars(select(TrainingRun.status)).one() is RunStatus.RUNNING


@pytest.mark.usefixtures("database")
def test_a_model_changed_after_its_training_is_not_registered() -> None:
    class Meddled(FakeTrainer):
        def __call__(self, folder: Path, listener: Listener) -> None:
            super().__call__(folder, listener)
            (folder / MERGED / "model.safetensors").write_bytes(b"others")

    with pytest.raises(TrainingFailed, match="changed after the training"):
        carried(Meddled())


@pytest.mark.usefixtures("database")
def test_a_complete_folder_is_not_trained_again() -> None:
    with session() as s:
        run_id = a_training(s).id
    progress = unmanaged_progress("training", run_id)
    with reading() as s:
        RunFolder(progress.folder).begin(worker.run_input(s, run_id=run_id))
    FakeTrainer()(progress.folder, Deaf())
    worker.run(progress)  # the real one: it would fail on a base model that is not there
    with reading() as s:
        assert s.get_one(TrainingRun, run_id).status is RunStatus.SUCCEEDED


@pytest.mark.usefixtures("database")
def test_a_name_taken_while_the_training_ran_gets_the_runs_number() -> None:
    class Slow(FakeTrainer):
        def __call__(self, folder: Path, listener: Listener) -> None:
            with session() as s:
                s.add(ModelVersion(name="tuned", location="elsewhere"))
            super().__call__(folder, listener)

    progress = carried(Slow())
    with reading() as s:
        version = s.get_one(TrainingRun, progress.run_id).model_version
        assert version is not None
        assert version.name == f"tuned (training {progress.run_id})"


@pytest.mark.parametrize(
    ("last", "words"), [(a_report(1), ""), (a_report(2), ", under a minute left"), (a_report(3), "")]
)
def test_the_time_left_is_told_from_measured_steps(last: StepReport, words: str) -> None:
    assert worker._time_left(a_report(1), last) == words
    assert worker._time_left(None, last) == ""


def test_a_long_wait_is_told_in_minutes() -> None:
    assert worker._time_left(a_report(1, 100), a_report(10, 100)) == ", about 30 min left"
