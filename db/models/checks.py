"""Checks of models and Responses: parity, benchmarks, assertions, and rules for hidden text."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, CheckConstraint, Double, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, enum, now
from db.models.responders import ModelVersion
from db.models.runs import Run


class ParityCheck(Run):
    """Whether a ModelVersion is served exactly as the trainer sees it: same tokens, same log-probabilities."""

    __tablename__ = "parity_check"
    __mapper_args__ = {"polymorphic_identity": "parity"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    passed: Mapped[bool | None]
    """None until the check has finished."""
    problem: Mapped[str | None]
    """What differs and what to do, as a sentence, where it did not pass."""
    engine: Mapped[str | None]
    """The engine that served the model, with its version."""
    dtype: Mapped[str | None]
    """Precision in which it was served."""
    conversations: Mapped[int | None]
    """Number of conversations that both sides rendered."""
    tokens: Mapped[int | None]
    """Number of tokens whose log-probabilities were compared."""
    largest_difference: Mapped[float | None] = mapped_column(Double)
    """Between two log-probabilities of the same token, in nats."""
    mean_difference: Mapped[float | None] = mapped_column(Double)
    tolerance: Mapped[float | None] = mapped_column(Double)
    """The largest difference allowed, in nats."""

    model_version: Mapped[ModelVersion] = relationship()


class BenchmarkRun(Run):
    """Public benchmarks on a ModelVersion, so that a gain in the project's task does not hide a loss elsewhere."""

    __tablename__ = "benchmark_run"
    __table_args__ = (CheckConstraint("examples > 0", name="examples"),)
    __mapper_args__ = {"polymorphic_identity": "benchmark"}

    id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    tasks: Mapped[list[str]] = mapped_column(JSON)
    """lm-eval's names, or paths of local task files."""
    examples: Mapped[int | None]
    """Most examples of each task, taken from its beginning; None for all."""
    quantised: Mapped[bool] = mapped_column(default=False)
    """Whether the model is loaded in four bits (bitsandbytes NF4) instead of as it is stored."""
    measured_by: Mapped[str | None]
    """The benchmark library, with its version."""

    model_version: Mapped[ModelVersion] = relationship()
    scores: Mapped[list["BenchmarkScore"]] = relationship(
        order_by="BenchmarkScore.task", back_populates="run", cascade="all, delete-orphan"
    )


class BenchmarkScore(Base):
    """One metric of one task in a BenchmarkRun."""

    __tablename__ = "benchmark_score"

    run_id: Mapped[int] = mapped_column(ForeignKey("benchmark_run.id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    """As lm-eval calls it, without its filter (acc, acc_norm, exact_match)."""
    value: Mapped[float] = mapped_column(Double)
    standard_error: Mapped[float | None] = mapped_column(Double)
    examples: Mapped[int]
    higher_is_better: Mapped[bool]
    by_example: Mapped[dict[str, float] | None] = mapped_column(JSON)
    """The metric of each example by the hash of its text, for paired differences; None for a metric of all together."""

    run: Mapped[BenchmarkRun] = relationship(back_populates="scores")


class Claim(StrEnum):
    """What an Assertion claims of a Response."""

    MATCHES = "MATCHES"
    """A regular expression is found in it."""
    CONTAINS = "CONTAINS"
    """It has these words."""
    LACKS = "LACKS"
    """It does not have these words."""
    AT_MOST_WORDS = "AT_MOST_WORDS"
    JSON = "JSON"
    """It is valid JSON."""
    ONE_OF = "ONE_OF"
    """It is one of the listed classes, alone or as a value in JSON."""
    LANGUAGE = "LANGUAGE"
    """It is written in this language (ISO 639-1)."""
    NO_NEW_NUMBERS = "NO_NEW_NUMBERS"
    """Every number in it stands in the prompt too: an invented order number does not."""
    LIKE_REFERENCE = "LIKE_REFERENCE"
    """It is at least so similar in meaning to a person's reply to the same prompt."""


class Assertion(Base):
    """What every Response of a Project should be; results are data and never touch a Ranking or a Verdict."""

    __tablename__ = "assertion"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str]
    claim: Mapped[Claim] = mapped_column(enum(Claim))
    value: Mapped[str] = mapped_column(default="")
    """The expression, words, number, classes (one a line) or language that the claim is about."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
    """When it stopped being checked; its results stay."""


class AssertionResult(Base):
    """Whether one Response is what one Assertion claims."""

    __tablename__ = "assertion_result"
    __table_args__ = (Index("ix_assertion_result_response_id", "response_id"),)

    assertion_id: Mapped[int] = mapped_column(ForeignKey("assertion.id"), primary_key=True)
    response_id: Mapped[int] = mapped_column(ForeignKey("response.id"), primary_key=True)
    passed: Mapped[bool]
    detail: Mapped[str] = mapped_column(default="")
    """What the check found, in a few words for people."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class HiddenPart(StrEnum):
    """What a TextRule hides."""

    GREETING_NAME = "GREETING_NAME"
    """The name in the first line's greeting."""
    TICKET_NUMBER = "TICKET_NUMBER"
    """Ticket, case and reference numbers."""
    PATTERN = "PATTERN"
    """Every match of a regular expression."""


class TextRule(Base):
    """What is hidden in every Responder's texts alike before people read them; the original is kept."""

    __tablename__ = "text_rule"
    __table_args__ = (CheckConstraint("(part = 'PATTERN') = (pattern IS NOT NULL)", name="pattern_is_given"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    part: Mapped[HiddenPart] = mapped_column(enum(HiddenPart))
    pattern: Mapped[str | None]
    replacement: Mapped[str] = mapped_column(default="")
    """The text that is shown instead."""
    created_by_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
