"""A project's standing feedback, read from the database for the pure part to work on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Select, or_, select
from sqlalchemy.orm import Session

from db.models import (
    Comparison,
    Correction,
    Criterion,
    CriterionChoice,
    Placement,
    Prompt,
    Ranking,
    RankingReason,
    Responder,
    Response,
    Reviewer,
    SamplingReason,
)
from errors import Refused
from review.corrections import find_superseded
from training.data.terms import Feedback, FeedbackPrompt, FeedbackReply, PreferenceRow, UndesirableReply

_Row = Row[*tuple[Any, ...]]


def refuse_held_out(s: Session, *, project_id: int, rows: Iterable[PreferenceRow | UndesirableReply]) -> None:
    """Raise `Refused` if a row's prompt is held out, or is a near-duplicate of a held-out prompt.

    Asks the database anew, whatever was read before: an evaluation is worth nothing once its prompts are trained on.
    """
    held_out = s.execute(
        select(Prompt.id, Prompt.cluster).where(Prompt.project_id == project_id, Prompt.held_out.is_(True))
    ).all()
    ids, clusters = {row.id for row in held_out}, {row.cluster for row in held_out}
    guilty = {row.prompt.id for row in rows if row.prompt.id in ids or row.prompt.cluster in clusters}
    if guilty:
        raise Refused(
            f"{len(guilty)} prompts with feedback are held out for evaluation or nearly the same as one that is, so "
            f"nothing was frozen. Undo the feedback on prompt {', '.join(map(str, sorted(guilty)[:5]))}."
        )


def load_rankings(s: Session, *, project_id: int) -> list[Feedback]:
    """Rankings of training prompts that were not undone, of pairs that were not discarded."""
    columns = (Ranking.id, Ranking.reviewer_id, Ranking.both_bad, Ranking.adjudicates, Ranking.strength)
    rows = s.execute(
        _ranked(project_id, *columns, Ranking.created_at, Placement.place, *_REPLY, *_PROMPT, beside=Placement)
        .join(Response, Response.id == Placement.response_id)
        .order_by(Ranking.id, Placement.place, Response.id)
    )
    people, responders = _reviewers(s), _responders(s, project_id=project_id)
    chips: dict[int, set[str]] = defaultdict(set)
    reasons = (RankingReason.ranking_id, RankingReason.label)
    for ranking_id, label in s.execute(_ranked(project_id, *reasons, beside=RankingReason)):
        chips[ranking_id].add(label)
    criteria: dict[int, dict[int, int | None]] = defaultdict(dict)
    choices = (Ranking.id, CriterionChoice.criterion_id, CriterionChoice.better_id)
    for ranking_id, criterion_id, better_id in s.execute(_ranked(project_id, *choices, beside=CriterionChoice)):
        criteria[ranking_id][criterion_id] = better_id
    rankings = []
    for _, placements in groupby(rows, key=lambda row: row.id):
        row, *others = placements
        rankings.append(
            Feedback(
                **_feedback_columns(row, people),
                placed=tuple((placement.place, _reply(placement, responders)) for placement in (row, *others)),
                both_bad=row.both_bad,
                adjudicates=row.adjudicates,
                strength=row.strength,
                chips=frozenset(chips.get(row.id, ())),
                by_criterion=criteria.get(row.id, {}),
            )
        )
    return rankings


def load_corrections(s: Session, *, project_id: int) -> list[Feedback]:
    """Corrections of replies to training prompts that were not undone."""
    columns = (Correction.id, Correction.reviewer_id, Correction.text, Correction.created_at)
    rows = s.execute(_corrected(project_id, *columns, *_REPLY, *_PROMPT).order_by(Correction.id)).all()
    people, responders = _reviewers(s), _responders(s, project_id=project_id)
    every = s.execute(
        select(Correction.id, Correction.parent_id, Correction.undone_at.is_(None))
        .join(Response, Response.id == Correction.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(Prompt.project_id == project_id)
    ).all()
    revised = find_superseded([(i, parent, stands) for i, parent, stands in every])
    return [
        Feedback.correction(
            _reply(row, responders), row.text, revised=row.id in revised, **_feedback_columns(row, people)
        )
        for row in rows
    ]


@dataclass(frozen=True)
class FeedbackChoices:
    """What a project's feedback offers to choose by."""

    reviewers: Mapping[int, str]
    """Id to label of all whose word stands, by label."""
    chips: tuple[str, ...]
    criteria: Mapping[int, str]
    """Id to name, in their order; a retired one only where something was said by it."""


