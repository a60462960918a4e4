"""Engine, sessions and migrations.

SQLite is set up as measured: WAL, a 30 s busy timeout, foreign keys on, synchronous FULL because human rankings are
the product's asset; writers begin IMMEDIATE (a deferred writer fails at once on a stale snapshot), readers DEFERRED.
PostgreSQL lets several writers work at once, so who counts before writing locks what was counted; a reader sees one
moment on both.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.orm import Session

import db.comparisons
import db.history  # noqa: F401  both watch every session: counts and the audit trail keep themselves
from errors import BadSetting, DatabaseProblem
from settings import ROOT, settings

MIGRATIONS = ROOT / "db" / "migrations"


def make_engine(url: str) -> Engine:
    """An engine for `url`, with SQLite made safe for several processes."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    file = make_url(url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _connect(dbapi: sqlite3.Connection, _record: Any) -> None:
        dbapi.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
        for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
            dbapi.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN DEFERRED" if reading else "BEGIN IMMEDIATE")

    return engine


@lru_cache
def engine() -> Engine:
    """The engine that every session of one process shares."""
    return make_engine(settings().url)


@contextmanager
def session() -> Iterator[Session]:
    """A writing transaction: committed at the end, rolled back on any exception."""
    with Session(engine(), expire_on_commit=False) as s, s.begin():
        yield s


@contextmanager
def reading() -> Iterator[Session]:
    """A read-only transaction that never waits for a writer and sees one moment of the database."""
    bound = engine().execution_options(reading=True)
    if bound.dialect.name == "postgresql":
        bound = bound.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with Session(bound, expire_on_commit=False, autoflush=False) as s:
        yield s


def is_newest() -> bool:
    """Whether the database has exactly this version's tables; reads only."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine().execution_options(reading=True).connect() as connection:
        there = MigrationContext.configure(connection).get_current_heads()
    return set(there) == set(ScriptDirectory(str(MIGRATIONS)).get_heads())


@contextmanager
def _home_usable() -> Iterator[None]:
    """Say which setting is wrong where the home cannot be written."""
    try:
        yield
    except OSError as problem:
        raise BadSetting(
            f"PICKWELL_HOME is {settings().home}, which cannot be written ({problem.strerror}). Set it to a folder of "
            "yours."
        ) from None


def _keep_copy() -> None:
    """Before an older SQLite database is changed, a copy of it beside it, named by the moment; others have backups."""
    source = Path(make_url(settings().url).database or "")
    if make_url(settings().url).get_backend_name() != "sqlite" or not source.is_file() or is_newest():
        return
    with engine().execution_options(reading=True).connect() as connection:
        if not inspect(connection).get_table_names():
            return
    place = source.with_name(f"{source.stem}-before-update-{datetime.now(UTC):%Y%m%d-%H%M%S}{source.suffix}")
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(place)) as copy:
        old.backup(copy)


def migrate(url: str | None = None) -> None:
    """Bring the database to this version's tables; safe to call any number of times.

    An older SQLite file is copied first, as ``pickwell-before-update-….db``.

    Raises `DatabaseProblem` when the file is not a database or comes from a newer version.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url or settings().url
    try:
        with _home_usable():
            if url is None:
                _keep_copy()
            command.upgrade(config, "head")
    except CommandError as problem:
        if "Can't locate revision" not in str(problem):
            raise
        raise DatabaseProblem(
            "This database was written by a newer version of Pickwell. Nothing was changed: update the program, "
            "or point PICKWELL_HOME at another folder."
        ) from None
    except ArgumentError:
        raise BadSetting(
            "PICKWELL_DATABASE_URL is no SQLAlchemy URL. Unset it, or write one: sqlite:////folder/file.db or "
            "postgresql+psycopg://user:password@host/database."
        ) from None
    except ModuleNotFoundError as problem:
        raise BadSetting(f"PICKWELL_DATABASE_URL needs the package {problem.name}, which is not installed.") from None
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
