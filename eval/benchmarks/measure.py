"""lm-eval (EleutherAI's lm-evaluation-harness, MIT) on one model; loads torch, so only a run's own process calls it.

Multiple choice is asked as plain text, as published figures are; a task in which the model writes is asked by its chat
template, unless its ``metadata`` say ``chat_template: true`` or ``false``.
"""

import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import stdev
from typing import Any

from db.models import Adapter
from errors import PickwellError, missing_package
from eval.benchmarks.tasks import is_local, local_task
from eval.benchmarks.terms import Asked, BenchmarkFailed, Listener, not_installed
from jobs.progress import RunLost
from llm.folder import is_hub_id
from stats.paired import Score

SEED = 1234
"""Of everything that lm-eval draws: which examples are shown before a question, above all."""
RESAMPLES = 1000
"""For standard errors that have no formula."""
BATCH = 4
"""Texts read at once; few, for on a CPU padding costs more than batches save."""
BATCH_GPU = 8
VOLATILE = ("metadata", "dataset_kwargs", "dataset_path", "task_alias", "tag")
"""Of a task's configuration, what says nothing of how it asks: where its file and data are, and how it is called."""
REACHED = 10.0
"""Seconds to wait for a word from the hub."""

WRONG_IN_A_TASK = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, re.error)
"""What foreign wording, data and patterns raise as they are asked, beside errors of their templates."""

log = logging.getLogger("eval.benchmarks.measure")


def measure(given: Asked, listener: Listener) -> None:
    """Ask the model every task that is still to be asked. Raises `BenchmarkFailed` and `BrokenModel`."""
    if lacking := not_installed():
        raise BenchmarkFailed(lacking)
    todo = listener.begin(measured_by())
    if not todo:
        return
    foreign = [task for task in todo if not is_local(task)]
    if not foreign and not is_hub_id(given.location):
        stay_offline()
    elif not hub_answers():
        log.warning("The Hugging Face hub does not answer: only what is in its cache on this machine can be used.")
        stay_offline()
    _merge_first(given)
    with _careful():
        tasks = _tasks(todo, listener, examples=given.examples, defaults=bool(foreign))
        if not tasks:
            return
        listener.say("Loading the model", 0, sum(one.examples for one in tasks))
        lm = _model(given)
        done, total = 0, sum(one.examples for one in tasks)
        for place, one in enumerate(tasks, start=1):
            words = one.name if len(tasks) == 1 else f"{one.name}, benchmark {place} of {len(tasks)}"
            with _told(listener, words, done=done, share=one.examples, total=total):
                _ask(lm, one, listener)
            done += one.examples


def measured_by() -> str:
    """What measures here: lm-eval with its version, the precision and how tasks are asked."""
    import torch

    try:
        number = version("lm_eval")
    except PackageNotFoundError:
        number = "of unknown version"
    where = "float32 on a CPU"
    if torch.cuda.is_available():
        where = f"{'bfloat16' if torch.cuda.is_bf16_supported() else 'float32'} on a GPU"
    return f"lm-eval {number}, {where}, {HOW}"


HOW = "choices asked as plain text and written answers by the chat template"


def stay_offline() -> None:
    """Have nothing fetched: libraries read these before they are imported."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        os.environ[name] = "1"


def hub_answers() -> bool:
    """Whether the hub can be reached, so that a machine without network does not wait for every file."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    import httpx

    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(address, timeout=REACHED)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True


def _merge_first(given: Asked) -> None:
    from llm.merging import merge

    for base, adapter, place in given.adapters:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        merge(base, Path(adapter), Path(place))


@contextmanager
def _careful() -> Iterator[None]:
    """Templates of tasks are data: they are filled in where they cannot reach Python."""
    import lm_eval.utils  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    before = lm_eval.utils.env
    inside = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    inside.filters.update(before.filters)
    lm_eval.utils.env = inside
    try:
        yield
    finally:
        lm_eval.utils.env = before


# ------------------------------------------------------------------------------------------------------------- tasks


