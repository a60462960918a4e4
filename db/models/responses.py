"""Responses, and the runs that generate them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.prompts import Prompt
from db.models.responders import Responder
from db.models.runs import Run


class Scope(StrEnum):
    """Which prompts a GenerationRun answers."""

    TRAINING = "TRAINING"
    HELD_OUT = "HELD_OUT"
    ALL = "ALL"


class GenerationRun(Run):
    """A run in which one Responder, or several on one engine, answers the prompts it has not answered yet."""

    __tablename__ = "generation_run"
    __table_args__ = (CheckConstraint("samples BETWEEN 1 AND 8", name="samples"),)
    __mapper_args__ = {"polymorphic_identity": "generation"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    scope: Mapped[Scope] = mapped_column(enum(Scope))
    samples: Mapped[int] = mapped_column(default=2)
    """Responses for each training prompt; held-out prompts get one."""
    prompt_limit: Mapped[int | None]
    """Most training prompts to answer, in import order; None for all."""
    seed: Mapped[int] = mapped_column(default=0)
    trial: Mapped[bool] = mapped_column(default=False)
    """Whether it answers the workbench's requests for Responders on the same model, and waits a while for more."""
    resampled: Mapped[int] = mapped_column(default=0)
    """Number of responses drawn again, because they were nearly the same as their partner in a pair."""
    tokens: Mapped[int] = mapped_column(default=0)
    """Number of tokens generated so far."""
    failed: Mapped[int] = mapped_column(default=0)
    """Number of prompts given up after repeated failures."""
    problem: Mapped[str | None]
    """The last failure, as a sentence."""

    responder: Mapped[Responder] = relationship()
    companions: Mapped[list["Companion"]] = relationship(order_by="Companion.responder_id")


class Companion(Base):
    """A further Responder that a GenerationRun answers for on the same engine."""

    __tablename__ = "companion"

    generation_run_id: Mapped[int] = mapped_column(ForeignKey("generation_run.id"), primary_key=True)
    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"), primary_key=True)

    responder: Mapped[Responder] = relationship()


class TrialPrompt(Base):
    """A prompt that the workbench asks a Responder to answer."""

    __tablename__ = "trial_prompt"

    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"), primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)


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
    """Number among the Responder's responses to the same prompt, from 0."""
    text: Mapped[str]
    reasoning: Mapped[str | None]
    """What a model thought before it answered; nobody who ranks or judges is shown it."""
    token_ids: Mapped[list[int] | None]
    """Tokens as sampled: re-encoding the text may give others."""
    prompt_tokens: Mapped[int | None]
    finish_reason: Mapped[str | None]
    """"stop", or "length" where the reply was cut at the token limit; None for people."""
    completion_tokens: Mapped[int | None]
    template_hash: Mapped[str | None]
    """Hash of the chat template."""
    system_hash: Mapped[str | None]
    """Hash of the system prompt as it was sent."""
    stop_tokens: Mapped[str | None]
    """The tokens that end a reply, as text, separated by spaces."""
    dtype: Mapped[str | None]
    """Precision in which the model answered."""
    temperature: Mapped[float | None] = mapped_column(Double)
    seed: Mapped[int | None]
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("response.id"))
    """The earlier Response that it replaces in a pair, because that one was nearly the same as its partner."""
    seconds: Mapped[float | None]
    generation_run_id: Mapped[int | None] = mapped_column(ForeignKey("generation_run.id"), index=True)
    prompt_set_id: Mapped[int | None] = mapped_column(ForeignKey("prompt_set.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship()
    responder: Mapped[Responder] = relationship()
