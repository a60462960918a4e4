"""What a frozen Snapshot would teach, told before anything is trained on it: lengths, who won, and all figures. Pure.

Each figure comes with a `Remark`. How the rows fit a model's tokens is told in `training.data.token_fit`.
"""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stats.intervals import Proportion, proportion
from stats.verdicts import Outcome
from texts.worded import WordedEnum
from training.data.classes_and_values import Labels, Values, task_of
from training.data.inspected_rows import RARE, InspectedRow, Remark, among, text_of
from training.data.preferences import plain

SIDES = ("chosen", "rejected")
OPENING_WORDS = 5
SHARED = 0.2
"""Share of the chosen replies with one opening from which on it is worth a warning."""
_GREETING = re.compile(
    r"\s*(dear|hello|hi|hey|good (morning|afternoon|evening|day)|hallo|liebe[rs]?|sehr geehrte\w*|guten (tag|morgen)"
    r"|bonjour|ch[eè]re?|hola|estimad[oa]|ciao|gentile)\b[^,!.:\n]{0,40}[,!.:\n]+\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RowLengths:
    """How long the two sides are, in words with white space between them, and whether the longer one won."""

    chosen: tuple[int, ...]
    """By row."""
    rejected: tuple[int, ...]
    longer: Proportion
    """How often the chosen reply is the longer one, of rows whose two have different lengths."""
    finding: Remark

    @property
    def differences(self) -> tuple[int, ...]:
        """Words by which the chosen reply is longer, by row."""
        return tuple(one - other for one, other in zip(self.chosen, self.rejected, strict=True))


def lengths(rows: Sequence[InspectedRow]) -> RowLengths:
    """Lengths by side, and how often the longer reply won."""
    chosen = tuple(len(one.chosen.split()) for one in rows)
    rejected = tuple(len(one.rejected.split()) for one in rows)
    unlike = [place for place, _ in enumerate(rows) if chosen[place] != rejected[place]]
    longer = proportion((rows[place].row.prompt_id, chosen[place] > rejected[place]) for place in unlike)
    return RowLengths(chosen, rejected, longer, _length_finding(longer, [rows[place] for place in unlike]))


def _length_finding(longer: Proportion, rows: Sequence[InspectedRow]) -> Remark:
    if not rows:
        return Remark("No pair has replies of different length, so length teaches nothing.")
    found = f"The longer reply won in {longer.words} of {among(rows)}"
    if longer.low > 0.5:
        return Remark(f"{found}: a model would learn to write longer.", warns=True)
    if longer.high < 0.5:
        return Remark(f"{found}: a model would learn to write shorter.", warns=True)
    return Remark(f"{found}: no sign that length decides.")


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


@dataclass(frozen=True)
class ResponderWins:
    """How one Responder's replies fared."""

    responder: str
    won: Proportion
    """How often its reply was chosen, of the ranked rows in which it stood beside another Responder's."""
    corrected: int
    """Rows in which a correction was chosen over its reply."""


def responders(rows: Sequence[InspectedRow]) -> list[ResponderWins]:
    """How often each Responder won, most often first; a row with two replies of one Responder tells nothing here."""
    seen: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    corrected: Counter[str] = Counter()
    for one in rows:
        if one.corrected:
            corrected[one.rejected_by] += 1
        elif one.chosen_by != one.rejected_by:
            seen[one.chosen_by].append((one.row.prompt_id, True))
            seen[one.rejected_by].append((one.row.prompt_id, False))
    found = [ResponderWins(name, proportion(seen[name]), corrected[name]) for name in {*seen, *corrected}]
    return sorted(found, key=lambda one: (-one.won.rate, -one.won.n, one.responder))


def responder_finding(found: Sequence[ResponderWins], rows: Sequence[InspectedRow]) -> Remark:
    """Who wins, if anybody does clearly."""
    beside = [one for one in rows if not one.corrected and one.chosen_by != one.rejected_by]
    if not beside:
        return Remark("No row sets two responders' replies against each other, so none can be favoured.")
    first = max(found, key=lambda one: (one.won.low, one.won.n))
    if first.won.low <= 0.5:
        return Remark(f"In {among(beside)} beside another's replies, nobody's were chosen clearly more often.")
    mine = [one for one in beside if first.responder in (one.chosen_by, one.rejected_by)]
    return Remark(
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
    opposite: Proportion
    """Of those, somebody called the rejected reply better."""
    even: int
    """Of those, nobody did, but somebody saw no difference."""
    left_out: int
    """Orders that are in no row because the same two replies were put the other way round, by a person or a rule."""
    finding: Remark


def disagreement(rows: Sequence[InspectedRow], *, left_out: int) -> Disagreement:
    """How many pairs several people ranked, and how many of those they disagreed on.

    Args:
        left_out: orders that the freeze left out for opposite ones.
    """
    ranked = [one for one in rows if not one.corrected]
    several = [one for one in ranked if len(one.outcomes) > 1]
    opposite = proportion((one.row.prompt_id, Outcome.LOSS in one.outcomes) for one in several)
    even = sum(Outcome.TIE in one.outcomes and Outcome.LOSS not in one.outcomes for one in several)
    against = f" {left_out:,} more orders were left out, because somebody (or a rule) said the opposite."
    beside = against if left_out else ""
    if not several:
        sentence = f"None of the {len(ranked):,} ranked pairs was seen by two people, so nothing tells if they agree."
        return Disagreement(len(ranked), 0, opposite, even, left_out, Remark(sentence + beside))
    sentence = (
        f"{len(several):,} of {len(ranked):,} ranked pairs were seen by several people; in {opposite.words} of them "
        f"somebody said the opposite, in {even:,} more somebody saw no difference."
    )
    warns = opposite.low > 0.2
    return Disagreement(len(ranked), len(several), opposite, even, left_out, Remark(sentence + beside, warns=warns))


@dataclass(frozen=True, slots=True)
class PastedText:
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
class Repetition:
    """What stands in many rows, or should not stand in one."""

    rows: int
    texts: tuple[PastedText, ...]
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
    def findings(self) -> tuple[Remark, ...]:
        """What of it is worth a sentence."""
        return tuple(_repetition_told(self))


@dataclass(frozen=True)
class Figures:
    """Everything that is told of some rows but for their tokens."""

    lengths: RowLengths
    fared: tuple[ResponderWins, ...]
    winner: Remark
    said: Disagreement
    task: tuple[Labels | Values, ...]
    """None for prose."""
    repeats: Repetition


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


class RowFilter(WordedEnum):
    """Which rows are read."""

    ALL = "ALL", "any, at random"
    LONGEST = "LONGEST", "the longest"
    SHORTEST = "SHORTEST", "the shortest"
    SHORTER_WON = "SHORTER_WON", "chosen is the shorter"
    SIMULATED = "SIMULATED", "simulated"
    SYNTHETIC = "SYNTHETIC", "synthetic prompts"
    CORRECTIONS = "CORRECTIONS", "corrections"


def to_read(
    rows: Sequence[InspectedRow],
    *,
    which: RowFilter = RowFilter.ALL,
    reviewer: str | None = None,
    tokens: Mapping[int, int] | None = None,
    seed: int = 0,
) -> list[InspectedRow]:
    """The rows that fit, in the order in which they are read: at random, but by length where that is asked for.

    Args:
        reviewer: only this one's, by the label.
        tokens: each row's length by its number; words where it is not known.
    """
    keeps = _FITS.get(which)
    fits = [one for one in rows if (keeps is None or keeps(one)) and reviewer in (None, one.row.reviewer)]
    if which in (RowFilter.LONGEST, RowFilter.SHORTEST):
        sign = -1 if which is RowFilter.LONGEST else 1
        return sorted(fits, key=lambda one: (sign * _size(one, tokens), one.number))
    drawn = sorted(fits, key=lambda one: one.number)
    random.Random(seed).shuffle(drawn)
    return drawn


_FITS: Mapping[RowFilter, Callable[[InspectedRow], bool]] = {
    RowFilter.SHORTER_WON: lambda one: len(one.chosen.split()) < len(one.rejected.split()),
    RowFilter.SIMULATED: lambda one: one.row.simulated,
    RowFilter.SYNTHETIC: lambda one: one.row.synthetic,
    RowFilter.CORRECTIONS: lambda one: one.corrected,
}
"""Which rows a filter keeps; the others only order them."""


def _size(one: InspectedRow, tokens: Mapping[int, int] | None) -> int:
    if tokens is not None and one.number in tokens:
        return tokens[one.number]
    return len(text_of(one.row.prompt).split()) + max(len(one.chosen.split()), len(one.rejected.split()))


def opening(text: str) -> str | None:
    """The first five words after a greeting, in lower case without marks; none for a shorter text."""
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", _GREETING.sub("", text, count=1) if _GREETING.match(text) else text)
    return " ".join(words[:OPENING_WORDS]).casefold() if len(words) >= OPENING_WORDS else None


def repeats(rows: Sequence[InspectedRow], *, prose: bool) -> Repetition:
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
    return Repetition(
        rows=len(rows),
        texts=tuple(sorted((PastedText(*item) for item in several.items()), key=lambda one: (-one.prompts, one.text))),
        pasted=pasted,
        openings=openings,
        cut=(sum(one.chosen_cut for one in rows), sum(one.rejected_cut for one in rows)),
        empty=(sum(not one.chosen.strip() for one in rows), sum(not one.rejected.strip() for one in rows)),
        near=tuple(one.number for one in near),
        near_corrections=sum(one.corrected for one in near),
    )


def _repetition_told(found: Repetition) -> Iterator[Remark]:
    if found.texts:
        rows = f"{found.pasted:,} of {found.rows:,} rows have a chosen text that stands under several prompts"
        yield Remark(f"{rows}: a model would learn to paste it.", warns=found.pasted > SHARED * found.rows)
    if found.openings:
        first = found.openings[0]
        often = first.chosen >= max(RARE, SHARED * found.rows)
        begins = f"{first.chosen:,} chosen and {first.rejected:,} rejected replies begin “{first.words} …”"
        yield Remark(f"{begins}{': a model would learn to begin so' if often else ''}.", warns=often)
    if any(found.cut):
        cut = f"{found.cut[0]:,} chosen and {found.cut[1]:,} rejected replies were cut off at the token limit"
        stops = ": a chosen one teaches to stop in mid-sentence" if found.cut[0] else ""
        yield Remark(f"{cut}{stops}.", warns=found.cut[0] > 0)
    if any(found.empty):
        yield Remark(f"{found.empty[0]:,} chosen and {found.empty[1]:,} rejected replies are empty.", warns=True)
    if found.near:
        nearly = f"In {len(found.near):,} of {found.rows:,} rows chosen and rejected hardly differ"
        yield Remark(f"{nearly} ({found.near_corrections:,} are corrections): such a row teaches little.")
