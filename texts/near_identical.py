"""Updates which pairs look nearly identical after a TextRule changed: such pairs are offered to no reviewer.

A pair that has a ranking keeps its mark: the reviewer saw two texts that were worth choosing between.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.comparisons import MIN_RESPONSES, has_at_most, nearly_same
from db.models import Comparison, ComparisonResponse, Ranking, Response
from texts.shown import TextFilter

CHUNK = 500
"""Pairs whose texts are in memory at once."""


def refresh_near_identical(s: Session, *, project_id: int, before: TextFilter, after: TextFilter) -> int:
    """Bring `Comparison.near_identical` up to date for pairs without a ranking; gives how many changed.

    Args:
        before: how texts were shown until now; a pair whose texts look as before is not compared again.
        after: how they are shown from now on.
    """
    ranked = select(Ranking.id).where(Ranking.comparison_id == Comparison.id).correlate(Comparison).exists()
    unranked_pairs = (
        Comparison.project_id == project_id,
        Comparison.discarded_at.is_(None),
        Comparison.gold.is_(False),
        has_at_most(MIN_RESPONSES),
        ~ranked,
    )
    ids = s.scalars(select(Comparison.id).where(*unranked_pairs).order_by(Comparison.id)).all()
    shown: dict[int, tuple[str, bool]] = {}  # by response: its text from now on, and whether that changed
    changed = 0
    for start in range(0, len(ids), CHUNK):
        near: dict[int, bool] = {}
        for comparison_id, responses in _load_texts(s, ids[start : start + CHUNK]).items():
            for response_id, text in responses:
                if response_id not in shown:
                    new_text = after(text)
                    shown[response_id] = new_text, new_text != before(text)
            (first, first_changed), (second, second_changed) = (shown[response_id] for response_id, _ in responses)
            if first_changed or second_changed:
                near[comparison_id] = nearly_same(first, second)
        for comparison in s.scalars(select(Comparison).where(Comparison.id.in_(near))) if near else ():
            changed += comparison.near_identical != near[comparison.id]
            comparison.near_identical = near[comparison.id]  # the flush sets its state by that
        s.flush()
    return changed


def _load_texts(s: Session, comparison_ids: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """The ids and texts of each comparison's two responses."""
    rows = s.execute(
        select(ComparisonResponse.comparison_id, Response.id, Response.text)
        .join(Response, Response.id == ComparisonResponse.response_id)
        .where(ComparisonResponse.comparison_id.in_(comparison_ids))
    )
    responses: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for comparison_id, response_id, text in rows:
        responses[comparison_id].append((response_id, text))
    return {comparison_id: pair for comparison_id, pair in responses.items() if len(pair) == MIN_RESPONSES}
