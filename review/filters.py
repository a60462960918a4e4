"""Narrowing comparisons down: to a prompt set, two responders, what is flagged, contested or gold."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Flag,
    Prompt,
    Responder,
    Response,
    Role,
)
from db.people import require


class ComparisonStanding(StrEnum):
    """What may be asked for of a comparison, beside what it compares."""

    UNRANKED = "UNRANKED"
    """No person has ranked it."""
    RANKED = "RANKED"
    """At least one person has."""
    CONTESTED = "CONTESTED"
    """People contradict each other on it."""
    FLAGGED = "FLAGGED"
    """Somebody says that something is wrong with it, and nobody has settled that."""
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


def conditions(only: Filter) -> list[ColumnElement[bool]]:
    """The filter as conditions on Comparison."""
    found: list[ColumnElement[bool]] = []
    if only.prompt_set_id is not None:
        of_set = exists().where(Prompt.id == Comparison.prompt_id, Prompt.prompt_set_id == only.prompt_set_id)
        found.append(of_set.correlate(Comparison))
    if only.words.strip():
        held = Prompt.text.icontains(only.words.strip(), autoescape=True)
        found.append(exists().where(Prompt.id == Comparison.prompt_id, held).correlate(Comparison))
    for responder_id in only.responder_ids:
        found.append(
            exists()
            .where(
                ComparisonResponse.comparison_id == Comparison.id,
                Response.id == ComparisonResponse.response_id,
                Response.responder_id == responder_id,
            )
            .correlate(Comparison)
        )
    if only.standing is not None:
        found.append(_holds(only.standing))
    return found


def _holds(standing: ComparisonStanding) -> ColumnElement[bool]:
    match standing:
        case ComparisonStanding.UNRANKED:
            return (Comparison.people == 0) & (Comparison.state != ComparisonState.AWAY)
        case ComparisonStanding.RANKED:
            return Comparison.people > 0
        case ComparisonStanding.CONTESTED:
            return Comparison.contested.is_(True)
        case ComparisonStanding.FLAGGED:
            return exists().where(Flag.comparison_id == Comparison.id, Flag.settled_at.is_(None)).correlate(Comparison)
        case ComparisonStanding.GOLD:
            return Comparison.gold.is_(True)
        case ComparisonStanding.NEAR_IDENTICAL:
            return Comparison.near_identical.is_(True)
        case ComparisonStanding.DISCARDED:
            return Comparison.discarded_at.is_not(None)


def check_filter(s: Session, *, by: int, project_id: int, only: Filter) -> None:
    """Raise `NotAllowed` where somebody but a manager filters by what would tell who wrote a response."""
    if only.responder_ids or only.standing is not None:
        require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))


def compared_responders(s: Session, *, project_id: int) -> Sequence[Responder]:
    """Responders with replies to training prompts, by name."""
    wrote = exists().where(
        Response.responder_id == Responder.id, Prompt.id == Response.prompt_id, Prompt.held_out.is_(False)
    )
    return s.scalars(
        select(Responder).where(Responder.project_id == project_id, Responder.kept, wrote).order_by(Responder.name)
    ).all()
