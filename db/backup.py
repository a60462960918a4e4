"""A copy of a SQLite database while others write into it, and the way back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import make_url

from db.models import now
from errors import DatabaseProblem, NotFound, Refused
from files import read_json, write_json
from settings import settings


@dataclass(frozen=True)
class Backup:
    """The newest copy that was made from here."""

    file: str
    made_at: datetime


def database_file() -> Path:
    """The file of the settings' database. Raises `Refused` for a server, which has tools of its own."""
    url = make_url(settings().url)
    if url.get_backend_name() != "sqlite":
        raise Refused("A PostgreSQL server has this database. Copy it with pg_dump, and bring it back with pg_restore.")
    return Path(url.database or "")


def save_backup(target: Path) -> Backup:
    """Write a whole copy, which nobody who works has to wait for. Raises `Refused` where the file is there already."""
    if target.exists():
        raise Refused(f"{target} is there already, and a backup overwrites nothing. Choose another name.")
    _copy(database_file(), target)
    backup = Backup(str(target.resolve()), now())
    write_json(_note(), {"file": backup.file, "made_at": backup.made_at.isoformat()})
    return backup


def restore_backup(backup: Path) -> Path | None:
    """Put a copy in the database's place; gives where the database that was there, in whatever state, is kept.

    Raises `DatabaseProblem` for a file that is damaged or no database of ours.
    """
    target, kept = database_file(), None
    scratch = target.with_name(f".restoring-{target.name}")
    scratch.unlink(missing_ok=True)
    _copy(backup, scratch)
    if target.exists():
        kept = target.with_name(f"{target.stem}-before-restore-{now():%Y%m%d-%H%M%S-%f}{target.suffix}")
        for ending in ("-wal", "-shm", ""):  # what was written last is beside the file
            file = Path(f"{target}{ending}")
            if file.exists():
                file.rename(f"{kept}{ending}")
    scratch.rename(target)
    return kept


def _copy(source: Path, target: Path) -> None:
    """Copy a whole database as it is at one moment. Raises `DatabaseProblem`, and leaves nothing then."""
    check_pages(source)
    try:
        with _opened(source) as database:
            database.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as problem:
        target.unlink(missing_ok=True)
        raise DatabaseProblem(
            f"The copy {target} could not be written ({problem}). Is there room, and may you write there?"
        ) from None


def check_pages(file: Path) -> None:
    """Look whether the file is whole and a database of ours. Raises `DatabaseProblem`, or `NotFound`."""
    with _opened(file) as database:
        try:
            (first, *_) = database.execute("PRAGMA quick_check(1)").fetchone()
            database.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.DatabaseError as problem:
            raise DatabaseProblem(f"{file} is damaged or no database of Pickwell ({problem}). Use a backup.") from None
    if first != "ok":
        raise DatabaseProblem(f"{file} is damaged ({first}). Use a backup.")


def newest_backup() -> Backup | None:
    """The newest copy that was made from here, if its file is still there."""
    if not _note().exists():
        return None
    entry = read_json(_note())
    return Backup(entry["file"], datetime.fromisoformat(entry["made_at"])) if Path(entry["file"]).exists() else None


def _note() -> Path:
    return settings().home / "backup.json"


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    with closing(sqlite3.connect(file, timeout=30)) as database:
        yield database
