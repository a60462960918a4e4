"""How long replies are, whose are the longer ones, and whether the longer one wins: length can decide unnoticed.

A length is the number of words, white space between them, of a text as people see it who judge it. `summarize_lengths`,
`longer_sides` and `longer_won` are pure; `length_balance` fetches what they count.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.comparisons import OFFERED, OWN_RANKING, has_at_most
from db.models import Comparison, ComparisonResponse, Ranking, Responder, Response, Role
from db.people import require_role
from review.progress import pair_rankings
from stats.intervals import wilson_interval
from texts.rules import load_text_filter
from texts.shown import TextFilter

MAX_TEXTS = 300
"""Texts of each Responder that are measured, spread over all of theirs."""
MAX_PAIRS = 1_000
"""Offered pairs, and ranked ones, that are measured: the first in the queue's random order."""


@dataclass(frozen=True)
class LengthSummary:
    """How long some texts are: mean and quantiles, in words."""

    label: str
    """The label of the Responder that wrote them, or what else they are."""
    texts: int
    mean: float
    tenth: float
    quarter: float
    median: float
    three_quarters: float
    nine_tenths: float
    cut: int = 0
    """Texts that were cut off at the token limit."""
    known: int = 0
    """Texts of which it is known whether they were cut off; people's never are."""

    @property
    def cut_share(self) -> float | None:
        """In [0, 1]; none where nothing is known."""
        return self.cut / self.known if self.known else None


@dataclass(frozen=True)
class MeasuredPair:
    """Two replies to one prompt."""

    responders: tuple[str, str]
    words: tuple[int, int]
    first_better: float | None = None
    """The share of people, in [0, 1], who called the first better, of those who called one better; none without any."""


@dataclass(frozen=True)
class LongerSide:
    """How often one side's replies are the longer ones, such as one Responder's beside another's."""

    label: str
    pairs: int
    longer: int
    equal: int
    """As many words."""

    @property
    def shorter(self) -> int:
        """How often they are the shorter ones."""
        return self.pairs - self.longer - self.equal


@dataclass(frozen=True)
class LongerWon:
    """How often the longer reply of a pair was called better; each pair counts once, as most people said."""

    pairs: int
    """Decided, and of different length."""
    won: int
    """By the longer reply."""
    low: float
    high: float
    """Wilson's 95 % interval of won / pairs, in [0, 1]."""

    @property
    def sentence(self) -> str:
        """The finding, and what it means, in words that claim no more than the interval allows."""
        if not self.pairs:
            return "No ranked pair tells yet whether length decides."
        rate = self.won / self.pairs
        among = f"{self.pairs:,} pairs (95% interval {self.low:.0%} to {self.high:.0%})"
        finding = f"The longer reply won {rate:.0%} of {among}"
        if self.low > 0.5:
            return f"{finding}: length may decide, and a model that learns from this will write more."
        if self.high < 0.5:
            return f"{finding}: brevity may decide, and a model that learns from this will write less."
        return f"{finding}: no sign that length decides."


@dataclass(frozen=True)
class LengthBalance:
    """Everything about lengths in a project."""

    spreads: Sequence[LengthSummary]
    """The longest median first."""
    sides: Sequence[LongerSide]
    """Of pairs that are offered."""
    won: LongerWon
    """Of pairs that people ranked."""


def summarize_lengths(label: str, words: Sequence[int], *, cut: int = 0, known: int = 0) -> LengthSummary:
    """The mean and quantiles of some lengths in words, by linear interpolation. Raises `ValueError` without any."""
    if not words:
        raise ValueError("No lengths to take quantiles of.")
    tenth, quarter, half, three_quarters, nine_tenths = np.percentile(words, [10, 25, 50, 75, 90]).tolist()
    return LengthSummary(label, len(words), fmean(words), tenth, quarter, half, three_quarters, nine_tenths, cut, known)


