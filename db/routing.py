"""Which prompts people answer and no model does: what rules find, and the mark that they leave on the prompts.

Beside the tables, because intake routes new prompts and a generation run routes by what a classifier said. Of several
rules that fit a prompt, the one that found it first is named on it; when that one ends, the oldest other takes over.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import regex
from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from db.models import Project, Prompt, Responder, ResponderKind, Response, RoutingRule
from errors import Refused

LONGEST_PATTERN = 500
"""Characters of a pattern."""
PATIENCE = 0.1
"""Seconds of processor time that a pattern may take for one text; an ordinary one takes a few millionths."""
DOUBTS = 20
"""After so many texts on which a pattern took too long it is tried on no other: people answer those too."""
_CHUNK = 500


# ------------------------------------------------------------------------------------------------ what a rule finds


def compiled(pattern: str) -> Any:
    """The pattern, whatever the case. Raises `Refused` for one that is none, is too long, or fits every text."""
    if not pattern.strip():
        raise Refused("A rule needs a pattern: type the words or the expression to look for.")
    if len(pattern) > LONGEST_PATTERN:
        raise Refused(f"The pattern has {len(pattern):,} characters; at most {LONGEST_PATTERN} are kept. Shorten it.")
    try:
        found = regex.compile(pattern, regex.IGNORECASE)
    except (regex.error, RecursionError) as problem:
        raise Refused(f"“{pattern}” is no regular expression: {problem}. Mend it, or type plain words.") from None
    if finds(found, ""):
        raise Refused(f"“{pattern}” is found even in an empty text, so in nearly every one. Say what must stand there.")
    return found


def finds(pattern: Any, text: str, context: str | None = None) -> bool | None:
    """Whether a compiled pattern is found in the text or its context; None where it takes too long to tell."""
    try:
        return any(pattern.search(part, timeout=PATIENCE) is not None for part in (text, context) if part is not None)
    except TimeoutError:
        return None


def says(reply: str, answer: str) -> bool:
    """Whether a classifier's reply is the answer, whatever the case, alone or as a value of a JSON object."""
    return answer.strip().casefold() in {one.strip().casefold() for one in _said(reply)}


def _said(reply: str) -> Iterator[str]:
    # models put JSON between fences, whatever they were told
    text = regex.sub(r"^```\w*\s*|\s*```$", "", reply.strip())
    yield text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for one in value.values() if isinstance(value, dict) else [value]:
        yield one if isinstance(one, str) else json.dumps(one)


# ------------------------------------------------------------------------------------------------ what is answered


def answered_by_model(responder_id: int) -> ColumnElement[bool]:
    """Whether this model answers a Prompt: all that no rule routes to people; a classifier answers those too."""
    classifies = exists().where(RoutingRule.classifier_id == responder_id, RoutingRule.ended_at.is_(None))
    return or_(Prompt.routing_rule_id.is_(None), classifies)


def has_reply_of_person() -> ColumnElement[bool]:
    """Whether a person (nobody made up) has replied to a Prompt."""
    return (
        exists()
        .where(
            Response.prompt_id == Prompt.id,
            Responder.id == Response.responder_id,
            Responder.kind == ResponderKind.HUMAN,
            Responder.simulated.is_(False),
        )
        .correlate(Prompt)
    )


# ------------------------------------------------------------------------------------------------ leaving the mark


def standing_rules(s: Session, *, project_id: int) -> Sequence[RoutingRule]:
    """The rules that nobody ended, oldest first."""
    return s.scalars(
        select(RoutingRule)
        .where(RoutingRule.project_id == project_id, RoutingRule.ended_at.is_(None))
        .order_by(RoutingRule.id)
    ).all()