class _Task:
    """A task that was asked for, loaded; a group of lm-eval's holds several."""

    def __init__(self, asked: str, name: str, loaded: Mapping[str, Any], *, most: int | None) -> None:
        """Args: asked: as in the run; name: lm-eval's; loaded: what its TaskManager gives; most: examples of it."""
        self.asked, self.name = asked, name
        group = loaded.get("groups", {}).get(name)
        self.parts: dict[str, Any] = dict(loaded["tasks"])
        self.objects: list[Any] = [group] if group is not None else list(self.parts.values())
        self.is_one_score = group is not None and bool(group.aggregate_metric_list)
        # of a group with one score its tasks share the examples, as many of each
        share = len(self.parts) if self.is_one_score else 1
        self.limit = None if most is None else max(1, math.ceil(most / share))
        self.manager: Any = None

    @cached_property
    def examples(self) -> int:
        """How many are asked."""
        sizes = [len(part.eval_docs) for part in self.parts.values()]
        return sum(size if self.limit is None else min(size, self.limit) for size in sizes)

    @property
    def by_chat(self) -> bool:
        """Whether the chat template is applied."""
        part = next(iter(self.parts.values()))
        said = (part.get_config("metadata") or {}).get("chat_template")
        return bool(said) if said is not None else part.get_config("output_type") == "generate_until"


def _tasks(todo: Sequence[str], listener: Listener, *, examples: int | None, defaults: bool) -> list[_Task]:
    """Those that can be asked here; the listener hears of the others."""
    from lm_eval.tasks import TaskManager  # type: ignore[import-not-found,import-untyped,unused-ignore]

    listener.say("Reading the list of benchmarks", 0, 0)
    manager = TaskManager(include_defaults=defaults)
    found = []
    for asked in todo:
        listener.say(f"Reading the data of {Path(asked).name}", 0, 0)
        try:
            found.append(_load(manager, asked, examples))
        except PickwellError as problem:
            listener.failed(asked, str(problem))
    return found


def _load(manager: Any, asked: str, examples: int | None) -> _Task:
    """Raises `BenchmarkFailed`, `BadFile` and `NotFound`."""
    if is_local(asked):
        spec: Any = local_task(asked)
        name = str(spec["task"])
        _refuse_foreign_metrics(spec, Path(asked).name)
    else:
        spec = name = asked
        if asked not in manager.task_index:
            near = get_close_matches(asked, manager.all_tasks, n=3, cutoff=0.7)
            known = f" Did you mean {' or '.join(near)}?" if near else " Its list is at github.com/EleutherAI."
            raise BenchmarkFailed(f"lm-eval has no benchmark called {asked}.{known}")
    try:
        task = _Task(asked, name, manager.load([spec]), most=examples)
        if not all(len(part.eval_docs) for part in task.parts.values()):
            raise BenchmarkFailed(f"{Path(asked).name} has no examples to ask. Put questions into its data.")
    except (PickwellError, RunLost):
        raise
    except Exception as problem:  # a task is foreign configuration and data: whatever is wrong in it can be raised
        log.exception("%s cannot be read.", asked)
        raise BenchmarkFailed(_unread(manager, asked, problem)) from None
    task.manager = manager
    return task


def _refuse_foreign_metrics(task: Mapping[str, Any], file: str) -> None:
    """A metric that lm-eval does not know it would fetch as program code."""
    import lm_eval.api.metrics  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
    from lm_eval.api.registry import metric_registry  # type: ignore[import-not-found,import-untyped,unused-ignore]

    for one in task.get("metric_list") or []:
        if one.get("metric") not in metric_registry:
            raise BenchmarkFailed(f"{file} asks for the metric {one.get('metric')}, which lm-eval does not have.")


def _unread(manager: Any, asked: str, problem: Exception) -> str:
    """Why a task's data or wording cannot be read, and what to do."""
    said = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
    if is_local(asked):
        return f"{Path(asked).name} cannot be asked ({said}). Compare it with its data, then press Try again."
    if isinstance(problem, ModuleNotFoundError):
        return missing_package(f"lm-eval's {asked}", str(problem.name)) + " Or choose another benchmark."
    if not _is_about_reaching(problem):
        return f"lm-eval cannot read its benchmark {asked} ({said}). Choose another one."
    return (
        f"The data of {asked} is not on this machine and the Hugging Face hub cannot be reached. Where there is a "
        f'network, run python -c "{_loading(manager, asked)}", set HF_HOME here '
        "to a copy of that machine's and press Try again; or use a task file of your own."
    )


