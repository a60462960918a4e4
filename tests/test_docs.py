"""The documentation fails when it lies about settings, commands or words."""

import ast
import re
import subprocess
import sys

from typer.main import get_command

from cli import app
from db.models import Base
from settings import ROOT, VERSION, Settings

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
README = (ROOT / "README.md").read_text()


def test_every_setting_is_documented_and_no_other() -> None:
    real = {f"PICKWELL_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"^\| `(PICKWELL_\w+)`", ARCHITECTURE, re.MULTILINE)) == real


def test_every_make_command_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_readme_names_every_room_and_file_and_no_other() -> None:
    tree = README.partition("## The rooms")[2].split("```")[1]
    named = re.findall(r"^(\S+)", tree, re.MULTILINE)
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    there = {re.sub(r"/.*", "/", file) for file in files if not file.startswith(".")}
    assert sorted(named) == sorted(there)


def test_the_page_of_commands_is_what_make_docs_writes() -> None:
    command = [sys.executable, "-m", "typer", "cli.py", "utils", "docs", "--name", "pickwell"]
    newest = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "commands.md").read_text().strip() == newest.strip(), "make docs writes it anew"


def test_the_newest_version_of_the_changes_is_the_program_s() -> None:
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == VERSION


def test_every_command_line_that_a_page_shows_exists() -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009
    pages = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("walkthrough", "architecture"))
    assert set(re.findall(r"cli\.py ([a-z-]+)", pages)) - {"--help"} <= commands


def test_every_test_that_holds_a_guarantee_exists_once() -> None:
    named = re.findall(r"`(?:(test_\w+)\.py::)?(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    there = [
        (file.stem, node.name)
        for file in (ROOT / "tests").glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    places = {name: [file for file, test in there if test == name] for _, name in named}
    wrong = {name: places[name] for file, name in named if len(places[name]) != 1 or file not in ("", *places[name])}
    assert named
    assert wrong == {}, "no test, several, or one in another file than the page says"


def test_every_table_is_a_word_of_the_glossary() -> None:
    words = set(re.findall(r"\*\*(\w+)\*\*", GLOSSARY))
    tables = {mapper.class_.__name__ for mapper in Base.registry.mappers}
    joins = {"ComparisonResponse", "SnapshotLeftOut"}  # parts of Comparison and Snapshot
    assert tables - joins <= words


def test_every_picture_and_page_that_is_linked_is_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
