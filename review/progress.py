"""How the ranking goes: by person and by day, and what several people said of the same pairs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.comparisons import OFFERED, OWN_RANKING, WORD_OF_PERSON, has_at_most
from db.models import (
    Comparison,
    ComparisonResponse,
    Correction,
    Criterion,
    CriterionChoice,
    Placement,
    Prompt,
    Ranking,
    Responder,
    Response,
    Reviewer,
    SamplingReason,
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


def ranking_coverage(s: Session, *, project_id: int) -> RankingCoverage:
    """Comparisons that are offered, how many of them people have ranked, and how many are never offered."""
    counted = (OFFERED, OFFERED & (Comparison.people > 0), OFFERED & (Comparison.people > 1), Comparison.near_identical)
    counts: Select[*tuple[Any, ...]] = select(*(func.count().filter(condition) for condition in counted))
    return RankingCoverage(*s.execute(counts.where(Comparison.project_id == project_id)).one())


def reviewer_activity(s: Session, *, project_id: int) -> list[ReviewerActivity]:
    """Every reviewer who ranked or corrected, busiest first."""
    left, right = aliased(Placement), aliased(Placement)
    rankings: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in s.execute(
        select(Ranking.reviewer_id, Ranking.created_at, Ranking.seconds, Ranking.prompt_set_id)
        .add_columns(left.place.label("left"), right.place.label("right"), has_at_most(2).label("is_pair"))
        .join(Ranking.comparison)
        .join(left, (left.ranking_id == Ranking.id) & (left.position == 0))
        .join(right, (right.ranking_id == Ranking.id) & (right.position == 1))
        .where(Comparison.project_id == project_id, OFFERED, OWN_RANKING)
    ):
        rankings[row.reviewer_id].append(row)
    corrections: dict[int, int] = dict(
        s.execute(
            select(Correction.reviewer_id, func.count())
            .join(Correction.response)
            .join(Response.prompt)
            .where(Prompt.project_id == project_id, Correction.undone_at.is_(None))
            .group_by(Correction.reviewer_id)
        ).all()
    )
    people = s.scalars(select(Reviewer).where(Reviewer.id.in_({*rankings, *corrections})))
    rows = [_summarize(person, rankings[person.id], corrections.get(person.id, 0)) for person in people]
    return sorted(rows, key=lambda row: (-row.ranked - row.imported, row.reviewer))


def _summarize(person: Reviewer, rankings: Sequence[Row[Any]], corrections: int) -> ReviewerActivity:
    here = [ranking for ranking in rankings if ranking.prompt_set_id is None]
    verdicts = Counter(Order((ranking.left, ranking.right)).verdict for ranking in here if ranking.is_pair)
    decided = verdicts[Verdict.LEFT] + verdicts[Verdict.RIGHT]
    return ReviewerActivity(
        reviewer=person.label,
        simulated=person.simulated,
        ranked=len(here),
        imported=len(rankings) - len(here),
        corrections=corrections,
        seconds=tuple(ranking.seconds for ranking in here if ranking.seconds is not None),
        left_share=verdicts[Verdict.LEFT] / decided if decided else None,
        tie_share=verdicts[Verdict.TIE] / verdicts.total() if verdicts else None,
        by_day=dict(sorted(Counter(ranking.created_at.date() for ranking in here).items())),
    )


def pair_rankings(project_id: int) -> Select[*tuple[Any, ...]]:
    """Rankings of pairs by people: `comparison_id`, reviewer's `name`, `both_bad`, places `first` and `second`.

    The first reply is the one of the lower id, so that the order is freed from the sides: as a Verdict LEFT is the
    response of the lower id. Decisions and hidden second looks are among them.
    """
    first, second = aliased(Placement), aliased(Placement)
    return (
        select(Ranking.comparison_id, Reviewer.name, Ranking.both_bad)
        .add_columns(first.place.label("first"), second.place.label("second"))
        .join(Ranking.comparison)
        .join(Ranking.reviewer)
        .join(first, first.ranking_id == Ranking.id)
        .join(second, (second.ranking_id == Ranking.id) & (second.response_id > first.response_id))
        .where(
            Comparison.project_id == project_id,
            OFFERED,
            has_at_most(2),
            Ranking.undone_at.is_(None),
            Reviewer.simulated.is_(False),
        )
        .order_by(Ranking.id)
    )


def list_opinions(s: Session, *, project_id: int) -> list[Opinion]:
    """What people (no simulated reviewers) said of pairs that two of them or more ranked; LEFT is the lower id."""
    rows = s.execute(pair_rankings(project_id).where(OWN_RANKING, Comparison.people > 1))
    return [
        Opinion(row.comparison_id, row.name, Order((row.first, row.second), row.both_bad).verdict or "") for row in rows
    ]


@dataclass(frozen=True)
class ReviewerConsistency:
    """How often a reviewer says the same twice, and what is known to be right."""

    repeats: int
    """Hidden second looks, with the sides swapped."""
    repeated_alike: int
    """Of those, how many said the same as the first time."""
    gold: int
    """Gold pairs ranked."""
    gold_right: int
    """Of those, how many said what is known to be right."""


def reviewer_consistency(s: Session, *, project_id: int) -> Mapping[str, ReviewerConsistency]:
    """By reviewer's name, for all who had a hidden second look or a gold pair."""
    repeated = select(Ranking.comparison_id).where(
        Ranking.sampling_reason == SamplingReason.REPEAT, Ranking.undone_at.is_(None)
    )
    rows = s.execute(
        pair_rankings(project_id)
        .add_columns(Ranking.sampling_reason, Ranking.adjudicates, Comparison.gold)
        .where(or_(Comparison.gold, Ranking.comparison_id.in_(repeated)))
    ).all()
    orders: dict[tuple[int, str, bool], Order] = {}
    right: dict[int, Order] = {}
    for row in rows:
        order = Order((row.first, row.second), row.both_bad)
        if row.adjudicates:
            right[row.comparison_id] = order
        else:
            orders[row.comparison_id, row.name, row.sampling_reason is SamplingReason.REPEAT] = order
    gold_ids = {row.comparison_id for row in rows if row.gold}
    by_name = {}
    for name in sorted({name for i, name, repeat in orders if repeat or i in gold_ids}):
        own = {(i, repeat): order for (i, who, repeat), order in orders.items() if who == name}
        twice = [order == own[i, False] for (i, repeat), order in own.items() if repeat and (i, False) in own]
        known = [own[i, False] == right[i] for i in gold_ids if (i, False) in own and i in right]
        by_name[name] = ReviewerConsistency(len(twice), sum(twice), len(known), sum(known))
    return by_name