def longer_sides(pairs: Collection[MeasuredPair]) -> list[LongerSide]:
    """How often each Responder's reply is the longer one, most often first; pairs of one's own replies tell nothing."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        if pair.responders[0] == pair.responders[1]:
            continue
        for side, name in enumerate(pair.responders):
            mine, other = pair.words[side], pair.words[1 - side]
            counts[name]["longer" if mine > other else "equal" if mine == other else "shorter"] += 1
    sides = [LongerSide(name, count.total(), count["longer"], count["equal"]) for name, count in counts.items()]
    return sorted(sides, key=lambda side: (-side.longer / side.pairs, side.label))


def longer_won(pairs: Collection[MeasuredPair]) -> LongerWon:
    """How often the longer reply won, of pairs in which more people called one of the two better."""
    decided = [pair for pair in pairs if pair.words[0] != pair.words[1] and pair.first_better not in (None, 0.5)]
    won = sum(((pair.first_better or 0) > 0.5) == (pair.words[0] > pair.words[1]) for pair in decided)
    return LongerWon(len(decided), won, *(wilson_interval(won / len(decided), len(decided)) if decided else (0.0, 1.0)))


def length_balance(s: Session, *, by: int, project_id: int) -> LengthBalance:
    """The project's lengths, by a sample where there is much; managers only. Simulated rankings count for nothing."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    shown = load_text_filter(s, project_id=project_id)
    offered = (
        select(Comparison.id)
        .where(Comparison.project_id == project_id, OFFERED, has_at_most(2))
        .order_by(Comparison.random_order)
        .limit(MAX_PAIRS)
    )
    return LengthBalance(
        spreads=sorted(_summarize_responders(s, project_id, shown), key=lambda row: (-row.median, row.label)),
        sides=longer_sides(_load_pairs(s, project_id, offered, shown)),
        won=longer_won(_load_pairs(s, project_id, offered.where(Comparison.people > 0), shown)),
    )


def _summarize_responders(s: Session, project_id: int, shown: TextFilter) -> list[LengthSummary]:
    summaries = []
    for responder in s.scalars(select(Responder).where(Responder.project_id == project_id, Responder.listed)):
        count = s.scalar(select(func.count()).where(Response.responder_id == responder.id)) or 0
        # an odd step: of samples that were saved two by two, an even one would take the same ones always
        step = -(-count // MAX_TEXTS) | 1
        rows = s.execute(
            select(Response.text, Response.finish_reason)
            .where(Response.responder_id == responder.id, Response.id % step == 0)
            .order_by(Response.id)
            .limit(MAX_TEXTS)
        ).all()
        if rows:
            words = [len(shown(text).split()) for text, _ in rows]
            ends = [finish for _, finish in rows if finish is not None]
            summaries.append(summarize_lengths(responder.label, words, cut=ends.count("length"), known=len(ends)))
    return summaries


def _load_pairs(s: Session, project_id: int, comparisons: Select[int], shown: TextFilter) -> list[MeasuredPair]:
    ids = s.scalars(comparisons).all()
    replies: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for comparison_id, text, responder in s.execute(
        select(ComparisonResponse.comparison_id, Response.text, Responder)
        .join(Response, Response.id == ComparisonResponse.response_id)
        .join(Response.responder)
        .where(ComparisonResponse.comparison_id.in_(ids))
        .order_by(Response.id)
    ):
        replies[comparison_id].append((responder.label, len(shown(text).split())))
    first_better: dict[int, list[bool]] = defaultdict(list)
    for row in s.execute(pair_rankings(project_id).where(Ranking.comparison_id.in_(ids), OWN_RANKING)):
        if row.first != row.second:
            first_better[row.comparison_id].append(row.first < row.second)
    return [
        MeasuredPair((first[0], second[0]), (first[1], second[1]), fmean(better) if better else None)
        for comparison_id, (first, second) in replies.items()
        for better in [first_better[comparison_id]]
    ]
