"""Alembic's entry, on the connection that `db.session.migrate` hands over; from a shell on the settings' database."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from db.models import Base, StoredText, UtcDateTime
from db.session import closing_engine
from settings import settings


def _plain(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Migrations name SQL's own types only: they must still run when our classes have moved."""
    if kind != "type":
        return False
    return "sa.DateTime()" if isinstance(item, UtcDateTime) else "sa.Text()" if isinstance(item, StoredText) else False


def run(connection: Any) -> None:
    """Run the migrations that are asked for."""
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_plain)
    with context.begin_transaction():
        context.run_migrations()


if (handed := context.config.attributes.get("connection")) is not None:
    run(handed)
else:
    with closing_engine(settings().url) as engine, engine.connect() as connection:
        run(connection)
