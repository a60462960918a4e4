"""How the ranking goes: by person and by day, and what several people said of the same pairs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.comparisons import OWN_WORD
from db.models import (
    Comparison,
    ComparisonResponse,
    Correction,
    Criterion,
    CriterionChoice,
    Placement,
    Prompt,
    Ranking,
    Response,
    Reviewer,
)
from review.agreement import Opinion


@dataclass(frozen=True)
class Pace:
    """What one reviewer has done in a project."""

    reviewer: str
    """Label; says so if simulated."""
    simulated: bool
    ranked: int
    """Standing rankings given here, of any comparison."""
    imported: int
    """Standing rankings that came with a file."""
    corrections: int
    seconds: tuple[float, ...]
    """From each pair's appearance to the choice, where it was timed."""
    left_share: float | None
    """Of decided pairs ranked here, how often the left was better: far from a half means habit, not judgment."""
    tie_share: float | None
    """Of pairs ranked here, how many were called both good or both bad."""
    by_day: Mapping[date, int]
    """UTC day to rankings given here."""

    @property
    def median_seconds(self) -> float | None:
        """For a pair; none where nothing was timed."""
        return median(self.seconds) if self.seconds else None


@dataclass(frozen=True)
class Coverage:
    """How far the project's comparisons are ranked by people."""

    comparisons: int
    once: int
    """Ranked by at least one person."""
    twice: int
    """Ranked by two people or more."""


def coverage(s: Session, *, project_id: int) -> Coverage:
    """Comparisons of training prompts, and how many of them people have ranked."""
    total = s.scalar(select(func.count()).select_from(_comparisons(project_id).subquery())) or 0
    people = (
        select(func.count(func.distinct(Ranking.reviewer_id)).label("people"))
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(
            Ranking.comparison_id.in_(_comparisons(project_id)),
            OWN_WORD,
            Reviewer.simulated.is_(False),
        )
        .group_by(Ranking.comparison_id)
        .subquery()
    )
    once = s.scalar(select(func.count()).select_from(people)) or 0
    twice = s.scalar(select(func.count()).select_from(people).where(people.c.people > 1)) or 0
    return Coverage(total, once, twice)


def pace(s: Session, *, project_id: int) -> list[Pace]:
    """Everybody who ranked or corrected, busiest first."""
    left = select(Placement).where(Placement.position == 0).subquery()
    right = select(Placement).where(Placement.position == 1).subquery()
    rows = s.execute(
        select(
            Ranking.reviewer_id,
            Ranking.created_at,
            Ranking.seconds,
            Ranking.prompt_set_id,
            left.c.place,
            right.c.place,
        )
        .join(left, left.c.ranking_id == Ranking.id)
        .join(right, right.c.ranking_id == Ranking.id)
        .where(Ranking.comparison_id.in_(_comparisons(project_id)), OWN_WORD)
    ).all()
    here: dict[int, list[tuple[datetime, float | None, int, int]]] = defaultdict(list)
    imported: dict[int, int] = defaultdict(int)
    for reviewer_id, at, seconds, prompt_set_id, first, second in rows:
        if prompt_set_id is None:
            here[reviewer_id].append((at, seconds, first, second))
        else:
            imported[reviewer_id] += 1
    corrected = {  # noqa: C416
        reviewer_id: count
        for reviewer_id, count in s.execute(
            select(Correction.reviewer_id, func.count())
            .join(Response, Response.id == Correction.response_id)
            .join(Prompt, Prompt.id == Response.prompt_id)
            .where(Prompt.project_id == project_id, Correction.undone_at.is_(None))
            .group_by(Correction.reviewer_id)
        )
    }
    active = {*here, *imported, *corrected}
    people = s.scalars(select(Reviewer).where(Reviewer.id.in_(active))).all()
    found = [_pace(person, here[person.id], imported[person.id], corrected.get(person.id, 0)) for person in people]
    return sorted(found, key=lambda one: (-one.ranked - one.imported, one.reviewer))


def _pace(
    person: Reviewer, ranked: Sequence[tuple[datetime, float | None, int, int]], imported: int, corrections: int
) -> Pace:
    decided = [first < second for _, _, first, second in ranked if first != second]
    days: dict[date, int] = defaultdict(int)
    for at, *_ in ranked:
        days[at.date()] += 1
    return Pace(
        reviewer=person.label,
        simulated=person.simulated,
        ranked=len(ranked),
        imported=imported,
        corrections=corrections,
        seconds=tuple(seconds for _, seconds, _, _ in ranked if seconds is not None),
        left_share=sum(decided) / len(decided) if decided else None,
        tie_share=1 - len(decided) / len(ranked) if ranked else None,
        by_day=dict(sorted(days.items())),
    )


def opinions(s: Session, *, project_id: int) -> list[Opinion]:
    """What people (no simulated reviewers) said of pairs, freed from the sides: FIRST is the response of lower id."""
    rows = s.execute(
        select(Ranking.comparison_id, Reviewer.name, Ranking.both_bad, Placement.place)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(Placement, Placement.ranking_id == Ranking.id)
        .where(
            Ranking.comparison_id.in_(_pairs(project_id)),
            OWN_WORD,
            Reviewer.simulated.is_(False),
        )
        .order_by(Ranking.id, Placement.response_id)
    ).all()
    found = []
    for (comparison_id, name, both_bad, first), (*_, second) in zip(rows[::2], rows[1::2], strict=True):
        if both_bad:
            said = "BOTH_BAD"
        elif first == second:
            said = "TIE"
        else:
            said = "FIRST" if first < second else "SECOND"
        found.append(Opinion(comparison_id, name, said))
    return found


def opinions_by_criterion(s: Session, *, project_id: int) -> Mapping[str, list[Opinion]]:
    """The same by each criterion: the better response's id, or TIE."""
    rows = s.execute(
        select(Criterion.name, Ranking.comparison_id, Reviewer.name, CriterionChoice.better_id)
        .join(CriterionChoice, CriterionChoice.criterion_id == Criterion.id)
        .join(Ranking, Ranking.id == CriterionChoice.ranking_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(Criterion.project_id == project_id, OWN_WORD, Reviewer.simulated.is_(False))
        .order_by(Criterion.position)
    )
    found: dict[str, list[Opinion]] = defaultdict(list)
    sides: dict[int, list[int]] = defaultdict(list)
    seen = rows.all()
    shown = select(ComparisonResponse.comparison_id, ComparisonResponse.response_id).where(
        ComparisonResponse.comparison_id.in_({comparison_id for _, comparison_id, _, _ in seen})
    )
    for comparison_id, response_id in s.execute(shown.order_by(ComparisonResponse.response_id)):
        sides[comparison_id].append(response_id)
    for criterion, comparison_id, name, better_id in seen:
        said = "TIE" if better_id is None else ("FIRST" if better_id == sides[comparison_id][0] else "SECOND")
        found[criterion].append(Opinion(comparison_id, name, said))
    return found


def _comparisons(project_id: int) -> Select[int]:
    return (
        select(Comparison.id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Comparison.project_id == project_id, Prompt.held_out.is_(False), Comparison.discarded_at.is_(None))
    )


def _pairs(project_id: int) -> Select[int]:
    members = (
        select(ComparisonResponse.comparison_id)
        .group_by(ComparisonResponse.comparison_id)
        .having(func.count() == 2)
        .scalar_subquery()
    )
    return _comparisons(project_id).where(Comparison.id.in_(members))
