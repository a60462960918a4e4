"""Prompts, where they came from, and which of them no model should answer."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, now


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


class RoutingRule(Base):
    """Which prompts people answer and no model does: a pattern in the text, or a classifier's answer."""

    __tablename__ = "routing_rule"
    __table_args__ = (CheckConstraint("(pattern IS NULL) <> (classifier_id IS NULL)", name="one_kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    reason: Mapped[str]
    """Why people answer these, in a few words."""
    pattern: Mapped[str | None]
    """Regular expression looked for in text and context, whatever the case."""
    classifier_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The Responder whose first answer to a prompt decides."""
    answer: Mapped[str | None]
    """What the classifier says of prompts that people answer."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]


class Prompt(Base):
    """The text to answer; unique by content within a project."""

    __tablename__ = "prompt"
    __table_args__ = (
        UniqueConstraint("project_id", "content_hash"),
        CheckConstraint("trim(text) <> ''", name="not_empty"),
        CheckConstraint("NOT (synthetic AND held_out)", name="synthetic_trains_only"),
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
    """Further columns of the file; a Responder's template may name them."""
    content_hash: Mapped[str]
    held_out: Mapped[bool]
    """Fixed at import: only for evaluation, never for training."""
    cluster: Mapped[str]
    """Prompts with the same mark are near-duplicates and stay on one side of any split."""
    synthetic: Mapped[bool] = mapped_column(default=False)
    """Made up by a rule or a model, never written by a customer; such a prompt is never held out."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("prompt.id"))
    """The prompt that a synthetic one was made from."""
    made_by_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The Responder that made a synthetic one up; none where a written rule did."""
    routing_rule_id: Mapped[int | None] = mapped_column(ForeignKey("routing_rule.id"))
    """The rule by which people answer it and no model does; none where models may."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt_set: Mapped[PromptSet] = relationship()
