"""Which benchmarks there are: lm-eval's, offered by name, and task files of one's own. Loads no lm-eval.

A task file is lm-eval's own form (https://github.com/EleutherAI/lm-evaluation-harness, docs/new_task_guide.md): YAML
beside its data in JSONL, CSV or Parquet. Program code in it is never run.
"""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from errors import BadFile, NotFound, PickwellError, Refused
from training.recipe.estimate import BYTES_A_PARAMETER, BYTES_A_PARAMETER_4BIT, LIBRARIES_MB, has_gpu

EXAMPLES = 100
"""Of each task, unless said otherwise: minutes on two cores, and differences of ten points are seen."""
TASK_NAME = re.compile(r"[\w.:+-]{1,100}")
FORMATS = ("json", "csv", "parquet")
"""Of data in files, by the name that `datasets` has for them."""
GENERATION = frozenset(
    "do_sample temperature top_p top_k min_p num_beams length_penalty repetition_penalty no_repeat_ngram_size until "
    "max_gen_toks max_new_tokens max_tokens max_completion_tokens".split()
)
"""What a task may say of how replies are written: transformers' `generate` runs code that other settings name."""
LARGEST = 1_000_000
"""Bytes of a task file; what is larger is data."""
CODE = ("class", "process_docs", "process_results", "custom_dataset", "unsafe_code", "use_prompt")
"""Entries that name program code or a foreign template."""
TOKENS_A_CHOICE = 60
"""Prompt and one choice of a task that is no preset."""
SECONDS_A_TOKEN = 0.0045
"""Read once by a model of 135 million parameters on two cores: half of 0.009 s for a pair of replies (estimate.py)."""
FIXED_SECONDS = 30.0
READING_MB = 500.0
"""Of four texts at once: the chances of every token of a vocabulary of 50,000, twice."""


@dataclass(frozen=True)
class Preset:
    """A task of lm-eval that the screen offers."""

    task: str
    label: str
    description: str
    tokens: float
    """Read for an example: every choice with its prompt, guessed from the published data."""


PRESETS = (
    Preset("arc_easy", "ARC, easy", "Questions of school science, four choices (Clark et al. 2018, CC BY-SA 4.0)", 140),
    Preset("arc_challenge", "ARC, challenge", "Those of them that word counts get wrong", 180),
    Preset("hellaswag", "HellaSwag", "Which end an everyday scene has (Zellers et al. 2019, MIT)", 440),
    Preset("mmlu", "MMLU", "57 subjects, as many questions of each (Hendrycks et al. 2021, MIT)", 120),
    Preset("truthfulqa_mc1", "TruthfulQA", "Questions that people get wrong (Lin et al. 2022, Apache-2.0)", 1100),
)
"""What is often asked of small models; data is fetched from the Hugging Face hub, or from its cache in HF_HOME."""
DEFAULT = ("arc_easy", "hellaswag", "mmlu")
"""Chosen at first: knowledge, common sense, many subjects."""


def is_local(task: str) -> bool:
    """Whether a task is a file of one's own and none of lm-eval's."""
    return task.endswith((".yaml", ".yml")) or "/" in task


def clean_tasks(tasks: Iterable[str]) -> list[str]:
    """The tasks without repeats, files by their whole path; lm-eval's names are looked up when it runs.

    Raises `Refused`, `NotFound` and `BadFile`.
    """
    by_label: dict[str, str] = {}
    for task in filter(None, map(str.strip, tasks)):
        if is_local(task):
            task = str(_find_file(task) or task)
        elif not TASK_NAME.fullmatch(task):
            raise Refused(f"“{task[:60]}” is no name of a task. Take one of lm-eval's, or a path that ends in .yaml.")
        if by_label.setdefault(task_label(task), task) != task:
            raise Refused("Two of these tasks have one name. Rename one in its file, under task.")
    if not by_label:
        raise Refused("Choose at least one benchmark.")
    return list(by_label.values())


