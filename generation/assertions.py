"""The checks behind assertions, one function for each Claim, and the values that a manager may type for them. Pure.

No check says which reply is better: a result is a fact about one text.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import regex
from iso639 import Lang
from iso639.exceptions import InvalidLanguageValue

from db.models import Claim
from errors import Refused
from generation.invented_numbers import format_numbers, invented_numbers

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SEARCH_TIMEOUT = 0.1
"""Seconds that an expression may take for one text: some would backtrack for ever."""
MIN_LETTERS = 20
"""In a text with fewer letters the language cannot be told."""
MIN_PROBABILITY = 0.1
"""A text passes for each language that the identifier finds at least so probable: Danish looks like Norwegian."""
LONGEST_VALUE = 20_000
"""Characters that the value of an assertion may have."""
_QUOTED = 60
_WEB = ("@", "://", "www.")
"""What a word has that is an address and no language."""
_LANGUAGE_SAMPLE = 10_000
"""Characters from which a language is told; more take longer and tell the same."""
_SAME_LANGUAGE = {"nb": "no", "nn": "no"}
_PROBES = tuple(unit * 1000 + "!" for unit in ("a", "1", " ", "ab ", "\n"))
"""Long texts that make most expressions that can backtrack for ever do so."""

TITLES = {
    Claim.NO_NEW_NUMBERS: "No invented numbers",
    Claim.AT_MOST_WORDS: "Short enough",
    Claim.CONTAINS: "Has these words",
    Claim.LACKS: "Lacks these words",
    Claim.LANGUAGE: "In the right language",
    Claim.LIKE_REFERENCE: "Like a person's reply",
    Claim.JSON: "Valid JSON",
    Claim.ONE_OF: "One of the classes",
    Claim.MATCHES: "Fits an expression",
}
"""The title of each claim; those that most projects want come first."""


@dataclass(frozen=True)
class Finding:
    """Whether a text passes one check."""

    passed: bool
    detail: str = ""
    """What the check found, in a few words for people."""


def check(
    claim: Claim, value: str, *, text: str, prompt: str, context: str | None, similarity: float | None = None
) -> Finding | None:
    """Whether the claim holds of a reply; None where it cannot be checked, which is no failure.

    Args:
        value: as `clean_value` returns it.
        similarity: cosine to the nearest reply by a person, for LIKE_REFERENCE only; None where there is no such reply.
    """
    match claim:
        case Claim.MATCHES:
            return matches(text, value)
        case Claim.CONTAINS:
            return contains(text, value.splitlines())
        case Claim.LACKS:
            return lacks(text, value.splitlines())
        case Claim.AT_MOST_WORDS:
            return at_most_words(text, int(value))
        case Claim.JSON:
            return is_json(text)
        case Claim.ONE_OF:
            return one_of(text, value.splitlines())
        case Claim.LANGUAGE:
            return in_language(text, value)
        case Claim.NO_NEW_NUMBERS:
            return no_new_numbers(text, (prompt, context or "", value))
        case Claim.LIKE_REFERENCE:
            return None if similarity is None else like_reference(similarity, float(value))


def matches(text: str, expression: str) -> Finding:
    """Whether the regular expression is found anywhere; one that takes longer than `SEARCH_TIMEOUT` is not found."""
    try:
        match = regex.search(expression, text, timeout=SEARCH_TIMEOUT)
    except TimeoutError:
        return Finding(False, "the expression takes too long on this text; write it simpler")
    return Finding(match is not None, _quote(match[0]) if match else "not found")


def contains(text: str, words: Sequence[str]) -> Finding:
    """Whether all of the words or phrases are there, in any case."""
    missing = [word for word in words if not _has_phrase(text, word)]
    return Finding(not missing, f"missing: {', '.join(missing)}" if missing else "")


def lacks(text: str, words: Sequence[str]) -> Finding:
    """Whether none of the words or phrases is there, in any case."""
    present = [word for word in words if _has_phrase(text, word)]
    return Finding(not present, f"has: {', '.join(present)}" if present else "")


def at_most_words(text: str, most: int) -> Finding:
    """Whether the text has at most so many words; a dash between spaces is no word."""
    count = sum(any(c.isalnum() for c in part) for part in text.split())
    words = "1 word" if count == 1 else f"{count:,} words"
    return Finding(count <= most, words + (f", {most:,} allowed" if count > most else ""))


def is_json(text: str) -> Finding:
    """Whether the whole text is JSON by RFC 8259: no NaN, nothing before or after."""
    try:
        _parse_json(text)
    except (ValueError, RecursionError) as problem:
        if text.strip().startswith("```"):
            return Finding(False, "wrapped in a code fence")
        if isinstance(problem, json.JSONDecodeError):
            return Finding(False, f"{problem.msg}, line {problem.lineno}, column {problem.colno}")
        return Finding(False, "nested too deep" if isinstance(problem, RecursionError) else str(problem))
    return Finding(True)


def one_of(text: str, classes: Sequence[str]) -> Finding:
    """Whether the text alone, or some text in a JSON object, is exactly one of the classes."""
    answers = {text.strip()}
    try:
        parsed = _parse_json(text)
        if isinstance(parsed, dict):
            answers = set(_texts(parsed))
    except (ValueError, RecursionError):
        pass
    if matching := answers & set(classes):
        return Finding(True, ", ".join(sorted(matching)))
    alike = {name.casefold() for name in classes} & {answer.strip(" .!\"'`*").casefold() for answer in answers}
    shown = ", ".join(_quote(answer) for answer in sorted(answers)[:3]) or "no text in it"
    return Finding(False, shown + (": only case or marks differ" if alike else ""))


def in_language(text: str, language: str) -> Finding:
    """Whether the text is or could be in the language (ISO 639-1); too short a text passes and says so."""
    words = text[:_LANGUAGE_SAMPLE].split()
    plain = " ".join(word for word in words if not any(mark in word for mark in _WEB))
    if sum(c.isalpha() for c in plain) < MIN_LETTERS:
        return Finding(True, "too short to tell")
    probabilities: dict[str, float] = {}
    for label, probability in _identifier().rank(plain):
        code = _SAME_LANGUAGE.get(str(label), str(label))
        probabilities[code] = probabilities.get(code, 0.0) + float(probability)
    best = max(probabilities, key=lambda code: probabilities[code])
    if best == language:
        return Finding(True)
    if probabilities.get(language, 0.0) >= MIN_PROBABILITY:
        return Finding(True, f"could be {language_name(best)} too")
    return Finding(False, f"looks like {language_name(best)}")


def no_new_numbers(text: str, known: Sequence[str]) -> Finding:
    """Whether every number of the text stands in one of the known texts too."""
    invented = invented_numbers(text, known=known)
    return Finding(not invented, format_numbers(invented))


def like_reference(similarity: float, least: float) -> Finding:
    """Whether the reply is near enough in meaning to a person's."""
    # rounded up or down, 0.599 would look like 0.60
    shown = f"{int(similarity * 100) / 100:.2f}"
    return Finding(similarity >= least, shown + (f", {least:g} wanted" if similarity < least else ""))


