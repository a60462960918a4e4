"""The project's trainings and what their trainers said, read back from the database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import Prompt, Split, TrainingRun, TrainingSample, TrainingStep, TrainingWarning
from training.recipe.estimate import seconds_per_step


def list_training_runs(s: Session, *, project_id: int) -> Sequence[TrainingRun]:
    """The project's TrainingRuns, newest first, with snapshot, recipe and models at hand."""
    beside = (TrainingRun.snapshot, TrainingRun.recipe, TrainingRun.base_model, TrainingRun.model_version)
    of_project = select(TrainingRun).where(TrainingRun.project_id == project_id).order_by(TrainingRun.id.desc())
    return s.scalars(of_project.options(*map(selectinload, beside))).all()


def load_steps(s: Session, *, run_id: int) -> Sequence[TrainingStep]:
    """The trainer's reports, in order."""
    of_run = select(TrainingStep).where(TrainingStep.training_run_id == run_id)
    return s.scalars(of_run.order_by(TrainingStep.step)).all()


@dataclass(frozen=True)
class PromptSamples:
    """One of the fixed prompts, with the replies of the model in training."""

    place: int
    prompt: str
    context: str | None
    synthetic: bool
    replies: tuple[TrainingSample, ...]
    """By step; 0 is the model before its first step."""

    def at(self, step: int) -> TrainingSample | None:
        """The reply at that step, else at the last one before it; none before the first."""
        return next((reply for reply in reversed(self.replies) if reply.step <= step), None)


def load_samples(s: Session, *, run_id: int) -> tuple[PromptSamples, ...]:
    """The run's sample replies by prompt, in the prompts' order."""
    rows = s.execute(
        select(TrainingSample, Prompt)
        .join(Prompt, Prompt.id == TrainingSample.prompt_id)
        .where(TrainingSample.training_run_id == run_id)
        .order_by(TrainingSample.place, TrainingSample.step)
    ).all()
    by_prompt = {prompt: tuple(sample for sample, other in rows if other is prompt) for _, prompt in rows}
    return tuple(
        PromptSamples(samples[0].place, prompt.text, prompt.context, prompt.synthetic, samples)
        for prompt, samples in by_prompt.items()
    )


def load_warnings(s: Session, *, run_id: int) -> Sequence[TrainingWarning]:
    """The findings of the checks, first things first."""
    of_run = select(TrainingWarning).where(TrainingWarning.training_run_id == run_id)
    return s.scalars(of_run.order_by(TrainingWarning.step, TrainingWarning.kind)).all()


def minutes_left(run: TrainingRun, steps: Sequence[TrainingStep]) -> float | None:
    """From the steps so far; none where the run has ended or has taken too few."""
    times = [(step.step, step.seconds) for step in steps if step.split is Split.TRAIN and step.seconds is not None]
    step_seconds = seconds_per_step(times)
    if run.status.ended or step_seconds is None or not run.total:
        return None
    return max(0, run.total - times[-1][0]) * step_seconds / 60


@dataclass(frozen=True)
class StepValue:
    """One number of a curve."""

    step: int
    line: str
    """Which of a chart's lines, as ``training`` or ``validation, chosen``."""
    value: float


CURVES: dict[str, tuple[tuple[str, str], ...]] = {
    "Loss": (("", "loss"),),
    "Reward margin": (("", "reward_margin"),),
    "Reward accuracy": (("", "reward_accuracy"),),
    "Log-probability": (("chosen", "logps_chosen"), ("rejected", "logps_rejected")),
    "Reward": (("chosen", "rewards_chosen"), ("rejected", "rewards_rejected")),
    "Learning rate": (("", "learning_rate"),),
    "Gradient norm": (("", "grad_norm"),),
    "Tokens per second": (("", "tokens_per_second"),),
}
"""Each chart's lines: a line's name beside its rows, and the column that it shows."""


def chart_points(steps: Sequence[TrainingStep], chart: str) -> list[StepValue]:
    """The chart's points by step; empty where the method has no such numbers.

    Before the first update, and before the second where the first was made at a learning rate of 0 (as a warm-up
    begins), all rewards are ties, which count as wrong: that accuracy of 0 says nothing and is left out.
    """
    values = []
    for name, column in CURVES[chart]:
        reported = [(step, getattr(step, column)) for step in steps if getattr(step, column) is not None]
        first = min((step.step for step, _ in reported if step.split is Split.TRAIN), default=0)
        for step, value in reported:
            untrained = step.step == 0 or (step.split is Split.TRAIN and step.step == first)
            if chart == "Reward accuracy" and (untrained or (value == 0 and step.reward_margin == 0)):
                continue
            rows = "validation" if step.split is Split.VALIDATION else "training"
            values.append(StepValue(step.step, f"{rows}, {name}" if name else rows, value))
    return sorted(values, key=lambda value: (value.line, value.step))
