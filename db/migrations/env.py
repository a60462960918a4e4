"""Alembic's entry: runs the migrations on the URL that `db.session.migrate` hands over, or the settings' own."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import text

from db.models import Base, StoredText, UtcDateTime
from db.session import make_engine
from settings import settings


def _plain(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Migrations name SQL's own types only: they must still run when our classes have moved."""
    if kind != "type":
        return False
    return "sa.DateTime()" if isinstance(item, UtcDateTime) else "sa.Text()" if isinstance(item, StoredText) else False


engine = make_engine(context.config.attributes.get("url") or settings().url)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_plain)
    with context.begin_transaction():
        if engine.dialect.name == "postgresql":  # two processes that start at once migrate one after the other
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('pickwell migrations'))"))
        context.run_migrations()
engine.dispose()
