"""From a lost judgment to new training data: training prompts like the lost one wait for a correction.

The lost prompt itself is held out and stays so. What is asked for is a better reply to *other* prompts of its kind
(as in error analysis: add data where the model fails), which the next Snapshot learns from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, exists, func, or_, select
from sqlalchemy.orm import Session

from db.lookup import get_existing
from db.models import (
    Correction,
    Evaluation,
    Pairing,
    Prompt,
    Responder,
    ResponderKind,
    Response,
    Reviewer,
    Role,
    WantedCorrection,
)
from db.people import RANKERS, require_role
from errors import NotFound, Refused
from review.drafts import WritingTask, put_off_last

MOST_TO_START_FROM = 3
"""Replies offered as a beginning; more would be read rather than written."""


@dataclass(frozen=True)
class SimilarPrompt:
    """A training prompt like a held-out one."""

    prompt_id: int
    text: str
    topic: str | None
    similarity: float
    """Cosine of the two texts' weighted words: 0 for none in common, 1 for all."""
    is_waiting: bool
    """It waits for a correction already."""


def find_similar_prompts(s: Session, *, by: int, pairing_id: int, most: int = 5) -> list[SimilarPrompt]:
    """The training prompts that are most like a judged pair's: of its topic first, and those with most words in common.

    Words weigh the more the fewer prompts have them (TF-IDF, scikit-learn's TfidfVectorizer). Prompts without any in
    common are left out. For managers, once the Evaluation is closed.
    """
    pairing = _get_closed(s, by=by, pairing_id=pairing_id)
    rows = s.execute(
        select(Prompt.id, Prompt.text, Prompt.topic)
        .where(*_learnable(pairing.evaluation.project_id))
        .order_by(Prompt.id)
    ).all()
    topic = pairing.prompt.topic
    ranked = rank_by_similarity(pairing.prompt.text, [row.text for row in rows])
    near = [(rows[index], cosine) for index, cosine in ranked]
    near.sort(key=lambda match: topic is None or match[0].topic != topic)  # keeps the order within either half
    waiting = _find_waiting(s, project_id=pairing.evaluation.project_id)
    return [SimilarPrompt(row.id, row.text, row.topic, cosine, row.id in waiting) for row, cosine in near[:most]]


def rank_by_similarity(text: str, others: Sequence[str]) -> list[tuple[int, float]]:
    """Index and similarity of the others that have a word in common, the nearest first. Pure."""
    # imported here: scikit-learn takes a second
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not others:
        return []
    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        known = words.fit_transform(others)
    except ValueError:  # texts without a single word
        return []
    similarity = (known @ words.transform([text]).T).toarray().ravel()
    best = (-similarity).argsort(kind="stable")
    return [(int(index), float(similarity[index])) for index in best if similarity[index] > 0]


def request_corrections(s: Session, *, by: int, pairing_id: int, prompt_ids: Sequence[int]) -> int:
    """Put training prompts into the queue of corrections, because of this lost pair; gives how many are new there.

    Raises `Refused` for a held-out prompt, one that a rule routes to people, or while the Evaluation is open.
    """
    pairing = _get_closed(s, by=by, pairing_id=pairing_id)
    project_id = pairing.evaluation.project_id
    prompts = s.scalars(select(Prompt).where(Prompt.id.in_(prompt_ids), Prompt.project_id == project_id)).all()
    if len(prompts) != len(set(prompt_ids)):
        raise NotFound("One of these prompts is not in this project any more. Reload the page.")
    if any(prompt.held_out for prompt in prompts):
        raise Refused("A held-out prompt stays out of training. Choose training prompts that are like it.")
    if any(prompt.routing_rule_id is not None for prompt in prompts):
        raise Refused("A prompt that a rule routes to people trains no model. Choose others that are like it.")
    # two tabs that send the same at once wait for each other
    s.get(Pairing, pairing_id, with_for_update={"key_share": True})
    waiting = _find_waiting(s, project_id=project_id)
    new = sorted({prompt.id for prompt in prompts} - waiting)
    for prompt_id in new:
        row = s.get(WantedCorrection, (prompt_id, pairing_id))
        if row is not None:  # corrected since, and wanted once more
            s.delete(row)
            s.flush()
        s.add(WantedCorrection(prompt_id=prompt_id, pairing_id=pairing_id, requested_by_id=by))
        s.flush()
    return len(new)