def _is_about_reaching(problem: BaseException | None) -> bool:
    """Whether data was not to be had, by the network or by the cache."""
    while problem is not None:
        words = str(problem)
        if isinstance(problem, OSError) or type(problem).__module__.startswith("httpx") or "find cache" in words:
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _loading(manager: Any, asked: str) -> str:
    """The program that fetches a task's data into the hub's cache; of a group, each data set in it."""
    sets: dict[tuple[str, str | None], None] = {}
    waiting = [asked]
    seen: set[str] = set()
    while waiting:
        entry = manager.task_index.get(waiting.pop(0))
        if entry is None or entry.name in seen:
            continue
        seen.add(entry.name)
        config = entry.cfg or {}
        members = config.get("task")
        if isinstance(members, list):
            waiting += [one if isinstance(one, str) else str(one.get("task") or one.get("group")) for one in members]
        elif entry.tags and not config:
            waiting += sorted(entry.tags)
        elif config.get("dataset_path"):
            sets[str(config["dataset_path"]), config.get("dataset_name")] = None
    paths = {path for path, _ in sets}
    if len(sets) > 3 and len(paths) == 1:
        (path,) = paths
        every = f"[load_dataset('{path}', name) for name in get_dataset_config_names('{path}')]"
        return f"from datasets import get_dataset_config_names, load_dataset; {every}"
    lines = [f"load_dataset('{path}'{f', {name!r}' if name else ''})" for path, name in sets]
    return "; ".join(["from datasets import load_dataset", *(lines or [f"load_dataset('{asked}')"])])


# ------------------------------------------------------------------------------------------------------------ asking


def _model(given: Asked) -> Any:
    """The model as lm-eval takes it: float32 on a CPU, bfloat16 on a GPU, or in four bits (NF4)."""
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found,import-untyped,unused-ignore]

    from training.trainer.cpu import use_every_core, use_onednn
    from training.trainer.weights import load_model, load_tokenizer, on_gpu

    if given.quantised and find_spec("bitsandbytes") is None:
        raise BenchmarkFailed(missing_package("Loading in four bits", "bitsandbytes"))
    use_every_core()
    use_onednn()
    tokenizer = load_tokenizer(given.location, expected=None)
    model = load_model(given.location, adapter=Adapter.QLORA if given.quantised else Adapter.LORA)
    if on_gpu() and not given.quantised:
        model.to("cuda")
    size = BATCH_GPU if on_gpu() else BATCH
    return HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=size)


def _ask(lm: Any, task: _Task, listener: Listener) -> None:
    """Ask one task and tell the listener its scores."""
    from jinja2 import TemplateError
    from lm_eval import simple_evaluate

    try:
        results: Any = simple_evaluate(
            model=lm,
            tasks=task.objects,
            task_manager=task.manager,
            limit=task.limit,
            apply_chat_template=task.by_chat,
            bootstrap_iters=RESAMPLES,
            log_samples=True,
            random_seed=SEED,
            numpy_random_seed=SEED,
            torch_random_seed=SEED,
            fewshot_random_seed=SEED,
        )
    except (*WRONG_IN_A_TASK, TemplateError) as problem:
        log.exception("%s cannot be asked.", task.asked)
        said = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        listener.failed(task.asked, f"{task.name} cannot be asked ({said}). The log says where.")
        return
    scores = found_in(results, task.name if task.is_one_score else None, by_chat=task.by_chat)
    if not scores:
        listener.failed(task.asked, f"{task.name} gave no figure. Name metrics that are numbers in its metric_list.")
        return
    about = {
        "versions": {name: str(number) for name, number in results["versions"].items()},
        "shown_before": results["n-shot"],
        "chat_template": task.by_chat,
        "seed": SEED,
    }
    listener.finished(task.asked, scores, about)


