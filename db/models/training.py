"""From feedback to a model: Snapshots, Recipes, TrainingRuns."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, UniqueConstraint
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
    selection: Mapped[dict[str, Any] | None]
    """Which feedback counted, and how it became rows; none for one frozen before there was a choice."""
    thumb_count: Mapped[int] = mapped_column(default=0)
    """Replies that were judged by themselves."""
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


class Thumb(Base):
    """A Response in a Snapshot that is judged by itself, not against another: what KTO learns from beside the pairs."""

    __tablename__ = "thumb"
    __table_args__ = (UniqueConstraint("snapshot_id", "response_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"))
    split: Mapped[Split] = mapped_column(enum(Split))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    label: Mapped[bool]
    """Whether it could be sent."""
    ranking_id: Mapped[int] = mapped_column(ForeignKey("ranking.id"), index=True)


class Method(StrEnum):
    """How a model learns from a Snapshot."""

    SFT = "SFT"
    """Supervised fine-tuning on corrections and picked replies."""
    DPO = "DPO"
    """Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290)."""
    KTO = "KTO"
    """Kahneman-Tversky Optimization: replies judged one by one (Ethayarajh et al. 2024, arXiv 2402.01306)."""
    ORPO = "ORPO"
    """Odds Ratio Preference Optimization, without a reference (Hong et al. 2024, arXiv 2403.07691); experimental."""
    SIMPO = "SIMPO"
    """Simple Preference Optimization, without a reference (Meng et al. 2024, arXiv 2405.14734); experimental."""


class Recipe(Base):
    """The method and its few knobs, stored exactly as used."""

    __tablename__ = "recipe"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    method: Mapped[Method] = mapped_column(enum(Method), default=Method.DPO)
    knobs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The others by name; `training.recipe.recipe.KNOBS` says what they mean."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class LearningCurve(Base):
    """The same training on growing shares of one Snapshot, to tell whether more feedback would help."""

    __tablename__ = "learning_curve"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"))
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    runs: Mapped[list["TrainingRun"]] = relationship(order_by="TrainingRun.share", back_populates="curve")


class TrainingRun(Run):
    """One training of a base model on a Snapshot by a Recipe."""

    __tablename__ = "training_run"
    __mapper_args__ = {"polymorphic_identity": "training"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"), index=True)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipe.id"))
    base_model_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"))
    model_name: Mapped[str]
    """Name of the ModelVersion and Responder that it will become."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"), unique=True)
    """What it became."""
    versions: Mapped[dict[str, Any] | None]
    """Library versions at the start."""
    share: Mapped[float] = mapped_column(Double, default=1.0)
    """Share of the Snapshot's training rows that it learns from."""
    curve_id: Mapped[int | None] = mapped_column(ForeignKey("learning_curve.id"))
    """The LearningCurve that it is a point of; such a run makes no ModelVersion."""
    best_step: Mapped[int | None]
    """The step whose model was kept."""
    stopped: Mapped[str | None]
    """Why it ended before its last step, as a sentence."""
    peak_memory_mb: Mapped[int | None]

    curve: Mapped[LearningCurve | None] = relationship(back_populates="runs")
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
    rewards_chosen: Mapped[float | None] = mapped_column(Double)
    rewards_rejected: Mapped[float | None] = mapped_column(Double)
    grad_norm: Mapped[float | None] = mapped_column(Double)
    tokens_per_second: Mapped[float | None] = mapped_column(Double)
    """Tokens that the model read in the step, both sides, over its seconds."""


class TrainingSample(Base):
    """What the model in training says to one of three fixed validation prompts, at one step."""

    __tablename__ = "training_sample"

    training_run_id: Mapped[int] = mapped_column(ForeignKey("training_run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    """0 is the model before its first step."""
    place: Mapped[int] = mapped_column(primary_key=True)
    """From 1."""
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    reply: Mapped[str]
    tokens: Mapped[int]
    ended: Mapped[bool]
    """It came to its end by itself."""


class TrainingWarning(Base):
    """What a guard found wrong at a step of a TrainingRun, without ending it or as it did."""

    __tablename__ = "training_warning"

    training_run_id: Mapped[int] = mapped_column(ForeignKey("training_run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """Short name of the guard."""
    sentence: Mapped[str]
