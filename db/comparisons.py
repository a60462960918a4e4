"""Comparisons: one for each set of responses, which of its rankings stand, and what it stores about them for the queue.

`recount` updates what a Comparison stores about its rankings (people, contested, state). It runs by itself after every
flush that could change them; only code that inserts rankings in bulk must call it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations, islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    SQLColumnExpression,
    and_,
    bindparam,
    case,
    cast,
    event,
    exists,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, UOWTransaction
from sqlalchemy.orm.attributes import get_history

from db.models import (
    Comparison,
    ComparisonResponse,
    ComparisonState,
    Placement,
    Project,
    Ranking,
    Reveal,
    Reviewer,
    SamplingReason,
)

OWN_RANKING = and_(
    Ranking.undone_at.is_(None), Ranking.adjudicates.is_(False), Ranking.sampling_reason != SamplingReason.REPEAT
)
"""Condition: a reviewer's own standing ranking, not undone, no decision between others' rankings, no hidden repeat."""
WORD_OF_PERSON = and_(OWN_RANKING, Ranking.reviewer.has(Reviewer.simulated.is_(False)))
"""Condition: the same, and the reviewer is a person."""
OFFERED = Comparison.state != ComparisonState.NOT_OFFERED
"""Condition: a Comparison is, or was, put before people."""
MIN_RESPONSES, MAX_RESPONSES = 2, 6
"""Numbers of responses that are offered together; no screen has room for more."""
MIN_WORDS, MIN_SIMILARITY = 20, 0.95
"""Two texts of at least so many words each are nearly the same if they have this share of words in common."""
MAX_ORDERED_WORDS = 1000
"""Words beyond which two texts are compared without regard to word order."""
_CHUNK = 500
_STALE = "comparisons to expire"


def comparison_key(response_ids: Collection[int]) -> str:
    """The key of the comparison of these responses; their order makes no difference."""
    return ",".join(str(response_id) for response_id in sorted(response_ids))


def nearly_same(text: str, other: str) -> bool:
    """Whether two texts of `MIN_WORDS` words or more differ in so few words that choosing tells nothing. Pure.

    Shorter texts must have the same words: in a class label or a query one word is all the difference.
    """
    words, other_words = text.split(), other.split()
    if min(len(words), len(other_words)) < MIN_WORDS:
        return words == other_words
    matcher = SequenceMatcher(None, words, other_words, autojunk=False)
    if matcher.quick_ratio() < MIN_SIMILARITY:
        return False
    # comparing word order takes time that grows with the square of the number of words
    return max(len(words), len(other_words)) > MAX_ORDERED_WORDS or matcher.ratio() >= MIN_SIMILARITY


@dataclass(frozen=True)
class ResponseGroup:
    """Responses to one prompt that stand side by side."""

    prompt_id: int
    response_ids: Collection[int]
    near_identical: bool = False

    @property
    def key(self) -> str:
        """The key of their Comparison."""
        return comparison_key(self.response_ids)


def ensure_comparison(
    s: Session, *, project_id: int, prompt_id: int, response_ids: Collection[int], near_identical: bool = False
) -> Comparison:
    """Return the comparison of these responses, created if new; a near-identical one is saved and never offered."""
    group = ResponseGroup(prompt_id, response_ids, near_identical)
    return ensure_comparisons(s, project_id=project_id, groups=[group])[group.key]


def ensure_comparisons(s: Session, *, project_id: int, groups: Sequence[ResponseGroup]) -> dict[str, Comparison]:
    """The comparison of each group by its key, created where it is new."""
    by_key = {group.key: group for group in groups}
    of_keys = select(Comparison).where(Comparison.project_id == project_id, Comparison.key.in_(by_key))
    comparisons = {comparison.key: comparison for comparison in s.scalars(of_keys)}
    new = {key: group for key, group in by_key.items() if key not in comparisons}
    for key, group in new.items():
        offered = MIN_RESPONSES <= len(set(group.response_ids)) <= MAX_RESPONSES and not group.near_identical
        comparisons[key] = Comparison(
            project_id=project_id,
            prompt_id=group.prompt_id,
            key=key,
            near_identical=group.near_identical,
            state=ComparisonState.OPEN if offered else ComparisonState.NOT_OFFERED,
        )
        s.add(comparisons[key])
    s.flush()
    s.add_all(
        ComparisonResponse(comparison_id=comparisons[key].id, response_id=response_id)
        for key, group in new.items()
        for response_id in sorted(group.response_ids)
    )
    s.flush()
    return comparisons


def has_at_most(count: int) -> ColumnElement[bool]:
    """SQL condition that a Comparison has at most `count` responses: its key lists them, with commas between."""
    return Comparison.key.not_like("%" + ",%" * count)


def ranked_by(reviewer_id: int) -> ColumnElement[bool]:
    """SQL condition that a Comparison has a standing ranking of the reviewer's own."""
    return exists().where(Ranking.comparison_id == Comparison.id, Ranking.reviewer_id == reviewer_id, OWN_RANKING)


