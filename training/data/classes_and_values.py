"""The classes and values that a Snapshot's chosen replies consist of, where they are no prose. Pure.

A class is one of a few short labels, a value a number with its unit: the reply itself, or a field of its JSON.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from training.data.inspected_rows import RARE, InspectedRow, Remark, describe_count
from training.data.preferences import collapse_spaces

DOMINANT = 0.8
"""Share of rows above which one label can be learned in place of the task."""
MOST_LABELS = 30
"""Distinct texts above which a task is no choice between classes."""
LABEL_WORDS, LABEL_LETTERS = 5, 40
"""Longest label."""
NEEDED_SHARE = 0.9
"""Share of the chosen texts that must be labels, or numbers, for the task to be one of them."""
SURE = 0.01
"""Chance below which round numbers are no accident: several multiples are looked at, so stricter than 5 %."""
ROUND = (1, 5, 10, 100, 1000)


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
    unlabelled: tuple[int, int]
    """Chosen and rejected replies that are no label."""
    finding: Remark


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
    def exceeds_chance(self) -> bool:
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
    finding: Remark


def find_tasks(rows: Sequence[InspectedRow]) -> tuple[Labels | Values, ...]:
    """The classes and values that the chosen replies consist of; none for prose."""
    tasks = (_find_values(name, rows, sides) or _find_labels(name, rows, sides) for name, sides in _columns(rows))
    return tuple(task for task in tasks if task is not None)


Column = tuple[list[str | None], list[str | None]]
"""By row, what the chosen and the rejected reply say; none where they do not."""


def _columns(rows: Sequence[InspectedRow]) -> list[tuple[str, Column]]:
    objects = [[_json_fields(row.chosen), _json_fields(row.rejected)] for row in rows]
    if not rows or sum(bool(chosen) for chosen, _ in objects) < NEEDED_SHARE * len(rows):
        return [("", ([row.chosen for row in rows], [row.rejected for row in rows]))]
    counts = Counter(name for chosen, _ in objects for name in chosen)
    names = [name for name, count in counts.items() if count >= NEEDED_SHARE * len(rows)]
    return [(name, ([c.get(name) for c, _ in objects], [r.get(name) for _, r in objects])) for name in names]


def _json_fields(text: str) -> dict[str, str]:
    """A JSON object's fields with a plain value, as text; empty for anything else."""
    try:
        content = json.loads(re.sub(r"^\s*```(?:json)?|```\s*$", "", text))
    except (ValueError, RecursionError):
        return {}
    fields = content.items() if isinstance(content, dict) else ()
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields
        if isinstance(value, str | int | float | bool)
    }


def _label(text: str | None) -> str | None:
    """A short text as a label, whatever its case and final stop; none for a longer or empty one."""
    label = collapse_spaces(text or "").strip(" .!?\"'“”‘’`*")
    short = 0 < len(label) <= LABEL_LETTERS and len(label.split()) <= LABEL_WORDS
    return label.casefold() if short else None


