"""The sample project: invented emails, replies and picks, all marked simulated."""

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Project
from db.people import create_project, ensure_reviewer
from intake.mapping import ColumnMapping, HeldOutChoice
from intake.prompts import save_import
from intake.reading import read_table
from settings import ROOT, settings

FOLDER = ROOT / "examples" / "publisher_emails"
_CLAIM = "Invented picks that came with the sample project, written after its guideline."


def describe_sample() -> dict[str, Any]:
    """Name, task, instructions, columns of people's replies, and who made the picks."""
    about: dict[str, Any] = json.loads((FOLDER / "project.json").read_text())
    return about


def import_emails(
    s: Session, *, by: int, project_id: int, picks: bool, most: tuple[int | None, int | None] = (None, None)
) -> None:
    """Import the sample's emails with people's replies, and with the picks among them; all, or so many a side."""
    about = describe_sample()
    mapping = ColumnMapping("email", topic="topic", responses=about["people"], responses_simulated=True)
    held_out = replace(mapping, held_out=HeldOutChoice.ALL)
    if picks:
        by_whom = {"picked_by": about["picked_by"], "picks_simulated": True}
        mapping = replace(mapping, picked="picked", reason="reason", **by_whom)
    for name, columns, count in (("train.jsonl", mapping, most[0]), ("heldout.jsonl", held_out, most[1])):
        content = b"".join((FOLDER / name).read_bytes().splitlines(keepends=True)[:count])
        table = read_table(content, file_name=name, max_cell=settings().max_cell_kb * 1024)
        save_import(s, by=by, project_id=project_id, table=table, content=content, mapping=columns)


def load_sample(s: Session, *, most: int | None = None) -> Project:
    """The sample project with its 200 training and 40 held-out emails; made if it is not there, else left alone.

    Args:
        most: emails of each side; None loads all.
    """
    about = describe_sample()
    project = s.scalar(select(Project).where(Project.name == about["name"]))
    if project is not None:
        return project
    manager = ensure_reviewer(s, name=about["picked_by"], simulated=True, rule=_CLAIM)
    project = create_project(
        s,
        name=about["name"],
        task=about["task"],
        instructions=about["instructions"],
        guideline=(FOLDER / "guideline.md").read_text(),
        by=manager.id,
    )
    import_emails(s, by=manager.id, project_id=project.id, picks=True, most=(most, most))
    return project