@dataclass(frozen=True)
class ResponderRecord:
    """How one Responder's replies fare where people compare them with another's."""

    responder: str
    better: int
    both_good: int
    worse: int
    both_bad: int


def count_outcomes(s: Session, *, project_id: int) -> Mapping[tuple[int, int], Counter[Outcome]]:
    """What people say of each two Responders' replies to the same prompt, by both ids and from either side."""
    mine, theirs = aliased(Placement), aliased(Placement)
    my, their = aliased(Response), aliased(Response)
    outcome = case(
        (Ranking.both_bad, Outcome.BOTH_BAD),
        (mine.place < theirs.place, Outcome.WIN),
        (mine.place > theirs.place, Outcome.LOSS),
        else_=Outcome.TIE,
    ).label("outcome")
    rows = s.execute(
        select(my.responder_id, their.responder_id, outcome, func.count())
        .select_from(Ranking)
        .join(Ranking.comparison)
        .join(mine, mine.ranking_id == Ranking.id)
        .join(theirs, (theirs.ranking_id == Ranking.id) & (theirs.response_id != mine.response_id))
        .join(my, my.id == mine.response_id)
        .join(their, and_(their.id == theirs.response_id, their.responder_id != my.responder_id))
        .where(Comparison.project_id == project_id, OFFERED, WORD_OF_PERSON)
        .group_by(my.responder_id, their.responder_id, "outcome")
    )
    counts: dict[tuple[int, int], Counter[Outcome]] = defaultdict(Counter)
    for responder_id, other_id, value, count in rows:
        counts[responder_id, other_id][Outcome(value)] = count
    return counts


def responder_records(s: Session, *, project_id: int) -> list[ResponderRecord]:
    """Every Responder whose replies people ranked beside another Responder's, most often better first."""
    counts: dict[int, Counter[Outcome]] = defaultdict(Counter)
    for (responder_id, _), outcomes in count_outcomes(s, project_id=project_id).items():
        counts[responder_id] += outcomes
    order = (Outcome.WIN, Outcome.TIE, Outcome.LOSS, Outcome.BOTH_BAD)
    records = [
        ResponderRecord(responder.label, *(counts[responder.id][outcome] for outcome in order))
        for responder in s.scalars(select(Responder).where(Responder.id.in_(counts)))
    ]
    return sorted(records, key=lambda record: (record.worse - record.better, record.responder))


@dataclass(frozen=True)
class SamplingShare:
    """What pairs told that were drawn in one way."""

    sampling_reason: SamplingReason
    ranked: int
    decided: int
    """One response better than the other."""


def sampling_shares(s: Session, *, project_id: int) -> list[SamplingShare]:
    """Least certain first against the random control: how many were ranked, and how many decided."""
    decided: dict[SamplingReason, list[bool]] = defaultdict(list)
    is_drawn = Ranking.sampling_reason.in_([SamplingReason.RANDOM, SamplingReason.UNCERTAIN])
    for row in s.execute(pair_rankings(project_id).add_columns(Ranking.sampling_reason).where(OWN_RANKING, is_drawn)):
        decided[row.sampling_reason].append(row.first != row.second)
    return [SamplingShare(reason, len(pairs), sum(pairs)) for reason, pairs in sorted(decided.items())]


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
        .join(Ranking.comparison)
        .join(Ranking.reviewer)
        .where(Criterion.project_id == project_id, OFFERED, WORD_OF_PERSON)
        .order_by(Criterion.position)
    )
    by_name: dict[str, list[Opinion]] = defaultdict(list)
    for criterion, comparison_id, name, better_id, first_id in rows:
        verdict = Verdict.TIE if better_id is None else Verdict.LEFT if better_id == first_id else Verdict.RIGHT
        by_name[criterion].append(Opinion(comparison_id, name, verdict))
    return by_name
