"""Responses into Comparisons: those that are worth putting side by side, two by two or up to six at once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, starmap
from typing import Any

from sqlalchemy import Select, insert, select
from sqlalchemy.orm import Session

from db.comparisons import MAX_RESPONSES, comparison_key, nearly_same
from db.models import Comparison, ComparisonResponse, ComparisonState, Prompt, Responder, ResponderKind, Response, Role
from db.people import require_role
from errors import Refused
from texts.rules import load_text_filter


@dataclass(frozen=True)
class PairingCounts:
    """How many Comparisons pairing made and left out."""

    created: int
    already_there: int
    identical: int
    """Never offered, because all replies have the same words."""
    empty: int
    """Never offered, because fewer than two replies have any words."""
    near_identical: int = 0
    """Pairs that are saved and never offered, because they differ in so few words that choosing tells nothing."""


@dataclass(frozen=True)
class PairingReply:
    """What pairing needs to know of a Response."""

    id: int
    prompt_id: int
    responder_id: int
    sample: int
    text: str
    replaces: int | None = None
    """Id of the Response that it replaces in a pair."""


def select_replies() -> Select[*tuple[Any, ...]]:
    """The columns of a `PairingReply`, of the responses to training prompts."""
    columns = Response.id, Response.prompt_id, Response.responder_id, Response.sample, Response.text
    return select(*columns, Response.replaces_id).join(Response.prompt).where(Prompt.held_out.is_(False))


def replies_by_sample(replies: Iterable[PairingReply]) -> dict[int, PairingReply]:
    """One Responder's replies to one prompt by sample number; a replacement has the number of the reply it replaces."""
    by_id = {reply.id: reply for reply in replies}
    replaced = {reply.replaces for reply in by_id.values()}
    by_sample: dict[int, PairingReply] = {}
    for reply in sorted(by_id.values(), key=lambda reply: reply.sample):
        if reply.id in replaced:
            continue
        origin = reply
        while origin.replaces in by_id:
            origin = by_id[origin.replaces]
        by_sample[origin.sample] = reply
    return dict(sorted(by_sample.items()))


def reply_pairs(replies: Iterable[PairingReply], *, across: frozenset[int]) -> list[tuple[PairingReply, PairingReply]]:
    """The pairs for each prompt: each Responder's samples two by two (0 with 1, 2 with 3), and samples 0 across some.

    Args:
        replies: in any order.
        across: ids of the Responders whose samples 0 are compared with each other.
    """
    by_prompt: dict[int, list[PairingReply]] = defaultdict(list)
    for reply in sorted(replies, key=lambda reply: (reply.prompt_id, reply.responder_id, reply.sample)):
        by_prompt[reply.prompt_id].append(reply)
    pairs: list[tuple[PairingReply, PairingReply]] = []
    for prompt_replies in by_prompt.values():
        firsts: list[PairingReply] = []
        for responder_id, own_replies in groupby(prompt_replies, key=lambda reply: reply.responder_id):
            samples = replies_by_sample(own_replies)
            pairs += [(reply, samples[n + 1]) for n, reply in samples.items() if n % 2 == 0 and n + 1 in samples]
            firsts += [samples[0]] if 0 in samples and responder_id in across else []
        pairs += combinations(firsts, 2)
    return pairs


def reply_groups(replies: Iterable[PairingReply]) -> list[tuple[PairingReply, ...]]:
    """All replies to each prompt that has two or more; first samples first, so that no Responder crowds out others."""
    by_prompt: dict[int, list[PairingReply]] = defaultdict(list)
    replies = list(replies)
    replaced = {reply.replaces for reply in replies}
    for reply in sorted(replies, key=lambda reply: (reply.prompt_id, reply.sample, reply.responder_id)):
        if reply.id not in replaced:
            by_prompt[reply.prompt_id].append(reply)
    return [tuple(group) for group in by_prompt.values() if len(group) > 1]


def offer_for_ranking(
    s: Session, *, by: int, project_id: int, responder_ids: Sequence[int], together: bool
) -> PairingCounts:
    """Offer these Responders' replies for ranking; managers only. Raises `Refused` where no Responder is named."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    if not responder_ids:
        raise Refused("Choose whose replies are to be ranked.")
    return make_comparisons(s, project_id=project_id, responder_ids=responder_ids, together=together)


def make_comparisons(
    s: Session, *, project_id: int, responder_ids: Sequence[int] | None = None, together: bool = False
) -> PairingCounts:
    """Offer responses to training prompts for ranking; the same set of responses is offered once.

    Args:
        responder_ids: whose responses; these Responders are compared with each other. None means those of every
            Responder, with the people compared with each other.
        together: make one comparison for each prompt, of at most `MAX_RESPONSES` of these replies that differ in
            words; else make pairs.
    """
    query = select_replies().where(Prompt.project_id == project_id)
    if responder_ids is None:
        people = select(Responder.id).where(Responder.project_id == project_id, Responder.kind == ResponderKind.HUMAN)
        across = frozenset(s.scalars(people))
    else:
        across = frozenset(responder_ids)
        query = query.where(Response.responder_id.in_(across))
    known = set(s.scalars(select(Comparison.key).where(Comparison.project_id == project_id)))
    filter_text = load_text_filter(s, project_id=project_id)  # texts that look the same give nothing to choose
    replies = [replace(reply, text=filter_text(reply.text)) for reply in starmap(PairingReply, s.execute(query))]
    new: dict[str, Sequence[PairingReply]] = {}
    already = identical = empty = 0
    for group in reply_groups(replies) if together else reply_pairs(replies, across=across):
        distinct = _distinct(group)[:MAX_RESPONSES]
        if comparison_key([reply.id for reply in (distinct if together else group)]) in known:
            already += 1
        elif len(distinct) > 1:
            new[comparison_key([reply.id for reply in distinct])] = distinct
        elif sum(bool(reply.text.strip()) for reply in group) > 1:
            identical += 1
        else:
            empty += 1
    near = {key for key, group in new.items() if len(group) == 2 and nearly_same(group[0].text, group[1].text)}
    if new:
        values = [
            {
                "project_id": project_id,
                "prompt_id": group[0].prompt_id,
                "key": key,
                "near_identical": key in near,
                "state": ComparisonState.NOT_OFFERED if key in near else ComparisonState.OPEN,
            }
            for key, group in new.items()
        ]
        comparisons = s.execute(insert(Comparison).returning(Comparison.id, Comparison.key), values)
        members = [
            {"comparison_id": comparison_id, "response_id": reply.id}
            for comparison_id, key in comparisons
            for reply in new[key]
        ]
        s.execute(insert(ComparisonResponse), members)
    return PairingCounts(len(new) - len(near), already, identical, empty, len(near))


def _distinct(replies: Iterable[PairingReply]) -> list[PairingReply]:
    """The replies that have words, one of each wording."""
    by_words: dict[str, PairingReply] = {}
    for reply in replies:
        words = " ".join(reply.text.split())
        if words:
            by_words.setdefault(words, reply)
    return list(by_words.values())
