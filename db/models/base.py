"""What all tables share: names of constraints, UTC times, texts, enums stored by name."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DDL, JSON, DateTime, Dialect, Enum, FromClause, MetaData, Text, TypeDecorator, event
from sqlalchemy.orm import DeclarativeBase

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps no zone, so it is stored without and read back with UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC without a zone. Raises `ValueError` for a naive time, whose zone would be unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored; use db.models.now().")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Restore the zone."""
        return value.replace(tzinfo=UTC) if value is not None else None


class StoredText(TypeDecorator[str]):
    """A text without NUL characters, which PostgreSQL cannot keep; files and models do bring them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Remove NUL characters."""
        return value.replace("\0", "") if value is not None else None


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: UtcDateTime,
        str: StoredText,
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        list[int]: JSON,
    }


def enum(kind: type[StrEnum]) -> Enum:
    """A column type for the members of `kind`, stored by name and checked by the database."""
    return Enum(kind, name=kind.__name__.lower(), native_enum=False, create_constraint=True, length=20)


def refuse_change(table: FromClause, trigger: str, *, on: str, sentence: str, when: str = "TRUE") -> None:
    """Create a trigger by which the database itself refuses a change of the table's rows.

    Args:
        trigger: the trigger's name.
        on: UPDATE, DELETE or INSERT.
        sentence: the database's error message.
        when: a condition in PostgreSQL's SQL on the rows OLD and NEW.
    """
    before = f"CREATE TRIGGER {trigger} BEFORE {on} ON {table.description}"
    statements = {
        "sqlite": (
            f"{before} WHEN {when.replace('IS DISTINCT FROM', 'IS NOT')} BEGIN SELECT RAISE(ABORT, '{sentence}'); END",
        ),
        "postgresql": (
            f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {when} THEN RAISE EXCEPTION '{sentence}'; END IF; RETURN COALESCE(NEW, OLD); END $$",
            f"{before} FOR EACH ROW EXECUTE FUNCTION {trigger}()",
        ),
    }
    for dialect, dialect_statements in statements.items():
        for statement in dialect_statements:
            ddl = DDL(statement)  # type: ignore[no-untyped-call]
            event.listen(table, "after_create", ddl.execute_if(dialect=dialect))
