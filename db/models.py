"""Every table, in the order of the story: who and what, prompts and responses, feedback, training, evaluation.

The words are those of `docs/glossary.md`. Provenance is always a foreign key, so that a win rate can be walked back to
the file that a prompt came from. Times are UTC. Enums are stored by name, which equals their value.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps no zone, so it is stored without and read back with UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: nobody could say later which zone they meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored; use db.models.now().")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value.replace(tzinfo=UTC) if value is not None else None


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Common ground of the tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, str: Text, dict[str, Any]: JSON, list[int]: JSON}


def _enum(kind: type[StrEnum]) -> Enum:
    return Enum(kind, name=kind.__name__.lower(), native_enum=False, create_constraint=True, length=20)


# ---------------------------------------------------------------------------------------------- who and what


class Role(StrEnum):
    """What a person may do in a project."""

    MANAGER = "MANAGER"
    """Imports, ranks, trains, sets up evaluations, reads results."""
    ANNOTATOR = "ANNOTATOR"
    """Ranks and corrects."""
    REVIEWER = "REVIEWER"
    """Judges blind."""


class Project(Base):
    """One scoped task, such as answering a publisher's customer email."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("name"), CheckConstraint("trim(name) <> ''", name="named"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    task: Mapped[str] = mapped_column(default="")
    """One sentence: what is answered, for whom."""
    instructions: Mapped[str] = mapped_column(default="")
    """The system prompt that new model Responders start from."""
    guideline: Mapped[str] = mapped_column(default="")
    """What reviewers go by, as Markdown; shown beside the work."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Reviewer(Base):
    """A person who gives feedback, or a written rule that stands in for one and says so."""

    __tablename__ = "reviewer"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("trim(name) <> ''", name="named"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    simulated: Mapped[bool] = mapped_column(default=False)
    """True where no person ranks or judges; shown wherever this reviewer's word shows."""
    rule: Mapped[str | None]
    """The written rule of a simulated reviewer."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def label(self) -> str:
        """The name as screens, tables and files show it."""
        return f"{self.name} (simulated)" if self.simulated else self.name


class Membership(Base):
    """A Reviewer's Role in a Project; somebody may hold several."""

    __tablename__ = "membership"
    __table_args__ = (UniqueConstraint("project_id", "reviewer_id", "role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    role: Mapped[Role] = mapped_column(_enum(Role))
    created_at: Mapped[datetime] = mapped_column(default=now)


# ------------------------------------------------------------------------------------- prompts and responses


class PromptSet(Base):
    """One import of prompts: the provenance of every prompt in it."""

    __tablename__ = "prompt_set"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    file_name: Mapped[str]
    sha256: Mapped[str]
    """Hash of the file's bytes."""
    row_count: Mapped[int]
    imported_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Prompt(Base):
    """The text to answer; unique by content within a project."""

    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("project_id", "content_hash"),
        CheckConstraint("trim(text) <> ''", name="not_empty"),
        Index("ix_prompt_project_held_out", "project_id", "held_out"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    prompt_set_id: Mapped[int] = mapped_column(ForeignKey("prompt_set.id"), index=True)
    row_number: Mapped[int]
    """Where in the file it stood, counting data rows from 1."""
    text: Mapped[str]
    context: Mapped[str | None]
    """What the answer may rely on (a schema, an order), put above the text."""
    topic: Mapped[str | None]
    extra: Mapped[dict[str, Any] | None]
    """Columns of the file that were kept but mean nothing to the program."""
    content_hash: Mapped[str]
    held_out: Mapped[bool]
    """Fixed at import: only for evaluation, never for training."""
    cluster: Mapped[str]
    """Prompts with the same mark are near-duplicates and stay on one side of any split."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt_set: Mapped[PromptSet] = relationship()


class ModelVersion(Base):
    """A base model, or a base plus what a TrainingRun taught it; the parent is always known."""

    __tablename__ = "model_version"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    location: Mapped[str]
    """Local folder with safetensors, or a hub id."""
    sha256: Mapped[str | None]
    """Hash of the weights; none for a hub id that was never downloaded here."""
    template_hash: Mapped[str | None]
    """Hash of the chat template that it was trained and is served with."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    """The model it was trained from; none for a base model."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    parent: Mapped["ModelVersion | None"] = relationship(remote_side=[id])


class ResponderKind(StrEnum):
    """Who answers."""

    HUMAN = "HUMAN"
    """A person or a team, whose replies were imported or written here."""
    MODEL = "MODEL"
    """A ModelVersion with instructions and sampling settings."""
    REMOTE = "REMOTE"
    """A model behind somebody else's endpoint, with instructions and sampling settings."""


class Responder(Base):
    """Whoever answers; what an Evaluation compares."""

    __tablename__ = "responder"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("(kind = 'MODEL') = (model_version_id IS NOT NULL)", name="model_has_version"),
        CheckConstraint("(kind = 'HUMAN') = (instructions IS NULL)", name="model_has_instructions"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    kind: Mapped[ResponderKind] = mapped_column(_enum(ResponderKind))
    simulated: Mapped[bool] = mapped_column(default=False)
    """A human Responder whose replies were made up (as in the sample project)."""
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """The person behind a human Responder, where they also use the app: nobody judges what they wrote."""
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    instructions: Mapped[str | None]
    """The system prompt, always sent, possibly empty."""
    temperature: Mapped[float] = mapped_column(default=0.9)
    top_p: Mapped[float] = mapped_column(default=0.95)
    max_tokens: Mapped[int] = mapped_column(default=160)
    created_at: Mapped[datetime] = mapped_column(default=now)

    model_version: Mapped[ModelVersion | None] = relationship()

    @property
    def label(self) -> str:
        """The name as screens, tables and files show it."""
        return f"{self.name} (simulated)" if self.simulated else self.name


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """No worker will touch the run again."""
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


class Run:
    """What every run has; a job is only what carries it."""

    status: Mapped[RunStatus] = mapped_column(_enum(RunStatus), default=RunStatus.QUEUED, index=True)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    attempt: Mapped[int] = mapped_column(default=0)
    """How often a worker took it up; every write of a worker names its attempt."""
    worker: Mapped[str | None]
    """Id of the worker that has it."""
    process_group: Mapped[int | None]
    process_started: Mapped[float | None]
    """Start of the group's leader, seconds since the epoch: a pid alone may be somebody else's by now."""
    boot_id: Mapped[str | None]
    """Boot of the machine that the process group belongs to; after another boot it means nothing."""
    beat_at: Mapped[datetime | None]
    """Last sign of life from the worker."""
    stage: Mapped[str] = mapped_column(default="")
    """What it is doing now, for people."""
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    """Why it failed: a sentence, or the tail of the log."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Scope(StrEnum):
    """Which prompts a GenerationRun answers."""

    TRAINING = "TRAINING"
    HELD_OUT = "HELD_OUT"
    ALL = "ALL"


class GenerationRun(Run, Base):
    """One Responder answering the prompts it has not answered yet."""

    __tablename__ = "generation_run"
    __table_args__ = (CheckConstraint("samples BETWEEN 1 AND 8", name="samples"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    scope: Mapped[Scope] = mapped_column(_enum(Scope))
    samples: Mapped[int] = mapped_column(default=2)
    """Responses for each training prompt; held-out prompts get one."""
    prompt_limit: Mapped[int | None]
    """At most so many training prompts, in import order; none means all."""
    seed: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(default=0)
    """Tokens generated so far."""
    failed: Mapped[int] = mapped_column(default=0)
    """Prompts given up after repeated failures."""
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))

    responder: Mapped[Responder] = relationship()


class Response(Base):
    """One Responder's text for one Prompt; never edited afterwards."""

    __tablename__ = "response"
    __table_args__ = (
        UniqueConstraint("prompt_id", "responder_id", "sample"),
        CheckConstraint("generation_run_id IS NULL OR prompt_set_id IS NULL", name="one_origin"),
        Index("ix_response_responder_id", "responder_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    sample: Mapped[int] = mapped_column(default=0)
    """Counts a Responder's responses to the same prompt from 0."""
    text: Mapped[str]
    token_ids: Mapped[list[int] | None]
    """Tokens as sampled: re-encoding the text may give others."""
    prompt_tokens: Mapped[int | None]
    finish_reason: Mapped[str | None]
    """"stop", or "length" where the reply was cut at the token limit; none for people."""
    template_hash: Mapped[str | None]
    seconds: Mapped[float | None]
    generation_run_id: Mapped[int | None] = mapped_column(ForeignKey("generation_run.id"), index=True)
    prompt_set_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_set.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship()
    responder: Mapped[Responder] = relationship()


# ------------------------------------------------------------------------------------------------- feedback


class Comparison(Base):
    """One Prompt with two or more Responses, offered to reviewers to order."""

    __tablename__ = "comparison"
    __table_args__ = (UniqueConstraint("project_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    key: Mapped[str]
    """The response ids in order, so that the same set is never offered twice."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship()
    responses: Mapped[list[Response]] = relationship(secondary="comparison_response", order_by="Response.id")


class ComparisonResponse(Base):
    """A Response's membership in a Comparison."""

    __tablename__ = "comparison_response"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True, index=True)


class Ranking(Base):
    """One Reviewer's ordering of a Comparison; the Placements say what it is.

    Undoing keeps the row and its time; only one ranking by a reviewer stands at any moment.
    """

    __tablename__ = "ranking"
    __table_args__ = (
        Index(
            "uq_ranking_standing",
            "comparison_id",
            "reviewer_id",
            unique=True,
            sqlite_where=text("undone_at IS NULL"),
            postgresql_where=text("undone_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), index=True)
    both_bad: Mapped[bool] = mapped_column(default=False)
    """None of the responses could be sent; then all share place 1."""
    reason: Mapped[str | None]
    seconds: Mapped[float | None]
    """From the pair's appearance to the choice."""
    prompt_set_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_set.id"))
    """The import that it came with, if it was not given here."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]

    comparison: Mapped[Comparison] = relationship()
    reviewer: Mapped[Reviewer] = relationship()
    placements: Mapped[list["Placement"]] = relationship(order_by="Placement.place", cascade="all, delete-orphan")


class Placement(Base):
    """Where one Response stands in a Ranking; equal places are a tie."""

    __tablename__ = "placement"
    __table_args__ = (
        UniqueConstraint("ranking_id", "position"),
        CheckConstraint("place >= 1", name="place"),
    )

    ranking_id: Mapped[int] = mapped_column(ForeignKey("ranking.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True)
    place: Mapped[int]
    """1 is best."""
    position: Mapped[int]
    """Where it stood on the screen: 0 is left."""

    response: Mapped[Response] = relationship()


class Correction(Base):
    """A Reviewer's rewritten Response: what should have been sent."""

    __tablename__ = "correction"
    __table_args__ = (CheckConstraint("trim(text) <> ''", name="not_empty"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), index=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    text: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]

    response: Mapped[Response] = relationship()
    reviewer: Mapped[Reviewer] = relationship()


# ------------------------------------------------------------------------------------------------- training


class Snapshot(Base):
    """Immutable preferences made from feedback at one moment; what a TrainingRun points to."""

    __tablename__ = "snapshot"
    __table_args__ = (UniqueConstraint("project_id", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    instructions: Mapped[str]
    """The system prompt of its rows."""
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
    split: Mapped[Split] = mapped_column(_enum(Split))
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
    method: Mapped[Method] = mapped_column(_enum(Method), default=Method.DPO)
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
    """Longest prompt plus reply in tokens; longer rows are refused at the freeze, never cut."""
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
    split: Mapped[Split] = mapped_column(_enum(Split), primary_key=True)
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


# ------------------------------------------------------------------------------------------------ evaluation


class Evaluation(Base):
    """A blind contest between a candidate and its baselines over held-out prompts, fixed before the first judgment."""

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    candidate_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    seed: Mapped[int]
    """For drawing the order of pairings and the sides."""
    protocol_sha256: Mapped[str]
    """Hash of candidate, baselines, pairings and seed, taken before the first judgment."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
    """Results and names are shown only after this."""

    candidate: Mapped[Responder] = relationship()
    pairings: Mapped[list["Pairing"]] = relationship(order_by="Pairing.id", back_populates="evaluation")


class Pairing(Base):
    """One held-out prompt with the candidate's and one baseline's Response in an Evaluation."""

    __tablename__ = "pairing"
    __table_args__ = (
        UniqueConstraint("evaluation_id", "candidate_response_id", "baseline_response_id"),
        CheckConstraint("candidate_response_id <> baseline_response_id", name="two_responses"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    candidate_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    baseline_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    identical: Mapped[bool] = mapped_column(default=False)
    """Both texts are the same: never shown, counted as a tie."""

    evaluation: Mapped[Evaluation] = relationship(back_populates="pairings")
    prompt: Mapped[Prompt] = relationship()
    candidate_response: Mapped[Response] = relationship(foreign_keys=[candidate_response_id])
    baseline_response: Mapped[Response] = relationship(foreign_keys=[baseline_response_id])
    judgments: Mapped[list["Judgment"]] = relationship(back_populates="pairing")


class Verdict(StrEnum):
    """What a reviewer could know: positions, never who wrote what."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"
    TIE = "TIE"
    """Both good, neither better."""
    BOTH_BAD = "BOTH_BAD"
    """Neither could be sent; counts as a tie and is reported."""


class Judgment(Base):
    """One Reviewer's look at one Pairing, with its own left/right order, drawn before it is shown."""

    __tablename__ = "judgment"
    __table_args__ = (
        UniqueConstraint("pairing_id", "reviewer_id"),
        CheckConstraint("(verdict IS NULL) = (judged_at IS NULL)", name="judged_has_verdict"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pairing_id: Mapped[int] = mapped_column(ForeignKey("pairing.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), index=True)
    candidate_left: Mapped[bool]
    """The drawn side; turned into win or loss in one place only."""
    verdict: Mapped[Verdict | None] = mapped_column(_enum(Verdict))
    drawn_at: Mapped[datetime] = mapped_column(default=now)
    judged_at: Mapped[datetime | None]
    seconds: Mapped[float | None]

    pairing: Mapped[Pairing] = relationship(back_populates="judgments")
    reviewer: Mapped[Reviewer] = relationship()


# ------------------------------------------------------------------------------------------------------ jobs


class Worker(Base):
    """A worker process and its last sign of life."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int]
    host: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(default=now)
    beat_at: Mapped[datetime] = mapped_column(default=now)