def _find_labels(name: str, rows: Sequence[InspectedRow], sides: Column) -> Labels | None:
    chosen, rejected = ([_label(text) for text in side] for side in sides)
    counts = Counter(label for label in chosen if label is not None)
    named = counts.total()
    if not rows or named < NEEDED_SHARE * len(rows) or len(counts) > min(MOST_LABELS, named / 3):
        return None
    other = Counter(label for label in rejected if label in counts)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for label, text in zip(chosen, sides[0], strict=True):
        if label is not None:
            spellings[label][collapse_spaces(text or "")] += 1
    label_counts = tuple(
        LabelCount(min(spellings[label].items(), key=lambda item: (-item[1], item[0]))[0], count, other[label])
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
    unlabelled = (len(rows) - named, len(rows) - other.total())
    return Labels(name, label_counts, unlabelled, _label_finding(name, label_counts, rows))


def _label_finding(name: str, counts: Sequence[LabelCount], rows: Sequence[InspectedRow]) -> Remark:
    sentence = f"{_subject(name)} one of {len(counts)} labels in {describe_count(rows, 'rows')}."
    first = counts[0]
    rare = [count.label for count in counts if count.chosen < RARE]
    dominated = first.chosen > DOMINANT * len(rows)
    if dominated:
        sentence += f" “{first.label}” is chosen in {first.chosen / len(rows) * 100:.0f} %: always saying it would do."
    if rare:
        shown = ", ".join(f"“{label}”" for label in rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        sentence += f" Chosen in fewer than {RARE} rows, too seldom to be learned: {shown}."
    return Remark(sentence, warns=dominated or bool(rare))


def _subject(name: str) -> str:
    return f"The field “{name}” is" if name else "The replies are"


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as it was written."""

    value: Decimal
    places: int
    unit: str


_AMOUNT = re.compile(
    r"(?P<sign>[-+−]?)(?:(?P<grouped>[1-9]\d{0,2}(?:(?P<mark>[,'’ \u00a0\u202f])\d{3}(?:(?P=mark)\d{3})*"
    r"|(?:\.\d{3}){2,}|\.\d{3}(?=,\d)))(?:[.,](?P<cents>\d+))?|(?P<whole>\d+)(?:[.,](?P<part>\d+))?|(?P<bare>[.,]\d+))"
)
LONGEST_AMOUNT = 80
"""Letters; prose is not looked through for numbers."""
_ABOUT = frozenset("about approx approx. approximately around roughly circa ca ca. ~ ≈ = a an per the".split())
_TIMES = {"k": 3, "thousand": 3, "million": 6, "mio": 6, "mio.": 6, "mn": 6, "billion": 9, "bn": 9}


def parse_amount(text: str) -> Amount | None:
    """The number that a text is, with at most three words of unit or currency; none for anything else.

    1,234.5 and 1.234,5 are the same number; 1.234 alone is read as a bit more than one.
    """
    matches = list(_AMOUNT.finditer(text)) if len(text) <= LONGEST_AMOUNT else []
    if len(matches) != 1:
        return None
    match = matches[0]
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


def _find_values(name: str, rows: Sequence[InspectedRow], sides: Column) -> Values | None:
    """None where the column holds something else, or a mark from 0 to 10, which is a class."""
    amounts = [[parse_amount(text or "") for text in side] for side in sides]
    # each prompt's distinct amounts: one number in three rows of a prompt was thought of once
    ids = [row.frozen.prompt_id for row in rows]
    chosen, rejected = (
        list({(i, amount.value, amount.unit): amount for i, amount in zip(ids, side, strict=True) if amount}.values())
        for side in amounts
    )
    if not chosen or sum(amount is not None for amount in amounts[0]) < NEEDED_SHARE * len(rows):
        return None
    if all(amount.places == 0 and 0 <= amount.value <= 10 for amount in chosen):
        return None
    places = max(p for p in (0, 1, 2) if p == 0 or sum(amount.places >= p for amount in chosen) >= 0.1 * len(chosen))
    rounds = [_roundness(chosen, base, places) for base in ROUND if base > 1 or places]
    rounds = [roundness for roundness in rounds if roundness.n]
    scaled = (abs(round(amount.value.scaleb(places))) for amount in chosen)
    digits = Counter(number % 10 for number in scaled if number >= 10)
    return Values(
        name=name,
        chosen=tuple(float(amount.value) for amount in chosen),
        rejected=tuple(float(amount.value) for amount in rejected),
        units=dict(Counter(amount.unit for amount in chosen).most_common()),
        rounds=tuple(rounds),
        digits=tuple(digits[digit] for digit in range(10)),
        finding=_value_finding(name, chosen, rounds),
    )


def _roundness(amounts: Sequence[Amount], base: int, places: int) -> Roundness:
    from scipy.stats import binomtest

    large = [amount.value for amount in amounts if abs(amount.value) >= base]
    count = sum(value % base == 0 for value in large)
    chance = 10.0**-places / base
    p = float(binomtest(count, len(large), chance, alternative="greater").pvalue) if large else 1.0
    return Roundness(base, count, len(large), chance, p)


def _value_finding(name: str, amounts: Sequence[Amount], rounds: Sequence[Roundness]) -> Remark:
    low, high = np.percentile([float(amount.value) for amount in amounts], [25, 75])
    sentence = f"{_subject(name)} numbers: {len(amounts):,} of them, half from {low:,.6g} to {high:,.6g}."
    excess = [roundness for roundness in rounds if roundness.exceeds_chance]
    if not excess:
        return Remark(f"{sentence} No more of them are round than by chance.")
    most = max(excess, key=lambda roundness: (roundness.count / roundness.n - roundness.chance, roundness.base))
    multiples = "whole numbers" if most.base == 1 else f"multiples of {most.base:,}"
    rates = f"{most.count / most.n * 100:.0f} % are {multiples}, where chance gives {most.chance * 100:.2g} %"
    return Remark(f"{sentence} {rates}: whoever wrote them guessed in round numbers, and so would a model.", warns=True)
