"""What every command needs: the console, who acts, waiting for a run with a bar."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TaskID
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Project, Responder, Reviewer, Role, Run
from db.people import list_members
from errors import BadFile, NotAllowed, NotFound, to_type
from generation.responders import list_responders

console = Console()

ProjectOption = Annotated[str, typer.Option("--project", "-p", help="Project name; not needed if there is only one.")]
PersonOption = Annotated[str, typer.Option("--as", help="Your name; you need the role in the project.")]


def acting_person(s: Session, name: str, project: Project) -> int:
    """Id of the person acting: by name, or the project's only manager."""
    if name:
        reviewer_id = s.scalar(select(Reviewer.id).where(Reviewer.name == " ".join(name.split())))
        if reviewer_id is None:
            raise NotFound(
                f"There is nobody called “{name}” here. Add them with {to_type('join')}, or look at "
                f"{to_type('status')}."
            )
        return reviewer_id
    people = list_members(s, project_id=project.id)
    managers = [person.id for person, roles in people if Role.MANAGER in roles and not person.simulated]
    if len(managers) != 1:
        raise NotAllowed("Say who you are with --as NAME; the project has no manager yet, or several.")
    return managers[0]


def read_text(file: Path) -> str:
    """A text file's content. Raises `BadFile` where it is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadFile(f"{file} is not UTF-8. Save it again with that encoding.") from None


def run_progress() -> tuple[Bar, Callable[[Run], None]]:
    """A bar to open with ``with``, and the function that moves it with a run."""
    bar = Bar(console=console)
    tasks: dict[str, TaskID] = {}

    def watch(run: Run) -> None:
        key = f"{type(run).__name__} {run.id}"
        if key not in tasks:
            tasks[key] = bar.add_task(key, total=None)
        description = f"{key}: {run.stage or run.status.value.lower()}"[:90]
        bar.update(tasks[key], description=description, total=run.total or None, completed=run.done)

    return bar, watch


def wait_for_run(run_id: int) -> None:
    """Wait for a run with a bar, and a worker if none is there."""
    from jobs.local import ensure_worker, wait_for

    bar, watch = run_progress()
    with bar, ensure_worker():
        wait_for(run_id, watch=watch)


def find_responder(s: Session, project: Project, name: str) -> Responder:
    """Who answers under this name. Raises `NotFound` with the names there are."""
    responders = [counts.responder for counts in list_responders(s, project_id=project.id)]
    for responder in responders:
        if name in (responder.name, responder.label):
            return responder
    names = ", ".join(f"“{responder.name}”" for responder in responders)
    raise NotFound(f"There is no responder “{name}” in “{project.name}”. There are: {names or 'none yet'}.")
