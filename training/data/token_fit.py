"""What becomes of a Snapshot's rows at a longest row of so many tokens, and a row in the model's own tokens. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm.template import Message
from training.data.inspected_rows import Remark


@dataclass(frozen=True, slots=True)
class RowTokens:
    """A row's lengths in tokens, as the base model's own tokenizer and chat template have it."""

    number: int
    """Of the `InspectedRow`."""
    prompt: int
    chosen: int
    rejected: int
    ends: tuple[int | None, int | None]
    """Where in the chosen and in the rejected reply its end-of-turn token stands, from 0; none without exactly one."""
    misaligned: bool = False
    """With its reply, the prompt does not begin as it does alone."""

    @property
    def replies(self) -> tuple[int, int]:
        """Tokens of the chosen and of the rejected reply."""
        return self.chosen, self.rejected

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer reply."""
        return self.prompt + max(self.replies)


@dataclass(frozen=True)
class Fit:
    """What becomes of the rows at one limit of tokens."""

    rows: int
    limit: int
    longest: int
    """Tokens of the longest row; 0 without rows."""
    too_long: tuple[int, ...]
    """Numbers of the rows that our trainer refuses; it never cuts one."""
    dropped: int
    """Rows that TRL by itself drops, because the prompt alone fills the limit."""
    cut: tuple[int, int]
    """Chosen and rejected replies that TRL by itself cuts, of the rows that it keeps."""
    endless: int
    """Of the cut replies, those that lose their end-of-turn token too."""
    lost_tokens: int
    """Tokens of replies that TRL by itself cuts away or drops."""
    misaligned: tuple[int, ...]
    """Numbers of the rows whose prompt alone is not the beginning of the whole; refused too."""
    without_end: tuple[int, ...]
    """Numbers of the rows with a reply that has no end-of-turn token, or several; refused too."""

    @property
    def finding(self) -> Remark:
        """Whether a training with this limit would start."""
        if not self.too_long:
            return Remark(f"All {self.rows:,} rows fit into {self.limit:,} tokens; the longest has {self.longest:,}.")
        are = "is" if len(self.too_long) == 1 else "are"
        return Remark(
            f"{len(self.too_long):,} of {self.rows:,} rows {are} longer than {self.limit:,} tokens, so a training "
            f"would be refused: rows are never cut here. Choose a longest row of at least {self.longest:,} tokens.",
            warns=True,
        )

    @property
    def plain_trl(self) -> str | None:
        """What TRL by itself would do to them without stopping; none where it would do nothing."""
        parts = []
        if self.dropped:
            parts.append(f"drop {self.dropped:,} whose prompt alone fills it")
        if any(self.cut):
            parts.append(f"cut the tail off {self.cut[0]:,} chosen and {self.cut[1]:,} rejected replies")
        if not parts:
            return None
        stops = f"; {self.endless:,} of the replies would lose their end-of-turn token too" if self.endless else ""
        return f"Plain TRL would {' and '.join(parts)} ({self.lost_tokens:,} tokens){stops}."

    @property
    def refusals(self) -> tuple[Remark, ...]:
        """Why a training would be refused at any limit."""
        sentences = []
        if self.misaligned:
            sentences.append(
                f"With their replies, {len(self.misaligned):,} prompts do not begin as they do alone, so a training "
                "would be refused: this chat template is not fit for it. Choose another base model."
            )
        if self.without_end:
            sentences.append(
                f"{len(self.without_end):,} rows (the first is row {self.without_end[0]}) have a reply without exactly "
                "one end-of-turn token, so a training would be refused: a reply may show the model's own mark."
            )
        return tuple(Remark(sentence, warns=True) for sentence in sentences)


def fit(tokens: Sequence[RowTokens], *, limit: int) -> Fit:
    """What a longest row of ``limit`` tokens means for these rows, here and in TRL by itself (1.16, ``keep_start``)."""
    dropped = [row for row in tokens if row.prompt >= limit]
    kept = [row for row in tokens if row.prompt < limit]
    over = [[row for row in kept if row.prompt + row.replies[side] > limit] for side in (0, 1)]
    lost = sum(row.prompt + row.replies[side] - limit for side in (0, 1) for row in over[side])
    return Fit(
        rows=len(tokens),
        limit=limit,
        longest=max((row.length for row in tokens), default=0),
        too_long=tuple(row.number for row in tokens if row.length > limit),
        dropped=len(dropped),
        cut=(len(over[0]), len(over[1])),
        endless=sum(
            (end := row.ends[side]) is not None and row.prompt + end >= limit for side in (0, 1) for row in over[side]
        ),
        lost_tokens=lost + sum(sum(row.replies) for row in dropped),
        misaligned=tuple(row.number for row in tokens if row.misaligned),
        without_end=tuple(row.number for row in tokens if None in row.ends),
    )


@dataclass(frozen=True, slots=True)
class TokenPiece:
    """A stretch of text as the model reads it."""

    text: str
    special: bool
    """Added by the template, such as the end of a turn."""
    tokens: int = 1
    """More than one where a character takes several."""


def cut_pieces(text: str, spans: Sequence[tuple[int, int, bool]]) -> tuple[TokenPiece, ...]:
    """The text cut where its tokens end; every character is in exactly one piece, every token is counted once.

    A span is a token's first character, the one after its last, and whether it is special.
    """
    pieces: list[TokenPiece] = []
    place, waiting = 0, 0
    for _, end, special in spans:
        if end > place:
            pieces.append(TokenPiece(text[place:end], special, 1 + waiting))
            place, waiting = end, 0
        elif pieces:  # a further token of a character that takes several
            pieces[-1] = replace(pieces[-1], tokens=pieces[-1].tokens + 1)
        else:
            waiting += 1
    if place < len(text) or waiting:
        pieces.append(TokenPiece(text[place:], False, waiting))
    return tuple(pieces)


def join_pieces(pieces: Sequence[TokenPiece]) -> tuple[TokenPiece, ...]:
    """The same text with neighbouring pieces of ordinary text as one."""
    merged: list[TokenPiece] = []
    for piece in pieces:
        if merged and not merged[-1].special and not piece.special:
            merged[-1] = TokenPiece(merged[-1].text + piece.text, False, merged[-1].tokens + piece.tokens)
        else:
            merged.append(piece)
    return tuple(merged)


def turn_pieces(turns: Sequence[Message]) -> tuple[TokenPiece, ...]:
    """Turns with their roles above, for where no model's template and tokenizer are at hand."""
    return tuple(
        piece
        for turn in turns
        for piece in (TokenPiece(f"[{turn['role']}]\n", True, 0), TokenPiece(f"{turn['content']}\n", False, 0))
    )
