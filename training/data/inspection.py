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
from training.data.classes_and_values import Labels, Values, find_tasks
from training.data.inspected_rows import RARE, InspectedRow, Remark, describe_count, reply_text
from training.data.preferences import collapse_spaces

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
class LengthComparison:
    """The two sides' lengths in words, white space between them, and whether the longer one won."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    longer: Proportion
    """How often the chosen reply is the longer one, of rows whose two have different lengths."""
    finding: Remark

    @property
    def differences(self) -> tuple[int, ...]:
        """Words by which the chosen reply is longer, by row."""
        return tuple(chosen - rejected for chosen, rejected in zip(self.chosen, self.rejected, strict=True))


def compare_lengths(rows: Sequence[InspectedRow]) -> LengthComparison:
    """Lengths by side, and how often the longer reply won."""
    chosen = tuple(len(row.chosen.split()) for row in rows)
    rejected = tuple(len(row.rejected.split()) for row in rows)
    unlike = [(row, won > lost) for row, won, lost in zip(rows, chosen, rejected, strict=True) if won != lost]
    longer = proportion((row.frozen.prompt_id, won) for row, won in unlike)
    sentence = f"The longer reply won in {longer.words} of {describe_count([row for row, _ in unlike])}"
    if not unlike:
        finding = Remark("No pair has replies of different length, so length teaches nothing.")
    elif longer.low > 0.5 or longer.high < 0.5:
        habit = "longer" if longer.low > 0.5 else "shorter"
        finding = Remark(f"{sentence}: a model would learn to write {habit}.", warns=True)
    else:
        finding = Remark(f"{sentence}: no sign that length decides.")
    return LengthComparison(chosen, rejected, longer, finding)


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
    width = max(1.0, math.ceil((high - low + 1) / most)) if whole else max((high - low) / most, 1e-9)
    edges = low + width * np.arange(max(1, math.ceil((high - low + whole) / width)) + 1)
    return [
        Bin(float(edges[place]), float(edges[place + 1]), side, int(count))
        for side, of_side in values.items()
        for place, count in enumerate(np.histogram(np.clip(of_side, edges[0], edges[-1]), edges)[0])
        if count
    ]


@dataclass(frozen=True)
class ResponderWins:
    """How often one Responder's replies were chosen."""

    responder: str
    won: Proportion
    """Of the ranked rows in which its reply stood beside another Responder's."""
    corrected: int
    """Rows in which a correction was chosen over its reply."""


def responder_wins(rows: Sequence[InspectedRow]) -> list[ResponderWins]:
    """How often each Responder won, most often first; a row with two replies of one Responder tells nothing here."""
    chosen: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    corrected = Counter(row.rejected_by for row in rows if row.corrected)
    for row in _of_two_responders(rows):
        chosen[row.chosen_by].append((row.frozen.prompt_id, True))
        chosen[row.rejected_by].append((row.frozen.prompt_id, False))
    wins = [ResponderWins(name, proportion(chosen[name]), corrected[name]) for name in {*chosen, *corrected}]
    return sorted(wins, key=lambda win: (-win.won.rate, -win.won.n, win.responder))


def responder_finding(wins: Sequence[ResponderWins], rows: Sequence[InspectedRow]) -> Remark:
    """The Responder that clearly wins, if there is one."""
    beside = _of_two_responders(rows)
    if not beside:
        return Remark("No row sets two responders' replies against each other, so none can be favoured.")
    first = max(wins, key=lambda win: (win.won.low, win.won.n))
    if first.won.low <= 0.5:
        return Remark(f"In {describe_count(beside)} beside another's replies, nobody's were chosen clearly more often.")
    own = describe_count([row for row in beside if first.responder in (row.chosen_by, row.rejected_by)])
    share = f"Replies by {first.responder} were chosen in {first.won.words} of {own}"
    return Remark(f"{share}: a model would learn to sound like them.")


