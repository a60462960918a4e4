"""A project's TextRules, which hide parts of every Responder's texts before people judge them, and their preview."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Evaluation, HiddenPart, Project, Responder, ResponderKind, Response, Role, TextRule, now
from db.people import require_role
from errors import AlreadyThere, NotFound, Refused
from texts.near_identical import refresh_near_identical
from texts.shown import BadPattern, GreetingName, Pattern, Rule, TextFilter, TicketNumber, check_pattern, shown_text

EACH = 100
"""Texts of each Responder that a new rule is tried on."""
EXAMPLES = 5
MOST_RULES = 20
LONGEST_REPLACEMENT = 40
"""Characters."""


@dataclass(frozen=True)
class RuleEffect:
    """How many of a Responder's texts a rule changes."""

    responder: str
    """Label."""
    changed: int
    texts: int
    """Texts that the rule was tried on."""


@dataclass(frozen=True)
class RuleExample:
    """A text as shown without a rule and with it; without its Responder, since the manager may rank it later."""

    before: str
    after: str


@dataclass(frozen=True)
class RulePreview:
    """What a rule changes in the first texts of each Responder."""

    effects: Sequence[RuleEffect]
    examples: Sequence[RuleExample]

    @property
    def changed(self) -> int:
        """How many texts the rule changes, of all Responders together."""
        return sum(effect.changed for effect in self.effects)

    def leak_warning(self, replacement: str) -> str | None:
        """A warning where the replacement itself would tell Responders apart; else None."""
        shares = {effect.responder: effect.changed / effect.texts for effect in self.effects}
        if not replacement or len(shares) < 2 or max(shares.values()) - min(shares.values()) < 0.2:
            return None
        most, least = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
        return (
            f"“{replacement}” would stand in {shares[most]:.0%} of {most}'s texts and in {shares[least]:.0%} of "
            f"{least}'s, so the mark tells them apart. Put nothing in its place."
        )


def load_text_filter(s: Session, *, project_id: int) -> TextFilter:
    """A function from a text of the project to what its judges see; two queries, however many texts there are."""
    rules = tuple(stored_rule(row) for row in list_rules(s, project_id=project_id))
    return partial(shown_text, names=_load_human_names(s, project_id), rules=rules)


def list_rules(s: Session, *, project_id: int) -> Sequence[TextRule]:
    """The project's rules that were not ended, in the order in which they apply."""
    return s.scalars(
        select(TextRule).where(TextRule.project_id == project_id, TextRule.ended_at.is_(None)).order_by(TextRule.id)
    ).all()


def stored_rule(row: TextRule) -> Rule:
    """A stored rule, ready to apply."""
    return make_rule(row.part, row.pattern, row.replacement)


def make_rule(part: HiddenPart, pattern: str | None, replacement: str) -> Rule:
    """A rule from its parts, stored or not. Raises `Refused` for a PATTERN whose pattern is empty."""
    if part is HiddenPart.GREETING_NAME:
        return GreetingName(replacement)
    if part is HiddenPart.TICKET_NUMBER:
        return TicketNumber(replacement)
    if not pattern:
        raise Refused("A pattern cannot be empty. Type a regular expression, for instance Store [0-9]+.")
    return Pattern(pattern, replacement)


def add_rule(
    s: Session, *, by: int, project_id: int, part: HiddenPart, pattern: str | None = None, replacement: str = ""
) -> TextRule:
    """Hide a part of every Responder's texts from now on, and compare unranked pairs again; managers only.

    Raises `Refused` for a pattern that cannot be used, a replacement that the rule itself would change again, and
    while an Evaluation is open; `AlreadyThere` for a rule that the project has.
    """
    _lock_project(s, by=by, project_id=project_id)
    new = make_rule(part, pattern, replacement)
    existing = [stored_rule(row) for row in list_rules(s, project_id=project_id)]
    if any(_hide_the_same(other, new) for other in existing):
        raise AlreadyThere("There is such a rule already. End it first if you want another replacement.")
    if len(existing) >= MOST_RULES:
        raise Refused(f"There are {MOST_RULES} rules already. End one, or put several patterns into one with |.")
    _check_rule(new, texts=[text for texts in _first_texts(s, project_id).values() for text in texts])
    row = TextRule(
        project_id=project_id,
        part=part,
        pattern=new.pattern if isinstance(new, Pattern) else None,
        replacement=replacement,
        created_by_id=by,
    )
    before = load_text_filter(s, project_id=project_id)
    s.add(row)
    s.flush()
    refresh_near_identical(s, project_id=project_id, before=before, after=load_text_filter(s, project_id=project_id))
    return row


