"""What a frozen Snapshot would teach, told before anything is trained on it. Pure.

Each figure comes with a `Finding`: one sentence that claims no more than the rows allow. What rests on a simulated
reviewer's word says so. Intervals are 95 % and clustered by prompt, since a prompt may give several rows
(`intervals.clustered`, as in evaluations).
"""

import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np

from intervals import clustered
from template import Message
from training.preferences import Split, plain
from training.rows import FrozenRow

SIDES = ("chosen", "rejected")
RARE = 5
"""Rows below which a label is too seldom chosen to be learned."""
DOMINANT = 0.8
"""Share of rows above which one label can be learned in place of the task."""
MOST_LABELS = 30
"""Distinct texts above which a task is no choice between classes."""
LABEL_WORDS, LABEL_LETTERS = 5, 40
"""Longest label."""
NEEDED_SHARE = 0.9
"""Share of the chosen texts that must be labels, or numbers, for the task to be one of them."""
OPENING_WORDS = 5
SHARED = 0.2
"""Share of the chosen replies with one opening from which on it is worth a warning."""
SURE = 0.01
"""Chance below which round numbers are no accident: several multiples are looked at, so stricter than 5 %."""
ROUND = (1, 5, 10, 100, 1000)


class Whose(StrEnum):
    """Whose word the rows rest on that are looked at."""

    ALL = "ALL"
    PEOPLE = "PEOPLE"
    SIMULATED = "SIMULATED"


class Stance(StrEnum):
    """What one person said of a row's two replies."""

    SAME = "SAME"
    """The chosen one is better."""
    EVEN = "EVEN"
    """Both good, or both bad."""
    OPPOSITE = "OPPOSITE"


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """A Snapshot's row with what the database knows of it."""

    number: int
    """Place in the Snapshot's files, from 1, training rows first."""
    split: Split
    row: FrozenRow
    chosen_by: str
    """Label of the Responder, or whose correction it is."""
    rejected_by: str
    chosen_cut: bool = False
    """Cut off at the token limit."""
    rejected_cut: bool = False
    near: bool = False
    """The two replies are nearly the same text."""
    stances: tuple[Stance, ...] = ()
    """Of every person who ranked the pair, this row's reviewer too; none where a rule ranked, or for a correction."""
    comparison_ids: tuple[int, ...] = ()
    """The Comparisons that reading it tells something about."""

    @property
    def chosen(self) -> str:
        """The chosen reply's text."""
        return text_of(self.row.chosen)

    @property
    def rejected(self) -> str:
        """The rejected reply's text."""
        return text_of(self.row.rejected)

    @property
    def corrected(self) -> bool:
        """Whether a correction is chosen."""
        return self.row.correction_id is not None


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence on some rows."""

    sentence: str
    warns: bool = False
    """A model would learn something by it that nobody meant to teach, or the training would not start."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its interval."""

    count: int
    n: int
    low: float
    high: float
    """95 %, clustered by prompt, in [0, 1]."""

    @property
    def rate(self) -> float:
        """In [0, 1]; 0 where there is nothing."""
        return self.count / self.n if self.n else 0.0

    @property
    def words(self) -> str:
        """As ``63 % [55, 71]``."""
        return f"{self.rate * 100:.0f} % [{self.low * 100:.0f}, {self.high * 100:.0f}]"


def text_of(turns: Sequence[Message]) -> str:
    """The text of a reply's turns."""
    return "\n\n".join(turn["content"] for turn in turns)


def of_whom(rows: Sequence[InspectedRow], whose: Whose) -> list[InspectedRow]:
    """The rows that rest on people's word, on a simulated one, or all."""
    return [one for one in rows if whose is Whose.ALL or one.row.simulated is (whose is Whose.SIMULATED)]


def among(rows: Sequence[InspectedRow], noun: str = "pairs") -> str:
    """How many rows, and how many of them no person stands for."""
    simulated = sum(one.row.simulated for one in rows)
    if not simulated:
        return f"{len(rows):,} {noun}"
    if simulated == len(rows):
        return f"{len(rows):,} simulated {noun} (no person chose)"
    return f"{len(rows):,} {noun}, {simulated:,} of them simulated"


