"""How the ranking goes: by person and by day, and what several people said of the same pairs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median
from typing import Any

from sqlalchemy import Select, case, func, or_, select
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
from stats.verdicts import Order, Outcome, Verdict


@dataclass(frozen=True)
class ReviewerActivity:
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
class RankingCoverage:
    """How far the project's comparisons are ranked by people."""

    comparisons: int
    once: int
    """Ranked by at least one person."""
    twice: int
    """Ranked by two people or more."""
    near_identical: int
    """Never offered: their responses are nearly the same."""


def coverage(s: Session, *, project_id: int) -> RankingCoverage:
    """Comparisons that are offered, how many of them people have ranked, and how many are never offered."""
    rows = s.execute(
        select(Comparison.state, Comparison.people, Comparison.near_identical, func.count())
        .where(Comparison.project_id == project_id)
        .group_by(Comparison.state, Comparison.people, Comparison.near_identical)
    ).all()
    offered = [(people, count) for state, people, _, count in rows if state is not ComparisonState.AWAY]
    return RankingCoverage(
        comparisons=sum(count for _, count in offered),
        once=sum(count for people, count in offered if people > 0),
        twice=sum(count for people, count in offered if people > 1),
        near_identical=sum(count for _, _, near, count in rows if near),
    )


def activity(s: Session, *, project_id: int) -> list[ReviewerActivity]:
    """Everybody who ranked or corrected, busiest first."""
    left, right = aliased(Placement), aliased(Placement)
    rows = s.execute(
        select(
            Ranking.reviewer_id,
            Ranking.created_at,
            Ranking.seconds,
            Ranking.prompt_set_id,
            left.place,
            right.place,
            of_at_most(2),
        )
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(left, (left.ranking_id == Ranking.id) & (left.position == 0))
        .join(right, (right.ranking_id == Ranking.id) & (right.position == 1))
        .where(Ranking.comparison_id.in_(_comparisons(project_id)), OWN_WORD)
    ).all()
    here: dict[int, list[_Given]] = defaultdict(list)
    imported: Counter[int] = Counter()
    for reviewer_id, at, seconds, prompt_set_id, *places, pair in rows:
        if prompt_set_id is None:
            here[reviewer_id].append((at, seconds, Order(tuple(places)).verdict if pair else None))
        else:
            imported[reviewer_id] += 1
    corrected: dict[int, int] = dict(
        s.execute(
            select(Correction.reviewer_id, func.count())
            .join(Response, Response.id == Correction.response_id)
            .join(Prompt, Prompt.id == Response.prompt_id)
            .where(Prompt.project_id == project_id, Correction.undone_at.is_(None))
            .group_by(Correction.reviewer_id)
        ).all()
    )
    people = s.scalars(select(Reviewer).where(Reviewer.id.in_({*here, *imported, *corrected}))).all()
    found = [_activity(person, here[person.id], imported[person.id], corrected.get(person.id, 0)) for person in people]
    return sorted(found, key=lambda person: (-person.ranked - person.imported, person.reviewer))


_Given = tuple[datetime, float | None, Verdict | None]
"""When a ranking was given, in how many seconds, and of a pair what it says."""


def _activity(person: Reviewer, ranked: Sequence[_Given], imported: int, corrections: int) -> ReviewerActivity:
    verdicts = Counter(verdict for *_, verdict in ranked if verdict is not None)
    decided = verdicts[Verdict.LEFT] + verdicts[Verdict.RIGHT]
    days = Counter(at.date() for at, *_ in ranked)
    return ReviewerActivity(
        reviewer=person.label,
        simulated=person.simulated,
        ranked=len(ranked),
        imported=imported,
        corrections=corrections,
        seconds=tuple(seconds for _, seconds, _ in ranked if seconds is not None),
        left_share=verdicts[Verdict.LEFT] / decided if decided else None,
        tie_share=verdicts[Verdict.TIE] / verdicts.total() if verdicts else None,
        by_day=dict(sorted(days.items())),
    )


def _sayings(project_id: int) -> Select[*tuple[Any, ...]]:
    """Rankings of pairs by people: comparison, reviewer, both bad, places of the reply of lower id and of the other.

    So the order is freed from the sides, and as a Verdict LEFT is the response of lower id.
    """
    first, second = aliased(Placement), aliased(Placement)
    return (
        select(Ranking.comparison_id, Reviewer.name, Ranking.both_bad, first.place, second.place)
        .join(Comparison, Comparison.id == Ranking.comparison_id)
        .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
        .join(first, first.ranking_id == Ranking.id)
        .join(second, (second.ranking_id == Ranking.id) & (second.response_id > first.response_id))
        .where(
            Ranking.comparison_id.in_(_comparisons(project_id).where(of_at_most(2))),
            Ranking.undone_at.is_(None),
            Reviewer.simulated.is_(False),
        )
        .order_by(Ranking.id)
    )


