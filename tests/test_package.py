"""Pickwell as a package: what it asks for, what its wheel holds, and that it works where no checkout is."""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright.sync_api import Page, expect

import settings as settings_module
from errors import PickwellError, missing_package, requirement_file, to_type
from llm import default_model
from settings import ROOT, VERSION, settings

FILES = {file.stem: file for file in (ROOT / "requirements").glob("*.txt")}
UNPINNED = {"pip", "setuptools"}
"""Taken as the environment has them."""


def lines(file: str) -> list[str]:
    return [line for line in FILES[file].read_text().splitlines() if line and not line.startswith("#")]


def packages(file: str) -> set[str]:
    """The names in a requirement file and in those that it goes on from."""
    named = {canonicalize_name(Requirement(line).name) for line in lines(file) if line[0] != "-"}
    return named.union(*(packages(Path(line[3:]).stem) for line in lines(file) if line.startswith("-r ")))


PINS = {canonicalize_name(Requirement(line).name): line.partition("==")[2] for line in lines("constraints")}


@pytest.mark.parametrize("file", sorted(FILES.keys() - {"constraints"}))
def test_a_requirement_file_says_names_and_takes_every_version_from_the_pins(file: str) -> None:
    assert "-c constraints.txt" in lines(file)
    assert not [line for line in lines(file) if "=" in line]
    assert packages(file) - UNPINNED <= PINS.keys()


def test_a_missing_package_is_a_sentence_with_the_line_that_installs_it() -> None:
    sentence = missing_package("Training on a cluster", "ray[default]")
    assert sentence.startswith("Training on a cluster needs ray[default], which is not installed here. Type “")
    line = shlex.split(sentence.partition("“")[2].partition("”")[0])
    assert line == [sys.executable, "-m", "pip", "install", "-c", str(FILES["constraints"]), "ray[default]"]
    assert "needs one, two, which are not installed" in missing_package("This", "one", "two")
    assert f"install -r {FILES['train']}” and" in missing_package("All", "trl", pip=["-r", requirement_file("train")])


def test_commands_are_named_as_a_checkout_has_them() -> None:
    assert [to_type(command) for command in ("run", "join Rae")] == ["make run", "python cli.py join Rae"]


def test_paths_in_the_settings_mean_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    given = {"PICKWELL_HOME": "home", "PICKWELL_BASE_MODEL": "model", "PICKWELL_DATABASE_URL": "sqlite:///own.db"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings_module.settings.cache_clear()
    assert settings().whole_paths() == {
        "PICKWELL_HOME": str(tmp_path / "home"),
        "PICKWELL_BASE_MODEL": str(tmp_path / "model"),
        "PICKWELL_DATABASE_URL": f"sqlite:///{tmp_path / 'own.db'}",
    }
    for name, value in ("PICKWELL_BASE_MODEL", "owner/name"), ("PICKWELL_DATABASE_URL", "postgresql+psycopg://u@h/d"):
        monkeypatch.setenv(name, value)
        settings_module.settings.cache_clear()
        assert settings().whole_paths()[name] == value


def test_a_home_that_cannot_be_written_is_a_sentence_for_the_default_model_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PICKWELL_HOME", str(tmp_path / "file"))
    settings_module.settings.cache_clear()
    with pytest.raises(
        PickwellError, match=r"PICKWELL_HOME is .*, which cannot be written \(.*\)\. Set it to a folder"
    ):
        default_model.build_default_model(settings().default_model_dir)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True)
    (file,) = folder.glob("*.whl")
    return file


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.slow
def test_the_wheel_holds_every_room_below_one_name_and_what_rooms_read(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    inside = [file for file in files if not file.startswith(("tests/", "benchmarks/", "docs/"))]
    modules = {file for file in inside if file.endswith(".py") and not file.startswith("requirements/")}
    read = {file for file in inside if file.startswith(("examples/", "requirements/")) and not file.endswith(".py")}
    read |= {".streamlit/config.toml", "ui/icon.png", "ui/style.css"}
    assert held == {f"pickwell/{file.removeprefix('pickwell/')}" for file in modules | read}


@pytest.mark.slow
def test_the_wheel_asks_for_what_the_requirement_files_name_with_their_pins(wheel: Path) -> None:
    told = metadata(wheel)
    assert told["Version"] == VERSION
    asked = [Requirement(line) for line in told.get_all("Requires-Dist", [])]
    for requirement in asked:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert str(requirement.specifier) == (f"=={pin}" if pin else "")
    always = {canonicalize_name(requirement.name) for requirement in asked if not requirement.marker}
    assert always == packages("app")
    extras = told.get_all("Provides-Extra", [])
    assert set(extras) == {"train", "cpu", "gpu", "ray", "dev"}
    for extra in extras:
        marked = [one for one in asked if one.marker and one.marker.evaluate({"extra": extra})]
        assert {canonicalize_name(one.name) for one in marked} | always == packages(extra) | always


@dataclass(frozen=True)
class Installed:
    """The package in an environment of its own, which borrows the other packages of this one."""

    environment: Path
    folder: Path
    """Where commands are given; the user's own data folder is below it."""
    variables: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        return [str(self.environment / "bin" / "pickwell"), *words]

    def shell(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=120
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        return said


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Installed:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    own, borrowed = (
        next(place for place in paths if place.name == "site-packages")
        for paths in (environment.glob("lib/python*/*"), map(Path, sys.path))
    )
    (own / "borrowed.pth").write_text(f"import site; site.addsitedir({str(borrowed)!r})\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PICKWELL_", "PYTHON"))}
    variables |= {"PICKWELL_PORT": port, "PICKWELL_ENGINE": "echo", "XDG_DATA_HOME": str(tmp_path / "data")}
    folder = tmp_path / "somewhere"
    folder.mkdir()
    return Installed(environment, folder, {**variables, "COLUMNS": "300"})


