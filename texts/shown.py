"""A Response as people see it who judge it: format, names and sign-offs alike, so that only what is said tells. Pure.

The same for every Responder; the Response itself is never changed, and whoever corrects or trains gets that. White
space, marks of Markdown, human Responders' names and sign-offs are seen to always, the rest by a project's rules.
Every step takes time linear in the text, but for a manager's own pattern, which gets `PATIENCE` seconds.
"""

import json
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import regex

from texts.escape import HIDDEN, JOINERS, OPERATORS, ZERO_WIDTH

NAME = "[name]"
"""What stands in a text where somebody's name was."""
PATIENCE = 0.25
"""Seconds that a manager's pattern may take with one text; after that it hides nothing there."""
LONGEST_PATTERN = 300
"""Characters."""
MOST_REPEATS = 10_000
"""Of repeats within each other, as in (a{100}){100}: more take long merely to read."""
_CHECK = 2.0
"""Seconds that a new pattern may take with all the texts that it is tried on."""
_PASSES = 12
"""What one step leaves may be another's to see to ("**# Title**"); texts settle after two or three passes."""


@dataclass(frozen=True)
class GreetingName:
    """Whoever is greeted in the first line ("Dear Ann Archer,") gives way to the replacement."""

    replacement: str = ""


@dataclass(frozen=True)
class TicketNumber:
    """Numbers of tickets, cases, orders and references give way to the replacement; the word before them stays."""

    replacement: str = ""


@dataclass(frozen=True)
class Pattern:
    """What a manager's regular expression finds gives way to the replacement; ^ and $ are a line's ends."""

    pattern: str
    replacement: str = ""


Rule: TypeAlias = GreetingName | TicketNumber | Pattern
AsShown: TypeAlias = Callable[[str], str]
"""A text as a project's reviewers see it."""


class BadPattern(ValueError):
    """A regular expression that cannot be used, with the reason."""


def shown(text: str, *, names: Collection[str] = (), rules: Sequence[Rule] = ()) -> str:
    """The text as it is shown; what is shown already stays as it is.

    A text that has words keeps some: where the rules would leave none, they do not apply.

    Args:
        names: of the human Responders, which are hidden in everybody's texts.
        rules: the project's, in the order in which they apply.
    """
    return _shown(text, tuple(sorted(set(names))), tuple(rules))


@lru_cache(maxsize=128)  # a pair is drawn again at every press, and a preview shows the same texts by two sets of rules
def _shown(text: str, names: tuple[str, ...], rules: tuple[Rule, ...]) -> str:
    ruled = _settled(text, names, rules)
    return ruled if not rules or _WORD.search(ruled) else _shown(text, names, ())


def _settled(text: str, names: tuple[str, ...], rules: tuple[Rule, ...]) -> str:
    for _ in range(_PASSES):
        before, text = text, _once(text, names, rules)
        if text == before:
            break
    return text


def _once(text: str, names: tuple[str, ...], rules: tuple[Rule, ...]) -> str:
    text = mask_names(_laid_out(text), names)
    for rule in rules:
        match rule:
            case GreetingName():
                text = _greeting(rule.replacement).sub(_greeted(rule.replacement), text, count=1)
            case TicketNumber():
                text = _without_numbers(text, rule.replacement)
            case Pattern():
                text = _without_pattern(text, rule)
    return text


# --- layout ---

