"""The tables of this version: whether a database has them, and how it gets them."""

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from db.models import Base
from db.session import closing_engine, engine
from errors import BadSetting, DatabaseProblem
from settings import ROOT, home_usable, settings

MIGRATIONS = ROOT / "db" / "migrations"

BEFORE_0_1_0 = re.compile(r"00\d\d")
"""Revisions of the time before the first release."""


def is_newest() -> bool:
    """Whether the database has exactly this version's tables; reads only."""
    with engine().execution_options(reading=True).connect() as connection:
        return _revision(connection) == _script().get_current_head()


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _revision(connection: Connection) -> str | None:
    """The revision of the database's tables; None where it has no tables."""
    return MigrationContext.configure(connection).get_current_revision()


def _keep_copy(connection: Connection) -> None:
    """Copy a SQLite file beside itself, with the time in the name; other databases have backups."""
    if connection.dialect.name != "sqlite":
        return
    source = Path(connection.engine.url.database or "")
    target = source.with_name(f"{source.stem}-before-update-{datetime.now(UTC):%Y%m%d-%H%M%S}{source.suffix}")
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as copy:
        old.backup(copy)


def migrate(url: str | None = None) -> None:
    """Bring the database to this version's tables; safe to call any number of times, by several processes at once.

    One without tables gets them as `db.models` declares them. An older SQLite file is copied first, as
    ``pickwell-before-update-….db``.

    Raises `DatabaseProblem` for a file that is not a database, or one of another version that cannot be brought here,
    and `BadSetting`.
    """
    try:
        with home_usable(), closing_engine(url or settings().url) as bound, bound.begin() as connection:
            _ensure_tables(connection)
    except ArgumentError:
        raise BadSetting(
            "PICKWELL_DATABASE_URL is no SQLAlchemy URL. Unset it, or write one: sqlite:////folder/file.db or "
            "postgresql+psycopg://user:password@host/database."
        ) from None
    except OperationalError as problem:
        raise DatabaseProblem(
            f"The database cannot be opened: {problem.orig}. Look at PICKWELL_HOME and PICKWELL_DATABASE_URL."
        ) from None
    except DatabaseError as problem:
        if "file is not a database" not in str(problem):
            raise
        raise DatabaseProblem(
            f"{make_url(url or settings().url).database} is not a SQLite database. Nothing was changed: move the "
            "file away, or set PICKWELL_DATABASE_URL."
        ) from None


def _ensure_tables(connection: Connection) -> None:
    """Make or update the tables, in the connection's transaction. Raises `DatabaseProblem`."""
    if connection.dialect.name == "postgresql":  # two processes that start at once go one after the other
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('pickwell migrations'))"))
    script, revision = _script(), _revision(connection)
    if revision == script.get_current_head():
        return
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    if revision is None:
        Base.metadata.create_all(connection, checkfirst=False)
        command.stamp(config, "head")
        return
    if BEFORE_0_1_0.fullmatch(revision):
        raise DatabaseProblem(
            "This database was made before Pickwell 0.1.0, whose tables are other ones. Nothing was changed: move the "
            "file away, or point PICKWELL_HOME at another folder, and set up again."
        )
    if revision not in {migration.revision for migration in script.walk_revisions()}:
        raise DatabaseProblem(
            "This database was written by a newer version of Pickwell. Nothing was changed: update the program, "
            "or point PICKWELL_HOME at another folder."
        )
    _keep_copy(connection)
    command.upgrade(config, "head")
