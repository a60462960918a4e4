"""Recipes: the few knobs of a training, each with its reason, and the start of a TrainingRun."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from db.models import ModelVersion, Preference, Recipe, Responder, Role, RunStatus, Snapshot, Split, TrainingRun
from db.people import require
from errors import AlreadyThere, NotFound, Refused
from settings import settings
from training.run_folder import RecipeValues, steps_of

SMALL = RecipeValues(
    name="Small model, no GPU",
    learning_rate=1e-4,
    beta=0.1,
    sft_weight=0.5,
    epochs=1.0,
    batch_size=4,
    warmup_steps=3,
    lora_rank=16,
    lora_alpha=32,
    max_length=1024,
)
"""For models of 100 to 500 million parameters on a CPU: 83 pairs won 28 of 40 unseen emails with it (8 lost)."""

LARGE = RecipeValues(
    name="7B model, one GPU",
    learning_rate=5e-6,
    beta=0.01,
    sft_weight=0.0,
    epochs=1.0,
    batch_size=16,
    warmup_steps=10,
    lora_rank=16,
    lora_alpha=16,
    max_length=1024,
)
"""For models of about 7 billion parameters: learning rate, beta and LoRA of zephyr-7b-beta's QLoRA recipe."""

PRESETS: tuple[RecipeValues, ...] = (SMALL, LARGE)
"""The recommended one first."""


@dataclass(frozen=True)
class Knob:
    """One knob for the screen."""

    label: str
    reason: str
    """What it does, and why the preset has the value that it has."""
    source: str


_HANDBOOK = "alignment-handbook, zephyr-7b-beta, dpo/config_qlora.yaml"
_OURS = "our runs on SmolLM2-135M"
_TRL = "TRL 1.16, DPO Trainer"

KNOBS: Mapping[str, Knob] = {
    "learning_rate": Knob(
        "Learning rate",
        "How far one step goes. LoRA takes about ten times what full training takes; small models take more than "
        "large ones. Too high, and replies shrink to a few words while every number looks perfect.",
        f"1e-4: {_OURS}; 5e-6: {_HANDBOOK}",
    ),
    "beta": Knob(
        "Beta",
        "How strongly the model is held to what it was. Lower lets it move further from the base model.",
        f"0.1: {_TRL}; 0.01: {_HANDBOOK}",
    ),
    "sft_weight": Knob(
        "Weight of the chosen reply",
        "DPO alone only widens the gap between the two replies, even by making both unlikely. This adds the "
        "ordinary loss on the chosen reply, so that it stays likely. 0 leaves it out.",
        f"0.5: {_OURS}; loss_type sigmoid + sft in {_TRL}",
    ),
    "epochs": Knob(
        "Epochs",
        "How often each pair is seen. With few pairs, a second round mostly learns them by heart.",
        f"1: {_HANDBOOK} and {_OURS}",
    ),
    "batch_size": Knob(
        "Pairs per step",
        "Pairs that one step averages over. More is steadier and makes fewer steps.",
        f"4: {_OURS}; 16 to 64 where there are thousands of pairs: {_HANDBOOK}",
    ),
    "warmup_steps": Knob(
        "Warm-up steps",
        "Steps over which the learning rate grows to its value, before it falls along a cosine to 0.",
        f"about a tenth of the steps: {_HANDBOOK}",
    ),
    "lora_rank": Knob(
        "LoRA rank",
        "Size of the adapter on every linear layer. 16 is 4.9 million parameters on a 135M model, 20 MB.",
        f"16: {_HANDBOOK}",
    ),
    "lora_alpha": Knob(
        "LoRA alpha",
        "The adapter counts alpha / rank times: 32 with rank 16 doubles it.",
        f"32: {_OURS}; 16: {_HANDBOOK}",
    ),
    "max_length": Knob(
        "Longest row, tokens",
        "Prompt plus reply. Longer rows are refused, never cut: a cut reply teaches to stop in mid-sentence.",
        f"1024: {_TRL}",
    ),
    "max_steps": Knob("At most so many steps", "Stops early, to try things out. Empty: the epochs decide.", _TRL),
    "seed": Knob(
        "Seed",
        "For the adapter's first values and the order of pairs: the same seed on the same machine, the same model.",
        _TRL,
    ),
}

