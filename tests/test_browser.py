"""A person in a real browser: imports, ranks by keyboard, corrects, judges blind, reads the win rate."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, WebSocket, expect
from sqlalchemy import func, select

from db.models import Correction, Judgment, Project, Prompt, Ranking, Responder, Reviewer, Role
from db.session import reading, session
from eval.evaluations import create_evaluation
from eval.protocol import LeakPolicy
from intake.sample import load_sample
from tests.app_server import App, app_running, press_until
from tests.factories import a_model, a_project, a_response, a_reviewer

pytestmark = pytest.mark.slow
PAGES = (
    *("Overview", "Import", "Route", "Try prompts", "Generate", "Check", "Tidy texts"),
    *("Compare", "Correct", "Progress", "Decide", "Find"),
    *("Freeze", "Look at data", "Train", "Learning curve", "Trained models"),
    *("Judge blind", "Evaluate", "People"),
)
MENU = [re.compile(f"{name}$") for name in PAGES]  # an icon's name stands before it
REVIEWERS_MENU = ["Overview", "Judge", "Evaluate", "People"]
PEOPLE = ("Rosalind", "Achterberg", "Malhotra", "Quiet Model")


@pytest.fixture
def address(database: Path) -> Iterator[str]:
    """The app on a free port, on the sample project with a model that has answered the held-out prompts."""
    with session() as s:
        project = load_sample(s)
        model = a_model(s, project, name="Quiet Model")
        for prompt in s.scalars(select(Prompt).where(Prompt.project_id == project.id, Prompt.held_out)).all():
            a_response(s, prompt, model, text=f"Thank you for asking. ![x](https://elsewhere.example/{prompt.id}.png)")
    with app_running(database.parent) as found:
        yield found


def count(table: type) -> int:
    with reading() as s:
        return s.scalar(select(func.count()).select_from(table)) or 0


def test_a_person_goes_round_the_loop_and_nothing_leaks(address: str, page: Page, tmp_path: Path) -> None:
    foreign: list[str] = []
    frames: list[str] = []

    def request(sent: Request) -> None:
        if not sent.url.startswith((address, "data:", "blob:")):
            foreign.append(sent.url)

    def socket_opened(opened: WebSocket) -> None:
        opened.on("framereceived", lambda frame: frames.append(_text(frame)))

    page.on("request", request)
    page.on("websocket", socket_opened)
    page.goto(f"{address}/compare_responses")  # a link to one page is what a fresh server is asked for first

    # who
    page.get_by_label("Your name").fill("Mara Example")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_text(MENU)

    # import
    page.get_by_role("link", name="Import").click()
    file = tmp_path / "more.csv"
    file.write_text("email,reply_ann,reply_bob\nDo you sell maps of Wales?,Yes.,Yes! Three of them.\n")
    page.locator('input[type="file"]').set_input_files(file)
    expect(page.get_by_text("New prompts")).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("Imported 1 prompts")).to_be_visible()
    assert count(Prompt) == 241

    # rank three by keyboard
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_text("0 of 201 pairs ranked by you")).to_be_visible()
    for done, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowUp"), start=1):
        press_until(page, key, f"{done} of 201 pairs ranked by you")
    press_until(page, "u", "2 of 201 pairs ranked by you")
    press_until(page, "ArrowDown", "3 of 201 pairs ranked by you")
    page.wait_for_timeout(1500)  # the pause is over

    # correct one; keys typed in the editor rank nothing
    page.get_by_text("Correct a reply").click()
    editor = page.get_by_role("textbox", name="The reply as it should be")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" We will write by Friday. luck")
    expect(page.locator(".pw-diff ins").first).to_be_visible()  # while it is typed
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Correction saved")).to_be_visible()
    assert count(Correction) == 1
    with reading() as s:
        mara = s.scalars(select(Reviewer).where(Reviewer.name == "Mara Example")).one()
        mine = s.scalars(select(Ranking).where(Ranking.reviewer_id == mara.id, Ranking.undone_at.is_(None))).all()
    assert len(mine) == 3

    # judge three blind
    with session() as s:
        project = s.scalars(select(Project)).one()
        ids = {r.name: r.id for r in s.scalars(select(Responder).where(Responder.project_id == project.id))}
        create_evaluation(
            s,
            by=mara.id,
            project_id=project.id,
            name="Quiet Model against people",
            candidate_id=ids["Quiet Model"],
            baseline_ids=[ids["Rosalind Achterberg"], ids["Dev Malhotra"]],
            seed=5,
            undecided=LeakPolicy.KEEP,
        )
    page.goto(f"{address}/?project={project.id}&person={mara.id}")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    frames.clear()
    page.get_by_role("link", name="Judge blind").click()
    expect(page.get_by_text("0 of 40 pairs judged by you")).to_be_visible()
    for done, key in enumerate(("ArrowLeft", "ArrowDown", "ArrowRight"), start=1):
        press_until(page, key, f"{done} of 40 pairs judged by you")
    page.wait_for_timeout(1500)  # the pause is over, and the fourth pair on the screen
    received = " ".join(frames) + page.content()
    assert "pairs judged by you" in received
    for name in PEOPLE:
        assert name not in received, f"{name} reached the judging browser"
    assert count(Judgment) == 4  # three judged, the fourth drawn and on screen

    # read the win rate
    page.get_by_role("link", name="Evaluate").click()
    page.get_by_role("textbox", name="Why it ends before").fill("Three are enough to see the result")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Close it and read the result").click()
    result = page.get_by_text("Quiet Model against People, together (simulated): win rate")
    expect(result).to_be_visible()
    expect(result).to_contain_text("n = 3")
    assert foreign == []


def test_one_tab_is_one_person_at_a_time(address: str, page: Page) -> None:
    with session() as s:
        project = s.scalars(select(Project)).one()
        mara = a_reviewer(s, project, Role.MANAGER, name="Mara Example")
        rita = a_reviewer(s, project, Role.REVIEWER, name="Rita Example")
        other = a_project(s, name="Another")
        a_reviewer(s, other, Role.MANAGER, name="Nora Example")

    page.goto(f"{address}/judge_blind?project=²&person={rita.id}")  # an address that somebody mistyped
    expect(page.get_by_role("heading", name="Judge blind")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_text([re.compile(n) for n in REVIEWERS_MENU])
    page.get_by_role("button", name="Somebody else").click()
    page.get_by_role("button", name="Mara Example").click()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_text(MENU)
    expect(page).to_have_url(re.compile(f"person={mara.id}"))

    # an undone pair stays with the person who undid it
    page.get_by_role("link", name="Compare").click()
    press_until(page, "ArrowLeft", "1 of 200 pairs ranked by you")
    press_until(page, "u", "0 of 200 pairs ranked by you")
    chooser = page.get_by_role("combobox", name="Project")
    chooser.scroll_into_view_if_needed()  # a list that is open closes when the sidebar scrolls
    chooser.click()
    page.get_by_role("option", name="Another").click()
    expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()
    page.get_by_role("button", name="Nora Example").click()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_text("There are no pairs to rank yet")).to_be_visible()
    with reading() as s:
        assert set(s.scalars(select(Ranking.reviewer_id).where(Ranking.prompt_set_id.is_(None)))) == {mara.id}


def rankings_by(reviewer_id: int) -> list[Ranking]:
    """Their standing rankings, oldest first."""
    with reading() as s:
        return list(
            s.scalars(
                select(Ranking)
                .where(Ranking.reviewer_id == reviewer_id, Ranking.undone_at.is_(None))
                .order_by(Ranking.id)
            )
        )


def test_every_key_of_the_pair_screen_and_its_guards(address: str, page: Page) -> None:
    with session() as s:
        project = s.scalars(select(Project)).one()
        me = a_reviewer(s, project, Role.MANAGER, name="Mara Example").id
    page.goto(f"{address}/compare_responses?project={project.id}&person={me}")
    bar = page.get_by_role("button", name="Left is better")
    expect(bar).to_be_visible()

    # a choice is seen, then the next pair comes by itself; the bar stays where it is
    press_until(page, "ArrowUp", "1 of 200 pairs ranked by you")
    page.wait_for_timeout(1000)
    place = bar.bounding_box()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".pw-card.pw-chosen")).to_have_count(1)
    expect(page.get_by_text("2 of 200 pairs ranked by you")).to_be_visible()
    expect(page.locator(".pw-chosen")).to_have_count(0)
    assert bar.bounding_box() == place

    # the same key twice within the pause means much better, and judges one pair
    page.wait_for_timeout(1000)
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(120)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("left is better (much)")).to_be_visible()
    assert [r.strength for r in rankings_by(me)] == [None, 1, 2]

    # a key held for two seconds, as keyboards repeat it, and a double click judge one pair each
    page.wait_for_timeout(1000)
    page.keyboard.down("ArrowDown")
    page.wait_for_timeout(500)
    for _ in range(45):
        page.keyboard.down("ArrowDown")
        page.wait_for_timeout(33)
    page.keyboard.up("ArrowDown")
    page.wait_for_timeout(1500)
    assert len(rankings_by(me)) == 4
    page.get_by_role("button", name="Right is better").dblclick()
    page.wait_for_timeout(1500)
    assert len(rankings_by(me)) == 5

    # Backspace does nothing, letters typed into a box neither undo nor rank
    page.keyboard.press("Backspace")
    why = page.get_by_role("textbox", name="Your last choice")
    why.click()
    page.keyboard.type("u rude? ul")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Reason saved")).to_be_visible()
    assert [r.reason for r in rankings_by(me)][-1] == "u rude? ul"
    assert len(rankings_by(me)) == 5

    # U goes back step by step
    page.get_by_role("heading", name="Compare").click()
    for left in (4, 3, 2):
        press_until(page, "u", f"{left} of 200 pairs ranked by you")
    assert [r.strength for r in rankings_by(me)] == [None, 1]

    # while the flag's dialog is open no key ranks or undoes; closed without a note, it flags nothing
    page.get_by_role("button", name="Flag").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.wait_for_timeout(800)
    dialog.get_by_role("heading", name="Flag this pair").click()
    for key in ("ArrowLeft", "ArrowDown", "u", "l", "Backspace"):
        page.keyboard.press(key)
        page.wait_for_timeout(250)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("2 of 200 pairs ranked by you")).to_be_visible()
    assert len(rankings_by(me)) == 2

    # a flag needs a note; a manager settles it
    page.get_by_role("button", name="Flag").click()
    page.get_by_role("textbox", name="What is wrong with this pair?").fill("Left is cut off.")
    page.get_by_role("button", name="Flag it for a manager").click()
    expect(page.get_by_text("Flagged: a manager will look at it")).to_be_visible()
    expect(page.get_by_text("2 of 199 pairs ranked by you")).to_be_visible()
    page.get_by_role("link", name="Progress").click()
    expect(page.get_by_text("Left is cut off.")).to_be_visible()
    page.get_by_role("button", name="Discard it").click()
    expect(page.get_by_text("Left is cut off.")).to_have_count(0)


@pytest.mark.both_databases
def test_after_kill_9_of_the_app_everything_acknowledged_is_there_and_the_reviewer_goes_on(
    database: Path, page: Page
) -> None:
    with session() as s:
        project = load_sample(s)
        me = a_reviewer(s, project, Role.ANNOTATOR, name="Mara Example").id
    app = App(database.parent)
    app.start()
    try:
        page.goto(f"{app.address}/compare_responses?project={project.id}&person={me}")
        counter = page.get_by_text(re.compile(r"\d+ of 200 pairs ranked by you"))
        expect(counter).to_be_visible()
        done = 0
        for wave in range(2):
            for _ in range(4):
                done += 1
                press_until(page, "ArrowLeft", f"{done} of 200 pairs ranked by you")
            page.wait_for_timeout(1000)
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(30 * wave)  # the choice is on its way, or in the database and not yet on the screen
            app.kill()
            seen = int(str(counter.text_content()).split()[0])
            app.start()
            page.reload()
            expect(counter).to_be_visible()
            done = len(rankings_by(me))
            assert seen <= done <= seen + 1
            expect(page.get_by_text(f"{done} of 200 pairs ranked by you")).to_be_visible()
        press_until(page, "ArrowLeft", f"{done + 1} of 200 pairs ranked by you")
        mine = rankings_by(me)
        assert len({ranking.comparison_id for ranking in mine}) == len(mine) == done + 1
    finally:
        app.stop()


def _text(frame: str | bytes) -> str:
    return frame if isinstance(frame, str) else frame.decode("utf-8", "ignore")
