"""What must hold in a training, checked; each check raises `TrainingFailed` with a sentence.

Every one stands for a way in which training goes wrong without an error of its own.
"""

import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import TrainingFailed
from template import token_ids
from training.rows import FrozenRow

TOLERANCE = 1e-3
"""Of the first step's rewards and loss; measured differences are 0 in float32."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row in tokens, as the model meets it."""

    prompt_id: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer reply."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def encode(tokenizer: Any, row: FrozenRow) -> Encoded:
    """Render and tokenize a row. Raises `TrainingFailed` when the prompt alone is not the beginning of the whole.

    TRL only logs a warning then, and trains on a shorter context than the model sees in use.
    """
    prompt = token_ids(tokenizer, row.prompt, reply_next=True)
    whole = [token_ids(tokenizer, [*row.prompt, *reply], reply_next=False) for reply in (row.chosen, row.rejected)]
    if any(ids[: len(prompt)] != prompt for ids in whole):
        raise TrainingFailed(
            f"With its reply, prompt {row.prompt_id} does not begin as it does alone, so the model would learn from "
            "another text than it meets in use. This chat template is not fit for training: choose another base model."
        )
    chosen, rejected = (ids[len(prompt) :] for ids in whole)
    return Encoded(row.prompt_id, prompt, chosen, rejected)


def check_rows(rows: Sequence[Encoded], *, tokenizer: Any, stop_ids: Collection[int], max_length: int) -> None:
    """Every row fits, and every reply has exactly one end, with nothing but white space after it."""
    too_long = [row for row in rows if row.length > max_length]
    if too_long:
        longest = max(row.length for row in too_long)
        raise TrainingFailed(
            f"{len(too_long)} of {len(rows)} rows are longer than {max_length} tokens (the longest has {longest}); "
            f"rows are never cut. Choose a longest row of at least {longest} tokens."
        )
    for row in rows:
        for reply in (row.chosen, row.rejected):
            ends = [place for place, token in enumerate(reply) if token in stop_ids]
            if len(ends) != 1 or tokenizer.decode(reply[ends[0] + 1 :]).strip():
                raise TrainingFailed(
                    f"A reply to prompt {row.prompt_id} has {len(ends)} ends in tokens instead of one at its end, so "
                    "the model would not learn when to stop. If the reply shows the model's own end-of-turn mark, undo "
                    "its ranking and freeze again; else choose another base model."
                )


def check_seen(rows: Sequence[Encoded], seen: Sequence[Mapping[str, Any]]) -> None:
    """The trainer's rows are ours, token by token: none dropped, none shortened."""
    ours = [(row.prompt, row.chosen, row.rejected) for row in rows]
    theirs = [(list(row["prompt_ids"]), list(row["chosen_ids"]), list(row["rejected_ids"])) for row in seen]
    if ours != theirs:
        raise TrainingFailed(
            f"The trainer would see {len(theirs)} rows that are not the {len(ours)} rows of the snapshot. Nothing was "
            "trained. Install the versions of requirements.txt, which are known to agree."
        )


def check_first_step(log: Mapping[str, Any], *, sft_weight: float) -> None:
    """Before the first update the model is its own reference: both rewards are 0, and the sigmoid loss is ln 2.

    DPO's loss is -log sigmoid(chosen reward - rejected reward) (Rafailov et al. 2023, eq. 7). Where the supervised loss
    is added, only the rewards can be compared: they fix the sigmoid part.
    """
    rewards = (log["rewards/chosen"], log["rewards/rejected"])
    loss = log["loss"] if sft_weight == 0 else math.log1p(math.exp(min(rewards[1] - rewards[0], 50.0)))
    if max(map(abs, rewards)) > TOLERANCE or not abs(loss - math.log(2)) <= TOLERANCE:
        raise TrainingFailed(
            f"At the first step the model already differs from the base model (rewards {rewards[0]:.4f} and "
            f"{rewards[1]:.4f}, preference loss {loss:.4f} instead of 0.6931), so it would be compared with the wrong "
            "reference. Start a new training; if it happens again, the base model's folder was changed."
        )


def check_finite(log: Mapping[str, Any], *, step: int) -> None:
    """No loss or gradient is infinite or not a number."""
    for name in ("loss", "eval_loss", "grad_norm"):
        if name in log and not math.isfinite(log[name]):
            raise TrainingFailed(
                f"The {name} became {log[name]} at step {step}: the training fell apart. Start again with a lower "
                "learning rate."
            )


def check_space(folder: Path, *, needed: int) -> None:
    """At least ``needed`` bytes are free where the run writes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingFailed(
            f"The training would write about {needed / 1e9:.1f} GB and there are {free / 1e9:.1f} GB free in {folder}. "
            "Free some space or set PICKWELL_HOME to a larger disk, and start it again."
        )