def _of_two_responders(rows: Sequence[InspectedRow]) -> list[InspectedRow]:
    return [row for row in rows if not row.corrected and row.chosen_by != row.rejected_by]


@dataclass(frozen=True)
class Disagreement:
    """How far people disagree on the ranked pairs behind the rows."""

    pairs: int
    ranked_by_several: int
    """Of them, ranked by two people or more."""
    opposite: Proportion
    """Of those, at least one person called the rejected reply better."""
    ties: int
    """Of those, none did, but at least one saw no difference."""
    left_out: int
    """Orders that are in no row because the same two replies were put the other way round, by a person or a rule."""
    finding: Remark


def disagreement(rows: Sequence[InspectedRow], *, left_out: int) -> Disagreement:
    """How many pairs several people ranked, and how many of those they disagreed on; as `Disagreement` has it."""
    ranked = [row for row in rows if not row.corrected]
    several = [row for row in ranked if len(row.outcomes) > 1]
    opposite = proportion((row.frozen.prompt_id, Outcome.LOSS in row.outcomes) for row in several)
    ties = sum(Outcome.TIE in row.outcomes and Outcome.LOSS not in row.outcomes for row in several)
    if several:
        sentence = (
            f"{len(several):,} of {len(ranked):,} ranked pairs were seen by several people; in {opposite.words} of "
            f"them somebody said the opposite, in {ties:,} more somebody saw no difference."
        )
    else:
        sentence = f"None of the {len(ranked):,} ranked pairs was seen by two people, so nothing tells if they agree."
    if left_out:
        sentence += f" {left_out:,} more orders were left out, because somebody (or a rule) said the opposite."
    finding = Remark(sentence, warns=bool(several) and opposite.low > 0.2)
    return Disagreement(len(ranked), len(several), opposite, ties, left_out, finding)


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
    """Texts that many rows share, and faults."""

    rows: int
    texts: tuple[PastedText, ...]
    """Most prompts first."""
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
        """A sentence on each of them."""
        return tuple(self._list_findings())

    def _list_findings(self) -> Iterator[Remark]:
        if self.texts:
            rows = f"{self.pasted:,} of {self.rows:,} rows have a chosen text that stands under several prompts"
            yield Remark(f"{rows}: a model would learn to paste it.", warns=self.pasted > SHARED * self.rows)
        if self.openings:
            first = self.openings[0]
            often = first.chosen >= max(RARE, SHARED * self.rows)
            begins = f"{first.chosen:,} chosen and {first.rejected:,} rejected replies begin “{first.words} …”"
            yield Remark(f"{begins}{': a model would learn to begin so' if often else ''}.", warns=often)
        if any(self.cut):
            cut = f"{self.cut[0]:,} chosen and {self.cut[1]:,} rejected replies were cut off at the token limit"
            stops = ": a chosen one teaches to stop in mid-sentence" if self.cut[0] else ""
            yield Remark(f"{cut}{stops}.", warns=self.cut[0] > 0)
        if any(self.empty):
            yield Remark(f"{self.empty[0]:,} chosen and {self.empty[1]:,} rejected replies are empty.", warns=True)
        if self.near:
            nearly = f"In {len(self.near):,} of {self.rows:,} rows chosen and rejected hardly differ"
            yield Remark(f"{nearly} ({self.near_corrections:,} are corrections): such a row teaches little.")


@dataclass(frozen=True)
class Figures:
    """All figures of some rows but for their tokens."""

    lengths: LengthComparison
    wins: tuple[ResponderWins, ...]
    winner: Remark
    said: Disagreement
    task: tuple[Labels | Values, ...]
    """Empty for prose."""
    repeats: Repetition


def figures(rows: Sequence[InspectedRow], *, left_out: int) -> Figures:
    """All figures of these rows; ``left_out`` as `Disagreement` has it."""
    wins, task = tuple(responder_wins(rows)), find_tasks(rows)
    winner, said = responder_finding(wins, rows), disagreement(rows, left_out=left_out)
    return Figures(compare_lengths(rows), wins, winner, said, task, repeats=find_repetition(rows, prose=not task))


