"""The judged pairs of a closed Evaluation one by one, the candidate's losses first; and what changed since an earlier.

Here texts and their authors stand together, so it is for managers always, and for reviewers while no Evaluation of the
project is open: others use the same held-out prompts.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from db.models import Assertion, AssertionResult, Evaluation, ModelVersion, Pairing, Responder, Response, Role
from db.people import require, roles_of
from errors import Refused
from eval.report.results import NO_TAG, comment_of, names_of, pairings_of
from stats.verdicts import Outcome


class Fate(StrEnum):
    """What most of a pair's verdicts say of the candidate."""

    LOST = "lost"
    TIED = "tied"
    WON = "won"


class Change(StrEnum):
    """What became of a loss, or came to be one, since an earlier Evaluation."""

    FIXED = "fixed"
    """Lost then, not now."""
    BROKE = "broke"
    """Lost now, not then."""
    STILL_LOST = "still lost"


@dataclass(frozen=True)
class Said:
    """One verdict."""

    reviewer: str
    outcome: Outcome
    comment: str
    seconds: float | None


@dataclass(frozen=True)
class Reply:
    """One side, with who wrote it."""

    response_id: int
    responder_id: int
    responder: str
    made_by: str
    """The model behind it, with its id; empty for people."""
    text: str
    failed: tuple[str, ...]
    """Checks that it failed, with what was found."""
    checked: int
    """Checks that were made."""


@dataclass(frozen=True)
class Case:
    """One judged pair with everything about it."""

    pairing_id: int
    prompt_id: int
    prompt: str
    context: str | None
    topic: str
    candidate: Reply
    baseline: Reply
    said: tuple[Said, ...]
    """Of one kind of reviewer: people, or simulated ones."""

    @property
    def score(self) -> float:
        """Wins less losses over verdicts, in [-1, 1]."""
        return 2 * sum(one.outcome.score for one in self.said) / len(self.said) - 1

    @property
    def fate(self) -> Fate:
        """By the score's sign."""
        return Fate.LOST if self.score < 0 else Fate.WON if self.score > 0 else Fate.TIED


@dataclass(frozen=True)
class Earlier:
    """An Evaluation of an earlier model on some of the same pairs of prompt and baseline's reply."""

    evaluation: Evaluation
    candidate: str
    shared: int
    """Pairs that both have."""


@dataclass(frozen=True)
class Passed:
    """How often one Responder's judged replies passed one check."""

    responder_id: int
    responder: str
    assertion_id: int
    passed: int
    checked: int


def may_read(s: Session, *, by: int, project_id: int) -> bool:
    """Whether somebody may see texts with their authors now."""
    roles = roles_of(s, reviewer_id=by, project_id=project_id)
    if Role.MANAGER in roles:
        return True
    still = select(Evaluation.id).where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None))
    return Role.REVIEWER in roles and s.scalar(still.limit(1)) is None


def cases(s: Session, *, by: int, evaluation_id: int, simulated: bool = False) -> tuple[Case, ...]:
    """Every pair with a verdict of that kind of reviewer, in the order in which they were drawn.

    Raises `Refused` while the evaluation is open, or another one is and `by` is no manager.
    """
    evaluation = s.get_one(Evaluation, evaluation_id)
    require(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER, Role.REVIEWER))
    if evaluation.closed_at is None or not may_read(s, by=by, project_id=evaluation.project_id):
        raise Refused("Texts with their authors are told when no evaluation is open: others may use the same ones.")
    pairings = pairings_of(s, evaluation_id=evaluation_id)
    names = names_of(pairings)
    failed, checked = _checks(s, pairings)

    def reply(response: Response) -> Reply:
        model = response.responder.model_version
        return Reply(
            response_id=response.id,
            responder_id=response.responder_id,
            responder=names[response.responder_id],
            made_by=f"{model.name} (model {model.id})" if model else response.responder.endpoint_model or "",
            text=response.text,
            failed=tuple(failed[response.id]),
            checked=checked[response.id],
        )

    found = []
    for pairing in pairings:
        given = [j for j in pairing.judgments if j.verdict is not None and j.reviewer.simulated == simulated]
        if not given or pairing.identical:
            continue
        said = tuple(
            Said(j.reviewer.label, j.verdict.outcome(candidate_left=j.candidate_left), comment_of(j), j.seconds)
            for j in sorted(given, key=lambda judgment: judgment.id)
            if j.verdict is not None
        )
        found.append(
            Case(
                pairing_id=pairing.id,
                prompt_id=pairing.prompt_id,
                prompt=pairing.prompt.text,
                context=pairing.prompt.context,
                topic=(pairing.prompt.topic or "").strip() or NO_TAG,
                candidate=reply(pairing.candidate_response),
                baseline=reply(pairing.baseline_response),
                said=said,
            )
        )
    return tuple(found)


