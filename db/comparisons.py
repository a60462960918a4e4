"""Comparisons exist once for each set of responses, whoever offers them; and which rankings of one stand."""

from collections.abc import Collection

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from db.models import Comparison, ComparisonResponse, Ranking

OWN_WORD = and_(Ranking.undone_at.is_(None), Ranking.adjudicates.is_(False))
"""A standing ranking that is a reviewer's own: not undone, and no decision between others'."""


def comparison_key(response_ids: Collection[int]) -> str:
    """What makes a set of responses one comparison, whatever their order."""
    return ",".join(str(response_id) for response_id in sorted(response_ids))


def ensure_comparison(s: Session, *, project_id: int, prompt_id: int, response_ids: Collection[int]) -> Comparison:
    """The comparison of these responses, made if new."""
    key = comparison_key(response_ids)
    found = s.scalar(select(Comparison).where(Comparison.project_id == project_id, Comparison.key == key))
    if found is not None:
        return found
    comparison = Comparison(project_id=project_id, prompt_id=prompt_id, key=key)
    s.add(comparison)
    s.flush()
    s.add_all(ComparisonResponse(comparison_id=comparison.id, response_id=r) for r in sorted(response_ids))
    s.flush()
    return comparison
