"""The house: later chapters import earlier ones only, no circle, no class name twice, nothing heavy in the app."""

import ast
import importlib.metadata
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from settings import ROOT

CHAPTERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "files"}),
    frozenset({"settings", "stats"}),
    frozenset({"db"}),
    frozenset({"jobs", "texts"}),
    frozenset({"llm"}),
    frozenset({"intake"}),
    frozenset({"generation", "review"}),
    frozenset({"training"}),
    frozenset({"eval"}),
    frozenset({"release"}),
    frozenset({"examples"}),
    frozenset({"ui"}),
    frozenset({"pages", "commands"}),
    frozenset({"app", "cli"}),
    frozenset({"benchmarks", "pickwell"}),
)
"""The story's order: a room may import itself and the chapters before its own."""

EVALUATION_TABLES = {"Judgment", "JudgeVerdict", "RepeatJudgment", "Guess", "JudgmentReason"}
"""What blind reviewers said. Training never reads it."""

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
ROOMS = frozenset().union(*CHAPTERS)


@cache
def modules() -> dict[str, Path]:
    """Every module of the house by its dotted name, tests and migrations left out."""
    files = [*ROOT.glob("*.py"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(files)
        if "versions" not in file.parts
    }


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


def names_imported(node: ast.AST) -> Iterator[str]:
    """The dotted names that an import statement asks for; nothing for other nodes."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> frozenset[tuple[str, str]]:
    """(module, module of ours that it imports), wherever in the file the import stands."""
    found = set()
    for module in modules():
        for node in ast.walk(tree_of(module)):
            for name in names_imported(node):
                target = name if name in modules() else name.rpartition(".")[0]
                if target in modules() and target != module:
                    found.add((module, target))
    return frozenset(found)


def chapter_of(module: str) -> int:
    return next(place for place, rooms in enumerate(CHAPTERS) if module.split(".")[0] in rooms)


def test_every_module_stands_in_a_chapter() -> None:
    here = {file.stem for file in ROOT.glob("*.py")} | {
        folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()
    }
    assert here - {"tests"} <= ROOMS


def test_later_chapters_import_earlier_ones_and_never_the_reverse() -> None:
    against = {
        (module, target)
        for module, target in arrows()
        if module.split(".")[0] != target.split(".")[0] and chapter_of(target) >= chapter_of(module)
    }
    assert against == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = defaultdict(set)
    for module, target in arrows():
        graph[module].add(target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        raise AssertionError(" → ".join(problem.args[1])) from None


def test_training_names_no_table_of_evaluation() -> None:
    named = {
        (module, ast.unparse(node))
        for module in modules()
        if module.split(".")[0] == "training"
        for node in ast.walk(tree_of(module))
        if (isinstance(node, ast.Name) and node.id in EVALUATION_TABLES)
        or (isinstance(node, ast.Attribute) and node.attr in EVALUATION_TABLES)
    }
    assert named == set()


def test_no_class_name_stands_in_two_places() -> None:
    number = Counter(
        node.name for module in modules() for node in ast.walk(tree_of(module)) if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in number.items() if count > 1} == set()


def test_no_test_module_imports_another() -> None:
    """What two of them need stands in a module of its own: factories, fake_endpoint, trainings ..."""
    borrowed = {
        (file.stem, name)
        for file in (ROOT / "tests").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in names_imported(node)
        if name.startswith("tests.test_") and name.split(".")[1] != file.stem
    }
    assert borrowed == set()


def test_heavy_libraries_are_imported_inside_functions_only() -> None:
    at_the_top = {
        (module, name)
        for module in modules()
        for node in tree_of(module).body
        for name in names_imported(node)
        if name.split(".")[0] in HEAVY
    }
    assert at_the_top == set()


def test_the_app_and_every_page_load_nothing_heavy() -> None:
    entries = ["app", *(module for module in modules() if module.startswith("pages."))]
    wanted = sorted({target for module, target in arrows() if module in entries})
    code = f"import sys, importlib; [importlib.import_module(m) for m in {wanted!r}]; "
    code += "from huggingface_hub import HfApi, ModelCard, ModelCardData; "  # as a card and a push need them
    code += f"print(sorted({HEAVY!r} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip().splitlines()[-1] == "[]"


def test_pages_on_which_people_only_rank_and_judge_load_neither_pandas_nor_scipy() -> None:
    pages = {f"pages.{name}" for name in ("compare_responses", "correct_replies", "judge_blind")}
    wanted = sorted({target for module, target in arrows() if module in pages})
    code = f"import sys, importlib; [importlib.import_module(m) for m in {wanted!r}]; "
    code += "print(sorted({'pandas', 'scipy'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip().splitlines()[-1] == "[]"


def all_asked_for(names: Iterable[str]) -> set[str]:
    """These installed packages and all that they ask for."""
    waiting, known = list(names), set[str]()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in known:
            known.add(name)
            with suppress(importlib.metadata.PackageNotFoundError):
                asked = map(Requirement, importlib.metadata.requires(name) or ())
                waiting += [other.name for other in asked if not other.marker or other.marker.evaluate({"extra": ""})]
    return known


def test_the_app_s_packages_are_all_that_any_module_loads_at_once() -> None:
    loaded = {
        name.split(".")[0]
        for module in modules()
        if module.split(".")[0] != "benchmarks"
        for node in tree_of(module).body
        for name in names_imported(node)
    }
    foreign = loaded - ROOMS - sys.stdlib_module_names
    lines = (ROOT / "requirements" / "app.txt").read_text().splitlines()
    brought = all_asked_for(line for line in lines if line and line[0] not in "#-")
    makers = importlib.metadata.packages_distributions()
    assert {name for name in foreign if not brought & {canonicalize_name(maker) for maker in makers[name]}} == set()
