"""What stands in many of a Snapshot's rows, or should not stand in one: texts, openings, cut replies. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from training.inspected_rows import RARE, Finding, InspectedRow
from training.preferences import plain

SIDES = ("chosen", "rejected")
OPENING_WORDS = 5
SHARED = 0.2
"""Share of the chosen replies with one opening from which on it is worth a warning."""


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
