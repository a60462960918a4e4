"""Comparisons that reviewers order, and their flags, leases and reveals."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.prompts import Prompt
from db.models.responses import Response


class ComparisonState(StrEnum):
    """Whether a Comparison is still offered; kept by `db.comparisons.recount`."""

    OPEN = "OPEN"
    """Offered: more people's rankings are wanted."""
    FULL = "FULL"
    """No longer offered: as many people have ranked it as its project wants."""
    NOT_OFFERED = "NOT_OFFERED"
    """Never offered: discarded, its responses nearly the same, or too many for a screen."""


class SamplingReason(StrEnum):
    """How a Comparison came to the Reviewer who ranked it."""

    RANDOM = "RANDOM"
    """In the queue's random order."""
    UNCERTAIN = "UNCERTAIN"
    """Offered early because its outcome was least certain."""
    GOLD = "GOLD"
    """A pair whose right answer is known, mixed among the others."""
    REPEAT = "REPEAT"
    """A pair that the reviewer ranked before, sides swapped: it measures consistency and counts for nothing else."""
    NONE = "NONE"
    """Not drawn: the ranking came with a file, or is a manager's decision."""


def random_order_of(key: str) -> int:
    """A place in a random order, 31 bits, computed from the key: the same in every run and on every database."""
    return int.from_bytes(hashlib.sha256(f"draw:{key}".encode()).digest()[:4]) >> 1


def _default_random_order(context: Any) -> int:
    return random_order_of(context.get_current_parameters()["key"])


class Comparison(Base):
    """One Prompt with two or more Responses, offered to reviewers to order."""

    __tablename__ = "comparison"
    __table_args__ = (
        UniqueConstraint("project_id", "key"),
        Index("ix_comparison_breadth", "project_id", "state", "people", "random_order"),
        Index("ix_comparison_random_order", "project_id", "state", "random_order"),
        Index("ix_comparison_contested", "project_id", "contested"),
        Index("ix_comparison_gold", "project_id", "gold"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    key: Mapped[str]
    """The response ids in order, so that the same set is never offered twice."""
    random_order: Mapped[int] = mapped_column(default=_default_random_order)
    """Its place in the queue's random order."""
    state: Mapped[ComparisonState] = mapped_column(enum(ComparisonState), default=ComparisonState.OPEN)
    people: Mapped[int] = mapped_column(default=0)
    """Number of people whose own rankings of it stand; kept by `db.comparisons.recount`."""
    contested: Mapped[bool] = mapped_column(default=False)
    """Whether people's rankings of it contradict each other; kept by `db.comparisons.recount`."""
    near_identical: Mapped[bool] = mapped_column(default=False)
    """Its two responses differ too little to choose between, so it is never offered."""
    gold: Mapped[bool] = mapped_column(default=False)
    """A manager's decision on it is known to be right, so it is offered to all reviewers, to measure how many agree."""
    discarded_at: Mapped[datetime | None]
    """Since then it is no longer offered, and its rankings count for nothing."""
    discarded_by_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship()
    responses: Mapped[list[Response]] = relationship(secondary="comparison_response", order_by="Response.id")


class ComparisonResponse(Base):
    """A Response's membership in a Comparison."""

    __tablename__ = "comparison_response"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True, index=True)


class Flag(Base):
    """A Reviewer's note that something is wrong with a Comparison."""

    __tablename__ = "flag"
    __table_args__ = (
        CheckConstraint("trim(note) <> ''", name="not_empty"),
        Index(
            "uq_flag_open",
            "comparison_id",
            "reviewer_id",
            unique=True,
            sqlite_where=text("settled_at IS NULL"),
            postgresql_where=text("settled_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    note: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    settled_at: Mapped[datetime | None]
    settled_by_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))


class Lease(Base):
    """A Comparison that a Reviewer has on the screen, and until when it is reserved for them."""

    __tablename__ = "lease"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), primary_key=True, index=True)
    until: Mapped[datetime]
    sampling_reason: Mapped[SamplingReason] = mapped_column(enum(SamplingReason), default=SamplingReason.RANDOM)


class Reveal(Base):
    """A manager's look at who wrote a Comparison's Responses and how others ranked them.

    Rankings are given without that knowledge, so from then on this manager may not rank it.
    """

    __tablename__ = "reveal"

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
