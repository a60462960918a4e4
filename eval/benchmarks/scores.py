"""Scores from what lm-eval's command leaves: ``results_DATE.json`` and, of each task, ``samples_TASK_DATE.jsonl``."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import stdev
from typing import Any

from stats.paired import Score

VOLATILE = ("metadata", "dataset_kwargs", "dataset_path", "task_alias", "tag")
"""Of a task's configuration, what says nothing of how it asks: where its file and data are, and how it is called."""

Results = Mapping[str, Any]
"""What lm-eval writes, with each task's examples under ``samples``."""


def read_results(folder: Path) -> Results | None:
    """What lm-eval left in a folder; none where it could not write."""
    if (file := next(folder.glob("results_*.json"), None)) is None:
        return None
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    samples = {}
    for task in results["configs"]:
        with (folder / f"samples_{task}_{file.stem.removeprefix('results_')}.jsonl").open(encoding="utf-8") as lines:
            samples[task] = [json.loads(line) for line in lines]
    return results | {"samples": samples}


def list_scores(results: Results, name: str) -> list[Score]:
    """Every metric that is a number.

    Args:
        name: of a task, or of a group: one that lm-eval gives one score, pooled over its tasks, is one here
            too; any other gives the scores of its tasks.
    """
    scores = [score for task in results["samples"] for score in _task_scores(results, task)]
    if name not in results.get("groups", {}):
        return scores
    by_metric: dict[str, list[Score]] = {}
    for score in scores:
        by_metric.setdefault(score.metric, []).append(score)
    pooled = (_pool_scores(results["groups"][name], name, parts) for parts in by_metric.values())
    return [score for score in pooled if score is not None]


def _pool_scores(values: Mapping[str, Any], group: str, parts: list[Score]) -> Score | None:
    key = next((name for name in values if name.partition(",")[0] == parts[0].metric), None)
    if key is None or (value := _number(values[key])) is None:
        return None
    known = [part.by_example for part in parts if part.by_example is not None]
    by_example = None
    if len(known) == len(parts):
        by_example = {example: number for numbers in known for example, number in numbers.items()}
    error = _number(values.get(key.replace(",", "_stderr,", 1)))
    if error is None and by_example and len(by_example) > 1:  # of one example a task lm-eval has none
        error = stdev(by_example.values()) / math.sqrt(len(by_example))
    examples = sum(part.examples for part in parts)
    return replace(parts[0], task=group, value=value, standard_error=error, examples=examples, by_example=by_example)


def _task_scores(results: Results, task: str) -> Iterator[Score]:
    values, names = results["results"][task], set()
    for key, stored in values.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr") or (value := _number(stored)) is None:
            continue
        name = f"{metric} ({kind})" if metric in names else metric
        names.add(name)
        yield Score(
            task=task,
            metric=name,
            value=value,
            standard_error=_number(values.get(f"{metric}_stderr,{kind}")),
            examples=int(results["n-samples"][task]["effective"]),
            higher_is_better=results["higher_is_better"].get(task, {}).get(metric) is not False,
            by_example=_by_example(results, task, metric, kind),
        )


def _by_example(results: Results, task: str, metric: str, kind: str) -> dict[str, float] | None:
    """The metric of each example; none where one has no number of its own."""
    by_chat = is_by_chat(results)
    config = {name: value for name, value in results["configs"][task].items() if name not in VOLATILE}
    # its version, wording and metrics, and whether by the chat template: how a task asks
    how = _short_hash(json.dumps([config, results["versions"].get(task), by_chat], sort_keys=True, default=str), 8)
    values: dict[str, float] = {}
    for sample in results["samples"][task]:
        if sample["filter"] != kind:
            continue
        if (value := _number(sample.get(metric))) is None:
            return None
        # what was shown before it belongs to a question; a chat template may hold the day
        shown = "" if by_chat else sample.get("prompt_hash", "")
        key = question = f"{how}-{_short_hash(sample['doc_hash'] + sample['target_hash'] + shown, 16)}"
        again = 2
        while key in values:  # the same question twice in the data
            key = f"{question}-{again}"
            again += 1
        values[key] = value
    return values or None


def is_by_chat(results: Results) -> bool:
    """Whether the chat template was applied, which makes it another question."""
    return bool(results.get("chat_template"))


def _short_hash(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, str) or not math.isfinite(value) else float(value)
    except TypeError:
        return None
