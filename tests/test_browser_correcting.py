"""Correcting, writing, finding: the screens beside the ranking, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.models import Comparison, Correction, Draft, Project, Responder, ResponderKind, Response, Role
from db.session import reading, session
from intake.sample import load_sample
from review.rankings import rank
from stats.verdicts import Verdict
from tests.app_server import app_running, press_until
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_response, a_reviewer, sure

pytestmark = pytest.mark.slow
EDITOR = "The reply as it should be"
HOSTILE = (
    "![x](https://elsewhere.example/a.png) <img src=https://elsewhere.example/b.png onerror=alert(1)>"
    "<script>document.title='taken'</script> **As an AI model** \u202ereversed\u202c zero\u200bwidth"
)


@pytest.fixture
def address(database: Path) -> Iterator[str]:
    """The app on the sample project; nothing ranked by people yet."""
    with session() as s:
        load_sample(s)
    with app_running(database.parent) as found:
        yield found


def test_what_nobody_would_send_is_corrected_with_a_live_diff_and_a_draft_that_survives(
    address: str, page: Page
) -> None:
    with session() as s:
        project = s.scalars(select(Project)).one()
        mara = a_reviewer(s, project, Role.MANAGER, name="Mara Example")
        tom = a_reviewer(s, project, Role.ANNOTATOR, name="Tom Example")
        pairs = s.scalars(select(Comparison).order_by(Comparison.id).limit(2)).all()
        for pair in pairs:
            rank(s, by=mara.id, comparison_id=pair.id, order=Verdict.BOTH_BAD.order)
    page.goto(f"{address}/correct_replies?project={project.id}&person={tom.id}")
    expect(page.get_by_text("still to correct: 2.")).to_be_visible()
    editor = page.get_by_role("textbox", name=EDITOR)
    original = editor.input_value()
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" We are sorry. ul", delay=20)
    expect(page.locator(".pw-diff ins")).to_have_text(re.compile("We are sorry. ul"))
    expect(page.get_by_text("4 words changed, kept as a draft")).to_be_visible()
    expect(page.get_by_text("still to correct: 2.")).to_be_visible()  # "u" and "l" were typed, not pressed

    page.reload()
    expect(page.get_by_role("textbox", name=EDITOR)).to_have_value(original + " We are sorry. ul")
    page.get_by_role("button", name="Reset to original").click()
    expect(page.get_by_role("textbox", name=EDITOR)).to_have_value(original)
    expect(page.get_by_text("0 words changed")).to_be_visible()
    with reading() as s:
        assert s.scalars(select(Draft)).all() == []
    page.get_by_role("button", name="Save correction").click()
    expect(page.get_by_text("Nothing was changed")).to_be_visible()

    editor = page.get_by_role("textbox", name=EDITOR)
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" Sorry.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Correction saved")).to_be_visible()
    expect(page.get_by_text("still to correct: 1.")).to_be_visible()

    # somebody else corrects the correction, and the chain is kept
    page.goto(f"{address}/correct_replies?project={project.id}&person={mara.id}")
    page.get_by_text("Corrections so far").click()
    page.get_by_role("button", name="Correct this further").click()
    editor = page.get_by_role("textbox", name=EDITOR)
    expect(editor).to_have_value(original + " Sorry.")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" Truly.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Tom Example → Mara Example")).to_be_visible()
    with reading() as s:
        first, second = s.scalars(select(Correction).order_by(Correction.id))
    assert (second.parent_id, second.text) == (first.id, f"{original.strip()} Sorry. Truly.")


def test_a_reply_is_written_from_an_empty_box_and_any_comparison_is_found_and_opened(address: str, page: Page) -> None:
    foreign: list[str] = []
    page.on("request", lambda sent: foreign.append(sent.url) if "elsewhere" in sent.url else None)
    with session() as s:
        project = a_project(s, name="Hostile")
        mara = a_reviewer(s, project, Role.MANAGER, name="Mara Example")
        tom = a_reviewer(s, project, Role.ANNOTATOR, name="Tom Example")
        team = a_human(s, project, name="Service team")
        prompt = a_prompt(s, project, text=f"Where is it? {HOSTILE}")
        a_response(s, prompt, team, text=f"Here. {HOSTILE}")
    page.goto(f"{address}/correct_replies?project={project.id}&person={tom.id}")
    page.get_by_text("Write replies (1)").click()
    expect(page.get_by_text("want a reply by you: 1.")).to_be_visible()
    page.get_by_role("textbox", name="Your reply").click()
    page.keyboard.type("It comes on Friday, Mr L. U.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Every prompt here has two people")).to_be_visible()
    with reading() as s:
        mine = s.scalars(select(Responder).where(Responder.reviewer_id == tom.id)).one()
        assert mine.kind is ResponderKind.HUMAN
        assert s.scalars(select(Response.text).where(Response.responder_id == mine.id)).all() == [
            "It comes on Friday, Mr L. U."
        ]

    # the manager finds the new pair; what others said stays sealed until she gives up ranking it
    page.goto(f"{address}/find_comparisons?project={project.id}&person={mara.id}")
    expect(page.get_by_text("Found: 1. Click a row")).to_be_visible()
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_be_visible()
    page.wait_for_timeout(1000)
    box = sure(table.bounding_box())
    page.mouse.click(box["x"] + 17, box["y"] + 53)
    expect(page.locator(".pw-label").first).to_have_text("1")
    expect(page.locator(".pw-text", has_text="<script>")).to_have_count(2)  # prompt and reply, literally
    expect(page.get_by_text("[U+202E]").first).to_be_visible()
    page.get_by_role("button", name="Show who wrote what").click()
    expect(page.locator(".pw-label", has_text="Tom Example")).to_be_visible()
    expect(page.get_by_text("Nobody has ranked it")).to_be_visible()
    page.get_by_role("button", name="Discard it").click()
    expect(page.get_by_role("button", name="Bring it back")).to_be_visible()
    page.get_by_text("Everything that changed").click()
    expect(page.get_by_text("discarded: –, by person number: –")).to_be_visible()
    assert page.title().startswith("Find")
    assert foreign == []


def test_lists_and_filters_of_the_queue(address: str, page: Page) -> None:
    with session() as s:
        project = s.scalars(select(Project)).one()
        project.people_wanted = 2
        mara = a_reviewer(s, project, Role.MANAGER, name="Mara Example")
        tom = a_reviewer(s, project, Role.ANNOTATOR, name="Tom Example")
        other = a_prompt(s, project, text="Only this one is of another import.")
        a_comparison(s, *(a_response(s, other, a_human(s, project)) for _ in range(2)))
        first = sure(s.scalars(select(Comparison).order_by(Comparison.random_order)).first())
        rank(s, by=tom.id, comparison_id=first.id, order=Verdict.LEFT.order)
    page.goto(f"{address}/compare_responses?project={project.id}&person={mara.id}")
    press_until(page, "ArrowLeft", "1 of 201 pairs ranked by you")
    press_until(page, "ArrowRight", "2 of 201 pairs ranked by you")
    page.wait_for_timeout(1000)
    page.get_by_text("Done", exact=True).click()
    again = page.get_by_role("button", name="Rank again")
    expect(again).to_have_count(1)
    page.get_by_text("Waiting for others").click()
    expect(again).to_have_count(1)
    again.click()
    expect(page.get_by_text("1 of 201 pairs ranked by you")).to_be_visible()
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("combobox", name="Prompts of").click()
    page.get_by_role("option", name=re.compile("f.csv")).click()
    expect(page.get_by_text("Only this one is of another import.")).to_be_visible()