def clean_value(claim: Claim, value: str) -> str:
    """The value to store for what a manager typed. Raises `Refused` with the remedy where it cannot be checked by."""
    if len(value) > LONGEST_VALUE:
        raise Refused(f"That has {len(value):,} characters; at most {LONGEST_VALUE:,} are kept. Shorten it.")
    match claim:
        case Claim.MATCHES:
            return _check_expression(value)
        case Claim.CONTAINS | Claim.LACKS | Claim.ONE_OF:
            lines = list(dict.fromkeys(" ".join(line.split()) for line in value.splitlines() if line.strip()))
            if not lines:
                what = "class" if claim is Claim.ONE_OF else "word or phrase"
                raise Refused(f"The list is empty. Type at least one {what}, each on a line of its own.")
            return "\n".join(lines)
        case Claim.AT_MOST_WORDS:
            if not re.fullmatch(r"[0-9]{1,6}", value.strip()) or not int(value):
                raise Refused("Type how many words a reply may have, as a whole number from 1: for example 120.")
            return str(int(value))
        case Claim.LANGUAGE:
            code = _SAME_LANGUAGE.get(value.strip().lower(), value.strip().lower())
            if code not in languages():
                raise Refused("That language is not known here. Choose one of the list, or type its two letters: en.")
            return code
        case Claim.LIKE_REFERENCE:
            try:
                least = float(value.strip().replace(",", "."))
            except ValueError:
                least = 0.0
            if not 0 < least <= 1:
                raise Refused("Type the least similarity as a number above 0 up to 1: for example 0.4.")
            return f"{least:g}"
        case Claim.NO_NEW_NUMBERS:
            return value.strip()
        case Claim.JSON:
            return ""


