"""Making a Responder out of a model, instructions and sampling settings."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import ModelVersion, Responder, ResponderKind, Role
from db.people import require
from errors import AlreadyThere, NotFound, Refused


def create_model_responder(
    s: Session,
    *,
    by: int,
    project_id: int,
    name: str,
    model_version_id: int,
    instructions: str,
    temperature: float = 0.9,
    top_p: float = 0.95,
    max_tokens: int = 160,
) -> Responder:
    """A model with the instructions it is given and how it samples; managers only.

    Raises `AlreadyThere` for a taken name, `Refused` for settings that cannot work.
    """
    require(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    clean = " ".join(name.split())
    if not clean:
        raise Refused("The responder needs a name. Type one.")
    if s.scalar(select(Responder.id).where(Responder.project_id == project_id, Responder.name == clean)):
        raise AlreadyThere(f"There is a responder “{clean}” already. Choose another name.")
    if s.get(ModelVersion, model_version_id) is None:
        raise NotFound("That model is not in the database any more. Reload the page.")
    if not (0 <= temperature <= 2 and 0 < top_p <= 1 and max_tokens >= 1):
        raise Refused("Temperature lies between 0 and 2, top-p above 0 up to 1, and a reply has at least one token.")
    responder = Responder(
        project_id=project_id,
        name=clean,
        kind=ResponderKind.MODEL,
        model_version_id=model_version_id,
        instructions=instructions.strip(),
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
    )
    s.add(responder)
    s.flush()
    return responder
