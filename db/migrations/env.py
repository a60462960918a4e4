"""Alembic's entry point: it uses the connection of `db.schema.migrate`, or from a shell the settings' database."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from db.models import Base, StoredText, UtcDateTime
from db.session import closing_engine
from settings import settings


def _sql_type(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Render our types as SQL's own, so that migrations still run when our classes have moved."""
    if kind != "type":
        return False
    return "sa.DateTime()" if isinstance(item, UtcDateTime) else "sa.Text()" if isinstance(item, StoredText) else False


def run(connection: Any) -> None:
    """Run the requested migrations on the connection."""
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_sql_type)
    with context.begin_transaction():
        context.run_migrations()


if (connection := context.config.attributes.get("connection")) is not None:
    run(connection)
else:
    with closing_engine(settings().url) as engine, engine.connect() as connection:
        run(connection)