def share(seen: Iterable[tuple[int, bool]]) -> Share:
    """How often something holds; each item is a prompt's id and whether it does. All of [0, 1] where there is none."""
    clusters: dict[int, list[bool]] = defaultdict(list)
    for prompt_id, holds in seen:
        clusters[prompt_id].append(holds)
    count, n = sum(map(sum, clusters.values())), sum(map(len, clusters.values()))
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    low, high = clustered(clusters.values())
    return Share(count, n, min(low, count / n), max(high, count / n))  # rounding may put the rate outside


# ------------------------------------------------------------------------------------------------ lengths


@dataclass(frozen=True)
class Lengths:
    """How long the two sides are, in words with white space between them, and whether the longer one won."""

    chosen: tuple[int, ...]
    """By row."""
    rejected: tuple[int, ...]
    longer: Share
    """How often the chosen reply is the longer one, of rows whose two have different lengths."""
    finding: Finding

    @property
    def differences(self) -> tuple[int, ...]:
        """Words by which the chosen reply is longer, by row."""
        return tuple(one - other for one, other in zip(self.chosen, self.rejected, strict=True))


def lengths(rows: Sequence[InspectedRow]) -> Lengths:
    """Lengths by side, and how often the longer reply won."""
    chosen = tuple(len(one.chosen.split()) for one in rows)
    rejected = tuple(len(one.rejected.split()) for one in rows)
    unlike = [place for place, _ in enumerate(rows) if chosen[place] != rejected[place]]
    longer = share((rows[place].row.prompt_id, chosen[place] > rejected[place]) for place in unlike)
    return Lengths(chosen, rejected, longer, _length_finding(longer, [rows[place] for place in unlike]))


def _length_finding(longer: Share, rows: Sequence[InspectedRow]) -> Finding:
    if not rows:
        return Finding("No pair has replies of different length, so length teaches nothing.")
    found = f"The longer reply won in {longer.words} of {among(rows)}"
    if longer.low > 0.5:
        return Finding(f"{found}: a model would learn to write longer.", warns=True)
    if longer.high < 0.5:
        return Finding(f"{found}: a model would learn to write shorter.", warns=True)
    return Finding(f"{found}: no sign that length decides.")


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a histogram."""

    low: float
    high: float
    """Not in it, but for the last one."""
    side: str
    count: int


def bins(values: Mapping[str, Sequence[float]], *, most: int = 30) -> list[Bin]:
    """A histogram of each side's values over the same bars, empty ones left out."""
    every = np.array([value for of_side in values.values() for value in of_side], dtype=float)
    if not every.size:
        return []
    # whole numbers: bars of whole width, or some would hold one number more than their neighbours
    whole = bool(np.all(every == np.round(every)))
    low, high = float(every.min()), float(every.max())
    width = max((high - low) / most, 1e-9)
    if whole:
        width = max(1.0, math.ceil((high - low + 1) / most))
    edges = low + width * np.arange(max(1, math.ceil((high - low + whole) / width)) + 1)
    return [
        Bin(float(edges[place]), float(edges[place + 1]), side, int(count))
        for side, of_side in values.items()
        for place, count in enumerate(np.histogram(np.clip(of_side, edges[0], edges[-1]), edges)[0])
        if count
    ]


# --------------------------------------------------------------------------------------- who won, who disagreed


@dataclass(frozen=True)
class Fared:
    """How one Responder's replies fared."""

    responder: str
    won: Share
    """How often its reply was chosen, of the ranked rows in which it stood beside another Responder's."""
    corrected: int
    """Rows in which a correction was chosen over its reply."""