_WORD = re.compile(r"[^\W_]")
_ALIKE = str.maketrans(
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
_ALONE = re.compile(r" {0,3}(?:#{1,6} +)+")
"""With a single # too, between blank lines only: else it may be a comment in code."""
_EMPHASIS = re.compile(
    r"`[^`]*`"  # code within a line stays as it is
    r"|(?<![\w*\\])(?P<stars>\*{2,3})(?P<bold>[^*]+)(?P=stars)(?![\w*])"
    r"|(?<![\w_\\])__(?P<under>[^_]+)__(?![\w_])"
)
_OPENERS = "`\"'“‘«([{¿¡$€£"
_INDENTED = "    "


def _laid_out(text: str) -> str:
    """The text with white space and Markdown alike; what is code keeps its lines, indentation and marks."""
    text = _JOINER.sub("", text.replace("\r\n", "\n").translate(_ALIKE))
    data = _is_json(text)
    kept: list[str] = []
    lines = list(_lines(unicodedata.normalize("NFC", text)))
    for (raw, code), (following, _) in zip(lines, [*lines[1:], ("", False)], strict=True):
        body = raw.lstrip(" \t")
        indent = raw[: len(raw) - len(body)].replace("\t", _INDENTED)
        body = body.rstrip(" \t")
        blank = not kept or not kept[-1]
        if data or code:
            kept.append(indent + body if body else "")
        elif body:
            alone = blank and not following.strip(" \t")
            kept.append(_without_marks(indent + _AFTER_STOP.sub(" ", re.sub("\t+", " ", body)), alone=alone))
        elif not blank:
            kept.append("")
    laid_out = "\n".join(kept).strip("\n")
    first = laid_out.lstrip(" ")
    # a blank before the first word is a model's habit, four are code
    return first if len(laid_out) - len(first) < len(_INDENTED) else laid_out


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a fenced block of code."""
    fence: str | None = None
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence is None:
            if found and not (found[1][0] == "`" and "`" in line[found.end() :]):
                fence = found[1]
            yield line, fence is not None
        else:
            yield line, True
            if found and found[1].startswith(fence) and not line[found.end() :].strip():
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


def _without_marks(line: str, *, alone: bool) -> str:
    """A line outside code with "- " for any bullet and without the marks of headings and emphasis."""
    if _BREAK.match(line):
        return line
    bullet = _BULLET.match(line)
    if bullet:
        line = f"{bullet[1]}- {line[bullet.end() :]}"
    elif line.startswith(_INDENTED):
        return line
    heading = (_ALONE if alone else _HEADING).match(line)
    return _EMPHASIS.sub(_plain, line[heading.end() :] if heading else line)


def _plain(found: re.Match[str]) -> str:
    """The words between marks of emphasis; what only looks like emphasis (`__init__`, `a ** b`) as it was."""
    words = found["bold"] or found["under"]
    if words is None or words != words.strip() or not (words[0].isalnum() or words[0] in _OPENERS):
        return found[0]
    if found["under"] and " " not in words and not (words[0].isupper() and words[1:2].islower()):
        return found[0]
    return words if _WORD.search(words) else found[0]


# --- names and sign-offs ---

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
    text = unicodedata.normalize("NFC", text).rstrip()
    spelled = _spelled(tuple(sorted(set(names))))
    if spelled is not None:
        text = spelled.sub(NAME, text)
    text = _BLANK_NAME.sub(NAME, text)
    text = re.sub(r"\[name\](?: \[name\])+", NAME, text)
    first = _WORD.search(text)
    return text[: _sign_off(text, first.start())] if first else text


def _sign_off(text: str, first_word: int) -> int:
    """Where the sign-offs at the end begin; some word always stays."""
    end, before = len(text), -1
    while end != before:
        before, start = end, max(0, end - _TAIL)
        for sign_off in _SIGN_OFFS:
            kept = start + len(sign_off.sub("", text[start:end]).rstrip())
            end = kept if kept > first_word else end
    return end


@lru_cache(maxsize=256)
def _spelled(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """What finds the names and their parts, longest first: as written, in capitals and, if whole, in any case."""
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
    spelled = "|".join(found[key] for key in sorted(found, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{spelled})(?!\w)") if spelled else None


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
"""A word that says what the number is, and the number: "Ticket #12", "Ref: 2024-00123", "order no. 7", "case 20443"."""
_BARE = regex.compile(
    rf" ?\[(?:#(?=[A-Za-z/_-]{{0,15}}\d)[A-Za-z0-9/_-]++|[A-Z]{{2,10}}-\d[A-Za-z0-9-]*+|\d{{5,}}+)\]"
    rf"| ?\(#{_ID}\)"
    rf"| ?(?<![\w&#/])#(?=(?:[A-Za-z/_-]{{0,15}}\d){{3}}){_ID}"
)
"""A number whose marks say what it is: "[#AB-123]", "[AB-123]", "(#12)", "#12345"."""


@lru_cache(maxsize=64)
def _greeting(replacement: str) -> "regex.Pattern[str]":
    there = rf" +{regex.escape(replacement)}(?!\w)" if replacement else r"(?!)"
    return regex.compile(
        rf"\A((?:(?:Subject|Re):[^\n]*\n+)?{_GREET})(?:(?:{there})(?:{_ADDRESSEE})*+|(?:{_ADDRESSEE})++)",
        regex.MULTILINE,
    )


def _greeted(replacement: str) -> Callable[[Any], str]:
    return lambda found: f"{found[1]} {replacement}".rstrip()


def _without_numbers(text: str, replacement: str) -> str:
    text = _LABELLED.sub(lambda found: f"{found[1]} {replacement}".rstrip(), text)
    return str(_BARE.sub(lambda found: " " * bool(replacement and found[0].startswith(" ")) + replacement, text))


@lru_cache(maxsize=256)
def compiled(pattern: str) -> "regex.Pattern[str]":
    """A manager's pattern, ready to use. Raises `BadPattern` where it is none, or finds nothing at all everywhere."""
    if len(pattern) > LONGEST_PATTERN:
        raise BadPattern(f"it is longer than {LONGEST_PATTERN} characters")
    if prod(max(1, int(number)) for number in re.findall(r"\d+(?=\})", pattern)) > MOST_REPEATS:
        raise BadPattern(f"its repeats come to more than {MOST_REPEATS:,}")
    try:
        found = regex.compile(pattern, regex.MULTILINE)
    except (regex.error, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as problem:
        raise BadPattern(str(problem)) from None
    return found


def _without_pattern(text: str, rule: Pattern) -> str:
    """The text with the replacement as typed; left out, what is found takes a blank before or after it along."""
    kept, last = [], 0
    try:
        for found in compiled(rule.pattern).finditer(text, timeout=PATIENCE):
            start, end = found.span()
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
"""Texts over which a careless pattern takes for ever."""


def check_pattern(pattern: str, samples: Collection[str] = ()) -> None:
    """Raise `BadPattern` unless the pattern can be used: valid, quick whatever the text, and finding some characters.

    Args:
        samples: texts of the project, to try it on beside hostile ones.
    """
    ready = compiled(pattern)
    end = time.monotonic() + _CHECK
    # at the end the pattern itself: without its own letters a text is often dismissed at a glance
    hostile = [text + end for text in _HOSTILE for end in ("", "!", f"\n({pattern}")]
    for text in (*hostile, *samples):
        try:
            left = max(0.001, min(PATIENCE / 2, end - time.monotonic()))
            if any(not found.group() for found in ready.finditer(text, timeout=left)):
                raise BadPattern("it finds places where there is nothing, so everything would be a match")
        except TimeoutError:
            raise BadPattern("it takes too long with some texts; avoid a repeat within a repeat, as in (a+)+") from None


_FOUND = (
    (HIDDEN, "hidden characters, made visible"),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), "an image link, not loaded"),
    (re.compile(r"<\s*(script|img|iframe|a|style|svg|object|embed|form)\b", re.IGNORECASE), "HTML, shown as text"),
    (
        re.compile(r"\b(as|i am|i'm) an? (ai|artificial intelligence|language model|chat ?bot)\b", re.IGNORECASE),
        "says that it is an AI",
    ),
)


def oddities(text: str) -> list[str]:
    """Short notes, in a fixed order; empty for an ordinary text."""
    return [note for pattern, note in _FOUND if pattern.search(text)]
