"""Texts for HTML: escaped, and what cannot be seen made visible."""

import html
import re

_HIDDEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """Direction overrides and zero-width characters, which could hide or reorder words, made visible."""
    return _HIDDEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", text)


def escaped(text: str) -> str:
    """Text as HTML that shows exactly the text."""
    return html.escape(visible(text))
