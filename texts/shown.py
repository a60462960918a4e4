"""The text of a Response as its judges see it: without format, names and sign-offs that tell who wrote it. Pure.

All Responders' texts are treated alike. The Response itself never changes; corrections and trainings take it as it is.
White space, marks of Markdown, human Responders' names and sign-offs are always evened out, the rest by the project's
rules. Every step takes time linear in the text, except a manager's own pattern, which gets `PATIENCE` seconds.
"""

import json
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TypeAlias

import regex

from texts.escape import HIDDEN, JOINERS, OPERATORS, ZERO_WIDTH

NAME = "[name]"
"""Put in the place of a person's name."""
PATIENCE = 0.25
"""Seconds that a manager's pattern may take with one text; a slower one hides nothing there."""
LONGEST_PATTERN = 300
"""Characters."""
MOST_REPEATS = 10_000
"""The product of nested repeats, as in (a{100}){100}; patterns with more take long merely to compile."""
_CHECK_SECONDS = 2.0
"""Seconds that a new pattern may take with all the texts that it is tried on."""
_MOST_PASSES = 12
"""One step's result may need another step again ("**# Title**"); texts stop changing after two or three passes."""


@dataclass(frozen=True)
class GreetingName:
    """Replaces the addressee in the first line's greeting ("Dear Ann Archer,")."""

    replacement: str = ""


@dataclass(frozen=True)
class TicketNumber:
    """Replaces numbers of tickets, cases, orders and references; the word before the number stays."""

    replacement: str = ""


@dataclass(frozen=True)
class Pattern:
    """Replaces the matches of a manager's regular expression; ^ and $ match at the ends of a line."""

    pattern: str
    replacement: str = ""


Rule: TypeAlias = GreetingName | TicketNumber | Pattern
TextFilter: TypeAlias = Callable[[str], str]
"""Turns a text into what a project's reviewers see."""


class BadPattern(ValueError):
    """A regular expression that cannot be used; the message is the reason."""


def shown_text(text: str, *, names: Collection[str] = (), rules: Sequence[Rule] = ()) -> str:
    """The text as it is shown; a shown text stays the same when it is shown again.

    Rules that would leave no word of a text do not apply to it.

    Args:
        names: of the human Responders; hidden in the texts of all Responders.
        rules: the project's, in the order in which they apply.
    """
    return _shown_text(text, tuple(sorted(set(names))), tuple(rules))


@lru_cache(maxsize=128)  # a page draws its pair again at every press, and a preview shows texts by two sets of rules
def _shown_text(text: str, names: tuple[str, ...], rules: tuple[Rule, ...]) -> str:
    result = text
    for _ in range(_MOST_PASSES):
        before, result = result, _apply_steps(result, names, rules)
        if result == before:
            break
    return result if not rules or _WORD.search(result) else _shown_text(text, names, ())


def _apply_steps(text: str, names: tuple[str, ...], rules: tuple[Rule, ...]) -> str:
    text = mask_names(_even_layout(text), names)
    for rule in rules:
        match rule:
            case GreetingName():
                text = _replace_addressee(text, rule.replacement)
            case TicketNumber():
                text = _replace_numbers(text, rule.replacement)
            case Pattern():
                text = _replace_matches(text, rule)
    return text


# --- layout ---

_WORD = re.compile(r"[^\W_]")
_PLAIN_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", " "),
        **dict.fromkeys("\u202f\u205f\u3000", " "),
        **dict.fromkeys("\r\x0b\x0c\x85\u2028\u2029", "\n"),
        **dict.fromkeys(f"\u00ad\u180e{ZERO_WIDTH}{OPERATORS}", None),
    }
)
"""Blanks, line ends and characters that nobody sees. Marks of direction are not among them: screens show those."""
_JOINER = re.compile(f"(?<![^\x00-\x7f])[{JOINERS}]+|(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]+")
"""Joiners after a letter of English (other scripts and emoji need theirs), and tags that belong to no flag."""
_FENCE = re.compile(r" *(`{3,}|~{3,})")
_AFTER_STOP = re.compile(r"(?<=[.!?:;,]) {2,}")
_BULLET = re.compile(r"( {0,12})[-*•‣◦▪●∙·] +(?=\S)")
_BREAK = re.compile(r"[-*_ ]*\Z")
"""A line across the page."""
_HEADING = re.compile(r" {0,3}#{2,6} +(?:#{1,6} +)*")
_LONE_HEADING = re.compile(r" {0,3}(?:#{1,6} +)+")
"""Between blank lines a single # counts too; elsewhere it may be a comment in code."""
_EMPHASIS = re.compile(
    r"`[^`]*`"  # code within a line stays as it is
    r"|(?<![\w*\\])(?P<stars>\*{2,3})(?P<bold>[^*]+)(?P=stars)(?![\w*])"
    r"|(?<![\w_\\])__(?P<under>[^_]+)__(?![\w_])"
)
_OPENERS = "`\"'“‘«([{¿¡$€£"
_INDENT = "    "


