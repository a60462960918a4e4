"""Prompts, whoever answers them, and the Responses."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.runs import Run


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
    kind: Mapped[ResponderKind] = mapped_column(enum(ResponderKind))
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
    scope: Mapped[Scope] = mapped_column(enum(Scope))
    samples: Mapped[int] = mapped_column(default=2)
    """Responses for each training prompt; held-out prompts get one."""
    prompt_limit: Mapped[int | None]
    """At most so many training prompts, in import order; none means all."""
    seed: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(default=0)
    """Tokens generated so far."""
    failed: Mapped[int] = mapped_column(default=0)
    """Prompts given up after repeated failures."""
    problem: Mapped[str | None]
    """Why the last of them was given up, as a sentence."""
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
