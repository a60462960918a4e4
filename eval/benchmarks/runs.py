"""A BenchmarkRun, asked for and at work: `python -m jobs.child benchmark RUN_ID ATTEMPT` calls `run`.

Each task's scores are kept as it ends, so that an attempt after a failure asks only what is missing.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, selectinload

from db.lookup import get_model, refuse_retired
from db.models import BenchmarkRun, BenchmarkScore, ModelVersion, Responder, Role, RunStatus
from db.people import require_role
from db.session import reading, session
from errors import BrokenModel, NotFound, PickwellError, Refused
from eval.benchmarks.measure import (
    BenchmarkFailed,
    BenchmarkRequest,
    ReportProgress,
    TaskScores,
    describe_measurement,
    measure,
)
from eval.benchmarks.tasks import changed_since, clean_tasks
from files import MANIFEST, read_json, write_json
from jobs.progress import Progress
from jobs.runs import Resources
from llm.folder import check_model_folder

WRITE_EVERY = 1.0
"""Seconds between two words on the progress, at least."""
FINISHED = "finished.json"
"""File in the run's folder with the tasks that were asked to their end."""
MOST_EXAMPLES = 100_000


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
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    version = get_model(s, model_version_id)
    refuse_retired(version)
    if examples is not None and not 1 <= examples <= MOST_EXAMPLES:
        raise Refused(f"Ask between 1 and {MOST_EXAMPLES:,} examples of each task.")
    wanted = clean_tasks(tasks)
    _refuse_broken(version)
    # two tabs that ask for the same at once wait for each other
    s.get(ModelVersion, version.id, with_for_update={"key_share": True})
    for other in list_benchmark_runs(s, model_version_ids=[version.id]):
        same = (other.quantised, other.examples, set(other.tasks)) == (quantised, examples, set(wanted))
        if same and not other.status.ended:
            raise Refused(
                f"{model_label(version, quantised=quantised)} is being asked this already. Wait for the result."
            )
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


def _refuse_broken(version: ModelVersion) -> None:
    """Raise `BrokenModel` unless the model's folder is whole, or can be made from its adapter and its base."""
    if version.adapter_folder and not Path(version.location).exists() and version.parent is not None:
        if not Path(version.adapter_folder).is_dir():
            raise BrokenModel(f"The adapter of {version.name} is gone from {version.adapter_folder}. Put it back.")
        _refuse_broken(version.parent)
    else:
        check_model_folder(version.location, needs_template=False)


def find_model(s: Session, *, project_id: int, name: str) -> ModelVersion:
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


def model_label(version: ModelVersion, *, quantised: bool) -> str:
    """The model as screens call it."""
    return f"{version.name} in four bits" if quantised else version.name


def list_benchmark_runs(s: Session, *, model_version_ids: Sequence[int]) -> Sequence[BenchmarkRun]:
    """Every project's BenchmarkRuns on these models, newest first: models belong to all."""
    return s.scalars(
        select(BenchmarkRun)
        .where(BenchmarkRun.model_version_id.in_(model_version_ids))
        .order_by(BenchmarkRun.id.desc())
        .options(selectinload(BenchmarkRun.model_version))
    ).all()


def runs_to_watch(runs: Iterable[BenchmarkRun], *, project_id: int) -> list[BenchmarkRun]:
    """A project's runs under way, and those that did not end well and were not made up for; of runs newest first."""
    latest: dict[tuple[int, bool], BenchmarkRun] = {}
    for run in runs:
        latest.setdefault((run.model_version_id, run.quantised), run)
    return [
        run
        for run in runs
        if run.project_id == project_id and (not run.status.ended or (run in latest.values() and run.error))
    ]


@dataclass(frozen=True)
class BenchmarkTarget:
    """A model that can be asked, as it is stored or in four bits."""

    version: ModelVersion
    quantised: bool = False

    @property
    def name(self) -> str:
        """As screens call it."""
        return model_label(self.version, quantised=self.quantised)


