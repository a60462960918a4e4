"""Synthetic prompts: those that are there changed a little, or written by a model that was asked for more.

Marked for ever, never held out, in their parent's cluster, and none that repeats what the project has. One that is
nearly a held-out prompt would carry it into training, so it is refused.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Prompt, PromptSet, Responder, Response, Role
from db.people import require_role
from errors import Refused
from intake.near_duplicates import find_near_duplicates, similar_pairs
from intake.perturb import TYPO_RATE, Perturbation, perturb
from intake.plan import content_hash
from intake.routing import find_model, lock_project, route_prompts
from llm.template import TURN_MARK
from texts.worded import WordedEnum

MAX_SYNTHETIC_PROMPTS = 2000
"""Prompts made at once."""


class LeftOutCause(WordedEnum):
    """Why a text did not become a prompt; the words follow a count."""

    UNCHANGED = "UNCHANGED", "with nothing to change in them"
    HELD_OUT = "HELD_OUT", "nearly a held-out prompt, or written from one"
    THERE = "THERE", "here already"
    NEAR = "NEAR", "nearly the same as a prompt that is here"
    SHORT = "SHORT", "too short"
    LONG = "LONG", "too long"
    CUT = "CUT", "cut at the token limit"
    MARK = "MARK", "with a chat model's mark for the end of a turn"


@dataclass(frozen=True)
class SyntheticPrompt:
    """A prompt as it would be saved."""

    text: str
    content_hash: str
    parent: Prompt


@dataclass(frozen=True)
class SyntheticPrompts:
    """What was made, or would be."""

    prompts: Sequence[SyntheticPrompt]
    left_out: Mapping[LeftOutCause, int]
    routed: int = 0
    """Of those saved, how many a rule sends to people."""

    @property
    def sentence(self) -> str:
        """Counts, for people."""
        sentences = f"{len(self.prompts):,} synthetic prompts."
        if self.left_out:
            sentences += " Left out: " + "; ".join(f"{n:,} {cause.words}" for cause, n in self.left_out.items()) + "."
        if self.routed:
            sentences += f" {self.routed:,} go to people, by the rules on the Route page."
        return sentences


@dataclass(frozen=True)
class Variation:
    """How prompts are to be changed."""

    way: Perturbation
    count: int
    """At most so many, drawn among the training prompts that customers wrote and that models answer."""
    seed: int = 0
    rate: float = TYPO_RATE
    """Of typos: share of letters."""


def plan_variations(s: Session, *, project_id: int, variation: Variation) -> SyntheticPrompts:
    """What `save_variations` would add; writes nothing."""
    if not 1 <= variation.count <= MAX_SYNTHETIC_PROMPTS:
        raise Refused(f"Choose 1 to {MAX_SYNTHETIC_PROMPTS:,} prompts.")
    if not 0 < variation.rate <= 0.3:
        raise Refused("The share of mistyped letters must lie between 0 and 0.3, such as 0.03.")
    usable = Prompt.project_id == project_id, ~Prompt.held_out, ~Prompt.synthetic, Prompt.routing_rule_id.is_(None)
    parents = list(s.scalars(select(Prompt).where(*usable)))
    if not parents:
        raise Refused("There are no training prompts to change. Import some first.")
    # by content, so that the same prompts give the same draw in every database
    parents.sort(key=lambda prompt: prompt.content_hash)
    random.Random(variation.seed).shuffle(parents)
    left_out: Counter[LeftOutCause] = Counter()
    changed = []
    for parent in parents[: variation.count]:
        seed = f"{variation.seed}:{parent.content_hash}"
        text = perturb(parent.text, variation.way, seed=seed, rate=variation.rate)
        if text is None:
            left_out[LeftOutCause.UNCHANGED] += 1
        else:
            changed.append((text, parent))
    new = _select_new(s, project_id, changed, left_out)
    return SyntheticPrompts(_drop_held_out(s, project_id, new, left_out), _sort_causes(left_out))


def save_variations(s: Session, *, by: int, project_id: int, variation: Variation) -> SyntheticPrompts:
    """Add training prompts changed in one way, as synthetic ones; managers only.

    Raises `Refused` where nothing new comes of it.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    lock_project(s, project_id=project_id)
    plan = plan_variations(s, project_id=project_id, variation=variation)
    return _save(s, plan, by=by, project_id=project_id, name=f"synthetic: {variation.way.words}", made_by_id=None)


