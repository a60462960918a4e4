"""The project's trainings and what their trainers said."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import TrainingRun, TrainingStep


def training_runs(s: Session, *, project_id: int) -> Sequence[TrainingRun]:
    """The project's TrainingRuns, newest first, with snapshot, recipe and models at hand."""
    return s.scalars(
        select(TrainingRun)
        .where(TrainingRun.project_id == project_id)
        .order_by(TrainingRun.id.desc())
        .options(
            selectinload(TrainingRun.snapshot),
            selectinload(TrainingRun.recipe),
            selectinload(TrainingRun.base_model),
            selectinload(TrainingRun.model_version),
        )
    ).all()


def training_steps(s: Session, *, run_id: int) -> Sequence[TrainingStep]:
    """What the trainer reported, in order."""
    return s.scalars(
        select(TrainingStep).where(TrainingStep.training_run_id == run_id).order_by(TrainingStep.step)
    ).all()
