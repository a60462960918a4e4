"""Several cards in a real browser: every key, and what keeps one press from counting twice."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.models import Project, Ranking, Reviewer, Role
from db.session import reading, session
from tests.app_server import app_running, press_until
from tests.factories import a_comparison, a_human, a_project, a_prompt, a_response, a_reviewer

pytestmark = pytest.mark.slow
TOTAL = 12


@pytest.fixture
def address(database: Path) -> Iterator[str]:
    """The app on a project with comparisons of four."""
    with session() as s:
        project = a_project(s, name="Parcels")
        a_reviewer(s, project, Role.MANAGER, name="Mara Example")
        writers = [a_human(s, project, name=f"Writer {n}") for n in range(4)]
        for _ in range(TOTAL):
            prompt = a_prompt(s, project)
            a_comparison(s, *(a_response(s, prompt, writer) for writer in writers))
    with app_running(database.parent) as found:
        yield found


def given() -> list[tuple[tuple[int, ...], bool]]:
    """What stands, oldest first: the places from left to right, and whether none can be sent."""
    with reading() as s:
        standing = s.scalars(select(Ranking).where(Ranking.undone_at.is_(None)).order_by(Ranking.id))
        return [
            (tuple(p.place for p in sorted(one.placements, key=lambda p: p.position)), one.both_bad) for one in standing
        ]


def open_page(page: Page, address: str) -> None:
    with reading() as s:
        me = s.scalars(select(Reviewer.id).where(Reviewer.name == "Mara Example")).one()
        project = s.scalars(select(Project.id)).one()
    page.goto(f"{address}/compare_responses?project={project}&person={me}")
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    page.wait_for_timeout(1500)


def seen(page: Page) -> list[list[str]]:
    """Cards' heads, the focused one's, and the line above the keys."""
    return [page.locator(mark).all_inner_texts() for mark in (".pw-slot-head", ".pw-focus", ".pw-hint")]


def answered(page: Page, act: Callable[[], None]) -> None:
    """Do something and wait until the screen has answered it, or two seconds where it says nothing."""
    before = seen(page)
    act()
    for _ in range(20):
        page.wait_for_timeout(100)
        if seen(page) != before:
            return


def typed(page: Page, *keys: str) -> None:
    """Keys one after another, at a person's pace."""
    for key in keys:
        answered(page, lambda key=key: page.keyboard.press(key))  # type: ignore[misc]


def saved(page: Page, count: int) -> None:
    """Wait until so many are saved and the next is on the screen, and has stood long enough to count."""
    expect(page.get_by_text(f"{count} of {TOTAL} pairs ranked by you")).to_be_visible()
    expect(page.locator(".pw-hint")).not_to_contain_text("Saved")
    expect(page.locator(".pw-place")).to_have_count(0)
    page.wait_for_timeout(700)


def places(page: Page) -> list[str]:
    """What stands on the cards' heads behind their letters."""
    return [text.removeprefix(f"Card {'ABCD'[n]}").strip() for n, text in enumerate(heads(page))]


def heads(page: Page) -> list[str]:
    return page.locator(".pw-slot-head").all_inner_texts()


def expect_focus(page: Page, letter: str) -> None:
    """Wait until this card and no other is outlined; cards are drawn one after another."""
    expect(page.locator(".pw-focus")).to_have_count(1)
    expect(page.locator(".pw-focus")).to_contain_text(f"Card {letter}")


def test_digits_order_four_cards_with_ties_and_enter_submits(address: str, page: Page) -> None:
    open_page(page, address)
    typed(page, "2", "1", "4")
    assert places(page) == ["2nd", "1st", "4th", ""]
    expect_focus(page, "D")
    typed(page, "Enter")
    expect(page.locator(".pw-hint")).to_have_text("Place card D too, then Enter.")
    assert given() == []
    page.wait_for_timeout(700)
    typed(page, "4")
    page.keyboard.press("Enter")
    expect(page.locator(".pw-hint")).to_have_text("Saved: B, then A, then C and D.")
    saved(page, 1)
    assert given() == [((2, 1, 3, 3), False)]

    # the focus moves by arrows and by mouse, and a place can be changed
    typed(page, "ArrowRight", "1", "ArrowLeft")
    expect_focus(page, "B")
    typed(page, "2")
    answered(page, page.locator('[class*="st-key-card_focus_3"] button').click)
    typed(page, "1", "3", "4", "Enter")
    saved(page, 2)
    assert given()[1] == ((3, 2, 4, 1), False)


def test_the_order_as_shown_needs_a_second_enter_and_none_good_one_key(address: str, page: Page) -> None:
    open_page(page, address)
    typed(page, "Enter")
    expect(page.locator(".pw-hint")).to_contain_text("Enter again saves the order as it is shown: A, B, C, D")
    page.keyboard.press("Enter")  # too quick to have read the warning
    page.wait_for_timeout(1500)
    assert given() == []
    page.keyboard.press("Enter")
    saved(page, 1)
    assert given() == [((1, 2, 3, 4), False)]
    page.keyboard.press("0")
    saved(page, 2)
    assert given()[1] == ((1, 1, 1, 1), True)
    expect(page.get_by_text("Your last choice: none can be sent")).to_be_visible()


