"""What every command needs: the console, who acts, waiting for a run with a bar."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from sqlalchemy import select

from db.models import Project, Responder, Reviewer, Role, Run
from db.people import members
from errors import BadFile, NotAllowed, NotFound, to_type
from generation.responders import responders

console = Console()

InProject = Annotated[str, typer.Option("--project", "-p", help="Project name; not needed if there is only one.")]
AsPerson = Annotated[str, typer.Option("--as", help="Your name; you need the role in the project.")]


def acting(s: Any, name: str, project: Project) -> int:
    """Id of the person acting: by name, or the project's only manager."""
    if name:
        found = s.scalar(select(Reviewer.id).where(Reviewer.name == " ".join(name.split())))
        if found is None:
            raise NotFound(
                f"There is nobody called “{name}” here. Add them with {to_type('join')}, or look at "
                f"{to_type('status')}."
            )
        return int(found)
    managers = [
        person.id
        for person, roles in members(s, project_id=project.id)
        if Role.MANAGER in roles and not person.simulated
    ]
    if len(managers) != 1:
        raise NotAllowed("Say who you are with --as NAME; the project has no manager yet, or several.")
    return managers[0]


def text_of(file: Path) -> str:
    """A text file's content. Raises `BadFile` where it is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadFile(f"{file} is not UTF-8. Save it again with that encoding.") from None


def watcher() -> tuple[Bar, Any]:
    """A bar to open with ``with``, and the function that moves it with a run."""
    bar = Bar(console=console)
    tasks: dict[str, Any] = {}

    def watch(run: Run) -> None:
        key = f"{type(run).__name__} {run.id}"
        if key not in tasks:
            tasks[key] = bar.add_task(key, total=None)
        bar.update(tasks[key], description=f"{key}: {run.stage or run.status.value.lower()}"[:90])
        bar.update(tasks[key], total=run.total or None, completed=run.done)

    return bar, watch


def wait(run_id: int) -> None:
    """Wait for a run with a bar, and a worker if none is there."""
    from jobs.local import a_worker, wait_for

    bar, watch = watcher()
    with bar, a_worker():
        wait_for(run_id, watch=watch)


def responder_of(s: Any, project: Project, name: str) -> Responder:
    """Who answers under this name. Raises `NotFound` with the names there are."""
    for entry in responders(s, project_id=project.id):
        if name in (entry.responder.name, entry.responder.label):
            return entry.responder
    names = ", ".join(f"“{entry.responder.name}”" for entry in responders(s, project_id=project.id))
    raise NotFound(f"There is no responder “{name}” in “{project.name}”. There are: {names or 'none yet'}.")