def chosen(found: Iterable[Case], *, topic: str = "", reviewer: str = "", commented: bool = False) -> tuple[Case, ...]:
    """Pure: those of a topic and with a reviewer's verdict, that verdict alone; losses first, then ties, then wins."""
    kept = []
    for case in found:
        said = tuple(one for one in case.said if not reviewer or one.reviewer == reviewer)
        if said and (not topic or case.topic == topic) and (not commented or any(one.comment for one in said)):
            kept.append(replace(case, said=said))
    return tuple(sorted(kept, key=lambda case: (case.score, case.pairing_id)))


def passed(s: Session, *, found: Iterable[Case]) -> tuple[Passed, ...]:
    """Checks of the judged replies, counted by Responder."""
    whose = {one.response_id: one for case in found for one in (case.candidate, case.baseline)}
    counts: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for _, response_id, good, assertion_id, _ in _results(s, whose):
        count = counts[whose[response_id].responder_id, assertion_id]
        count[0] += good
        count[1] += 1
    names = {one.responder_id: one.responder for one in whose.values()}
    return tuple(
        Passed(responder_id, names[responder_id], assertion_id, good, checked)
        for (responder_id, assertion_id), (good, checked) in sorted(counts.items())
    )


def earlier(s: Session, *, evaluation_id: int) -> Earlier | None:
    """The newest closed Evaluation before this one of an earlier model, judged beside some of the same replies."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    mine = _pairs(s, evaluation_id)
    version = evaluation.candidate.model_version_id
    if version is None:
        return None
    before = s.scalars(
        select(Evaluation)
        .join(Responder, Responder.id == Evaluation.candidate_id)
        .join(ModelVersion, ModelVersion.id == Responder.model_version_id)
        .where(
            Evaluation.project_id == evaluation.project_id,
            Evaluation.id < evaluation_id,
            Evaluation.closed_at.is_not(None),
            ModelVersion.id < version,
        )
        .options(joinedload(Evaluation.candidate))
        .order_by(Evaluation.id.desc())
    )
    for one in before:
        shared = len(mine & _pairs(s, one.id))
        if shared:
            return Earlier(one, one.candidate.label, shared)
    return None


def changes(now: Sequence[Case], then: Sequence[Case]) -> dict[int, tuple[Change, Case]]:
    """Pure: by pairing of now what became of it, with the earlier case; only pairs lost now or then.

    A pair is the same where prompt and baseline's reply are.
    """
    before = {(case.prompt_id, case.baseline.response_id): case for case in then}
    found = {}
    for case in now:
        old = before.get((case.prompt_id, case.baseline.response_id))
        if old is None:
            continue
        lost = old.fate is Fate.LOST, case.fate is Fate.LOST
        if any(lost):
            kind = {(True, False): Change.FIXED, (False, True): Change.BROKE, (True, True): Change.STILL_LOST}[lost]
            found[case.pairing_id] = (kind, old)
    return found


def _pairs(s: Session, evaluation_id: int) -> set[tuple[int, int]]:
    rows = s.execute(
        select(Pairing.prompt_id, Pairing.baseline_response_id).where(
            Pairing.evaluation_id == evaluation_id, Pairing.identical.is_(False)
        )
    )
    return {(prompt_id, response_id) for prompt_id, response_id in rows}


def _checks(s: Session, pairings: Iterable[Pairing]) -> tuple[dict[int, list[str]], dict[int, int]]:
    """By response what it failed, and how many checks were made of it."""
    ids = {one for pair in pairings for one in (pair.candidate_response_id, pair.baseline_response_id)}
    failed: dict[int, list[str]] = defaultdict(list)
    checked: dict[int, int] = defaultdict(int)
    for name, response_id, good, _, detail in _results(s, ids):
        checked[response_id] += 1
        if not good:
            failed[response_id].append(f"{name}: {detail}" if detail else name)
    return failed, checked


def _results(s: Session, response_ids: Iterable[int]) -> Sequence[tuple[str, int, bool, int, str]]:
    """Name, response, whether it passed, assertion and what was found, of checks that still stand."""
    rows = s.execute(
        select(
            Assertion.name,
            AssertionResult.response_id,
            AssertionResult.passed,
            Assertion.id,
            AssertionResult.detail,
        )
        .join(Assertion, Assertion.id == AssertionResult.assertion_id)
        .where(AssertionResult.response_id.in_(list(response_ids)), Assertion.ended_at.is_(None))
        .order_by(Assertion.id, AssertionResult.response_id)
    )
    return [(name, response_id, good, number, detail) for name, response_id, good, number, detail in rows]
