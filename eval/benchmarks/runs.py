"""A BenchmarkRun at work: `python -m jobs.child benchmark RUN_ID ATTEMPT` calls `run`.

Each task's scores are kept as it ends, so that an attempt after a failure asks only what is missing.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import refuse_retired, the_model
from db.models import BenchmarkRun, BenchmarkScore, ModelVersion, Responder, Role, RunStatus
from db.people import require
from db.session import reading, session
from errors import BrokenModel, NotFound, PickwellError, Refused
from eval.benchmarks.tasks import changed_since, checked_tasks, label_of
from eval.benchmarks.terms import Asked, BenchmarkFailed, Listener
from files import MANIFEST, write_json
from jobs.progress import Progress
from jobs.runs import Resources
from llm.folder import check_model_folder
from stats.paired import Difference, NotComparable, Score, differences

WRITE_EVERY = 1.0
"""Seconds between two words on the progress, at least."""
FINISHED = "finished.json"
"""File in the run's folder with the tasks that were asked to their end."""
MOST_EXAMPLES = 100_000


# ------------------------------------------------------------------------------------------------------- asking for one


def request_benchmark(
    s: Session,
    *,
    by: int,
    project_id: int,
    model_version_id: int,
    tasks: Iterable[str],
    examples: int | None,
    quantised: bool = False,
) -> BenchmarkRun:
    """Ask for benchmarks on a model: a QUEUED run that a worker takes up; managers only.

    Args:
        tasks: lm-eval's names, or paths of task files.
        examples: at most so many of each task, the first ones; none for all.
        quantised: load it in four bits.

    Raises `NotFound`, `BadFile`, `BrokenModel`, and `Refused` for a retired model or while the same is under way.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    version = the_model(s, model_version_id)
    refuse_retired(version)
    if examples is not None and not 1 <= examples <= MOST_EXAMPLES:
        raise Refused(f"Ask between 1 and {MOST_EXAMPLES:,} examples of each task.")
    wanted = checked_tasks(tasks)
    _whole_or_mergeable(version)
    # two tabs that ask for the same at once wait for each other
    s.get(ModelVersion, version.id, with_for_update={"key_share": True})
    for one in benchmarks(s, model_version_ids=[version.id]):
        if not one.status.ended and (one.quantised, one.examples, set(one.tasks)) == (quantised, examples, set(wanted)):
            raise Refused(f"{named(version, quantised=quantised)} is being asked this already. Wait for the result.")
    run = BenchmarkRun(
        project_id=project_id,
        model_version_id=version.id,
        tasks=wanted,
        examples=examples,
        quantised=quantised,
        requested_by_id=by,
    )
    s.add(run)
    s.flush()
    return run


def _whole_or_mergeable(version: ModelVersion) -> None:
    """Raise `BrokenModel` unless the model's folder is whole, or can be made from its adapter and its base."""
    if version.adapter_folder and not Path(version.location).exists() and version.parent is not None:
        if not Path(version.adapter_folder).is_dir():
            raise BrokenModel(f"The adapter of {version.name} is gone from {version.adapter_folder}. Put it back.")
        _whole_or_mergeable(version.parent)
    else:
        check_model_folder(version.location, templated=False)


def model_named(s: Session, *, project_id: int, name: str) -> ModelVersion:
    """A model by its name, or by that of a Responder that answers with it. Raises `NotFound` and `Refused`."""
    version = s.scalar(select(ModelVersion).where(ModelVersion.name == name))
    if version is not None:
        return version
    responder = s.scalar(select(Responder).where(Responder.project_id == project_id, Responder.name == name))
    if responder is None:
        raise NotFound(f"There is no model “{name}”. The page Trained models lists them.")
    if responder.model_version is None:
        raise Refused(
            f"“{name}” is no model with a folder on this machine, and benchmarks read a model's own probabilities. Add "
            "the model itself, or choose another one."
        )
    return responder.model_version


def named(version: ModelVersion, *, quantised: bool) -> str:
    """The model as screens call it."""
    return f"{version.name} in four bits" if quantised else version.name


# ------------------------------------------------------------------------------------------------------ what was found


