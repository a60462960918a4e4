"""Backups while people work, and the way back."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

import db.session
from db.backup import newest_backup, restore_backup, save_backup
from db.models import Base, Reviewer
from db.session import engine, reading, session
from errors import DatabaseProblem, NotFound, Refused
from jobs.life import hold_home
from settings import ROOT
from tests.factories import a_project


def contents() -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with reading() as s:
        return {
            table.name: sorted((tuple(row) for row in s.execute(select(table))), key=str)
            for table in Base.metadata.sorted_tables
        }


def test_a_backup_is_brought_back_whole_and_what_was_there_is_kept(database: Path, tmp_path: Path) -> None:
    with session() as s:
        a_project(s)
    before, file = contents(), tmp_path / "copy.db"
    save_backup(file)
    with session() as s:
        s.add(Reviewer(name="Afterwards"))
    later = contents()
    kept = restore_backup(file)
    engine().dispose()
    assert contents() == before
    assert kept is not None
    restore_backup(kept)
    engine().dispose()
    assert contents() == later


def test_a_backup_made_while_people_work_holds_everything_acknowledged_before_it(
    database: Path, tmp_path: Path
) -> None:
    saved: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with session() as s:
                s.add(Reviewer(name=f"Person {len(saved)}"))
            saved.append("")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        while len(saved) < 20:
            pass
        acknowledged = len(saved)
        save_backup(tmp_path / "copy.db")
    finally:
        stop.set()
        worker.join()
    restore_backup(tmp_path / "copy.db")
    db.session.engine().dispose()
    with reading() as s:
        assert (s.scalar(select(func.count()).select_from(Reviewer)) or 0) >= acknowledged


@pytest.mark.parametrize("damage", ["no database at all", None], ids=["damaged", "deleted"])
def test_a_backup_replaces_a_database_that_is_damaged_or_gone(
    database: Path, tmp_path: Path, damage: str | None
) -> None:
    with session() as s:
        a_project(s)
    before = contents()
    save_backup(tmp_path / "copy.db")
    engine().dispose()
    database.unlink() if damage is None else database.write_text(damage)
    kept = restore_backup(tmp_path / "copy.db")
    assert contents() == before
    assert damage == (kept.read_text() if kept else None)


def test_a_copy_that_cannot_be_written_is_a_sentence_and_leaves_nothing(database: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseProblem, match="could not be written"):
        save_backup(tmp_path / "no folder" / "copy.db")
    assert newest_backup() is None


def test_a_backup_overwrites_nothing(database: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="overwrites nothing"):
        save_backup(tmp_path / "mine.txt")
    assert newest_backup() is None


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_what_is_no_backup_is_refused_and_the_database_stays(database: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.db").write_bytes(content)
    before = contents()
    with pytest.raises(DatabaseProblem, match="damaged or no database of Pickwell"):
        restore_backup(tmp_path / "bad.db")
    with pytest.raises(NotFound, match="There is no file"):
        restore_backup(tmp_path / "missing.db")
    assert contents() == before


def test_the_commands_copy_tell_and_refuse_while_a_worker_works(database: Path, tmp_path: Path) -> None:
    with session() as s:
        a_project(s)

    def shell(*words: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "cli.py", *words], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    file = tmp_path / "copy.db"
    assert shell("backup", str(file))[0] == 0
    code, words = shell("status")
    assert code == 0
    assert "file is whole. Newest backup:" in words
    with hold_home():
        code, words = shell("restore", str(file))
    assert (code, "already running" in words) == (1, True)
    assert shell("restore", str(file))[0] == 0
