"""Imports point one way, and nothing heavy enters the app's process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from settings import ROOT

STAGES = {"intake", "generation", "review", "training", "eval"}
GROUND = {
    "db",
    "settings",
    "errors",
    "template",
    "files",
    "model_folder",
    "shown_text",
    "merging",
    "intervals",
    "sections",
}
MAY_IMPORT = {
    "settings": {"errors"},
    "errors": set(),
    "template": {"errors"},
    "files": set(),
    "intervals": set(),
    "sections": set(),
    "shown_text": set(),
    "model_folder": {"files", "settings", "errors"},
    "merging": {"files", "model_folder", "template", "errors"},
    "simulated": {"db"},
    "db": {"settings", "errors", "template", "shown_text"},
    "jobs": {"db", "settings", "errors", "generation", "training"},
    **{stage: GROUND | {"jobs", stage} for stage in STAGES},
    "ui": GROUND | STAGES | {"jobs"},
    "pages": GROUND | STAGES | {"jobs", "ui"},
    "app": GROUND | {"ui"},
}
"""Which of our own rooms each room may import. jobs.child starts the stage that it is told to, by name."""
HEAVY = {
    "lm_eval",
    "torch",
    "transformers",
    "trl",
    "peft",
    "vllm",
    "datasets",
    "accelerate",
    "gguf",
    "ray",
    "bitsandbytes",
}
ROOMS = set(MAY_IMPORT) | {"cli", "commands", "demo", "tests"}


def files() -> list[Path]:
    ours = [*ROOT.glob("*.py"), *(f for room in ROOMS for f in (ROOT / room).rglob("*.py"))]
    return sorted(f for f in ours if "versions" not in f.parts)  # every process that runs tests has the same order


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.split(".")[0]}
    return set()


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0].removesuffix(".py")
    if room not in MAY_IMPORT:
        return
    found = {name for node in ast.walk(ast.parse(file.read_text())) for name in imported(node)}
    assert (found & ROOMS) - MAY_IMPORT[room] - {room} == set()


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_heavy_libraries_are_imported_inside_functions_only(file: Path) -> None:
    if "tests" in file.parts:
        return
    top = {name for node in ast.parse(file.read_text()).body for name in imported(node)}
    assert top & HEAVY == set()


def test_the_app_and_every_page_load_nothing_heavy() -> None:
    pages = "; ".join(f"ast.parse(open({str(p)!r}).read())" for p in sorted((ROOT / "pages").glob("*.py")))
    modules = sorted(
        {
            node.module
            for p in [ROOT / "app.py", *(ROOT / "pages").glob("*.py")]
            for node in ast.walk(ast.parse(p.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS
        }
    )
    code = f"import ast, sys, importlib; {pages}; [importlib.import_module(m) for m in {modules!r}]; "
    code += f"print(sorted({HEAVY!r} & set(sys.modules)), 'dbos' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip().splitlines()[-1] == "[] False"
