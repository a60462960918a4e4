"""The database: set up as measured, migrated from an older populated file, refused when newer."""

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from db.models import Base, Membership, Method, Project, Recipe, Response, Reviewer, Role
from db.schema import MIGRATIONS, is_newest, migrate
from db.session import engine, reading, session
from errors import DatabaseProblem, DatabaseUnavailable
from settings import ROOT
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_ranking, a_response, a_reviewer


def test_migrating_twice_changes_nothing(database: Path) -> None:
    before = database.stat().st_size
    migrate()
    assert database.stat().st_size == before


def test_on_postgresql_too_migrating_twice_changes_nothing(home: Path, empty_postgres: URL) -> None:
    migrate()
    before = _described(engine())
    migrate()
    assert _described(engine()) == before
    assert len(before) > 300


@pytest.mark.slow
def test_processes_that_start_at_once_migrate_one_after_the_other(home: Path, empty_postgres: URL) -> None:
    command = [sys.executable, "-c", "from db.schema import migrate; migrate()"]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [one.wait(timeout=60) for one in running] == [0, 0]
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


@pytest.mark.both_databases
def test_the_database_takes_every_method_and_no_other(s: Session) -> None:
    for method in Method:
        s.add(Recipe(name=method.value, method=method))
    s.flush()
    with pytest.raises(IntegrityError):
        s.execute(text("UPDATE recipe SET method = 'MAGIC'"))


def test_an_older_file_is_copied_and_then_brought_up_to_date(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session() as s:
        a_project(s, name="Kept")
    assert list(database.parent.glob("*before-update*")) == [], "a new database has nothing to keep"
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later)
    (later / "versions" / "later.py").write_text(
        "from alembic import op\nrevision, down_revision = 'later', '0.1.0'\n"
        "def upgrade():\n    op.execute('ALTER TABLE project ADD COLUMN motto TEXT')\n"
    )
    monkeypatch.setattr("db.schema.MIGRATIONS", later)
    migrate()
    migrate()
    (copy,) = database.parent.glob("*before-update*")
    with closing(sqlite3.connect(copy)) as before, closing(sqlite3.connect(database)) as after:
        assert before.execute("SELECT version_num FROM alembic_version").fetchall() == [("0.1.0",)]
        assert before.execute("SELECT name FROM project").fetchall() == [("Kept",)]
        assert after.execute("SELECT version_num FROM alembic_version").fetchall() == [("later",)]
        assert after.execute("SELECT name, motto FROM project").fetchall() == [("Kept", None)]


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


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [("2.0", "written by a newer version of Pickwell"), ("0012", "made before Pickwell 0.1.0")],
)
def test_a_database_of_another_time_is_refused_with_the_remedy_and_left_alone(
    revision: str, sentence: str, database: Path
) -> None:
    with session() as s:
        s.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    with pytest.raises(DatabaseProblem, match=sentence):
        migrate()
    with reading() as s:
        assert s.scalar(text("SELECT version_num FROM alembic_version")) == revision
    assert list(database.parent.glob("*before-update*")) == []


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
def test_a_nul_character_is_left_out_and_the_rest_of_the_text_kept(s: Session, project: Project) -> None:
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
def test_the_database_itself_refuses_a_second_standing_ranking(s: Session, project: Project) -> None:
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


# ------------------------------------------------------------------------------------ a database that refuses for now


def save_a_person(name: str = "Mara") -> None:
    with session() as s:
        s.add(Reviewer(name=name))


def people() -> int:
    with reading() as s:
        return s.scalar(select(func.count()).select_from(Reviewer)) or 0


def refused(matching: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=matching):
        save_a_person()


def test_a_database_that_is_locked_for_long_is_a_sentence_and_takes_the_choice_afterwards(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.session.BUSY_TIMEOUT", 50)
    engine().dispose()
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused("nothing was saved. Try again")
        assert people() == 0, "who only reads waits for nobody"
    save_a_person()
    assert people() == 1


def test_a_full_disk_is_a_sentence_and_goes_on_once_there_is_room(database: Path) -> None:
    with engine().connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DatabaseUnavailable, match=r"The disk is full, so nothing was saved\. Free some space"):
        save_a_person("x" * 1_000_000)
    engine().dispose()
    save_a_person()
    assert people() == 1


def test_a_database_that_may_only_be_read_is_a_sentence(database: Path) -> None:
    with engine().connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    refused("cannot be written, so nothing was saved")


def test_a_damaged_database_is_a_sentence(database: Path) -> None:
    save_a_person()
    engine().dispose()
    with database.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 60_000)
    refused("is damaged, so nothing was saved. Stop Pickwell and put a backup in place")


def test_a_database_that_is_emptied_while_it_is_open_is_a_sentence(database: Path) -> None:
    with session() as s:
        s.execute(text("DROP TABLE membership"))
        s.execute(text("DROP TABLE reviewer"))
    refused("has lost its tables: it was emptied or replaced")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_deleted_or_replaced_while_it_is_open_acknowledges_nothing_more(
    database: Path, replaced: bool
) -> None:
    save_a_person()
    copy = shutil.copy(database, database.with_suffix(".copy"))
    database.unlink()
    if replaced:
        Path(copy).rename(database)
    refused("was deleted or replaced while Pickwell was running")
    with pytest.raises(DatabaseUnavailable, match="put the file back"):
        people()


def test_a_wrong_statement_stays_a_bug(database: Path) -> None:
    with pytest.raises(OperationalError, match="no such column"), reading() as s:
        s.execute(text("SELECT shoe_size FROM reviewer"))
    with pytest.raises(IntegrityError), session() as s:
        s.add_all([Membership(reviewer_id=1, project_id=7, role=Role.MANAGER)])


def test_a_postgresql_server_that_ends_the_connection_is_a_sentence(home: Path, empty_postgres: URL) -> None:
    migrate()
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"), session() as s:
        s.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    save_a_person()
    assert people() == 1