def responders(rows: Sequence[InspectedRow]) -> list[Fared]:
    """How often each Responder won, most often first; a row with two replies of one Responder tells nothing here."""
    seen: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    corrected: Counter[str] = Counter()
    for one in rows:
        if one.corrected:
            corrected[one.rejected_by] += 1
        elif one.chosen_by != one.rejected_by:
            seen[one.chosen_by].append((one.row.prompt_id, True))
            seen[one.rejected_by].append((one.row.prompt_id, False))
    found = [Fared(name, share(seen[name]), corrected[name]) for name in {*seen, *corrected}]
    return sorted(found, key=lambda one: (-one.won.rate, -one.won.n, one.responder))


def responder_finding(found: Sequence[Fared], rows: Sequence[InspectedRow]) -> Finding:
    """Who wins, if anybody does clearly."""
    beside = [one for one in rows if not one.corrected and one.chosen_by != one.rejected_by]
    if not beside:
        return Finding("No row sets two responders' replies against each other, so none can be favoured.")
    first = max(found, key=lambda one: (one.won.low, one.won.n))
    if first.won.low <= 0.5:
        return Finding(f"In {among(beside)} beside another's replies, nobody's were chosen clearly more often.")
    mine = [one for one in beside if first.responder in (one.chosen_by, one.rejected_by)]
    return Finding(
        f"Replies by {first.responder} were chosen in {first.won.words} of {among(mine)}: a model would learn to sound "
        "like them."
    )


@dataclass(frozen=True)
class Disagreement:
    """What several people said of the pairs behind the rows."""

    pairs: int
    """Ranked pairs behind the rows."""
    several: int
    """Of them, ranked by two people or more."""
    opposite: Share
    """Of those, somebody called the rejected reply better."""
    even: int
    """Of those, nobody did, but somebody saw no difference."""
    left_out: int
    """Orders that are in no row because the same two replies were put the other way round, by a person or a rule."""
    finding: Finding


def disagreement(rows: Sequence[InspectedRow], *, left_out: int) -> Disagreement:
    """How many pairs several people ranked, and how many of those they disagreed on.

    Args:
        left_out: orders that the freeze left out for opposite ones.
    """
    ranked = [one for one in rows if not one.corrected]
    several = [one for one in ranked if len(one.stances) > 1]
    opposite = share((one.row.prompt_id, Stance.OPPOSITE in one.stances) for one in several)
    even = sum(Stance.EVEN in one.stances and Stance.OPPOSITE not in one.stances for one in several)
    against = f" {left_out:,} more orders were left out, because somebody (or a rule) said the opposite."
    beside = against if left_out else ""
    if not several:
        sentence = f"None of the {len(ranked):,} ranked pairs was seen by two people, so nothing tells if they agree."
        return Disagreement(len(ranked), 0, opposite, even, left_out, Finding(sentence + beside))
    sentence = (
        f"{len(several):,} of {len(ranked):,} ranked pairs were seen by several people; in {opposite.words} of them "
        f"somebody said the opposite, in {even:,} more somebody saw no difference."
    )
    warns = opposite.low > 0.2
    return Disagreement(len(ranked), len(several), opposite, even, left_out, Finding(sentence + beside, warns=warns))


