"""Prompts, the imports that they came from, and the rules by which people answer some of them."""

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
    """A rule that leaves prompts to people instead of models: by a pattern in the text, or by a classifier's answer."""

    __tablename__ = "routing_rule"
    __table_args__ = (CheckConstraint("(pattern IS NULL) <> (classifier_id IS NULL)", name="one_kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    reason: Mapped[str]
    """Why people answer these prompts, in a few words."""
    pattern: Mapped[str | None]
    """Regular expression searched in text and context, whatever the case."""
    classifier_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The Responder whose first answer to a prompt decides."""
    answer: Mapped[str | None]
    """The classifier's answer for prompts that people answer."""
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
    """Its data row in the file, counted from 1."""
    text: Mapped[str]
    context: Mapped[str | None]
    """Facts for the answer (a schema, an order), put above the text."""
    topic: Mapped[str | None]
    extra: Mapped[dict[str, Any] | None]
    """Values of the file's further columns; a Responder's template may name them."""
    content_hash: Mapped[str]
    held_out: Mapped[bool]
    """Fixed at import: only for evaluation, never for training."""
    cluster: Mapped[str]
    """Label of its group of near-duplicates, which stay on one side of any split."""
    synthetic: Mapped[bool] = mapped_column(default=False)
    """Whether a rule or a model made it up, not a customer; a synthetic prompt is never held out."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("prompt.id"))
    """The prompt that a synthetic one was made from."""
    made_by_id: Mapped[int | None] = mapped_column(ForeignKey("responder.id"))
    """The Responder that made up a synthetic prompt; None where a written rule did."""
    routing_rule_id: Mapped[int | None] = mapped_column(ForeignKey("routing_rule.id"))
    """The rule that leaves it to people; None where models may answer it."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt_set: Mapped[PromptSet] = relationship()