def feedback_choices(s: Session, *, project_id: int) -> FeedbackChoices:
    """Who judged replies to training prompts, and with which chips and criteria."""
    gave_feedback = or_(
        Reviewer.id.in_(_ranked(project_id, Ranking.reviewer_id)),
        Reviewer.id.in_(_corrected(project_id, Correction.reviewer_id)),
    )
    chips = _ranked(project_id, RankingReason.label, beside=RankingReason)
    used = set(s.scalars(_ranked(project_id, CriterionChoice.criterion_id, beside=CriterionChoice)))
    criteria = s.scalars(select(Criterion).where(Criterion.project_id == project_id).order_by(Criterion.position))
    people = sorted(s.scalars(select(Reviewer).where(gave_feedback)), key=lambda person: person.label)
    return FeedbackChoices(
        reviewers={person.id: person.label for person in people},
        chips=tuple(sorted(set(s.scalars(chips)))),
        criteria={item.id: item.name for item in criteria if item.retired_at is None or item.id in used},
    )


def reviewer_and_criterion_names(s: Session, *, project_id: int) -> tuple[dict[int, str], dict[int, str]]:
    """Labels of all Reviewers and names of the project's Criteria by id, for choices in words."""
    criteria = s.scalars(select(Criterion).where(Criterion.project_id == project_id))
    return {i: reviewer.label for i, reviewer in _reviewers(s).items()}, {item.id: item.name for item in criteria}


_PROMPT = (
    Prompt.id.label("prompt_id"),
    Prompt.text.label("prompt_text"),
    Prompt.context,
    Prompt.cluster,
    Prompt.routing_rule_id,
    Prompt.synthetic,
    Prompt.extra,
)
# columns, not entities: a Response's token ids are long, and five thousand rankings have ten thousand of them
_REPLY = (Response.id.label("response_id"), Response.text.label("reply"), Response.finish_reason, Response.responder_id)


def _ranked(project_id: int, *columns: Any, beside: Any = None) -> Select[*tuple[Any, ...]]:
    """Columns of the standing rankings, and of a table with rows for each of them."""
    query = (
        select(*columns)
        .select_from(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.discarded_at.is_(None),
            Ranking.undone_at.is_(None),
            Ranking.sampling_reason != SamplingReason.REPEAT,
            Prompt.held_out.is_(False),
        )
    )
    return query if beside is None else query.join(beside, beside.ranking_id == Ranking.id)


def _corrected(project_id: int, *columns: Any) -> Select[*tuple[Any, ...]]:
    return (
        select(*columns)
        .select_from(Correction)
        .join(Response, Response.id == Correction.response_id)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(Prompt.project_id == project_id, Correction.undone_at.is_(None), Prompt.held_out.is_(False))
    )


def _reviewers(s: Session) -> dict[int, Reviewer]:
    return {reviewer.id: reviewer for reviewer in s.scalars(select(Reviewer))}


def _responders(s: Session, *, project_id: int) -> dict[int, str]:
    responders = s.scalars(select(Responder).where(Responder.project_id == project_id))
    return {responder.id: responder.label for responder in responders}


def _feedback_columns(row: _Row, people: Mapping[int, Reviewer]) -> dict[str, Any]:
    return {
        "id": row.id,
        "prompt": FeedbackPrompt(
            id=row.prompt_id,
            text=row.prompt_text,
            context=row.context,
            cluster=row.cluster,
            routed=row.routing_rule_id is not None,
            synthetic=row.synthetic,
            extra=row.extra,
        ),
        "reviewer": people[row.reviewer_id].label,
        "simulated": people[row.reviewer_id].simulated,
        "reviewer_id": row.reviewer_id,
        "given_on": row.created_at.date(),
    }


def _reply(row: _Row, responders: Mapping[int, str]) -> FeedbackReply:
    return FeedbackReply(row.response_id, row.reply, row.finish_reason, responders[row.responder_id])
