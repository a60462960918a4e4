"""Rules that send prompts to people: tried out before they are saved, added, and ended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.models import Prompt, Responder, ResponderKind, Response, Role, RoutingRule, now
from db.people import require
from db.routing import compiled, finds, has_reply_of_person, lock, route, says
from errors import NotFound, Refused

LONGEST_REASON = 80
"""Characters of a rule's reason: a few words."""
SHOWN = 5
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
    found: int
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
        parts = [f"Would route {self.found:,} of {self.prompts:,} prompts to people"]
        if self.held_out:
            parts.append(f"{self.held_out:,} of them held out")
        said = ", ".join(parts) + "."
        if self.already:
            said += f" Another rule routes {self.already:,} more that fit."
        if self.unanswered:
            said += f" The classifier has not answered {self.unanswered:,} yet; they are looked at when it does."
        return said


@dataclass(frozen=True)
class RoutedPrompt:
    """A prompt that people answer."""

    text: str
    reason: str
    held_out: bool
    answered: bool
    """A person has replied to it."""


@dataclass(frozen=True)
class Returned:
    """What ending a rule did."""

    back: int
    """Prompts that models may answer again."""
    still: int
    """Prompts that another rule routes."""


def preview(s: Session, *, by: int, project_id: int, rule: NewRule) -> RoutingPreview:
    """What a rule would route; writes nothing. Raises `Refused` for a rule that cannot be, or is too slow."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    _check(s, project_id, rule)
    fits, unanswered = _fits(s, project_id, rule)
    rows = s.execute(
        select(Prompt.id, Prompt.text, Prompt.held_out, Prompt.routing_rule_id)
        .where(Prompt.project_id == project_id)
        .order_by(Prompt.id)
    ).all()
    found = [row for row in rows if row.id in fits and row.routing_rule_id is None]
    return RoutingPreview(
        prompts=len(rows),
        found=len(found),
        held_out=sum(row.held_out for row in found),
        already=len(fits) - len(found),
        unanswered=unanswered,
        first=[row.text for row in found[:SHOWN]],
    )


def add_rule(s: Session, *, by: int, project_id: int, rule: NewRule) -> tuple[RoutingRule, int]:
    """Save a rule and route what it finds; managers only. Also says how many prompts it routed.

    Raises `Refused` without a reason, for a rule that cannot be, is too slow, or stands already.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    reason = " ".join(rule.reason.split())
    if not reason:
        raise Refused("A rule needs a reason in a few words: people see it beside what they are asked to answer.")
    if len(reason) > LONGEST_REASON:
        raise Refused(f"The reason has {len(reason)} characters; at most {LONGEST_REASON} fit. Say it in fewer words.")
    _check(s, project_id, rule)
    _fits(s, project_id, rule)
    lock(s, project_id=project_id)
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
    return added, route(s, project_id=project_id, rules=[added])


def end_rule(s: Session, *, by: int, rule_id: int) -> Returned:
    """End a rule: models may answer its prompts again, unless another standing rule finds them. Managers only."""
    rule = s.get(RoutingRule, rule_id)
    if rule is None or rule.ended_at is not None:
        raise NotFound("That rule was ended already. Reload the page.")
    require(s, by=by, project_id=rule.project_id, roles=(Role.MANAGER,))
    lock(s, project_id=rule.project_id)
    rule.ended_at = now()
    s.flush()
    freed = s.scalars(select(Prompt.id).where(Prompt.routing_rule_id == rule_id)).all()
    s.execute(update(Prompt).where(Prompt.routing_rule_id == rule_id).values(routing_rule_id=None))
    still = route(s, project_id=rule.project_id, prompt_ids=freed)
    return Returned(back=len(freed) - still, still=still)


def routed_prompts(s: Session, *, by: int, project_id: int, page: int, size: int) -> list[RoutedPrompt]:
    """Prompts that people answer, those without a person's reply first, `size` at a time from page 1; managers only."""
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    answered = has_reply_of_person()
    rows = s.execute(
        select(Prompt.text, RoutingRule.reason, Prompt.held_out, answered)
        .join(RoutingRule, RoutingRule.id == Prompt.routing_rule_id)
        .where(Prompt.project_id == project_id)
        .order_by(answered, Prompt.id)
        .limit(size)
        .offset((page - 1) * size)
    )
    return [RoutedPrompt(text, reason, held_out, bool(said)) for text, reason, held_out, said in rows]


def usual_answers(s: Session, *, by: int, classifier_id: int, most: int = 6) -> list[tuple[str, int]]:
    """What a classifier's first answers say, most often first, for a manager to choose from."""
    classifier = s.get(Responder, classifier_id)
    if classifier is None:
        raise NotFound("That responder is not in the database any more. Reload the page.")
    require(s, by=by, project_id=classifier.project_id, roles=(Role.MANAGER,))
    texts = s.scalars(select(Response.text).where(Response.responder_id == classifier_id, Response.sample == 0))
    return Counter(" ".join(text.split())[:LONGEST_REASON] for text in texts).most_common(most)


def _check(s: Session, project_id: int, rule: NewRule) -> None:
    if (rule.pattern is None) == (rule.classifier_id is None):
        raise Refused("A rule has either a pattern or a classifier. Choose one.")
    if rule.pattern is not None:
        compiled(rule.pattern)
        return
    classifier = s.get(Responder, rule.classifier_id)
    if classifier is None or classifier.project_id != project_id:
        raise NotFound("That responder is not part of this project. Reload the page.")
    if classifier.kind is ResponderKind.HUMAN:
        raise Refused(f"{classifier.label} is a person. Choose a model that classifies the prompts.")
    if not rule.answer.strip():
        raise Refused("Say what the classifier answers where people are wanted, such as “people”.")


def _fits(s: Session, project_id: int, rule: NewRule) -> tuple[set[int], int]:
    """Ids of all prompts that the rule fits, and how many the classifier has still to answer."""
    if rule.pattern is not None:
        pattern = compiled(rule.pattern)
        fits = set()
        rows = select(Prompt.id, Prompt.text, Prompt.context).where(Prompt.project_id == project_id)
        for prompt_id, text, context in s.execute(rows.order_by(Prompt.id)):
            there = finds(pattern, text, context)
            if there is None:
                raise Refused(
                    f"The pattern takes too long on the prompt “{' '.join(text.split())[:50]} …”. Make it simpler: "
                    "repeats within repeats, such as (a+)+, are the usual cause."
                )
            if there:
                fits.add(prompt_id)
        return fits, 0
    answers = s.execute(
        select(Response.prompt_id, Response.text)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(Prompt.project_id == project_id, Response.responder_id == rule.classifier_id, Response.sample == 0)
    ).all()
    total = s.scalar(select(func.count()).where(Prompt.project_id == project_id)) or 0
    return {prompt_id for prompt_id, text in answers if says(text, rule.answer)}, total - len(answers)