SECONDS_PER_TOKEN = 0.0137
"""Of a pair's longer side, forward and backward, 135M on two cores: 2.0 s at 145 tokens, 3.7 s at 280."""
REFERENCE_SECONDS_PER_TOKEN = 0.009
"""The base model's own pass over each pair, once: 1.1 to 1.5 s at 145 tokens, 2.7 s at 280."""
FIXED_SECONDS = 60.0
"""Loading libraries and model, merging, saving."""


def estimate_minutes(
    *,
    pairs: int,
    epochs: float,
    tokens: float = 145,
    millions_of_parameters: float = 135,
    max_steps: int | None = None,
    batch_size: int = 4,
) -> float:
    """About how long a training takes on two CPU cores, in minutes; measured on one model, so say "about".

    ``pairs`` are the Snapshot's; ``tokens`` is the mean length of prompt plus reply (`training.snapshot.mean_tokens`).
    Time is taken to grow in proportion to it and to the model's size. A busy machine takes up to twice as long, a GPU a
    small part of it.
    """
    seen = batch_size * steps_of(pairs=pairs, epochs=epochs, batch_size=batch_size, max_steps=max_steps)
    size = millions_of_parameters / 135
    seconds = FIXED_SECONDS + size * tokens * (seen * SECONDS_PER_TOKEN + pairs * REFERENCE_SECONDS_PER_TOKEN)
    return seconds / 60


def start_training(
    s: Session, *, by: int, project_id: int, snapshot_id: int, base_model_id: int, recipe: RecipeValues, model_name: str
) -> TrainingRun:
    """Ask for a training: a QUEUED run that a worker takes up; managers only.

    Raises `AlreadyThere` for a taken name, `NotFound`, and `Refused` for a snapshot with nothing to train on or a
    recipe that cannot work.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    _check(recipe)
    snapshot = s.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound(f"There is no snapshot {snapshot_id} in this project. Freeze the preferences first.")
    if s.get(ModelVersion, base_model_id) is None:
        raise NotFound(f"There is no model {base_model_id}. Choose one from the list.")
    to_train = select(Preference.id).where(Preference.snapshot_id == snapshot_id, Preference.split == Split.TRAIN)
    if not s.scalar(select(exists(to_train))):
        raise Refused("This snapshot has no rows to train on. Rank more comparisons and freeze again.")
    name = " ".join(model_name.split())
    if not name:
        raise Refused("The new model needs a name. Type one.")
    if model_name_is_taken(s, project_id=project_id, name=name) or _is_being_trained(s, name):
        raise AlreadyThere(f"There is a model, responder or training called “{name}” already. Choose another name.")
    stored = Recipe(**asdict(recipe))
    s.add(stored)
    s.flush()
    run = TrainingRun(
        project_id=project_id,
        snapshot_id=snapshot_id,
        recipe_id=stored.id,
        base_model_id=base_model_id,
        model_name=name,
        requested_by_id=by,
    )
    s.add(run)
    s.flush()
    return run


def model_name_is_taken(s: Session, *, project_id: int, name: str) -> bool:
    """Whether a model, or a responder of the project, has the name."""
    of_model = exists().where(ModelVersion.name == name)
    of_responder = exists().where(Responder.project_id == project_id, Responder.name == name)
    return bool(s.scalar(select(or_(of_model, of_responder))))


def _is_being_trained(s: Session, name: str) -> bool:
    under_way = [status for status in RunStatus if not status.ended]
    return bool(s.scalar(select(exists().where(TrainingRun.model_name == name, TrainingRun.status.in_(under_way)))))


def command(run: TrainingRun) -> str:
    """What the button runs, to type in a shell; the run's folder must be there, so not before its first attempt."""
    return f"python -m training.dpo {shlex.quote(str(settings().runs_dir / f'training-{run.id}'))}"


def _check(recipe: RecipeValues) -> None:
    positive = ("learning_rate", "beta", "epochs", "batch_size", "lora_rank", "lora_alpha", "max_length", "max_steps")
    for name, knob in KNOBS.items():
        value = getattr(recipe, name)
        least = "more than 0" if name in positive else "0 or more"
        if value is not None and (not math.isfinite(value) or value < 0 or (value == 0 and name in positive)):
            raise Refused(f"{knob.label} cannot be {value:g}. Give a number that is {least}.")
    if not recipe.name.strip():
        raise Refused("The recipe needs a name. Type one.")
