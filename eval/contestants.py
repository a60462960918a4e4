"""Who may take part in an Evaluation, and what its pairings would be: looked over before anything is fixed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from db.models import Prompt, Responder, ResponderKind, Response, Role
from db.people import require
from errors import NotFound, Refused
from eval.protocol import Contrast, check_baselines, contrasts
from eval.telltales import Telltale, telltales
from texts.rules import as_shown
from training.lineage import learned_from, line_of, trainings_of


@dataclass(frozen=True)
class Ready:
    """Whether a Responder can take part: it needs a response to every held-out prompt that a model should answer.

    Prompts that a rule routes to people have no reply of a model to be compared with, so they are in no count.
    """

    responder: Responder
    answered: int
    held_out: int

    @property
    def complete(self) -> bool:
        """All of these prompts are answered."""
        return self.held_out > 0 and self.answered == self.held_out


def _judged(project_id: int) -> ColumnElement[bool]:
    """Whether a Prompt is one to judge on: held out, and not routed to people."""
    return and_(Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_(None))


def routed_held_out(s: Session, *, project_id: int) -> int:
    """How many held-out prompts people answer and no model does, so that no evaluation has them."""
    routed = Prompt.project_id == project_id, Prompt.held_out, Prompt.routing_rule_id.is_not(None)
    return s.scalar(select(func.count()).select_from(Prompt).where(*routed)) or 0


def readiness(s: Session, *, project_id: int) -> list[Ready]:
    """Every Responder of the project and how many of the held-out prompts to judge on it has answered."""
    held_out = s.scalar(select(func.count()).select_from(Prompt).where(_judged(project_id))) or 0
    rows = s.execute(
        select(Responder, func.count(func.distinct(Prompt.id)))
        .outerjoin(Response, Response.responder_id == Responder.id)
        .outerjoin(Prompt, (Prompt.id == Response.prompt_id) & _judged(project_id))
        .where(Responder.project_id == project_id, Responder.kept)
        .group_by(Responder.id)
        .order_by(Responder.id)
    ).all()
    # a retired model is offered for nothing new
    return [
        Ready(responder, answered, held_out)
        for responder, answered in rows
        if responder.model_version is None or responder.model_version.retired_at is None
    ]


@dataclass(frozen=True)
class Pair:
    """Two replies that would be judged against each other."""

    prompt_id: int
    baseline_id: int
    """Responder."""
    candidate_response_id: int
    baseline_response_id: int
    identical: bool
    """Both look the same to reviewers: nobody's to judge."""

    @property
    def replies(self) -> tuple[int, int]:
        """Ids of both."""
        return self.candidate_response_id, self.baseline_response_id


@dataclass(frozen=True)
class Telling:
    """A reply that tells who wrote it; not whose it is, for the manager who looks may judge others."""

    response_id: int
    text: str
    """As shown to reviewers."""
    marks: tuple[Telltale, ...]


@dataclass(frozen=True)
class LookedOver:
    """What an Evaluation of these would be made of."""

    candidate: Responder
    baselines: tuple[Responder, ...]
    contrasts: tuple[Contrast, ...]
    pairs: tuple[Pair, ...]
    """In the order in which they are judged."""
    telling: tuple[Telling, ...]

    def label_of(self, contrast: Contrast) -> str:
        """The contrast's baselines as screens name them."""
        if len(contrast) > 1:
            return "People, together"
        return next(one.label for one in self.baselines if one.id == contrast[0])

    def left_with(self, left_out: frozenset[int]) -> "LookedOver":
        """The same without the pairs that have one of these responses."""
        kept = tuple(pair for pair in self.pairs if not left_out.intersection(pair.replies))
        return LookedOver(self.candidate, self.baselines, self.contrasts, kept, self.telling)

    def to_judge(self, contrast: Contrast) -> list[int]:
        """Places of the contrast's pairs that somebody has to judge."""
        return [n for n, pair in enumerate(self.pairs) if pair.baseline_id in contrast and not pair.identical]


