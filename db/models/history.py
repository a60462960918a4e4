"""The audit trail: every change to what people said or set, with the old and the new value. Never changed itself."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, now, refuse


class Change(Base):
    """One row that was added, changed or deleted, by whom and when; the database refuses to alter it.

    What it is about is named without foreign keys: the trail outlives it.
    """

    __tablename__ = "change"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int | None] = mapped_column(index=True)
    comparison_id: Mapped[int | None] = mapped_column(index=True)
    """The Comparison that it is about, where it is about one."""
    response_id: Mapped[int | None] = mapped_column(index=True)
    """The Response that it is about, where it is about one."""
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """Who did it; none where the program did (setting up, migrating)."""
    table: Mapped[str]
    row: Mapped[str]
    """The changed row's primary key; parts joined by commas."""
    before: Mapped[dict[str, Any] | None]
    """Old values of the columns that changed; none where the row is new."""
    after: Mapped[dict[str, Any] | None]
    """New values; none where the row was deleted."""
    created_at: Mapped[datetime] = mapped_column(default=now)


for verb in ("UPDATE", "DELETE"):
    refuse(Change.__table__, f"change_no_{verb.lower()}", on=verb, sentence="The audit trail is only ever added to.")
