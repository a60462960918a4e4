"""Narrowing comparisons down: to a prompt set, two responders, what is flagged, contested or gold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from db.comparisons import OFFERED
from db.models import Comparison, Flag, Prompt, Responder, Response
from intake.prompts import list_prompt_sets


class ComparisonStanding(StrEnum):
    """What may be asked for of a comparison, beside what it compares."""

    UNRANKED = "UNRANKED"
    """No person has ranked it."""
    RANKED = "RANKED"
    """At least one person has."""
    CONTESTED = "CONTESTED"
    """People contradict each other on it."""
    FLAGGED = "FLAGGED"
    """A reviewer says that something is wrong with it, and that is not settled."""
    GOLD = "GOLD"
    """Its answer is known."""
    NEAR_IDENTICAL = "NEAR_IDENTICAL"
    """Never offered, since its responses are nearly the same."""
    DISCARDED = "DISCARDED"
    """A manager took it away."""


@dataclass(frozen=True)
class Filter:
    """What to narrow down to; everything that is set has to hold."""

    prompt_set_id: int | None = None
    responder_ids: tuple[int, ...] = ()
    """Each of these wrote one of the responses."""
    standing: ComparisonStanding | None = None
    words: str = ""
    """These characters stand in the prompt, capital letters or not."""

    @property
    def is_set(self) -> bool:
        """Whether anything is narrowed down at all."""
        return self != Filter()


_HOLDS: Mapping[ComparisonStanding, ColumnElement[bool]] = {
    ComparisonStanding.UNRANKED: (Comparison.people == 0) & OFFERED,
    ComparisonStanding.RANKED: Comparison.people > 0,
    ComparisonStanding.CONTESTED: Comparison.contested.is_(True),
    ComparisonStanding.FLAGGED: exists()
    .where(Flag.comparison_id == Comparison.id, Flag.settled_at.is_(None))
    .correlate(Comparison),
    ComparisonStanding.GOLD: Comparison.gold.is_(True),
    ComparisonStanding.NEAR_IDENTICAL: Comparison.near_identical.is_(True),
    ComparisonStanding.DISCARDED: Comparison.discarded_at.is_not(None),
}


def filter_conditions(only: Filter) -> list[ColumnElement[bool]]:
    """The filter as conditions on Comparison."""
    holds = [Comparison.responses.any(Response.responder_id == responder_id) for responder_id in only.responder_ids]
    if only.prompt_set_id is not None:
        holds.append(Comparison.prompt.has(Prompt.prompt_set_id == only.prompt_set_id))
    if words := only.words.strip():
        holds.append(Comparison.prompt.has(Prompt.text.icontains(words, autoescape=True)))
    return [*holds, _HOLDS[only.standing]] if only.standing is not None else holds


def filter_choices(s: Session, *, project_id: int) -> tuple[dict[int, str], dict[int, str]]:
    """What can be narrowed down to, by id: imports, newest first, and Responders with replies to training prompts."""
    wrote = exists().where(
        Response.responder_id == Responder.id, Prompt.id == Response.prompt_id, Prompt.held_out.is_(False)
    )
    responders = s.scalars(
        select(Responder).where(Responder.project_id == project_id, Responder.listed, wrote).order_by(Responder.name)
    )
    imports = list_prompt_sets(s, project_id=project_id)
    return (
        {prompts.id: f"{prompts.file_name} ({prompts.created_at:%d %b})" for prompts in imports},
        {responder.id: responder.label for responder in responders},
    )
