"""People, their roles in a project, and the permission check that every writing function makes.

Today people pick their name from a list; real sign-in will change `ui/frame.py` only, since pages and functions know
nothing but a reviewer's id.
"""

import unicodedata
from collections.abc import Collection, Sequence

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.history import act_as
from db.models import Guideline, Membership, Project, Responder, ResponderKind, Reviewer, Role
from errors import AlreadyThere, NotAllowed, NotFound, Refused

RANKERS = (Role.MANAGER, Role.ANNOTATOR)
"""The roles that rank, flag, correct and write replies."""
JUDGES = (Role.REVIEWER, Role.MANAGER)
"""The roles that judge blind."""


def roles_of(s: Session, *, reviewer_id: int, project_id: int) -> frozenset[Role]:
    """The roles that a reviewer holds in a project."""
    return frozenset(
        s.scalars(
            select(Membership.role).where(Membership.reviewer_id == reviewer_id, Membership.project_id == project_id)
        )
    )


def require_role(s: Session, *, by: int, project_id: int, roles: Collection[Role]) -> None:
    """Raise `NotAllowed` unless the reviewer `by` holds one of the roles; the audit trail names them from here on."""
    act_as(s, by)
    if roles_of(s, reviewer_id=by, project_id=project_id) & set(roles):
        return
    needed = " or ".join(role.value.lower() for role in Role if role in roles)
    raise NotAllowed(f"This needs the role {needed} in this project. A manager can add it on the People page.")


def list_members(s: Session, *, project_id: int) -> Sequence[tuple[Reviewer, frozenset[Role]]]:
    """The people in a project with their roles, in the order of their names."""
    rows = s.execute(
        select(Reviewer, Membership.role)
        .join(Membership, Membership.reviewer_id == Reviewer.id)
        .where(Membership.project_id == project_id)
        .order_by(Reviewer.name)
    ).all()
    roles_by_reviewer: dict[Reviewer, set[Role]] = {}
    for reviewer, role in rows:
        roles_by_reviewer.setdefault(reviewer, set()).add(role)
    return [(reviewer, frozenset(roles)) for reviewer, roles in roles_by_reviewer.items()]


def has_manager(s: Session, *, project_id: int) -> bool:
    """Whether a person (not a simulated reviewer) manages the project."""
    return bool(
        s.scalar(
            select(
                exists().where(
                    Membership.project_id == project_id,
                    Membership.role == Role.MANAGER,
                    Membership.reviewer_id == Reviewer.id,
                    Reviewer.simulated.is_(False),
                )
            )
        )
    )


def ensure_reviewer(s: Session, *, name: str, simulated: bool = False, rule: str | None = None) -> Reviewer:
    """Return the reviewer of that name, in whatever spelling, and create them if new.

    Raises `Refused` where one of the other kind has it.
    """
    clean, key = " ".join(unicodedata.normalize("NFC", name).split()), name_key(name)
    if not key:
        raise Refused("A name cannot be empty. Type one.")
    reviewer = next((known for known in s.scalars(select(Reviewer)) if name_key(known.name) == key), None)
    if reviewer is None:
        reviewer = Reviewer(name=clean, simulated=simulated, rule=rule)
        s.add(reviewer)
        s.flush()
    elif reviewer.simulated != simulated:
        kind = "a simulated reviewer" if reviewer.simulated else "a person"
        raise Refused(f"“{clean}” is already {kind} here. Choose another name.")
    return reviewer


