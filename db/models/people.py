"""Projects, their Reviewers and Roles, and the Guidelines that Reviewers follow."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, enum, now


class Role(StrEnum):
    """What a person may do in a project."""

    MANAGER = "MANAGER"
    """Imports, ranks, trains, sets up evaluations, reads results."""
    ANNOTATOR = "ANNOTATOR"
    """Ranks and corrects."""
    REVIEWER = "REVIEWER"
    """Judges blind."""


class QueueOrder(StrEnum):
    """The order in which a Project's queue gives comparisons to reviewers."""

    RANDOM = "RANDOM"
    UNCERTAIN = "UNCERTAIN"
    """Least certain outcomes first, with one comparison in five drawn at random as a control."""


class Project(Base):
    """One scoped task, such as answering a publisher's customer email."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("name"), CheckConstraint("trim(name) <> ''", name="named"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    task: Mapped[str] = mapped_column(default="")
    """One sentence on what is answered, and for whom."""
    instructions: Mapped[str] = mapped_column(default="")
    """The system prompt that new model Responders start from."""
    people_wanted: Mapped[int | None]
    """Number of people to rank each comparison of the overlap share; one ranks each of the rest. None for no limit."""
    overlap_share: Mapped[float] = mapped_column(default=1.0)
    """Share of comparisons that `people_wanted` people rank, in (0, 1]."""
    queue_order: Mapped[QueueOrder] = mapped_column(enum(QueueOrder), default=QueueOrder.RANDOM)
    repeat_share: Mapped[float] = mapped_column(default=0.0)
    """Share of the pairs given to a reviewer that they ranked before, sides swapped; in [0, 0.2]."""
    authors_rank: Mapped[bool] = mapped_column(default=False)
    """Whether people may rank comparisons that hold a reply of their own; never so in blind judging."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Guideline(Base):
    """One version of the rules that a Project's reviewers follow; the newest is in force, and none ever changes."""

    __tablename__ = "guideline"
    __table_args__ = (UniqueConstraint("project_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    version: Mapped[int]
    """Counted from 1 in each project."""
    text: Mapped[str]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """None where it is older than the record of versions."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Reviewer(Base):
    """A person who gives feedback, or a simulated reviewer: a written rule in place of a person."""

    __tablename__ = "reviewer"
    __table_args__ = (UniqueConstraint("name"), CheckConstraint("trim(name) <> ''", name="named"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    simulated: Mapped[bool] = mapped_column(default=False)
    """Whether a rule ranks and judges instead of a person; shown wherever this reviewer's feedback is shown."""
    rule: Mapped[str | None]
    """The written rule of a simulated reviewer."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def label(self) -> str:
        """The name as screens, tables and files show it."""
        return f"{self.name} (simulated)" if self.simulated else self.name


class Membership(Base):
    """A Reviewer's Role in a Project; a Reviewer may hold several."""

    __tablename__ = "membership"
    __table_args__ = (UniqueConstraint("project_id", "reviewer_id", "role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    role: Mapped[Role] = mapped_column(enum(Role))
    created_at: Mapped[datetime] = mapped_column(default=now)
