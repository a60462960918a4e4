"""lm-eval (EleutherAI's lm-evaluation-harness, MIT) on one model; loads torch, so only a run's own process calls it.

Each benchmark is asked by what lm-eval's command does once it has read its arguments (docs/experiments.md says why not
by the command itself), and leaves the command's files in the run's folder; scores are read from those. Multiple choice
is asked as plain text, as published figures are; a task in which the model writes is asked by its chat template, unless
its ``metadata`` say ``chat_template: true`` or ``false``.
"""

import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from db.models import Adapter
from errors import PickwellError, missing_package, requirement_file
from eval.benchmarks.scores import is_by_chat, list_scores, read_results
from eval.benchmarks.tasks import is_local, read_task_file
from llm.folder import is_hub_id
from stats.paired import Score

SEED = 1234
"""Of everything that lm-eval draws: which examples are shown before a question, above all."""
RESAMPLES = 1000
"""For standard errors that have no formula."""
BATCH = 4
"""Texts read at once; few, for on a CPU padding costs more than batches save."""
BATCH_GPU = 8
HOW = "choices asked as plain text and written answers by the chat template"
HUB_TIMEOUT = 10.0
"""Seconds to wait for a word from the hub."""
FILES = "lm-eval"
"""Folder in the run's for what lm-eval writes, by benchmark."""
WRONG_IN_A_TASK = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, re.error)
"""What foreign wording, data and patterns raise as they are asked, beside errors of their templates."""

log = logging.getLogger("eval.benchmarks.measure")


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is to be measured."""

    location: str
    """The model's whole folder, or its hub id."""
    tasks: tuple[str, ...]
    examples: int | None
    quantised: bool
    folder: Path
    adapters: tuple[tuple[str, str, str], ...] = ()
    """Base, adapter and place of every merge that has to come first, in this order."""


@dataclass(frozen=True)
class TaskScores:
    """What was measured on one task."""

    scores: Sequence[Score]
    about: Mapping[str, object]
    """How it was asked: versions, examples shown before, by the chat template or not, seed."""


ReportProgress = Callable[[str, int, int], None]
"""Takes what goes on, how many examples of all are done, and how many there are; what it raises comes through."""


class BenchmarkFailed(PickwellError):
    """A benchmark that cannot go on, or some of whose tasks cannot be asked."""


class TaskFailed(BenchmarkFailed):
    """A task that cannot be asked, while others can."""


def missing_lm_eval() -> str | None:
    """What to do where lm-eval is not installed, which is optional; none where it is."""
    if find_spec("lm_eval") is not None:
        return None
    return missing_package("Asking benchmarks", "lm-eval", pip=["--no-deps", "-r", requirement_file("benchmarks")])


def describe_measurement() -> str:
    """What measures here: lm-eval with its version, the precision and how tasks are asked. Raises `BenchmarkFailed`."""
    if missing := missing_lm_eval():
        raise BenchmarkFailed(missing)
    import torch

    where = "float32 on a CPU"
    if torch.cuda.is_available():
        where = f"{'bfloat16' if torch.cuda.is_bf16_supported() else 'float32'} on a GPU"
    return f"lm-eval {version('lm_eval')}, {where}, {HOW}"


def measure(request: BenchmarkRequest, report: ReportProgress) -> Iterator[tuple[str, TaskScores | PickwellError]]:
    """Ask the model each task; gives its scores as it ends, or why it cannot be asked.

    Raises `BenchmarkFailed` and `BrokenModel` where none can be asked any more.
    """
    foreign = [task for task in request.tasks if not is_local(task)]
    if not foreign and not is_hub_id(request.location):
        stay_offline()
    elif not hub_answers():
        log.warning("The Hugging Face hub does not answer: only what is in its cache on this machine can be used.")
        stay_offline()
    # after the variables are set, which libraries read as they are imported
    from lm_eval.tasks import TaskManager

    from llm.merging import merge

    for base, adapter, folder in request.adapters:
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        merge(base, Path(adapter), Path(folder))
    _fill_templates_in_a_sandbox()
    report("Reading the list of benchmarks", 0, 0)
    manager = TaskManager(include_defaults=bool(foreign))
    tasks = []
    for source in request.tasks:
        report(f"Reading the data of {Path(source).name}", 0, 0)
        try:
            tasks.append(load_task(manager, source, examples=request.examples))
        except PickwellError as problem:
            yield source, problem
    if not tasks:
        return
    done, total = 0, sum(task.examples for task in tasks)
    report("Loading the model", 0, total)
    model = _load_model(request)
    for place, task in enumerate(tasks, start=1):
        words = task.name if len(tasks) == 1 else f"{task.name}, benchmark {place} of {len(tasks)}"

        def report_share(share: float, task: LoadedTask = task, words: str = words, done: int = done) -> None:
            report(words, done + int(task.examples * share), total)

        report_share(0.0)
        _watch_bars(report_share)
        try:
            yield task.source, ask(task, partial(_evaluate, model), folder=request.folder / FILES / task.name)
        except TaskFailed as problem:
            yield task.source, problem
        done += task.examples


