"""What benchmarks found of models: newest values, and what was lost or gained against what a model is held to."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import BenchmarkRun, BenchmarkScore, ModelVersion
from eval.benchmarks.runs import model_label
from stats.paired import IncomparableScores, Score, ScoreChange, ScoreDifference, score_differences


def load_scores(s: Session, *, model_version_id: int, quantised: bool = False) -> list[Score]:
    """What was measured of a model in any project, newest first; tasks of runs that failed later count too."""
    rows = s.execute(
        select(BenchmarkScore, BenchmarkRun.measured_by)
        .join(BenchmarkRun, BenchmarkRun.id == BenchmarkScore.run_id)
        .where(BenchmarkRun.model_version_id == model_version_id, BenchmarkRun.quantised.is_(quantised))
        .order_by(BenchmarkRun.id.desc(), BenchmarkScore.task, BenchmarkScore.metric)
    )
    names = [field.name for field in fields(Score) if field.name != "measured_by"]
    return [
        Score(**{name: getattr(row, name) for name in names}, measured_by=measured_by or "")
        for row, measured_by in rows
    ]


def newest_scores(scores: Iterable[Score]) -> list[Score]:
    """The newest of each task and metric, by name."""
    by_name: dict[tuple[str, str], Score] = {}
    for score in scores:
        by_name.setdefault((score.task, score.metric), score)
    return [by_name[name] for name in sorted(by_name)]


def value_rows(by_model: Mapping[str, Sequence[Score]]) -> list[dict[str, object]]:
    """A table of values, benchmarks down and models across."""
    values = {
        (model, score.task, score.metric): f"{score.value:.3g} on {score.examples:,} examples"
        for model, scores in by_model.items()
        for score in scores
    }
    return [
        {"Benchmark": f"{task}, {metric}", **{model: values.get((model, task, metric), "–") for model in by_model}}
        for task, metric in sorted({name[1:] for name in values})
    ]


@dataclass(frozen=True)
class ModelComparison:
    """A model beside what it is held to, on the same examples."""

    model: str
    reference: str
    differences: tuple[ScoreDifference, ...]
    not_compared: tuple[IncomparableScores, ...]

    @property
    def summary(self) -> str:
        """How many were lost and gained, and what could still be hidden, in a sentence."""
        count = Counter(difference.outcome for difference in self.differences)
        lost, gained, undecided = (count[outcome] for outcome in ScoreChange)
        words = f"Of {len(self.differences)} figures: {lost} lost, {gained} gained."
        if not undecided:
            return words
        possible_losses = (d.hidden for d in self.differences if d.share and d.outcome is ScoreChange.NOT_SHOWN)
        widest = max(possible_losses, default=0.0)
        hidden = f": losses of up to {100 * widest:.0f} points could still be hidden there" if widest else ""
        return f"{words} {undecided} without a difference that so few examples can show{hidden}."


def compare_with_references(s: Session, *, version: ModelVersion) -> list[ModelComparison]:
    """The model against its base (the model it was made from), and in four bits against itself as stored."""
    stored = load_scores(s, model_version_id=version.id)
    four_bits = load_scores(s, model_version_id=version.id, quantised=True)
    pairs = []
    if version.parent is not None and stored:
        pairs.append((version.name, stored, version.parent.name, load_scores(s, model_version_id=version.parent.id)))
    if four_bits:
        pairs.append((model_label(version, quantised=True), four_bits, version.name, stored))
    comparisons = []
    for model, scores, reference, reference_scores in pairs:
        results = score_differences(reference_scores, scores)
        differences = tuple(result for result in results if isinstance(result, ScoreDifference))
        incomparable = tuple(result for result in results if isinstance(result, IncomparableScores))
        comparisons.append(ModelComparison(model, reference, differences, incomparable))
    return comparisons