@pytest.mark.slow
def test_an_installed_package_keeps_its_data_in_the_user_s_own_folder(installed: Installed, tmp_path: Path) -> None:
    assert "Usage: pickwell setup" in installed.shell("setup", "--help")
    assert "with pickwell new-project" in installed.shell("status")
    own = tmp_path / "data" / "pickwell"
    assert (own / "pickwell.db").is_file()
    (own / ".env").write_text("PICKWELL_CONCURRENCY=none\n")
    assert "PICKWELL_CONCURRENCY cannot be 'none'" in installed.shell("status")
    (own / ".env").unlink()
    elsewhere = replace(installed, variables={**installed.variables, "PICKWELL_HOME": "/proc/x"})
    assert "PICKWELL_HOME is /proc/x, which cannot be written" in elsewhere.shell("setup")
    votes = "prompt,reviewer,left,right,verdict\na,r1,Ours,People,left\nb,r2,People,Ours,tie\n"
    (installed.folder / "votes.csv").write_text(votes)
    installed.shell("winrate", "votes.csv", "--json", "figures.json")
    assert json.loads((installed.folder / "figures.json").read_text())["format"] == 1
    assert {file.name for file in installed.folder.iterdir()} == {"votes.csv", "figures.json"}


@pytest.mark.slow
def test_an_installed_package_sets_up_generates_and_serves_with_a_worker_from_any_folder(
    installed: Installed, tmp_path: Path, page: Page
) -> None:
    here = replace(installed, variables={**installed.variables, "PICKWELL_HOME": "mine"})
    here.shell("setup")
    here.shell("join", "Mara")
    assert "GenerationRun 1: succeeded" in here.shell("generate", "Base model", "--samples", "1", "--limit", "1")
    assert [file.name for file in here.folder.iterdir()] == ["mine"], "processes below have the same home"

    address = f"http://127.0.0.1:{here.variables['PICKWELL_PORT']}"
    output = (tmp_path / "run.log").open("wb")
    running = subprocess.Popen(
        here.command("run"), cwd=here.folder, env=here.variables, stdout=output, stderr=output, start_new_session=True
    )
    with closing(sqlite3.connect(here.folder / "mine" / "pickwell.db")) as database, output:
        try:
            assert answers(f"{address}/_stcore/health") == b"ok"
            (mara,) = database.execute("SELECT id FROM reviewer WHERE name = 'Mara'").fetchone()
            page.goto(f"{address}/?project=1&person={mara}")
            expect(page.get_by_role("link", name=re.compile("Compare$"))).to_be_visible()
            expect(page.get_by_text("Publisher emails (sample)").first).to_be_visible()
            assert database.execute("SELECT count(*) FROM worker").fetchone() == (1,)
        finally:
            os.killpg(running.pid, signal.SIGINT)  # as Ctrl+C does
            running.wait(timeout=60)
        assert database.execute("SELECT count(*) FROM worker").fetchone() == (0,), "the worker has ended, too"


def answers(url: str) -> bytes:
    """What the address answers, as soon as it does."""
    for _ in range(150):
        with suppress(OSError):
            return bytes(urllib.request.urlopen(url, timeout=1).read())
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")
