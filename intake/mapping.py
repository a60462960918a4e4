"""Which column means what. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from errors import BadFile
from stats.verdicts import Verdict


class HeldOutChoice(StrEnum):
    """Which of the imported prompts are kept for evaluation and never trained on."""

    NONE = "NONE"
    """None: all are for training."""
    ALL = "ALL"
    SHARE = "SHARE"
    """A share, drawn by a seed, near-duplicates together."""
    COLUMN = "COLUMN"
    """Those whose cell in a column says so (yes, true, 1, held out, test, eval)."""


MOST_REPLIES = 20
"""Reply columns of a file: each pair of them is compared."""


@dataclass(frozen=True)
class ColumnMapping:
    """What each column of a file means; columns not named here are kept as extra facts."""

    prompt: str
    """Column of the text to answer."""
    context: str | None = None
    """Column of what the answer may rely on."""
    topic: str | None = None
    responses: Mapping[str, str] = field(default_factory=dict)
    """Column of a reply → name of the human Responder who wrote it."""
    responses_simulated: bool = False
    """The replies were made up, not written by people at work."""
    picked: str | None = None
    """Column that says which reply is better: a reply column's name, its Responder, "tie" or "both bad"."""
    reason: str | None = None
    picked_by: str = ""
    """Name of the Reviewer whose picks these are."""
    picks_simulated: bool = False
    """The picks were made by a rule or a model, or made up."""
    held_out: HeldOutChoice = HeldOutChoice.NONE
    held_out_share: float = 0.2
    held_out_column: str | None = None
    seed: int = 0

    def columns(self) -> tuple[str, ...]:
        """Every column that has a meaning."""
        named = (self.prompt, self.context, self.topic, self.picked, self.reason, self.held_out_column)
        return tuple(name for name in (*named, *self.responses) if name)


def person_name(column: str) -> str:
    """A name for the writer of the replies in a column: "reply_rosalind" gives "Rosalind", "reply" "Our people"."""
    name = re.sub(r"^(reply|response|answer)[\s_\-:]*", "", column, flags=re.IGNORECASE).strip(" _-")
    return name.replace("_", " ").title() or "Our people"


def guess_mapping(columns: Sequence[str]) -> ColumnMapping:
    """The likeliest meaning of the columns, for a person to check."""
    left = list(columns)

    def take(pattern: str) -> str | None:
        """The first column that fits and has no meaning yet."""
        column = next((name for name in left if re.search(pattern, name, re.IGNORECASE)), None)
        if column is not None:
            left.remove(column)
        return column

    replies = [name for name in columns if re.search(r"^(reply|response|answer)", name, re.IGNORECASE)]
    left = [name for name in left if name not in replies]
    prompt = take(r"^(e-?mail|prompt|question|message|text|body|input)") or take("") or columns[0]
    picked = take(r"^(pick|choice|chosen|winner|prefer|better)")
    held_out = take(r"held.?out")
    return ColumnMapping(
        prompt=prompt,
        context=take(r"^(context|schema|background)"),
        topic=take(r"^(topic|category|subject|tag)"),
        responses={name: person_name(name) for name in replies if name != prompt},
        picked=picked,
        reason=take(r"^(reason|rationale|why|comment)") if picked else None,
        held_out=HeldOutChoice.COLUMN if held_out else HeldOutChoice.NONE,
        held_out_column=held_out,
    )


def check_mapping(mapping: ColumnMapping, columns: Sequence[str]) -> None:
    """Raise `BadFile` with the remedy when the mapping cannot be used on these columns."""
    for problem in _mapping_problems(mapping, columns):
        raise BadFile(problem)


def _mapping_problems(mapping: ColumnMapping, columns: Sequence[str]) -> Iterator[str]:
    for name in mapping.columns():
        if name not in columns:
            yield f"The file has no column “{name}”. Its columns are: {', '.join(columns)}."
    used = mapping.columns()
    for name in used:
        if used.count(name) > 1:
            yield f"The column “{name}” has two meanings. Give it one."
    names = [" ".join(name.split()) for name in mapping.responses.values()]
    if len(names) > MOST_REPLIES:
        yield f"There are {len(names):,} reply columns; at most {MOST_REPLIES} can be read. Choose the ones to compare."
    if "" in names:
        yield "Every reply column needs the name of whoever wrote the replies. Type one."
    if len(set(names)) < len(names):
        yield "Two reply columns have the same name for who wrote them. Give each person their own name."
    if mapping.picked and len(mapping.responses) < 2:
        yield "A column of picks needs at least two reply columns to pick from. Choose them, or leave the picks out."
    if mapping.picked and not mapping.picked_by.strip():
        yield "Whose picks are these? Type the name of the person (or rule) that made them."
    if mapping.held_out is HeldOutChoice.COLUMN and not mapping.held_out_column:
        yield "Choose the column that says which prompts are held out, or another way to hold prompts out."
    if mapping.held_out is HeldOutChoice.SHARE and not 0 < mapping.held_out_share < 1:
        yield "The held-out share must lie between 0 and 1, such as 0.2."


def says_held_out(cell: str) -> bool:
    """Whether a cell of the held-out column means yes."""
    words = ("1", "yes", "y", "true", "x", "held out", "held_out", "heldout", "test", "eval", "evaluation")
    return cell.strip().lower() in words


def read_pick(cell: str, mapping: ColumnMapping) -> str | Verdict | None:
    """What a pick means: the reply column, a verdict for none of them, or None when it cannot be told."""

    def fold(text: str) -> str:
        return re.sub(r"[\s_\-]+", " ", text.lower())

    pick = fold(cell.strip())
    for verdict in Verdict:
        if pick in verdict.spoken:
            return verdict
    for column, person in mapping.responses.items():
        if pick in map(fold, (column, person, person_name(column), person.split(" ")[0])):
            return column
    return None