def benchmarks(s: Session, *, model_version_ids: Sequence[int]) -> Sequence[BenchmarkRun]:
    """Every project's BenchmarkRuns on these models, newest first: models belong to all."""
    return s.scalars(
        select(BenchmarkRun)
        .where(BenchmarkRun.model_version_id.in_(model_version_ids))
        .order_by(BenchmarkRun.id.desc())
        .options(selectinload(BenchmarkRun.model_version))
    ).all()


def there_already(
    runs: Iterable[BenchmarkRun], *, model_version_id: int, tasks: Sequence[str], examples: int | None, quantised: bool
) -> BenchmarkRun | None:
    """The run that asks or has asked a model all of this already, so that nobody does it twice.

    What was measured with another library or precision than the newest does not count, nor what was asked of a task
    file that has changed: neither can be compared.

    Args:
        runs: of the models that are compared, newest first.
    """
    every = list(runs)
    newest_by = next((run.measured_by for run in every if run.status is RunStatus.SUCCEEDED), None)
    for run in every:
        same = (run.model_version_id, run.quantised, run.examples) == (model_version_id, quantised, examples)
        if not same or not set(tasks) <= set(run.tasks):
            continue
        if run.status is RunStatus.SUCCEEDED:
            since = run.started_at or run.created_at
            if run.measured_by == newest_by and not any(changed_since(task, since) for task in tasks):
                return run
        elif not run.status.ended:
            return run
    return None


def scores_of(s: Session, *, model_version_id: int, quantised: bool = False) -> list[Score]:
    """What was measured of a model in any project, newest first; tasks of runs that failed later count too."""
    rows = s.execute(
        select(BenchmarkScore, BenchmarkRun.measured_by)
        .join(BenchmarkRun, BenchmarkRun.id == BenchmarkScore.run_id)
        .where(BenchmarkRun.model_version_id == model_version_id, BenchmarkRun.quantised.is_(quantised))
        .order_by(BenchmarkRun.id.desc(), BenchmarkScore.task, BenchmarkScore.metric)
    )
    return [
        Score(
            task=row.task,
            metric=row.metric,
            value=row.value,
            standard_error=row.standard_error,
            examples=row.examples,
            higher_is_better=row.higher_is_better,
            by_example=row.by_example,
            measured_by=measured_by or "",
        )
        for row, measured_by in rows
    ]


def newest(scores: Iterable[Score]) -> list[Score]:
    """The newest of each task and metric, by name."""
    found: dict[tuple[str, str], Score] = {}
    for one in scores:
        found.setdefault((one.task, one.metric), one)
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class Contrast:
    """A model beside what it is held to, on the same examples."""

    model: str
    """By name; in four bits where it is so."""
    reference: str
    found: tuple[Difference | NotComparable, ...]

    @property
    def told(self) -> list[Difference]:
        """Those that can be compared."""
        return [one for one in self.found if isinstance(one, Difference)]

    @property
    def untold(self) -> list[NotComparable]:
        """Those that cannot, with the reason."""
        return [one for one in self.found if isinstance(one, NotComparable)]


def contrasts(s: Session, *, version: ModelVersion) -> list[Contrast]:
    """The model against its base (the model it was made from), and in four bits against itself as stored."""
    stored = scores_of(s, model_version_id=version.id)
    four = scores_of(s, model_version_id=version.id, quantised=True)
    found = []
    if version.parent is not None and stored:
        base = scores_of(s, model_version_id=version.parent.id)
        found.append(Contrast(version.name, version.parent.name, tuple(differences(base, stored))))
    if four:
        found.append(Contrast(named(version, quantised=True), version.name, tuple(differences(stored, four))))
    return found


# --------------------------------------------------------------------------------------------------------- at work


Measure = Callable[[Asked, Listener], None]


def resources(run: BenchmarkRun) -> Resources:
    """A GPU for the model."""
    return Resources(gpus=1)