def name_key(name: str) -> str:
    """What spellings of one person's name have in common: no case, one coding of accents, nothing that is not seen."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", seen).casefold().split()))


def link_authors(s: Session, *, project_id: int) -> None:
    """Link each human Responder of a project to the person of the same name, so that they never judge their own words.

    Responders with made-up replies are not linked. A manager links other names with `set_author`.
    """
    people = s.scalars(select(Reviewer).where(Reviewer.simulated.is_(False)))
    ids = {name_key(person.name): person.id for person in people}
    unlinked = select(Responder).where(
        Responder.project_id == project_id,
        Responder.kind == ResponderKind.HUMAN,
        Responder.simulated.is_(False),
        Responder.reviewer_id.is_(None),
    )
    for responder in s.scalars(unlinked).all():
        responder.reviewer_id = ids.get(name_key(responder.name))
    s.flush()


def set_author(s: Session, *, by: int, responder_id: int, reviewer_id: int | None) -> None:
    """Link a human Responder to the person who wrote its replies, or to no user of the app (None); managers only."""
    responder = s.get(Responder, responder_id)
    if responder is None or responder.kind is not ResponderKind.HUMAN:
        raise NotFound("There are no such replies by a person any more. Reload the page.")
    require_role(s, by=by, project_id=responder.project_id, roles=(Role.MANAGER,))
    responder.reviewer_id = reviewer_id
    s.flush()


def ensure_role(s: Session, *, project_id: int, reviewer_id: int, role: Role) -> None:
    """Give a role without a permission check: for set-up, imports and the first manager."""
    if role not in roles_of(s, reviewer_id=reviewer_id, project_id=project_id):
        s.add(Membership(project_id=project_id, reviewer_id=reviewer_id, role=role))
        s.flush()
        link_authors(s, project_id=project_id)


def add_member(s: Session, *, project_id: int, name: str, role: Role, by: int | None) -> Reviewer:
    """Add a person to a project with a role.

    People may add themselves as annotator or reviewer, and as manager while the project has none; after that a
    manager (`by`) adds managers. Raises `NotAllowed` otherwise.
    """
    act_as(s, by)
    if role is Role.MANAGER and has_manager(s, project_id=project_id):
        if by is None:
            raise NotAllowed("This project has a manager already: ask them to make you one on the People page.")
        require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    reviewer = ensure_reviewer(s, name=name)
    ensure_role(s, project_id=project_id, reviewer_id=reviewer.id, role=role)
    return reviewer


def remove_role(s: Session, *, project_id: int, reviewer_id: int, role: Role, by: int) -> None:
    """Take a role from a person; managers only. Raises `Refused` for the last human manager."""
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    membership = s.scalar(
        select(Membership).where(
            Membership.project_id == project_id, Membership.reviewer_id == reviewer_id, Membership.role == role
        )
    )
    if membership is None:
        raise NotFound("That person does not hold that role in this project any more. Reload the page.")
    s.delete(membership)
    s.flush()
    if role is Role.MANAGER and not has_manager(s, project_id=project_id):
        raise Refused("A project needs a manager. Make somebody else manager first.")


def current_guideline(s: Session, *, project_id: int) -> Guideline | None:
    """The guideline version in force; None while the project has no guideline."""
    return s.scalars(
        select(Guideline).where(Guideline.project_id == project_id).order_by(Guideline.version.desc()).limit(1)
    ).first()


def _write_guideline(s: Session, *, by: int, project_id: int, text: str) -> None:
    """Add a new version, unless the text is the one in force."""
    newest = current_guideline(s, project_id=project_id)
    if text.strip() == (newest.text if newest else ""):
        return
    version = newest.version + 1 if newest else 1
    s.add(Guideline(project_id=project_id, version=version, text=text.strip(), created_by_id=by))
    s.flush()


def create_project(s: Session, *, name: str, task: str, instructions: str, guideline: str, by: int) -> Project:
    """Create a project, with the reviewer `by` as its manager."""
    clean = " ".join(name.split())
    if not clean:
        raise Refused("A project needs a name. Type one.")
    project = Project(name=clean, task=task.strip(), instructions=instructions.strip())
    act_as(s, by)
    s.add(project)
    try:
        s.flush()
    except IntegrityError:
        raise AlreadyThere(f"There is a project “{clean}” already. Choose another name.") from None
    ensure_role(s, project_id=project.id, reviewer_id=by, role=Role.MANAGER)
    _write_guideline(s, by=by, project_id=project.id, text=guideline)
    return project


def edit_project(s: Session, *, by: int, project_id: int, task: str, instructions: str, guideline: str) -> Project:
    """Change a project's task, instructions and guideline.

    Rows made with the old instructions keep those, and each ranking keeps the guideline version that it was made under.
    """
    require_role(s, by=by, project_id=project_id, roles=(Role.MANAGER,))
    project = s.get_one(Project, project_id)
    project.task, project.instructions = task.strip(), instructions.strip()
    _write_guideline(s, by=by, project_id=project_id, text=guideline)
    s.flush()
    return project
