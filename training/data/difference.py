"""What one Snapshot has that another has not: rows, thumbs, choices and what was left out."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.models import Snapshot, Split
from errors import NotFound
from llm.template import Message
from training.data.feedback import names
from training.data.rows import FrozenRow, Rows, Thumbs
from training.data.selection import BEFORE_CHOICES, Selection, in_words
from training.data.snapshot import thumbs_of, verify
from training.data.terms import reason_in_words


@dataclass(frozen=True)
class Frozen:
    """What is compared of a Snapshot."""

    rows: Rows
    thumbs: Thumbs
    choices: Mapping[str, str]
    """In words, see `training.data.selection.in_words`."""
    left_out: Mapping[str, int]
    """Reason to count."""


@dataclass(frozen=True)
class Changed:
    """One choice that was made otherwise."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class LeftOutOfBoth:
    """How much each of the two left out for one reason."""

    why: str
    """A sentence."""
    before: int
    after: int


@dataclass(frozen=True)
class Difference:
    """From an older Snapshot to a newer one. A row is the same where prompt, better and worse reply are."""

    added: tuple[FrozenRow, ...]
    gone: tuple[FrozenRow, ...]
    same: int
    moved: int
    """Of the same rows, those that are in another split now."""
    asked_otherwise: int
    """Of the same rows, those whose prompt reads otherwise now: other instructions, template or examples."""
    other_word: int
    """Of the same rows, those that rest on a person's word now and on a simulated one before, or the other way."""
    thumbs_added: int
    thumbs_gone: int
    thumbs_same: int
    choices: tuple[Changed, ...]
    left_out: tuple[LeftOutOfBoth, ...]
    """Every reason that either has, most of the newer one first."""


def compare(s: Session, *, project_id: int, older_id: int, newer_id: int) -> Difference:
    """The difference between two Snapshots of a project; reads only.

    Raises `NotFound`, and `Refused` when the files of one were changed after it was frozen.
    """
    reviewers, criteria = names(s, project_id=project_id)
    found = []
    for snapshot_id in (older_id, newer_id):
        snapshot = s.get(Snapshot, snapshot_id)
        if snapshot is None or snapshot.project_id != project_id:
            raise NotFound(f"There is no snapshot {snapshot_id} in this project. Choose one from the list.")
        chosen = BEFORE_CHOICES if snapshot.selection is None else Selection.of(snapshot.selection)
        found.append(
            Frozen(
                rows=verify(snapshot),
                thumbs=thumbs_of(snapshot),
                choices=in_words(chosen, reviewers=reviewers, criteria=criteria),
                left_out={one.reason: one.count for one in snapshot.left_out},
            )
        )
    return difference(*found)


def difference(older: Frozen, newer: Frozen) -> Difference:
    """What is in one and not in the other. Pure."""
    before, after = _by_pair(older.rows), _by_pair(newer.rows)
    both = [(before[pair], row) for pair, row in after.items() if pair in before]
    thumbs_before, thumbs_after = _marks(older.thumbs), _marks(newer.thumbs)
    reasons = sorted(
        older.left_out.keys() | newer.left_out.keys(),
        key=lambda reason: (-newer.left_out.get(reason, 0), -older.left_out.get(reason, 0), reason),
    )
    return Difference(
        added=tuple(row for pair, (_, row) in after.items() if pair not in before),
        gone=tuple(row for pair, (_, row) in before.items() if pair not in after),
        same=len(both),
        moved=sum(was is not now for (was, _), (now, _) in both),
        asked_otherwise=sum(was.prompt != now.prompt for (_, was), (_, now) in both),
        other_word=sum(was.simulated is not now.simulated for (_, was), (_, now) in both),
        thumbs_added=len(thumbs_after - thumbs_before),
        thumbs_gone=len(thumbs_before - thumbs_after),
        thumbs_same=len(thumbs_after & thumbs_before),
        choices=tuple(
            Changed(name, older.choices.get(name, "–"), words)
            for name, words in newer.choices.items()
            if older.choices.get(name) != words
        ),
        left_out=tuple(
            LeftOutOfBoth(reason_in_words(reason), older.left_out.get(reason, 0), newer.left_out.get(reason, 0))
            for reason in reasons
        ),
    )


def _by_pair(rows: Rows) -> dict[tuple[int, str, str], tuple[Split, FrozenRow]]:
    return {
        (row.prompt_id, _text(row.chosen), _text(row.rejected)): (split, row)
        for split, of_split in rows.items()
        for row in of_split
    }


def _marks(thumbs: Thumbs) -> set[tuple[int, str, bool]]:
    return {(one.prompt_id, _text(one.completion), one.label) for of_split in thumbs.values() for one in of_split}


def _text(messages: list[Message]) -> str:
    return "\n".join(message["content"] for message in messages)
