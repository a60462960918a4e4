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

from db.models import Evaluation, ModelVersion, Pairing, Responder, Response, Role
from db.people import require, roles_of
from errors import Refused
from eval.report.results import NO_TAG, names_of, pairings_of, replies_of
from generation.asserting import Share, results_of
from stats.verdicts import Outcome


class Fate(StrEnum):
    """What most of a pair's verdicts say of the candidate."""

    LOST = "lost"
    TIED = "tied"
    WON = "won"


class LossChange(StrEnum):
    """What became of a loss, or came to be one, since an earlier Evaluation."""

    FIXED = "fixed"
    """Lost then, not now."""
    BROKE = "broke"
    """Lost now, not then."""
    STILL_LOST = "still lost"


@dataclass(frozen=True)
class GivenVerdict:
    """One reviewer's word on a pair."""

    reviewer: str
    outcome: Outcome
    comment: str
    seconds: float | None


@dataclass(frozen=True)
class AuthoredReply:
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
    candidate: AuthoredReply
    baseline: AuthoredReply
    said: tuple[GivenVerdict, ...]
    """Of one kind of reviewer: people, or simulated ones."""

    @property
    def score(self) -> float:
        """Wins less losses over verdicts, in [-1, 1]."""
        return 2 * sum(verdict.outcome.score for verdict in self.said) / len(self.said) - 1

    @property
    def fate(self) -> Fate:
        """By the score's sign."""
        return Fate.LOST if self.score < 0 else Fate.WON if self.score > 0 else Fate.TIED


@dataclass(frozen=True)
class Earlier:
    """An Evaluation of an earlier model on some of the same pairs of prompt and baseline's reply."""

    evaluation: Evaluation
    shared: int
    """Pairs that both have."""


def may_read(s: Session, *, by: int, project_id: int) -> bool:
    """Whether somebody may see texts with their authors now."""
    roles = roles_of(s, reviewer_id=by, project_id=project_id)
    if Role.MANAGER in roles:
        return True
    still_open = select(Evaluation.id).where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None))
    return Role.REVIEWER in roles and s.scalar(still_open.limit(1)) is None


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
    failed: dict[int, list[str]] = defaultdict(list)
    checked: dict[int, int] = defaultdict(int)
    for assertion, result in results_of(s, response_ids={reply.id for reply in replies_of(pairings)}):
        checked[result.response_id] += 1
        if not result.passed:
            found = f"{assertion.name}: {result.detail}" if result.detail else assertion.name
            failed[result.response_id].append(found)

    def reply(response: Response) -> AuthoredReply:
        model = response.responder.model_version
        return AuthoredReply(
            response_id=response.id,
            responder_id=response.responder_id,
            responder=names[response.responder_id],
            made_by=f"{model.name} (model {model.id})" if model else response.responder.endpoint_model or "",
            text=response.text,
            failed=tuple(failed[response.id]),
            checked=checked[response.id],
        )

    def case(pairing: Pairing) -> Case:
        return Case(
            pairing_id=pairing.id,
            prompt_id=pairing.prompt_id,
            prompt=pairing.prompt.text,
            context=pairing.prompt.context,
            topic=(pairing.prompt.topic or "").strip() or NO_TAG,
            candidate=reply(pairing.candidate_response),
            baseline=reply(pairing.baseline_response),
            said=tuple(
                GivenVerdict(
                    judgment.reviewer.label,
                    judgment.verdict.outcome(candidate_left=judgment.candidate_left),
                    judgment.comment or "",
                    judgment.seconds,
                )
                for judgment in sorted(pairing.judgments, key=lambda judgment: judgment.id)
                if judgment.verdict is not None and judgment.reviewer.simulated == simulated
            ),
        )

    every = (case(pairing) for pairing in pairings if not pairing.identical)
    return tuple(judged for judged in every if judged.said)


def chosen(found: Iterable[Case], *, topic: str = "", reviewer: str = "", commented: bool = False) -> tuple[Case, ...]:
    """Pure: those of a topic and with a reviewer's verdict, that verdict alone; losses first, then ties, then wins."""
    kept = []
    for case in found:
        said = tuple(verdict for verdict in case.said if not reviewer or verdict.reviewer == reviewer)
        with_comment = any(verdict.comment for verdict in said)
        if said and (not topic or case.topic == topic) and (with_comment or not commented):
            kept.append(replace(case, said=said))
    return tuple(sorted(kept, key=lambda case: (case.score, case.pairing_id)))


def passed(s: Session, *, found: Iterable[Case]) -> tuple[Share, ...]:
    """Checks of the judged replies, counted by Responder."""
    replies = {reply.response_id: reply for case in found for reply in (case.candidate, case.baseline)}
    counts: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for assertion, result in results_of(s, response_ids=replies):
        counts[replies[result.response_id].responder_id, assertion.id].append(result.passed)
    names = {reply.responder_id: reply.responder for reply in replies.values()}
    return tuple(
        Share(assertion_id, responder_id, names[responder_id], sum(good), len(good))
        for (responder_id, assertion_id), good in sorted(counts.items())
    )


def earlier(s: Session, *, evaluation_id: int) -> Earlier | None:
    """The newest closed Evaluation before this one of an earlier model, judged beside some of the same replies."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    version = evaluation.candidate.model_version_id
    if version is None:
        return None
    mine = _pairs(s, evaluation_id)
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
    shared = ((one, len(mine & _pairs(s, one.id))) for one in before)
    return next((Earlier(one, number) for one, number in shared if number), None)


def changes(now: Sequence[Case], then: Sequence[Case]) -> dict[int, tuple[LossChange, Case]]:
    """Pure: by pairing of now what became of it, with the earlier case; only pairs lost now or then.

    A pair is the same where prompt and baseline's reply are.
    """
    before = {(case.prompt_id, case.baseline.response_id): case for case in then}
    kinds = {(True, False): LossChange.FIXED, (False, True): LossChange.BROKE, (True, True): LossChange.STILL_LOST}
    found = {}
    for case in now:
        old = before.get((case.prompt_id, case.baseline.response_id))
        if old is not None and Fate.LOST in (old.fate, case.fate):
            found[case.pairing_id] = kinds[old.fate is Fate.LOST, case.fate is Fate.LOST], old
    return found


def _pairs(s: Session, evaluation_id: int) -> set[tuple[int, int]]:
    drawn = select(Pairing.prompt_id, Pairing.baseline_response_id)
    rows = s.execute(drawn.where(Pairing.evaluation_id == evaluation_id, Pairing.identical.is_(False)))
    return {(prompt_id, response_id) for prompt_id, response_id in rows}