def look_over(
    s: Session,
    *,
    by: int,
    project_id: int,
    candidate_id: int,
    baseline_ids: Sequence[int],
    seed: int,
    one_person_a_prompt: bool = True,
) -> LookedOver:
    """What would be judged, drawn by the seed, and which replies tell who wrote them; managers only, nothing is saved.

    Prompts that a rule routes to people are left out. Texts that look the same are nobody's to judge.

    Raises `Refused` when a Responder has not answered every held-out prompt, has learned from one, or is on both sides.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    chosen = list(dict.fromkeys(baseline_ids))
    check_baselines(candidate_id, chosen)
    ready = {entry.responder.id: entry for entry in readiness(s, project_id=project_id)}
    for responder_id in (candidate_id, *chosen):
        if responder_id not in ready:
            raise NotFound("That responder is not part of this project, or its model is retired. Reload the page.")
        entry = ready[responder_id]
        if not entry.held_out:
            raise Refused("This project has no held-out prompts that models answer. Import some as held out first.")
        if not entry.complete:
            raise Refused(
                f"{entry.responder.label} has answered {entry.answered} of {entry.held_out} held-out prompts. "
                "Generate or import the rest first."
            )
        _refuse_seen(s, entry.responder)
    shown = as_shown(s, project_id=project_id)
    replies = _replies(s, project_id=project_id, responder_ids=[candidate_id, *chosen])
    people = [i for i in chosen if ready[i].responder.kind is ResponderKind.HUMAN]
    together = people if one_person_a_prompt else []
    texts: dict[int, str] = {}
    pairs = []
    for prompt_id, baseline_id in _draw_pairs(sorted(replies), chosen, together, seed):
        both = replies[prompt_id][candidate_id], replies[prompt_id][baseline_id]
        for reply in both:
            if reply.id not in texts:
                texts[reply.id] = shown(reply.text)
        candidate, baseline = both
        same = texts[candidate.id].split() == texts[baseline.id].split()
        pairs.append(Pair(prompt_id, baseline_id, candidate.id, baseline.id, same))
    taking_part = [ready[i].responder for i in (candidate_id, *chosen)]
    names = {name for one in taking_part for name in (one.name, one.model_version.name if one.model_version else "")}
    judged = {reply for pair in pairs if not pair.identical for reply in pair.replies}
    found = [Telling(i, texts[i], telltales(texts[i], names=names)) for i in sorted(judged)]
    return LookedOver(
        candidate=taking_part[0],
        baselines=tuple(taking_part[1:]),
        contrasts=contrasts(chosen, together),
        pairs=tuple(pairs),
        telling=tuple(one for one in found if one.marks),
    )


def _refuse_seen(s: Session, responder: Responder) -> None:
    """Raise `Refused` where the Responder's model, or one that it was trained from, learned from a held-out prompt.

    Within a project that cannot be; another project may train on what this one holds out.
    """
    held_out = select(Prompt.id).where(Prompt.project_id == responder.project_id, Prompt.held_out)
    for version in line_of(responder.model_version):
        snapshots = [run.snapshot_id for run in trainings_of(s, [version])]
        if seen := learned_from(s, snapshot_ids=snapshots, prompt_ids=held_out):
            raise Refused(
                f"{responder.label} learned from {seen} of these held-out prompts: {version.name} was trained on them "
                "in another project. Choose another responder, or hold out prompts that it has not seen."
            )


def _replies(s: Session, *, project_id: int, responder_ids: Sequence[int]) -> dict[int, dict[int, Response]]:
    rows = s.scalars(
        select(Response)
        .join(Prompt, Prompt.id == Response.prompt_id)
        .where(_judged(project_id), Response.responder_id.in_(responder_ids), Response.sample == 0)
    )
    found: dict[int, dict[int, Response]] = {}
    for response in rows:
        found.setdefault(response.prompt_id, {})[response.responder_id] = response
    return found


def _draw_pairs(
    prompt_ids: Sequence[int], baselines: Sequence[int], people: Sequence[int], seed: int
) -> list[tuple[int, int]]:
    """(prompt, baseline) pairs in a drawn order; several people share the prompts out equally."""
    chance = random.Random(seed)
    order = list(prompt_ids)
    chance.shuffle(order)
    pairs = [
        (prompt_id, baseline_id)
        for prompt_id in order
        for baseline_id in baselines
        if len(people) < 2 or baseline_id not in people
    ]
    if len(people) >= 2:
        pairs += [(prompt_id, people[turn % len(people)]) for turn, prompt_id in enumerate(order)]
    chance.shuffle(pairs)
    return pairs
