"""Two to four trainings side by side: what differs first, then how they went and what their models said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, Role, Split, TrainingRun, TrainingSample, TrainingStep, TrainingWarning
from db.people import require_role
from errors import NotFound, Refused
from release.card import describe_snapshot, knob_values, minutes_taken, step_metrics
from training.trainer.history import chart_points, load_steps, load_warnings

LEAST, MOST = 2, 4
NOTHING = "–"
ROWS = {Split.TRAIN: "training", Split.VALIDATION: "validation"}


@dataclass(frozen=True)
class ComparedValue:
    """One thing by which the runs may differ."""

    label: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether not all are the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class MetricPoint:
    """One reported step of one run."""

    run: str
    split: Split
    step: int
    loss: float
    accuracy: float | None
    """None where the page Train leaves it out too: at the first steps all pairs are ties, which count as wrong."""
    margin: float | None


@dataclass(frozen=True)
class FinalReply:
    """What one run's model said to a sample prompt at the end."""

    run: str
    step: int
    reply: str
    ended: bool


@dataclass(frozen=True)
class PromptReplies:
    """A sample prompt with the replies of the runs that were asked it."""

    prompt: str
    replies: tuple[FinalReply, ...]


@dataclass(frozen=True)
class RunComparison:
    """Trainings side by side."""

    labels: tuple[str, ...]
    settings: tuple[ComparedValue, ...]
    outcomes: tuple[ComparedValue, ...]
    points: tuple[MetricPoint, ...]
    samples: tuple[PromptReplies, ...]
    """Prompts that most runs were asked come first."""
    simulated: bool
    """Some of what they learned from rests on a rule's or made-up picks."""


def compare_runs(s: Session, *, by: int, project_id: int, run_ids: Sequence[int]) -> RunComparison:
    """Put the project's runs side by side, in the order given; managers only. Raises `Refused` for another number."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    chosen = list(dict.fromkeys(run_ids))
    if not LEAST <= len(chosen) <= MOST:
        raise Refused(f"Choose {LEAST} to {MOST} trainings to compare.")
    in_project = TrainingRun.project_id == project_id, TrainingRun.id.in_(chosen)
    runs = sorted(s.scalars(select(TrainingRun).where(*in_project)), key=lambda run: chosen.index(run.id))
    if len(runs) < len(chosen):
        raise NotFound("A training that you chose is not in this project. Reload the page.")
    steps = {run.id: load_steps(s, run_id=run.id) for run in runs}
    settings = [
        {
            "Base": run.base_model.name,
            "Snapshot": describe_snapshot(run.snapshot),
            "Share of the training rows": f"{run.share:.0%}",
            **knob_values(run.recipe),
        }
        for run in runs
    ]
    return RunComparison(
        labels=tuple(map(run_label, runs)),
        settings=differing_first(settings),
        outcomes=side_by_side([_outcome(run, steps[run.id], load_warnings(s, run_id=run.id)) for run in runs]),
        points=tuple(point for run in runs for point in _points(run_label(run), steps[run.id])),
        samples=_samples(s, runs),
        simulated=any(run.snapshot.simulated_count for run in runs),
    )


def run_label(run: TrainingRun) -> str:
    """A name that no other run has."""
    share = f", {run.share:.0%} of the rows" if run.share < 1 else ""
    return f"{run.model_name} (training {run.id}{share})"


def side_by_side(columns: Sequence[Mapping[str, str]]) -> tuple[ComparedValue, ...]:
    """Every label that any column has, in their order, with each column's value."""
    labels = list(dict.fromkeys(label for column in columns for label in column))
    return tuple(ComparedValue(label, tuple(column.get(label, NOTHING) for column in columns)) for label in labels)


def differing_first(columns: Sequence[Mapping[str, str]]) -> tuple[ComparedValue, ...]:
    """`side_by_side`, what differs before what is the same."""
    return tuple(sorted(side_by_side(columns), key=lambda row: not row.differs))


def _points(label: str, steps: Sequence[TrainingStep]) -> list[MetricPoint]:
    accuracy = {(point.step, point.line): point.value for point in chart_points(steps, "Reward accuracy")}
    return [
        MetricPoint(
            label, step.split, step.step, step.loss, accuracy.get((step.step, ROWS[step.split])), step.reward_margin
        )
        for step in steps
    ]


def _outcome(run: TrainingRun, steps: Sequence[TrainingStep], warnings: Sequence[TrainingWarning]) -> dict[str, str]:
    training = [step for step in steps if step.split is Split.TRAIN]
    validation = [step for step in steps if step.split is Split.VALIDATION]
    best = min(validation, key=lambda step: step.loss, default=None)
    rows = {
        "Ended": run.status.value.lower(),
        "Last validation numbers": step_metrics(validation[-1]) if validation else NOTHING,
        "Lowest validation loss": f"{best.loss:.4f} at step {best.step}" if best else NOTHING,
        "Last training numbers": step_metrics(training[-1]) if training else NOTHING,
        "Steps": str(training[-1].step) if training else NOTHING,
        "Step whose model was kept": str(run.best_step) if run.best_step is not None else "the last",
        "Minutes": minutes_taken(run) or NOTHING,
        "Memory at most": f"{run.peak_memory_mb} MB" if run.peak_memory_mb else NOTHING,
        "Warnings": ", ".join(sorted({warning.kind for warning in warnings})) or "none",
    }
    return rows | ({"Ended early": run.stopped} if run.stopped else {})


def _samples(s: Session, runs: Sequence[TrainingRun]) -> tuple[PromptReplies, ...]:
    """For each prompt the replies of each run's kept model, or of its last look."""
    rows = s.execute(
        select(TrainingSample, Prompt.text)
        .join(Prompt, Prompt.id == TrainingSample.prompt_id)
        .where(TrainingSample.training_run_id.in_([run.id for run in runs]))
        .order_by(TrainingSample.place)
    ).all()
    samples = []
    for prompt_id, text in {sample.prompt_id: text for sample, text in rows}.items():
        replies = []
        for run in runs:
            own = (sample for sample, _ in rows if (sample.training_run_id, sample.prompt_id) == (run.id, prompt_id))
            last = max(own, key=lambda sample: (sample.step == run.best_step, sample.step), default=None)
            replies += [FinalReply(run_label(run), last.step, last.reply, last.ended)] if last else []
        samples.append(PromptReplies(text, tuple(replies)))
    return tuple(sorted(samples, key=lambda sample: -len(sample.replies)))