def task_label(task: str) -> str:
    """The name under which a task's scores are kept. Raises `NotFound` and `BadFile` for a task file."""
    return str(read_task_file(task)["task"]) if is_local(task) else task


def task_labels(tasks: Iterable[str]) -> list[str]:
    """The tasks as people read them; a task file that is gone by its name."""
    labels = []
    for task in tasks:
        try:
            labels.append(task_label(task))
        except PickwellError:
            labels.append(Path(task).name)
    return labels


def changed_since(task: str, when: datetime) -> bool:
    """Whether a task file or its data was written after that moment; lm-eval's own never are."""
    if not is_local(task):
        return False
    try:
        files = [task, *read_task_file(task)["dataset_kwargs"]["data_files"].values()]
        return any(Path(file).stat().st_mtime > when.timestamp() for file in files)
    except (PickwellError, OSError):
        return False


def read_task_file(path: str) -> dict[str, Any]:
    """A task file as lm-eval takes it, its data named by whole paths. Raises `NotFound` and `BadFile`."""
    file = _find_file(path)
    if file is None:
        raise NotFound(f"There is no task file {path}. Check the path; it is read on this machine.")
    if file.stat().st_size > LARGEST:
        raise BadFile(f"{file.name} is too large for a task file. Name the YAML file, not its data.")
    try:
        task = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, OSError) as problem:
        if "!function" in str(problem):
            raise _code(file, "!function") from None
        line = getattr(getattr(problem, "problem_mark", None), "line", None)
        where = f" at line {line + 1}" if line is not None else ""
        raise BadFile(f"{file.name} is no YAML that can be read{where}. Correct it and try again.") from None
    if not isinstance(task, dict) or not TASK_NAME.fullmatch(str(task.get("task", ""))):
        raise BadFile(
            f"{file.name} has no line “task: name” with letters, digits and underscores. Give the task a name."
        )
    for name in CODE:
        if task.get(name):
            raise _code(file, name)
    if "include" in task:
        raise BadFile(f"{file.name} includes another file. Put everything into this one.")
    metrics, generation = task.get("metric_list") or [], task.get("generation_kwargs") or {}
    if not isinstance(metrics, list):
        raise BadFile(f"{file.name} has to name its metrics as a list under metric_list, as [{{metric: acc}}].")
    if any(not isinstance(metric, dict) or metric.get("hf_evaluate") for metric in metrics):
        raise BadFile(f"{file.name} names a metric that is fetched as program code. Take one of lm-eval's own, as acc.")
    if not isinstance(generation, dict):
        raise BadFile(f"{file.name} has to name each setting under generation_kwargs, as {{do_sample: false}}.")
    if strange := sorted(map(str, generation.keys() - GENERATION)):
        raise BadFile(
            f"{file.name} has {strange[0][:40]} under generation_kwargs, which is not allowed here. Allowed are "
            f"{', '.join(sorted(GENERATION))}."
        )
    return task | {"dataset_kwargs": {"data_files": _data_files(file, task)}}


def _find_file(name: str, folder: Path = Path()) -> Path | None:
    try:
        place = (folder / Path(name).expanduser()).resolve()
        return place if place.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long a name, one with a NUL, the home of an unknown user
        return None


def _code(file: Path, entry: str) -> BadFile:
    return BadFile(f"{file.name} brings program code ({entry}), which is never run here. Say it in templates instead.")


