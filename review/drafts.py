"""What waits to be written, and what a reviewer has typed of it: no reload, closed tab or crash loses a word."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, case, delete, literal, select
from sqlalchemy.orm import Session

from db.lookup import get_existing
from db.models import Draft, Prompt, Response, now
from db.people import RANKERS, require_role
from errors import NotFound
from texts.typed import LONGEST_REPLY, clean_text, require_length


@dataclass(frozen=True)
class WritingTask:
    """A prompt that wants a better reply, or another one; no word of who wrote its replies."""

    prompt: Prompt
    replies: Sequence[tuple[int, str]]
    """Response id and text of those to start from, or to read first."""
    comparison_id: int | None = None
    """Where people called these replies all bad."""
    routed: str | None = None
    """Why people answer it and no model does; none where models may."""


def put_off_last(column: SQLColumnExpression[int], later: Sequence[int]) -> ColumnElement[int]:
    """To order by: what is in `later` comes after everything else, the first put off first."""
    places = {item_id: place for place, item_id in reversed(list(enumerate(later, start=1)))}
    return case(places, value=column, else_=0) if places else literal(0)


@dataclass(frozen=True, kw_only=True)
class DraftPlace:
    """Where a Reviewer types: a correction of a response or of its correction `parent_id`, else a new reply."""

    reviewer_id: int
    prompt_id: int
    response_id: int | None = None
    parent_id: int | None = None

    @property
    def condition(self) -> ColumnElement[bool]:
        """Whether a Draft is of this place."""
        return and_(*(getattr(Draft, name).is_not_distinct_from(value) for name, value in asdict(self).items()))


def save_draft(s: Session, *, place: DraftPlace, text: str) -> None:
    """Keep what is in the editor."""
    prompt = get_existing(s, Prompt, place.prompt_id, "prompt")
    require_role(s, by=place.reviewer_id, project_id=prompt.project_id, roles=RANKERS)
    typed = require_length(clean_text(text), LONGEST_REPLY, "The text")
    if (
        place.response_id is not None
        and get_existing(s, Response, place.response_id, "reply").prompt_id != place.prompt_id
    ):
        raise NotFound("That reply is not in the database any more. Reload the page.")
    draft = s.scalar(select(Draft).where(place.condition))
    if draft is None:
        draft = Draft(**asdict(place))
        s.add(draft)
    draft.text, draft.saved_at = typed, now()
    s.flush()


def load_draft(s: Session, *, place: DraftPlace) -> str | None:
    """What the reviewer typed there last and did not save; none where there is nothing."""
    return s.scalar(select(Draft.text).where(place.condition))


def forget_draft(s: Session, *, place: DraftPlace) -> None:
    """The text was saved, or thrown away on purpose."""
    s.execute(delete(Draft).where(place.condition))
