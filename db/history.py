"""The audit trail writes itself: after every flush, what was added, changed or deleted, with old and new values.

`db.people.require`, which every writing function calls, says who acts. Texts of prompts and responses are not in it:
they never change. Placements are not either: a ranking's are written once, with it.
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
    Base,
    Change,
    Chip,
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Evaluation,
    Flag,
    Guideline,
    Judgment,
    Membership,
    ModelVersion,
    Pairing,
    Peek,
    Project,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reveal,
    RoutingRule,
    SecondLook,
    Tag,
    TextRule,
    WantedCorrection,
    now,
)

KEPT = (
    Assertion,
    Chip,
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Evaluation,
    Flag,
    Guideline,
    Judgment,
    Membership,
    ModelVersion,
    Peek,
    Project,
    Ranking,
    Responder,
    Reveal,
    RoutingRule,
    SecondLook,
    Tag,
    TextRule,
    WantedCorrection,
)
"""Tables whose every change is kept."""
LEFT_OUT = frozenset({"people", "contested", "state", "draw", "protocol"})
"""Columns that only sum up others, and one that is long and whose hash is kept."""
_BY = "acting reviewer"


def act_as(s: Session, reviewer_id: int | None) -> None:
    """Say who does what this session does from here on."""
    s.info[_BY] = reviewer_id


@event.listens_for(Session, "after_flush")
def _keep(s: Session, _context: UOWTransaction) -> None:
    found = [*_added(s), *_altered(s), *_deleted(s)]
    if found:
        at, by = now(), s.info.get(_BY)
        s.connection().execute(
            insert(Change),
            [{"reviewer_id": by, "created_at": at, **_about(s, item), **values} for item, values in found],
        )


def _added(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for item in s.new:
        # comparisons and models are made by the program, from what is kept elsewhere
        if isinstance(item, KEPT) and not isinstance(item, Comparison | ModelVersion):
            values = {name: plain for name in _columns(item) if (plain := _plain(getattr(item, name))) is not None}
            yield item, _row(item) | {"before": None, "after": values}


def _altered(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for item in s.dirty:
        if not isinstance(item, KEPT):
            continue
        before, after = {}, {}
        for name in _columns(item):
            history = get_history(item, name)
            if history.has_changes():
                before[name] = _plain(history.deleted[0] if history.deleted else None)
                after[name] = _plain(history.added[0] if history.added else None)
        if after != before:
            yield item, _row(item) | {"before": before, "after": after}


def _deleted(s: Session) -> Iterator[tuple[Base, dict[str, Any]]]:
    for item in s.deleted:
        if isinstance(item, KEPT):
            values = {name: plain for name in _columns(item) if (plain := _plain(getattr(item, name))) is not None}
            yield item, _row(item) | {"before": values, "after": None}


def _columns(item: Base) -> list[str]:
    return [name for name in inspect(item).mapper.column_attrs.keys() if name not in LEFT_OUT and name != "id"]  # noqa: SIM118


def _row(item: Base) -> dict[str, str]:
    key = inspect(item).mapper.primary_key_from_instance(item)
    return {"table": item.__tablename__, "row": ",".join(map(str, key))}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, StrEnum) else value


def _about(s: Session, item: Base) -> dict[str, int | None]:
    """The project, comparison and response that a row belongs to; models belong to all projects, so to none."""
    connection = s.connection()
    comparison = response = project = None
    match item:
        case Comparison():
            comparison = item.id
        case Ranking() | Flag() | Reveal():
            comparison = item.comparison_id
        case Chip() | CriterionChoice():
            comparison = connection.scalar(select(Ranking.comparison_id).where(Ranking.id == item.ranking_id))
        case Correction():
            response = item.response_id
            of = select(Prompt.project_id).join(Response, Response.prompt_id == Prompt.id)
            project = connection.scalar(of.where(Response.id == response))
        case Judgment():
            of = select(Evaluation.project_id).join(Pairing, Pairing.evaluation_id == Evaluation.id)
            project = connection.scalar(of.where(Pairing.id == item.pairing_id))
        case Tag() | SecondLook():
            of = select(Evaluation.project_id).join(Pairing, Pairing.evaluation_id == Evaluation.id)
            judged = of.join(Judgment, Judgment.pairing_id == Pairing.id).where(Judgment.id == item.judgment_id)
            project = connection.scalar(judged)
        case Peek():
            project = connection.scalar(select(Evaluation.project_id).where(Evaluation.id == item.evaluation_id))
        case WantedCorrection():
            project = connection.scalar(select(Prompt.project_id).where(Prompt.id == item.prompt_id))
        case Project():
            project = item.id
        case Assertion() | Criterion() | Evaluation() | Guideline() | Membership() | Responder():
            project = item.project_id
        case RoutingRule() | TextRule():
            project = item.project_id
    if comparison is not None:
        project = connection.scalar(select(Comparison.project_id).where(Comparison.id == comparison))
    return {"comparison_id": comparison, "response_id": response, "project_id": project}