def stay_offline() -> None:
    """Have nothing fetched: libraries read these before they are imported."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        os.environ[name] = "1"


def hub_answers() -> bool:
    """Whether the hub can be reached, so that a machine without network does not wait for every file."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    import httpx

    try:
        httpx.head(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=HUB_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True


def _fill_templates_in_a_sandbox() -> None:
    """Templates of tasks are data: from now on this process fills them in where they cannot reach Python."""
    import lm_eval.utils
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    sandbox = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters.update(lm_eval.utils.env.filters)
    lm_eval.utils.env = sandbox


def _watch_bars(report_share: Callable[[float], None]) -> None:
    """From now on tell how far lm-eval is, from 0 to 1, by the bars that it draws."""
    import lm_eval.models.huggingface as models
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    class ReportingBar(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> Any:
            report_share(min(1.0, (self.n + (n or 0)) / (self.total or 1)))
            return super().update(n)

    models.tqdm = ReportingBar


@dataclass(frozen=True)
class LoadedTask:
    """A task that was asked for, with its data; a group of lm-eval's holds several."""

    source: str
    """lm-eval's name of it, or the path of its file."""
    name: str
    parts: Mapping[str, Any]
    objects: Sequence[Any]
    """What lm-eval is given: the group, or its tasks."""
    limit: int | None
    manager: Any = None

    @property
    def examples(self) -> int:
        """How many are asked."""
        sizes = [len(part.eval_docs) for part in self.parts.values()]
        return sum(size if self.limit is None else min(size, self.limit) for size in sizes)


def load_task(manager: Any, source: str, *, examples: int | None) -> LoadedTask:
    """A task of lm-eval's TaskManager, or of a file, which is given to it checked and as data.

    Raises `TaskFailed`, `BadFile` and `NotFound`.
    """
    config: Any = read_task_file(source) if is_local(source) else source
    name = str(config["task"]) if is_local(source) else source
    if is_local(source):
        _refuse_foreign_metrics(config, Path(source).name)
    elif source not in manager.task_index:
        near = get_close_matches(source, manager.all_tasks, n=3, cutoff=0.7)
        known = f" Did you mean {' or '.join(near)}?" if near else " Its list is at github.com/EleutherAI."
        raise TaskFailed(f"lm-eval has no benchmark called {source}.{known}")
    try:
        loaded = manager.load([config])
        parts, group = loaded["tasks"], loaded.get("groups", {}).get(name)
        is_empty = not all(len(part.eval_docs) for part in parts.values())
    except Exception as problem:  # a task is foreign configuration and data: whatever is wrong in it can be raised
        log.exception("%s cannot be read.", source)
        raise TaskFailed(_explain_unread(manager, source, problem)) from None
    if is_empty:
        raise TaskFailed(f"{Path(source).name} has no examples to ask. Put questions into its data.")
    # of a group with one score its tasks share the examples, as many of each
    share = len(parts) if group is not None and group.aggregate_metric_list else 1
    limit = None if examples is None else math.ceil(examples / share)
    return LoadedTask(source, name, parts, [*parts.values()] if group is None else [group], limit, manager)


def _refuse_foreign_metrics(task: Mapping[str, Any], file: str) -> None:
    """A metric that lm-eval does not know it would fetch as program code."""
    import lm_eval.api.metrics  # noqa: F401
    from lm_eval.api.registry import metric_registry

    for entry in task.get("metric_list") or []:
        if entry.get("metric") not in metric_registry:
            raise TaskFailed(f"{file} asks for the metric {entry.get('metric')}, which lm-eval does not have.")


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]


def _explain_unread(manager: Any, source: str, problem: Exception) -> str:
    if is_local(source):
        words = _first_line(problem)
        return f"{Path(source).name} cannot be asked ({words}). Compare it with its data, then press Try again."
    if isinstance(problem, ModuleNotFoundError):
        return missing_package(f"lm-eval's {source}", str(problem.name)) + " Or choose another benchmark."
    if not _is_unreachable(problem):
        return f"lm-eval cannot read its benchmark {source} ({_first_line(problem)}). Choose another one."
    return (
        f"The data of {source} is not on this machine and the Hugging Face hub cannot be reached. Where there is a "
        f'network, run python -c "{_fetch_program(manager, source)}", set HF_HOME here '
        "to a copy of that machine's and press Try again; or use a task file of your own."
    )


def _is_unreachable(problem: BaseException | None) -> bool:
    while problem is not None:
        is_network = isinstance(problem, OSError) or type(problem).__module__.startswith("httpx")
        if is_network or "find cache" in str(problem):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _fetch_program(manager: Any, source: str) -> str:
    """The program that fetches a task's data into the hub's cache; of a group, each data set in it."""
    sets = list(dict.fromkeys(_data_sets(manager.task_index, source))) or [(source, None)]
    paths = {path for path, _ in sets}
    if len(sets) > 3 and len(paths) == 1:
        (path,) = paths
        every = f"[load_dataset('{path}', name) for name in get_dataset_config_names('{path}')]"
        return f"from datasets import get_dataset_config_names, load_dataset; {every}"
    loads = [f"load_dataset('{path}'{f', {name!r}' if name else ''})" for path, name in sets]
    return "; ".join(["from datasets import load_dataset", *loads])


def _data_sets(index: Mapping[str, Any], name: str) -> Iterator[tuple[str, str | None]]:
    if (entry := index.get(name)) is None:
        return
    config = entry.cfg or {"task": sorted(entry.tags)}
    if not isinstance(members := config.get("task"), list):
        if config.get("dataset_path"):
            yield str(config["dataset_path"]), config.get("dataset_name")
        return
    for member in members:
        named = member if isinstance(member, str) else member.get("task") or member.get("group")
        yield from _data_sets(index, str(named))


@contextmanager
def _explain_gpu_memory() -> Iterator[None]:
    try:
        yield
    except RuntimeError as problem:
        if type(problem).__name__ != "OutOfMemoryError":  # torch's
            raise
        raise BenchmarkFailed(
            "The GPU has too little memory for this model. End what else runs on it, or choose a smaller model or four "
            "bits, and press Try again."
        ) from problem


def _load_model(request: BenchmarkRequest) -> Any:
    """The model as lm-eval takes it: float32 on a CPU, bfloat16 on a GPU, or in four bits (NF4)."""
    from lm_eval.models.huggingface import HFLM

    from training.trainer.cpu import use_every_core, use_onednn
    from training.trainer.weights import has_cuda, load_model, load_tokenizer

    if request.quantised and find_spec("bitsandbytes") is None:
        raise BenchmarkFailed(missing_package("Loading in four bits", "bitsandbytes"))
    use_every_core()
    use_onednn()
    tokenizer = load_tokenizer(request.location, expected=None)
    with _explain_gpu_memory():
        model = load_model(request.location, adapter=Adapter.QLORA if request.quantised else Adapter.LORA)
        if has_cuda() and not request.quantised:
            model.to("cuda")
    return HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=BATCH_GPU if has_cuda() else BATCH)


