"""Recipes: the few knobs of a training, each with its reason, and the start of a TrainingRun."""

import importlib.util
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import psutil
from sqlalchemy import exists, null, or_, select
from sqlalchemy.orm import Session

from db.catalog import refuse_retired
from db.models import (
    Adapter,
    Launcher,
    Loss,
    Method,
    ModelVersion,
    Preference,
    Recipe,
    Reference,
    Responder,
    Role,
    RunStatus,
    Snapshot,
    Split,
    Thumb,
    TrainingRun,
)
from db.people import require
from errors import AlreadyThere, NotFound, Refused
from settings import settings
from training.estimate import full_memory_mb, has_gpu, parameters_of
from training.run_folder import RecipeValues
from training.trackers import names as tracker_names

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
"""For the command line, which has no form that starts from advice; the recommended one first."""

EXPERIMENTAL = frozenset({Method.ORPO, Method.SIMPO})
"""Methods whose trainers TRL keeps under ``trl.experimental``, where anything may change."""
HAS_LOSSES = frozenset({Method.DPO})
HAS_ANCHOR = frozenset({Method.DPO, Method.SIMPO})
"""Methods that can have the supervised loss on the chosen reply beside their own."""
HAS_REFERENCE = frozenset({Method.DPO, Method.KTO})
"""Methods that hold the model to a reference, and so can have a supervised stage before them."""


@dataclass(frozen=True)
class Choice:
    """One value of a knob that is a choice, for the screen."""

    label: str
    says: str
    """What it does, and when it is the one to take."""


METHODS: Mapping[Method, Choice] = {
    Method.DPO: Choice(
        "DPO: learn from pairs",
        "Makes the better reply of each pair likelier than the worse one. The one to start with where people ranked.",
    ),
    Method.SFT: Choice(
        "SFT: learn to write the better replies",
        "Learns corrected and picked replies as they stand; the worse ones are not read. The one for what the model "
        "never does by itself, for it cannot prefer what it never writes.",
    ),
    Method.KTO: Choice(
        "KTO: learn from replies one by one",
        "Each reply counts by itself, good or bad; uses single good and bad replies too. Where pairs are few or noisy.",
    ),
    Method.ORPO: Choice(
        "ORPO (experimental)",
        "SFT and preference in one, without a reference model, so with less memory. Its trainer may change any day.",
    ),
    Method.SIMPO: Choice(
        "SimPO (experimental)",
        "Preference by the mean of tokens, without a reference model. Its trainer may change any day.",
    ),
}

LOSSES: Mapping[Loss, Choice] = {
    Loss.SIGMOID: Choice("sigmoid: the paper's own", "The one to start with."),
    Loss.IPO: Choice(
        "ipo: a gap to reach",
        "Stops widening the gap where it is wide enough, so it overfits less where people always agree.",
    ),
    Loss.ROBUST: Choice(
        "robust: some picks are wrong", "Reckons with a known share of wrong picks; where people often disagree."
    ),
    Loss.APO_ZERO: Choice(
        "apo_zero: the chosen one likelier",
        "Pushes the better reply up and the worse one down, instead of only apart; where the better replies are better "
        "than what the model writes, as corrections are.",
    ),
    Loss.SIGMOID_NORM: Choice(
        "sigmoid_norm: by tokens", "Counts by the token, so that a long reply weighs no more than a short one."
    ),
}

ADAPTERS: Mapping[Adapter | None, Choice] = {
    Adapter.LORA: Choice("LoRA", "Small matrices beside every layer; the model itself stays. Good for nearly all."),
    Adapter.RSLORA: Choice("rsLoRA", "LoRA whose scale grows with the rank's root, for ranks of 64 and more."),
    Adapter.DORA: Choice("DoRA", "LoRA with lengths of its own: a little better at low ranks, somewhat slower."),
    Adapter.QLORA: Choice("QLoRA", "LoRA on weights in four bits: much less memory, never faster. Needs bitsandbytes."),
    None: Choice(
        "none: train every weight",
        "16 bytes a parameter: several times LoRA's memory and disk, rarely better with a few hundred pairs.",
    ),
}
"""PiSSA and its like are not offered: they rewrite the base model, which then is no reference any more."""

REFERENCES: Mapping[Reference, Choice] = {
    Reference.START: Choice(
        "the model that preferences start from",
        "After its supervised stage, if there is one. As in the DPO paper: what that stage taught is kept.",
    ),
    Reference.BASE: Choice(
        "the model before that",
        "The one before the supervised stage, or the one that the model to start from was made from.",
    ),
}

