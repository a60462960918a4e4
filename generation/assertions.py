"""What an Assertion may claim of a text, one function for each Claim, and what a manager may type for it. Pure.

Nothing here decides who is better: a result is a fact about one text.
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
from generation.invented_numbers import in_words, invented_numbers

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

TIME = 0.1
"""Seconds that an expression may take for one text: some take for ever."""
TELLING_LETTERS = 20
"""A text with fewer letters has no language that anybody could be sure of."""
POSSIBLE = 0.1
"""A text may be in a language to which the identifier gives at least this probability: Danish looks like Norwegian."""
LONGEST_VALUE = 20_000
"""Characters of what a manager may type for an assertion."""
_QUOTED = 60
_WEB = re.compile(r"\S+@\S+|https?://\S+|www\.\S+")
_SAME_LANGUAGE = {"nb": "no", "nn": "no"}
_PROBES = tuple(some * 1000 + "!" for some in ("a", "1", " ", "ab ", "\n"))
"""Long texts on which expressions that can take for ever mostly do."""

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
"""What each claim is called, those that most projects want first."""


@dataclass(frozen=True)
class Finding:
    """Whether a text is what was claimed."""

    passed: bool
    detail: str = ""
    """What was found, in a few words for people."""


def check(
    claim: Claim, value: str, *, text: str, prompt: str, context: str | None, similarity: float | None = None
) -> Finding | None:
    """Whether the claim holds of a reply; None where nobody can say, which is no failure.

    Args:
        value: as `cleaned_value` gave it.
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
    """Whether the regular expression is found anywhere; one that takes longer than `TIME` counts as not found."""
    try:
        found = regex.search(expression, text, timeout=TIME)
    except TimeoutError:
        return Finding(False, "the expression takes too long on this text; write it simpler")
    return Finding(found is not None, _quoted(found[0]) if found else "not found")


def contains(text: str, words: Sequence[str]) -> Finding:
    """Whether all of the words or phrases are there, in any case."""
    missing = [word for word in words if not _has(text, word)]
    return Finding(not missing, f"missing: {', '.join(missing)}" if missing else "")


def lacks(text: str, words: Sequence[str]) -> Finding:
    """Whether none of the words or phrases is there, in any case."""
    there = [word for word in words if _has(text, word)]
    return Finding(not there, f"has: {', '.join(there)}" if there else "")


def at_most_words(text: str, most: int) -> Finding:
    """Whether there are no more words; a dash between spaces is none."""
    count = sum(any(c.isalnum() for c in part) for part in text.split())
    words = "1 word" if count == 1 else f"{count:,} words"
    return Finding(count <= most, words + (f", {most:,} allowed" if count > most else ""))


def is_json(text: str) -> Finding:
    """Whether the whole text is JSON as RFC 8259 has it: no NaN, nothing before or after."""
    try:
        _json(text)
    except (ValueError, RecursionError) as problem:
        if text.strip().startswith("```"):
            return Finding(False, "wrapped in a code fence")
        if isinstance(problem, json.JSONDecodeError):
            return Finding(False, f"{problem.msg}, line {problem.lineno}, column {problem.colno}")
        return Finding(False, "nested too deep" if isinstance(problem, RecursionError) else str(problem))
    return Finding(True)


def one_of(text: str, classes: Sequence[str]) -> Finding:
    """Whether the text alone, or some text in a JSON object, is exactly one of the classes."""
    said = {text.strip()}
    try:
        read = _json(text)
        if isinstance(read, dict):
            said = set(_texts(read))
    except (ValueError, RecursionError):
        pass
    if found := said & set(classes):
        return Finding(True, ", ".join(sorted(found)))
    alike = {one.casefold() for one in classes} & {one.strip(" .!\"'`*").casefold() for one in said}
    shown = ", ".join(_quoted(one) for one in sorted(said)[:3]) or "no text in it"
    return Finding(False, shown + (": only case or marks differ" if alike else ""))


