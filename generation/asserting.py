"""Assertions of a project: adding and ending them, checking Responses, and what came of it by Responder.

Results are data for managers. They touch no Ranking and no Verdict, and whoever judges blind learns of them after the
verdict only (`eval/after_verdict.py`). Who wrote a reply is told here, so replies that a manager may still be asked
about are kept back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.models import (
    Assertion,
    AssertionResult,
    Claim,
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Evaluation,
    Judgment,
    Pairing,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reveal,
    Role,
    now,
)
from db.people import require
from errors import AlreadyThere, NotFound, Refused
from generation.assertions import TITLES, check, cleaned_value

BATCH = 200
"""Responses checked between two saves."""
LONGEST_NAME = 80


@dataclass(frozen=True)
class Unchecked:
    """A response that some standing assertions say nothing about yet."""

    response_id: int
    text: str
    prompt: str
    context: str | None
    assertions: tuple[tuple[int, Claim, str], ...]
    """Id, claim and value of each."""


@dataclass(frozen=True)
class Result:
    """What one assertion says of one response; a row to be."""

    assertion_id: int
    response_id: int
    passed: bool
    detail: str


@dataclass(frozen=True)
class Share:
    """How many of a Responder's replies are what an assertion claims."""

    assertion_id: int
    responder_id: int
    responder: str
    passed: int
    checked: int

    @property
    def share(self) -> float:
        """Of those that were checked, from 0 to 1; 0 where none was."""
        return self.passed / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class Failing:
    """A reply that is not what was claimed."""

    response_id: int
    prompt: str
    context: str | None
    text: str
    detail: str


@dataclass(frozen=True)
class Failures:
    """Replies of one Responder that fail one assertion."""

    shown: Sequence[Failing]
    total: int
    """All that fail."""
    to_rank: Sequence[int]
    """Comparisons that this manager may still rank and that hold one of the others, which are therefore kept back."""
    kept_to_rank: int
    """Replies kept back for those."""
    kept_to_judge: int
    """Replies kept back because this manager may still judge them blind."""


