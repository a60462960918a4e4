"""What a reader should be told of a text beside showing it literally. Pure."""

import re

_FOUND = (
    (re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"), "hidden characters, made visible"),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), "an image link, not loaded"),
    (re.compile(r"<\s*(script|img|iframe|a|style|svg|object|embed|form)\b", re.IGNORECASE), "HTML, shown as text"),
    (
        re.compile(r"\b(as|i am|i'm) an? (ai|artificial intelligence|language model|chat ?bot)\b", re.IGNORECASE),
        "says that it is an AI",
    ),
)


def oddities(text: str) -> list[str]:
    """Short notes, in a fixed order; empty for an ordinary text."""
    return [note for pattern, note in _FOUND if pattern.search(text)]
