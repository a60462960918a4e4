"""The pages Try prompts and Generate as a manager uses them, without a browser."""

from pathlib import Path

import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from db.models import GenerationRun, ParityCheck, Project, Responder, ResponderKind, RunStatus
from db.session import reading, session
from generation import worker
from jobs.progress import unmanaged_progress
from tests.app_pages import open_page, press
from tests.factories import a_model, a_project, a_prompt, a_reviewer

HERE: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _project(database: Path) -> None:
    with session() as s:
        project = a_project(s)
        by = a_reviewer(s, project)
        a_model(s, project, name="Base", instructions="Rhyme.")
        for _ in range(6):
            a_prompt(s, project)
        HERE.update(project=project.id, by=by.id)


def opened(name: str) -> AppTest:
    """A page as the manager sees it."""
    return open_page(name, project_id=HERE["project"], by=HERE["by"])


def box(page: AppTest, label: str) -> object:
    return next(one for one in [*page.text_area, *page.text_input, *page.selectbox] if one.label == label)


def test_a_prompt_is_tried_shown_beside_the_last_one_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("try_prompts")
    press(page, "Try it")
    box(page, "System prompt (instructions)").set_value("Be brief.").run()  # type: ignore[attr-defined]
    press(page, "Try it")
    with reading() as s:
        made = s.scalars(select(Responder).where(Responder.listed.is_(False)).order_by(Responder.id)).all()
        (run,) = s.scalars(select(GenerationRun)).all()
        assert [one.name for one in made] == ["Try 1", "Try 2"]
        assert (run.trial, run.status) == (True, RunStatus.QUEUED)
    monkeypatch.setattr(worker, "LINGER", 0.0)
    worker.run(unmanaged_progress("generation", run.id))
    page = opened("try_prompts")
    assert (box(page, "Before").value, box(page, "After").value) == (made[0].id, made[1].id)  # type: ignore[attr-defined]
    box(page, "Keep it under the name").set_value("Brief")  # type: ignore[attr-defined]
    press(page, "Keep as responder")
    with reading() as s:
        assert s.get_one(Responder, made[1].id).listed
        assert s.get_one(Responder, made[1].id).name == "Brief"


def test_an_unknown_field_is_told_where_the_prompt_is_written() -> None:
    page = opened("try_prompts")
    box(page, "System prompt (instructions)").set_value("Columns: {{colums}}").run()  # type: ignore[attr-defined]
    assert any("nothing fills in" in one.value for one in page.error)
    assert not page.exception


def test_a_model_behind_an_endpoint_is_made_on_the_page_and_a_check_asked_for() -> None:
    page = opened("generate_responses")
    box(page, "Model").set_value("A model behind an endpoint …").run()  # type: ignore[attr-defined]
    box(page, "Address").set_value("https://api.example.com/v1")  # type: ignore[attr-defined]
    box(page, "What the model is called there").set_value("gpt-4")  # type: ignore[attr-defined]
    box(page, "Environment variable that holds the key").set_value("sk-123")  # type: ignore[attr-defined]
    next(one for one in page.text_input if one.key == "responder_name").set_value("GPT-4").run()
    press(page, "Make it")
    assert any("The key itself is never stored" in one.value.replace("\\", "") for one in page.error)
    box(page, "Environment variable that holds the key").set_value("PICKWELL_KEY_OPENAI").run()  # type: ignore[attr-defined]
    press(page, "Make it")
    with reading() as s:
        made = s.scalars(select(Responder).where(Responder.kind == ResponderKind.REMOTE)).one()
        assert (made.name, made.endpoint_model, made.key_variable) == ("GPT-4", "gpt-4", "PICKWELL_KEY_OPENAI")
    press(page, "Check")
    with reading() as s:
        assert s.scalars(select(ParityCheck.status)).all() == [RunStatus.QUEUED]


def test_several_responders_on_one_model_are_started_as_one_run_that_names_them_all() -> None:
    with session() as s:
        base = s.scalars(select(Responder)).one()
        brief = Responder(
            project_id=HERE["project"],
            name="Brief *one*",
            kind=ResponderKind.MODEL,
            model_version_id=base.model_version_id,
            instructions="Be brief.",
        )
        other = a_model(s, s.get_one(Project, HERE["project"]), location="elsewhere", name="Other")
        s.add(brief)
        s.flush()
        names = {who.id: who.name for who in (base, brief, other)}
    page = opened("generate_responses")
    who = next(one for one in page.multiselect if one.label == "Responders")
    for label in ("Brief *one*", "Other"):
        who.select(label)
    press(page, "Start")
    with reading() as s:
        runs = s.scalars(select(GenerationRun).order_by(GenerationRun.id)).all()
        found = [[names[one] for one in (run.responder_id, *(c.responder_id for c in run.companions))] for run in runs]
        assert found == [["Base", "Brief *one*"], ["Other"]]
    titles = [one.value for one in page.markdown if "Run " in one.value]
    assert any("Base \\+ Brief \\*one\\*" in one for one in titles), titles
    press(page, "Start")
    assert any("is generating already" in one.value for one in page.error)
