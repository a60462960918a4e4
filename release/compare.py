"""Two to four trainings side by side: what differs first, then how they went and what their models said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, Role, Split, TrainingRun, TrainingSample, TrainingStep, TrainingWarning
from db.people import require
from errors import NotFound, Refused
from release.card import knobs, metrics, snapshot_in_words
from training.trainer.history import points

LEAST, MOST = 2, 4
NOTHING = "–"
ROWS = {Split.TRAIN: "training", Split.VALIDATION: "validation"}
"""What a curve's rows are called."""


@dataclass(frozen=True)
class Difference:
    """One thing by which the runs may differ."""

    label: str
    values: tuple[str, ...]
    """One for each run, in their order."""

    @property
    def differs(self) -> bool:
        """Whether not all are the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Point:
    """One reported step of one run."""

    run: str
    """The run's label."""
    split: Split
    step: int
    loss: float
    accuracy: float | None
    """None where the page Train leaves it out too: at the first steps all pairs are ties, which count as wrong."""
    margin: float | None


@dataclass(frozen=True)
class Said:
    """What one run's model said to a sample prompt at the end."""

    run: str
    step: int
    reply: str
    ended: bool
    """It came to its end by itself."""


@dataclass(frozen=True)
class Samples:
    """A sample prompt with the replies of the runs that were asked it."""

    prompt: str
    replies: tuple[Said, ...]


@dataclass(frozen=True)
class Compared:
    """Trainings side by side."""

    labels: tuple[str, ...]
    """Unique, in the order of the choice."""
    settings: tuple[Difference, ...]
    """What went in: recipe, snapshot, base; what differs first."""
    outcomes: tuple[Difference, ...]
    """What came out: numbers, minutes, memory."""
    points: tuple[Point, ...]
    samples: tuple[Samples, ...]
    """Prompts that most runs were asked come first."""
    simulated: bool
    """Some of what they learned from rests on a rule's or made-up picks."""


def compare(s: Session, *, by: int, project_id: int, run_ids: Sequence[int]) -> Compared:
    """Put the project's runs side by side, in the order given; managers only. Raises `Refused` for another number."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    chosen = list(dict.fromkeys(run_ids))
    if not LEAST <= len(chosen) <= MOST:
        raise Refused(f"Choose {LEAST} to {MOST} trainings to compare.")
    found = {
        run.id: run
        for run in s.scalars(
            select(TrainingRun).where(TrainingRun.project_id == project_id, TrainingRun.id.in_(chosen))
        )
    }
    if len(found) < len(chosen):
        raise NotFound("A training that you chose is not in this project. Reload the page.")
    runs = [found[run_id] for run_id in chosen]
    labels = {run.id: label_of(run) for run in runs}
    steps = s.scalars(
        select(TrainingStep).where(TrainingStep.training_run_id.in_(chosen)).order_by(TrainingStep.step)
    ).all()
    warnings = s.scalars(select(TrainingWarning).where(TrainingWarning.training_run_id.in_(chosen))).all()
    samples = s.execute(
        select(TrainingSample, Prompt.text)
        .join(Prompt, Prompt.id == TrainingSample.prompt_id)
        .where(TrainingSample.training_run_id.in_(chosen))
        .order_by(TrainingSample.place)
    ).all()
    return Compared(
        labels=tuple(labels[run.id] for run in runs),
        settings=differing_first([_settings(run) for run in runs]),
        outcomes=side_by_side(
            [
                _outcome(
                    run,
                    [step for step in steps if step.training_run_id == run.id],
                    [one.kind for one in warnings if one.training_run_id == run.id],
                )
                for run in runs
            ]
        ),
        points=tuple(
            point
            for run in runs
            for point in _points(labels[run.id], [step for step in steps if step.training_run_id == run.id])
        ),
        samples=_samples(runs, labels, [(sample, text) for sample, text in samples]),
        simulated=any(run.snapshot.simulated_count for run in runs),
    )


def label_of(run: TrainingRun) -> str:
    """A name that no other run has."""
    share = f", {run.share:.0%} of the rows" if run.share < 1 else ""
    return f"{run.model_name} (training {run.id}{share})"


def side_by_side(columns: Sequence[Mapping[str, str]]) -> tuple[Difference, ...]:
    """Every label that any column has, in their order, with each column's value."""
    labels = list(dict.fromkeys(label for column in columns for label in column))
    return tuple(Difference(label, tuple(column.get(label, NOTHING) for column in columns)) for label in labels)


def differing_first(columns: Sequence[Mapping[str, str]]) -> tuple[Difference, ...]:
    """`side_by_side`, what differs before what is the same."""
    return tuple(sorted(side_by_side(columns), key=lambda one: not one.differs))


def _settings(run: TrainingRun) -> dict[str, str]:
    return {
        "Base": run.base_model.name,
        "Snapshot": snapshot_in_words(run.snapshot),
        "Share of the training rows": f"{run.share:.0%}",
        **knobs(run.recipe),
    }


def _points(label: str, steps: Sequence[TrainingStep]) -> list[Point]:
    """The run's steps, with the accuracies that tell something."""
    told = {(one.step, one.line): one.value for one in points(steps, "Reward accuracy")}
    return [
        Point(label, one.split, one.step, one.loss, told.get((one.step, ROWS[one.split])), one.reward_margin)
        for one in steps
    ]


def _outcome(run: TrainingRun, steps: Sequence[TrainingStep], warnings: Sequence[str]) -> dict[str, str]:
    training = [step for step in steps if step.split is Split.TRAIN]
    validation = [step for step in steps if step.split is Split.VALIDATION]
    found = {
        "Ended": run.status.value.lower(),
        "Last validation numbers": metrics(validation[-1]) if validation else NOTHING,
        "Lowest validation loss": _lowest(validation),
        "Last training numbers": metrics(training[-1]) if training else NOTHING,
        "Steps": str(training[-1].step) if training else NOTHING,
        "Step whose model was kept": str(run.best_step) if run.best_step is not None else "the last",
        "Minutes": NOTHING,
        "Memory at most": f"{run.peak_memory_mb} MB" if run.peak_memory_mb else NOTHING,
        "Warnings": ", ".join(sorted(set(warnings))) or "none",
    }
    if run.stopped:
        found["Ended early"] = run.stopped
    if run.started_at and run.finished_at:
        found["Minutes"] = f"{(run.finished_at - run.started_at) / timedelta(minutes=1):.1f}"
    return found


def _lowest(validation: Sequence[TrainingStep]) -> str:
    if not validation:
        return NOTHING
    best = min(validation, key=lambda step: step.loss)
    return f"{best.loss:.4f} at step {best.step}"


def _samples(
    runs: Sequence[TrainingRun], labels: Mapping[int, str], found: Sequence[tuple[TrainingSample, str]]
) -> tuple[Samples, ...]:
    """For each prompt the replies of each run's kept model, or of its last look."""
    texts = {sample.prompt_id: text for sample, text in found}
    asked = []
    for prompt_id, text in texts.items():
        replies = []
        for run in runs:
            own = [one for one, _ in found if one.training_run_id == run.id and one.prompt_id == prompt_id]
            if own:
                last = max(own, key=lambda one: (one.step == run.best_step, one.step))
                replies.append(Said(labels[run.id], last.step, last.reply, last.ended))
        asked.append(Samples(text, tuple(replies)))
    return tuple(sorted(asked, key=lambda one: -len(one.replies)))
