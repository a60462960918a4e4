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

from training.data.inspected_rows import RARE, InspectedRow, Remark, among
from training.data.preferences import plain

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
    elsewhere: tuple[int, int]
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
    finding: Remark


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


def _label_finding(name: str, counts: Sequence[LabelCount], rows: Sequence[InspectedRow]) -> Remark:
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
    return Remark(found, warns=warns)


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


def _value_finding(name: str, amounts: Sequence[Amount], rounds: Sequence[Roundness]) -> Remark:
    what = f"The field “{name}” is" if name else "The replies are"
    found = f"{what} numbers: {len(amounts):,} of them, half from {{:,.6g}} to {{:,.6g}}.".format(
        *np.percentile([float(one.value) for one in amounts], [25, 75])
    )
    beyond = [one for one in rounds if one.beyond]
    if not beyond:
        return Remark(f"{found} No more of them are round than by chance.")
    most = max(beyond, key=lambda one: (one.count / one.n - one.chance, one.base))
    multiples = "whole numbers" if most.base == 1 else f"multiples of {most.base:,}"
    rates = f"{most.count / most.n * 100:.0f} % are {multiples}, where chance gives {most.chance * 100:.2g} %"
    return Remark(
        f"{found} {rates}: whoever wrote them guessed in round numbers, and so would a model.",
        warns=True,
    )