def ask(task: LoadedTask, evaluate: Callable[[LoadedTask, Path], None], *, folder: Path) -> TaskScores:
    """A task's scores. Raises `TaskFailed`, and `BenchmarkFailed` where it is not the task's fault.

    Args:
        evaluate: asks the task and leaves lm-eval's files in the folder.
    """
    from jinja2 import TemplateError

    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that did not come so far
    folder.mkdir(parents=True)
    try:
        with _explain_gpu_memory():
            evaluate(task, folder)
    except (*WRONG_IN_A_TASK, TemplateError) as problem:
        log.exception("%s cannot be asked.", task.source)
        raise TaskFailed(f"{task.name} cannot be asked ({_first_line(problem)}). The log says where.") from None
    if (results := read_results(folder)) is None:
        raise BenchmarkFailed(f"lm-eval could not write into {folder}. Free some space there, then press Try again.")
    if not (scores := list_scores(results, task.name)):
        raise TaskFailed(f"{task.name} gave no figure. Name metrics that are numbers in its metric_list.")
    about = {
        "versions": {name: str(number) for name, number in results["versions"].items()},
        "shown_before": results["n-shot"],
        "chat_template": is_by_chat(results),
        "seed": SEED,
    }
    return TaskScores(scores, about)


def _evaluate(model: Any, task: LoadedTask, folder: Path) -> None:
    """What ``python -m lm_eval --output_path FOLDER/results.json --log_samples`` does with a model and tasks."""
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    part = next(iter(task.parts.values()))
    stated = (part.get_config("metadata") or {}).get("chat_template")
    by_chat = part.get_config("output_type") == "generate_until" if stated is None else bool(stated)
    tracker = EvaluationTracker(output_path=str(folder / "results.json"))
    results: Any = simple_evaluate(
        model=model,
        tasks=task.objects,
        task_manager=task.manager,
        limit=task.limit,
        apply_chat_template=by_chat,
        bootstrap_iters=RESAMPLES,
        log_samples=True,
        evaluation_tracker=tracker,
        random_seed=SEED,
        numpy_random_seed=SEED,
        torch_random_seed=SEED,
        fewshot_random_seed=SEED,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])
