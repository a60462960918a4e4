"""Fixtures and factories: a fresh database in a fresh folder for every test, and rows made with one call."""

import functools
import gc
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from sqlalchemy import URL, Engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.orm import Session

import db.schema
import db.session
import settings as settings_module
from db.models import Project, Reviewer
from settings import ROOT
from tests.databases import PostgresServer, a_postgres_server, in_full
from tests.factories import a_project, a_reviewer

if TYPE_CHECKING:
    from playwright.sync_api import Page

# each client of an endpoint reads all certificates anew, here for servers on loopback
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]

# each test has an engine of its own, whose statements would all be compiled anew: two engines of a kind count as one
for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
COMPILED: dict[Any, Any] = {}
"""Statements as they were compiled, for all engines of this process."""
event.listen(Engine, "engine_connect", lambda connection: connection.execution_options(compiled_cache=COMPILED))

# fewer examples each time, for there are other ones the next time; a first one may take long, as it loads libraries
hypothesis.settings.register_profile("pickwell", max_examples=30, deadline=None)
hypothesis.settings.load_profile("pickwell")

LONGEST = (
    "test_story",
    "test_contestants_slow",
    "test_training_slow",
    "test_browser",
    "test_browser_slots",
    "test_queue",
    "test_durability",
    "test_launch_slow",
)
"""Files whose slow tests take the longest, the longest first: begun last, one would be waited for alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: whatever they can tell is known after a minute. Slow ones by file, the longest first."""

    def turn(item: pytest.Item) -> tuple[bool, int]:
        slow = item.get_closest_marker("slow") is not None
        return slow, LONGEST.index(item.path.stem) if slow and item.path.stem in LONGEST else len(LONGEST)

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """Garbage is collected seldom, and what was imported not looked through again: it took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_databases` run once on each, as far as they use one."""
    if metafunc.definition.get_closest_marker("both_databases") and "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for each test, with the settings pointing at it and nothing inherited from the shell."""
    for name in list(os.environ):
        if name.startswith("PICKWELL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PICKWELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PICKWELL_ENGINE", "echo")
    settings_module.settings.cache_clear()
    db.session.engine.cache_clear()
    yield tmp_path / "home"
    settings_module.settings.cache_clear()
    db.session.engine.cache_clear()


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The default model's folder in this checkout, made by the command that the README names if it is not there."""
    home = ROOT / "var"
    command = [sys.executable, "-m", "llm.default_model"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PICKWELL_HOME": str(home)}, check=True)
    return home / "models" / "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def tiny(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with two layers and random weights, and SmolLM2's tokenizer and template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer: Any = AutoTokenizer.from_pretrained(default_model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,  # four bits come in blocks of 64
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,  # vLLM's heads on a CPU have 32 numbers at least
        num_key_value_heads=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run; a test that needs it fails where there is none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(a_postgres_server())
            server.migrated()
        except Exception as problem:
            pytest.fail(
                f"PostgreSQL does not start here ({problem}). Set TEST_DATABASE_URL to a server whose user may make "
                "databases: postgresql+psycopg://user:password@host/postgres."
            )
        yield server


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on: SQLite, unless the test is marked `both_databases`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table and no row, for each test to copy."""
    file = tmp_path_factory.mktemp("template") / "pickwell.db"
    db.schema.migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def database(home: Path, backend: str, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A migrated, empty database; gives the file's path, which on PostgreSQL is only a place in the home."""
    home.mkdir(parents=True, exist_ok=True)
    if backend == "sqlite":
        template: Path = request.getfixturevalue("template_database")
        yield Path(shutil.copy(template, home / "pickwell.db"))
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with _in_use(server.migrated()):
        yield home / "pickwell.db"


@pytest.fixture
def empty_postgres(home: Path, postgres: PostgresServer) -> Iterator[URL]:
    """A PostgreSQL database without a table, which the settings name."""
    own = postgres.empty()
    with _in_use(own):
        yield own
    postgres.drop(own)


@contextmanager
def _in_use(own: URL) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICKWELL_DATABASE_URL", in_full(own))
        settings_module.settings.cache_clear()
        db.session.engine.cache_clear()
        yield
        db.session.engine().dispose()


@pytest.fixture
def s(database: Path) -> Iterator[Session]:
    """A writing session on an empty database."""
    with db.session.session() as session:
        yield session


@pytest.fixture
def project(s: Session) -> Project:
    """A project."""
    return a_project(s)


@pytest.fixture
def manager(s: Session, project: Project) -> Reviewer:
    """The project's manager."""
    return a_reviewer(s, project)


@pytest.fixture
def page() -> "Iterator[Page]":
    """A page of headless Chromium."""
    from tests.app_server import browser_page

    with browser_page() as page:
        yield page