def _even_layout(text: str) -> str:
    """The text with even white space and Markdown; code keeps its lines, indentation and marks."""
    text = _JOINER.sub("", text.replace("\r\n", "\n").translate(_PLAIN_CHARACTERS))
    is_json = _is_json(text)
    kept: list[str] = []
    lines = list(_split_lines(unicodedata.normalize("NFC", text)))
    for (line, is_code), (next_line, _) in zip(lines, [*lines[1:], ("", False)], strict=True):
        body = line.lstrip(" \t")
        indent = line[: len(line) - len(body)].replace("\t", _INDENT)
        body = body.rstrip(" \t")
        after_blank = not kept or not kept[-1]
        if is_json or is_code:
            kept.append(indent + body if body else "")
        elif body:
            alone = after_blank and not next_line.strip(" \t")
            kept.append(_remove_marks(indent + _AFTER_STOP.sub(" ", re.sub("\t+", " ", body)), alone=alone))
        elif not after_blank:
            kept.append("")
    layout = "\n".join(kept).strip("\n")
    stripped = layout.lstrip(" ")
    # a blank before the first word is a model's habit, four are code
    return stripped if len(layout) - len(stripped) < len(_INDENT) else layout


def _split_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a fenced block of code."""
    fence: str | None = None
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence is None:
            if match and not (match[1][0] == "`" and "`" in line[match.end() :]):
                fence = match[1]
            yield line, fence is not None
        else:
            yield line, True
            if match and match[1].startswith(fence) and not line[match.end() :].strip():
                fence = None


def _is_json(text: str) -> bool:
    body = text.strip()
    if not (body.startswith(("{", "[")) and body.endswith(("}", "]"))):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _remove_marks(line: str, *, alone: bool) -> str:
    """A line outside code with "- " for any bullet and without the marks of headings and emphasis."""
    if _BREAK.match(line):
        return line
    bullet = _BULLET.match(line)
    if bullet:
        line = f"{bullet[1]}- {line[bullet.end() :]}"
    elif line.startswith(_INDENT):
        return line
    heading = (_LONE_HEADING if alone else _HEADING).match(line)
    return _EMPHASIS.sub(_emphasised_words, line[heading.end() :] if heading else line)


def _emphasised_words(match: re.Match[str]) -> str:
    """The words between marks of emphasis; the whole match where it is none (`__init__`, `a ** b`)."""
    words = match["bold"] or match["under"]
    if words is None or words != words.strip() or not (words[0].isalnum() or words[0] in _OPENERS):
        return match[0]
    if match["under"] and " " not in words and not (words[0].isupper() and words[1:2].islower()):
        return match[0]
    return words if _WORD.search(words) else match[0]


# --- names and sign-offs ---

_PLACEHOLDER = re.compile(r"\[(?:your|my|agent'?s?|customer service)?\s*(?:full |first )?name\]", re.IGNORECASE)
_ORDINARY_WORDS = frozenset(
    "a an and answer customer desk for human of office our people reply response service staff support team the".split()
)
"""Words in Responders' names that stay, since any text may hold them."""
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
_SIGN_OFF_LENGTH = 400
"""Characters at the end that are searched for a sign-off: long runs of white space would take long to search."""


def mask_names(text: str, names: Collection[str]) -> str:
    """The text without names and sign-off, which would tell who wrote it; the same for all Responders.

    Names of human Responders, whole or in part (a signature is often the first name alone), and the placeholders that
    models leave for a name, become ``[name]``. Then the sign-off at the end is removed ("Kind regards, [name]"): people
    sign and models mostly do not, so ``[name]`` there would tell them apart.
    """
    text = unicodedata.normalize("NFC", text).rstrip()
    pattern = _name_pattern(tuple(sorted(set(names))))
    if pattern is not None:
        text = pattern.sub(NAME, text)
    text = _PLACEHOLDER.sub(NAME, text)
    text = re.sub(r"\[name\](?: \[name\])+", NAME, text)
    first_word = _WORD.search(text)
    return text[: _sign_off_start(text, first_word.start())] if first_word else text