LAUNCHERS: Mapping[Launcher, Choice] = {
    Launcher.LOCAL: Choice("one process here", "Nothing to set up; one GPU or the CPU."),
    Launcher.ACCELERATE: Choice("several processes here", "Shares the model out among several GPUs (FSDP)."),
    Launcher.RAY: Choice("a Ray cluster", "Through its Jobs API, whose address PICKWELL_RAY_ADDRESS has."),
}

CHOICES: Mapping[str, Mapping[StrEnum | None, Choice]] = {
    "method": METHODS,  # type: ignore[dict-item]
    "loss": LOSSES,  # type: ignore[dict-item]
    "adapter": ADAPTERS,  # type: ignore[dict-item]
    "reference": REFERENCES,  # type: ignore[dict-item]
    "launcher": LAUNCHERS,  # type: ignore[dict-item]
}
"""The knobs that are choices, each value in words."""


@dataclass(frozen=True)
class Knob:
    """One knob for the screen."""

    label: str
    reason: str
    """What it does, and why it is there."""
    source: str


_HANDBOOK = "alignment-handbook, zephyr-7b-beta, dpo/config_qlora.yaml"
_OURS = "our runs on SmolLM2-135M"
_TRL = "TRL 1.16, DPO Trainer"

KNOBS: Mapping[str, Knob] = {
    "method": Knob("Method", "What the model learns from, and how.", "TRL 1.16: SFT, DPO, KTO; experimental ORPO, CPO"),
    "loss": Knob(
        "Loss",
        "What DPO makes small. Each has a beta of its own that is sane: 0.1 of one is nothing like 0.1 of another.",
        f"{_TRL}, loss_type",
    ),
    "adapter": Knob(
        "What is trained",
        "An adapter is a small addition that the training changes while the model stays as it is.",
        "Hu et al. 2021, arXiv 2106.09685; PEFT 0.21",
    ),
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
    "label_smoothing": Knob(
        "Share of wrong picks",
        "How many of the picks somebody else would have made the other way round; the robust loss reckons with them. "
        "No other loss reads it.",
        "Chowdhury et al. 2024, arXiv 2403.00409",
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
    "sft_epochs": Knob(
        "Supervised stage first, epochs",
        "Learns to write the better replies before it learns to prefer them: for what the model hardly ever does by "
        "itself, such as greeting by name, which preferences alone did not bring. 0 leaves it out.",
        f"Rafailov et al. 2023, arXiv 2305.18290, section 4; {_OURS}",
    ),
    "reference": Knob(
        "Held to",
        "The model that this one is compared with at every step: it may move only so far from it as beta lets it.",
        "Rafailov et al. 2023, arXiv 2305.18290, section 4",
    ),
    "lora_rank": Knob(
        "LoRA rank",
        "Size of the adapter on every linear layer. 16 is 4.9 million parameters on a 135M model, 20 MB.",
        f"16: {_HANDBOOK}",
    ),
    "lora_alpha": Knob(
        "LoRA alpha",
        "The adapter counts alpha / rank times (rsLoRA: alpha / root of rank): 32 with rank 16 doubles it.",
        f"32: {_OURS}; 16: {_HANDBOOK}",
    ),
    "max_length": Knob(
        "Longest row, tokens",
        "Prompt plus reply. Longer rows are refused, never cut: a cut reply teaches to stop in mid-sentence.",
        f"1024: {_TRL}",
    ),
    "max_steps": Knob("At most so many steps", "Stops early, to try things out. Empty: the epochs decide.", _TRL),
    "evaluations": Knob(
        "Looks at the validation rows",
        "How often the rows set aside are scored and three sample replies written. Each costs time; none shows only "
        "what the model learned by heart.",
        f"{_OURS}: the numbers of training looked perfect while the replies had shrunk to three words",
    ),
    "stop_early": Knob(
        "Stop when it goes wrong",
        "Ends the training when it overfits or over-optimises, and keeps the best model so far. Off: it only warns.",
        f"{_OURS}: two epochs at twice the learning rate won 35 of 40 by the rule, and wrote “Sorry about that.”",
    ),
    "launcher": Knob("Where it runs", "One process is right until the model does not fit one GPU.", "Accelerate; Ray"),
    "processes": Knob("Processes", "How many share the work, one for each GPU.", "Accelerate"),
    "seed": Knob(
        "Seed",
        "For the adapter's first values and the order of pairs: the same seed on the same machine, the same model.",
        _TRL,
    ),
}


def knobs_of(
    *,
    method: Method,
    loss: Loss,
    adapter: Adapter | None,
    launcher: Launcher,
    sft_epochs: float,
    tuned: bool = False,
) -> tuple[str, ...]:
    """The knobs that such a recipe reads, by name, in the order of `KNOBS`: the others change nothing.

    ``tuned`` says that the model to start from was itself made from another, which then is a reference to choose.
    """
    unread = {
        "loss": method not in HAS_LOSSES,
        "beta": method is Method.SFT,
        "sft_weight": method not in HAS_ANCHOR,
        "label_smoothing": method not in HAS_LOSSES or loss is not Loss.ROBUST,
        "sft_epochs": method not in HAS_REFERENCE,
        "reference": method not in HAS_REFERENCE or not (sft_epochs or tuned),
        "lora_rank": adapter is None,
        "lora_alpha": adapter is None,
        "processes": launcher is Launcher.LOCAL,
    }
    return tuple(name for name in KNOBS if not unread.get(name))


def start_training(
    s: Session,
    *,
    by: int,
    project_id: int,
    snapshot_id: int,
    base_model_id: int,
    recipe: RecipeValues,
    model_name: str,
    share: float = 1.0,
    curve_id: int | None = None,
) -> TrainingRun:
    """Ask for a training: a QUEUED run that a worker takes up; managers only.

    Args:
        share: of the Snapshot's training rows, in (0, 1].
        curve_id: the LearningCurve that it is a point of; such a run makes no model, so its name may be taken.

    Raises `AlreadyThere` for a taken name, `NotFound`, and `Refused` for a snapshot with nothing to train on or a
    recipe that cannot work.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    stored = stored_recipe(
        s, project_id=project_id, snapshot_id=snapshot_id, base_model_id=base_model_id, recipe=recipe
    )
    if not 0 < share <= 1:
        raise Refused(f"A share of {share:g} of the rows cannot be trained on. Give one over 0 and up to 1.")
    name = " ".join(model_name.split())
    if not name:
        raise Refused("The new model needs a name. Type one.")
    taken = model_name_is_taken(s, project_id=project_id, name=name) or _is_being_trained(s, name)
    if curve_id is None and taken:
        raise AlreadyThere(f"There is a model, responder or training called “{name}” already. Choose another name.")
    run = TrainingRun(
        project_id=project_id,
        snapshot_id=snapshot_id,
        recipe_id=stored.id,
        base_model_id=base_model_id,
        model_name=name,
        requested_by_id=by,
        share=share,
        curve_id=curve_id,
    )
    s.add(run)
    s.flush()
    return run


def stored_recipe(s: Session, *, project_id: int, snapshot_id: int, base_model_id: int, recipe: RecipeValues) -> Recipe:
    """The recipe as a row, after every check that it can work on that snapshot from that model.

    Raises `NotFound` and `Refused` with sentences.
    """
    check_recipe(recipe)
    snapshot = s.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound(f"There is no snapshot {snapshot_id} in this project. Freeze the preferences first.")
    base = s.get(ModelVersion, base_model_id)
    if base is None:
        raise NotFound(f"There is no model {base_model_id}. Choose one from the list.")
    refuse_retired(base)
    tracker_names()  # a logger that is not installed is told at once
    if recipe.reference is Reference.BASE and not recipe.sft_epochs and base.parent_id is None:
        raise Refused(
            f"{base.name} is a base model itself, so there is no earlier one to hold it to. Hold it to the model that "
            "the training starts from."
        )
    _check_rows(s, snapshot_id=snapshot_id, recipe=recipe)
    _check_memory(recipe, base)
    # what no trainer reads with this method must not look as if it had counted
    used = recipe if recipe.method in HAS_ANCHOR else replace(recipe, sft_weight=0.0)
    # a plain None would be given the column's default, LoRA
    stored = Recipe(**asdict(used) | {"adapter": used.adapter or null()})
    s.add(stored)
    s.flush()
    return stored


def model_name_is_taken(s: Session, *, project_id: int, name: str) -> bool:
    """Whether a model, or a responder of the project, has the name."""
    of_model = exists().where(ModelVersion.name == name)
    of_responder = exists().where(Responder.project_id == project_id, Responder.name == name)
    return bool(s.scalar(select(or_(of_model, of_responder))))


def _is_being_trained(s: Session, name: str) -> bool:
    under_way = [status for status in RunStatus if not status.ended]
    of_that_name = (TrainingRun.model_name == name, TrainingRun.status.in_(under_way), TrainingRun.curve_id.is_(None))
    return bool(s.scalar(select(exists().where(*of_that_name))))


def command(run: TrainingRun) -> str:
    """What the button runs, to type in a shell; the run's folder must be there, so not before its first attempt."""
    return f"python -m training.launch {shlex.quote(str(settings().runs_dir / f'training-{run.id}'))}"


def _check_rows(s: Session, *, snapshot_id: int, recipe: RecipeValues) -> None:
    pairs = exists().where(Preference.snapshot_id == snapshot_id, Preference.split == Split.TRAIN)
    thumbs = exists().where(Thumb.snapshot_id == snapshot_id, Thumb.split == Split.TRAIN)
    if s.scalar(select(pairs)):
        return
    if recipe.method is Method.KTO and s.scalar(select(thumbs)):
        if recipe.sft_epochs:
            raise Refused(
                "The supervised stage learns from pairs, and this snapshot has single replies only. Set its epochs to "
                "0."
            )
        return
    if s.scalar(select(thumbs)):
        raise Refused(
            "This snapshot has single good and bad replies and no pair to train on. KTO learns from those; for this "
            "method rank more comparisons and freeze again."
        )
    raise Refused("This snapshot has no rows to train on. Rank more comparisons and freeze again.")


def _check_memory(recipe: RecipeValues, base: ModelVersion) -> None:
    """Full training on a CPU that cannot hold it is refused; what a GPU holds is not known here."""
    parameters = parameters_of(location=base.location, name=base.name)
    if recipe.adapter is not None or recipe.launcher is not Launcher.LOCAL or parameters is None or has_gpu():
        return
    needed, there = full_memory_mb(parameters), psutil.virtual_memory().total / 2**20
    if needed > there:
        raise Refused(
            f"To train every weight of {base.name} takes about {needed / 1024:.0f} GB of memory, and this machine has "
            f"{there / 1024:.0f} GB. Train a LoRA adapter instead, or start from a smaller model."
        )


POSITIVE = ("learning_rate", "beta", "epochs", "batch_size", "lora_rank", "lora_alpha", "max_length", "max_steps")


def check_recipe(recipe: RecipeValues) -> None:
    """Every number by itself, then every combination that cannot work. Raises `Refused` with a sentence."""
    for name, knob in KNOBS.items():
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        least = "more than 0" if name in POSITIVE else "0 or more"
        if not math.isfinite(value) or value < 0 or (value == 0 and name in POSITIVE):
            raise Refused(f"{knob.label} cannot be {value:g}. Give a number that is {least}.")
    if not recipe.name.strip():
        raise Refused("The recipe needs a name. Type one.")
    _check_method(recipe)
    _check_machine(recipe)


def _check_method(recipe: RecipeValues) -> None:
    method = recipe.method.value.replace("SIMPO", "SimPO")
    if recipe.method not in HAS_LOSSES and recipe.loss is not Loss.SIGMOID:
        raise Refused(f"{method} has a loss of its own, so {recipe.loss.value.lower()} cannot be chosen. Take DPO.")
    if recipe.label_smoothing >= 0.5:
        raise Refused(
            f"A share of wrong picks of {recipe.label_smoothing:g} would say that picks mean nothing. Give one below "
            "0.5; where people agree no more often than that, sharpen the guideline first."
        )
    if recipe.label_smoothing and recipe.loss is not Loss.ROBUST:
        raise Refused(
            f"Only the robust loss reads a share of wrong picks; {recipe.loss.value.lower()} would ignore it. Choose "
            "the robust loss, or set it to 0."
        )
    if recipe.sft_epochs and recipe.method not in HAS_REFERENCE:
        raise Refused(
            f"{method} has its supervised part in itself, so it takes no supervised stage before. Set its epochs to 0, "
            "or train with SFT first and start from that model."
        )
    if recipe.method is Method.KTO and recipe.batch_size < 2:
        raise Refused("KTO compares each reply with the others of its step, so it needs 2 per step or more.")


def _check_machine(recipe: RecipeValues) -> None:
    if recipe.adapter is Adapter.QLORA and importlib.util.find_spec("bitsandbytes") is None:
        raise Refused("QLoRA needs the package bitsandbytes, which is not installed. Run make setup, or choose LoRA.")
    if recipe.processes < 1:
        raise Refused("A training takes one process at least. Give 1 or more.")
    if recipe.processes > 1 and recipe.launcher is Launcher.LOCAL:
        raise Refused(
            f"{recipe.processes} processes need accelerate or Ray to share the work. Choose one of them, or 1 process."
        )
    if recipe.launcher is Launcher.RAY and not settings().ray_address:
        raise Refused(
            "No Ray cluster is known. Set PICKWELL_RAY_ADDRESS to its Jobs API, as http://127.0.0.1:8265, and start "
            "Pickwell again; or let it run here."
        )
