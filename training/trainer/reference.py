"""The reference model's log-probabilities, computed once for each row, base model and template, and kept.

Later trainings on the same model find them, whichever snapshot the row is in and whatever their recipe.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHUNK = 8
"""Rows that are scored between two writes: the most that is lost when the process dies."""

Told = Callable[[int], None]
"""Hears how many rows of the data set are scored."""


class Kept:
    """Log-probabilities of replies under one reference model, in a file of one JSON line each."""

    def __init__(self, folder: Path, *, model: Mapping[str, str | None]) -> None:
        """``model`` is everything that decides a log-probability: weights, template, precision."""
        key = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:32]
        self._file = folder / f"{key}.jsonl"
        self._known: dict[str, list[float]] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else ():
            try:
                row, *values = json.loads(line)
                self._known[row] = [float(value) for value in values]
            except (ValueError, TypeError):  # a line that was cut as the process died
                continue

    def get(self, row: str) -> list[float] | None:
        """The row's values, if they are known."""
        return self._known.get(row)

    def add(self, found: Mapping[str, Sequence[float]]) -> None:
        """Keep them."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps([row, *values]) + "\n" for row, values in found.items())
        self._known |= {row: list(values) for row, values in found.items()}


def with_kept_reference(trainer_class: Any, kept: Kept, told: Told) -> Any:
    """TRL's DPO trainer, asking `kept` before it lets the reference model score a row.

    The one method that is replaced is TRL's own, so a version of TRL without it scores every row, as always: slower,
    never wrong.
    """

    class KeptReference(trainer_class):  # type: ignore[misc]
        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            columns = ("ref_chosen_logps", "ref_rejected_logps")
            rows = [_key(row) for row in dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])]
            missing = [number for number, row in enumerate(rows) if kept.get(row) is None]
            for start in range(0, len(missing), CHUNK):
                told(len(rows) - len(missing) + start)
                some = missing[start : start + CHUNK]
                scored = super()._precompute_ref_logps(dataset.select(some), name, batch_size)
                values = zip(*(list(scored[column]) for column in columns), strict=True)
                kept.add({rows[number]: pair for number, pair in zip(some, values, strict=True)})
            told(len(rows))
            for place, column in enumerate(columns):
                dataset = dataset.add_column(column, [(kept.get(row) or [])[place] for row in rows])
            return dataset

    return KeptReference


def _key(row: Mapping[str, Sequence[int]]) -> str:
    """Hash of a row's tokens."""
    text = json.dumps([list(row["prompt_ids"]), list(row["chosen_ids"]), list(row["rejected_ids"])])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