def _sign_off_start(text: str, first_word: int) -> int:
    """Where the sign-offs at the end begin; the first word always stays."""
    end, before = len(text), -1
    while end != before:
        before, start = end, max(0, end - _SIGN_OFF_LENGTH)
        for sign_off in _SIGN_OFFS:
            kept = start + len(sign_off.sub("", text[start:end]).rstrip())
            end = kept if kept > first_word else end
    return end


@lru_cache(maxsize=256)
def _name_pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches the names and their parts, longest first: as written, in capitals and, if whole, in any case."""
    patterns: dict[str, str] = {}
    for name in names:
        words = unicodedata.normalize("NFC", name).split()
        if len(words) > 1:
            patterns[" ".join(words)] = f"(?i:{_any_apostrophe(' '.join(words))})"
        for word in words:
            if len(word) > 1 and word[0].isupper() and word.casefold() not in _ORDINARY_WORDS:
                patterns[word] = f"{_any_apostrophe(word)}|{_any_apostrophe(word.upper())}"
                # alone on the last line it is a signature, even in small letters
                patterns[f"{word}\n"] = rf"(?<=\n)(?i:{_any_apostrophe(word)})(?=\W*\Z)"
    alternatives = "|".join(patterns[key] for key in sorted(patterns, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)") if alternatives else None


def _any_apostrophe(word: str) -> str:
    return re.sub("['’]", "['’]", re.escape(word))


# --- a project's rules ---

_GREET = (
    r"(?i:dear(?:est)?|hello|hi|hiya|hey|greetings|good (?:morning|afternoon|evening|day)|hallo|liebe[rs]?"
    r"|sehr geehrte[rs]?|guten (?:tag|morgen|abend)|bonjour|ch(?:er|ère)|hola|estimad[oa])(?!\w)"
)
_NO_NAME = (
    r"(?!(?i:I|we|you|your|our|my|the|this|that|it|there|thank|thanks|yes|no|sorry|please|unfortunately|as|in|if)"
    r"(?![\p{L}\p{M}]))"
)
_PART = (
    r"(?:\[[^\[\]\n]{1,40}\]|(?:Mrs?|Ms|Mx|Dr|Prof|St|\p{Lu})\."
    rf"|{_NO_NAME}\p{{Lu}}[\p{{L}}\p{{M}}\p{{N}}]*+(?:['’-][\p{{L}}\p{{M}}]++)*+)"
)
_BETWEEN = r"(?:(?:and|&|or|van|von|de|der|den|di|da|del|la|le|bin|al|el|ten|ter|zu|und|et) +)"
_ROLE = (
    r"(?i:valued|dear|esteemed|sir|sirs|madam|or|and|customer|customers|reader|readers|friend|friends|all|both|team"
    r"|everyone|everybody|folks|colleague|colleagues|user|member|guest|client|there|again)(?!\w)"
)
_STOP = r"(?= *(?:[,!:.;]|$))"
_ADDRESSEE = (
    rf"(?: +{_BETWEEN}*+{_PART}"
    rf"|, *{_PART}(?: +{_BETWEEN}*+{_PART})*+{_STOP}"
    rf"|(?: +{_ROLE}){{1,5}}{_STOP}"
    rf"|(?: +there(?!\w))"
    rf"| +{_NO_NAME}\p{{Ll}}[\p{{L}}\p{{M}}'’-]*+{_STOP})"
)
_ID = r"(?=[A-Za-z/_-]{0,15}\d)[A-Za-z0-9]++(?:[-/_][A-Za-z0-9]++)*+"
_LABEL = r"(?<!\w)(?i:ticket|case|reference|ref|order|request|incident|claim|invoice|booking|enquiry|inquiry|rma)"
_KIND = r"(?:(?: {1,2}|-)(?i:numbers?|no|nr|id|code)(?!\w)\.?)"
_LABELLED = regex.compile(
    rf"({_LABEL})(?:{_KIND}?\.? {{0,2}}[:#] {{0,2}}#?{_ID}|{_KIND}(?: is)? #?{_ID}"
    rf"| (?=(?:[A-Za-z/_-]{{0,15}}\d){{4}}){_ID})"
)
"""A word for what the number is, and the number: "Ticket #12", "Ref: 2024-00123", "order no. 7", "case 20443"."""
_BARE = regex.compile(
    rf" ?\[(?:#(?=[A-Za-z/_-]{{0,15}}\d)[A-Za-z0-9/_-]++|[A-Z]{{2,10}}-\d[A-Za-z0-9-]*+|\d{{5,}}+)\]"
    rf"| ?\(#{_ID}\)"
    rf"| ?(?<![\w&#/])#(?=(?:[A-Za-z/_-]{{0,15}}\d){{3}}){_ID}"
)
"""A number whose marks tell what it is: "[#AB-123]", "[AB-123]", "(#12)", "#12345"."""


@lru_cache(maxsize=64)
def _greeting_pattern(replacement: str) -> "regex.Pattern[str]":
    replaced = rf" +{regex.escape(replacement)}(?!\w)" if replacement else r"(?!)"
    return regex.compile(
        rf"\A((?:(?:Subject|Re):[^\n]*\n+)?{_GREET})(?:(?:{replaced})(?:{_ADDRESSEE})*+|(?:{_ADDRESSEE})++)",
        regex.MULTILINE,
    )


def _replace_addressee(text: str, replacement: str) -> str:
    pattern = _greeting_pattern(replacement)
    return str(pattern.sub(lambda match: f"{match[1]} {replacement}".rstrip(), text, count=1))


def _replace_numbers(text: str, replacement: str) -> str:
    text = _LABELLED.sub(lambda match: f"{match[1]} {replacement}".rstrip(), text)
    return str(_BARE.sub(lambda match: " " * bool(replacement and match[0].startswith(" ")) + replacement, text))


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> "regex.Pattern[str]":
    """A manager's pattern, ready to use. Raises `BadPattern` where it is invalid or too long."""
    if len(pattern) > LONGEST_PATTERN:
        raise BadPattern(f"it is longer than {LONGEST_PATTERN} characters")
    if prod(max(1, int(number)) for number in re.findall(r"\d+(?=\})", pattern)) > MOST_REPEATS:
        raise BadPattern(f"its repeats come to more than {MOST_REPEATS:,}")
    try:
        return regex.compile(pattern, regex.MULTILINE)
    except (regex.error, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as problem:
        raise BadPattern(str(problem)) from None


def _replace_matches(text: str, rule: Pattern) -> str:
    """The text with the replacement for each match; without a replacement, one blank beside the match goes too."""
    kept, last = [], 0
    try:
        for match in compile_pattern(rule.pattern).finditer(text, timeout=PATIENCE):
            start, end = match.span()
            if start == end:
                continue
            if not rule.replacement and text[max(0, start - 1) : start] in ("", " ", "\n"):
                if text.startswith(" ", end):
                    end += 1
                elif text.startswith(tuple(".,;:!?"), end) and start > last:
                    start -= text[start - 1] == " "
            kept += [text[last : max(last, start)], rule.replacement]
            last = max(last, end)
    except (BadPattern, TimeoutError):
        return text
    return "".join([*kept, text[last:]])


_HOSTILE = tuple(part * (2_000 // len(part)) for part in ("a", "A", " ", "1", "\n", "-", "a ", "aB1-", "Ab. "))
"""Texts with which a careless pattern takes for ever."""


def check_pattern(pattern: str, samples: Collection[str] = ()) -> None:
    """Raise `BadPattern` unless the pattern can be used: valid, fast with any text, and never matching an empty string.

    Args:
        samples: texts of the project, to try it on beside hostile ones.
    """
    expression = compile_pattern(pattern)
    deadline = time.monotonic() + _CHECK_SECONDS
    # the pattern itself as an ending: a text without its letters is often dismissed at a glance
    hostile = [text + ending for text in _HOSTILE for ending in ("", "!", f"\n({pattern}")]
    for text in (*hostile, *samples):
        try:
            timeout = max(0.001, min(PATIENCE / 2, deadline - time.monotonic()))
            if any(not match.group() for match in expression.finditer(text, timeout=timeout)):
                raise BadPattern("it finds places where there is nothing, so everything would be a match")
        except TimeoutError:
            raise BadPattern("it takes too long with some texts; avoid a repeat within a repeat, as in (a+)+") from None


_ODDITIES = (
    (HIDDEN, "hidden characters, made visible"),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), "an image link, not loaded"),
    (re.compile(r"<\s*(script|img|iframe|a|style|svg|object|embed|form)\b", re.IGNORECASE), "HTML, shown as text"),
    (
        re.compile(r"\b(as|i am|i'm) an? (ai|artificial intelligence|language model|chat ?bot)\b", re.IGNORECASE),
        "says that it is an AI",
    ),
)


def oddities(text: str) -> list[str]:
    """Short notes on what is odd in the text, in a fixed order; empty for an ordinary text."""
    return [note for pattern, note in _ODDITIES if pattern.search(text)]
