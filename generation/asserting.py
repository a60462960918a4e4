"""Assertions of a project: adding and ending them, checking Responses, and the results by Responder.

Results are data for managers. They change no Ranking and no Verdict, and blind reviewers see them only after their
verdict (`eval/after_verdict.py`). These functions say who wrote a reply, so they leave out the replies that a manager
may still be asked to rank or to judge.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from db.comparisons import ranked_by, revealed_to
from db.lookup import get_existing, insert_into
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
    Responder,
    Response,
    Role,
    now,
)
from db.people import require_role
from errors import AlreadyThere, NotFound, Refused
from generation.assertions import TITLES, check, clean_value

BATCH = 200
"""Responses checked between two saves."""
LONGEST_NAME = 80


@dataclass(frozen=True)
class UncheckedResponse:
    """A response without results of some standing assertions."""

    response_id: int
    text: str
    prompt_id: int
    prompt: str
    context: str | None
    assertions: tuple[tuple[int, Claim, str], ...]
    """Id, claim and value of each."""


@dataclass(frozen=True)
class Result:
    """What one assertion says of one response; saved as an AssertionResult."""

    assertion_id: int
    response_id: int
    passed: bool
    detail: str


@dataclass(frozen=True)
class PassRate:
    """How many of a Responder's replies pass an assertion."""

    assertion_id: int
    responder_id: int
    responder: str
    passed: int
    checked: int

    @property
    def rate(self) -> float:
        """Passed out of checked, from 0 to 1; 0 where none was checked."""
        return self.passed / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class FailedReply:
    """A reply that fails an assertion."""

    response_id: int
    prompt: str
    context: str | None
    text: str
    detail: str


@dataclass(frozen=True)
class FailedReplies:
    """Replies of one Responder that fail one assertion."""

    shown: Sequence[FailedReply]
    total: int
    comparison_ids: Sequence[int]
    """Ids of Comparisons that this manager may still rank; the first failing replies in them, at most the limit."""
    withheld_to_rank: int
    """Replies left out because this manager may still rank them."""
    withheld_to_judge: int
    """Replies left out because this manager may still judge them blind."""


def add_assertion(s: Session, *, by: int, project_id: int, claim: Claim, value: str = "", name: str = "") -> Assertion:
    """Add an assertion that checks every reply of the project, those that exist and those to come; managers only.

    Raises `Refused` for a value that nothing can be checked by, `AlreadyThere` for a name in use.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    name = " ".join(name.split()) or TITLES[claim]
    if len(name) > LONGEST_NAME:
        raise Refused(f"The name has {len(name)} characters; at most {LONGEST_NAME} are kept. Shorten it.")
    value = clean_value(claim, value)
    if any(assertion.name == name for assertion in list_assertions(s, project_id=project_id)):
        raise AlreadyThere(f"There is a check “{name}” already. Give this one another name, or end that one.")
    assertion = Assertion(project_id=project_id, name=name, claim=claim, value=value, created_by_id=by)
    s.add(assertion)
    s.flush()
    return assertion


def end_assertion(s: Session, *, by: int, assertion_id: int) -> None:
    """Stop checking by the assertion; its results stay. Managers only."""
    assertion = _get_assertion(s, by=by, assertion_id=assertion_id)
    if assertion.ended_at is not None:
        raise NotFound("That check was ended already. Reload the page.")
    assertion.ended_at = now()
    s.flush()


def list_assertions(s: Session, *, project_id: int) -> Sequence[Assertion]:
    """The project's standing assertions, oldest first."""
    return s.scalars(
        select(Assertion).where(Assertion.project_id == project_id, Assertion.ended_at.is_(None)).order_by(Assertion.id)
    ).all()


def _get_assertion(s: Session, *, by: int, assertion_id: int) -> Assertion:
    assertion = get_existing(s, Assertion, assertion_id, "check")
    require_role(s, by=by, project_id=assertion.project_id, roles=(Role.MANAGER,))
    return assertion


