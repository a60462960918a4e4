"""A part of a model's card or of an evaluation's report: names and values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Names and values, all of them plain text."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""
    """A paragraph below."""
