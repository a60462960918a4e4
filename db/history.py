"""The audit trail: after every flush it records what was added, changed or deleted, with old and new values.

`db.people.require_role`, which every writing function calls, sets who acts. The trail leaves out prompts and responses,
whose texts never change, and placements, which are written once with their ranking.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import event, insert, inspect, select
from sqlalchemy.orm import Session, UOWTransaction
from sqlalchemy.orm.attributes import get_history

from db.models import (
    Assertion,
    AuditRecord,
    Base,
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Evaluation,
    Flag,
    Guideline,
    Judgment,
    JudgmentReason,
    Membership,
    ModelVersion,
    Pairing,
    Peek,
    Project,
    Prompt,
    Ranking,
    RankingReason,
    RepeatJudgment,
    Responder,
    Response,
    Reveal,
    RoutingRule,
    TextRule,
    WantedCorrection,
    now,
)

AUDITED = (
    Assertion,
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Evaluation,
    Flag,
    Guideline,
    Judgment,
    JudgmentReason,
    Membership,
    ModelVersion,
    Peek,
    Project,
    Ranking,
    RankingReason,
    RepeatJudgment,
    Responder,
    Reveal,
    RoutingRule,
    TextRule,
    WantedCorrection,
)
"""Tables whose changes are recorded."""
UNAUDITED_COLUMNS = frozenset({"people", "contested", "state", "random_order", "protocol"})
"""Columns that are not recorded: some are computed from others, and of the long protocol the hash is recorded."""
_ACTOR = "acting reviewer"


def act_as(s: Session, reviewer_id: int | None) -> None:
    """Set the reviewer who makes all further changes of this session."""
    s.info[_ACTOR] = reviewer_id


@event.listens_for(Session, "after_flush")
def _record_changes(s: Session, _context: UOWTransaction) -> None:
    changes = [*_insertions(s), *_updates(s), *_deletions(s)]
    if changes:
        at, by = now(), s.info.get(_ACTOR)
        s.connection().execute(
            insert(AuditRecord),
            [{"reviewer_id": by, "created_at": at, **_owner_ids(s, row), **values} for row, values in changes],
        )


def _insertions(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for row in s.new:
        # the program makes comparisons and models, from rows that are recorded
        if isinstance(row, AUDITED) and not isinstance(row, Comparison | ModelVersion):
            yield row, _row_key(row) | {"before": None, "after": _values(row)}


def _updates(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for row in s.dirty:
        if not isinstance(row, AUDITED):
            continue
        before, after = {}, {}
        for name in _columns(row):
            history = get_history(row, name)
            if history.has_changes():
                before[name] = _json_value(history.deleted[0] if history.deleted else None)
                after[name] = _json_value(history.added[0] if history.added else None)
        if after != before:
            yield row, _row_key(row) | {"before": before, "after": after}


def _deletions(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for row in s.deleted:
        if isinstance(row, AUDITED):
            yield row, _row_key(row) | {"before": _values(row), "after": None}


def _columns(row: Base) -> list[str]:
    return [name for name in inspect(row).mapper.column_attrs.keys() if name not in UNAUDITED_COLUMNS and name != "id"]  # noqa: SIM118


def _values(row: Base) -> dict[str, Any]:
    return {name: value for name in _columns(row) if (value := _json_value(getattr(row, name))) is not None}


def _row_key(row: Base) -> dict[str, str]:
    key = inspect(row).mapper.primary_key_from_instance(row)
    return {"table": row.__tablename__, "row": ",".join(map(str, key))}


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, StrEnum) else value


def _owner_ids(s: Session, row: Base) -> dict[str, int | None]:
    """Ids of the project, comparison and response that a row belongs to; a model belongs to no single project."""
    connection = s.connection()
    comparison = response = project = None
    of_evaluation = select(Evaluation.project_id).join(Pairing, Pairing.evaluation_id == Evaluation.id)
    match row:
        case Comparison():
            comparison = row.id
        case Ranking() | Flag() | Reveal():
            comparison = row.comparison_id
        case RankingReason() | CriterionChoice():
            comparison = connection.scalar(select(Ranking.comparison_id).where(Ranking.id == row.ranking_id))
        case Correction():
            response = row.response_id
            of_prompt = select(Prompt.project_id).join(Response, Response.prompt_id == Prompt.id)
            project = connection.scalar(of_prompt.where(Response.id == response))
        case Judgment():
            project = connection.scalar(of_evaluation.where(Pairing.id == row.pairing_id))
        case JudgmentReason() | RepeatJudgment():
            of_judgment = of_evaluation.join(Judgment, Judgment.pairing_id == Pairing.id)
            project = connection.scalar(of_judgment.where(Judgment.id == row.judgment_id))
        case Peek():
            project = connection.scalar(select(Evaluation.project_id).where(Evaluation.id == row.evaluation_id))
        case WantedCorrection():
            project = connection.scalar(select(Prompt.project_id).where(Prompt.id == row.prompt_id))
        case Project():
            project = row.id
        case Assertion() | Criterion() | Evaluation() | Guideline() | Membership() | Responder():
            project = row.project_id
        case RoutingRule() | TextRule():
            project = row.project_id
    if comparison is not None:
        project = connection.scalar(select(Comparison.project_id).where(Comparison.id == comparison))
    return {"comparison_id": comparison, "response_id": response, "project_id": project}