def find_earlier_runs(
    runs: Sequence[BenchmarkRun], targets: Iterable[BenchmarkTarget], *, tasks: Sequence[str], examples: int | None
) -> dict[BenchmarkTarget, BenchmarkRun]:
    """The run that asks or has asked a model all of this, of those where there is one, so that it is not asked twice.

    What was measured with another library or precision than the newest does not count, nor what was asked of a task
    file that has changed: neither can be compared.

    Args:
        runs: of the models that are compared, newest first.
    """
    newest_by = next((run.measured_by for run in runs if run.status is RunStatus.SUCCEEDED), None)

    def counts(run: BenchmarkRun) -> bool:
        if run.examples != examples or not set(tasks) <= set(run.tasks):
            return False
        if run.status is not RunStatus.SUCCEEDED:
            return not run.status.ended
        since = run.started_at or run.created_at
        return run.measured_by == newest_by and not any(changed_since(task, since) for task in tasks)

    by_target = {(run.model_version_id, run.quantised): run for run in reversed(runs) if counts(run)}
    keys = {target: (target.version.id, target.quantised) for target in targets}
    return {target: by_target[key] for target, key in keys.items() if key in by_target}


Measure = Callable[[BenchmarkRequest, ReportProgress], Iterable[tuple[str, TaskScores | PickwellError]]]


def resources(run: BenchmarkRun) -> Resources:
    """A GPU for the model."""
    return Resources(gpus=1)


def run(progress: Progress, measure: Measure = measure, describe: Callable[[], str] = describe_measurement) -> None:
    """Measure one model and keep each task's scores in a transaction of its own.

    Raises `BenchmarkFailed` and other `PickwellError`s with a sentence, and `jobs.progress.RunLost`.
    """
    with reading() as s:
        request = _load_request(s, progress)
    measured_by, file = describe(), progress.folder / FINISHED
    done = _load_done(progress, measured_by, file)
    problems = []
    todo = tuple(task for task in request.tasks if task not in done)
    for task, result in measure(replace(request, tasks=todo), _make_reporter(progress)) if todo else ():
        if isinstance(result, PickwellError):
            problems.append(str(result))
            continue
        with session() as s:
            progress.guard(s)
            for score in result.scores:
                values = asdict(score)
                del values["measured_by"]  # the run has it
                s.merge(BenchmarkScore(run_id=progress.run_id, **values))
        done[task] = result.about
        write_json(file, done)
    if problems:
        tasks = f"{len(done)} of {len(request.tasks)} benchmarks are done and kept. " if done else ""
        raise BenchmarkFailed(tasks + " ".join(problems))
    write_json(progress.folder / MANIFEST, {"measured_by": measured_by, "examples": request.examples, "tasks": done})
    with session() as s:
        progress.succeed(s)


def _load_done(progress: Progress, measured_by: str, file: Path) -> dict[str, Any]:
    """Tasks that an earlier attempt asked to their end, and how; with another library everything is forgotten."""
    with session() as s:
        progress.guard(s)
        run = s.get_one(BenchmarkRun, progress.run_id)
        if run.measured_by == measured_by and run.scores:
            return read_json(file)
        file.unlink(missing_ok=True)
        s.execute(delete(BenchmarkScore).where(BenchmarkScore.run_id == run.id))
        run.measured_by = measured_by
    return {}


def _make_reporter(progress: Progress) -> ReportProgress:
    """What writes where a run stands, at most once a second unless it is something new."""
    last = ("", float("-inf"))

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last
        if stage != last[0] or (total and done >= total) or time.monotonic() - last[1] >= WRITE_EVERY:
            progress.update(stage=stage, done=done, total=total)
            last = (stage, time.monotonic())

    return report


def _load_request(s: Session, progress: Progress) -> BenchmarkRequest:
    run = s.get(BenchmarkRun, progress.run_id)
    if run is None:
        raise NotFound(f"There is no benchmark run {progress.run_id} (any more).")
    version = run.model_version
    _refuse_broken(version)
    return BenchmarkRequest(
        version.location, tuple(run.tasks), run.examples, run.quantised, progress.folder, tuple(_list_merges(version))
    )


def _list_merges(version: ModelVersion) -> list[tuple[str, str, str]]:
    """What has to be merged before the model is a whole folder, its base first."""
    if version.parent is None or not version.adapter_folder or Path(version.location).exists():
        return []
    return [*_list_merges(version.parent), (version.parent.location, version.adapter_folder, version.location)]
