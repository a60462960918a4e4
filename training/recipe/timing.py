"""Measure a step of a Recipe on this machine: `python -m jobs.child timing TIMING_ID ATTEMPT` calls `run`.

The trainer itself takes three steps on rows of about the Snapshot's mean length, and no model comes of it.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Method, Reference, Role, RunStatus, Timing
from db.people import require
from db.session import reading, session
from errors import NotFound, Refused, TrainingFailed
from files import MANIFEST, read_json
from jobs.progress import Progress, RunLost
from jobs.runs import Resources
from training.data.rows import FrozenRow, content_sha256, write_folder
from training.data.snapshot import verify
from training.data.terms import Split
from training.recipe.recipe import stored_recipe
from training.trainer import run_folder
from training.trainer.run_folder import RecipeValues, RunInput, SampleReport, StepReport, WarningReport
from training.trainer.watching import Interrupted

STEPS = 3
"""The first also warms up, so it is not counted."""
ROWS = "rows"
"""Folder of the rows that are timed, laid out as a Snapshot."""
SCORING = "Scoring"
"""How the trainer begins to say that the reference model scores the rows."""

Trainer = Callable[[Path, run_folder.Listener], None]


def request_timing(
    s: Session, *, by: int, project_id: int, snapshot_id: int, base_model_id: int, recipe: RecipeValues
) -> Timing:
    """Ask for a measurement: a QUEUED run that a worker takes up; managers only.

    Raises `NotFound`, and `Refused` for a recipe that cannot work or while one is being measured.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    under_way = [status for status in RunStatus if not status.ended]
    busy = select(Timing.id).where(Timing.project_id == project_id, Timing.status.in_(under_way))
    if s.scalar(busy) is not None:
        raise Refused("A recipe is being measured already. Wait for the result, or cancel it.")
    stored = stored_recipe(
        s, project_id=project_id, snapshot_id=snapshot_id, base_model_id=base_model_id, recipe=recipe
    )
    timing = Timing(
        project_id=project_id,
        snapshot_id=snapshot_id,
        recipe_id=stored.id,
        base_model_id=base_model_id,
        requested_by_id=by,
    )
    s.add(timing)
    s.flush()
    return timing


def timings(s: Session, *, project_id: int, limit: int = 3) -> Sequence[Timing]:
    """The project's newest Timings, newest first."""
    newest = select(Timing).where(Timing.project_id == project_id).order_by(Timing.id.desc()).limit(limit)
    return s.scalars(newest).all()


def resources(run: Timing) -> Resources:
    """A GPU for the model."""
    return Resources(gpus=1)


def run(progress: Progress, trainer: Trainer | None = None, clock: Callable[[], float] = time.time) -> None:
    """Measure, and write what was found into the Timing.

    Args:
        trainer: what trains in a folder; none takes the real one.
        clock: seconds since the epoch, as the start of this process is known in them.

    Raises `TrainingFailed` and other `PickwellError`s with a sentence, and `jobs.progress.RunLost`.
    """
    with reading() as s:
        given, rows = _given(s, timing_id=progress.run_id, folder=progress.folder)
    given.write(progress.folder)
    stopwatch = Stopwatch(progress, clock, started=psutil.Process().create_time())
    try:
        (trainer or _real_trainer())(progress.folder, stopwatch)
    except Interrupted as asked:  # the worker stops, or somebody cancelled; it is measured anew
        raise RunLost(str(asked)) from None
    examples = 2 * rows if given.method is Method.KTO else rows
    found = stopwatch.found(rows_a_step=min(given.batch_size, examples), rows=rows)
    said = read_json(progress.folder / MANIFEST)
    _clear(progress.folder)
    with session() as s:
        progress.guard(s)
        timing = s.get_one(Timing, progress.run_id)
        timing.seconds_a_row, timing.seconds_a_reference = found.seconds_a_row, found.seconds_a_reference
        timing.seconds_before = found.seconds_before
        timing.peak_memory_mb, timing.device = said.get("peak_memory_mb"), said.get("device")
        progress.succeed(s)


def _real_trainer() -> Trainer:
    from training.trainer.train import train

    return train


