"""Rules that send prompts to people: tried out before they are saved, added, and ended."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import regex
from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from db.lookup import get_existing
from db.models import Project, Prompt, Responder, ResponderKind, Response, Role, RoutingRule, now
from db.people import require_role
from errors import NotFound, Refused

LONGEST_PATTERN, LONGEST_REASON = 500, 80
"""Characters of a rule's pattern, and of its reason: a few words."""
PATTERN_TIMEOUT = 0.1
"""Seconds of processor time that a pattern may take for one text; an ordinary one takes a few millionths."""
MAX_TIMEOUTS = 20
"""After so many texts on which a pattern took too long it is tried on no other: people answer those too."""
_CHUNK = 500
PREVIEW_PROMPTS = 5
"""Prompts that a preview shows."""


@dataclass(frozen=True)
class NewRule:
    """A rule as a manager types it: a pattern, or a classifier with the answer that means people."""

    reason: str
    """Why people answer these, in a few words."""
    pattern: str | None = None
    classifier_id: int | None = None
    answer: str = ""


@dataclass(frozen=True)
class RoutingPreview:
    """What a rule would do, before it is saved."""

    prompts: int
    """All of the project."""
    matches: int
    """What it would newly send to people."""
    held_out: int
    """Of those."""
    already: int
    """What it fits, and another rule has sent to people."""
    unanswered: int
    """Prompts that the classifier has not answered yet; 0 for a pattern."""
    first: Sequence[str]
    """The first few texts of what it would newly send."""

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [f"Would route {self.matches:,} of {self.prompts:,} prompts to people"]
        if self.held_out:
            parts.append(f"{self.held_out:,} of them held out")
        sentences = ", ".join(parts) + "."
        if self.already:
            sentences += f" Another rule routes {self.already:,} more that fit."
        if self.unanswered:
            sentences += f" The classifier has not answered {self.unanswered:,} yet; they are looked at when it does."
        return sentences


@dataclass(frozen=True)
class RoutedPrompt:
    """A prompt that people answer."""

    text: str
    reason: str
    held_out: bool
    answered: bool
    """A person has replied to it."""


@dataclass(frozen=True)
class EndedRule:
    """What ending a rule did."""

    freed: int
    """Prompts that models may answer again."""
    still_routed: int
    """Prompts that another rule routes."""


def preview_routing(s: Session, *, by: int, project_id: int, rule: NewRule) -> RoutingPreview:
    """What a rule would route; writes nothing. Raises `Refused` for a rule that cannot be, or is too slow."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    _check_rule(s, project_id, rule)
    fitting, unanswered = _find_fitting(s, project_id, rule)
    rows = s.execute(
        select(Prompt.id, Prompt.text, Prompt.held_out, Prompt.routing_rule_id)
        .where(Prompt.project_id == project_id)
        .order_by(Prompt.id)
    ).all()
    new = [row for row in rows if row.id in fitting and row.routing_rule_id is None]
    return RoutingPreview(
        prompts=len(rows),
        matches=len(new),
        held_out=sum(row.held_out for row in new),
        already=len(fitting) - len(new),
        unanswered=unanswered,
        first=[row.text for row in new[:PREVIEW_PROMPTS]],
    )


def add_rule(s: Session, *, by: int, project_id: int, rule: NewRule) -> tuple[RoutingRule, int]:
    """Save a rule and route what it finds; managers only. Also says how many prompts it routed.

    Raises `Refused` without a reason, for a rule that cannot be, is too slow, or stands already.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    reason = " ".join(rule.reason.split())
    if not reason:
        raise Refused("A rule needs a reason in a few words: people see it beside what they are asked to answer.")
    if len(reason) > LONGEST_REASON:
        raise Refused(f"The reason has {len(reason)} characters; at most {LONGEST_REASON} fit. Say it in fewer words.")
    _check_rule(s, project_id, rule)
    _find_fitting(s, project_id, rule)
    lock_project(s, project_id=project_id)
    answer = rule.answer.strip() if rule.classifier_id is not None else None
    same = select(RoutingRule.id).where(
        RoutingRule.project_id == project_id,
        RoutingRule.ended_at.is_(None),
        RoutingRule.pattern == rule.pattern
        if rule.pattern is not None
        else (RoutingRule.classifier_id == rule.classifier_id) & (RoutingRule.answer == answer),
    )
    if s.scalar(same.limit(1)) is not None:
        raise Refused("This rule stands already. Look at the list of rules.")
    added = RoutingRule(
        project_id=project_id,
        reason=reason,
        pattern=rule.pattern,
        classifier_id=rule.classifier_id,
        answer=answer,
        created_by_id=by,
    )
    s.add(added)
    s.flush()
    return added, route_prompts(s, project_id=project_id, rules=[added])