def describe_claim(claim: Claim, value: str) -> str:
    """Describe for people what an assertion checks; `value` as `clean_value` returns it."""
    listed = ", ".join(f"“{line}”" for line in value.splitlines())
    match claim:
        case Claim.MATCHES:
            return f"Passes where the expression “{value}” is found anywhere in the reply; capitals count."
        case Claim.CONTAINS:
            return f"Passes where the reply has {'all of ' if chr(10) in value else ''}{listed}, in any case."
        case Claim.LACKS:
            return f"Passes where the reply has {'none of ' if chr(10) in value else 'no '}{listed}, in any case."
        case Claim.AT_MOST_WORDS:
            return f"Passes where the reply has {int(value):,} words or fewer."
        case Claim.JSON:
            return "Passes where the whole reply is valid JSON, with nothing before or after it."
        case Claim.ONE_OF:
            return f"Passes where the reply is exactly one of {listed}, or a JSON object that has one as a value."
        case Claim.LANGUAGE:
            return (
                f"Passes where the reply is in {language_name(value)}. Replies with fewer than {MIN_LETTERS} "
                "letters pass: nobody can tell."
            )
        case Claim.NO_NEW_NUMBERS:
            also = " or among those that you allow" if value else ""
            return f"Passes where every number in the reply stands in the prompt or its context{also}."
        case Claim.LIKE_REFERENCE:
            return (
                f"Passes where the reply is at least {float(value):g} similar in meaning to a person's reply to the "
                "same prompt (1 is the same). Prompts without a person's reply are not checked."
            )


@lru_cache
def languages() -> dict[str, str]:
    """Names of the languages that can be identified, by their two letters (ISO 639-1), in the order of the names."""
    codes = {_SAME_LANGUAGE.get(str(code), str(code)) for code in _identifier().labels}
    return dict(sorted(((code, language_name(code)) for code in codes), key=lambda pair: pair[1]))


def language_name(code: str) -> str:
    """A language's English name; the code itself where it has none."""
    try:
        return re.sub(r" \(.*\)", "", Lang(code).name)
    except InvalidLanguageValue:
        return code


@lru_cache
def _identifier() -> "LanguageIdentifier":
    """py3langid with its own model, 4.6 MB, limited to two-letter codes, so that a dialect is no other language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier


def _check_expression(value: str) -> str:
    """Return the regular expression. Raises `Refused` where it is empty, does not compile or can take for ever."""
    if not value.strip():
        raise Refused("The expression is empty, so everything would fit. Type one: for example ^Dear .")
    try:
        compiled = regex.compile(value)
        for probe in _PROBES:
            compiled.search(probe, timeout=SEARCH_TIMEOUT)
    except regex.error as problem:
        raise Refused(f"That is no regular expression: {problem}. Mend it, or choose “Has these words”.") from None
    except TimeoutError:
        raise Refused(
            "That expression can take for ever on a long text. Write it without a repeat inside another, as in (a+)+."
        ) from None
    return value


def _has_phrase(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, whatever the case, the spaces and the apostrophes."""
    parts = (re.escape(part) for part in _fold(phrase).split())
    pattern = r"\s+".join(parts)
    first, last = phrase.strip()[:1], phrase.strip()[-1:]
    pattern = (r"(?<!\w)" if _ends_word(first) else "") + pattern + (r"(?!\w)" if _ends_word(last) else "")
    return re.search(pattern, _fold(text)) is not None


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("’", "'")


def _ends_word(letter: str) -> bool:
    """Whether a word with this letter at its edge ends there; Chinese and Thai words have no gaps between them."""
    return (letter.isalnum() or letter == "_") and unicodedata.category(letter) != "Lo"


def _parse_json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse, parse_int=float)


def _texts(value: Any) -> Iterator[str]:
    """Every text among the values of a JSON object, whatever its depth."""
    unread = [value]
    while unread:
        part = unread.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            unread.extend(part.values())
        elif isinstance(part, list):
            unread.extend(part)


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return f"“{flat[:_QUOTED]}{' …' if len(flat) > _QUOTED else ''}”"
