"""People's feedback on Responses: Rankings with their reasons, and Corrections with their drafts."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.comparisons import Comparison, SamplingReason
from db.models.people import Reviewer
from db.models.responses import Response


class Ranking(Base):
    """One Reviewer's ordering of a Comparison; the Placements hold the order.

    An undone ranking keeps its row; only one ranking by a reviewer stands at any moment.
    """

    __tablename__ = "ranking"
    __table_args__ = (
        CheckConstraint("strength IN (1, 2)", name="strength"),
        Index(
            "uq_ranking_standing",
            "comparison_id",
            "reviewer_id",
            "adjudicates",
            unique=True,
            sqlite_where=text("undone_at IS NULL AND sampling_reason <> 'REPEAT'"),
            postgresql_where=text("undone_at IS NULL AND sampling_reason <> 'REPEAT'"),
        ),
        Index(
            "uq_ranking_repeat",
            "comparison_id",
            "reviewer_id",
            unique=True,
            sqlite_where=text("undone_at IS NULL AND sampling_reason = 'REPEAT'"),
            postgresql_where=text("undone_at IS NULL AND sampling_reason = 'REPEAT'"),
        ),
        Index("ix_ranking_standing_of", "reviewer_id", "undone_at", "adjudicates", "sampling_reason", "comparison_id"),
        Index(
            "uq_ranking_adjudication",
            "comparison_id",
            unique=True,
            sqlite_where=text("undone_at IS NULL AND adjudicates"),
            postgresql_where=text("undone_at IS NULL AND adjudicates"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), index=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), index=True)
    strength: Mapped[int | None]
    """1 for better, 2 for much better, of pairs ranked here; None for ties, several responses and imported picks."""
    guideline_id: Mapped[int | None] = mapped_column(ForeignKey("guideline.id"))
    """The guideline version in force at the time; None where the project had no guideline yet."""
    adjudicates: Mapped[bool] = mapped_column(default=False)
    """Whether it is a manager's decision between others' rankings, not the manager's own; those rankings stay."""
    sampling_reason: Mapped[SamplingReason] = mapped_column(enum(SamplingReason), default=SamplingReason.NONE)
    both_bad: Mapped[bool] = mapped_column(default=False)
    """Whether none of the responses could be sent; then all share place 1."""
    reason: Mapped[str | None]
    seconds: Mapped[float | None]
    """From the pair's appearance to the choice."""
    prompt_set_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_set.id"))
    """The import that it came with; None where it was given in the app."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]

    comparison: Mapped[Comparison] = relationship()
    reviewer: Mapped[Reviewer] = relationship()
    placements: Mapped[list["Placement"]] = relationship(order_by="Placement.place", cascade="all, delete-orphan")


class Placement(Base):
    """Where one Response stands in a Ranking; equal places are a tie."""

    __tablename__ = "placement"
    __table_args__ = (UniqueConstraint("ranking_id", "position"), CheckConstraint("place >= 1", name="place"))

    ranking_id: Mapped[int] = mapped_column(ForeignKey("ranking.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True)
    place: Mapped[int]
    """1 is best."""
    position: Mapped[int]
    """Position on the screen, counted from 0 at the left."""

    response: Mapped[Response] = relationship()


class RankingReason(Base):
    """A short reason that a Reviewer adds to a Ranking after the choice."""

    __tablename__ = "ranking_reason"

    ranking_id: Mapped[int] = mapped_column(ForeignKey("ranking.id"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    praise: Mapped[bool]
    """Whether it praises the better response; else it names a fault of the other."""


class Criterion(Base):
    """One aspect by which a Project's reviewers compare (correct, complete, tone)."""

    __tablename__ = "criterion"
    __table_args__ = (UniqueConstraint("project_id", "name"), CheckConstraint("trim(name) <> ''", name="named"))

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    position: Mapped[int]
    """Position in the list, from 0."""
    retired_at: Mapped[datetime | None]
    """Since when reviewers are no longer asked by it; earlier choices stay."""


class CriterionChoice(Base):
    """The Response of a Ranking's pair that is better by one Criterion."""

    __tablename__ = "criterion_choice"

    ranking_id: Mapped[int] = mapped_column(ForeignKey("ranking.id"), primary_key=True)
    criterion_id: Mapped[int] = mapped_column(ForeignKey("criterion.id"), primary_key=True)
    better_id: Mapped[int | None] = mapped_column(ForeignKey("response.id"))
    """None where both are equal."""


class Correction(Base):
    """A Reviewer's rewritten Response: the reply that should have been sent."""

    __tablename__ = "correction"
    __table_args__ = (CheckConstraint("trim(text) <> ''", name="not_empty"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), index=True)
    """The reply that the chain of corrections began with."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("correction.id"), index=True)
    """The earlier Correction that this one corrects; None where it corrects the reply itself."""
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    text: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]

    response: Mapped[Response] = relationship()
    reviewer: Mapped[Reviewer] = relationship()


class Draft(Base):
    """A text that a Reviewer has typed and not yet saved: a correction of a Response, or a new reply to a Prompt."""

    __tablename__ = "draft"
    __table_args__ = tuple(
        Index(f"uq_draft_{name}", *columns, unique=True, sqlite_where=text(where), postgresql_where=text(where))
        for name, columns, where in (
            ("reply", ("reviewer_id", "prompt_id"), "response_id IS NULL"),
            ("correction", ("reviewer_id", "response_id"), "response_id IS NOT NULL AND parent_id IS NULL"),
            ("further", ("reviewer_id", "parent_id"), "parent_id IS NOT NULL"),
        )
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    response_id: Mapped[int | None] = mapped_column(ForeignKey("response.id"))
    """The reply being corrected; None for a new reply."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("correction.id"))
    """The earlier Correction being corrected further."""
    text: Mapped[str]
    saved_at: Mapped[datetime] = mapped_column(default=now)
