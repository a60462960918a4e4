"""The judged pairs of a closed Evaluation one by one, the candidate's losses first; and what changed since an earlier.

Here texts and their authors stand together, so it is for managers always, and for reviewers while no Evaluation of the
project is open: others use the same held-out prompts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased, selectinload

from db.models import Evaluation, Pairing, Responder, Response, Role
from db.people import require_role, roles_of
from errors import Refused
from eval.report.results import NO_TAG, judgments_with_verdict, load_pairings, replies_of, responder_names
from generation.asserting import PassRate, results_of
from stats.verdicts import Outcome


class CandidateOutcome(StrEnum):
    """What most of a pair's verdicts say of the candidate."""

    LOST = "lost"
    TIED = "tied"
    WON = "won"


class LossChange(StrEnum):
    """What became of a loss, or came to be one, since an earlier Evaluation."""

    FIXED = "fixed"
    BROKE = "broke"
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
    verdicts: tuple[GivenVerdict, ...]
    """Of one kind of reviewer: people, or simulated ones."""

    @property
    def score(self) -> float:
        """Wins less losses over verdicts, in [-1, 1]."""
        return 2 * sum(verdict.outcome.score for verdict in self.verdicts) / len(self.verdicts) - 1

    @property
    def outcome(self) -> CandidateOutcome:
        """By the score's sign."""
        if self.score == 0:
            return CandidateOutcome.TIED
        return CandidateOutcome.WON if self.score > 0 else CandidateOutcome.LOST


@dataclass(frozen=True)
class EarlierEvaluation:
    """An Evaluation of an earlier model on some of the same pairs of prompt and baseline's reply."""

    evaluation: Evaluation
    shared: int


def may_read(s: Session, *, by: int, project_id: int) -> bool:
    """Whether a reviewer may see texts with their authors now."""
    roles = roles_of(s, reviewer_id=by, project_id=project_id)
    if Role.MANAGER in roles:
        return True
    still_open = select(Evaluation.id).where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None))
    return Role.REVIEWER in roles and s.scalar(still_open.limit(1)) is None


def load_cases(s: Session, *, by: int, evaluation_id: int, simulated: bool = False) -> tuple[Case, ...]:
    """Every pair with a verdict of that kind of reviewer, in the order in which they were drawn.

    Raises `Refused` while the evaluation is open, or another one is and `by` is no manager.
    """
    evaluation = s.get_one(Evaluation, evaluation_id)
    require_role(s, by=by, project_id=evaluation.project_id, roles=(Role.MANAGER, Role.REVIEWER))
    if evaluation.closed_at is None or not may_read(s, by=by, project_id=evaluation.project_id):
        raise Refused("Texts with their authors are told when no evaluation is open: others may use the same ones.")
    pairings = load_pairings(s, evaluation_id=evaluation_id)
    names = responder_names(pairings)
    failed: dict[int, list[str]] = defaultdict(list)
    checked: Counter[int] = Counter()
    for assertion, result in results_of(s, response_ids={reply.id for reply in replies_of(pairings)}):
        checked[result.response_id] += 1
        if not result.passed:
            detail = f"{assertion.name}: {result.detail}" if result.detail else assertion.name
            failed[result.response_id].append(detail)

    def build_reply(response: Response) -> AuthoredReply:
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

    return tuple(
        Case(
            pairing_id=pairing.id,
            prompt_id=pairing.prompt_id,
            prompt=pairing.prompt.text,
            context=pairing.prompt.context,
            topic=(pairing.prompt.topic or "").strip() or NO_TAG,
            candidate=build_reply(pairing.candidate_response),
            baseline=build_reply(pairing.baseline_response),
            verdicts=tuple(
                GivenVerdict(
                    judgment.reviewer.label,
                    judgment.verdict.outcome(candidate_left=judgment.candidate_left),
                    judgment.comment or "",
                    judgment.seconds,
                )
                for judgment in judgments
                if judgment.verdict is not None
            ),
        )
        for pairing in pairings
        if not pairing.identical and (judgments := judgments_with_verdict(pairing, simulated=simulated))
    )


def filter_cases(
    cases: Iterable[Case], *, topic: str = "", reviewer: str = "", commented: bool = False
) -> tuple[Case, ...]:
    """Pure: those of a topic and with a reviewer's verdict, that verdict alone; losses first, then ties, then wins."""
    filtered = []
    for case in cases:
        verdicts = tuple(verdict for verdict in case.verdicts if not reviewer or verdict.reviewer == reviewer)
        with_comment = any(verdict.comment for verdict in verdicts)
        if verdicts and (not topic or case.topic == topic) and (with_comment or not commented):
            filtered.append(replace(case, verdicts=verdicts))
    return tuple(sorted(filtered, key=lambda case: (case.score, case.pairing_id)))


def count_passed_checks(s: Session, *, cases: Iterable[Case]) -> tuple[PassRate, ...]:
    """Checks of the judged replies, counted by Responder."""
    replies = {reply.response_id: reply for case in cases for reply in (case.candidate, case.baseline)}
    names = {reply.responder_id: reply.responder for reply in replies.values()}
    counts: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for assertion, result in results_of(s, response_ids=replies):
        counts[replies[result.response_id].responder_id, assertion.id].append(result.passed)
    return tuple(
        PassRate(assertion_id, responder_id, names[responder_id], sum(passed), len(passed))
        for (responder_id, assertion_id), passed in sorted(counts.items())
    )


def find_earlier(s: Session, *, evaluation_id: int) -> EarlierEvaluation | None:
    """The newest closed Evaluation before this one of an earlier model, judged beside some of the same replies."""
    evaluation = s.get_one(Evaluation, evaluation_id)
    then = aliased(Pairing)
    same_pair = (Pairing.prompt_id == then.prompt_id) & (Pairing.baseline_response_id == then.baseline_response_id)
    row = s.execute(
        select(Evaluation, func.count(Pairing.id))
        .join(Responder, Responder.id == Evaluation.candidate_id)
        .join(then, then.evaluation_id == Evaluation.id)
        .join(Pairing, same_pair & (Pairing.evaluation_id == evaluation_id))
        .where(
            Evaluation.project_id == evaluation.project_id,
            Evaluation.id < evaluation_id,
            Evaluation.closed_at.is_not(None),
            Responder.model_version_id < (evaluation.candidate.model_version_id or 0),
            Pairing.identical.is_(False),
            then.identical.is_(False),
        )
        .group_by(Evaluation.id)
        .order_by(Evaluation.id.desc())
        .options(selectinload(Evaluation.candidate))
    ).first()
    return EarlierEvaluation(*row) if row else None


def loss_changes(now: Sequence[Case], then: Sequence[Case]) -> dict[int, tuple[LossChange, Case]]:
    """Pure: by pairing of now what became of it, with the earlier case; only pairs lost now or then.

    A pair is the same where prompt and baseline's reply are.
    """
    before = {(case.prompt_id, case.baseline.response_id): case for case in then}
    kinds = {(True, False): LossChange.FIXED, (False, True): LossChange.BROKE, (True, True): LossChange.STILL_LOST}
    pairs = ((case, before.get((case.prompt_id, case.baseline.response_id))) for case in now)
    return {
        case.pairing_id: (kinds[old.outcome is CandidateOutcome.LOST, case.outcome is CandidateOutcome.LOST], old)
        for case, old in pairs
        if old is not None and CandidateOutcome.LOST in (old.outcome, case.outcome)
    }
