"""Texts that people type, such as comments and replies: cleaned, and refused where they are too long. Pure."""

from errors import Refused
from texts.escape import UNSEEN

LONGEST_COMMENT = 2000
"""Characters of a reason or a note."""
LONGEST_REPLY = 100_000
"""Characters of a reply that a person types; about 17,000 words."""


def storable_text(text: str) -> str:
    """The text without what no database stores: NULs and half characters, as a cut reply may end in."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def clean_text(text: str) -> str:
    """A text without white space at its ends, NULs and half characters; empty where nothing in it can be seen."""
    kept = storable_text(text).strip()
    return kept if UNSEEN.sub("", kept) else ""


def clean_comment(text: str | None) -> str | None:
    """A comment without white space at its ends; None where nothing is left. Raises `Refused` for one too long."""
    return require_length(clean_text(text or ""), LONGEST_COMMENT, "The comment") or None


def require_length(text: str, limit: int, subject: str) -> str:
    """The text, unless it is too long, which `Refused` says."""
    if len(text) > limit:
        raise Refused(f"{subject} has {len(text):,} characters; at most {limit:,} are kept. Shorten it.")
    return text
