"""What changed between two texts, word by word. Pure."""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_LONGEST = 4_000
"""Tokens beyond which texts are compared line by line: matching words is quadratic at worst."""


class Edit(StrEnum):
    """What happened to a piece of text."""

    KEPT = "KEPT"
    ADDED = "ADDED"
    REMOVED = "REMOVED"


@dataclass(frozen=True)
class DiffPiece:
    """A run of text with one fate."""

    change: Edit
    text: str


def word_diff(before: str, after: str) -> tuple[DiffPiece, ...]:
    """The pieces that turn `before` into `after`.

    KEPT and REMOVED pieces joined give `before`, KEPT and ADDED ones give `after`.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) + len(new) > _LONGEST:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    pieces: list[DiffPiece] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(DiffPiece(Edit.KEPT, "".join(old[i:j])))
            continue
        if j > i:
            pieces.append(DiffPiece(Edit.REMOVED, "".join(old[i:j])))
        if m > k:
            pieces.append(DiffPiece(Edit.ADDED, "".join(new[k:m])))
    return tuple(pieces)


def words_changed(pieces: tuple[DiffPiece, ...]) -> int:
    """Words added plus words removed."""
    return sum(len(re.findall(r"\w+", piece.text)) for piece in pieces if piece.change is not Edit.KEPT)
