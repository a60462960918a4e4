"""Places in a reply that name or betray who wrote it, looked for in the text as reviewers see it. Pure.

A reply that calls itself a language model, or is signed, makes a blind verdict a verdict on its author. It is a manager
who decides what becomes of it, before judging opens: no list of patterns knows every context.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class LeakKind(StrEnum):
    """How a place betrays its author; the values are shown."""

    MACHINE = "calls itself a machine"
    PERSON = "calls itself a person"
    NAME = "a responder's name"
    SIGNATURE = "a signature"
    TEMPLATE = "marks of a model's template"


@dataclass(frozen=True)
class LeakMark:
    """A place that betrays its author."""

    start: int
    """Characters from the beginning of the text as shown."""
    end: int
    kind: LeakKind


_MACHINE_NOUN = (
    r"(?:AI|A\.I\.|artificial intelligence|(?:large )?language model|LLM|chat ?bot|bot|"
    r"(?:virtual|digital|automated|AI)[ -](?:assistant|agent|system))"
)
_PATTERNS = (
    (
        LeakKind.MACHINE,
        rf"\b(?:as|being|I am|I['’]m|I am only|I['’]m just) an? (?:[\w-]+,? ){{0,2}}?{_MACHINE_NOUN}"
        r"(?: (?:language )?model| assistant)?\b|\b(?:large )?language models?\b|\bAI (?:assistant|model)\b"
        r"|\bmy (?:training data|knowledge cut-?off)\b|\bI was (?:trained|developed|created) by\b"
        r"|\b(?:ChatGPT|OpenAI|Anthropic)\b",
    ),
    (
        LeakKind.PERSON,
        r"\b(?:as|I am|I['’]m) an? (?:actual |real |fellow )?(?:human(?: being)?|real person)\b"
        r"|\bsent from my (?:iphone|phone|ipad)\b",
    ),
    (
        LeakKind.TEMPLATE,
        r"<\|[a-z_]{2,30}\|>|</?think>|\[/?INST\]|<</?SYS>>|^#{2,4} ?(?:Response|Instruction|Answer|Input):?"
        r"|^(?:assistant|AI): ",
    ),
)
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE | re.MULTILINE)) for kind, pattern in _PATTERNS)
_SIGNATURE = re.compile(
    r"(?:^|(?<=[.!?]))[ \t]*(?P<sign>(?:(?:with )?(?:very |my )?(?:kind|kindest|best|good|warm|warmest|many)? ?"
    r"(?:regards|wishes)|yours(?: (?:sincerely|faithfully|truly))?|(?:sincerely|faithfully)(?: yours)?|cheers|warmly"
    r"|cordially),[ \t]*\n?\s*(?P<who>[^\n]{1,60}(?:\n[^\n]{1,60}){0,2}))\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_TAIL = 250
_ORDINARY = frozenset(
    "agent assistant base best candidate customer desk human instruct model my new old our people person prompt "
    "prompted reply response service small staff support team test the tuned with".split()
)


def find_leaks(text: str, *, names: Collection[str] = ()) -> tuple[LeakMark, ...]:
    """The places, in order and without overlap.

    Args:
        text: as shown to reviewers: names of human Responders are hidden there already.
        names: of Responders and models that take part.
    """
    marks = [LeakMark(*match.span(), kind) for kind, pattern in _COMPILED for match in pattern.finditer(text)]
    if signature := _SIGNATURE.search(text, max(0, len(text) - _TAIL)):
        marks.append(LeakMark(*signature.span("sign"), LeakKind.SIGNATURE))
    for pattern in filter(None, map(_name_pattern, names)):
        marks += [LeakMark(*match.span(), LeakKind.NAME) for match in pattern.finditer(text)]
    kept: list[LeakMark] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        if not kept or mark.start >= kept[-1].end:
            kept.append(mark)
    return tuple(kept)


def cut_at_marks(text: str, marks: Sequence[LeakMark]) -> list[tuple[str, LeakMark | None]]:
    """The text cut at the marks, for a page to show."""
    pieces: list[tuple[str, LeakMark | None]] = []
    end = 0
    for mark in marks:
        pieces += [(text[end : mark.start], None), (text[mark.start : mark.end], mark)]
        end = mark.end
    return [(part, mark) for part, mark in [*pieces, (text[end:], None)] if part]


def _name_pattern(name: str) -> re.Pattern[str] | None:
    """What finds the whole name; none for one that any text may hold ("Base model")."""
    clean = " ".join(name.split())
    words = re.findall(r"[^\W_]+", clean.casefold())
    if len(clean) < 3 or not words or all(word in _ORDINARY or word.isdigit() for word in words):
        return None
    flags = re.IGNORECASE if len(words) > 1 else re.NOFLAG
    return re.compile(rf"(?<!\w){re.escape(clean)}(?!\w)", flags)
