"""The sample project: invented emails, replies and picks, all marked simulated."""

import json
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Project, Role
from db.people import create_project, ensure_reviewer, ensure_role
from intake.mapping import ColumnMapping, HeldOut
from intake.prompts import save_import
from intake.reading import read_table
from settings import ROOT, settings

FOLDER = ROOT / "examples" / "publisher_emails"
_CLAIM = "Invented picks that came with the sample project, written after its guideline."


def load_sample(s: Session, *, folder: Path = FOLDER) -> Project:
    """The sample project with its 200 training and 40 held-out emails; made if it is not there, else left alone."""
    about = json.loads((folder / "project.json").read_text())
    found = s.scalar(select(Project).where(Project.name == about["name"]))
    if found is not None:
        return found
    manager = ensure_reviewer(s, name=about["picked_by"], simulated=True, rule=_CLAIM)
    project = create_project(
        s,
        name=about["name"],
        task=about["task"],
        instructions=about["instructions"],
        guideline=(folder / "guideline.md").read_text(),
        by=manager.id,
    )
    ensure_role(s, project_id=project.id, reviewer_id=manager.id, role=Role.MANAGER)
    for name, held_out in (("train.jsonl", HeldOut.NONE), ("heldout.jsonl", HeldOut.ALL)):
        content = (folder / name).read_bytes()
        table = read_table(content, file_name=name, max_cell=settings().max_cell_kb * 1024)
        picks = held_out is HeldOut.NONE
        mapping = ColumnMapping(
            prompt="email",
            topic="topic",
            responses=about["people"],
            responses_simulated=True,
            picked="picked" if picks else None,
            reason="reason" if picks else None,
            picked_by=about["picked_by"],
            picks_simulated=True,
            held_out=held_out,
        )
        save_import(s, by=manager.id, project_id=project.id, table=table, content=content, mapping=mapping)
    return project
