"""Blind judging: Evaluations, their Pairings and the Judgments on them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.people import Reviewer
from db.models.prompts import Prompt
from db.models.responders import Responder
from db.models.responses import Response


class Evaluation(Base):
    """A blind contest between a candidate and its baselines over held-out prompts, fixed before the first judgment."""

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    candidate_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    seed: Mapped[int]
    """For drawing the order of pairings and the sides."""
    protocol: Mapped[str | None]
    """Everything that was fixed before the first judgment, as canonical JSON (`eval.protocol`); none before 0011."""
    protocol_sha256: Mapped[str]
    """Of the protocol; without one, of candidate, baselines, pairings and seed. The database refuses to change either,
    or a pairing."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
    """Results and names are shown only after this."""
    closed_early: Mapped[str | None]
    """Why it was closed before what the protocol planned; none where it ran to its end."""

    candidate: Mapped[Responder] = relationship()
    pairings: Mapped[list["Pairing"]] = relationship(order_by="Pairing.id", back_populates="evaluation")


class Pairing(Base):
    """One held-out prompt with the candidate's and one baseline's Response in an Evaluation."""

    __tablename__ = "pairing"
    __table_args__ = (
        UniqueConstraint("evaluation_id", "candidate_response_id", "baseline_response_id"),
        CheckConstraint("candidate_response_id <> baseline_response_id", name="two_responses"),
        CheckConstraint("wanted >= 0", name="wanted"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    candidate_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    baseline_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"))
    identical: Mapped[bool] = mapped_column(default=False)
    """Both texts are the same: never shown, counted as a tie."""
    wanted: Mapped[int | None]
    """How many people's verdicts it gets; none where everybody may judge it (before 0011)."""

    evaluation: Mapped[Evaluation] = relationship(back_populates="pairings")
    prompt: Mapped[Prompt] = relationship()
    candidate_response: Mapped[Response] = relationship(foreign_keys=[candidate_response_id])
    baseline_response: Mapped[Response] = relationship(foreign_keys=[baseline_response_id])
    judgments: Mapped[list["Judgment"]] = relationship(back_populates="pairing")


class Verdict(StrEnum):
    """What a reviewer could know: positions, never who wrote what."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"
    TIE = "TIE"
    """Both good, neither better."""
    BOTH_BAD = "BOTH_BAD"
    """Neither could be sent; counts as a tie and is reported."""


class Guess(StrEnum):
    """Which side a reviewer took for the machine, asked after their verdict."""

    LEFT = "LEFT"
    RIGHT = "RIGHT"
    CANNOT_TELL = "CANNOT_TELL"


class Judgment(Base):
    """One Reviewer's look at one Pairing, with its own left/right order, drawn before it is shown."""

    __tablename__ = "judgment"
    __table_args__ = (
        UniqueConstraint("pairing_id", "reviewer_id"),
        CheckConstraint("(verdict IS NULL) = (judged_at IS NULL)", name="judged_has_verdict"),
        CheckConstraint("guess IS NULL OR verdict IS NOT NULL", name="guess_after_verdict"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pairing_id: Mapped[int] = mapped_column(ForeignKey("pairing.id"))
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), index=True)
    candidate_left: Mapped[bool]
    """The drawn side; turned into win or loss in one place only."""
    verdict: Mapped[Verdict | None] = mapped_column(enum(Verdict))
    drawn_at: Mapped[datetime] = mapped_column(default=now)
    judged_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    guess: Mapped[Guess | None] = mapped_column(enum(Guess))
    """None where it was not asked, or not answered."""
    comment: Mapped[str | None]
    """Why, in the reviewer's words, typed after the verdict."""

    pairing: Mapped[Pairing] = relationship(back_populates="judgments")
    reviewer: Mapped[Reviewer] = relationship()


class Tag(Base):
    """A short reason put on a Judgment after the verdict."""

    __tablename__ = "tag"

    judgment_id: Mapped[int] = mapped_column(ForeignKey("judgment.id"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    praise: Mapped[bool]
    """Of the better response; else a fault of the other."""


class Peek(Base):
    """A manager's look at how an open Evaluation stands; from then on it is not theirs to judge."""

    __tablename__ = "peek"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
