"""The database: set up as measured, migrated from an older populated file, refused when newer."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import Base, Membership, Project, Reviewer, Role
from db.session import MIGRATIONS, engine, migrate, reading, session
from errors import DatabaseProblem
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_ranking, a_response, a_reviewer


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def test_the_migrations_and_the_models_say_the_same(database: Path) -> None:
    command.check(_alembic())


def test_migrating_twice_changes_nothing(database: Path) -> None:
    before = database.stat().st_size
    migrate()
    assert database.stat().st_size == before


def test_a_populated_older_file_keeps_its_rows(home: Path) -> None:
    config = _alembic()
    command.upgrade(config, "0001")
    with session() as s:
        project = a_project(s, name="Kept")
        human, other = a_human(s, project), a_human(s, project)
        prompt = a_prompt(s, project)
        one, two = a_response(s, prompt, human), a_response(s, prompt, other)
        a_ranking(s, a_comparison(s, one, two), a_reviewer(s, project), one, two)
    migrate()
    with reading() as s:
        assert s.scalars(select(Project.name)).all() == ["Kept"]
        for table in Base.metadata.sorted_tables:
            s.execute(select(table).limit(1))


def test_a_database_from_a_newer_version_is_refused_with_the_remedy_and_left_alone(database: Path) -> None:
    raw = sqlite3.connect(database)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    with pytest.raises(DatabaseProblem, match="newer version of Pickwell"):
        migrate()
    assert inspect(engine()).has_table("project")


def test_a_file_that_is_no_database_is_refused_with_the_remedy(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "pickwell.db").write_text("Dear diary, this is not a database at all, not even close.\n" * 40)
    with pytest.raises(DatabaseProblem, match="not a SQLite database"):
        migrate()


def test_sqlite_is_set_up_as_measured(database: Path) -> None:
    with engine().connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 30000, "foreign_keys": 1, "synchronous": 2}


def test_a_reader_never_waits_for_a_writer(database: Path) -> None:
    with session() as writer:
        a_project(writer, name="Not yet")
        with reading() as reader:
            assert reader.scalars(select(Project)).all() == []


def test_times_come_back_in_utc_and_naive_ones_are_refused(s: Session) -> None:
    assert a_project(s).created_at.tzinfo is UTC
    s.add(Project(name="x", created_at=datetime(2026, 1, 1)))
    with pytest.raises(Exception, match="without a zone"):
        s.flush()


def test_the_database_itself_refuses_a_second_standing_ranking(s: Session) -> None:
    project = a_project(s)
    prompt, me = a_prompt(s, project), a_reviewer(s, project)
    one, two = a_response(s, prompt, a_human(s, project)), a_response(s, prompt, a_human(s, project))
    comparison = a_comparison(s, one, two)
    a_ranking(s, comparison, me, one, two)
    with pytest.raises(IntegrityError):
        a_ranking(s, comparison, me, two, one)


def test_every_constraint_has_a_name() -> None:
    for table in Base.metadata.tables.values():
        for constraint in table.constraints:
            assert constraint.name, f"{table.name}: {constraint!r}"


def test_several_projects_live_in_one_database(s: Session) -> None:
    first, second = a_project(s), a_project(s)
    reviewer = a_reviewer(s, first)
    assert s.scalars(select(Membership.project_id).where(Membership.reviewer_id == reviewer.id)).all() == [first.id]
    assert second.id != first.id
    assert s.scalars(select(Reviewer.id).join(Membership).where(Membership.role == Role.MANAGER)).all()
