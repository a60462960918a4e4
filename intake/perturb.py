"""The same message as another customer might have typed it: typos, no capitals, more or less polite, shorter. Pure.

Words with a digit in them (order numbers, prices, dates) stay exactly as they are and where they are: they are what a
reply must get right.
"""

import random
import re
import unicodedata

from texts.worded import WordedEnum

TYPO_RATE = 0.03
"""Share of letters that are mistyped: three in a hundred, as in a message typed in a hurry on a telephone."""
KEPT_SENTENCES = 2
"""Sentences that a shortened message keeps, beside what asks for something and what has a number."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SPACES = re.compile(r"(\s+)")
_GREETINGS = r"(?:dear|hello|hi|hey|greetings|good (?:morning|afternoon|evening|day)|gentlemen|to whom it may concern)"
_GREETING = re.compile(
    # a comma or the line's end closes any short greeting; a full stop only one that cannot be a sentence
    rf"\s*{_GREETINGS}(?:(?: [^\W\d]+\.?){{0,4}}(?:,|[^\S\n]*\n)|(?: (?:there|all|team|everyone|sir|madam))?[,.!]+)\s*",
    re.IGNORECASE,
)
_GREETED = re.compile(rf"\s*{_GREETINGS}\b", re.IGNORECASE)
_THANKED = re.compile(r"\b(?:thank|thanks|cheers|grateful)\b", re.IGNORECASE)
_THANKS = re.compile(
    r"(?:^|(?<=[.!?] ))[^\S\n]*"
    r"(?:(?:many |best )?thanks|thank you|cheers|(?:kind |best |warm )?regards|best wishes"
    r"|yours (?:sincerely|faithfully))"
    r"(?: so much| very much| ever so| a lot| again)?(?: in advance)?(?: for (?:your|the) \w+)?"
    r"(?:[.!,]+(?=\s|$)|[^\S\n]*$)[^\S\n]*",
    re.IGNORECASE | re.MULTILINE,
)
_ASKS = re.compile(r"\?|\b(?:please|pls|can you|could you|would you)\b", re.IGNORECASE)
_HELLOS = ("Hello,", "Good morning,", "Good afternoon,", "Dear team,")
_THANK_YOUS = (
    "Thank you very much for your help.",
    "Many thanks in advance.",
    "I would be very grateful for your help.",
)


class Perturbation(WordedEnum):
    """How a prompt is changed; the words also name a PromptSet."""

    TYPOS = "TYPOS", "typos"
    """Neighbouring keys, letters dropped, doubled or swapped."""
    LOWER = "LOWER", "lower case, no punctuation"
    POLITE = "POLITE", "greeting and thanks added"
    TERSE = "TERSE", "greeting and thanks removed"
    SHORT = "SHORT", "shortened"
    """Its first sentences, and of the others what asks for something or has a number."""


def perturb(text: str, way: Perturbation, *, seed: str, rate: float = TYPO_RATE) -> str | None:
    """The text changed in one way; None where there is nothing to change in it.

    Args:
        seed: the same gives the same.
        rate: of typos, share of letters in (0, 1].
    """
    chance = random.Random(f"{seed}:{way}")
    match way:
        case Perturbation.TYPOS:
            changed = add_typos(text, chance, rate=rate)
        case Perturbation.LOWER:
            changed = lower_and_strip(text)
        case Perturbation.POLITE:
            changed = make_polite(text, chance)
        case Perturbation.TERSE:
            changed = make_terse(text)
        case Perturbation.SHORT:
            changed = shorten(text)
    changed = changed.strip()
    return changed if changed and changed.split() != text.split() and numbers(changed) == numbers(text) else None


def numbers(text: str) -> list[str]:
    """Every word with a digit in it, in order."""
    return [word for word in text.split() if _fixed(word)]


def _fixed(word: str) -> bool:
    return any(letter.isnumeric() for letter in word)


def add_typos(text: str, chance: random.Random, *, rate: float = TYPO_RATE) -> str:
    """Letters mistyped as fingers do it, at least one; never a word's first letter, a number or an address."""
    words = _SPACES.split(text)
    places = [
        (number, place)
        for number, word in enumerate(words)
        if not (_fixed(word) or "@" in word or "://" in word)
        for place in range(1, len(word))
        if word[place].isalpha() and word[place - 1].isalpha()
    ]
    if not places:
        return text
    drawn = [place for place in places if chance.random() < rate] or [chance.choice(places)]
    for number, place in reversed(drawn):
        words[number] = _mistyped(words[number], place, chance)
    if "".join(words) == text:  # two slips undid each other
        number, place = places[-1]
        words[number] = _doubled(words[number], place)
    return "".join(words)


