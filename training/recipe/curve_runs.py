"""LearningCurves: four trainings on growing shares of one Snapshot, asked for, read and cancelled together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import LearningCurve, Method, Role, RunStatus, Snapshot, Split, TrainingRun, TrainingStep
from db.people import require_role
from errors import NotEnoughPreferences, NotFound, Refused
from jobs.runs import cancel_run
from training.data.preferences import VALIDATION_SHARE
from training.data.rows import read_rows
from training.data.snapshot import snapshot_folder
from training.recipe.estimate import estimate_minutes, snapshot_lengths
from training.recipe.learning_curve import LEAST_VALIDATION, SHARES, CurvePoint, count_right, take_share
from training.recipe.recipe import PAIRED, RecipeValues, from_row
from training.recipe.start import start_training


@dataclass(frozen=True)
class CurveCounts:
    """How many rows a Snapshot gives a LearningCurve."""

    pairs: tuple[int, ...]
    """To learn from, for each of `SHARES`."""
    validation: int
    validation_prompts: int
    simulated: int
    """Of the rows to learn from."""
    simulated_validation: int


@dataclass(frozen=True)
class CurveStatus:
    """A LearningCurve as it is now."""

    curve: LearningCurve
    runs: tuple[TrainingRun, ...]
    """Smallest share first, with recipe, base model and snapshot at hand."""
    counts: CurveCounts
    points: tuple[CurvePoint, ...]
    """Of the trainings that are done, smallest share first."""

    @property
    def title(self) -> str:
        """Its name: a run's, without the share at its end."""
        return self.runs[0].model_name.rpartition(", ")[0] if self.runs else f"Learning curve {self.curve.id}"

    @property
    def ended(self) -> bool:
        """Whether all of its runs have."""
        return all(run.status.ended for run in self.runs)


def count_rows(snapshot: Snapshot, *, seed: int) -> CurveCounts:
    """How many rows each training would have. Raises `Refused` when the Snapshot's files were changed."""
    return _counts(snapshot_folder(snapshot), snapshot.sha256, seed)


@lru_cache(maxsize=32)
def _counts(folder: Path, sha256: str, seed: int) -> CurveCounts:
    # kept, since a Snapshot never changes and a page asks every two seconds while trainings run
    rows = read_rows(folder, sha256=sha256)
    train, validation = rows[Split.TRAIN], rows[Split.VALIDATION]
    return CurveCounts(
        pairs=tuple(len(take_share(train, share, seed)) for share in SHARES),
        validation=len(validation),
        validation_prompts=len({row.prompt_id for row in validation}),
        simulated=sum(row.simulated for row in train),
        simulated_validation=sum(row.simulated for row in validation),
    )


def check_curve(counts: CurveCounts, *, method: Method) -> None:
    """Whether a curve can be told from these rows by this method.

    Raises `NotEnoughPreferences` for too few rows, and `Refused` for a method that compares no two replies.
    """
    if method not in PAIRED:
        raise Refused(
            f"A learning curve counts how often a model prefers the better reply, which {method.value} does not learn. "
            f"Choose a recipe with one of {', '.join(PAIRED)}."
        )
    if counts.validation < LEAST_VALIDATION:
        raise NotEnoughPreferences(
            f"This snapshot has {counts.validation} validation rows, and a learning curve needs at least "
            f"{LEAST_VALIDATION}: with fewer, no difference could be told. One prompt in {VALIDATION_SHARE} goes "
            f"there, so rank pairs of about {LEAST_VALIDATION * VALIDATION_SHARE} prompts and freeze again."
        )
    if len(set(counts.pairs)) < len(SHARES):
        raise NotEnoughPreferences(
            f"This snapshot has {counts.pairs[-1]} rows to learn from, too few prompts for {len(SHARES)} different "
            "shares. Rank pairs of more prompts and freeze again."
        )


def curve_minutes(snapshot: Snapshot, *, recipe: RecipeValues) -> float:
    """About how long all four trainings take one after another, in minutes; as rough as `estimate_minutes`."""
    counts, tokens = count_rows(snapshot, seed=recipe.seed), snapshot_lengths(snapshot).mean
    return sum(estimate_minutes(recipe, pairs=pairs + counts.validation, tokens=tokens) for pairs in counts.pairs)


