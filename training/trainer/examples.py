"""What each method learns from: a Snapshot's rows as pairs, or as replies one by one. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from db.models import Method
from llm.template import Message
from training.data.rows import FrozenRow
from training.recipe.recipe import PAIRED


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One thing to learn from: a prompt with chosen and rejected reply, or with one reply."""

    prompt_id: int
    prompt: list[Message]
    replies: tuple[list[Message], ...]
    """Chosen and rejected; or the one reply."""
    label: bool | None = None
    """Of the one reply: whether it is a good one; none where nothing else is asked (supervised)."""


def examples(
    method: Method, rows: Sequence[FrozenRow], singles: Sequence[TrainingExample] = ()
) -> list[TrainingExample]:
    """The examples that a method makes of one split's rows.

    Args:
        singles: replies judged one by one, for KTO.
    """
    if method is Method.KTO:
        # mixed by hash: KTO goes through them in this order, and a batch of one label only estimates nothing
        return sorted(singles, key=lambda one: _hash(one))
    if method in PAIRED:
        return [TrainingExample(row.prompt_id, row.prompt, (row.chosen, row.rejected)) for row in rows]
    distinct = {_key(row.prompt, row.chosen): TrainingExample(row.prompt_id, row.prompt, (row.chosen,)) for row in rows}
    return list(distinct.values())


def _key(prompt: Sequence[Message], reply: Sequence[Message]) -> tuple[str, ...]:
    return tuple(turn["content"] for turn in (*prompt, *reply))


def _hash(one: TrainingExample) -> str:
    return hashlib.sha256("\n".join(_key(one.prompt, one.replies[0])).encode()).hexdigest()
