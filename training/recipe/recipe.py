"""Recipes: where to start from, what cannot work, and the start of a TrainingRun. Each knob is in `knobs`."""

import importlib.util
import math
import shlex
from dataclasses import asdict, replace

import psutil
from sqlalchemy import exists, null, or_, select
from sqlalchemy.orm import Session

from db.lookup import refuse_retired
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
from training.recipe.estimate import full_memory_mb, has_gpu, parameters_of
from training.recipe.knobs import HAS_ANCHOR, HAS_LOSSES, HAS_REFERENCE, KNOBS
from training.trainer.run_folder import RecipeValues
from training.trainer.trackers import names as tracker_names

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
    return s.scalar(select(TrainingRun.id).where(*of_that_name).limit(1)) is not None


def command(run: TrainingRun) -> str:
    """What the button runs, to type in a shell; the run's folder must be there, so not before its first attempt."""
    folder = settings().runs_dir / f"training-{run.id}"
    several = f"accelerate.commands.launch --config_file {shlex.quote(str(folder / 'accelerate.json'))} -m "
    return f"python -m {several * (run.recipe.processes > 1)}training.trainer.train {shlex.quote(str(folder))}"


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
