"""Whether the database is there with this version's tables, before a run is carried."""

from pathlib import Path

from sqlalchemy import inspect, make_url
from sqlalchemy.exc import OperationalError

from db.models import Worker
from db.schema import is_newest
from db.session import engine
from errors import DatabaseProblem, to_type
from settings import settings


def check_database() -> None:
    """Raise `DatabaseProblem` unless the database is there with its tables; nothing is made or migrated."""
    url = make_url(settings().url)
    missing = DatabaseProblem(f"There is no database yet. Run {to_type('setup')}, then start the worker again.")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise missing
    try:
        if not inspect(engine()).has_table(Worker.__tablename__):
            raise missing
        if not is_newest():
            raise DatabaseProblem(
                f"The database was written by another version of Pickwell. Run {to_type('setup')}, which brings an "
                "older one up to date, then start the worker again."
            )
    except OperationalError as problem:
        raise DatabaseProblem(f"The database cannot be reached: {problem.orig}. Start it or correct its URL.") from None