def _mistyped(word: str, place: int, chance: random.Random) -> str:
    letter = word[place]
    kind = chance.choice(["neighbour", "dropped", "doubled", "swapped"])
    if kind == "neighbour" and (near := _neighbours(letter)):
        other = chance.choice(near)
        return word[:place] + (other.upper() if letter.isupper() else other) + word[place + 1 :]
    if kind == "dropped":
        return word[:place] + word[place + 1 :]
    if kind == "swapped" and word[place + 1 : place + 2].isalpha() and word[place + 1] != letter:
        return word[:place] + word[place + 1] + letter + word[place + 2 :]
    return _doubled(word, place)


def _doubled(word: str, place: int) -> str:
    return word[:place] + word[place] + word[place:]


def _neighbours(letter: str) -> str:
    """Letters beside this one on an English keyboard, on its own row and those above and below."""
    for height, row in enumerate(_ROWS):
        if (column := row.find(letter.lower())) >= 0:
            beside = [(height, column - 1), (height, column + 1)]
            beside += [(height - 1, column), (height - 1, column + 1), (height + 1, column - 1), (height + 1, column)]
            return "".join(_ROWS[y][x] for y, x in beside if 0 <= y < len(_ROWS) and 0 <= x < len(_ROWS[y]))
    return ""


def lower_and_strip(text: str) -> str:
    """All lower case and no punctuation but within numbers, addresses and hyphenated words."""

    def bare(word: str) -> str:
        if _fixed(word) or "@" in word or "://" in word:
            return word
        marked = re.sub(r"(?<=\w)-(?=\w)", "\0", word.lower())
        return "".join(c for c in marked if not unicodedata.category(c).startswith("P")).replace("\0", "-")

    return re.sub(r"[^\S\n]{2,}", " ", "".join(bare(word) for word in _SPACES.split(text)))


def make_polite(text: str, chance: random.Random) -> str:
    """A greeting before it and thanks after it, each where there is none; a farewell stays at the end."""
    hello, thank_you = chance.choice(_HELLOS), chance.choice(_THANK_YOUS)
    body, farewell = _split_farewell(text.strip().split("\n"))
    if not _THANKED.search(text):
        body = [*body, thank_you]
    if not _GREETED.match(text):
        body = [hello, "", *body]
    return "\n".join([*body, *farewell])


def _split_farewell(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines of the message, and the short ones at the end without a full stop: a farewell and a name."""
    end = len(lines)
    while end > 1 and len(lines[end - 1].split()) <= 6 and not lines[end - 1].rstrip().endswith((".", "!", "?")):
        end -= 1
    return lines[:end], lines[end:]


def make_terse(text: str) -> str:
    """Without greeting, thanks and farewell; a name at the end stays."""
    greeting = _GREETING.match(text)
    rest = text[greeting.end() :] if greeting else text
    if greeting:
        rest = rest[:1].upper() + rest[1:]
    return re.sub(r"\n{3,}", "\n\n", _THANKS.sub("", rest)).strip()


def shorten(text: str) -> str:
    """Its first `KEPT_SENTENCES` sentences of three words or more, and later ones that ask or have a number."""
    parts = re.split(r"((?<=[.!?])\s+|\n+)", text)
    kept = ""
    count = 0
    for gap, sentence in zip(["", *parts[1::2]], parts[::2], strict=True):
        if count < KEPT_SENTENCES or numbers(sentence) or _ASKS.search(sentence):
            kept += gap + sentence if kept else sentence
        count += len(sentence.split()) > 2
    return kept
