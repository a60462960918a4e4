"""From feedback to a model: Snapshots, Recipes, TrainingRuns."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.responders import ModelVersion, Responder
from db.models.runs import Run


class Snapshot(Base):
    """Immutable preferences made from feedback at one moment; what a TrainingRun points to."""

    __tablename__ = "snapshot"
    __table_args__ = (UniqueConstraint("project_id", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    instructions: Mapped[str]
    """The system prompt of its rows, before its fields are filled in."""
    system_hash: Mapped[str | None]
    """Hash of that system prompt."""
    prompt_of_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The Responder whose prompt its rows have; none for the Project's instructions."""
    folder: Mapped[str]
    """Folder with the rows and, written last, the manifest."""
    sha256: Mapped[str]
    """Hash of the rows: the same feedback always gives the same."""
    row_count: Mapped[int]
    simulated_count: Mapped[int]
    """Rows that rest on a simulated reviewer's word."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    preferences: Mapped[list["Preference"]] = relationship(order_by="Preference.row")
    prompt_of: Mapped[Responder | None] = relationship()
    left_out: Mapped[list["SnapshotLeftOut"]] = relationship(order_by="SnapshotLeftOut.reason")


class SnapshotLeftOut(Base):
    """How many rankings or corrections did not make it into a Snapshot, for one reason."""

    __tablename__ = "snapshot_left_out"

    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class Split(StrEnum):
    """What a Preference is used for within a Snapshot."""

    TRAIN = "TRAIN"
    VALIDATION = "VALIDATION"


class Preference(Base):
    """One prompt/chosen/rejected row of a Snapshot, and whose word it rests on."""

    __tablename__ = "preference"
    __table_args__ = (
        UniqueConstraint("snapshot_id", "row"),
        CheckConstraint("(ranking_id IS NULL) <> (correction_id IS NULL)", name="one_source"),
        CheckConstraint("(chosen_id IS NULL) = (correction_id IS NOT NULL)", name="correction_is_chosen"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"))
    row: Mapped[int]
    split: Mapped[Split] = mapped_column(enum(Split))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    chosen_id: Mapped[int | None] = mapped_column(ForeignKey("response.id"))
    """None where the chosen text is the Correction's."""
    rejected_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    ranking_id: Mapped[int | None] = mapped_column(ForeignKey("ranking.id"), index=True)
    correction_id: Mapped[int | None] = mapped_column(ForeignKey("correction.id"), index=True)


class Method(StrEnum):
    """How a model learns from a Snapshot."""

    DPO = "DPO"
    """Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290)."""


class Recipe(Base):
    """The method and its few knobs, stored exactly as used."""

    __tablename__ = "recipe"
    __table_args__ = (
        CheckConstraint("learning_rate > 0", name="learning_rate"),
        CheckConstraint("beta > 0", name="beta"),
        CheckConstraint("epochs > 0", name="epochs"),
        CheckConstraint("sft_weight >= 0", name="sft_weight"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    method: Mapped[Method] = mapped_column(enum(Method), default=Method.DPO)
    learning_rate: Mapped[float] = mapped_column(default=1e-4)
    beta: Mapped[float] = mapped_column(default=0.1)
    """How strongly DPO holds on to the base model."""
    sft_weight: Mapped[float] = mapped_column(default=0.5)
    """Weight of the supervised loss on the chosen reply, beside the sigmoid loss; 0 leaves it out."""
    epochs: Mapped[float] = mapped_column(default=1.0)
    batch_size: Mapped[int] = mapped_column(default=4)
    """Pairs for each optimizer step."""
    warmup_steps: Mapped[int] = mapped_column(default=3)
    lora_rank: Mapped[int] = mapped_column(default=16)
    lora_alpha: Mapped[int] = mapped_column(default=32)
    max_length: Mapped[int] = mapped_column(default=1024)
    """Longest prompt plus reply in tokens; a training with longer rows is refused before its first step, never cut."""
    max_steps: Mapped[int | None]
    """Stop after so many optimizer steps; none means the epochs decide."""
    seed: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)


class TrainingRun(Run, Base):
    """One training of a base model on a Snapshot by a Recipe."""

    __tablename__ = "training_run"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"), index=True)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipe.id"))
    base_model_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    model_name: Mapped[str]
    """Name of the ModelVersion and Responder that it will become."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"), unique=True)
    """What it became."""
    versions: Mapped[dict[str, Any] | None]
    """Library versions at the start."""
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))

    snapshot: Mapped[Snapshot] = relationship()
    recipe: Mapped[Recipe] = relationship()
    base_model: Mapped[ModelVersion] = relationship(foreign_keys=[base_model_id])
    model_version: Mapped[ModelVersion | None] = relationship(foreign_keys=[model_version_id])


class TrainingStep(Base):
    """What the trainer reported at one optimizer step; the names are TRL's."""

    __tablename__ = "training_step"

    training_run_id: Mapped[int] = mapped_column(ForeignKey("training_run.id"), primary_key=True)
    split: Mapped[Split] = mapped_column(enum(Split), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    loss: Mapped[float]
    reward_margin: Mapped[float | None]
    """Mean of chosen minus rejected reward."""
    reward_accuracy: Mapped[float | None]
    """Share of pairs whose chosen reward is the higher; ties count as wrong, so it is 0 at step 1."""
    logps_chosen: Mapped[float | None]
    logps_rejected: Mapped[float | None]
    learning_rate: Mapped[float | None]
    seconds: Mapped[float | None]
    """Since the run's process started."""