def run(progress: Progress, measure: Measure | None = None) -> None:
    """Measure one model and keep what is found.

    Args:
        measure: what measures; none takes lm-eval.

    Raises `BenchmarkFailed` and other `PickwellError`s with a sentence, and `jobs.progress.RunLost`.
    """
    with reading() as s:
        given = _asked(s, run_id=progress.run_id)
    kept = Kept(progress, given)
    (measure or _lm_eval())(given, kept)
    if kept.problems:
        tasks = f"{len(kept.done)} of {len(given.tasks)} benchmarks are done and kept. " if kept.done else ""
        raise BenchmarkFailed(f"{tasks}{' '.join(kept.problems.values())}")
    write_json(
        progress.folder / MANIFEST, {"measured_by": kept.measured_by, "examples": given.examples, "tasks": kept.done}
    )
    with session() as s:
        progress.succeed(s)


def _lm_eval() -> Measure:
    from eval.benchmarks.measure import measure

    return measure


def _asked(s: Session, *, run_id: int) -> Asked:
    run = s.get(BenchmarkRun, run_id)
    if run is None:
        raise NotFound(f"There is no benchmark run {run_id} (any more).")
    version = run.model_version
    _whole_or_mergeable(version)
    return Asked(
        location=version.location,
        tasks=tuple(run.tasks),
        examples=run.examples,
        quantised=run.quantised,
        adapters=tuple(_merges(version)),
    )


def _merges(version: ModelVersion | None) -> list[tuple[str, str, str]]:
    """What has to be merged before the model is a whole folder, its base first."""
    if version is None or version.parent is None or not version.adapter_folder or Path(version.location).exists():
        return []
    return [*_merges(version.parent), (version.parent.location, version.adapter_folder, version.location)]


class Kept:
    """A Listener that keeps scores in the database, each task in a transaction of its own."""

    def __init__(self, progress: Progress, given: Asked) -> None:
        self._progress, self._given = progress, given
        self._said, self._stage = float("-inf"), ""
        self.measured_by = ""
        """What measures, with version and precision."""
        self.done: dict[str, Mapping[str, object]] = {}
        """Tasks that were asked to their end, by this attempt or an earlier one, and how."""
        self.problems: dict[str, str] = {}
        """Sentences of those that could not be asked."""

    @property
    def _file(self) -> Path:
        return self._progress.folder / FINISHED

    def begin(self, measured_by: str) -> Sequence[str]:
        """Note the library; what an earlier attempt measured with another one is measured again."""
        self.measured_by = measured_by
        with session() as s:
            self._progress.guard(s)
            row = s.get_one(BenchmarkRun, self._progress.run_id)
            if row.measured_by == measured_by and row.scores:
                self.done = _read(self._file)
            else:
                self._file.unlink(missing_ok=True)
                s.execute(delete(BenchmarkScore).where(BenchmarkScore.run_id == row.id))
            row.measured_by = measured_by
        return [task for task in self._given.tasks if task not in self.done]

    def say(self, stage: str, done: int, total: int) -> None:
        """Say it, at most once a second unless it is something new."""
        if stage != self._stage or (total and done >= total) or time.monotonic() - self._said >= WRITE_EVERY:
            self._progress.update(stage=stage, done=done, total=total)
            self._said, self._stage = time.monotonic(), stage

    def finished(self, task: str, scores: Sequence[Score], about: Mapping[str, object]) -> None:
        """Keep a task's scores; only then is it noted as finished."""
        with session() as s:
            self._progress.guard(s)
            for one in scores:
                s.merge(
                    BenchmarkScore(
                        run_id=self._progress.run_id,
                        task=one.task,
                        metric=one.metric,
                        value=one.value,
                        standard_error=one.standard_error,
                        examples=one.examples,
                        higher_is_better=one.higher_is_better,
                        by_example=dict(one.by_example) if one.by_example is not None else None,
                    )
                )
        self.done[task] = about
        write_json(self._file, self.done)

    def failed(self, task: str, sentence: str) -> None:
        """Note why."""
        self.problems[task] = sentence


def _read(file: Path) -> dict[str, Mapping[str, object]]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def labels(tasks: Iterable[str]) -> list[str]:
    """The tasks as people read them; a task file that is gone by its name."""
    found = []
    for task in tasks:
        try:
            found.append(label_of(task))
        except PickwellError:
            found.append(Path(task).name)
    return found