def opinions(s: Session, *, project_id: int) -> list[Opinion]:
    """What people (no simulated reviewers) said of pairs that two of them or more ranked; LEFT is the lower id."""
    rows = s.execute(_sayings(project_id).where(OWN_WORD, Comparison.people > 1))
    return [
        Opinion(comparison_id, name, Order((first, second), both_bad).verdict or "")
        for comparison_id, name, both_bad, first, second in rows
    ]


@dataclass(frozen=True)
class ReviewerConsistency:
    """How often somebody says the same twice, and what is known to be right."""

    repeats: int
    """Hidden second looks, with the sides swapped."""
    repeated_alike: int
    """Of those, how many said the same as the first time."""
    gold: int
    """Gold pairs ranked."""
    gold_right: int
    """Of those, how many said what is known to be right."""


def consistency(s: Session, *, project_id: int) -> Mapping[str, ReviewerConsistency]:
    """By reviewer's name, for everybody who had a hidden second look or a gold pair."""
    repeated = select(Ranking.comparison_id).where(Ranking.drawn == Drawn.REPEAT, Ranking.undone_at.is_(None))
    rows = s.execute(
        _sayings(project_id)
        .add_columns(Ranking.drawn, Ranking.adjudicates, Comparison.gold)
        .where(or_(Comparison.gold, Ranking.comparison_id.in_(repeated)))
    ).all()
    own: dict[tuple[int, str], Order] = {}
    right: dict[int, Order] = {}
    again, answers = [], []
    for comparison_id, name, both_bad, first, second, drawn, decision, gold in rows:
        order = Order((first, second), both_bad)
        if decision:
            right[comparison_id] = order
        elif drawn is Drawn.REPEAT:
            again.append((comparison_id, name, order))
        else:
            own[comparison_id, name] = order
            answers += [(comparison_id, name, order)] if gold else []
    found = {}
    for name in sorted({name for _, name, _ in (*again, *answers)}):
        looks = [order == own[i, name] for i, who, order in again if who == name and (i, who) in own]
        known = [order == right[i] for i, who, order in answers if who == name and i in right]
        found[name] = ReviewerConsistency(len(looks), sum(looks), len(known), sum(known))
    return found


@dataclass(frozen=True)
class ResponderRecord:
    """How one Responder's replies fare where people compare them with another's."""

    responder: str
    better: int
    even: int
    """Both good."""
    worse: int
    both_bad: int


def by_responder(s: Session, *, project_id: int) -> list[ResponderRecord]:
    """Every Responder whose replies people ranked beside another Responder's, most often better first."""
    mine, theirs = aliased(Placement), aliased(Placement)
    fared = case(
        (Ranking.both_bad, Outcome.BOTH_BAD),
        (mine.place < theirs.place, Outcome.WIN),
        (mine.place > theirs.place, Outcome.LOSS),
        else_=Outcome.TIE,
    )
    my, their = aliased(Response), aliased(Response)
    rows = s.execute(
        select(Responder, fared.label("fared"), func.count())
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
        .group_by(Responder.id, "fared")
    ).all()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for responder, outcome, count in rows:
        counts[responder.label][outcome] += count
    order = (Outcome.WIN, Outcome.TIE, Outcome.LOSS, Outcome.BOTH_BAD)
    records = [ResponderRecord(name, *(count[outcome] for outcome in order)) for name, count in counts.items()]
    return sorted(records, key=lambda record: (record.worse - record.better, record.responder))


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
    """The same by each criterion: which reply is better by it, or TIE."""
    lower_id = (
        select(func.min(ComparisonResponse.response_id))
        .where(ComparisonResponse.comparison_id == Ranking.comparison_id)
        .scalar_subquery()
    )
    rows = s.execute(
        select(Criterion.name, Ranking.comparison_id, Reviewer.name, CriterionChoice.better_id, lower_id)
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
    for criterion, comparison_id, name, better_id, first_id in rows:
        said = Verdict.TIE if better_id is None else Verdict.LEFT if better_id == first_id else Verdict.RIGHT
        found[criterion].append(Opinion(comparison_id, name, said))
    return found


def _comparisons(project_id: int) -> Select[int]:
    return select(Comparison.id).where(Comparison.project_id == project_id, Comparison.state != ComparisonState.AWAY)
