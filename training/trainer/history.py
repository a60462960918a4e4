"""The project's trainings and what their trainers said, read back from the database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.models import Prompt, Split, TrainingRun, TrainingSample, TrainingStep, TrainingWarning
from training.recipe.estimate import seconds_a_step


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


@dataclass(frozen=True)
class SampleReply:
    """What the model in training said at one step."""

    step: int
    """0 is the model before its first step."""
    reply: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class PromptSamples:
    """One of the fixed prompts, and what was said to it."""

    place: int
    prompt: str
    context: str | None
    synthetic: bool
    replies: tuple[SampleReply, ...]
    """By step."""

    def at(self, step: int) -> SampleReply | None:
        """The reply at that step, else at the last one before it; none before the first."""
        return max((one for one in self.replies if one.step <= step), key=lambda one: one.step, default=None)


def samples(s: Session, *, run_id: int) -> tuple[PromptSamples, ...]:
    """The run's sample replies by prompt, in the prompts' order."""
    found = s.execute(
        select(TrainingSample, Prompt)
        .join(Prompt, Prompt.id == TrainingSample.prompt_id)
        .where(TrainingSample.training_run_id == run_id)
        .order_by(TrainingSample.place, TrainingSample.step)
    ).all()
    prompts = {sample.place: prompt for sample, prompt in found}
    return tuple(
        PromptSamples(
            place=place,
            prompt=prompt.text,
            context=prompt.context,
            synthetic=prompt.synthetic,
            replies=tuple(
                SampleReply(one.step, one.reply, one.tokens, one.ended) for one, _ in found if one.place == place
            ),
        )
        for place, prompt in prompts.items()
    )


def warnings(s: Session, *, run_id: int) -> Sequence[TrainingWarning]:
    """What the guards found wrong, first things first."""
    return s.scalars(
        select(TrainingWarning)
        .where(TrainingWarning.training_run_id == run_id)
        .order_by(TrainingWarning.step, TrainingWarning.kind)
    ).all()


def minutes_left(run: TrainingRun, steps: Sequence[TrainingStep]) -> float | None:
    """From the steps so far; none where the run has ended or has taken too few."""
    times = [(one.step, one.seconds) for one in steps if one.split is Split.TRAIN and one.seconds is not None]
    a_step = seconds_a_step(times)
    if run.status.ended or a_step is None or not run.total:
        return None
    return max(0, run.total - times[-1][0]) * a_step / 60


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
"""Each chart's lines: what a line is called beside its rows, and the column that it shows."""


def points(steps: Sequence[TrainingStep], chart: str) -> list[StepValue]:
    """The chart's points by step; empty where the method has no such numbers.

    Before the first update, and before the second where the first was made at a learning rate of 0 (as a warm-up
    begins), all rewards are ties, which count as wrong: that accuracy of 0 says nothing and is left out.
    """
    found = []
    for name, column in CURVES[chart]:
        told = [(one, getattr(one, column)) for one in steps if getattr(one, column) is not None]
        first = min((one.step for one, _ in told if one.split is Split.TRAIN), default=0)
        for one, value in told:
            untrained = one.step == 0 or (one.split is Split.TRAIN and one.step == first)
            if chart == "Reward accuracy" and (untrained or (value == 0 and one.reward_margin == 0)):
                continue
            rows = "validation" if one.split is Split.VALIDATION else "training"
            found.append(StepValue(one.step, f"{rows}, {name}" if name else rows, value))
    return sorted(found, key=lambda point: (point.line, point.step))