def results_of(s: Session, *, response_ids: Iterable[int]) -> list[tuple[Assertion, AssertionResult]]:
    """What the standing assertions found of some responses, by assertion."""
    rows = s.execute(
        select(Assertion, AssertionResult)
        .join(AssertionResult, AssertionResult.assertion_id == Assertion.id)
        .where(AssertionResult.response_id.in_(list(response_ids)), Assertion.ended_at.is_(None))
        .order_by(Assertion.id, AssertionResult.response_id)
    )
    return [(assertion, result) for assertion, result in rows]


def find_unchecked(
    s: Session, *, project_id: int, response_ids: Sequence[int] | None = None, limit: int = BATCH
) -> list[UncheckedResponse]:
    """Responses without a result of some standing assertion that needs no model, at most `limit`, oldest first."""
    standing = standing_assertions(s, project_id=project_id, of_meaning=False)
    of_these = [] if response_ids is None else [Response.id.in_(response_ids)]
    return load_unchecked(s, standing, [*unchecked_conditions(project_id, standing), *of_these], limit=limit)


def load_unchecked(
    s: Session, standing: Sequence[Assertion], conditions: Sequence[ColumnElement[bool]], *, limit: int
) -> list[UncheckedResponse]:
    """The first responses that fit the conditions, each with those of the assertions that have no result of it."""
    if not standing:
        return []
    rows = s.execute(
        select(Response.id, Response.text, Response.prompt_id, Prompt.text, Prompt.context)
        .join(Response.prompt)
        .where(*conditions)
        .order_by(Response.id)
        .limit(limit)
    ).all()
    results = s.execute(
        select(AssertionResult.assertion_id, AssertionResult.response_id).where(
            AssertionResult.response_id.in_([response_id for response_id, *_ in rows]),
            AssertionResult.assertion_id.in_([assertion.id for assertion in standing]),
        )
    )
    checked = {(assertion_id, response_id) for assertion_id, response_id in results}
    return [
        UncheckedResponse(*row, tuple((a.id, a.claim, a.value) for a in standing if (a.id, row.id) not in checked))
        for row in rows
    ]


def count_unchecked(s: Session, *, project_id: int) -> int:
    """How many responses `find_unchecked` gives in all."""
    standing = standing_assertions(s, project_id=project_id, of_meaning=False)
    return count_unchecked_of(s, standing, unchecked_conditions(project_id, standing))


def count_unchecked_of(s: Session, standing: Sequence[Assertion], conditions: Sequence[ColumnElement[bool]]) -> int:
    """How many responses `load_unchecked` gives without a limit."""
    query = select(func.count(Response.id)).join(Response.prompt).where(*conditions)
    return (s.scalar(query) or 0) if standing else 0


def standing_assertions(s: Session, *, project_id: int, of_meaning: bool) -> list[Assertion]:
    """Those of the project's assertions that compare meanings, for which a model is needed, or all others."""
    standing = list_assertions(s, project_id=project_id)
    return [assertion for assertion in standing if (assertion.claim is Claim.LIKE_REFERENCE) is of_meaning]


def unchecked_conditions(project_id: int, standing: Sequence[Assertion]) -> list[ColumnElement[bool]]:
    """SQL conditions on the project's responses that lack a result of at least one of the assertions."""
    assertion_ids = [assertion.id for assertion in standing]
    results = (
        select(func.count())
        .select_from(AssertionResult)
        .where(AssertionResult.response_id == Response.id, AssertionResult.assertion_id.in_(assertion_ids))
        .correlate(Response)
        .scalar_subquery()
    )
    return [Prompt.project_id == project_id, results < len(standing)]


def run_assertions(
    responses: Iterable[UncheckedResponse], similarities: Mapping[int, float] | None = None
) -> list[Result]:
    """Run the assertions on the responses; this takes no database, so no transaction stays open meanwhile.

    Args:
        similarities: by response id, for assertions that compare meanings.
    """
    results = []
    for response in responses:
        similarity = (similarities or {}).get(response.response_id)
        prompt, context = response.prompt, response.context
        for assertion_id, claim, value in response.assertions:
            finding = check(claim, value, text=response.text, prompt=prompt, context=context, similarity=similarity)
            if finding is not None:
                results.append(Result(assertion_id, response.response_id, finding.passed, finding.detail))
    return results