# ------------------------------------------------------------------------------------------------- tokens


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
    apart: bool = False
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
    """What becomes of the rows at a longest row of so many tokens."""

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
    apart: tuple[int, ...]
    """Numbers of the rows whose prompt alone is not the beginning of the whole; refused too."""
    unended: tuple[int, ...]
    """Numbers of the rows with a reply that has no end-of-turn token, or several; refused too."""

    @property
    def finding(self) -> Finding:
        """Whether a training with this limit would start."""
        if not self.too_long:
            return Finding(f"All {self.rows:,} rows fit into {self.limit:,} tokens; the longest has {self.longest:,}.")
        several = f"{len(self.too_long):,} of {self.rows:,} rows"
        return Finding(
            f"{several} {_are(len(self.too_long))} longer than {self.limit:,} tokens, so a training would be refused: "
            f"rows are never cut here. Choose a longest row of at least {self.longest:,} tokens.",
            warns=True,
        )

    @property
    def elsewhere(self) -> str | None:
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
    def refusals(self) -> tuple[Finding, ...]:
        """Why a training would be refused at any limit."""
        found = []
        if self.apart:
            found.append(
                f"With their replies, {len(self.apart):,} prompts do not begin as they do alone, so a training would "
                "be refused: this chat template is not fit for it. Choose another base model."
            )
        if self.unended:
            found.append(
                f"{len(self.unended):,} rows (the first is row {self.unended[0]}) have a reply without exactly one "
                "end-of-turn token, so a training would be refused: a reply may show the model's own mark."
            )
        return tuple(Finding(sentence, warns=True) for sentence in found)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


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
        apart=tuple(row.number for row in tokens if row.apart),
        unended=tuple(row.number for row in tokens if None in row.ends),
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text as the model reads it."""

    text: str
    special: bool
    """A token of its own kind, such as the end of a turn, that nobody typed."""
    tokens: int = 1
    """More than one where a character takes several."""


def pieces(text: str, spans: Sequence[tuple[int, int, bool]]) -> tuple[Piece, ...]:
    """The text cut where its tokens end; every character is in exactly one piece, every token is counted once.

    Args:
        spans: each token's first character, the character after its last, and whether it is special.
    """
    found: list[Piece] = []
    place, waiting = 0, 0
    for _, end, special in spans:
        if end > place:
            found.append(Piece(text[place:end], special, 1 + waiting))
            place, waiting = end, 0
        elif found:  # a further token of a character that takes several
            last = found[-1]
            found[-1] = Piece(last.text, last.special, last.tokens + 1)
        else:
            waiting += 1
    if place < len(text) or waiting:
        found.append(Piece(text[place:], False, waiting))
    return tuple(found)


def joined(found: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same text with neighbours of one kind as one piece, for whoever does not care for single tokens."""
    merged: list[Piece] = []
    for one in found:
        if merged and merged[-1].special == one.special and not one.special:
            merged[-1] = Piece(merged[-1].text + one.text, False, merged[-1].tokens + one.tokens)
        else:
            merged.append(one)
    return tuple(merged)


def as_turns(turns: Sequence[Message]) -> tuple[Piece, ...]:
    """Turns with their roles above, for where no model's template and tokenizer are at hand."""
    found: list[Piece] = []
    for turn in turns:
        found += [Piece(f"[{turn['role']}]\n", True, 0), Piece(f"{turn['content']}\n", False, 0)]
    return tuple(found)


# --------------------------------------------------------------------------------- classes and values


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How often a label stands on each side."""

    label: str
    chosen: int
    rejected: int


@dataclass(frozen=True)
class Labels:
    """A class that every chosen reply names: the reply itself, or a field of its JSON."""

    name: str
    """The field; empty where the reply itself is the label."""
    counts: tuple[LabelCount, ...]
    """Most often chosen first."""
    elsewhere: tuple[int, int]
    """Chosen and rejected replies that are no label."""
    finding: Finding


@dataclass(frozen=True, slots=True)
class Roundness:
    """How many values are a multiple of a number, and how many would be by chance."""

    base: int
    count: int
    n: int
    """Values at least as large as the number."""
    chance: float
    """Share expected where nobody rounds, in [0, 1]."""
    p: float
    """Probability of so many or more by chance (exact binomial test)."""

    @property
    def beyond(self) -> bool:
        """Whether there are clearly more than by chance."""
        return self.p < SURE


@dataclass(frozen=True)
class Values:
    """A number that every chosen reply gives: the reply itself, or a field of its JSON."""

    name: str
    chosen: tuple[float, ...]
    """Each prompt's distinct values."""
    rejected: tuple[float, ...]
    units: Mapping[str, int]
    """Unit or currency as written to how often it is chosen; empty for none."""
    rounds: tuple[Roundness, ...]
    digits: tuple[int, ...]
    """How often the chosen values end in 0, 1, ... 9, at the precision they are given in; of two digits or more."""
    finding: Finding


def task_of(rows: Sequence[InspectedRow]) -> tuple[Labels | Values, ...]:
    """The classes and values that the chosen replies consist of; none for prose."""
    found: list[Labels | Values] = []
    for name, sides in _columns(rows):
        values = _values(name, rows, sides)
        labels = None if values else _labels(name, rows, sides)
        found += [one for one in (values, labels) if one is not None]
    return tuple(found)


