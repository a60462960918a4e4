"""What the contestants of `benchmarks.training` learn from, and what they give back; files between processes."""

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil

from benchmarks.work import SAMPLE
from db.models import Split
from errors import Refused
from examples import simulated
from files import read_json, write_json
from llm.template import Message, PromptFormat
from stats.verdicts import Verdict
from training.data.rows import FrozenRow, Rows

DONE = "done.json"
"""A contestant's figures, in its folder."""
CLOSE = 1.05
"""Rows may be so much longer on average than they were asked for before their texts are cut."""


@dataclass(frozen=True)
class Trained:
    """What one contestant did, and what it took; all seconds are wall time unless they say otherwise."""

    steps: int
    whole_s: float
    """From the start of the process to the end of the last look at the validation rows."""
    cpu_s: float
    """Processor time in that, of the process and those under it."""
    steps_s: float
    """In optimizer steps alone."""
    merging_s: float
    """Afterwards, to make the model that can be served."""
    parts: dict[str, float]
    """Where the seconds went, to the very end."""
    train_loss: float
    """Of the project the last step's, of plain TRL the mean of the steps since its last log but one: not to compare."""
    validation_loss: float
    """Of the last look."""
    validation_accuracy: float
    peak_memory_mb: int
    """On a GPU what torch had allocated there, else of the machine's memory; up to the last look."""
    device: str
    looks: int = 1
    """How often the validation rows were looked at."""
    samples: int = 0
    """Sample replies written meanwhile."""

    def write(self, folder: Path) -> None:
        """Leave it for the benchmark."""
        write_json(folder / DONE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Trained | None":
        """What was left; none where there is nothing whole."""
        said = read_json(folder / DONE)
        return cls(**said) if said else None


@dataclass
class Clock:
    """Seconds since this process was started, and what they went into."""

    started: float = field(default_factory=lambda: psutil.Process().create_time())
    """Seconds since the epoch."""
    parts: dict[str, float] = field(default_factory=dict)
    _before: float = 0.0

    def passed(self, into: str) -> float:
        """The time since the last call went into this; gives the seconds since the start."""
        now = time.time() - self.started
        self.parts[into] = round(self.parts.get(into, 0.0) + now - self._before, 3)
        self._before = now
        return now


def cpu_seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def peak_memory_mb() -> int:
    """The most that this process has had so far; of the GPU's memory where there is one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() // 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def device() -> str:
    """What this process trains on."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def pairs_of_sample(*, pairs: int, validation: int, tokens: int, length: Callable[[FrozenRow], float]) -> Rows:
    """Rows of the sample's emails with two people's replies, the better one picked by the written rule: simulated.

    Of those that the rule decides, the ones whose length is nearest to ``tokens``; texts are cut to so many first
    words where they are all longer. Raises `Refused` where there are too few.

    Args:
        length: mean tokens of a row's two sides, each the prompt with one reply.
    """
    about = json.loads((SAMPLE / "project.json").read_text(encoding="utf-8"))
    lines = (SAMPLE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    decided = [
        row
        for number, line in enumerate(lines, start=1)
        if (row := _row(json.loads(line), number, instructions=about["instructions"], people=list(about["people"])))
    ]
    if len(decided) < pairs + validation:
        raise Refused(
            f"The rule decides {len(decided)} of the sample's pairs, and {pairs + validation} were asked for. Ask for "
            "fewer."
        )
    shares = [1 - n / 20 for n in range(20)]
    cut = next(
        (some for share in shares if _mean(some := [_cut(row, share) for row in decided], length) <= CLOSE * tokens),
        [_cut(row, shares[-1]) for row in decided],
    )
    nearest = sorted(cut, key=lambda row: (abs(length(row) - tokens), row.prompt_id))[: pairs + validation]
    rows = sorted(nearest, key=lambda row: row.prompt_id)
    aside = {row.prompt_id for row in rows[:: len(rows) // validation][:validation]} if validation else set()
    return {
        Split.TRAIN: [row for row in rows if row.prompt_id not in aside],
        Split.VALIDATION: [row for row in rows if row.prompt_id in aside],
    }


def _row(line: dict[str, str], number: int, *, instructions: str, people: Sequence[str]) -> FrozenRow | None:
    left, right = (line[one] for one in people)
    said = simulated.verdict(line["email"], left, right, left_finish=None, right_finish=None)
    if said not in (Verdict.LEFT, Verdict.RIGHT):
        return None
    better, worse = (left, right) if said is Verdict.LEFT else (right, left)
    return FrozenRow(
        prompt=PromptFormat(instructions).messages(line["email"]),
        chosen=[{"role": "assistant", "content": better}],
        rejected=[{"role": "assistant", "content": worse}],
        prompt_id=number,
        chosen_id=2 * number,
        rejected_id=2 * number + 1,
        ranking_id=number,
        correction_id=None,
        reviewer=f"{simulated.NAME} (simulated)",
        simulated=True,
    )


def _mean(rows: Sequence[FrozenRow], length: Callable[[FrozenRow], float]) -> float:
    return sum(map(length, rows)) / len(rows)


def _cut(row: FrozenRow, share: float) -> FrozenRow:
    """The row with this share of each text's words, the first ones."""
    if share == 1:
        return row

    def first(turns: Sequence[Message]) -> list[Message]:
        found = [turn["content"].split() for turn in turns]
        kept = [" ".join(words[: max(1, round(share * len(words)))]) for words in found]
        return [{"role": turn["role"], "content": text} for turn, text in zip(turns, kept, strict=True)]

    return replace(row, prompt=first(row.prompt), chosen=first(row.chosen), rejected=first(row.rejected))
