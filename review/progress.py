"""How the ranking goes: by person and by day, and what several people said of the same pairs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median
from typing import Any

from sqlalchemy import Integer, Select, case, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OWN_WORD, of_at_most
from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Correction,
    Criterion,
    CriterionChoice,
    Drawn,
    Placement,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reviewer,
)
from stats.agreement import Opinion


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
    near_identical: int
    """Never offered: their responses are nearly the same."""


def coverage(s: Session, *, project_id: int) -> Coverage:
    """Comparisons that are offered, how many of them people have ranked, and how many are never offered."""
    rows = s.execute(
        select(Comparison.state, Comparison.people, Comparison.near_identical, func.count())
        .where(Comparison.project_id == project_id)
        .group_by(Comparison.state, Comparison.people, Comparison.near_identical)
    ).all()
    offered = [(people, count) for state, people, _, count in rows if state is not ComparisonState.AWAY]
    return Coverage(
        comparisons=sum(count for _, count in offered),
        once=sum(count for people, count in offered if people > 0),
        twice=sum(count for people, count in offered if people > 1),
        near_identical=sum(count for _, _, near, count in rows if near),
    )


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
            of_at_most(2),
        )
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(left, left.c.ranking_id == Ranking.id)
        .join(right, right.c.ranking_id == Ranking.id)
        .where(Ranking.comparison_id.in_(_comparisons(project_id)), OWN_WORD)
    ).all()
    here: dict[int, list[tuple[datetime, float | None, str | None]]] = defaultdict(list)
    imported: dict[int, int] = defaultdict(int)
    for reviewer_id, at, seconds, prompt_set_id, first, second, pair in rows:
        if prompt_set_id is None:
            side = "tie" if first == second else "left" if first < second else "right"
            here[reviewer_id].append((at, seconds, side if pair else None))
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
    person: Reviewer, ranked: Sequence[tuple[datetime, float | None, str | None]], imported: int, corrections: int
) -> Pace:
    sides = Counter(side for *_, side in ranked if side is not None)
    decided = sides["left"] + sides["right"]
    days: dict[date, int] = defaultdict(int)
    for at, *_ in ranked:
        days[at.date()] += 1
    return Pace(
        reviewer=person.label,
        simulated=person.simulated,
        ranked=len(ranked),
        imported=imported,
        corrections=corrections,
        seconds=tuple(seconds for _, seconds, _ in ranked if seconds is not None),
        left_share=sides["left"] / decided if decided else None,
        tie_share=sides["tie"] / sides.total() if sides else None,
        by_day=dict(sorted(days.items())),
    )


def _said(both_bad: bool, first: int, second: int) -> str:
    """What a ranking of a pair says, freed from the sides: places of the response of lower id, then of the other."""
    if both_bad:
        return "BOTH_BAD"
    return "TIE" if first == second else "FIRST" if first < second else "SECOND"


def _sayings(project_id: int) -> Select[*tuple[Any, ...]]:
    """Rankings of pairs by people: ranking, comparison, reviewer's name, both bad, places by response id."""
    first, second = aliased(Placement), aliased(Placement)
    return (
        select(Ranking.id, Ranking.comparison_id, Reviewer.name, Ranking.both_bad, first.place, second.place)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(first, first.ranking_id == Ranking.id)
        .join(second, (second.ranking_id == Ranking.id) & (second.response_id > first.response_id))
        .where(
            Ranking.comparison_id.in_(_pairs(project_id)),
            Ranking.undone_at.is_(None),
            Reviewer.simulated.is_(False),
        )
        .order_by(Ranking.id)
    )


def opinions(s: Session, *, project_id: int) -> list[Opinion]:
    """What people (no simulated reviewers) said of pairs that two of them or more ranked, freed from the sides.

    FIRST is the response of lower id.
    """
    rows = s.execute(_sayings(project_id).where(OWN_WORD, Ranking.comparison_id.in_(_shared(project_id))))
    return [
        Opinion(comparison_id, name, _said(both_bad, first, second))
        for _, comparison_id, name, both_bad, first, second in rows
    ]


@dataclass(frozen=True)
class Consistency:
    """How often somebody says the same twice, and what is known to be right."""

    repeats: int
    """Hidden second looks, with the sides swapped."""
    repeated_alike: int
    """Of those, how many said the same as the first time."""
    gold: int
    """Gold pairs ranked."""
    gold_right: int
    """Of those, how many said what is known to be right."""


