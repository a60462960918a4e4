"""What each method learns from: a Snapshot's rows as pairs, or as replies one by one. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from db.models import Method
from llm.template import Message
from training.data.rows import FrozenRow, UnpairedRow, unpaired_rows
from training.recipe.recipe import PAIRED


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A prompt with its chosen and rejected reply, or with one reply."""

    prompt_id: int
    prompt: list[Message]
    replies: tuple[list[Message], ...]
    label: bool | None = None
    """Of the one reply: whether it is a good one; none where nothing else is asked (supervised)."""

    @property
    def contents(self) -> tuple[str, ...]:
        """The prompt's turns, then those of the first reply."""
        return tuple(turn["content"] for turn in (*self.prompt, *self.replies[0]))


def examples(method: Method, rows: Sequence[FrozenRow], thumbs: Sequence[UnpairedRow] = ()) -> list[TrainingExample]:
    """The examples that a method makes of one split's rows; KTO reads the thumbs, too."""
    if method is Method.KTO:
        singles = [
            TrainingExample(row.prompt_id, row.prompt, (row.completion,), row.label)
            for row in unpaired_rows(rows, thumbs)
        ]
        # mixed by hash: KTO goes through them in this order, and a batch of one label only estimates nothing
        return sorted(singles, key=lambda example: hashlib.sha256("\n".join(example.contents).encode()).hexdigest())
    if method in PAIRED:
        return [TrainingExample(row.prompt_id, row.prompt, (row.chosen, row.rejected)) for row in rows]
    supervised = [TrainingExample(row.prompt_id, row.prompt, (row.chosen,)) for row in rows]
    return list({example.contents: example for example in supervised}.values())