def revealed_to(reviewer_id: int) -> ColumnElement[bool]:
    """SQL condition that the reviewer has seen who wrote a Comparison, or what others said of it."""
    return exists().where(Reveal.comparison_id == Comparison.id, Reveal.reviewer_id == reviewer_id)


def people_wanted_for(project: Project) -> ColumnElement[int] | None:
    """How many people should rank a Comparison, as SQL; None where the project sets no limit."""
    if project.people_wanted is None:
        return None
    return case((_in_share(project.overlap_share), project.people_wanted), else_=1)


def _in_share(share: SQLColumnExpression[float] | float) -> ColumnElement[bool]:
    # integer arithmetic gives the same share of comparisons on every database and in every run
    return (cast(Comparison.id, BigInteger) * 7919) % 1009 < share * 1009


Order = tuple[bool, Mapping[int, int]]
"""Whether no response could be sent, and the place of each response id."""


def contradict(orders: Sequence[Order]) -> bool:
    """Whether two orders put two responses in opposite order, or one calls them all bad and another does not. Pure."""
    if len({both_bad for both_bad, _ in orders}) > 1:
        return True
    return any(
        (places[a] - places[b]) * (others[a] - others[b]) < 0
        for (_, places), (_, others) in combinations(orders, 2)
        for a, b in combinations(places.keys() & others.keys(), 2)
    )


def recount(connection: Connection, comparison_ids: Collection[int]) -> None:
    """Update what these comparisons store about their rankings."""
    all_ids = iter(sorted(comparison_ids))
    while ids := list(islice(all_ids, _CHUNK)):
        # locked before counting: on PostgreSQL another ranking may be saved at the same time
        connection.execute(
            select(Comparison.id).where(Comparison.id.in_(ids)).order_by(Comparison.id).with_for_update()
        )
        rows = connection.execute(
            select(Ranking.comparison_id, Ranking.id, Ranking.both_bad, Placement.response_id, Placement.place)
            .join(Placement, Placement.ranking_id == Ranking.id)
            .where(Ranking.comparison_id.in_(ids), WORD_OF_PERSON)
        )
        orders: dict[int, dict[int, tuple[bool, dict[int, int]]]] = defaultdict(dict)
        for comparison_id, ranking_id, both_bad, response_id, place in rows:
            orders[comparison_id].setdefault(ranking_id, (both_bad, {}))[1][response_id] = place
        counts = [{"this": i, "count": len(orders[i]), "against": contradict(list(orders[i].values()))} for i in ids]
        connection.execute(
            update(Comparison)
            .where(Comparison.__table__.c.id == bindparam("this"))
            .values(people=bindparam("count"), contested=bindparam("against")),
            counts,
        )
        _set_state(connection, Comparison.id.in_(ids))


def _set_state(connection: Connection, condition: ColumnElement[bool]) -> None:
    limit = (
        select(case((_in_share(Project.overlap_share), Project.people_wanted), else_=1))
        .where(Project.id == Comparison.project_id, Project.people_wanted.is_not(None))
        .correlate(Comparison)
        .scalar_subquery()
    )
    connection.execute(
        update(Comparison)
        .where(condition)
        .values(
            state=case(
                (
                    or_(
                        Comparison.discarded_at.is_not(None),
                        Comparison.near_identical.is_(True),
                        has_at_most(MIN_RESPONSES - 1),
                        ~has_at_most(MAX_RESPONSES),
                    ),
                    literal(ComparisonState.NOT_OFFERED, Comparison.state.type),
                ),
                (
                    and_(Comparison.gold.is_(False), Comparison.people >= limit),
                    literal(ComparisonState.FULL, Comparison.state.type),
                ),
                else_=literal(ComparisonState.OPEN, Comparison.state.type),
            )
        )
    )


def _has_changes(row: Any, *columns: str) -> bool:
    return any(get_history(row, column).has_changes() for column in columns)


@event.listens_for(Session, "after_flush")
def _recount_changed(s: Session, _context: UOWTransaction) -> None:
    comparison_ids = {row.comparison_id for row in (*s.new, *s.dirty, *s.deleted) if isinstance(row, Ranking)} | {
        row.id
        for row in s.dirty
        if isinstance(row, Comparison) and _has_changes(row, "discarded_at", "gold", "near_identical")
    }
    project_ids = {
        row.id for row in s.dirty if isinstance(row, Project) and _has_changes(row, "people_wanted", "overlap_share")
    }
    if comparison_ids:
        recount(s.connection(), comparison_ids)
    if project_ids:
        _set_state(s.connection(), Comparison.project_id.in_(project_ids))
    if comparison_ids | project_ids:
        s.info[_STALE] = True


@event.listens_for(Session, "after_flush_postexec")
def _expire_old_counts(s: Session, _context: UOWTransaction) -> None:
    if s.info.pop(_STALE, False):
        for row in s.identity_map.values():
            if isinstance(row, Comparison) and row not in s.dirty:
                s.expire(row, ["state", "people", "contested"])
