"""What leaves: models taken out as files, and pushed to a hub."""

from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import enum
from db.models.responders import ModelVersion
from db.models.runs import Run


class Part(StrEnum):
    """What of a model is taken out."""

    MERGED = "merged"
    """The whole model, as it is served."""
    ADAPTER = "adapter"
    """What the training added, to be loaded beside the base."""


class ExportForm(StrEnum):
    """What an export becomes."""

    FOLDER = "folder"
    ZIP = "zip"


class ExportRun(Run):
    """A ModelVersion taken out, with its card and a manifest."""

    __tablename__ = "export_run"
    __mapper_args__ = {"polymorphic_identity": "export"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    part: Mapped[Part] = mapped_column(enum(Part))
    form: Mapped[ExportForm] = mapped_column(enum(ExportForm))
    place: Mapped[str | None]
    """The folder or archive that it made."""

    model_version: Mapped[ModelVersion] = relationship()


class PushRun(Run):
    """An exported folder put into a repository of a model hub."""

    __tablename__ = "push_run"
    __mapper_args__ = {"polymorphic_identity": "push"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    folder: Mapped[str]
    repository: Mapped[str]
    """As a manager typed it, owner/name."""
    private: Mapped[bool] = mapped_column(default=True)
    address: Mapped[str | None]
    """Where it is now."""
