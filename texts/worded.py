"""An enum whose members say for people what they mean."""

from enum import StrEnum
from typing import Self


class WordedEnum(StrEnum):
    """Members are written ``NAME = "NAME", "what it means"``."""

    words: str
    """What a member means, for people."""

    def __new__(cls, value: str, words: str = "") -> Self:
        """A member with its words; with its value alone, the member that there is."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.words = words
        return member
