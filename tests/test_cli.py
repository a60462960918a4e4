"""The shell does what the pages do, and answers a mistake with one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

import cli
import commands.models
import settings as settings_module
from db.models import (
    Adapter,
    GenerationRun,
    Judgment,
    Method,
    Prompt,
    Ranking,
    Response,
    Reviewer,
    RunStatus,
    Scope,
    TrainingRun,
)
from db.people import create_project, ensure_reviewer
from db.schema import migrate
from db.session import reading, session
from eval.judging import judge, next_view
from generation.plan import start_generation
from review.assignment import next_offer
from review.rankings import rank
from settings import ROOT
from stats.verdicts import Verdict
from tests.factories import a_model, a_project, a_prompt, a_reviewer, sure
from tests.trainings import a_training
from training.recipe.recipe import from_row

EMAILS = [
    "My atlas has not come. Where is it?",
    "Two copies of the dictionary arrived and I ordered one.",
    "Can a school pay by invoice in October?",
    "The ebook opens on page nine and nowhere else.",
    "Please end my subscription to the chess monthly.",
    "Whom do I ask about quoting a poem in a sermon?",
]


@pytest.fixture
def shell(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints, run in this process to be quick; its words on one line."""

    def run(*words: str, fails: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["cli.py", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert bool(ended.value.code) is fails, said
        return " ".join((said.out + said.err).replace("│", " ").split())

    return run


def test_the_loop_from_a_shell(shell: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "emails.jsonl"
    rows = [
        {"email": text, "reply_ann": f"So sorry. {n}", "reply_bo": f"No. {n}", "test": "yes" if n > 3 else "no"}
        for n, text in enumerate(EMAILS)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    shell("new-project", "Parcels", "--as", "Mara", "--instructions", "Answer briefly.")
    shell("join", "Rae", "--role", "REVIEWER")
    said = shell("import", str(file), "--held-out", "column", "--column", "test", "--yes")
    assert "Saved 6 prompts, 12 replies, 0 picks." in said
    assert "Saved 0 prompts" in shell("import", str(file), "--held-out", "column", "--column", "test", "--yes")
    shell("generate", "Base model", "--samples", "2")
    assert "6 prompts (2 held out), 8 pairs, 0 ranked by people" in shell("status")
    with session() as s:
        mara = s.scalars(select(Reviewer.id).where(Reviewer.name == "Mara")).one()
        pair = sure(next_offer(s, project_id=1, reviewer_id=mara))
        rank(s, by=mara, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
    assert "1 usable preferences; training needs at least 10" in shell("train", "First", fails=True)
    assert "Open for judging: 2 pairs" in shell(
        "evaluate", "One", "--candidate", "Base model", "--against", "Ann", "--telling", "keep"
    )
    assert "closed" in shell("evaluate", "One", fails=True)
    with session() as s:
        rae = s.scalars(select(Reviewer.id).where(Reviewer.name == "Rae")).one()
        while view := next_view(s, by=rae, evaluation_id=1):
            judge(s, by=rae, judgment_id=view.judgment_id, verdict=Verdict.TIE)
    assert "50.0%" in shell("evaluate", "One", "--close")
    with reading() as s:
        counts = [s.scalar(select(func.count()).select_from(t)) for t in (Prompt, Response, Ranking, Judgment)]
    assert counts == [6, 22, 1, 2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status",), "There is no project yet"),
        (("import", "nowhere.csv"), "There is no file nowhere.csv"),
        (("generate", "Base model"), "There is no project yet"),
        (("evaluate", "One"), "There is no project yet"),
        (("new-project", "P", "--as", "Mara", "--guideline", "nowhere.md"), "'nowhere.md' does not exist"),
        (("new-project", "  ", "--as", "Mara"), "A project needs a name"),
        (("new-project", "P", "--as", "Mara", "--guideline", "ui/icon.png"), "ui/icon.png is not UTF-8"),
        (("demo", "--json", "/no/such/folder/x.json"), "There is no folder /no/such/folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_gets_one_sentence_with_the_remedy(
    shell: Callable[..., str], words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in shell(*words, fails=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("generate", "Base model", "--samples", "9"), "Choose 1 to 8 responses"),
        (("generate", "Base model", "--as", "Nobody"), "There is nobody called “Nobody” here"),
        (("train", "First", "--base", "Nothing", "--snapshot", "7"), "There is no snapshot 7"),
        (("train", "First", "--recipe", "9"), "less than or equal to 2"),
        (("evaluate", "One"), "There is no evaluation “One”"),
        (("status", "-p", "Nowhere"), "There is no project “Nowhere”. There are: “Parcels”."),
        (("evaluate", "One", "--candidate", "Nobody"), "There is no responder “Nobody”"),
        (("import", "README.md"), "neither CSV nor JSONL"),
        (("join", "Rae", "--role", "KING"), "'KING' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_inside_a_project_too(shell: Callable[..., str], words: tuple[str, ...], sentence: str) -> None:
    migrate()
    with session() as s:
        create_project(s, name="Parcels", task="", instructions="", guideline="", by=ensure_reviewer(s, name="Mara").id)
    assert sentence in shell(*words, fails=True)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PICKWELL_HOME", "{file}", "PICKWELL_HOME is {file}, which cannot be written"),
        ("PICKWELL_DATABASE_URL", "not a url", "PICKWELL_DATABASE_URL is no SQLAlchemy URL"),
        ("PICKWELL_DATABASE_URL", "sqlite:////proc/none.db", "The database cannot be opened"),
        ("PICKWELL_DATABASE_URL", "oracle://somewhere/x", "names needs oracledb, which is not installed here. Type “"),
        ("PICKWELL_PORT", "many", "PICKWELL_PORT cannot be 'many'"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    shell: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv(name, value.format(file=file))
    settings_module.settings.cache_clear()
    assert sentence.format(file=file) in shell("status", fails=True)


def test_names_with_square_brackets_are_shown_as_they_are_by_the_command_that_people_type(
    shell: Callable[..., str],
) -> None:
    shell("new-project", "[/b] [red]Parcels", "--as", "Mara")
    command = [sys.executable, "cli.py", "status"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "[/b] [red]Parcels" in done.stdout


def test_what_a_command_writes_is_its_users_alone(tmp_path: Path) -> None:
    environment = os.environ | {"PICKWELL_HOME": str(tmp_path / "new"), "PICKWELL_ENGINE": "echo"}
    subprocess.run([sys.executable, "cli.py", "setup", "--no-sample"], cwd=ROOT, env=environment, check=True)
    written = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(written) > 1
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_a_run_that_a_killed_shell_left_behind_is_gone_on_with(shell: Callable[..., str], database: Path) -> None:
    with session() as s:
        project = a_project(s)
        manager, model = a_reviewer(s, project), a_model(s, project, name="Tone")
        a_prompt(s, project)
        left = start_generation(s, by=manager.id, responder_id=model.id, scope=Scope.ALL, samples=1).id
        name = manager.name
    assert f"this goes on with run {left}" in shell("generate", "Tone", "--as", name)
    with reading() as s:
        (run,) = s.scalars(select(GenerationRun))
        assert (run.id, run.status) == (left, RunStatus.SUCCEEDED)


def test_a_training_by_another_method_takes_the_advised_recipe(
    database: Path, shell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with session() as s:
        run = a_training(s)
        manager, base = run.requested_by_id, run.base_model.name
        who = s.get_one(Reviewer, manager).name
    monkeypatch.setattr(commands.models, "wait_for_run", lambda run_id: None)
    shell("train", "Second", "--as", who, "--base", base, "--recipe", "0", "--method", "kto", "--adapter", "dora")
    with reading() as s:
        recipe = s.scalars(select(TrainingRun).where(TrainingRun.model_name == "Second")).one().recipe
        used = from_row(recipe)
        assert (used.method, used.adapter, used.beta) == (Method.KTO, Adapter.DORA, 0.1)
