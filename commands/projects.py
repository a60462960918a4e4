"""People, projects and prompts."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import make_url

from commands.shell import PersonOption, ProjectOption, acting_person, console, read_text
from db.backup import check_pages, database_file, newest_backup, restore_backup, save_backup
from db.lookup import find_project
from db.models import Role
from db.people import add_member, create_project, ensure_reviewer, has_manager
from db.schema import migrate
from db.session import reading, session
from errors import NotFound
from generation.responders import list_responders
from settings import settings
from ui.project_progress import project_progress

app = typer.Typer()


@app.command("join")
def join_project(
    name: Annotated[str, typer.Argument(help="Their name.")],
    project: ProjectOption = "",
    role: Annotated[list[Role], typer.Option(help="Repeat for several.")] = [Role.MANAGER],  # noqa: B006
    by: PersonOption = "",
) -> None:
    """Add somebody to a project."""
    with session() as s:
        target = find_project(s, project)
        actor = acting_person(s, by, target) if has_manager(s, project_id=target.id) and by else None
        for new_role in role:
            add_member(s, project_id=target.id, name=name, role=new_role, by=actor)


@app.command("new-project")
def new_project(
    name: Annotated[str, typer.Argument(help="The project's name.")],
    by: PersonOption,
    task: Annotated[str, typer.Option(help="What the replies are for.")] = "",
    instructions: Annotated[str, typer.Option(help="What models are told before every prompt.")] = "",
    guideline: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A text file: what people go by.")
    ] = None,
) -> None:
    """Make a project; you become its manager."""
    text = read_text(guideline) if guideline else ""
    with session() as s:
        me = ensure_reviewer(s, name=by)
        create_project(s, name=name, task=task, instructions=instructions, guideline=text, by=me.id)


@app.command("backup")
def backup_database(file: Annotated[Path, typer.Argument(help="The copy; nothing is overwritten.")]) -> None:
    """Copy the whole database while people work; models, snapshots and exports are files beside it."""
    save_backup(file)
    console.print(f"The whole database is in {file}.", markup=False)


@app.command("restore")
def restore_database(file: Annotated[Path, typer.Argument(help="A copy that `backup` wrote.")]) -> None:
    """Put a copy in the database's place, and keep what was there; no worker may be running."""
    from jobs.life import hold_home

    with hold_home():
        kept = restore_backup(file)
    migrate()
    before = f" What was there is in {kept}." if kept else ""
    console.print(f"The database is that of {file} now.{before}", markup=False)


@app.command("status")
def show_status(project: ProjectOption = "") -> None:
    """How far a project is, and who answers in it."""
    with reading() as s:
        target = find_project(s, project)
        now = project_progress(s, project_id=target.id)
        table = Table("Responder", "Kind", "Training", "Held out", title=escape(target.name))
        for counts in list_responders(s, project_id=target.id):
            label, kind = escape(counts.responder.label), counts.responder.kind.value.lower()
            table.add_row(label, kind, str(counts.training), str(counts.held_out))
    console.print(table)
    console.print(
        f"{now.prompts} prompts ({now.held_out} held out), {now.comparisons} pairs, {now.ranked_by_people} ranked by "
        f"people, {now.ranked_simulated} by simulated reviewers only, {now.corrections} corrections."
    )
    if now.synthetic or now.routed:
        console.print(f"Beside them {now.synthetic} synthetic prompts. Routed to people: {now.routed} prompts.")
    console.print(f"Next: {now.next_step}", markup=False)
    if make_url(settings().url).get_backend_name() == "sqlite":
        check_pages(database_file())
        backup = newest_backup()
        newest = f"{backup.file}, of {backup.made_at:%Y-%m-%d %H:%M} UTC" if backup else "none yet"
        console.print(f"The database's file is whole. Newest backup: {newest}.", markup=False)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or JSONL, UTF-8, with a row for each prompt.")],
    project: ProjectOption = "",
    by: PersonOption = "",
    prompt: Annotated[str, typer.Option(help="Column of the text to answer; guessed if left out.")] = "",
    held_out: Annotated[str, typer.Option(help="none, all, share or column.")] = "",
    share: Annotated[float, typer.Option(help="Held-out share, with --held-out share.")] = 0.2,
    column: Annotated[str, typer.Option(help="Column, with --held-out column.")] = "",
    reply: Annotated[list[str], typer.Option(help="COLUMN=NAME of who wrote it; repeat for several.")] = [],  # noqa: B006
    picks: Annotated[str, typer.Option(help="Column of the picks.")] = "",
    picked_by: Annotated[str, typer.Option(help="Who picked, with --picks.")] = "",
    simulated: Annotated[bool, typer.Option(help="Replies and picks were made up.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Save without asking.")] = False,
) -> None:
    """Import prompts from CSV or JSONL: shows what would happen, saves after a yes."""
    from intake.mapping import HeldOutChoice, guess_mapping
    from intake.plan import plan_import
    from intake.prompts import run_import
    from intake.reading import read_table

    if not file.is_file():
        raise NotFound(f"There is no file {file}. Check the path.")
    content = file.read_bytes()
    table = read_table(content, file_name=file.name, max_cell=settings().max_cell_kb * 1024)
    changes: dict[str, Any] = {"responses_simulated": simulated, "picks_simulated": simulated, "held_out_share": share}
    if prompt:
        changes["prompt"] = prompt
    if held_out:
        try:
            changes["held_out"] = HeldOutChoice(held_out.upper())
        except ValueError:
            raise NotFound(f"--held-out cannot be “{held_out}”. Use none, all, share or column.") from None
    if column:
        changes["held_out_column"] = column
    if reply:
        changes["responses"] = {name: writer or name for name, _, writer in (pair.partition("=") for pair in reply)}
    if picks:
        changes["picked"] = picks
    mapping = replace(guess_mapping(table.columns), picked_by=picked_by, **changes)
    with reading() as s:
        target = find_project(s, project)
        plan = plan_import(s, project_id=target.id, table=table, mapping=mapping)
    console.print(f"Prompts from the column “{mapping.prompt}”.", markup=False)
    for problem in plan.problems:
        console.print(f"Row {problem.row} {problem.message}", markup=False)
    console.print(f"{plan.new} new prompts, {plan.held_out} of them held out; {plan.skipped} rows left out.")
    if not yes:
        typer.confirm("Save this?", abort=True)
    with session() as s:
        actor = acting_person(s, by, target)
    saved, _ = run_import(by=actor, project_id=target.id, table=table, content=content, mapping=mapping)
    console.print(f"Saved {saved.prompts} prompts, {saved.responses} replies, {saved.rankings} picks.")
