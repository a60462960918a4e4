"""The start of a TrainingRun, after every check that its recipe can work on that snapshot, from that model, here."""

from dataclasses import replace
from importlib.util import find_spec

import psutil
from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from db.lookup import refuse_retired
from db.models import Method, ModelVersion, Preference, Responder, Role, RunStatus, Snapshot, Split, Thumb, TrainingRun
from db.people import require_role
from errors import AlreadyThere, BadSetting, NotFound, Refused, missing_package
from settings import Tracker, settings
from training.recipe.estimate import count_parameters, full_memory_mb, has_gpu
from training.recipe.recipe import WITH_ANCHOR, RecipeValues, Reference, check_recipe, to_row


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
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    check_recipe(recipe)
    snapshot, base = s.get(Snapshot, snapshot_id), s.get(ModelVersion, base_model_id)
    if snapshot is None or snapshot.project_id != project_id:
        raise NotFound(f"There is no snapshot {snapshot_id} in this project. Freeze the preferences first.")
    if base is None:
        raise NotFound(f"There is no model {base_model_id}. Choose one from the list.")
    refuse_retired(base)
    _check_tracker(settings().tracker)
    if recipe.reference is Reference.BASE and not recipe.sft_epochs and base.parent_id is None:
        raise Refused(
            f"{base.name} is a base model itself, so there is no earlier one to hold it to. Hold it to the model that "
            "the training starts from."
        )
    _check_rows(s, snapshot_id=snapshot_id, recipe=recipe)
    _check_memory(recipe, base)
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
        # what no trainer reads with this method must not look as if it had counted
        recipe=to_row(recipe if recipe.method in WITH_ANCHOR else replace(recipe, rpo_alpha=0.0)),
        base_model_id=base_model_id,
        model_name=name,
        requested_by_id=by,
        share=share,
        curve_id=curve_id,
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
    of_that_name = (TrainingRun.model_name == name, TrainingRun.status.in_(under_way), TrainingRun.curve_id.is_(None))
    return s.scalar(select(TrainingRun.id).where(*of_that_name).limit(1)) is not None


def _check_tracker(tracker: Tracker) -> None:
    if tracker is not Tracker.none and find_spec(tracker.value) is None:
        # all of mlflow asks for an older pandas than ours, and what logs is in the small package
        packages = ["mlflow-skinny", "importlib_metadata<9"] if tracker is Tracker.mlflow else [tracker.value]
        raise BadSetting(missing_package(f"PICKWELL_TRACKER={tracker.value}", *packages) + " Or unset it.")


def _check_rows(s: Session, *, snapshot_id: int, recipe: RecipeValues) -> None:
    if s.scalar(select(exists().where(Preference.snapshot_id == snapshot_id, Preference.split == Split.TRAIN))):
        return
    if not s.scalar(select(exists().where(Thumb.snapshot_id == snapshot_id, Thumb.split == Split.TRAIN))):
        raise Refused("This snapshot has no rows to train on. Rank more comparisons and freeze again.")
    if recipe.method is not Method.KTO:
        raise Refused(
            "This snapshot has single good and bad replies and no pair to train on. KTO learns from those; for this "
            "method rank more comparisons and freeze again."
        )
    if recipe.sft_epochs:
        singles = "The supervised stage learns from pairs, and this snapshot has single replies only."
        raise Refused(f"{singles} Set its epochs to 0.")


def _check_memory(recipe: RecipeValues, base: ModelVersion) -> None:
    """Full training on a CPU that cannot hold it is refused; what a GPU or a cluster holds is not known here."""
    parameters = count_parameters(location=base.location, name=base.name)
    elsewhere = recipe.processes > 1 or settings().ray_address or has_gpu()
    if recipe.adapter is not None or elsewhere or parameters is None:
        return
    needed, total = full_memory_mb(parameters), psutil.virtual_memory().total / 2**20
    if needed > total:
        raise Refused(
            f"To train every weight of {base.name} takes about {needed / 1024:.0f} GB of memory, and this machine has "
            f"{total / 1024:.0f} GB. Train a LoRA adapter instead, or start from a smaller model."
        )
