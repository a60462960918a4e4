"""What people type beside their choice: kept as typed, up to a length that somebody could read. Pure."""

from errors import Refused

LONGEST_COMMENT = 2000
"""Characters of a reason or a note."""
LONGEST_REPLY = 100_000
"""Characters of a reply that somebody writes; about 17,000 words."""


def comment(text: str | None) -> str | None:
    """A comment without white space at its ends; None where nothing is left. Raises `Refused` for one too long."""
    return short_enough((text or "").strip(), LONGEST_COMMENT, "The comment") or None


def short_enough(text: str, longest: int, what: str) -> str:
    """The text, unless it is too long, which `Refused` says."""
    if len(text) > longest:
        raise Refused(f"{what} has {len(text):,} characters; at most {longest:,} are kept. Shorten it.")
    return text
