"""Pairs looked at again after a TextRule changed: what looks nearly the same now is offered to nobody, and the reverse.

A pair that somebody has ranked stays as it is: what they saw was worth choosing between.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import FEWEST, nearly_same, of_at_most
from db.models import Comparison, ComparisonResponse, Ranking, Response
from texts.shown import AsShown

CHUNK = 500
"""Pairs whose texts are in memory at once."""


def look_again(s: Session, *, project_id: int, before: AsShown, after: AsShown) -> int:
    """Bring `Comparison.near_identical` up to date for pairs that nobody has ranked, and say how many changed.

    Args:
        before: how texts were shown until now; a pair whose texts look as they did is not compared anew.
        after: how they are shown from now on.
    """
    ranked = select(Ranking.id).where(Ranking.comparison_id == Comparison.id).correlate(Comparison).exists()
    mine = (
        Comparison.project_id == project_id,
        Comparison.discarded_at.is_(None),
        Comparison.gold.is_(False),
        of_at_most(FEWEST),
        ~ranked,
    )
    ids = s.scalars(select(Comparison.id).where(*mine).order_by(Comparison.id)).all()
    seen: dict[int, tuple[str, bool]] = {}
    changed = 0
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
        near: dict[int, bool] = {}
        for comparison_id, texts in _texts(s, some).items():
            for response_id, text in texts:
                if response_id not in seen:
                    now = after(text)
                    seen[response_id] = now, now != before(text)
            (one, touched), (other, also) = (seen[response_id] for response_id, _ in texts)
            if touched or also:
                near[comparison_id] = nearly_same(one, other)
        for comparison in s.scalars(select(Comparison).where(Comparison.id.in_(near))) if near else ():
            changed += comparison.near_identical != near[comparison.id]
            comparison.near_identical = near[comparison.id]  # the flush sets its state by that
        s.flush()
    return changed


def _texts(s: Session, comparison_ids: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """The two responses of each, by id and text."""
    rows = s.execute(
        select(ComparisonResponse.comparison_id, Response.id, Response.text)
        .join(Response, Response.id == ComparisonResponse.response_id)
        .where(ComparisonResponse.comparison_id.in_(comparison_ids))
    )
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for comparison_id, response_id, text in rows:
        found[comparison_id].append((response_id, text))
    return {comparison_id: texts for comparison_id, texts in found.items() if len(texts) == FEWEST}
