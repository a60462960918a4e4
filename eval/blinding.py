"""Drawing sides, and the one place where a verdict about positions becomes an outcome for the candidate. Pure."""

import random
import re
import unicodedata
from collections.abc import Collection
from enum import StrEnum

from db.models import Verdict


class Outcome(StrEnum):
    """What a verdict means for the candidate."""

    WIN = "WIN"
    TIE = "TIE"
    LOSS = "LOSS"
    BOTH_BAD = "BOTH_BAD"
    """A tie that is reported by itself."""


SCORE = {Outcome.WIN: 1.0, Outcome.TIE: 0.5, Outcome.BOTH_BAD: 0.5, Outcome.LOSS: 0.0}
"""What an outcome adds to the candidate's score: ties are half."""


NAME = "[name]"
"""What stands in a blind text where somebody's name was."""


def draw_side(*, lefts: int, rights: int, seed: str) -> bool:
    """Whether the candidate stands left: a fair coin, but never more than two apart in the counts so far.

    Args:
        lefts: how often the candidate stood left for this reviewer against this baseline.
        rights: how often it stood right.
        seed: text that fixes the coin (evaluation's seed, reviewer, pairing).
    """
    if abs(lefts - rights) >= 2:
        return lefts < rights
    return random.Random(seed).random() < 0.5


def outcome(verdict: Verdict, *, candidate_left: bool) -> Outcome:
    """The verdict as seen from the candidate."""
    if verdict is Verdict.TIE:
        return Outcome.TIE
    if verdict is Verdict.BOTH_BAD:
        return Outcome.BOTH_BAD
    return Outcome.WIN if (verdict is Verdict.LEFT) == candidate_left else Outcome.LOSS


_BLANK_NAME = re.compile(r"\[(?:your|my|agent'?s?|customer service)?\s*(?:full |first )?name\]", re.IGNORECASE)
_ORDINARY = frozenset(
    "a an and answer customer desk for human of office our people reply response service staff support team the".split()
)
"""Words that a Responder may be called by and any text may hold."""
_CLOSING = (
    r"(?:(?:with )?(?:very |my )?(?:kind|kindest|best|good|warm|warmest|many)? ?(?:regards|wishes|thanks)|"
    r"yours(?: (?:sincerely|faithfully|truly))?|(?:sincerely|faithfully)(?: yours)?|"
    r"all the best|best|cheers|thank you|warmly|cordially|take care)"
)
_END = r"[\s,.!;–—-]*$"
_SIGN_OFFS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # a line that begins with a name (and may go on with a firm), and above it a short line that ends in a comma
        rf"\n\s*+(?:[^\s\n][^\n]{{0,59}},[ \t]*\n\s*+)?[–—-]*+ ?\[name\](?:,[^\n]{{1,40}})?{_END}",
        rf"\n\s*+{_CLOSING}[,\s]*(?:\[name\])?{_END}",
        rf"(?<=[.!?])[ \t]+(?:{_CLOSING}[\s,–—-]*)?\[name\](?:,[^\n]{{1,40}})?{_END}",
    )
)
"""Ways to sign off at the end of a reply, once names are masked."""
_TAIL = 400
"""Characters at the end in which a sign-off is looked for: long runs of white space would take long to search."""


def mask_names(text: str, names: Collection[str]) -> str:
    """The text without what would tell who wrote it: every Responder's replies are treated alike.

    Names of human Responders, whole or in part (a signature is often the first name alone), and the blanks that
    models leave for a name, become ``[name]``. Then the sign-off at the end goes ("Kind regards, [name]"), because
    people sign and models mostly do not: left there, the mark itself would tell them apart.
    """
    text = unicodedata.normalize("NFC", text).strip()
    spelled = "|".join(_spellings(names))
    if spelled:
        text = re.sub(rf"(?<!\w)(?:{spelled})(?!\w)", NAME, text)
    text = _BLANK_NAME.sub(NAME, text)
    text = re.sub(r"\[name\](?: \[name\])+", NAME, text)
    head, tail = text[:-_TAIL], text[-_TAIL:]
    for sign_off in _SIGN_OFFS:
        kept = sign_off.sub("", tail).rstrip()
        tail = kept if (head + kept).strip() else tail
    return head + tail


def _spellings(names: Collection[str]) -> list[str]:
    """Patterns for names and their parts, longest first: as written, in capitals and, for whole names, in any case."""
    found: dict[str, str] = {}
    for raw in names:
        name = " ".join(unicodedata.normalize("NFC", raw).split())
        words = name.split()
        if len(words) > 1:
            found[name] = f"(?i:{_any_apostrophe(name)})"
        for word in words:
            if len(word) > 1 and word[0].isupper() and word.casefold() not in _ORDINARY:
                found[word] = f"{_any_apostrophe(word)}|{_any_apostrophe(word.upper())}"
                # alone on the last line it is a signature, even in small letters
                found[f"{word}\n"] = rf"(?<=\n)(?i:{_any_apostrophe(word)})(?=\W*\Z)"
    return [found[key] for key in sorted(found, key=len, reverse=True)]


def _any_apostrophe(word: str) -> str:
    return re.sub("['’]", "['’]", re.escape(word))