def end_rule(s: Session, *, by: int, rule_id: int) -> EndedRule:
    """End a rule: models may answer its prompts again, unless another standing rule finds them. Managers only."""
    rule = s.get(RoutingRule, rule_id)
    if rule is None or rule.ended_at is not None:
        raise NotFound("That rule was ended already. Reload the page.")
    require_role(s, by=by, project_id=rule.project_id, roles=(Role.MANAGER,))
    lock_project(s, project_id=rule.project_id)
    rule.ended_at = now()
    s.flush()
    freed = s.scalars(select(Prompt.id).where(Prompt.routing_rule_id == rule_id)).all()
    s.execute(update(Prompt).where(Prompt.routing_rule_id == rule_id).values(routing_rule_id=None))
    still = route_prompts(s, project_id=rule.project_id, prompt_ids=freed)
    return EndedRule(freed=len(freed) - still, still_routed=still)


def routed_prompts(s: Session, *, by: int, project_id: int, page: int, size: int) -> list[RoutedPrompt]:
    """Prompts that people answer, those without a person's reply first, `size` at a time from page 1; managers only."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    answered = has_reply_of_person()
    rows = s.execute(
        select(Prompt.text, RoutingRule.reason, Prompt.held_out, answered)
        .join(RoutingRule, RoutingRule.id == Prompt.routing_rule_id)
        .where(Prompt.project_id == project_id)
        .order_by(answered, Prompt.id)
        .limit(size)
        .offset((page - 1) * size)
    )
    return [RoutedPrompt(*row) for row in rows]


def common_answers(s: Session, *, by: int, classifier_id: int, most: int = 6) -> list[tuple[str, int]]:
    """What a classifier's first answers say, most often first, for a manager to choose from."""
    classifier = get_existing(s, Responder, classifier_id, "responder")
    require_role(s, by=by, project_id=classifier.project_id, roles=(Role.MANAGER,))
    texts = s.scalars(select(Response.text).where(Response.responder_id == classifier_id, Response.sample == 0))
    return Counter(" ".join(text.split())[:LONGEST_REASON] for text in texts).most_common(most)


def _check_rule(s: Session, project_id: int, rule: NewRule) -> None:
    if (rule.pattern is None) == (rule.classifier_id is None):
        raise Refused("A rule has either a pattern or a classifier. Choose one.")
    if rule.pattern is not None:
        compile_pattern(rule.pattern)
        return
    find_model(s, project_id=project_id, responder_id=rule.classifier_id, what="classifies the prompts")
    if not rule.answer.strip():
        raise Refused("Say what the classifier answers where people are wanted, such as “people”.")


def find_model(s: Session, *, project_id: int, responder_id: int | None, what: str) -> Responder:
    """The project's model with that id. Raises `NotFound`, and `Refused` for a person; `what` is said of a model."""
    responder = s.get(Responder, responder_id) if responder_id is not None else None
    if responder is None or responder.project_id != project_id:
        raise NotFound("That responder is not part of this project. Reload the page.")
    if responder.kind is ResponderKind.HUMAN:
        raise Refused(f"{responder.label} is a person. Choose a model that {what}.")
    return responder


def _find_fitting(s: Session, project_id: int, rule: NewRule) -> tuple[set[int], int]:
    """Ids of all prompts that the rule fits, and how many the classifier has still to answer."""
    if rule.pattern is None:
        total = s.scalar(select(func.count()).where(Prompt.project_id == project_id)) or 0
        answers = _load_answers(s, rule.classifier_id)
        return {prompt_id for prompt_id, text in answers if matches_answer(text, rule.answer)}, total - len(answers)
    fitting = set()
    for prompt_id, text, match in _search(s, project_id, rule.pattern):
        if match is None:
            raise Refused(
                f"The pattern takes too long on the prompt “{' '.join(text.split())[:50]} …”. Make it simpler: "
                "repeats within repeats, such as (a+)+, are the usual cause."
            )
        if match:
            fitting.add(prompt_id)
    return fitting, 0


def _search(
    s: Session, project_id: int, pattern: str, prompt_ids: Collection[int] | None = None
) -> Iterator[tuple[int, str, bool | None]]:
    """Id and text of each prompt, and whether the pattern is found in it; None where it takes too long."""
    expression = compile_pattern(pattern)
    query = select(Prompt.id, Prompt.text, Prompt.context).where(Prompt.project_id == project_id).order_by(Prompt.id)
    chunks = [query] if prompt_ids is None else [query.where(Prompt.id.in_(ids)) for ids in _chunks(prompt_ids)]
    timeouts = 0
    for chunk in chunks:
        for prompt_id, text, context in s.execute(chunk).all():
            match = matches_pattern(expression, text, context) if timeouts < MAX_TIMEOUTS else None
            timeouts += match is None
            yield prompt_id, text, match


def _load_answers(s: Session, classifier_id: int | None) -> list[tuple[int, str]]:
    """Prompt id and text of a classifier's first answers."""
    first = select(Response.prompt_id, Response.text).where(Response.sample == 0)
    return [(prompt_id, text) for prompt_id, text in s.execute(first.where(Response.responder_id == classifier_id))]