def _clear(folder: Path) -> None:
    """Leave only the logs of attempts: what another one left would be gone on from, and timed too short."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("attempt-"):
            path.unlink()


def _given(s: Session, *, timing_id: int, folder: Path) -> tuple[RunInput, int]:
    """What the trainer is told, and on how many rows."""
    timing = s.get(Timing, timing_id)
    if timing is None:
        raise NotFound(f"There is no measurement {timing_id} (any more).")
    recipe = timing.recipe
    rows = usual_rows(verify(timing.snapshot)[Split.TRAIN], batch_size=recipe.batch_size)
    frozen = {split: rows if split is Split.TRAIN else [] for split in Split}
    sha256 = content_sha256(frozen)
    _clear(folder)
    write_folder(folder / ROWS, frozen, sha256=sha256, about={"of": timing.snapshot.sha256})
    knobs = {knob.name: getattr(recipe, knob.name) for knob in fields(RecipeValues)}
    knobs |= {
        "max_steps": STEPS,
        "epochs": float(STEPS),
        "warmup_steps": 0,
        "evaluations": 0,
        "stop_early": False,
        # its rows are read on one side only, which is reckoned from the others
        "sft_epochs": 0.0,
        "reference": Reference.START,
    }
    given = RunInput(
        base_model=timing.base_model.location,
        template_hash=timing.base_model.template_hash,
        snapshot=str(folder / ROWS),
        snapshot_sha256=sha256,
        save_every=STEPS,
        makes_model=False,
        **knobs,
    )
    return given, len(rows)


def usual_rows(rows: Sequence[FrozenRow], *, batch_size: int) -> list[FrozenRow]:
    """Rows of about mean length: enough for every step, else for one that is repeated, else all there are."""
    if not rows:
        raise Refused("This snapshot has no pairs to measure with. Rank more comparisons and freeze again.")
    mean = fmean(map(_length, rows))
    nearest = sorted(rows, key=lambda row: (abs(_length(row) - mean), row.prompt_id, row.rejected_id))
    enough = [count for count in (STEPS * batch_size, batch_size) if count <= len(rows)]
    return nearest[: enough[0]] if enough else nearest


def _length(row: FrozenRow) -> int:
    """Characters of both sides: what a step reads."""
    return sum(len(turn["content"]) for turn in (*row.prompt, *row.chosen, *row.prompt, *row.rejected))


@dataclass(frozen=True)
class Found:
    """What a few steps took."""

    seconds_a_row: float
    seconds_a_reference: float
    seconds_before: float


class Stopwatch:
    """Listens to a training and notes when what happened."""

    def __init__(self, progress: Progress, clock: Callable[[], float], *, started: float) -> None:
        """Begin; ``started`` is when this process did, seconds since the epoch."""
        self._progress, self._clock, self._started = progress, clock, started
        self._heard: dict[int, float] = {}
        self._scoring_since: float | None = None
        self._scored = 0.0

    def stage(self, text: str) -> None:
        """Pass it on, and notice when the reference begins and ends to score."""
        scoring = text.startswith(SCORING)
        if scoring and self._scoring_since is None:
            self._scoring_since = self._clock()
        elif not scoring:
            self._end_of_scoring(self._clock())
        self._progress.update(stage=f"Measuring: {text[:1].lower()}{text[1:]}")

    def _end_of_scoring(self, when: float) -> None:
        if self._scoring_since is not None:
            self._scored += max(0.0, when - self._scoring_since)
            self._scoring_since = None

    def step(self, said: StepReport) -> None:
        """Note a training step."""
        if said.split is not Split.TRAIN:
            return
        # by the clock here: the trainer's own seconds are rounded to tenths, and a GPU's steps are short
        self._heard[said.step] = self._clock()
        self._progress.update(stage="Measuring", done=said.step, total=said.steps)

    def sample(self, said: SampleReport) -> None:
        """Nothing: no samples are wanted."""

    def warning(self, said: WarningReport) -> None:
        """Nothing: three steps at such a pace are no training."""

    def found(self, *, rows_a_step: int, rows: int) -> Found:
        """What the steps after the first took. Raises `TrainingFailed` where there were fewer than two."""
        first, last = min(self._heard, default=0), max(self._heard, default=0)
        if last == first or self._heard[last] <= self._heard[first]:
            raise TrainingFailed("The trainer took fewer than two steps, so nothing was measured. Its log says why.")
        a_step = (self._heard[last] - self._heard[first]) / (last - first)
        began = self._heard[first] - a_step
        self._end_of_scoring(began)
        return Found(
            seconds_a_row=a_step / rows_a_step,
            seconds_a_reference=self._scored / rows,
            seconds_before=max(0.0, began - self._started - self._scored),
        )
