"""What somebody has typed and not yet saved, so that a reload, a closed tab or a crash loses no word of it."""

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from db.models import Draft, Prompt, Response, now
from db.people import RANKERS, require
from errors import NotFound
from texts.typed import LONGEST_REPLY, cleaned, short_enough


def _which(reviewer_id: int, prompt_id: int, response_id: int | None, parent_id: int | None) -> ColumnElement[bool]:
    return (
        (Draft.reviewer_id == reviewer_id)
        & (Draft.prompt_id == prompt_id)
        & Draft.response_id.is_not_distinct_from(response_id)
        & Draft.parent_id.is_not_distinct_from(parent_id)
    )


def save_draft(
    s: Session, *, by: int, prompt_id: int, response_id: int | None, text: str, parent_id: int | None = None
) -> None:
    """Keep what is in the editor: a correction of a response or of its correction `parent_id`, else a new reply."""
    prompt = s.get(Prompt, prompt_id)
    if prompt is None:
        raise NotFound("That prompt is not in the database any more. Reload the page.")
    require(s, by=by, project_id=prompt.project_id, roles=RANKERS)
    kept = short_enough(cleaned(text), LONGEST_REPLY, "The text")
    response = s.get(Response, response_id) if response_id is not None else None
    if response_id is not None and (response is None or response.prompt_id != prompt_id):
        raise NotFound("That reply is not in the database any more. Reload the page.")
    draft = s.scalar(select(Draft).where(_which(by, prompt_id, response_id, parent_id)))
    if draft is None:
        draft = Draft(reviewer_id=by, prompt_id=prompt_id, response_id=response_id, parent_id=parent_id)
        s.add(draft)
    draft.text, draft.saved_at = kept, now()
    s.flush()


def draft_of(
    s: Session, *, reviewer_id: int, prompt_id: int, response_id: int | None, parent_id: int | None = None
) -> str | None:
    """What the reviewer typed there last and did not save; none where there is nothing."""
    return s.scalar(select(Draft.text).where(_which(reviewer_id, prompt_id, response_id, parent_id)))


def forget_draft(
    s: Session, *, reviewer_id: int, prompt_id: int, response_id: int | None, parent_id: int | None = None
) -> None:
    """The text was saved, or thrown away on purpose."""
    s.execute(delete(Draft).where(_which(reviewer_id, prompt_id, response_id, parent_id)))
