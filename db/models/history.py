"""The audit trail: every change to feedback and settings, with old and new values. Its rows never change."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, now, refuse_change


class AuditRecord(Base):
    """An audit record: one row that was added, changed or deleted, by whom and when. The database refuses to alter it.

    It names the project, comparison and response without foreign keys, so that it can outlive them.
    """

    __tablename__ = "audit_record"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int | None] = mapped_column(index=True)
    comparison_id: Mapped[int | None] = mapped_column(index=True)
    """The Comparison that the changed row belongs to; None where it belongs to none."""
    response_id: Mapped[int | None] = mapped_column(index=True)
    """The Response that the changed row belongs to; None where it belongs to none."""
    reviewer_id: Mapped[int | None] = mapped_column(ForeignKey("reviewer.id"))
    """Who made the change; None where the program did (setting up, migrating)."""
    table: Mapped[str]
    row: Mapped[str]
    """The changed row's primary key; several parts are joined by commas."""
    before: Mapped[dict[str, Any] | None]
    """Old values of the columns that changed; None where the row is new."""
    after: Mapped[dict[str, Any] | None]
    """New values; None where the row was deleted."""
    created_at: Mapped[datetime] = mapped_column(default=now)


for verb in ("UPDATE", "DELETE"):
    refuse_change(
        AuditRecord.__table__,
        f"audit_record_no_{verb.lower()}",
        on=verb,
        sentence="The audit trail is only ever added to.",
    )
