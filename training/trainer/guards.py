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
from llm.template import Message, conversation_token_ids

TOLERANCE = 1e-3
"""Of the first step's rewards and loss; measured differences are 0 in float32."""
WRONG_REFERENCE = 0.01
"""A first loss under this was never earned."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row in tokens."""

    prompt_id: int
    prompt: list[int]
    replies: tuple[list[int], ...]
    """Chosen and rejected, or the one reply that there is."""

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longest reply."""
        return len(self.prompt) + max(map(len, self.replies))

    @property
    def tokens(self) -> int:
        """Tokens of the prompt with every reply."""
        return len(self.prompt) + sum(map(len, self.replies))


def encode_row(tokenizer: Any, prompt_id: int, prompt: list[Message], replies: Sequence[list[Message]]) -> EncodedRow:
    """Render and tokenize a row. Raises `TrainingFailed` when the prompt alone is not the beginning of the whole.

    TRL only logs a warning then, and trains on a shorter context than the model sees in use.
    """
    alone = conversation_token_ids(tokenizer, prompt, add_generation_prompt=True)
    whole = [conversation_token_ids(tokenizer, [*prompt, *reply], add_generation_prompt=False) for reply in replies]
    if any(ids[: len(alone)] != alone for ids in whole):
        raise TrainingFailed(
            f"With its reply, prompt {prompt_id} does not begin as it does alone, so the model would learn from "
            "another text than it meets in use. This chat template is not fit for training: choose another base model."
        )
    return EncodedRow(prompt_id, alone, tuple(ids[len(alone) :] for ids in whole))


def check_rows(rows: Sequence[EncodedRow], *, tokenizer: Any, stop_ids: Collection[int], max_length: int) -> None:
    """Every row fits, and every reply has exactly one end, with nothing but white space after it."""
    too_long = [row for row in rows if row.length > max_length]
    if too_long:
        longest = max(row.length for row in too_long)
        raise TrainingFailed(
            f"{len(too_long)} of {len(rows)} rows are longer than {max_length} tokens (the longest has {longest}); "
            f"rows are never cut. Choose a longest row of at least {longest} tokens."
        )
    for prompt_id, reply in ((row.prompt_id, reply) for row in rows for reply in row.replies):
        ends = [place for place, token in enumerate(reply) if token in stop_ids]
        if len(ends) != 1 or tokenizer.decode(reply[ends[0] + 1 :]).strip():
            raise TrainingFailed(
                f"A reply to prompt {prompt_id} has {len(ends)} ends in tokens instead of one at its end, so the model "
                "would not learn when to stop. If the reply shows the model's own end-of-turn mark, undo its ranking "
                "and freeze again; else choose another base model."
            )


def check_trainer_rows(rows: Sequence[EncodedRow], trainer_rows: Sequence[tuple[list[int], ...]]) -> None:
    """The trainer's rows, each a prompt and its replies, are ours, token by token: none dropped, none shortened."""
    if [(row.prompt, *row.replies) for row in rows] != list(trainer_rows):
        raise TrainingFailed(
            f"The trainer would see {len(trainer_rows)} rows that are not the {len(rows)} rows of the snapshot. "
            "Nothing was trained. Install the versions of requirements/constraints.txt, which are known to agree."
        )


def check_first_step(log: Mapping[str, Any], *, expected_loss: float | None, own_reference: bool) -> None:
    """Before the first update the model is its own reference: both rewards are 0, and the loss follows from that.

    DPO's sigmoid loss, -log sigmoid(chosen reward - rejected reward), is then ln 2 (Rafailov et al. 2023, eq. 7). With
    another reference on purpose, rewards are what they are; a loss of nearly 0 still tells that it is a wrong one, for
    nothing was learned yet.

    Args:
        expected_loss: of the whole step where rewards are 0; none where a supervised part is in it.
        own_reference: whether the reference is the model that the training starts from.
    """
    # a step of KTO may have replies of one label only
    rewards = [log[name] for name in ("rewards/chosen", "rewards/rejected") if not math.isnan(log.get(name, math.nan))]
    if not own_reference:
        if log["loss"] < WRONG_REFERENCE and expected_loss is not None:
            raise TrainingFailed(
                f"The loss is {log['loss']:.4f} at the first step, before anything was learned: the reference is "
                "another kind of model. Choose the model that the training starts from as the reference."
            )
        return
    off = expected_loss is not None and not abs(log["loss"] - expected_loss) <= TOLERANCE * max(1.0, expected_loss)
    if max(map(abs, rewards), default=0.0) > TOLERANCE or off:
        figures = " and ".join(f"{reward:.4f}" for reward in rewards)
        figures += "" if expected_loss is None else f", loss {log['loss']:.4f} instead of {expected_loss:.4f}"
        raise TrainingFailed(
            f"At the first step the model already differs from the base model (rewards {figures}), so it would be "
            "compared with the wrong reference. Start a new training; if it happens again, the base model's folder "
            "was changed."
        )


def check_finite(log: Mapping[str, Any], *, step: int) -> None:
    """No loss or gradient is infinite or not a number."""
    for name in ("loss", "eval_loss", "grad_norm"):
        if name in log and not math.isfinite(log[name]):
            broken = f"The {name} became {log[name]} at step {step}: the training fell apart."
            raise TrainingFailed(f"{broken} Start again with a lower learning rate.")


def check_space(folder: Path, *, needed: int) -> None:
    """At least ``needed`` bytes are free where the run writes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingFailed(
            f"The training has still to write about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free in {folder}. "
            "Free some space or set PICKWELL_HOME to a larger disk, and start it again."
        )