@contextmanager
def _told(listener: Listener, words: str, *, done: int, share: int, total: int) -> Iterator[None]:
    """Tell the listener how far lm-eval is, from the bars that it draws."""
    import lm_eval.models.huggingface as models  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    class Bar(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> Any:
            listener.say(words, done + int(share * min(1.0, (self.n + (n or 0)) / (self.total or 1))), total)
            return super().update(n)

    before = models.tqdm
    models.tqdm = Bar
    listener.say(words, done, total)
    try:
        yield
    finally:
        models.tqdm = before


# ------------------------------------------------------------------------------------------------------------ scores


def found_in(results: Mapping[str, Any], group: str | None, *, by_chat: bool = False) -> list[Score]:
    """Scores from what lm-eval gives back.

    Args:
        group: name of a group of tasks that has one score, pooled over all of them; none gives each task its own.
        by_chat: whether the chat template was applied, which makes it another question.
    """
    every = [one for task in results["samples"] for one in _of_task(results, task, by_chat=by_chat)]
    if group is None:
        return every
    found = []
    for metric in dict.fromkeys(one.metric for one in every):
        parts = [one for one in every if one.metric == metric]
        pooled = results.get("groups", {}).get(group, {})
        key = next((name for name in pooled if name.partition(",")[0] == metric), None)
        if key is None or not _is_number(pooled[key]):
            continue
        by_example: dict[str, float] | None = {}
        for part in parts:
            by_example = None if by_example is None or part.by_example is None else by_example | dict(part.by_example)
        error = pooled.get(key.replace(",", "_stderr,", 1))
        if not _is_number(error) and by_example and len(by_example) > 1:  # of one example a task lm-eval has none
            error = stdev(by_example.values()) / math.sqrt(len(by_example))
        found.append(
            Score(
                task=group,
                metric=metric,
                value=float(pooled[key]),
                standard_error=float(error) if _is_number(error) else None,
                examples=sum(part.examples for part in parts),
                higher_is_better=parts[0].higher_is_better,
                by_example=by_example,
            )
        )
    return found


def _of_task(results: Mapping[str, Any], task: str, *, by_chat: bool) -> list[Score]:
    values = results["results"][task]
    found: dict[str, Score] = {}
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr") or not _is_number(value):
            continue
        name = metric if metric not in found else f"{metric} ({kind})"
        error = values.get(f"{metric}_stderr,{kind}")
        found[name] = Score(
            task=task,
            metric=name,
            value=float(value),
            standard_error=float(error) if _is_number(error) else None,
            examples=int(results["n-samples"][task]["effective"]),
            higher_is_better=results["higher_is_better"].get(task, {}).get(metric) is not False,
            by_example=_by_example(results, task, metric, kind, by_chat=by_chat),
        )
    return list(found.values())


def _by_example(
    results: Mapping[str, Any], task: str, metric: str, kind: str, *, by_chat: bool
) -> dict[str, float] | None:
    """The metric of each example; none where one has no number of its own."""
    asked = _fingerprint(results, task, by_chat=by_chat)
    found: dict[str, float] = {}
    for sample in results["samples"][task]:
        if sample["filter"] != kind:
            continue
        if not _is_number(sample.get(metric)):
            return None
        # what was shown before it belongs to a question; a chat template may hold the day
        whole = "" if by_chat else sample.get("prompt_hash", "")
        text = sha256(f"{sample['doc_hash']}{sample['target_hash']}{whole}".encode()).hexdigest()[:16]
        key = f"{asked}-{text}"
        again = 2
        while key in found:  # the same question twice in the data
            key = f"{asked}-{text}-{again}"
            again += 1
        found[key] = float(sample[metric])
    return found or None


def _fingerprint(results: Mapping[str, Any], task: str, *, by_chat: bool) -> str:
    """Short hash of how a task asks: its version, wording and metrics, and whether by the chat template."""
    config = {name: value for name, value in results["configs"][task].items() if name not in VOLATILE}
    about = [config, results["versions"].get(task), by_chat]
    return sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)  # type: ignore[arg-type]
    except TypeError:
        return False
