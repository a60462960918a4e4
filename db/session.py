"""Engine and sessions.

SQLite is set up as measured: WAL, a 30 s busy timeout, foreign keys on, synchronous FULL because human rankings are
the product's asset; writers begin IMMEDIATE (a deferred writer fails at once on a stale snapshot), readers DEFERRED.
PostgreSQL lets several writers work at once, so code that counts before it writes locks the counted rows; a reader
sees one moment on both.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

import db.comparisons  # noqa: F401  this and the next watch every session: counts and the audit trail keep themselves
import db.history  # noqa: F401
from errors import BadSetting, missing_package
from settings import settings


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
