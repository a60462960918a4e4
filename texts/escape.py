"""Texts for HTML: escaped, and what cannot be seen made visible. The one table of characters that nobody sees."""

import html
import re

ZERO_WIDTH = "\u200b\u2060\ufeff"
OVERRIDES = "\u202a\u202b\u202c\u202d\u202e"
"""Marks that turn the direction of whatever follows."""
DIRECTION = "\u061c\u200e\u200f\u2066\u2067\u2068\u2069"
"""Marks that are ordinary where some of a text is written from right to left."""
JOINERS = "\u200c\u200d"
"""English needs none; other scripts and emoji do."""
OPERATORS = "\u2061\u2062\u2063\u2064"
"""Of mathematics."""
HIDDEN = re.compile(f"[{ZERO_WIDTH}{OVERRIDES}]")
"""What could hide or reorder words."""
UNSEEN = re.compile(rf"[\s{ZERO_WIDTH}{OVERRIDES}{DIRECTION}{JOINERS}{OPERATORS}\u2065]")
"""What leaves a text empty to the eye."""


def show_hidden(text: str) -> str:
    """Direction overrides and zero-width characters, which could hide or reorder words, made visible."""
    return HIDDEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", text)


def escape_html(text: str) -> str:
    """Text as HTML that shows exactly the text."""
    return html.escape(show_hidden(text))