def save_results(s: Session, results: Sequence[Result]) -> None:
    """Save results. A row that another process saved meanwhile stays: the reply has not changed since."""
    if not results:
        return
    at = now()
    rows: list[dict[str, Any]] = [asdict(result) | {"created_at": at} for result in results]
    s.execute(insert_into(s, AssertionResult).on_conflict_do_nothing(), rows)


def save_results_as_manager(s: Session, *, by: int, project_id: int, results: Sequence[Result]) -> None:
    """Save results that a manager's page computed; managers only."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    save_results(s, results)


def pass_rates(s: Session, *, by: int, project_id: int) -> list[PassRate]:
    """Count passed and checked replies by Responder and standing assertion, both in order of age; managers only."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    rows = s.execute(
        select(AssertionResult.assertion_id, Responder, func.count().filter(AssertionResult.passed), func.count())
        .join(Assertion, Assertion.id == AssertionResult.assertion_id)
        .join(Response, Response.id == AssertionResult.response_id)
        .join(Responder, Responder.id == Response.responder_id)
        .where(Assertion.project_id == project_id, Assertion.ended_at.is_(None), Responder.listed)
        .group_by(AssertionResult.assertion_id, Responder.id)
        .order_by(Responder.id, AssertionResult.assertion_id)
    ).all()
    return [
        PassRate(assertion_id, responder.id, responder.label, passed, checked)
        for assertion_id, responder, passed, checked in rows
    ]


def failed_replies(s: Session, *, by: int, assertion_id: int, responder_id: int, limit: int = 10) -> FailedReplies:
    """The first `limit` replies that fail, oldest first, without those that this manager may still rank or judge.

    A manager who knows whose reply it is cannot judge it blind, nor rank it without thinking of its author.
    """
    _get_assertion(s, by=by, assertion_id=assertion_id)
    replies = (
        select(Response.id, Prompt.text, Prompt.context, Response.text, AssertionResult.detail)
        .join(AssertionResult, AssertionResult.response_id == Response.id)
        .join(Response.prompt)
        .where(
            AssertionResult.assertion_id == assertion_id,
            AssertionResult.passed.is_(False),
            Response.responder_id == responder_id,
        )
        .order_by(Response.id)
    )
    judging = _awaits_verdict(by)
    ranking = _open_comparisons(by).where(ComparisonResponse.response_id == Response.id).correlate(Response).exists()

    def count(*conditions: ColumnElement[bool]) -> int:
        query = replies.where(*conditions).with_only_columns(func.count(Response.id)).order_by(None)
        return s.scalar(query) or 0

    shown = s.execute(replies.where(~judging, ~ranking).limit(limit))
    to_rank_ids = s.scalars(replies.where(~judging, ranking).with_only_columns(Response.id).limit(limit)).all()
    comparisons = s.scalars(_open_comparisons(by).where(ComparisonResponse.response_id.in_(to_rank_ids)).distinct())
    return FailedReplies(
        shown=[FailedReply(*row) for row in shown],
        total=count(),
        comparison_ids=sorted(comparisons),
        withheld_to_rank=count(~judging, ranking),
        withheld_to_judge=count(judging),
    )


def _awaits_verdict(by: int) -> ColumnElement[bool]:
    """Whether a response waits for this reviewer's verdict in an open evaluation."""
    judged = select(Judgment.id).where(
        Judgment.pairing_id == Pairing.id, Judgment.reviewer_id == by, Judgment.verdict.is_not(None)
    )
    waiting = (
        select(Pairing.id)
        .join(Evaluation, Evaluation.id == Pairing.evaluation_id)
        .where(
            or_(Pairing.candidate_response_id == Response.id, Pairing.baseline_response_id == Response.id),
            Pairing.identical.is_(False),
            Evaluation.closed_at.is_(None),
            ~judged.correlate(Pairing).exists(),
        )
    )
    return waiting.correlate(Response).exists()


def _open_comparisons(by: int) -> Select[int]:
    """Comparisons that are still offered and that this reviewer has neither ranked nor revealed."""
    return (
        select(Comparison.id)
        .join(ComparisonResponse, ComparisonResponse.comparison_id == Comparison.id)
        .where(Comparison.state == ComparisonState.OPEN, ~ranked_by(by), ~revealed_to(by))
    )