def add_assertion(s: Session, *, by: int, project_id: int, claim: Claim, value: str = "", name: str = "") -> Assertion:
    """Something that every reply should be, from now on and of all that are there; managers only.

    Raises `Refused` for a value that nothing can be checked by, `AlreadyThere` for a name in use.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split()) or TITLES[claim]
    if len(clean) > LONGEST_NAME:
        raise Refused(f"The name has {len(clean)} characters; at most {LONGEST_NAME} are kept. Shorten it.")
    kept = cleaned_value(claim, value)
    if any(one.name == clean for one in assertions(s, project_id=project_id)):
        raise AlreadyThere(f"There is a check “{clean}” already. Give this one another name, or end that one.")
    assertion = Assertion(project_id=project_id, name=clean, claim=claim, value=kept, created_by_id=by)
    s.add(assertion)
    s.flush()
    return assertion


def end_assertion(s: Session, *, by: int, assertion_id: int) -> None:
    """Look at it no more; its results stay. Managers only."""
    assertion = s.get(Assertion, assertion_id)
    if assertion is None:
        raise NotFound("That check is not in the database any more. Reload the page.")
    require(s, by=by, project_id=assertion.project_id, roles=(Role.MANAGER,))
    if assertion.ended_at is not None:
        raise NotFound("That check was ended already. Reload the page.")
    assertion.ended_at = now()
    s.flush()


def assertions(s: Session, *, project_id: int) -> Sequence[Assertion]:
    """The standing ones, oldest first."""
    return s.scalars(
        select(Assertion).where(Assertion.project_id == project_id, Assertion.ended_at.is_(None)).order_by(Assertion.id)
    ).all()


def results_of(s: Session, *, response_ids: Iterable[int]) -> list[tuple[Assertion, AssertionResult]]:
    """What the standing ones found of some responses, by assertion."""
    rows = s.execute(
        select(Assertion, AssertionResult)
        .join(AssertionResult, AssertionResult.assertion_id == Assertion.id)
        .where(AssertionResult.response_id.in_(list(response_ids)), Assertion.ended_at.is_(None))
        .order_by(Assertion.id, AssertionResult.response_id)
    )
    return [(assertion, result) for assertion, result in rows]


def check_new(s: Session, *, project_id: int, response_ids: Sequence[int] | None = None) -> int:
    """Check responses that have no result yet (all of the project's, or these), and say how many were.

    For whoever saves responses; LIKE_REFERENCE is left to `generation.similarity`, which needs a model.
    """
    done = 0
    while some := unchecked(s, project_id=project_id, response_ids=response_ids):
        keep(s, found(some))
        done += len(some)
    return done


def unchecked(
    s: Session, *, project_id: int, response_ids: Sequence[int] | None = None, limit: int = BATCH
) -> list[Unchecked]:
    """Responses without a result of some standing assertion that needs no model, at most `limit`, oldest first."""
    standing = [one for one in assertions(s, project_id=project_id) if one.claim is not Claim.LIKE_REFERENCE]
    if not standing:
        return []
    these = [] if response_ids is None else [Response.id.in_(response_ids)]
    rows = s.execute(
        select(Response.id, Response.text, Prompt.text, Prompt.context)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(*lacking(project_id, standing), *these)
        .order_by(Response.id)
        .limit(limit)
    ).all()
    ids = [row[0] for row in rows]
    there = {
        tuple(row)
        for row in s.execute(
            select(AssertionResult.assertion_id, AssertionResult.response_id).where(
                AssertionResult.response_id.in_(ids), AssertionResult.assertion_id.in_([one.id for one in standing])
            )
        )
    }
    return [
        Unchecked(
            response_id,
            text,
            prompt,
            context,
            tuple((one.id, one.claim, one.value) for one in standing if (one.id, response_id) not in there),
        )
        for response_id, text, prompt, context in rows
    ]


def unchecked_count(s: Session, *, project_id: int) -> int:
    """How many responses `unchecked` would give in all."""
    standing = [one for one in assertions(s, project_id=project_id) if one.claim is not Claim.LIKE_REFERENCE]
    if not standing:
        return 0
    query = select(func.count(Response.id)).join(Prompt, Prompt.id == Response.prompt_id)
    return s.scalar(query.where(*lacking(project_id, standing))) or 0


def lacking(project_id: int, standing: Sequence[Assertion]) -> list[ColumnElement[bool]]:
    """What is true of a project's responses that one of the assertions says nothing about yet."""
    results = (
        select(func.count())
        .select_from(AssertionResult)
        .where(
            AssertionResult.response_id == Response.id, AssertionResult.assertion_id.in_([one.id for one in standing])
        )
        .correlate(Response)
        .scalar_subquery()
    )
    return [Prompt.project_id == project_id, results < len(standing)]


def found(some: Iterable[Unchecked]) -> list[Result]:
    """What the assertions say; no database is needed, so nothing is locked meanwhile."""
    results = []
    for one in some:
        for assertion_id, claim, value in one.assertions:
            finding = check(claim, value, text=one.text, prompt=one.prompt, context=one.context)
            if finding is not None:
                results.append(Result(assertion_id, one.response_id, finding.passed, finding.detail))
    return results


def keep(s: Session, results: Sequence[Result]) -> None:
    """Save results, the first word of two that look at the same reply at once; a reply never changes."""
    if not results:
        return
    at = now()
    rows: list[dict[str, Any]] = [
        {
            "assertion_id": one.assertion_id,
            "response_id": one.response_id,
            "passed": one.passed,
            "detail": one.detail,
            "created_at": at,
        }
        for one in results
    ]
    insert = postgresql.insert if s.get_bind().dialect.name == "postgresql" else sqlite.insert
    s.execute(insert(AssertionResult).on_conflict_do_nothing(), rows)


def keep_checked(s: Session, *, by: int, project_id: int, results: Sequence[Result]) -> None:
    """Save what a manager's screen had checked; managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    keep(s, results)


def shares(s: Session, *, by: int, project_id: int) -> list[Share]:
    """Passed and checked for each standing assertion and each Responder with replies, in their order; managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    rows = s.execute(
        select(
            AssertionResult.assertion_id,
            Responder,
            func.count().filter(AssertionResult.passed),
            func.count(),
        )
        .join(Assertion, Assertion.id == AssertionResult.assertion_id)
        .join(Response, Response.id == AssertionResult.response_id)
        .join(Responder, Responder.id == Response.responder_id)
        .where(Assertion.project_id == project_id, Assertion.ended_at.is_(None), Responder.kept)
        .group_by(AssertionResult.assertion_id, Responder.id)
        .order_by(Responder.id, AssertionResult.assertion_id)
    ).all()
    return [Share(one, who.id, who.label, passed, checked) for one, who, passed, checked in rows]


def failures(s: Session, *, by: int, assertion_id: int, responder_id: int, limit: int = 10) -> Failures:
    """The first `limit` replies that fail, oldest first, without those that this manager may still be asked about.

    Somebody who knows whose reply it is cannot judge it blind, nor rank it without thinking of its author.
    """
    assertion = s.get(Assertion, assertion_id)
    if assertion is None:
        raise NotFound("That check is not in the database any more. Reload the page.")
    require(s, by=by, project_id=assertion.project_id, roles=(Role.MANAGER,))
    failing = (
        AssertionResult.assertion_id == assertion_id,
        AssertionResult.passed.is_(False),
        Response.responder_id == responder_id,
    )
    judging = _to_judge(by)
    ranking = _to_rank(by).where(ComparisonResponse.response_id == Response.id).correlate(Response).exists()

    def count(*more: ColumnElement[bool]) -> int:
        query = select(func.count(Response.id)).join(AssertionResult, AssertionResult.response_id == Response.id)
        return s.scalar(query.where(*failing, *more)) or 0

    shown = s.execute(
        select(Response.id, Prompt.text, Prompt.context, Response.text, AssertionResult.detail)
        .join(Response, Response.id == AssertionResult.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(*failing, ~judging, ~ranking)
        .order_by(Response.id)
        .limit(limit)
    ).all()
    next_ids = s.scalars(
        select(Response.id)
        .join(AssertionResult, AssertionResult.response_id == Response.id)
        .where(*failing, ~judging, ranking)
        .order_by(Response.id)
        .limit(limit)
    ).all()
    comparisons = s.scalars(_to_rank(by).where(ComparisonResponse.response_id.in_(next_ids)).distinct())
    return Failures(
        shown=[Failing(*row) for row in shown],
        total=count(),
        to_rank=sorted(comparisons),
        kept_to_rank=count(~judging, ranking),
        kept_to_judge=count(judging),
    )


def _to_judge(by: int) -> ColumnElement[bool]:
    """Whether a response waits for this reviewer's verdict in an open evaluation."""
    given = select(Judgment.id).where(
        Judgment.pairing_id == Pairing.id, Judgment.reviewer_id == by, Judgment.verdict.is_not(None)
    )
    waiting = (
        select(Pairing.id)
        .join(Evaluation, Evaluation.id == Pairing.evaluation_id)
        .where(
            or_(Pairing.candidate_response_id == Response.id, Pairing.baseline_response_id == Response.id),
            Pairing.identical.is_(False),
            Evaluation.closed_at.is_(None),
            ~given.correlate(Pairing).exists(),
        )
    )
    return waiting.correlate(Response).exists()


def _to_rank(by: int) -> Select[int]:
    """Comparisons that this reviewer has neither ranked nor looked at, and that are still offered."""
    own = select(Ranking.id).where(
        Ranking.comparison_id == Comparison.id,
        Ranking.reviewer_id == by,
        Ranking.undone_at.is_(None),
        Ranking.adjudicates.is_(False),
    )
    looked = select(Reveal.comparison_id).where(Reveal.comparison_id == Comparison.id, Reveal.reviewer_id == by)
    return (
        select(Comparison.id)
        .join(ComparisonResponse, ComparisonResponse.comparison_id == Comparison.id)
        .where(
            Comparison.state == ComparisonState.OPEN,
            ~own.correlate(Comparison).exists(),
            ~looked.correlate(Comparison).exists(),
        )
    )
