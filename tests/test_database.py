"""The database: set up as measured, migrated from an older populated file, refused when newer."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Engine, func, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import Base, Guideline, Membership, Method, Project, Recipe, Response, Reviewer, Role
from db.session import MIGRATIONS, engine, is_newest, migrate, reading, session
from errors import DatabaseProblem
from eval.report.results import results
from settings import ROOT
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_ranking, a_response, a_reviewer

OLD = Path(__file__).parent / "old_databases"
"""A small database that the first version wrote, every table filled, and what was added as it grew older."""


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


def test_on_postgresql_too_the_migrations_and_the_models_say_the_same(home: Path, empty_postgres: URL) -> None:
    migrate()
    command.check(_alembic())
    before = _described(engine())
    migrate()
    assert _described(engine()) == before
    assert len(before) > 300


def test_processes_that_start_at_once_migrate_one_after_the_other(home: Path, empty_postgres: URL) -> None:
    command = [sys.executable, "-c", "from db.session import migrate; migrate()"]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [one.wait(timeout=60) for one in running] == [0, 0, 0]
    assert is_newest()


def _described(bound: Engine) -> list[str]:
    """Every column, constraint and index, in the database's words."""
    with bound.connect() as connection:
        return sorted(
            str(row)
            for query in (
                "SELECT table_name, column_name, data_type, is_nullable, column_default "
                "FROM information_schema.columns WHERE table_schema = 'public'",
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint",
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
                "SELECT version_num FROM alembic_version",
            )
            for row in connection.execute(text(query))
        )


def test_a_populated_older_file_keeps_every_row_and_its_results(home: Path) -> None:
    home.mkdir(parents=True)
    first, *later = sorted(OLD.glob("*.sql"))
    with closing(sqlite3.connect(home / "pickwell.db")) as raw:
        raw.executescript(first.read_text())
    for more in later:
        command.upgrade(_alembic(), more.stem)
        with closing(sqlite3.connect(home / "pickwell.db")) as raw:
            raw.executescript(more.read_text())
    with closing(sqlite3.connect(home / "pickwell.db")) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        before = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    assert all(before.values()), "an older file with an empty table proves nothing about it"
    migrate()
    with reading() as s:
        assert {name: s.scalar(text(f"SELECT count(*) FROM {name}")) for name in tables} == before
        assert [(g.version, g.text) for g in s.scalars(select(Guideline))] == [(1, "Say sorry.")]
        for table in Base.metadata.sorted_tables:
            s.execute(select(table)).all()
        found = results(s, evaluation_id=1).verdicts[0].head
    assert (found.wins, found.ties, found.losses, found.n) == (1, 1, 2, 4)


@pytest.mark.both_databases
def test_the_database_takes_every_method_and_no_other(s: Session) -> None:
    for method in Method:
        s.add(Recipe(name=method.value, method=method))
    s.flush()
    with pytest.raises(IntegrityError):
        s.execute(text("UPDATE recipe SET method = 'MAGIC'"))


def test_before_an_older_file_is_changed_a_copy_of_it_is_kept(home: Path) -> None:
    migrate()
    assert list(home.glob("*before-update*")) == [], "a new database has nothing to keep"
    engine.cache_clear()
    (home / "pickwell.db").unlink()
    with closing(sqlite3.connect(home / "pickwell.db")) as raw:
        raw.executescript((OLD / "0001.sql").read_text())
    migrate()
    migrate()
    (copy,) = home.glob("*before-update*")
    with closing(sqlite3.connect(copy)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert raw.execute("SELECT count(*) FROM ranking").fetchone()[0] > 0


@pytest.mark.both_databases
def test_twenty_writers_at_once_all_save_what_they_were_told(database: Path) -> None:
    with session() as s:
        project = a_project(s).id

    def write(n: int) -> None:
        for turn in range(5):
            with session() as s:
                seen = s.scalars(select(Reviewer)).all()  # a read before the write: what a deferred writer trips over
                s.add(Reviewer(name=f"Person {n}-{turn}-{len(seen)}"))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(write, range(20)))
    with reading() as s:
        assert len(s.scalars(select(Reviewer)).all()) == 100
        assert s.get_one(Project, project)


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


@pytest.mark.both_databases
def test_a_reader_never_waits_for_a_writer(database: Path) -> None:
    with session() as writer:
        a_project(writer, name="Not yet")
        with reading() as reader:
            assert reader.scalars(select(Project)).all() == []


@pytest.mark.both_databases
def test_a_reader_sees_one_moment(database: Path) -> None:
    with reading() as reader:
        assert reader.scalar(select(func.count()).select_from(Project)) == 0
        with session() as writer:
            a_project(writer)
        assert reader.scalar(select(func.count()).select_from(Project)) == 0


@pytest.mark.both_databases
def test_a_nul_character_is_left_out_and_the_rest_of_the_text_kept(s: Session) -> None:
    project = a_project(s)
    replies = [{"prompt_id": a_prompt(s, project).id, "responder_id": a_human(s, project).id, "text": "Dear\0 reader"}]
    s.execute(insert(Response), replies)
    assert s.scalars(select(Response.text)).all() == ["Dear reader"]


@pytest.mark.both_databases
def test_times_come_back_in_utc_and_naive_ones_are_refused(s: Session) -> None:
    assert a_project(s).created_at.tzinfo is UTC
    s.add(Project(name="x", created_at=datetime(2026, 1, 1)))
    with pytest.raises(Exception, match="without a zone"):
        s.flush()


@pytest.mark.both_databases
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


@pytest.mark.both_databases
def test_several_projects_live_in_one_database(s: Session) -> None:
    first, second = a_project(s), a_project(s)
    reviewer = a_reviewer(s, first)
    assert s.scalars(select(Membership.project_id).where(Membership.reviewer_id == reviewer.id)).all() == [first.id]
    assert second.id != first.id
    assert s.scalars(select(Reviewer.id).join(Membership).where(Membership.role == Role.MANAGER)).all()
