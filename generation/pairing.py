"""Responses into Comparisons: which two are worth putting side by side."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.comparisons import comparison_key, nearly_same
from db.models import Comparison, ComparisonResponse, ComparisonState, Prompt, Responder, ResponderKind, Response


@dataclass(frozen=True)
class Paired:
    """What pairing did."""

    created: int
    already_there: int
    identical: int
    """Pairs whose words are the same: nothing to choose, so never offered."""
    empty: int
    """Pairs with a reply without any words."""
    near_identical: int = 0
    """Pairs that differ in so few words that choosing tells nothing: noted, and never offered."""


@dataclass(frozen=True)
class Reply:
    """What pairing needs to know of a Response."""

    id: int
    prompt_id: int
    responder_id: int
    sample: int
    text: str


def pairs_of(replies: Iterable[Reply], *, across: frozenset[int]) -> list[tuple[Reply, Reply]]:
    """The pairs for each prompt: a Responder's samples two by two (0 with 1, 2 with 3), and samples 0 across some.

    Args:
        replies: in any order.
        across: ids of the Responders that are compared with each other.
    """
    by_prompt: dict[int, list[Reply]] = defaultdict(list)
    for reply in sorted(replies, key=lambda reply: (reply.prompt_id, reply.responder_id, reply.sample)):
        by_prompt[reply.prompt_id].append(reply)
    pairs: list[tuple[Reply, Reply]] = []
    for some in by_prompt.values():
        there = {(reply.responder_id, reply.sample): reply for reply in some}
        for (responder_id, sample), reply in there.items():
            other = there.get((responder_id, sample + 1))
            if sample % 2 == 0 and other is not None:
                pairs.append((reply, other))
        pairs += combinations([reply for reply in some if reply.sample == 0 and reply.responder_id in across], 2)
    return pairs


def make_comparisons(s: Session, *, project_id: int, responder_ids: Sequence[int] | None = None) -> Paired:
    """Offer responses to training prompts for ranking; never the same pair twice.

    Args:
        responder_ids: whose; all of them are compared with each other. None means everybody's own samples, and people
            with each other.
    """
    rows = select(Response.id, Response.prompt_id, Response.responder_id, Response.sample, Response.text)
    rows = rows.join(Prompt, Prompt.id == Response.prompt_id)
    rows = rows.where(Prompt.project_id == project_id, Prompt.held_out.is_(False))
    if responder_ids is None:
        people = select(Responder.id).where(Responder.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
        across = frozenset(s.scalars(people))
    else:
        across = frozenset(responder_ids)
        rows = rows.where(Response.responder_id.in_(across))
    known = set(s.scalars(select(Comparison.key).where(Comparison.project_id == project_id)))
    new: dict[str, tuple[Reply, Reply]] = {}
    already = identical = empty = 0
    for one, other in pairs_of((Reply(*row) for row in s.execute(rows)), across=across):
        key = comparison_key([one.id, other.id])
        if key in known:
            already += 1
        elif not one.text.strip() or not other.text.strip():
            empty += 1
        elif one.text.split() == other.text.split():
            identical += 1
        else:
            new[key] = (one, other)
    near = {key for key, (one, other) in new.items() if nearly_same(one.text, other.text)}
    if new:
        values = [
            {
                "project_id": project_id,
                "prompt_id": one.prompt_id,
                "key": key,
                "near_identical": key in near,
                "state": ComparisonState.AWAY if key in near else ComparisonState.OPEN,
            }
            for key, (one, _) in new.items()
        ]
        made = s.execute(insert(Comparison).returning(Comparison.id, Comparison.key), values)
        members = [
            {"comparison_id": comparison_id, "response_id": reply.id}
            for comparison_id, key in made
            for reply in new[key]
        ]
        s.execute(insert(ComparisonResponse), members)
    return Paired(len(new) - len(near), already, identical, empty, len(near))
