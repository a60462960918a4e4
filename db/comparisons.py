"""Comparisons exist once for each set of responses; which rankings of one stand, and what the queue knows of it.

`recount` keeps what a Comparison stores about its rankings (people, contested, state). It runs after every flush that
could change them, whoever writes, so nobody has to remember it; only bulk inserts of rankings must call it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
    Drawn,
    Placement,
    Project,
    Ranking,
    Reviewer,
)

OWN_WORD = and_(Ranking.undone_at.is_(None), Ranking.adjudicates.is_(False), Ranking.drawn != Drawn.REPEAT)
"""A standing ranking that is a reviewer's own: not undone, no decision between others', no hidden second look."""
FEWEST, MOST = 2, 6
"""So many responses are offered together: more fit no screen."""
LONG, NEARLY = 20, 0.95
"""Words from which on two texts can be nearly the same, and the share of them in common that makes them so."""
TOO_LONG = 1000
"""Words beyond which only which words there are is compared."""
_CHUNK = 500
_STALE = "comparisons to expire"


def comparison_key(response_ids: Collection[int]) -> str:
    """What makes a set of responses one comparison, whatever their order."""
    return ",".join(str(response_id) for response_id in sorted(response_ids))


def nearly_same(one: str, other: str) -> bool:
    """Whether two texts of `LONG` words or more differ in so few words that choosing tells nothing. Pure.

    Short texts are never nearly the same: in a class label or a query one word is all the difference.
    """
    words, others = one.split(), other.split()
    if min(len(words), len(others)) < LONG:
        return words == others
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    if matcher.quick_ratio() < NEARLY:
        return False
    # the order of words matters, but takes a square of their number to tell
    return max(len(words), len(others)) > TOO_LONG or matcher.ratio() >= NEARLY


def ensure_comparison(
    s: Session, *, project_id: int, prompt_id: int, response_ids: Collection[int], near_identical: bool = False
) -> Comparison:
    """The comparison of these responses, made if new; of nearly the same responses it is kept and never offered."""
    key = comparison_key(response_ids)
    found = s.scalar(select(Comparison).where(Comparison.project_id == project_id, Comparison.key == key))
    if found is not None:
        return found
    offered = FEWEST <= len(set(response_ids)) <= MOST and not near_identical
    comparison = Comparison(
        project_id=project_id,
        prompt_id=prompt_id,
        key=key,
        near_identical=near_identical,
        state=ComparisonState.OPEN if offered else ComparisonState.AWAY,
    )
    s.add(comparison)
    s.flush()
    s.add_all(ComparisonResponse(comparison_id=comparison.id, response_id=r) for r in sorted(response_ids))
    s.flush()
    return comparison


def of_at_most(count: int) -> ColumnElement[bool]:
    """Whether a Comparison has so many responses or fewer: its key lists them, with commas between."""
    return Comparison.key.not_like("%" + ",%" * count)


def wanted(project: Project) -> ColumnElement[int] | None:
    """How many people a Comparison wants, as SQL; None where everybody may rank it."""
    if project.people_wanted is None:
        return None
    return case((_in_share(project.overlap_share), project.people_wanted), else_=1)


def _in_share(share: SQLColumnExpression[float] | float) -> ColumnElement[bool]:
    # plain integers, the same on every database and in every run: the share is the same comparisons always
    return (cast(Comparison.id, BigInteger) * 7919) % 1009 < share * 1009


Order = tuple[bool, Mapping[int, int]]
"""Both bad, and response id to place."""


def contradict(orders: Sequence[Order]) -> bool:
    """Whether two of the orders put two responses the opposite way, or one would send some and another none. Pure."""
    if len({both_bad for both_bad, _ in orders}) > 1:
        return True
    for (_, one), (_, other) in combinations(orders, 2):
        for first, second in combinations(one.keys() & other.keys(), 2):
            if (one[first] - one[second]) * (other[first] - other[second]) < 0:
                return True
    return False


def recount(connection: Connection, comparison_ids: Collection[int]) -> None:
    """Bring what these comparisons store about their rankings up to date."""
    ids = iter(sorted(comparison_ids))
    while some := list(islice(ids, _CHUNK)):
        # locked before counting: on PostgreSQL another ranking may be saved at the same time
        connection.execute(
            select(Comparison.id).where(Comparison.id.in_(some)).order_by(Comparison.id).with_for_update()
        )
        rows = connection.execute(
            select(Ranking.comparison_id, Ranking.id, Ranking.both_bad, Placement.response_id, Placement.place)
            .join(Reviewer, Reviewer.id == Ranking.reviewer_id)
            .join(Placement, Placement.ranking_id == Ranking.id)
            .where(Ranking.comparison_id.in_(some), OWN_WORD, Reviewer.simulated.is_(False))
        )
        orders: dict[int, dict[int, tuple[bool, dict[int, int]]]] = defaultdict(dict)
        for comparison_id, ranking_id, both_bad, response_id, place in rows:
            orders[comparison_id].setdefault(ranking_id, (both_bad, {}))[1][response_id] = place
        counted = [{"this": i, "count": len(orders[i]), "against": contradict(list(orders[i].values()))} for i in some]
        table = Comparison.__table__
        connection.execute(
            update(Comparison)
            .where(table.c.id == bindparam("this"))
            .values(people=bindparam("count"), contested=bindparam("against")),
            counted,
        )
        _set_state(connection, Comparison.id.in_(some))


def _set_state(connection: Connection, which: ColumnElement[bool]) -> None:
    of_project = Project.id == Comparison.project_id
    limit = (
        select(case((_in_share(Project.overlap_share), Project.people_wanted), else_=1))
        .where(of_project, Project.people_wanted.is_not(None))
        .correlate(Comparison)
        .scalar_subquery()
    )
    connection.execute(
        update(Comparison)
        .where(which)
        .values(
            state=case(
                (
                    or_(
                        Comparison.discarded_at.is_not(None),
                        Comparison.near_identical.is_(True),
                        of_at_most(FEWEST - 1),
                        ~of_at_most(MOST),
                    ),
                    literal(ComparisonState.AWAY, Comparison.state.type),
                ),
                (
                    and_(Comparison.gold.is_(False), Comparison.people >= limit),
                    literal(ComparisonState.FULL, Comparison.state.type),
                ),
                else_=literal(ComparisonState.OPEN, Comparison.state.type),
            )
        )
    )


def _changed(item: Any, *names: str) -> bool:
    return any(get_history(item, name).has_changes() for name in names)


@event.listens_for(Session, "after_flush")
def _recount_what_changed(s: Session, _context: UOWTransaction) -> None:
    rankings = {item.comparison_id for item in (*s.new, *s.dirty, *s.deleted) if isinstance(item, Ranking)}
    comparisons = {
        item.id
        for item in s.dirty
        if isinstance(item, Comparison) and _changed(item, "discarded_at", "gold", "near_identical")
    }
    projects = {
        item.id for item in s.dirty if isinstance(item, Project) and _changed(item, "people_wanted", "overlap_share")
    }
    if rankings | comparisons:
        recount(s.connection(), rankings | comparisons)
    if projects:
        _set_state(s.connection(), Comparison.project_id.in_(projects))
    if rankings | comparisons | projects:
        s.info[_STALE] = True


@event.listens_for(Session, "after_flush_postexec")
def _forget_old_counts(s: Session, _context: UOWTransaction) -> None:
    if s.info.pop(_STALE, False):
        for item in s.identity_map.values():
            if isinstance(item, Comparison) and item not in s.dirty:
                s.expire(item, ["state", "people", "contested"])
