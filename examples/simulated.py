"""The written rule that stands in for a person who ranks or judges, as in the demo. Pure.

It is fixed before any run and wants what a service manager would: an apology or thanks where due, an answer, 25 to
60 words, a proper end. It never sees who wrote a reply. Whatever rests on it is called simulated.
"""

import re

from stats.verdicts import Verdict

NAME, NEAREST_NAME = "Rule of thumb", "Nearest to people's"
"""Names of the two simulated reviewers; screens add "(simulated)"."""

RULE = (
    "Points for each reply: 2 for an apology where the email reports trouble, or thanks where it does not; up to 2 for "
    "taking up the email's own words (half a point for each, four letters or more); 2 for 25 to 60 words, one less for "
    "every 15 words outside that; 1 for a greeting; 2 for ending as a reply should (a closed sentence or a name), minus"
    " 4 when it was cut off; minus 2 when a sentence repeats; minus 2 for names left in brackets. "
    "Both below 3 points: both bad. Less than 1 point apart: a tie. Otherwise the reply with more points is better."
)

MIN_DIFFERENCE = 0.03
"""Cosine by which one reply must be nearer."""

NEAREST_RULE = (
    "The reply whose meaning is nearer to a person's reply to the same email is better: cosine of sentence embeddings "
    f"(all-MiniLM-L6-v2), the nearest of the people's replies counts. Less than {MIN_DIFFERENCE} apart: a tie."
)

_TROUBLE = re.compile(
    r"\b(late|lost|missing|damaged?|torn|wrong|never|not|n't|can't|cannot|won't|broken|refund|error|problem|delay\w*|"
    r"complain\w*|disappoint\w*|angry|unacceptable|still|twice|fail\w*|misprint\w*|ruined|waiting)\b",
    re.IGNORECASE,
)
_APOLOGY = re.compile(r"\b(sorry|apolog\w+|regret)\b", re.IGNORECASE)
_THANKS = re.compile(r"\b(thank\w*|glad|delighted|pleased|lovely)\b", re.IGNORECASE)
_GREETING = re.compile(r"^\s*(dear|hello|hi|good (morning|afternoon|evening))\b", re.IGNORECASE)
_BLANKS = re.compile(r"\[[^\]]{2,40}\]")
_WORD = re.compile(r"[A-Za-z']+")
_COMMON = frozenset(
    "about after again been before book books could dear does email ever from have hello just know like more much "
    "need only order please regards reply sent some such than thank thanks that their them then there they this time "
    "very want well were what when where which will with would your yours".split()
)


def score_reply(email: str, reply: str, *, finish_reason: str | None) -> float:
    """What the rule gives one reply; about -8 to 9."""
    words = _WORD.findall(reply)
    total = 0.0
    due = _APOLOGY if _TROUBLE.search(email) else _THANKS
    total += 2 if due.search(reply) else 0
    asked = {word.lower() for word in _WORD.findall(email) if len(word) >= 4} - _COMMON
    answered = asked & {word.lower() for word in words}
    total += min(2.0, 0.5 * len(answered))
    outside = max(25 - len(words), len(words) - 60, 0)
    total += 2 - outside / 15
    total += 1 if _GREETING.search(reply) else 0
    if finish_reason == "length":
        total -= 4
    elif re.search(r"([.!?]|\n\s*[A-Z][\w ,.]{1,40})\s*$", reply):
        total += 2
    sentences = [part.strip().lower() for part in re.split(r"[.!?\n]+", reply) if len(part.split()) > 3]
    total -= 2 if len(set(sentences)) < len(sentences) else 0
    total -= 2 if _BLANKS.search(reply) else 0
    return total


def rule_verdict(email: str, left: str, right: str, *, left_finish: str | None, right_finish: str | None) -> Verdict:
    """Which of two replies the rule wants."""
    first = score_reply(email, left, finish_reason=left_finish)
    second = score_reply(email, right, finish_reason=right_finish)
    if max(first, second) < 3:
        return Verdict.BOTH_BAD
    if abs(first - second) < 1:
        return Verdict.TIE
    return Verdict.LEFT if first > second else Verdict.RIGHT


def nearest_verdict(left: float, right: float) -> Verdict:
    """What the second judge says of two replies' similarities to people's, each a cosine."""
    if abs(left - right) < MIN_DIFFERENCE:
        return Verdict.TIE
    return Verdict.LEFT if left > right else Verdict.RIGHT
