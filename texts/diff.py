"""The differences between two texts, word by word. Pure."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_TOKENS = 4_000
"""Texts with more tokens are compared line by line: matching words is quadratic at worst."""


class Edit(StrEnum):
    """What happened to a piece of text."""

    KEPT = "KEPT"
    ADDED = "ADDED"
    REMOVED = "REMOVED"


@dataclass(frozen=True)
class DiffPiece:
    """A run of text that was kept, added or removed as a whole."""

    change: Edit
    text: str


def word_diff(before: str, after: str) -> tuple[DiffPiece, ...]:
    """The pieces that turn `before` into `after`.

    KEPT and REMOVED pieces joined give `before`, KEPT and ADDED ones give `after`.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) + len(new) > _MOST_TOKENS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    pieces: list[DiffPiece] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for operation, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if operation == "equal":
            pieces.append(DiffPiece(Edit.KEPT, "".join(old[old_start:old_end])))
            continue
        if old_end > old_start:
            pieces.append(DiffPiece(Edit.REMOVED, "".join(old[old_start:old_end])))
        if new_end > new_start:
            pieces.append(DiffPiece(Edit.ADDED, "".join(new[new_start:new_end])))
    return tuple(pieces)


def count_changed_words(pieces: tuple[DiffPiece, ...]) -> int:
    """Words added plus words removed."""
    return sum(len(re.findall(r"\w+", piece.text)) for piece in pieces if piece.change is not Edit.KEPT)
