"""Engine and sessions.

SQLite is set up as measured: WAL, a 30 s busy timeout, foreign keys on, synchronous FULL because human rankings are
the product's asset; writers begin IMMEDIATE (a deferred writer fails at once on a stale snapshot), readers DEFERRED.
PostgreSQL lets several writers work at once, so code that counts before it writes locks the counted rows; a reader
sees one moment on both.
"""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

import db.comparisons  # noqa: F401  this and the next watch every session: counts and the audit trail keep themselves
import db.history  # noqa: F401
from errors import BadSetting, DatabaseUnavailable, missing_package
from settings import settings

BUSY_TIMEOUT = 30_000
"""Milliseconds that a writer waits for another one."""
REFUSALS = (
    (
        "locked|busy",
        "Something else has been writing into the database for over 30 seconds, so nothing was saved. Try again.",
    ),
    (
        "disk is full|No space left",
        "The disk is full, so nothing was saved. Free some space under {home}, then try again.",
    ),
    (
        "readonly|read-only",
        "The database cannot be written, so nothing was saved. Let your user write into {home}, then try again.",
    ),
    (
        "malformed|not a database|disk I/O",
        "The database is damaged, so nothing was saved. Stop Pickwell and put a backup in place under {home}.",
    ),
    (
        "no such table|relation .* does not exist",
        "The database has lost its tables: it was emptied or replaced. Stop Pickwell, put the right one back under "
        "{home}, and start it again.",
    ),
    (
        "unable to open",
        "The database under {home} cannot be opened, so nothing was saved. Is it there, and may your user write it?",
    ),
)
"""What a database says when it refuses for now, and what that means."""

log = logging.getLogger("db.session")


def make_engine(url: str) -> Engine:
    """An engine for `url`, with SQLite made safe for several processes. Raises `BadSetting` without its driver."""
    if make_url(url).get_backend_name() != "sqlite":
        try:
            return create_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError as problem:
            package = "psycopg[binary]" if problem.name == "psycopg" else str(problem.name)
            feature = "The database that PICKWELL_DATABASE_URL names"
            raise BadSetting(missing_package(feature, package)) from None
    file = make_url(url).database
    if file and file != ":memory:":
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _connect(dbapi: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        dbapi.isolation_level = None  # SQLAlchemy says BEGIN, not the driver
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT}",
            "journal_mode = WAL",
            "foreign_keys = ON",
            "synchronous = FULL",
        ):
            dbapi.execute(f"PRAGMA {pragma}")
        record.info["file"] = _file_identity(file)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if _file_identity(file) != connection.info["file"]:
            raise DatabaseUnavailable(
                f"The database {file} was deleted or replaced while Pickwell was running, so nothing is saved any "
                "more. Stop Pickwell, put the file back, and start it again."
            )
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN DEFERRED" if reading else "BEGIN IMMEDIATE")

    return engine


def _file_identity(file: str | None) -> tuple[int, int] | None:
    """Device and number of the file that a connection writes to; None for none."""
    try:
        status = Path(file or ":memory:").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@lru_cache
def engine() -> Engine:
    """The engine that all sessions of a process share."""
    return make_engine(settings().url)


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    """An engine for a short time, whose connections are closed afterwards."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def session() -> Iterator[Session]:
    """A writing transaction: committed at the end, rolled back on any exception."""
    with refusals_explained(), Session(engine(), expire_on_commit=False) as s, s.begin():
        yield s


@contextmanager
def reading() -> Iterator[Session]:
    """A read-only transaction that never waits for a writer and sees one moment of the database."""
    bound = engine().execution_options(reading=True)
    if bound.dialect.name == "postgresql":
        bound = bound.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with refusals_explained(), Session(bound, expire_on_commit=False, autoflush=False) as s:
        yield s


@contextmanager
def refusals_explained() -> Iterator[None]:
    """In the block, a database that refuses for now is a `DatabaseUnavailable`, and a bug stays a bug."""
    try:
        yield
    except DatabaseError as problem:
        sentence = None if isinstance(problem, IntegrityError | DataError) else _explain_refusal(problem)
        if sentence is None:
            raise
        log.warning("The database refuses: %s", problem.orig)
        raise DatabaseUnavailable(sentence) from problem


def _explain_refusal(problem: DatabaseError) -> str | None:
    """What is the matter with the database and what to do; None where the statement was wrong."""
    words = str(problem.orig)
    for pattern, sentence in REFUSALS:
        if re.search(pattern, words):
            return sentence.format(home=settings().home.resolve())
    if problem.connection_invalidated or (
        isinstance(problem, OperationalError) and not isinstance(problem.orig, sqlite3.Error)
    ):
        return f"The database cannot be reached ({words.strip()}), so nothing was saved. Start it, then try again."
    return None