def in_language(text: str, language: str) -> Finding:
    """Whether the text is in the language (ISO 639-1) or could be; too short a text passes and says so."""
    plain = _WEB.sub(" ", text)
    if sum(c.isalpha() for c in plain) < TELLING_LETTERS:
        return Finding(True, "too short to tell")
    likely: dict[str, float] = {}
    for code, probability in _identifier().rank(plain):
        known = _SAME_LANGUAGE.get(str(code), str(code))
        likely[known] = likely.get(known, 0.0) + float(probability)
    best = max(likely, key=lambda code: likely[code])
    if best == language:
        return Finding(True)
    if likely.get(language, 0.0) >= POSSIBLE:
        return Finding(True, f"could be {language_name(best)} too")
    return Finding(False, f"looks like {language_name(best)}")


def no_new_numbers(text: str, known: Sequence[str]) -> Finding:
    """Whether every number stands in one of the known texts too."""
    invented = invented_numbers(text, known=known)
    return Finding(not invented, in_words(invented))


def like_reference(similarity: float, least: float) -> Finding:
    """Whether the reply is near enough in meaning to a person's."""
    # rounded up or down, 0.599 would look like 0.60
    shown = f"{int(similarity * 100) / 100:.2f}"
    return Finding(similarity >= least, shown + (f", {least:g} wanted" if similarity < least else ""))


def cleaned_value(claim: Claim, value: str) -> str:
    """What is stored of what a manager typed. Raises `Refused` with the remedy where nothing can be checked by it."""
    if len(value) > LONGEST_VALUE:
        raise Refused(f"That has {len(value):,} characters; at most {LONGEST_VALUE:,} are kept. Shorten it.")
    match claim:
        case Claim.MATCHES:
            return _expression(value)
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
            return _least(value)
        case Claim.NO_NEW_NUMBERS:
            return value.strip()
        case Claim.JSON:
            return ""


def sentence(claim: Claim, value: str) -> str:
    """What an assertion with this value checks, for people; `value` as `cleaned_value` gave it."""
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
                f"Passes where the reply is in {language_name(value)}. Replies with fewer than {TELLING_LETTERS} "
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
    """The languages that can be told, by their two letters (ISO 639-1), in the order of their names."""
    codes = {_SAME_LANGUAGE.get(str(code), str(code)) for code in _identifier().labels}
    return dict(sorted(((code, language_name(code)) for code in codes), key=lambda pair: pair[1]))


def language_name(code: str) -> str:
    """A language's name in English, the code itself where it has none."""
    try:
        return re.sub(r" \(.*\)", "", Lang(code).name)
    except InvalidLanguageValue:
        return code


@lru_cache
def _identifier() -> "LanguageIdentifier":
    """py3langid with its own model, 4.6 MB, kept to languages with two letters: a dialect is no wrong language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier


def _expression(value: str) -> str:
    """A regular expression that compiles, is found in some text only, and ends in time."""
    if not value.strip():
        raise Refused("The expression is empty, so everything would fit. Type one: for example ^Dear .")
    try:
        compiled = regex.compile(value)
        for probe in _PROBES:
            compiled.search(probe, timeout=TIME)
    except regex.error as problem:
        raise Refused(f"That is no regular expression: {problem}. Mend it, or choose “Has these words”.") from None
    except TimeoutError:
        raise Refused(
            "That expression can take for ever on a long text. Write it without a repeat inside another, as in (a+)+."
        ) from None
    return value


def _least(value: str) -> str:
    try:
        least = float(value.strip().replace(",", "."))
    except ValueError:
        least = 0.0
    if not 0 < least <= 1:
        raise Refused("Type the least similarity as a number above 0 up to 1: for example 0.4.")
    return f"{least:g}"


def _has(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text as whole words, whatever the case, the spaces and the apostrophes."""
    parts = (re.escape(part) for part in _folded(phrase).split())
    pattern = r"\s+".join(parts)
    first, last = phrase.strip()[:1], phrase.strip()[-1:]
    pattern = (r"(?<!\w)" if _bounded(first) else "") + pattern + (r"(?!\w)" if _bounded(last) else "")
    return re.search(pattern, _folded(text)) is not None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("’", "'")


def _bounded(letter: str) -> bool:
    """Whether words that end with it end at a space or mark; Chinese and Thai ones need not."""
    return (letter.isalnum() or letter == "_") and unicodedata.category(letter) != "Lo"


def _json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse, parse_int=float)


def _texts(value: Any) -> Iterator[str]:
    """Every text among the values of a JSON object, whatever its depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return f"“{flat[:_QUOTED]}{' …' if len(flat) > _QUOTED else ''}”"