def end_rule(s: Session, *, by: int, rule_id: int) -> None:
    """Stop hiding what the rule hides, and compare unranked pairs again; managers only.

    Raises `Refused` while an Evaluation is open.
    """
    row = s.get(TextRule, rule_id)
    if row is None:
        raise NotFound("That rule is not in the database any more. Reload the page.")
    _lock_project(s, by=by, project_id=row.project_id)
    s.refresh(row)
    if row.ended_at is not None:
        raise Refused("That rule was ended already. Reload the page.")
    before = load_text_filter(s, project_id=row.project_id)
    row.ended_at = now()
    s.flush()
    refresh_near_identical(
        s, project_id=row.project_id, before=before, after=load_text_filter(s, project_id=row.project_id)
    )


def find_open_evaluation(s: Session, *, project_id: int) -> Evaluation | None:
    """An Evaluation of the project that takes verdicts; while there is one, no rule may change."""
    return s.scalars(
        select(Evaluation).where(Evaluation.project_id == project_id, Evaluation.closed_at.is_(None)).limit(1)
    ).first()


def _lock_project(s: Session, *, by: int, project_id: int) -> None:
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    s.get(Project, project_id, with_for_update=True)  # so that no evaluation opens meanwhile
    evaluation = find_open_evaluation(s, project_id=project_id)
    if evaluation is not None:
        raise Refused(
            f"The evaluation “{evaluation.name}” is open, and its judges would see other texts from now on. "
            "Close it first, then change the rules."
        )


def _hide_the_same(rule: Rule, other: Rule) -> bool:
    if isinstance(rule, Pattern) and isinstance(other, Pattern):
        return rule.pattern == other.pattern
    return type(rule) is type(other)


def _check_rule(new: Rule, *, texts: Sequence[str]) -> None:
    """Raise `Refused` unless the rule can be used on these texts and on any other."""
    if len(new.replacement) > LONGEST_REPLACEMENT:
        raise Refused(f"What stands there instead has at most {LONGEST_REPLACEMENT} characters.")
    if shown_text(new.replacement) != new.replacement or "\n" in new.replacement:
        raise Refused("What stands there instead must be plain words on one line, with no blanks around them.")
    if isinstance(new, Pattern):
        try:
            check_pattern(new.pattern, texts)
        except BadPattern as problem:
            raise Refused(f"This pattern cannot be used: {problem}.") from None
    for text in ("Dear Ann Archer, your ticket #20443 is open.", *texts):
        once = shown_text(text, rules=[new])
        if shown_text(once, rules=[new]) != once:
            raise Refused("The rule finds its own replacement again. Put something else in its place, or nothing.")


def preview_rule(s: Session, *, by: int, project_id: int, new: Rule) -> RulePreview:
    """What the rule, added already or not, changes after all other rules were applied; managers only.

    Tries it on the first `EACH` texts of each Responder. Raises `Refused` for a rule that cannot be used.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    names, rows = _load_human_names(s, project_id), list_rules(s, project_id=project_id)
    others = [other for row in rows if not _hide_the_same(other := stored_rule(row), new)]
    texts_of = _first_texts(s, project_id)
    _check_rule(new, texts=[text for texts in texts_of.values() for text in texts])
    effects, examples = [], []
    for responder, texts in texts_of.items():
        before = [shown_text(text, names=names, rules=others) for text in texts]
        after = [shown_text(text, names=names, rules=[*others, new]) for text in texts]
        changed = [RuleExample(*pair) for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        effects.append(RuleEffect(responder, len(changed), len(texts)))
        examples.append(changed)
    in_turn = [example for turn in zip_longest(*examples) for example in turn if example is not None]
    return RulePreview(effects, in_turn[:EXAMPLES])


def _load_human_names(s: Session, project_id: int) -> tuple[str, ...]:
    """The names of the human Responders."""
    humans = select(Responder.name).where(Responder.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
    return tuple(s.scalars(humans))


def _first_texts(s: Session, project_id: int) -> dict[str, list[str]]:
    """The first `EACH` texts of each listed Responder that has any, by its label."""
    listed = select(Responder).where(Responder.project_id == project_id, Responder.listed).order_by(Responder.id)
    texts_of = {}
    for responder in s.scalars(listed):
        first = select(Response.text).where(Response.responder_id == responder.id).order_by(Response.id).limit(EACH)
        texts_of[responder.label] = list(s.scalars(first))
    return {label: texts for label, texts in texts_of.items() if texts}