def lock(s: Session, *, project_id: int) -> None:
    """Rules and new prompts one after the other, so that on PostgreSQL no prompt slips between them."""
    s.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def route(
    s: Session,
    *,
    project_id: int,
    prompt_ids: Collection[int] | None = None,
    rules: Sequence[RoutingRule] | None = None,
) -> int:
    """Route what the standing rules find among prompts that are not routed yet; says how many.

    Args:
        prompt_ids: only these; None means all of the project.
        rules: only by these; None means every standing one.
    """
    lock(s, project_id=project_id)
    count = 0
    for rule in standing_rules(s, project_id=project_id) if rules is None else rules:
        found = by_classifier(s, rule=rule) if rule.pattern is None else by_pattern(s, rule=rule, prompt_ids=prompt_ids)
        count += _mark(s, rule, found if prompt_ids is None else set(found) & set(prompt_ids))
    return count


def apply_classifiers(s: Session, *, project_id: int) -> int:
    """Route what classifiers have said by now; says how many prompts. Called when a GenerationRun ends."""
    rules = [rule for rule in standing_rules(s, project_id=project_id) if rule.pattern is None]
    return route(s, project_id=project_id, rules=rules)


def by_pattern(s: Session, *, rule: RoutingRule, prompt_ids: Collection[int] | None = None) -> list[int]:
    """Ids of the prompts in which a rule's pattern is found; those too on which it takes too long: in doubt, people."""
    pattern = compiled(rule.pattern or "")
    rows = select(Prompt.id, Prompt.text, Prompt.context).where(Prompt.project_id == rule.project_id)
    if prompt_ids is None:
        texts = list(s.execute(rows))
    else:
        texts = [row for some in _chunks(prompt_ids) for row in s.execute(rows.where(Prompt.id.in_(some)))]
    found = []
    doubts = 0
    for prompt_id, text, context in texts:
        there = finds(pattern, text, context) if doubts < DOUBTS else None
        doubts += there is None
        if there is not False:
            found.append(prompt_id)
    return found


def by_classifier(s: Session, *, rule: RoutingRule) -> list[int]:
    """Ids of the prompts whose first answer by the rule's classifier is the rule's."""
    rows = s.execute(
        select(Response.prompt_id, Response.text).where(
            Response.responder_id == rule.classifier_id, Response.sample == 0
        )
    )
    return [prompt_id for prompt_id, text in rows if says(text, rule.answer or "")]


def _mark(s: Session, rule: RoutingRule, prompt_ids: Collection[int]) -> int:
    count = 0
    for some in _chunks(prompt_ids):
        free = s.scalars(select(Prompt.id).where(Prompt.id.in_(some), Prompt.routing_rule_id.is_(None))).all()
        s.execute(update(Prompt).where(Prompt.id.in_(free)).values(routing_rule_id=rule.id))
        count += len(free)
    return count


def _chunks(ids: Collection[int]) -> Iterator[list[int]]:
    # databases limit how many values a statement may hold
    there = sorted(ids)
    return (there[start : start + _CHUNK] for start in range(0, len(there), _CHUNK))


# ------------------------------------------------------------------------------------------------ counting


@dataclass(frozen=True)
class RuleCount:
    """A standing rule and what it routes."""

    rule: RoutingRule
    classifier: str | None
    """Label of the Responder that decides; none where a pattern does."""
    prompts: int
    """Those that another rule routes already are not among them."""
    held_out: int
    answered: int
    """Of all of them, how many a person has replied to."""


def rule_counts(s: Session, *, project_id: int) -> list[RuleCount]:
    """The standing rules with what each routes, oldest first."""
    rows = s.execute(
        select(
            RoutingRule,
            Responder,
            func.count(Prompt.id),
            func.count(Prompt.id).filter(Prompt.held_out),
            func.count(Prompt.id).filter(has_reply_of_person()),
        )
        .outerjoin(Prompt, Prompt.routing_rule_id == RoutingRule.id)
        .outerjoin(Responder, Responder.id == RoutingRule.classifier_id)
        .where(RoutingRule.project_id == project_id, RoutingRule.ended_at.is_(None))
        .group_by(RoutingRule.id, Responder.id)
        .order_by(RoutingRule.id)
    ).all()
    return [
        RuleCount(rule, classifier.label if classifier else None, prompts, held_out, answered)
        for rule, classifier, prompts, held_out, answered in rows
    ]
