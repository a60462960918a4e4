"""The reference model's log-probabilities, computed once for each row, base model and template, and kept.

Later trainings on the same model find them, whichever snapshot the row is in and whatever their recipe.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class ReferenceScores:
    """Log-probabilities of replies under one reference model, in a file of one JSON line each."""

    def __init__(self, folder: Path, *, model: Mapping[str, str | None]) -> None:
        """``model`` is everything that decides a log-probability: weights, template, precision."""
        key = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:32]
        self._file = folder / f"{key}.jsonl"
        self._known: dict[str, list[float]] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else ():
            with suppress(ValueError, TypeError):  # a line that was cut as the process died
                row, *values = json.loads(line)
                self._known[row] = [float(value) for value in values]

    def get(self, row: str) -> list[float] | None:
        """The row's values, if they are known."""
        return self._known.get(row)

    def add(self, scores: Mapping[str, Sequence[float]]) -> None:
        """Write them down."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps([row, *values]) + "\n" for row, values in scores.items())
        self._known |= {row: list(values) for row, values in scores.items()}


def row_key(row: Mapping[str, Sequence[int]]) -> str:
    """Hash of a row's tokens."""
    text = json.dumps([list(row["prompt_ids"]), list(row["chosen_ids"]), list(row["rejected_ids"])])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