def _data_files(file: Path, task: dict[str, Any]) -> dict[str, str]:
    kind, options = task.get("dataset_path"), task.get("dataset_kwargs")
    files = options.get("data_files") if isinstance(options, dict) else None
    if kind not in FORMATS or not files:
        raise BadFile(
            f"{file.name} does not say where its data is. Write “dataset_path: json” and, under dataset_kwargs, "
            "“data_files: {test: questions.jsonl}”."
        )
    splits = {"train": files} if isinstance(files, str) else files
    if not isinstance(splits, dict) or not all(isinstance(word, str) for pair in splits.items() for word in pair):
        raise BadFile(f"{file.name} has to name one file for each split under data_files.")
    test_splits = [str(task[name]) for name in ("test_split", "validation_split") if task.get(name)]
    if not test_splits or {*test_splits, str(task.get("training_split") or test_splits[0])} - splits.keys():
        raise BadFile(
            f"{file.name} has to name a split of its data_files ({', '.join(splits)}) as test_split or "
            "validation_split."
        )
    places = {}
    for split, name in splits.items():
        if (place := _find_file(name, file.parent)) is None:
            raise BadFile(
                f"{file.name} wants its data in {file.parent / name}, and there is no such file. Put it there."
            )
        _refuse_empty(place, str(kind))
        places[split] = str(place)
    return places


def _refuse_empty(place: Path, kind: str) -> None:
    """Raise `BadFile` unless the file has a first row; Parquet's is left to what opens it."""
    if kind == "parquet":
        return
    try:
        with place.open(encoding="utf-8", newline="") as stream:
            if kind == "csv":
                rows = csv.reader(stream)
                if next(rows, None) is None or next(rows, None) is None:
                    raise BadFile(f"{place.name} has no rows, so there is nothing to ask. Put questions into it.")
                return
            first = next((line for line in stream if line.strip()), None)
    except UnicodeDecodeError:
        raise BadFile(f"{place.name} is not UTF-8. Save it again with that encoding.") from None
    except (csv.Error, OSError) as problem:
        raise BadFile(f"{place.name} cannot be read ({problem}). Check it and its permissions.") from None
    if first is None:
        raise BadFile(f"{place.name} is empty, so there is nothing to ask. Put one question on each line.")
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(first), dict):
            return
    raise BadFile(f"{place.name} is no JSONL: its first line is no object. Put one question on each line.")


def minutes(tasks: Sequence[str], *, examples: int, parameters: float | None) -> float:
    """About how long one measurement takes on two CPU cores of a model of so many million parameters.

    A model that does not say how many it has counts as the default one's 135.
    """
    known = {preset.task: preset.tokens for preset in PRESETS}
    tokens = sum(known.get(task, 4 * TOKENS_A_CHOICE) for task in tasks) * examples
    return (FIXED_SECONDS + SECONDS_A_TOKEN * tokens * (parameters or 135) / 135) / 60


def duration(tasks: Sequence[str], *, examples: int, sizes: Sequence[tuple[float | None, bool]]) -> str:
    """A sentence on how long a run for each of these models takes, as far as is known.

    Args:
        sizes: in millions of parameters, and whether in four bits; None for a model that does not say.
    """
    time = sum(minutes(tasks, examples=examples, parameters=millions) for millions, _ in sizes)
    words = f"{time:.0f} minutes" if time < 90 else f"{time / 60:.1f} hours"
    gpu = ", which a GPU leaves far behind" if has_gpu() else ""
    runs = f"{len(sizes)} runs, one after another" if len(sizes) > 1 else "one run"
    return f"About {words} in all on two CPU cores{gpu}: a guess from how fast such a model reads, for {runs}."


def memory_caution(sizes: Sequence[tuple[float | None, bool]], *, free_mb: float) -> str | None:
    """What to say where the largest of these models, as for `duration`, hardly fits into memory; none where it does."""
    largest = max(
        (
            LIBRARIES_MB + (BYTES_A_PARAMETER_4BIT if four else BYTES_A_PARAMETER) * millions * 1e6 / 2**20 + READING_MB
            for millions, four in sizes
            if millions is not None
        ),
        default=0.0,
    )
    if largest <= free_mb:
        return None
    return (
        f"The largest of these models takes about {largest / 1024:.1f} GB of memory and {free_mb / 1024:.1f} are free "
        "now: close what else runs here first, or it may be ended half-way."
    )