def test_best_and_worst_take_two_digits_and_are_remembered(address: str, page: Page) -> None:
    open_page(page, address)
    page.get_by_role("radio", name="Best and worst").click()
    expect(page.locator(".pw-hint")).to_have_text("Which card is the best? Press its digit.")
    typed(page, "3", "3")
    expect(page.locator(".pw-hint")).to_contain_text("has to be another one")
    typed(page, "1")
    page.keyboard.press("Enter")
    saved(page, 1)
    assert given() == [((3, 2, 1, 2), False)]
    expect(page.locator(".pw-hint")).to_have_text("Which card is the best? Press its digit.")
    answered(page, page.locator('[class*="st-key-card_name_1"] button').click)
    answered(page, page.locator('[class*="st-key-card_name_3"] button').click)
    page.get_by_role("button", name="Submit").click()
    saved(page, 2)
    assert given()[1] == ((2, 1, 2, 3), False)


@pytest.mark.parametrize("key", ["Enter", "0"])
def test_a_held_key_submits_once(address: str, page: Page, key: str) -> None:
    open_page(page, address)
    if key == "Enter":
        typed(page, "1", "2", "3", "4")
    page.keyboard.down(key)
    page.wait_for_timeout(500)
    for _ in range(90):
        page.keyboard.down(key)
        page.wait_for_timeout(33)
    page.keyboard.up(key)
    page.wait_for_timeout(1500)
    assert len(given()) == 1


def test_a_held_enter_never_saves_the_order_as_shown(address: str, page: Page) -> None:
    open_page(page, address)
    page.keyboard.down("Enter")
    page.wait_for_timeout(500)
    for _ in range(90):
        page.keyboard.down("Enter")
        page.wait_for_timeout(33)
    page.wait_for_timeout(2500)  # a machine that stood still while the key was held
    page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.wait_for_timeout(1500)
    assert given() == []


def test_keys_in_a_burst_are_counted_in_their_order_or_not_at_all(address: str, page: Page) -> None:
    open_page(page, address)
    for key in "2143":
        page.keyboard.press(key)
    page.wait_for_timeout(1500)
    shown = [place for place in places(page) if place]
    assert shown == ["2nd", "1st", "4th", "3rd"][: len(shown)]
    if len(shown) < 4:
        expect(page.locator(".pw-hint")).to_contain_text("Two keys came at once")


def test_enter_after_a_mouse_click_submits_once_and_presses_nothing_else(address: str, page: Page) -> None:
    open_page(page, address)
    typed(page, "1", "2")
    answered(page, page.get_by_role("button", name="4th").click)
    typed(page, "Enter")
    expect(page.locator(".pw-hint")).to_have_text("Place card D too, then Enter.")
    page.wait_for_timeout(1000)
    assert places(page) == ["1st", "2nd", "4th", ""], "Enter clicked the button that had the focus"
    answered(page, page.get_by_role("button", name="3rd").click)
    page.keyboard.press("Enter")
    saved(page, 1)
    assert places(page) == ["", "", "", ""]
    assert given() == [((1, 2, 4, 3), False)]

    # a submit by mouse, a double one too, and Enter on the button that has the focus then
    typed(page, "1", "2", "3", "4")
    page.get_by_role("button", name="Submit").dblclick()
    saved(page, 2)
    typed(page, "4", "3", "2", "1")
    page.keyboard.press("Enter")
    saved(page, 3)
    assert [places for places, _ in given()[1:]] == [(1, 2, 3, 4), (4, 3, 2, 1)]

    # Undo by mouse, then a new order by Enter: that is not undone again
    page.get_by_role("button", name="Undo").click()
    saved(page, 2)
    typed(page, "1", "1", "2", "2")
    page.keyboard.press("Enter")
    saved(page, 3)
    page.wait_for_timeout(1000)
    assert [places for places, _ in given()] == [(1, 2, 4, 3), (1, 2, 3, 4), (1, 1, 2, 2)]


def test_keys_are_letters_in_a_box_and_u_takes_back_step_by_step(address: str, page: Page) -> None:
    open_page(page, address)
    for done in (1, 2):
        typed(page, "1", "2", "3", "4")
        page.keyboard.press("Enter")
        saved(page, done)
    why = page.get_by_role("textbox", name="Your last choice: A, then B, then C, then D")
    why.click()
    page.keyboard.type("1 u 0 l 2?")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Reason saved")).to_be_visible()
    page.wait_for_timeout(1000)
    assert places(page) == ["", "", "", ""]
    assert len(given()) == 2
    with reading() as s:
        assert s.scalars(select(Ranking.reason).order_by(Ranking.id.desc())).first() == "1 u 0 l 2?"

    # any of the cards can be corrected
    page.get_by_text("Correct a reply").click()
    page.get_by_role("radio", name="Card C").click()
    third = page.locator(".pw-slot-text").nth(2).inner_text()
    expect(page.get_by_role("textbox", name="The reply as it should be")).to_have_value(third)

    page.get_by_role("heading", name="Compare").click()
    for left in (1, 0):
        press_until(page, "u", f"{left} of {TOTAL} pairs ranked by you")
    assert given() == []
