"""Fixtures and factories: a fresh database in a fresh folder for every test, and rows made with one call."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import Session

import db.session
import settings as settings_module
from settings import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: whatever they can tell is known after a minute."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


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
    command = [sys.executable, "-m", "generation.default_model"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PICKWELL_HOME": str(home)}, check=True)
    return home / "models" / "smollm2-135m-instruct"


@pytest.fixture
def database(home: Path) -> Path:
    """A migrated, empty database."""
    db.session.migrate()
    return home / "pickwell.db"


@pytest.fixture
def s(database: Path) -> Iterator[Session]:
    """A writing session on an empty database."""
    with db.session.session() as session:
        yield session


@pytest.fixture
def page() -> "Iterator[Page]":
    """A page of headless Chromium."""
    from tests.app_server import browser_page

    with browser_page() as page:
        yield page
