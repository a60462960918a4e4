"""What was checked about the two replies of a pair, for a reviewer who has given a verdict on it, and never before.

Sides are those of the judgment. Of who wrote what nothing leaves this file; of the results only whether both sides
passed, since a stored detail was made from the whole text, and a signature in it would tell people from models.
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.models import Assertion, Claim, Evaluation, Judgment, Pairing
from eval.judging import BlindView, judged_view, unjudged_pairings
from generation.asserting import results_of


@dataclass(frozen=True)
class PairCheck:
    """One Assertion that was checked on both sides, as a whole text each."""

    name: str
    claim: Claim
    value: str
    left: bool
    right: bool


@dataclass(frozen=True)
class JudgedPairChecks:
    """A judged pair as its reviewer saw it, with what was checked about it."""

    view: BlindView
    checks: tuple[PairCheck, ...]


def load_checks(s: Session, *, by: int, judgment_id: int) -> JudgedPairChecks | None:
    """What was checked about a pair that the reviewer `by` has judged.

    None while one of its replies comes back to them in another pair: that verdict is not given yet. Similarity to a
    person's reply is left out, because a person's own has nothing to be compared with and would show by that.

    Raises `Refused` where there is no verdict, `NotFound` for another reviewer's judgment.
    """
    view = judged_view(s, by=by, judgment_id=judgment_id)
    judgment = s.get_one(Judgment, judgment_id)
    sides = judgment.pairing.candidate_response_id, judgment.pairing.baseline_response_id
    comes_back = (
        unjudged_pairings(s, reviewer_id=by)
        .join(Evaluation, Evaluation.id == Pairing.evaluation_id)
        .where(Evaluation.closed_at.is_(None))
        .where(Pairing.candidate_response_id.in_(sides) | Pairing.baseline_response_id.in_(sides))
    )
    if s.scalar(comes_back.limit(1)) is not None:
        return None
    left, right = sides if judgment.candidate_left else sides[::-1]
    passed: dict[Assertion, dict[int, bool]] = defaultdict(dict)
    for assertion, result in results_of(s, response_ids=sides):
        if assertion.claim is not Claim.LIKE_REFERENCE:
            passed[assertion][result.response_id] = result.passed
    checks = (
        PairCheck(assertion.name, assertion.claim, assertion.value, by_reply[left], by_reply[right])
        for assertion, by_reply in passed.items()
        if len(by_reply) == 2
    )
    return JudgedPairChecks(view, tuple(checks))
