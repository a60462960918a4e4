"""Numbers of a text that its prompt does not have: the order number, price or date that a model made up. Pure.

Numbers are compared by value: 1,234.50 equals 1 234,50, 0800 123 456 equals 0800-123456, 4th equals 4, and only the
digits of A123-45 count. Numbers written as words are ignored.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHOWN = 5
"""How many invented numbers are named; the others are only counted."""
NAME_DIGITS = 3
"""A word that begins with a letter and has fewer digits (MP3, iOS16) is a name, not a number."""
_WINDOW = 8
"""Most groups of digits that can be one number written with spaces; telephone numbers have up to six."""

_NUMBER = re.compile(
    r"(?<!\d)(?<!\d[.,'’])"
    r"(?:(?P<grouped>[1-9]\d{0,2}(?P<mark>[.,'’\u00a0\u202f\u2009])\d{3}(?:(?P=mark)\d{3})*)"
    r"(?:(?!(?P=mark))[.,](?P<cents>\d{1,2}))?"
    r"|(?P<whole>\d+)[.,](?P<part>\d+))"
    r"(?!\d)(?![.,'’]\d)"
    r"|(?P<plain>\d+)"
)
_GAP = re.compile(r"[ \u00a0\u202f./–-]|\) ?|[ -]\(|\) ?[-/]")
"""What may stand between the groups of one number."""
_WORD = re.compile(r"[^\W_]+")
_CODE = re.compile(r"[^\W_]+(?:[-_/.:,'’][^\W_]+)*")
_NUMBERING = re.compile(r"^[ \t#>*_-]*\(?(\d{1,2})[.)](?=[\s*_]|$)", re.MULTILINE)
_IDIOM = re.compile(r"(?<!\d)24/7(?!\d)")


@dataclass(frozen=True)
class _Token:
    """One group of digits, or several that punctuation marks join to one number."""

    start: int
    end: int
    plain: bool
    """Digits only."""
    options: tuple[tuple[str, ...], ...]
    """Ways to read it: each is a tuple of the values that it then has."""


def invented_numbers(text: str, *, known: Sequence[str]) -> list[str]:
    """The numbers in `text`, as written there and each once, that none of the `known` texts has.

    Numbering at the beginning of lines does not count, nor do names such as MP3.
    """
    known_values = {value for known_text in known for value in _values(known_text)}
    digits = _ascii_digits(text)
    ignored = _ignored_places(digits)
    tokens = [token for token in _tokens(digits) if token.start not in ignored]
    known_tokens = {token for token in tokens if any(known_values.issuperset(option) for option in token.options)}
    for window, value in _windows(tokens, digits):
        if value in known_values:
            known_tokens.update(window)
    return _as_written(text, [token for token in tokens if token not in known_tokens])


def format_numbers(numbers: Sequence[str]) -> str:
    """The numbers as a phrase for people: the first `SHOWN`, and how many more."""
    more = len(numbers) - SHOWN
    return ", ".join(numbers[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _ascii_digits(text: str) -> str:
    """The text with every script's digits as 0 to 9, at the same places."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)


def _value(whole: str, part: str = "") -> str:
    """A number without superfluous zeros; as text, since its length has no limit."""
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def _values(text: str) -> Iterator[str]:
    """Every value that a number in the text can be read as."""
    digits = _ascii_digits(text)
    tokens = list(_tokens(digits))
    for token in tokens:
        for option in token.options:
            yield from option
    for _, value in _windows(tokens, digits):
        yield value


def _tokens(digits: str) -> Iterator[_Token]:
    options: list[tuple[str, ...]]
    for match in _NUMBER.finditer(digits):
        grouped, whole, part, plain = match.group("grouped", "whole", "part", "plain")
        if grouped:
            options = [(_value(re.sub(r"\D", "", grouped), match["cents"] or ""),)]
        elif whole:
            options = [(_value(whole, part),)]
            if digits[match.end() : match.end() + 1] == "." and len(whole) < 3 and len(part) < 3:
                options.append((_value(whole), _value(part)))  # a German date: am 12.5.
        else:
            # the minutes of 9:00 say no more than the 9
            options = [()] if plain == "00" and digits[max(0, match.start() - 1)] == ":" else [(_value(plain),)]
        yield _Token(match.start(), match.end(), bool(plain), tuple(options))


def _windows(tokens: Sequence[_Token], digits: str) -> Iterator[tuple[Sequence[_Token], str]]:
    """Neighbouring groups that may be one number together, and its value: 0800 123 456, 12 000,50, 17:30."""
    for first, first_token in enumerate(tokens):
        if not first_token.plain:
            continue
        groups = [digits[first_token.start : first_token.end]]
        for last in range(first + 1, min(first + _WINDOW, len(tokens))):
            token = tokens[last]
            between, written = digits[tokens[last - 1].end : token.start], digits[token.start : token.end]
            if between in (":", "h", "H") and len(groups) == 1 and token.plain and len(written) == 2:
                yield tokens[first : last + 1], _value(groups[0], written)  # 17:30 is 17.30 too
            if not _GAP.fullmatch(between):
                break
            whole, _, part = written.replace(",", ".").partition(".")
            if not whole.isdecimal() or (part and not part.isdecimal()):
                break
            groups.append(whole)
            thousands = len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
            if thousands or (sum(map(len, groups)) >= 5 and not part):
                yield tokens[first : last + 1], _value("".join(groups), part)
            if not token.plain:
                break


def _ignored_places(digits: str) -> set[int]:
    """Where digits stand that are no number: numbering, an idiom, or part of a name."""
    places: set[int] = set()
    numbered = 0
    for item in _NUMBERING.finditer(digits):
        # 40. at the beginning of a line ends a sentence, unless 39. came before
        if int(item[1]) in (1, numbered + 1):
            numbered = int(item[1])
            places.update(range(*item.span(1)))
    for idiom in _IDIOM.finditer(digits):
        places.update(range(*idiom.span()))
    for word in _WORD.finditer(digits):
        if word[0][0].isalpha() and sum(c.isdecimal() for c in word[0]) < NAME_DIGITS:
            places.update(range(*word.span()))
    return places


def _as_written(text: str, tokens: Sequence[_Token]) -> list[str]:
    """The numbers as the text writes them, with the code around them (A123-45), each once."""
    spans: list[tuple[int, int]] = []
    codes = _CODE.finditer(text)
    code = next(codes, None)
    for token in tokens:
        while code is not None and code.end() <= token.start:
            code = next(codes, None)
        start, end = (code.start(), code.end()) if code and code.start() <= token.start else (token.start, token.end)
        if spans and (start <= spans[-1][1] or _GAP.fullmatch(text[spans[-1][1] : start])):
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return list(dict.fromkeys(text[start:end][:40] for start, end in spans))