Column = tuple[list[str | None], list[str | None]]
"""By row, what the chosen and the rejected reply say; none where they do not."""


def _columns(rows: Sequence[InspectedRow]) -> list[tuple[str, Column]]:
    """The replies themselves, or the fields of their JSON that have a plain value."""
    objects = [[_object(one.chosen), _object(one.rejected)] for one in rows]
    if not rows or sum(bool(chosen) for chosen, _ in objects) < NEEDED_SHARE * len(rows):
        return [("", ([one.chosen for one in rows], [one.rejected for one in rows]))]
    counts = Counter(name for chosen, _ in objects for name in chosen)
    names = [name for name, count in counts.items() if count >= NEEDED_SHARE * len(rows)]
    return [(name, ([c.get(name) for c, _ in objects], [r.get(name) for _, r in objects])) for name in names]


def _object(text: str) -> dict[str, str]:
    """A JSON object's fields with a plain value, as text; empty for anything else."""
    try:
        said = json.loads(re.sub(r"^\s*```(?:json)?|```\s*$", "", text))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    plain_ones = {name: value for name, value in said.items() if isinstance(value, str | int | float | bool)}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in plain_ones.items()}


def _label(text: str | None) -> str | None:
    """A short text as a label, whatever its case and final stop; none for a longer or empty one."""
    label = plain(text or "").strip(" .!?\"'“”‘’`*")
    short = 0 < len(label) <= LABEL_LETTERS and len(label.split()) <= LABEL_WORDS
    return label.casefold() if short else None


def _labels(name: str, rows: Sequence[InspectedRow], sides: Column) -> Labels | None:
    chosen, rejected = ([_label(text) for text in side] for side in sides)
    counts = Counter(label for label in chosen if label is not None)
    named = counts.total()
    if not rows or named < NEEDED_SHARE * len(rows) or len(counts) > min(MOST_LABELS, named / 3):
        return None
    other = Counter(label for label in rejected if label in counts)
    written: dict[str, Counter[str]] = defaultdict(Counter)
    for label, text in zip(chosen, sides[0], strict=True):
        if label is not None:
            written[label][plain(text or "")] += 1
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    found = tuple(LabelCount(min(written[x], key=lambda t: (-written[x][t], t)), counts[x], other[x]) for x in ordered)
    return Labels(
        name=name,
        counts=found,
        elsewhere=(len(rows) - named, len(rows) - other.total()),
        finding=_label_finding(name, found, rows),
    )


