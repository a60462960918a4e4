"""A timed step: what the trainer is told, and what is made of what it says. The trainer is a fake."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.orm import Session

from db.models import Adapter, Method, Reference, Role, RunStatus, Timing
from db.session import reading, session
from errors import NotAllowed, Refused, TrainingFailed
from jobs.progress import Progress, RunLost, unmanaged
from jobs.runs import cancel
from tests.factories import a_reviewer
from tests.test_recipes import changed
from tests.test_training import a_snapshot
from training.data.rows import read_rows
from training.data.snapshot import verify
from training.data.terms import Split
from training.recipe import timing
from training.recipe.recipe import SMALL
from training.recipe.timing import ROWS, STEPS, request_timing, timings, usual_rows
from training.trainer.run_folder import Listener, RecipeValues, RunInput, SampleReport, StepReport, WarningReport


def a_step(step: int, seconds: float, split: Split = Split.TRAIN) -> StepReport:
    return StepReport(split, step, STEPS, 0.6, None, None, None, None, None, seconds)


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeTrainer:
    """Loads for 10 s, scores for 6 s, then takes a step of 9 s and steps of 8 s."""

    def __init__(self, clock: Clock, *, steps: int = STEPS, scores: bool = True) -> None:
        self.clock, self.steps, self.scores = clock, steps, scores
        self.given: RunInput | None = None
        self.rows: dict[Any, list[Any]] = {}

    def __call__(self, folder: Path, listener: Listener) -> None:
        self.given = RunInput.read(folder)
        self.rows = dict(read_rows(Path(self.given.snapshot), sha256=self.given.snapshot_sha256))
        listener.stage("Loading the model")
        self.clock.now += 10
        if self.scores:
            listener.stage("Scoring the pairs with the base model")
            self.clock.now += 3
            listener.stage("Scoring the pairs with the base model, 6 of 12")
            self.clock.now += 3
        listener.stage("Training")
        listener.sample(SampleReport(0, 1, 1, "Hello", 3, True))
        for step in range(1, self.steps + 1):
            self.clock.now += 9 if step == 1 else 8
            listener.step(a_step(step, seconds=1 + 8.0 * step))
            listener.step(a_step(step, seconds=99, split=Split.VALIDATION))
        listener.warning(WarningReport(1, "overfitting", "It overfits."))
        (folder / "checkpoints").mkdir()
        (folder / "manifest.json").write_text(json.dumps({"peak_memory_mb": 2345, "device": "CPU, 2 threads"}))


def a_measurement(recipe: RecipeValues = SMALL) -> Progress:
    """A Timing that is under way."""
    with session() as s:
        project, by, snapshot, base = a_snapshot(s)
        found = request_timing(
            s, by=by.id, project_id=project.id, snapshot_id=snapshot.id, base_model_id=base.id, recipe=recipe
        )
        number = found.id
    return unmanaged("timing", number)


def taken(progress: Progress, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> Timing:
    class Me:
        def create_time(self) -> float:
            return -5.0

    monkeypatch.setattr(psutil, "Process", Me)
    timing.run(progress, trainer, trainer.clock)
    with reading() as s:
        found = s.get_one(Timing, progress.run_id)
        assert found.recipe is not None
        return found


@pytest.mark.usefixtures("database")
def test_a_timed_step_is_measured_without_loading_scoring_and_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = a_measurement()
    trainer = FakeTrainer(Clock())
    found = taken(progress, trainer, monkeypatch)
    rows = len(trainer.rows[Split.TRAIN])
    assert found.status is RunStatus.SUCCEEDED
    assert found.seconds_a_row == 8.0 / 4
    assert found.seconds_a_reference == pytest.approx(6 / rows)
    assert found.seconds_before == pytest.approx(5 + 10 + 1)  # the first step's second more is part of it
    assert (found.device, found.peak_memory_mb) == ("CPU, 2 threads", 2345)
    assert not (progress.folder / "checkpoints").exists()
    assert not (progress.folder / ROWS).exists()


@pytest.mark.usefixtures("database")
def test_the_trainer_gets_a_few_real_rows_and_makes_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = FakeTrainer(Clock(), scores=False)
    recipe = changed(method=Method.KTO, adapter=None, sft_epochs=2.0, reference=Reference.BASE, batch_size=2)
    found = taken(a_measurement(recipe), trainer, monkeypatch)
    told = trainer.given
    assert told is not None
    assert (told.max_steps, told.makes_model, told.evaluations, told.sft_epochs) == (STEPS, False, 0, 0.0)
    assert (told.method, told.adapter, told.reference, told.batch_size) == (Method.KTO, None, Reference.START, 2)
    assert (len(trainer.rows[Split.TRAIN]), trainer.rows[Split.VALIDATION]) == (STEPS * 2, [])
    assert found.seconds_a_reference == 0.0
    assert (found.recipe.sft_epochs, found.recipe.reference) == (2.0, Reference.BASE)


@pytest.mark.usefixtures("database")
def test_a_trainer_that_took_one_step_measured_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingFailed, match="fewer than two steps"):
        taken(a_measurement(), FakeTrainer(Clock(), steps=1), monkeypatch)


@pytest.mark.usefixtures("database")
def test_a_cancelled_measurement_ends_at_its_next_word(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = a_measurement()
    with session() as s:
        row = s.get_one(Timing, progress.run_id)
        cancel(s, by=row.requested_by_id, run_id=row.id)
    with pytest.raises(RunLost):
        taken(progress, FakeTrainer(Clock()), monkeypatch)


def test_rows_of_mean_length_are_taken_and_enough_for_every_step_if_there_are(s: Session) -> None:
    _, _, snapshot, _ = a_snapshot(s)
    rows = verify(snapshot)[Split.TRAIN]
    assert [len(usual_rows(rows, batch_size=size)) for size in (1, len(rows), 10 * len(rows))] == [
        STEPS,
        len(rows),
        len(rows),
    ]
    with pytest.raises(Refused, match="no pairs to measure"):
        usual_rows([], batch_size=4)


@pytest.mark.both_databases
def test_only_a_manager_measures_one_thing_at_a_time_that_can_work(s: Session) -> None:
    project, by, snapshot, base = a_snapshot(s)
    annotator = a_reviewer(s, project, Role.ANNOTATOR)
    asked = {"project_id": project.id, "snapshot_id": snapshot.id, "base_model_id": base.id}
    with pytest.raises(NotAllowed):
        request_timing(s, by=annotator.id, recipe=SMALL, **asked)
    with pytest.raises(Refused, match="processes"):
        request_timing(s, by=by.id, recipe=changed(processes=3), **asked)
    found = request_timing(s, by=by.id, recipe=changed(adapter=Adapter.DORA), **asked)
    with pytest.raises(Refused, match="being measured already"):
        request_timing(s, by=by.id, recipe=SMALL, **asked)
    assert [one.id for one in timings(s, project_id=project.id)] == [found.id]
