"""Which comparison would tell most: the one whose outcome is least certain, seen from what people said so far.

Bradley-Terry strengths of the Responders (Bradley & Terry 1952; `evalica.bradley_terry`) give the chance that one's
reply is ranked above another's; the nearer to a half, the less certain. Comparisons on which people contradict
each other are the least certain of all. Between two samples of one Responder nothing is known: the random order stays.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OWN_WORD
from db.models import Comparison, ComparisonResponse, ComparisonState, Placement, Ranking, Response, Reviewer

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
    of = sorted(strengths.get(responder_id, average) for responder_id in candidate.responder_ids)
    return min((abs(upper / (upper + lower) - 0.5) for lower, upper in pairwise(of)), default=0.25)


def least_certain(candidates: list[Candidate], strengths: Mapping[int, float]) -> int | None:
    """The id of the candidate with the smallest margin, the first of equals; none without candidates. Pure."""
    best = min(candidates, key=lambda one: (not one.contested, margin(one, strengths)), default=None)
    return best.comparison_id if best else None


def strengths(s: Session, *, project_id: int) -> Mapping[int, float]:
    """Bradley-Terry strength of each Responder that people ranked against another one; kept for a minute."""
    place = (str(s.get_bind().engine.url), project_id)
    at, found = _kept.get(place, (0.0, {}))
    if time.monotonic() - at > KEPT_FOR:
        found = _fit(s, project_id)
        _kept[place] = (time.monotonic(), found)
    return found


def _fit(s: Session, project_id: int) -> Mapping[int, float]:
    better, worse = aliased(Placement), aliased(Placement)
    above, below = aliased(Response), aliased(Response)
    rows = s.execute(
        select(above.responder_id, below.responder_id, better.place < worse.place, func.count())
        .select_from(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(better, better.ranking_id == Ranking.id)
        .join(worse, worse.ranking_id == Ranking.id)
        .join(above, above.id == better.response_id)
        .join(below, below.id == worse.response_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.state != ComparisonState.AWAY,
            OWN_WORD,
            Ranking.both_bad.is_(False),
            Reviewer.simulated.is_(False),
            better.place <= worse.place,
            better.response_id != worse.response_id,
            above.responder_id != below.responder_id,
        )
        .group_by(above.responder_id, below.responder_id, better.place < worse.place)
    ).all()
    if not rows:
        return {}
    # imported here: it takes two seconds, and only this order of the queue needs it
    from evalica import Winner, bradley_terry

    # an imagined tie between any two keeps the fit finite where one was never ranked below the other
    known = sorted({responder_id for one, other, *_ in rows for responder_id in (one, other)})
    prior = [(one, other, False, 2 * PRIOR) for one, other in combinations(known, 2)]
    games = [*(tuple(row) for row in rows), *prior]
    result = bradley_terry(
        [str(one) for one, *_ in games],
        [str(other) for _, other, *_ in games],
        [Winner.X if decided else Winner.Draw for *_, decided, _ in games],
        # a tie is found from both sides
        weights=[float(count if decided else count / 2) for *_, decided, count in games],
    )
    return {int(str(name)): float(value) for name, value in result.scores.items()}


def candidates(s: Session, comparison_ids: list[int]) -> list[Candidate]:
    """These comparisons, in the same order, with what the choice between them needs."""
    rows = s.execute(
        select(Comparison.id, Comparison.contested, Response.responder_id)
        .join(ComparisonResponse, ComparisonResponse.comparison_id == Comparison.id)
        .join(Response, Response.id == ComparisonResponse.response_id)
        .where(Comparison.id.in_(comparison_ids))
    ).all()
    writers: dict[int, list[int]] = {}
    contested: dict[int, bool] = {}
    for comparison_id, against, responder_id in rows:
        writers.setdefault(comparison_id, []).append(responder_id)
        contested[comparison_id] = against
    return [Candidate(i, contested[i], tuple(writers[i])) for i in comparison_ids if i in writers]