def start_curve(
    s: Session, *, by: int, project_id: int, snapshot_id: int, base_model_id: int, recipe: RecipeValues, name: str
) -> LearningCurve:
    """Ask for four trainings that differ in their share of the Snapshot alone and make no model; managers only.

    Raises `NotEnoughPreferences` and `Refused` as `check_curve` does, and whatever `start_training` raises.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    snapshot = s.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound(f"There is no snapshot {snapshot_id} in this project. Freeze the preferences first.")
    name = " ".join(name.split())
    if not name:
        raise Refused("The learning curve needs a name. Type one.")
    check_curve(count_rows(snapshot, seed=recipe.seed), method=recipe.method)
    curve = LearningCurve(project_id=project_id, snapshot_id=snapshot_id, requested_by_id=by)
    s.add(curve)
    s.flush()
    for share in SHARES:
        start_training(
            s,
            by=by,
            project_id=project_id,
            snapshot_id=snapshot_id,
            base_model_id=base_model_id,
            recipe=recipe,
            model_name=f"{name}, {share * 100:.0f} %",
            share=share,
            curve_id=curve.id,
        )
    return curve


def cancel_curve(s: Session, *, by: int, curve_id: int) -> None:
    """Stop the trainings of it that have not ended; managers only. Raises `Refused` when all have."""
    require_role(s, by=by, project_id=_find_curve(s, curve_id).project_id, roles=(Role.MANAGER,))
    runs = s.scalars(select(TrainingRun).where(TrainingRun.curve_id == curve_id).order_by(TrainingRun.id))
    left = [run for run in runs if not run.status.ended]
    if not left:
        raise Refused("All trainings of this learning curve have ended, so there is nothing to cancel.")
    for run in left:
        cancel_run(s, by=by, run_id=run.id)


def list_curves(s: Session, *, project_id: int) -> Sequence[LearningCurve]:
    """The project's LearningCurves, newest first."""
    of_project = select(LearningCurve).where(LearningCurve.project_id == project_id)
    return s.scalars(of_project.order_by(LearningCurve.id.desc())).all()


def curve_status(s: Session, *, curve_id: int) -> CurveStatus:
    """A LearningCurve as it is now. Raises `NotFound`, and `Refused` when its Snapshot's files were changed."""
    curve = _find_curve(s, curve_id)
    beside = (TrainingRun.snapshot, TrainingRun.recipe, TrainingRun.base_model)
    runs = s.scalars(
        select(TrainingRun)
        .where(TrainingRun.curve_id == curve_id)
        .order_by(TrainingRun.share)
        .options(*map(selectinload, beside))
    ).all()
    snapshot = s.get_one(Snapshot, curve.snapshot_id)
    counts = count_rows(snapshot, seed=from_row(runs[0].recipe).seed if runs else 0)
    pairs = dict(zip(SHARES, counts.pairs, strict=True))
    points = []
    for run in runs:
        step = _last_evaluation(s, run) if run.status is RunStatus.SUCCEEDED else None
        if step is not None and step.reward_accuracy is not None:
            right = count_right(step.reward_accuracy, counts.validation)
            points.append(CurvePoint(run.share, pairs[run.share], right, counts.validation, step.step))
    return CurveStatus(curve=curve, runs=tuple(runs), counts=counts, points=tuple(points))


def _find_curve(s: Session, curve_id: int) -> LearningCurve:
    curve = s.get(LearningCurve, curve_id)
    if curve is None:
        raise NotFound(f"There is no learning curve {curve_id}. Reload the page.")
    return curve


def _last_evaluation(s: Session, run: TrainingRun) -> TrainingStep | None:
    """The last evaluation on the validation rows; where an earlier step's model was kept, that of its step."""
    return s.scalar(
        select(TrainingStep)
        .where(TrainingStep.training_run_id == run.id, TrainingStep.split == Split.VALIDATION)
        .order_by((TrainingStep.step == run.best_step).desc(), TrainingStep.step.desc())
        .limit(1)
    )