def count_wanted(s: Session, *, project_id: int) -> int:
    """Count the training prompts that wait for a correction because a model lost on others like them."""
    rows = select(func.count(func.distinct(WantedCorrection.prompt_id))).join(WantedCorrection.prompt)
    return s.scalar(rows.where(*_waits(project_id))) or 0


def next_wanted(s: Session, *, by: int, project_id: int, later: Sequence[int] = ()) -> WritingTask | None:
    """The next prompt that waits, those wanted by most losses first; those put off come when nothing else is left.

    Its replies are the failing model's own first; none where it has no reply.
    """
    require_role(s, by=by, project_id=project_id, roles=RANKERS)
    losses, waiting = func.count(), WantedCorrection.prompt_id
    prompt_id = s.scalar(
        select(waiting)
        .join(WantedCorrection.prompt)
        .where(*_waits(project_id))
        .group_by(waiting)
        .order_by(put_off_last(waiting, later), losses.desc(), waiting)
        .limit(1)
    )
    if prompt_id is None:
        return None
    prompt = s.get_one(Prompt, prompt_id)
    return WritingTask(prompt, _load_replies(s, prompt))


def _load_replies(s: Session, prompt: Prompt) -> list[tuple[int, str]]:
    """Different texts to start from: of the model that lost, of other models the newest first, then of people."""
    lost = select(Evaluation.candidate_id).join(Pairing).join(WantedCorrection)
    by_loser = Responder.id.in_(lost.where(WantedCorrection.prompt_id == prompt.id))
    order = case((by_loser, 0), (Responder.kind != ResponderKind.HUMAN, 1), else_=2)
    rows = (
        select(Response.id, Response.text)
        .join(Response.responder)
        .where(Response.prompt_id == prompt.id, func.trim(Response.text) != "")
        .order_by(order, Response.id.desc())
    )
    texts: dict[str, int] = {}
    for response_id, text in s.execute(rows):
        texts.setdefault(text, response_id)
    return [(response_id, text) for text, response_id in list(texts.items())[:MOST_TO_START_FROM]]


def _get_closed(s: Session, *, by: int, pairing_id: int) -> Pairing:
    pairing = get_existing(s, Pairing, pairing_id, "pair")
    require_role(s, by=by, project_id=pairing.evaluation.project_id, roles=(Role.MANAGER,))
    if pairing.evaluation.closed_at is None:
        raise Refused("This evaluation is still open. Close it first: what it found may not steer anything before.")
    return pairing


def _find_waiting(s: Session, *, project_id: int) -> set[int]:
    rows = select(WantedCorrection.prompt_id).join(WantedCorrection.prompt).where(*_waits(project_id))
    return set(s.scalars(rows))


def _waits(project_id: int) -> list[ColumnElement[bool]]:
    """Wanted, and neither corrected nor answered by a person since."""
    corrected = exists().where(
        Correction.response.has(Response.prompt_id == WantedCorrection.prompt_id),
        Correction.created_at > WantedCorrection.created_at,
        Correction.undone_at.is_(None),
        Correction.reviewer.has(Reviewer.simulated.is_(False)),
    )
    written = exists().where(
        Response.prompt_id == WantedCorrection.prompt_id,
        Response.responder.has((Responder.kind == ResponderKind.HUMAN) & Responder.reviewer_id.is_not(None)),
        Response.created_at > WantedCorrection.created_at,
    )
    return [*_learnable(project_id), ~or_(corrected, written)]


def _learnable(project_id: int) -> list[ColumnElement[bool]]:
    """A model may learn from the prompt: it is neither held out nor routed to people."""
    return [Prompt.project_id == project_id, Prompt.held_out.is_(False), Prompt.routing_rule_id.is_(None)]
