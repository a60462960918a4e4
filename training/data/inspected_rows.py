"""A Snapshot's rows as they are looked at before anything is trained on them, and how what is found is said. Pure.

A `Remark` is one sentence that claims no more than the rows allow. What rests on a simulated reviewer's word says so.
Intervals are 95 % and clustered by prompt, since a prompt may give several rows (`stats.intervals.clustered_interval`,
as in evaluations).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from db.models import Split
from llm.template import Message
from stats.verdicts import Outcome
from texts.worded import WordedEnum
from training.data.rows import FrozenRow

RARE = 5
"""Rows below which a label is too seldom chosen to be learned."""


class RowSource(WordedEnum):
    """Whose judgment the inspected rows rest on."""

    ALL = "ALL", "All rows"
    PEOPLE = "PEOPLE", "People's word"
    SIMULATED = "SIMULATED", "Simulated"


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """A Snapshot's row with what the database knows of it."""

    number: int
    """Place in the Snapshot's files, from 1, training rows first."""
    split: Split
    frozen: FrozenRow
    chosen_by: str
    """Label of the Responder, or the author of the correction."""
    rejected_by: str
    chosen_cut: bool = False
    """Cut off at the token limit."""
    rejected_cut: bool = False
    nearly_same: bool = False
    """The two replies are nearly the same text."""
    outcomes: tuple[Outcome, ...] = ()
    """For the chosen reply, by each person who ranked the pair, this row's reviewer too; none where a rule ranked, or
    for a correction."""
    comparison_ids: tuple[int, ...] = ()
    """The Comparisons that reading it tells something about."""

    @property
    def chosen(self) -> str:
        """Its text."""
        return reply_text(self.frozen.chosen)

    @property
    def rejected(self) -> str:
        """Its text."""
        return reply_text(self.frozen.rejected)

    @property
    def corrected(self) -> bool:
        """Whether a correction is chosen."""
        return self.frozen.correction_id is not None


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence on some rows."""

    sentence: str
    warns: bool = False
    """A model would learn something by it that nobody meant to teach, or the training would not start."""


def reply_text(turns: Sequence[Message]) -> str:
    """The text of a reply's turns."""
    return "\n\n".join(turn["content"] for turn in turns)


def filter_by_source(rows: Sequence[InspectedRow], whose: RowSource) -> list[InspectedRow]:
    """The rows that rest on people's word, on a simulated one, or all."""
    return [row for row in rows if whose is RowSource.ALL or row.frozen.simulated is (whose is RowSource.SIMULATED)]


def describe_count(rows: Sequence[InspectedRow], noun: str = "pairs") -> str:
    """How many rows, and how many of them no person stands for."""
    simulated = sum(row.frozen.simulated for row in rows)
    if not simulated:
        return f"{len(rows):,} {noun}"
    if simulated == len(rows):
        return f"{len(rows):,} simulated {noun} (no person chose)"
    return f"{len(rows):,} {noun}, {simulated:,} of them simulated"
