"""Which comparison would tell most: the one whose outcome is least certain, seen from what people said so far.

Bradley-Terry strengths of the Responders (Bradley & Terry 1952; `evalica.bradley_terry`) give the chance that one's
reply is ranked above another's; the nearer to a half, the less certain. Comparisons on which people contradict
each other are the least certain of all. Between two samples of one Responder nothing is known: the random order stays.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Comparison, Response
from review.progress import count_outcomes
from stats.verdicts import Outcome

WINDOW = 200
"""Of the pairs next in the random order, so many are looked at for the least certain one."""
CONTROL = 5
"""One pair in so many is drawn at random all the same, to see what the choosing does."""
PRIOR = 1.0
"""Imagined ties between any two Responders."""
KEPT_FOR = 60.0
"""Seconds for which strengths are kept: one ranking more changes little."""
_kept: dict[tuple[str, int], tuple[float, Mapping[int, float]]] = {}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A comparison that waits, with the Responders of its responses."""

    comparison_id: int
    contested: bool
    responder_ids: tuple[int, ...]


def margin(candidate: Candidate, strengths: Mapping[int, float]) -> float:
    """How far the outcome is from even, in [0, 0.5]; 0 is least certain. Unknown Responders count as average. Pure."""
    if candidate.contested:
        return 0.0
    known = list(strengths.values())
    average = sum(known) / len(known) if known else 1.0
    if len(candidate.responder_ids) > len(set(candidate.responder_ids)):
        return 0.25  # samples of one Responder: neither known to be even nor to be clear
    ascending = sorted(strengths.get(responder_id, average) for responder_id in candidate.responder_ids)
    return min((abs(upper / (upper + lower) - 0.5) for lower, upper in pairwise(ascending)), default=0.25)


def least_certain(candidates: list[Candidate], strengths: Mapping[int, float]) -> int | None:
    """The id of the candidate with the smallest margin, the first of equals; none without candidates. Pure."""
    best = min(candidates, key=lambda pair: (not pair.contested, margin(pair, strengths)), default=None)
    return best.comparison_id if best else None


def responder_strengths(s: Session, *, project_id: int) -> Mapping[int, float]:
    """Bradley-Terry strength of each Responder that people ranked against another one; kept for a minute."""
    key = (str(s.get_bind().engine.url), project_id)
    at, fitted = _kept.get(key, (0.0, {}))
    if time.monotonic() - at > KEPT_FOR:
        fitted = _fit_strengths(s, project_id)
        _kept[key] = (time.monotonic(), fitted)
    return fitted


def _fit_strengths(s: Session, project_id: int) -> Mapping[int, float]:
    counts = count_outcomes(s, project_id=project_id)
    games = [(*pair, True, float(outcomes[Outcome.WIN])) for pair, outcomes in counts.items() if outcomes[Outcome.WIN]]
    # both replies tell of a tie, so each counts half
    games += [(*pair, False, outcomes[Outcome.TIE] / 2) for pair, outcomes in counts.items() if outcomes[Outcome.TIE]]
    if not games:
        return {}
    # imported here: it takes two seconds, and only this order of the queue needs it
    from evalica import Winner, bradley_terry

    # an imagined tie between any two keeps the fit finite where one was never ranked below the other
    known = sorted({responder_id for first, second, *_ in games for responder_id in (first, second)})
    games += [(first, second, False, 2 * PRIOR) for first, second in combinations(known, 2)]
    result = bradley_terry(
        [str(first) for first, *_ in games],
        [str(second) for _, second, *_ in games],
        [Winner.X if decided else Winner.Draw for *_, decided, _ in games],
        weights=[weight for *_, weight in games],
    )
    return {int(str(name)): float(strength) for name, strength in result.scores.items()}


def load_candidates(s: Session, comparison_ids: list[int]) -> list[Candidate]:
    """These comparisons, in the same order, with what the choice between them needs."""
    rows = s.execute(
        select(Comparison.id, Comparison.contested, Response.responder_id)
        .join(Comparison.responses)
        .where(Comparison.id.in_(comparison_ids))
        .order_by(Comparison.id)
    ).all()
    by_id = {
        comparison_id: Candidate(comparison_id, contested, tuple(row.responder_id for row in group))
        for (comparison_id, contested), group in groupby(rows, key=lambda row: (row.id, row.contested))
    }
    return [by_id[comparison_id] for comparison_id in comparison_ids if comparison_id in by_id]
