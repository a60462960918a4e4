"""Blind judging: Evaluations, their Pairings and the Judgments on them, by people and by model judges."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Double, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now, refuse_change
from db.models.people import Reviewer
from db.models.prompts import Prompt
from db.models.responders import Responder
from db.models.responses import Response
from db.models.runs import Run
from stats.verdicts import Verdict


class Evaluation(Base):
    """A blind contest between a candidate and its baselines over held-out prompts, fixed before the first judgment."""

    __tablename__ = "evaluation"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    candidate_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    seed: Mapped[int]
    """Seed from which the order of pairings and the sides are drawn."""
    protocol: Mapped[str | None]
    """Everything that was fixed before the first judgment, as canonical JSON (`eval.protocol`)."""
    protocol_sha256: Mapped[str]
    """Hash of the protocol; without one, of candidate, baselines, pairings and seed. The database refuses changes of
    protocol, hash and pairings."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
    """When it was closed; results and names are shown only from then on."""
    closed_early: Mapped[str | None]
    """Why it was closed before the end that the protocol planned; None where it ran to that end."""

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
    """Whether both texts are the same: then it is never shown and counts as a tie."""
    wanted: Mapped[int | None]
    """Number of people whose verdicts it gets; None where there is no limit."""

    evaluation: Mapped[Evaluation] = relationship(back_populates="pairings")
    prompt: Mapped[Prompt] = relationship()
    candidate_response: Mapped[Response] = relationship(foreign_keys=[candidate_response_id])
    baseline_response: Mapped[Response] = relationship(foreign_keys=[baseline_response_id])
    judgments: Mapped[list["Judgment"]] = relationship(back_populates="pairing")


class Guess(StrEnum):
    """The side that a reviewer takes for the machine, asked after their verdict."""

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
    """Whether the candidate stands on the left; turned into win or loss in one place only."""
    verdict: Mapped[Verdict | None] = mapped_column(enum(Verdict))
    drawn_at: Mapped[datetime] = mapped_column(default=now)
    judged_at: Mapped[datetime | None]
    seconds: Mapped[float | None]
    guess: Mapped[Guess | None] = mapped_column(enum(Guess))
    """None where the reviewer was not asked, or did not answer."""
    comment: Mapped[str | None]
    """The reviewer's reason, typed after the verdict."""

    pairing: Mapped[Pairing] = relationship(back_populates="judgments")
    reviewer: Mapped[Reviewer] = relationship()


class RepeatJudgment(Base):
    """A test-retest repeat: the same pair shown to the same Reviewer again, unannounced, sides swapped.

    Its verdict measures how consistent the Reviewer is, and counts for nothing else.
    """

    __tablename__ = "repeat_judgment"
    __table_args__ = (CheckConstraint("(verdict IS NULL) = (judged_at IS NULL)", name="judged_has_verdict"),)

    judgment_id: Mapped[int] = mapped_column(ForeignKey("judgment.id"), primary_key=True)
    candidate_left: Mapped[bool]
    """Always the opposite of the first Judgment's."""
    verdict: Mapped[Verdict | None] = mapped_column(enum(Verdict))
    drawn_at: Mapped[datetime] = mapped_column(default=now)
    judged_at: Mapped[datetime | None]
    seconds: Mapped[float | None] = mapped_column(Double)

    judgment: Mapped[Judgment] = relationship()


class JudgmentReason(Base):
    """A short reason that a Reviewer adds to a Judgment after the verdict."""

    __tablename__ = "judgment_reason"

    judgment_id: Mapped[int] = mapped_column(ForeignKey("judgment.id"), primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    praise: Mapped[bool]
    """Whether it praises the better response; else it names a fault of the other."""


class Peek(Base):
    """A manager's look at the standing of an open Evaluation; from then on this manager may not judge it."""

    __tablename__ = "peek"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class JudgeRun(Run):
    """A model judges all pairs of an Evaluation, each in both orders; its verdicts never count among people's."""

    __tablename__ = "judge_run"
    __mapper_args__ = {"polymorphic_identity": "judge"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), index=True)
    responder_id: Mapped[int] = mapped_column(ForeignKey("responder.id"))
    """The judge: model, instructions and settings; its `listed` is false, since it answers no prompts."""

    evaluation: Mapped[Evaluation] = relationship()
    responder: Mapped[Responder] = relationship()
    verdicts: Mapped[list["JudgeVerdict"]] = relationship(back_populates="run")


class JudgeVerdict(Base):
    """A model judge's verdict on two Responses to one held-out Prompt, in one of the two orders."""

    __tablename__ = "judge_verdict"
    __table_args__ = (CheckConstraint("candidate_response_id <> baseline_response_id", name="two_responses"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("judge_run.id"), primary_key=True)
    candidate_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True)
    baseline_response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True)
    candidate_left: Mapped[bool] = mapped_column(primary_key=True)
    verdict: Mapped[Verdict | None] = mapped_column(enum(Verdict))
    """None where the judge's reply names no verdict."""
    reply: Mapped[str]
    """The judge's reply, cut to what is needed."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    run: Mapped[JudgeRun] = relationship(back_populates="verdicts")
    candidate_response: Mapped[Response] = relationship(foreign_keys=[candidate_response_id])
    baseline_response: Mapped[Response] = relationship(foreign_keys=[baseline_response_id])


class WantedCorrection(Base):
    """A training Prompt that needs a better reply, because the candidate lost on a similar held-out Prompt.

    It waits in the queue of corrections until a person has corrected a reply to it or written one since.
    """

    __tablename__ = "wanted_correction"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)
    pairing_id: Mapped[int] = mapped_column(ForeignKey("pairing.id"), primary_key=True)
    """The lost Pairing; its own Prompt stays held out."""
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship()
    pairing: Mapped[Pairing] = relationship()


NEVER = "A protocol is fixed before the first judgment and never changed: set up a new evaluation."


def _changed(*columns: str) -> str:
    """SQL condition that one of the columns changes."""
    return " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)


_FIXED = _changed("project_id", "candidate_id", "seed", "protocol", "protocol_sha256", "created_by_id", "created_at")
_REOPENED = f"OLD.closed_at IS NOT NULL AND ({_changed('closed_at', 'closed_early')})"
_JUDGED = (
    "EXISTS (SELECT 1 FROM judgment j JOIN pairing p ON p.id = j.pairing_id "
    "JOIN evaluation e ON e.id = p.evaluation_id "
    "WHERE p.evaluation_id = NEW.evaluation_id AND e.protocol IS NOT NULL)"
)
for model, trigger, verb, when, sentence in (
    (Evaluation, "evaluation_kept", "UPDATE", _FIXED, NEVER),
    (Evaluation, "evaluation_not_deleted", "DELETE", "TRUE", NEVER),
    (Evaluation, "evaluation_closed", "UPDATE", _REOPENED, "A closed evaluation stays closed."),
    (Pairing, "pairing_kept", "UPDATE", "TRUE", NEVER),
    (Pairing, "pairing_not_deleted", "DELETE", "TRUE", NEVER),
    (Pairing, "pairing_late", "INSERT", _JUDGED, NEVER),
):
    refuse_change(model.__table__, trigger, on=verb, when=when, sentence=sentence)