def _label_finding(name: str, counts: Sequence[LabelCount], rows: Sequence[InspectedRow]) -> Finding:
    task = f"The field “{name}” is" if name else "The replies are"
    found = f"{task} one of {len(counts)} labels in {among(rows, 'rows')}."
    first = counts[0]
    rare = [one.label for one in counts if one.chosen < RARE]
    warns = False
    if first.chosen > DOMINANT * len(rows):
        found += f" “{first.label}” is chosen in {first.chosen / len(rows) * 100:.0f} %: always saying it would do."
        warns = True
    if rare:
        shown = ", ".join(f"“{label}”" for label in rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        found += f" Chosen in fewer than {RARE} rows, too seldom to be learned: {shown}."
        warns = True
    return Finding(found, warns=warns)


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as somebody wrote it."""

    value: Decimal
    places: int
    """Decimal places as written."""
    unit: str


_AMOUNT = re.compile(
    r"(?P<sign>[-+−]?)(?:(?P<grouped>[1-9]\d{0,2}(?:(?P<mark>[,'’ \u00a0\u202f])\d{3}(?:(?P=mark)\d{3})*"
    r"|(?:\.\d{3}){2,}|\.\d{3}(?=,\d)))(?:[.,](?P<cents>\d+))?|(?P<whole>\d+)(?:[.,](?P<part>\d+))?|(?P<bare>[.,]\d+))"
)
LONGEST_AMOUNT = 80
"""Letters; prose is not looked through for numbers."""
_ABOUT = frozenset("about approx approx. approximately around roughly circa ca ca. ~ ≈ = a an per the".split())
_TIMES = {"k": 3, "thousand": 3, "million": 6, "mio": 6, "mio.": 6, "mn": 6, "billion": 9, "bn": 9}


def amount(text: str) -> Amount | None:
    """The number that a text is, with at most three words of unit or currency; none for anything else.

    1,234.5 and 1.234,5 are the same number; 1.234 alone is read as a bit more than one.
    """
    found = list(_AMOUNT.finditer(text)) if len(text) <= LONGEST_AMOUNT else []
    if len(found) != 1:
        return None
    match = found[0]
    beside = [*text[: match.start()].split(), *text[match.end() :].split()]
    words = [word.casefold().strip(".,;:!()") or word for word in beside]
    whole = re.sub(r"\D", "", match["grouped"] or match["whole"] or "0")
    if len(words) > 3 or any(len(word) > 12 for word in words) or len(whole) > 15:
        return None
    part = match["cents"] or match["part"] or (match["bare"] or "")[1:]
    power = sum(_TIMES.get(word, 0) for word in words)
    value = Decimal(f"{whole}.{part or 0}").scaleb(power)
    unit = " ".join(word for word in words if word not in _ABOUT and word not in _TIMES)
    return Amount(-value if match["sign"] in ("-", "−") else value, max(0, len(part) - power), unit)


def _values(name: str, rows: Sequence[InspectedRow], sides: Column) -> Values | None:
    """None where the column holds something else, or a mark from 0 to 10, which is a class."""
    chosen, rejected = (_once_a_prompt(rows, [amount(text or "") for text in side]) for side in sides)
    told = sum(amount(text or "") is not None for text in sides[0])
    if not chosen or told < NEEDED_SHARE * len(rows):
        return None
    if all(one.places == 0 and 0 <= one.value <= 10 for one in chosen):
        return None
    places = max(p for p in (0, 1, 2) if p == 0 or sum(one.places >= p for one in chosen) >= 0.1 * len(chosen))
    rounds = tuple(_round(chosen, base, places) for base in ROUND if base > 1 or places)
    rounds = tuple(one for one in rounds if one.n)
    digits = Counter(int(abs(scaled)) % 10 for one in chosen if abs(scaled := round(one.value.scaleb(places))) >= 10)
    return Values(
        name=name,
        chosen=tuple(float(one.value) for one in chosen),
        rejected=tuple(float(one.value) for one in rejected),
        units=dict(Counter(one.unit for one in chosen).most_common()),
        rounds=rounds,
        digits=tuple(digits[digit] for digit in range(10)),
        finding=_value_finding(name, chosen, rounds),
    )


def _once_a_prompt(rows: Sequence[InspectedRow], said: Sequence[Amount | None]) -> list[Amount]:
    """Each prompt's distinct amounts: one number in three rows of a prompt was thought of once."""
    distinct = {(one.row.prompt_id, it.value, it.unit): it for one, it in zip(rows, said, strict=True) if it}
    return list(distinct.values())


def _round(amounts: Sequence[Amount], base: int, places: int) -> Roundness:
    from scipy.stats import binomtest

    large = [one for one in amounts if abs(one.value) >= base]
    count = sum(one.value % base == 0 for one in large)
    chance = 10.0**-places / base
    p = float(binomtest(count, len(large), chance, alternative="greater").pvalue) if large else 1.0
    return Roundness(base, count, len(large), chance, p)


def _value_finding(name: str, amounts: Sequence[Amount], rounds: Sequence[Roundness]) -> Finding:
    what = f"The field “{name}” is" if name else "The replies are"
    found = f"{what} numbers: {len(amounts):,} of them, half from {{:,.6g}} to {{:,.6g}}.".format(
        *np.percentile([float(one.value) for one in amounts], [25, 75])
    )
    beyond = [one for one in rounds if one.beyond]
    if not beyond:
        return Finding(f"{found} No more of them are round than by chance.")
    most = max(beyond, key=lambda one: (one.count / one.n - one.chance, one.base))
    multiples = "whole numbers" if most.base == 1 else f"multiples of {most.base:,}"
    rates = f"{most.count / most.n * 100:.0f} % are {multiples}, where chance gives {most.chance * 100:.2g} %"
    return Finding(
        f"{found} {rates}: whoever wrote them guessed in round numbers, and so would a model.",
        warns=True,
    )


# ------------------------------------------------------------------------------------------------ repeats


@dataclass(frozen=True, slots=True)
class Repeated:
    """A text that is chosen for several prompts."""

    text: str
    prompts: int


@dataclass(frozen=True, slots=True)
class Opening:
    """First words that several chosen replies share."""

    words: str
    chosen: int
    rejected: int


@dataclass(frozen=True)
class Repeats:
    """What stands in many rows, or should not stand in one."""

    rows: int
    texts: tuple[Repeated, ...]
    """Chosen for two prompts or more, most prompts first."""
    pasted: int
    """Rows whose chosen text is one of them."""
    openings: tuple[Opening, ...]
    """Of two chosen replies or more, most often first."""
    cut: tuple[int, int]
    """Chosen and rejected replies that were cut off at the token limit."""
    empty: tuple[int, int]
    near: tuple[int, ...]
    """Numbers of the rows whose two replies are nearly the same."""
    near_corrections: int
    """Of those, corrections."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What of it is worth a sentence."""
        found = (_texts_told(self), _openings_told(self), _cut_told(self), _empty_told(self), _near_told(self))
        return tuple(one for one in found if one is not None)


_GREETING = re.compile(
    r"\s*(dear|hello|hi|hey|good (morning|afternoon|evening|day)|hallo|liebe[rs]?|sehr geehrte\w*|guten (tag|morgen)"
    r"|bonjour|ch[eè]re?|hola|estimad[oa]|ciao|gentile)\b[^,!.:\n]{0,40}[,!.:\n]+\s*",
    re.IGNORECASE,
)


def opening(text: str) -> str | None:
    """The first five words after a greeting, in lower case without marks; none for a shorter text."""
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", _GREETING.sub("", text, count=1) if _GREETING.match(text) else text)
    return " ".join(words[:OPENING_WORDS]).casefold() if len(words) >= OPENING_WORDS else None


def repeats(rows: Sequence[InspectedRow], *, prose: bool) -> Repeats:
    """Texts, openings and faults that many rows share.

    Args:
        prose: False for classes and values, which repeat by their nature.
    """
    prompts: dict[str, set[int]] = defaultdict(set)
    for one in rows:
        prompts[plain(one.chosen)].add(one.row.prompt_id)
    several = {text: len(of_text) for text, of_text in prompts.items() if len(of_text) > 1 and text} if prose else {}
    pasted = sum(plain(one.chosen) in several for one in rows)
    chosen, rejected = (
        Counter(first for one in rows if (first := opening(getattr(one, side))) and prose) for side in SIDES
    )
    openings = tuple(Opening(words, count, rejected[words]) for words, count in chosen.most_common() if count > 1)
    near = [one for one in rows if one.near]
    return Repeats(
        rows=len(rows),
        texts=tuple(sorted((Repeated(*item) for item in several.items()), key=lambda one: (-one.prompts, one.text))),
        pasted=pasted,
        openings=openings,
        cut=(sum(one.chosen_cut for one in rows), sum(one.rejected_cut for one in rows)),
        empty=(sum(not one.chosen.strip() for one in rows), sum(not one.rejected.strip() for one in rows)),
        near=tuple(one.number for one in near),
        near_corrections=sum(one.corrected for one in near),
    )


def _texts_told(found: Repeats) -> Finding | None:
    if not found.texts:
        return None
    rows = f"{found.pasted:,} of {found.rows:,} rows have a chosen text that stands under several prompts"
    return Finding(f"{rows}: a model would learn to paste it.", warns=found.pasted > SHARED * found.rows)


def _openings_told(found: Repeats) -> Finding | None:
    if not found.openings:
        return None
    first = found.openings[0]
    often = first.chosen >= max(RARE, SHARED * found.rows)
    begins = f"{first.chosen:,} chosen and {first.rejected:,} rejected replies begin “{first.words} …”"
    return Finding(f"{begins}{': a model would learn to begin so' if often else ''}.", warns=often)


def _cut_told(found: Repeats) -> Finding | None:
    if not any(found.cut):
        return None
    cut = f"{found.cut[0]:,} chosen and {found.cut[1]:,} rejected replies were cut off at the token limit"
    stops = ": a chosen one teaches to stop in mid-sentence" if found.cut[0] else ""
    return Finding(f"{cut}{stops}.", warns=found.cut[0] > 0)


def _empty_told(found: Repeats) -> Finding | None:
    if not any(found.empty):
        return None
    return Finding(f"{found.empty[0]:,} chosen and {found.empty[1]:,} rejected replies are empty.", warns=True)


def _near_told(found: Repeats) -> Finding | None:
    if not found.near:
        return None
    nearly = f"In {len(found.near):,} of {found.rows:,} rows chosen and rejected hardly differ"
    return Finding(f"{nearly} ({found.near_corrections:,} are corrections): such a row teaches little.")


@dataclass(frozen=True)
class Figures:
    """Everything that is told of some rows but for their tokens."""

    lengths: Lengths
    fared: tuple[Fared, ...]
    winner: Finding
    said: Disagreement
    task: tuple[Labels | Values, ...]
    """None for prose."""
    repeats: Repeats


def figures(rows: Sequence[InspectedRow], *, left_out: int) -> Figures:
    """All figures of these rows.

    Args:
        left_out: orders that the freeze left out for opposite ones.
    """
    fared, task = tuple(responders(rows)), task_of(rows)
    return Figures(
        lengths=lengths(rows),
        fared=fared,
        winner=responder_finding(fared, rows),
        said=disagreement(rows, left_out=left_out),
        task=task,
        repeats=repeats(rows, prose=not task),
    )


# ------------------------------------------------------------------------------------------------ reading


class Which(StrEnum):
    """Which rows are read."""

    ALL = "ALL"
    LONGEST = "LONGEST"
    SHORTEST = "SHORTEST"
    SHORTER_WON = "SHORTER_WON"
    SIMULATED = "SIMULATED"
    SYNTHETIC = "SYNTHETIC"
    CORRECTIONS = "CORRECTIONS"


def to_read(
    rows: Sequence[InspectedRow],
    *,
    which: Which = Which.ALL,
    reviewer: str | None = None,
    tokens: Mapping[int, int] | None = None,
    seed: int = 0,
) -> list[InspectedRow]:
    """The rows that fit, in the order in which they are read: at random, but by length where that is asked for.

    Args:
        reviewer: only this one's, by the label.
        tokens: each row's length by its number; words where it is not known.
    """
    fits = [one for one in rows if _fits(one, which) and reviewer in (None, one.row.reviewer)]
    if which in (Which.LONGEST, Which.SHORTEST):
        sign = -1 if which is Which.LONGEST else 1
        return sorted(fits, key=lambda one: (sign * _size(one, tokens), one.number))
    drawn = sorted(fits, key=lambda one: one.number)
    random.Random(seed).shuffle(drawn)
    return drawn


def _fits(one: InspectedRow, which: Which) -> bool:
    match which:
        case Which.SHORTER_WON:
            return len(one.chosen.split()) < len(one.rejected.split())
        case Which.SIMULATED:
            return one.row.simulated
        case Which.SYNTHETIC:
            return one.row.synthetic
        case Which.CORRECTIONS:
            return one.corrected
        case _:
            return True


def _size(one: InspectedRow, tokens: Mapping[int, int] | None) -> int:
    if tokens is not None and one.number in tokens:
        return tokens[one.number]
    return len(text_of(one.row.prompt).split()) + max(len(one.chosen.split()), len(one.rejected.split()))