_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)
_OPENING = re.compile(
    r"\A(?:sure|certainly|of course|absolutely|okay|ok)?\b[,.!]?\s*"
    r"(?:here(?:'s| is| are)|this is)\b[^\n]{0,100}:[^\S\n]*\n+|\A(?:sure|certainly|of course|absolutely)[,.!]+\s+",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\A(?:\*\*|#+ )?(?:new |another )?(?:e-?mail|message|prompt|question|text|body|customer)(?: \d+)?"
    r"(?:\*\*)?:(?:\*\*)?\s*",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"\A(?:\*\*)?subject(?:\*\*)?:[^\n]*\n+", re.IGNORECASE)
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"), ("«", "»"), ("„", "“"))


def unwrap_reply(reply: str) -> str:
    """What a model wrote as another message, without what it put around it: fences, a first sentence, labels, quotes.

    Pure.
    """
    text = reply.strip()
    while True:
        before = text
        if fenced := _FENCE.match(text):
            text = fenced.group(1).strip()
        for around in (_OPENING, _LABEL, _SUBJECT):
            text = around.sub("", text, count=1).strip()
        for left, right in _QUOTES:
            inner = text[1:-1]
            if len(text) > 2 and text[0] == left and text[-1] == right and left not in inner and right not in inner:
                text = inner.strip()
        if text == before:
            return text


def plan_model_prompts(s: Session, *, project_id: int, responder_id: int) -> SyntheticPrompts:
    """What `save_model_prompts` would add; writes nothing."""
    responder = _find_writer(s, project_id, responder_id)
    rows = s.execute(
        select(Response, Prompt)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(Response.responder_id == responder.id, Prompt.project_id == project_id)
        .order_by(Prompt.id, Response.sample)
    ).all()
    shortest, longest = _length_limits(s, project_id)
    left_out: Counter[LeftOutCause] = Counter()
    written = []
    for response, parent in rows:
        text = unwrap_reply(response.text)
        words = len(text.split())
        if parent.held_out:
            left_out[LeftOutCause.HELD_OUT] += 1
        elif response.finish_reason == "length":
            left_out[LeftOutCause.CUT] += 1
        elif words < shortest:
            left_out[LeftOutCause.SHORT] += 1
        elif words > longest:
            left_out[LeftOutCause.LONG] += 1
        elif TURN_MARK.search(text):
            left_out[LeftOutCause.MARK] += 1
        else:
            written.append((text, parent))
    new = _drop_held_out(s, project_id, _select_new(s, project_id, written, left_out), left_out)
    return SyntheticPrompts(_drop_near(s, project_id, new, left_out), _sort_causes(left_out))


def save_model_prompts(s: Session, *, by: int, project_id: int, responder_id: int) -> SyntheticPrompts:
    """Take a model's replies over as synthetic prompts; managers only. Twice adds nothing.

    Raises `Refused` for a person, and where nothing new comes of it.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    lock_project(s, project_id=project_id)
    plan = plan_model_prompts(s, project_id=project_id, responder_id=responder_id)
    name = f"synthetic: by {_find_writer(s, project_id, responder_id).label}"
    return _save(s, plan, by=by, project_id=project_id, name=name, made_by_id=responder_id)


def _find_writer(s: Session, project_id: int, responder_id: int) -> Responder:
    return find_model(s, project_id=project_id, responder_id=responder_id, what="was asked for more prompts")


def _length_limits(s: Session, project_id: int) -> tuple[float, float]:
    """Fewest and most words of a prompt taken over: half of the customers' shortest, twice their longest."""
    own = select(Prompt.text).where(Prompt.project_id == project_id, Prompt.synthetic.is_(False))
    words = [len(text.split()) for text in s.scalars(own)]
    return (max(1, min(words) / 2), 2 * max(words)) if words else (1, 0)


def _select_new(
    s: Session, project_id: int, texts: Iterable[tuple[str, Prompt]], left_out: Counter[LeftOutCause]
) -> list[SyntheticPrompt]:
    """Those whose content the project does not have, each once."""
    known = set(s.scalars(select(Prompt.content_hash).where(Prompt.project_id == project_id)))
    new = []
    for text, parent in texts:
        mark = content_hash(text, parent.context)
        if mark in known:
            left_out[LeftOutCause.THERE] += 1
            continue
        known.add(mark)
        new.append(SyntheticPrompt(text, mark, parent))
    return new


def _drop_held_out(
    s: Session, project_id: int, prompts: Sequence[SyntheticPrompt], left_out: Counter[LeftOutCause]
) -> list[SyntheticPrompt]:
    held_out = s.scalars(select(Prompt.text).where(Prompt.project_id == project_id, Prompt.held_out)).all()
    near = find_near_duplicates([prompt.text for prompt in prompts], held_out)
    left_out[LeftOutCause.HELD_OUT] += sum(map(bool, near))
    return [prompt for prompt, others in zip(prompts, near, strict=True) if not others]


def _drop_near(
    s: Session, project_id: int, prompts: Sequence[SyntheticPrompt], left_out: Counter[LeftOutCause]
) -> list[SyntheticPrompt]:
    """Leave out what nearly repeats a prompt of the project, or one that stands before it here."""
    texts = [prompt.text for prompt in prompts]
    known = s.scalars(select(Prompt.text).where(Prompt.project_id == project_id)).all()
    dropped = {index for index, others in enumerate(find_near_duplicates(texts, known)) if others}
    for first, second, _ in sorted(similar_pairs(texts)):
        if first not in dropped:
            dropped.add(second)
    left_out[LeftOutCause.NEAR] += len(dropped)
    return [prompt for index, prompt in enumerate(prompts) if index not in dropped]


def _sort_causes(left_out: Counter[LeftOutCause]) -> Mapping[LeftOutCause, int]:
    return {cause: left_out[cause] for cause in LeftOutCause if left_out[cause]}


def _save(
    s: Session, plan: SyntheticPrompts, *, by: int, project_id: int, name: str, made_by_id: int | None
) -> SyntheticPrompts:
    if not plan.prompts:
        raise Refused(f"Nothing new would come of it, so nothing was added. {plan.sentence}")
    texts = json.dumps([prompt.text for prompt in plan.prompts], ensure_ascii=False)
    prompt_set = PromptSet(
        project_id=project_id,
        file_name=name,
        sha256=hashlib.sha256(texts.encode()).hexdigest(),
        row_count=len(plan.prompts),
        imported_by_id=by,
    )
    s.add(prompt_set)
    s.flush()
    prompts = [
        Prompt(
            project_id=project_id,
            prompt_set_id=prompt_set.id,
            row_number=number,
            text=prompt.text,
            context=prompt.parent.context,
            topic=prompt.parent.topic,
            extra=prompt.parent.extra,
            content_hash=prompt.content_hash,
            held_out=False,
            cluster=prompt.parent.cluster,
            synthetic=True,
            parent_id=prompt.parent.id,
            made_by_id=made_by_id,
        )
        for number, prompt in enumerate(plan.prompts, start=1)
    ]
    s.add_all(prompts)
    s.flush()
    routed = route_prompts(s, project_id=project_id, prompt_ids=[prompt.id for prompt in prompts])
    return SyntheticPrompts(plan.prompts, plan.left_out, routed)
