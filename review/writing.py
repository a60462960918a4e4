"""Writing a reply from an empty box, so that people's own replies exist beside others' and pairs can be ranked."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from db.comparisons import ensure_comparison, nearly_same
from db.lookup import get_existing
from db.models import Prompt, Responder, ResponderKind, Response, Reviewer, RoutingRule
from db.people import RANKERS, require_role
from errors import Refused
from intake.routing import has_reply_of_person
from llm.template import TURN_MARK
from review.corrections import same_words
from review.drafts import DraftPlace, WritingTask, forget_draft, put_off_last
from texts.rules import load_text_filter
from texts.typed import LONGEST_REPLY, clean_text, require_length

REPLIES_WANTED = 2
"""So many people's replies to a prompt make a pair; more are not asked for."""
_FOR_PEOPLE = and_(Prompt.routing_rule_id.is_not(None), ~has_reply_of_person())
"""Routed to people, and no person has replied: such a prompt waits even where made-up replies are there."""


def _waits(project_id: int, reviewer_id: int, held_out: bool) -> list[ColumnElement[bool]]:
    by_people = (
        select(func.count())
        .select_from(Response)
        .join(Response.responder)
        .where(Response.prompt_id == Prompt.id, Responder.kind == ResponderKind.HUMAN)
        .correlate(Prompt)
        .scalar_subquery()
    )
    own = exists().where(Response.prompt_id == Prompt.id, Response.responder.has(Responder.reviewer_id == reviewer_id))
    wanted = or_(by_people < REPLIES_WANTED, _FOR_PEOPLE)
    return [Prompt.project_id == project_id, Prompt.held_out.is_(held_out), wanted, ~own]


def count_unanswered(s: Session, *, project_id: int, reviewer_id: int, held_out: bool = False) -> int:
    """Count the prompts that want another person's reply, or any person's, and have none by this one."""
    waits = _waits(project_id, reviewer_id, held_out)
    return s.scalar(select(func.count()).select_from(Prompt).where(*waits)) or 0


def next_unanswered(
    s: Session, *, by: int, project_id: int, held_out: bool = False, later: Sequence[int] = ()
) -> WritingTask | None:
    """The next prompt to write a reply to; those put off come when nothing else is left.

    In import order, but first those that are routed to people and that no person has answered. Its replies are what
    people have given already; none for held-out prompts, which are judged blind.
    """
    require_role(s, by=by, project_id=project_id, roles=RANKERS)
    waits, first = _waits(project_id, by, held_out), case((_FOR_PEOPLE, 0), else_=1)
    order = put_off_last(Prompt.id, later), first, Prompt.id
    prompt = s.scalars(select(Prompt).where(*waits).order_by(*order).limit(1)).first()
    if prompt is None:
        return None
    others = [] if held_out else [(response.id, response.text) for response in _load_human_replies(s, prompt.id)]
    rule = s.get(RoutingRule, prompt.routing_rule_id) if prompt.routing_rule_id is not None else None
    return WritingTask(prompt, others, routed=rule.reason if rule else None)


def write_reply(s: Session, *, by: int, prompt_id: int, text: str) -> Response:
    """Save a person's own reply, and offer it for ranking beside other people's where the prompt is for training.

    Raises `Refused` for an empty text, one that was given already, and a second reply by the same person.
    """
    prompt = get_existing(s, Prompt, prompt_id, "prompt")
    require_role(s, by=by, project_id=prompt.project_id, roles=RANKERS)
    clean = require_length(clean_text(text), LONGEST_REPLY, "The reply")
    if not clean:
        raise Refused("An empty reply cannot be sent. Write one first.")
    if mark := TURN_MARK.search(clean):
        raise Refused(f"“{mark.group()}” is how chat models mark the end of a turn. Take it out of the reply.")
    me = _ensure_responder(s, by=by, project_id=prompt.project_id)
    before = _load_human_replies(s, prompt_id)
    if any(response.responder_id == me.id for response in before):
        raise Refused("You have replied to this prompt already. Correct that reply if you want to change it.")
    if any(same_words(response.text, clean) for response in before):
        raise Refused("Somebody has given exactly this reply already. Write another one.")
    response = Response(prompt_id=prompt_id, responder_id=me.id, text=clean)
    s.add(response)
    s.flush()
    if not prompt.held_out:
        shown = load_text_filter(s, project_id=prompt.project_id)
        for other in before:
            ensure_comparison(
                s,
                project_id=prompt.project_id,
                prompt_id=prompt_id,
                response_ids=[other.id, response.id],
                near_identical=nearly_same(shown(other.text), shown(clean)),
            )
    forget_draft(s, place=DraftPlace(reviewer_id=by, prompt_id=prompt_id))
    return response


def _load_human_replies(s: Session, prompt_id: int) -> list[Response]:
    human = Response.responder.has(Responder.kind == ResponderKind.HUMAN)
    return list(s.scalars(select(Response).where(Response.prompt_id == prompt_id, human).order_by(Response.id)))


def _ensure_responder(s: Session, *, by: int, project_id: int) -> Responder:
    """The human Responder that stands for this person; made when they write for the first time."""
    mine = select(Responder).where(Responder.project_id == project_id, Responder.reviewer_id == by)
    responder = s.scalars(mine.where(Responder.kind == ResponderKind.HUMAN).order_by(Responder.id)).first()
    if responder is not None:
        return responder
    name = s.get_one(Reviewer, by).name
    taken = select(Responder.id).where(Responder.project_id == project_id, Responder.name == name)
    if s.scalar(taken) is not None:
        name = f"{name} (written here)"
    responder = Responder(project_id=project_id, name=name, kind=ResponderKind.HUMAN, reviewer_id=by)
    s.add(responder)
    s.flush()
    return responder
