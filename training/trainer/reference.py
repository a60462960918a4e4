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
        name = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:32]
        self._file = folder / f"{name}.jsonl"
        self._known: dict[str, list[float]] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else ():
            with suppress(ValueError, TypeError):  # a line that was cut as the process died
                key, *values = json.loads(line)
                self._known[key] = [float(value) for value in values]

    def get(self, key: str) -> list[float] | None:
        """The values of the row with this key, if they are known."""
        return self._known.get(key)

    def add(self, scores: Mapping[str, Sequence[float]]) -> None:
        """Write them down, by the rows' keys."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps([key, *values]) + "\n" for key, values in scores.items())
        self._known |= {key: list(values) for key, values in scores.items()}


def row_key(row: Mapping[str, Sequence[int]]) -> str:
    """Hash of a row's tokens."""
    text = json.dumps([list(row["prompt_ids"]), list(row["chosen_ids"]), list(row["rejected_ids"])])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