def compile_pattern(pattern: str) -> Any:
    """The pattern, whatever the case. Raises `Refused` for one that is none, is too long, or fits every text."""
    if not pattern.strip():
        raise Refused("A rule needs a pattern: type the words or the expression to look for.")
    if len(pattern) > LONGEST_PATTERN:
        raise Refused(f"The pattern has {len(pattern):,} characters; at most {LONGEST_PATTERN} are kept. Shorten it.")
    try:
        expression = regex.compile(pattern, regex.IGNORECASE)
    except (regex.error, RecursionError) as problem:
        raise Refused(f"“{pattern}” is no regular expression: {problem}. Mend it, or type plain words.") from None
    if matches_pattern(expression, ""):
        raise Refused(f"“{pattern}” is found even in an empty text, so in nearly every one. Say what must stand there.")
    return expression


def matches_pattern(pattern: Any, text: str, context: str | None = None) -> bool | None:
    """Whether a compiled pattern is found in the text or its context; None where it takes too long to tell."""
    try:
        return any(pattern.search(part, timeout=PATTERN_TIMEOUT) for part in (text, context) if part is not None)
    except TimeoutError:
        return None


def matches_answer(reply: str, answer: str) -> bool:
    """Whether a classifier's reply is the answer, whatever the case, alone or as a value of a JSON object."""
    return answer.strip().casefold() in {value.strip().casefold() for value in _reply_values(reply)}


def _reply_values(reply: str) -> Iterator[str]:
    # models put JSON between fences, whatever they were told
    text = regex.sub(r"^```\w*\s*|\s*```$", "", reply.strip())
    yield text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for part in value.values() if isinstance(value, dict) else [value]:
        yield part if isinstance(part, str) else json.dumps(part)


def answered_by_model(responder_id: int) -> ColumnElement[bool]:
    """Whether this model answers a Prompt: all that no rule routes to people; a classifier answers those too."""
    classifies = exists().where(RoutingRule.classifier_id == responder_id, RoutingRule.ended_at.is_(None))
    return or_(Prompt.routing_rule_id.is_(None), classifies)


def has_reply_of_person() -> ColumnElement[bool]:
    """Whether a person, not a made-up one, has replied to a Prompt."""
    person = Response.responder.has((Responder.kind == ResponderKind.HUMAN) & Responder.simulated.is_(False))
    return exists().where(Response.prompt_id == Prompt.id, person).correlate(Prompt)


def list_routing_rules(s: Session, *, project_id: int) -> Sequence[RoutingRule]:
    """The rules that were not ended, oldest first."""
    return s.scalars(
        select(RoutingRule)
        .where(RoutingRule.project_id == project_id, RoutingRule.ended_at.is_(None))
        .order_by(RoutingRule.id)
    ).all()


def lock_project(s: Session, *, project_id: int) -> None:
    """Rules and new prompts one after the other, so that on PostgreSQL no prompt slips between them."""
    s.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def route_prompts(
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
    lock_project(s, project_id=project_id)
    count = 0
    for rule in list_routing_rules(s, project_id=project_id) if rules is None else rules:
        if rule.pattern is None:
            answers = _load_answers(s, rule.classifier_id)
            matches = [prompt_id for prompt_id, text in answers if matches_answer(text, rule.answer or "")]
        else:
            matches = match_rule(s, rule=rule, prompt_ids=prompt_ids)
        count += _assign_rule(s, rule, matches if prompt_ids is None else set(matches) & set(prompt_ids))
    return count


def apply_classifiers(s: Session, *, project_id: int) -> int:
    """Route what classifiers have said by now; says how many prompts. Called when a GenerationRun ends."""
    rules = [rule for rule in list_routing_rules(s, project_id=project_id) if rule.pattern is None]
    return route_prompts(s, project_id=project_id, rules=rules)


def match_rule(s: Session, *, rule: RoutingRule, prompt_ids: Collection[int] | None = None) -> list[int]:
    """Ids of the prompts in which a rule's pattern is found; those too on which it takes too long: in doubt, people."""
    matches = _search(s, rule.project_id, rule.pattern or "", prompt_ids)
    return [prompt_id for prompt_id, _, match in matches if match is not False]


def _assign_rule(s: Session, rule: RoutingRule, prompt_ids: Collection[int]) -> int:
    count = 0
    for ids in _chunks(prompt_ids):
        free = update(Prompt).where(Prompt.id.in_(ids), Prompt.routing_rule_id.is_(None))
        count += len(s.scalars(free.values(routing_rule_id=rule.id).returning(Prompt.id)).all())
    return count


def _chunks(ids: Collection[int]) -> Iterator[list[int]]:
    # databases limit how many values a statement may hold
    ordered = sorted(ids)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))


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


def count_by_rule(s: Session, *, project_id: int) -> list[RuleCount]:
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