class RowFilter(WordedEnum):
    """Which rows are read."""

    ALL = "ALL", "any, at random"
    LONGEST = "LONGEST", "the longest"
    SHORTEST = "SHORTEST", "the shortest"
    SHORTER_WON = "SHORTER_WON", "chosen is the shorter"
    SIMULATED = "SIMULATED", "simulated"
    SYNTHETIC = "SYNTHETIC", "synthetic prompts"
    CORRECTIONS = "CORRECTIONS", "corrections"


def select_rows(
    rows: Sequence[InspectedRow],
    *,
    which: RowFilter = RowFilter.ALL,
    reviewer: str | None = None,
    tokens: Mapping[int, int] | None = None,
    seed: int = 0,
) -> list[InspectedRow]:
    """The rows that the filter keeps, in a random order, or by length where the filter says so.

    Only one ``reviewer``'s, by the label, if given; ``tokens`` are lengths by row number, words where not known.
    """
    keeps, lengths = _KEEPS.get(which), tokens or {}
    kept = sorted(rows, key=lambda row: row.number)
    kept = [row for row in kept if (keeps is None or keeps(row)) and reviewer in (None, row.frozen.reviewer)]
    if which in (RowFilter.LONGEST, RowFilter.SHORTEST):
        sign = -1 if which is RowFilter.LONGEST else 1
        return sorted(kept, key=lambda row: sign * (lengths.get(row.number) or _word_count(row)))
    random.Random(seed).shuffle(kept)
    return kept


_KEEPS: Mapping[RowFilter, Callable[[InspectedRow], bool]] = {
    RowFilter.SHORTER_WON: lambda row: len(row.chosen.split()) < len(row.rejected.split()),
    RowFilter.SIMULATED: lambda row: row.frozen.simulated,
    RowFilter.SYNTHETIC: lambda row: row.frozen.synthetic,
    RowFilter.CORRECTIONS: lambda row: row.corrected,
}
"""Which rows a filter keeps; the others only order them."""


def _word_count(row: InspectedRow) -> int:
    return len(reply_text(row.frozen.prompt).split()) + max(len(row.chosen.split()), len(row.rejected.split()))


def opening(text: str) -> str | None:
    """The first five words after a greeting, in lower case without marks; none for a shorter text."""
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", _GREETING.sub("", text, count=1) if _GREETING.match(text) else text)
    return " ".join(words[:OPENING_WORDS]).casefold() if len(words) >= OPENING_WORDS else None


def find_repetition(rows: Sequence[InspectedRow], *, prose: bool) -> Repetition:
    """Texts, openings and faults that many rows share; classes and values (no ``prose``) repeat by their nature."""
    prompts: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        prompts[collapse_spaces(row.chosen)].add(row.frozen.prompt_id)
    pasted = [PastedText(text, len(ids)) for text, ids in prompts.items() if len(ids) > 1 and text and prose]
    pasted_texts = {paste.text for paste in pasted}
    chosen, rejected = (
        Counter(first for row in rows if (first := opening(getattr(row, side))) and prose) for side in SIDES
    )
    near = [row for row in rows if row.nearly_same]
    return Repetition(
        rows=len(rows),
        texts=tuple(sorted(pasted, key=lambda paste: (-paste.prompts, paste.text))),
        pasted=sum(collapse_spaces(row.chosen) in pasted_texts for row in rows),
        openings=tuple(Opening(words, count, rejected[words]) for words, count in chosen.most_common() if count > 1),
        cut=(sum(row.chosen_cut for row in rows), sum(row.rejected_cut for row in rows)),
        empty=(sum(not row.chosen.strip() for row in rows), sum(not row.rejected.strip() for row in rows)),
        near=tuple(row.number for row in near),
        near_corrections=sum(row.corrected for row in near),
    )