def consistency(s: Session, *, project_id: int) -> Mapping[str, Consistency]:
    """By reviewer's name, for everybody who had a hidden second look or a gold pair."""
    own: dict[tuple[int, str], str] = {}
    again: list[tuple[int, str, str]] = []
    checked = Ranking.drawn == Drawn.REPEAT
    repeated = select(Ranking.comparison_id).where(checked, Ranking.undone_at.is_(None))
    for row in s.execute(
        _sayings(project_id)
        .add_columns(checked)
        .where(Ranking.comparison_id.in_(repeated), Ranking.adjudicates.is_(False))
    ):
        _, comparison_id, name, both_bad, first, second, repeat = row
        if repeat:
            again.append((comparison_id, name, _said(both_bad, first, second)))
        else:
            own[comparison_id, name] = _said(both_bad, first, second)
    golden = select(Comparison.id).where(Comparison.project_id == project_id, Comparison.gold)
    right: dict[int, str] = {}
    answers: list[tuple[int, str, str]] = []
    for row in s.execute(
        _sayings(project_id)
        .add_columns(Ranking.adjudicates)
        .where(Ranking.comparison_id.in_(golden), Ranking.drawn != Drawn.REPEAT)
    ):
        _, comparison_id, name, both_bad, first, second, decision = row
        if decision:
            right[comparison_id] = _said(both_bad, first, second)
        else:
            answers.append((comparison_id, name, _said(both_bad, first, second)))
    found = {}
    for name in sorted({name for _, name, _ in (*again, *answers)}):
        looks = [said == own[i, who] for i, who, said in again if who == name and (i, who) in own]
        known = [said == right[i] for i, who, said in answers if who == name and i in right]
        found[name] = Consistency(len(looks), sum(looks), len(known), sum(known))
    return found


@dataclass(frozen=True)
class Standing:
    """How one Responder's replies fare where people compare them with another's."""

    responder: str
    better: int
    even: int
    """Both good."""
    worse: int
    both_bad: int


def by_responder(s: Session, *, project_id: int) -> list[Standing]:
    """Every Responder whose replies people ranked beside another Responder's, most often better first."""
    mine, theirs = aliased(Placement), aliased(Placement)
    one, zero, minus = (literal_column(number, Integer) for number in ("1", "0", "-1"))
    ahead = case((mine.place < theirs.place, one), (mine.place > theirs.place, minus), else_=zero)
    my, their = aliased(Response), aliased(Response)
    rows = s.execute(
        select(
            Responder,
            Ranking.both_bad,
            ahead,
            func.count(),
        )
        .select_from(Ranking)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(mine, mine.ranking_id == Ranking.id)
        .join(theirs, (theirs.ranking_id == Ranking.id) & (theirs.response_id != mine.response_id))
        .join(my, my.id == mine.response_id)
        .join(their, their.id == theirs.response_id)
        .join(Responder, Responder.id == my.responder_id)
        .where(
            Comparison.project_id == project_id,
            Comparison.state != ComparisonState.AWAY,
            my.responder_id != their.responder_id,
            OWN_WORD,
            Reviewer.simulated.is_(False),
        )
        .group_by(Responder.id, Ranking.both_bad, ahead)
    ).all()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for responder, both_bad, sign, count in rows:
        counts[responder.label]["both bad" if both_bad else {1: "better", 0: "even", -1: "worse"}[sign]] += count
    found = [Standing(name, c["better"], c["even"], c["worse"], c["both bad"]) for name, c in counts.items()]
    return sorted(found, key=lambda one: (one.worse - one.better, one.responder))


@dataclass(frozen=True)
class DrawnShare:
    """What pairs told that were drawn in one way."""

    drawn: Drawn
    ranked: int
    decided: int
    """One response better than the other."""


def by_draw(s: Session, *, project_id: int) -> list[DrawnShare]:
    """Least certain first against the random control: how many were ranked, and how many decided."""
    first, second = aliased(Placement), aliased(Placement)
    rows = s.execute(
        select(Ranking.drawn, func.count(), func.sum(case((first.place != second.place, 1), else_=0)))
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(first, (first.ranking_id == Ranking.id) & (first.position == 0))
        .join(second, (second.ranking_id == Ranking.id) & (second.position == 1))
        .where(
            Comparison.project_id == project_id,
            Comparison.state != ComparisonState.AWAY,
            of_at_most(2),
            OWN_WORD,
            Ranking.drawn.in_([Drawn.RANDOM, Drawn.UNCERTAIN]),
            Reviewer.simulated.is_(False),
        )
        .group_by(Ranking.drawn)
    ).all()
    return [DrawnShare(drawn, ranked, int(decided)) for drawn, ranked, decided in sorted(rows)]


def opinions_by_criterion(s: Session, *, project_id: int) -> Mapping[str, list[Opinion]]:
    """The same by each criterion: the better response's id, or TIE."""
    rows = s.execute(
        select(Criterion.name, Ranking.comparison_id, Reviewer.name, CriterionChoice.better_id)
        .join(CriterionChoice, CriterionChoice.criterion_id == Criterion.id)
        .join(Ranking, Ranking.id == CriterionChoice.ranking_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .where(
            Criterion.project_id == project_id,
            Ranking.comparison_id.in_(_comparisons(project_id)),
            OWN_WORD,
            Reviewer.simulated.is_(False),
        )
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
    return select(Comparison.id).where(Comparison.project_id == project_id, Comparison.state != ComparisonState.AWAY)


def _shared(project_id: int) -> Select[int]:
    return _comparisons(project_id).where(Comparison.people > 1)


def _pairs(project_id: int) -> Select[int]:
    return _comparisons(project_id).where(of_at_most(2))
