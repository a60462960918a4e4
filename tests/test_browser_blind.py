"""Fifty blind judgments in a real browser, every byte of them recorded: nothing tells who wrote what."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Response, WebSocket, expect
from sqlalchemy import select

from db.models import Guess, Judgment, ModelVersion, Pairing, Responder, ResponderKind, Role
from db.models import Response as Reply
from db.session import reading, session
from eval.protocol import LeakPolicy, Plan
from stats.verdicts import Verdict
from tests.app_server import app_running, browser_page
from tests.contests import an_evaluation
from tests.factories import a_human, a_project, a_prompt, a_reviewer, saved

pytestmark = pytest.mark.slow
JUDGMENTS = 20
MODEL, VERSION = "Zebrafish tuned", "zebrafish-9b-dpo"
"""Names and ids here stand nowhere else."""
CANDIDATE, BASELINE, VERSION_ID, FIRST_REPLY = 7_310_001, 7_310_002, 7_320_001, 7_400_001
CONTEST = "Quagga against Zebrafish"
KEYS = ("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp")


@pytest.fixture
def page() -> Iterator[Page]:
    """Chromium."""
    with browser_page() as found:
        yield found


@pytest.fixture
def who(database: Path) -> tuple[int, int]:
    """A project with an open evaluation, and somebody who judges."""
    with session() as s:
        project = a_project(s, name="Letters")
        manager, judge = a_reviewer(s, project, name="Ines"), a_reviewer(s, project, Role.REVIEWER, name="Otto")
        saved(s, ModelVersion, id=VERSION_ID, name=VERSION, location="/models/zebrafish", sha256="5" * 64)
        s.add(
            Responder(
                id=CANDIDATE,
                project_id=project.id,
                name=MODEL,
                kind=ResponderKind.MODEL,
                model_version_id=VERSION_ID,
                instructions="Answer like a zebrafish.",
            )
        )
        human = a_human(s, project, id=BASELINE, name="Rosalind Quagga")
        for n in range(JUDGMENTS):
            prompt = a_prompt(s, project, f"Where is order {n}?", held_out=True)
            for k, responder_id in enumerate((CANDIDATE, human.id)):
                text = f"Order {n} left us {'yesterday' if k else 'on Monday'}, I looked it up."
                given = {"prompt_id": prompt.id, "responder_id": responder_id, "text": text, "finish_reason": None}
                if responder_id == CANDIDATE:
                    given |= {"finish_reason": "stop", "template_hash": "6" * 64, "dtype": "float32"}
                s.add(Reply(id=FIRST_REPLY + 2 * n + k, **given))
        s.flush()
        model = s.get_one(Responder, CANDIDATE)
        an_evaluation(s, manager, model, human, name=CONTEST, plan=Plan(ask_machine=True), undecided=LeakPolicy.KEEP)
        return project.id, judge.id


class Received:
    """Everything that came to a browser: frames and files, with their headers."""

    def __init__(self, page: Page) -> None:
        self.bytes = bytearray()
        self.messages = bytearray()
        """The app's own messages among them."""
        self.lost: list[str] = []
        page.on("websocket", self._socket)
        page.on("response", self._file)

    def _socket(self, opened: WebSocket) -> None:
        opened.on("framereceived", self._message)

    def _message(self, frame: str | bytes) -> None:
        self.messages += frame.encode() if isinstance(frame, str) else frame
        self.keep(frame)

    def _file(self, response: Response) -> None:
        self.keep(f"{response.url} {response.headers}")
        if response.request.resource_type == "websocket":
            return
        try:
            self.keep(response.body())
        except Exception as gone:  # a redirect has no body; anything else fails the test below
            if not 300 <= response.status < 400:
                self.lost.append(f"{response.url}: {gone}")

    def keep(self, part: str | bytes) -> None:
        """Add what came."""
        self.bytes += part.encode() if isinstance(part, str) else part

    def has(self, what: str) -> bool:
        """Whether the text came, as it is or as in an address."""
        found = bytes(self.bytes).lower()
        return what.lower().encode() in found or quote(what).lower().encode() in found


def _varint(number: int) -> bytes:
    """The number as Streamlit's messages carry one (protobuf.dev/programming-guides/encoding, base 128 varints)."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def test_twenty_blind_judgments_tell_the_browser_nothing_of_who_wrote_what(
    who: tuple[int, int], database: Path, page: Page
) -> None:
    received = Received(page)
    project, judge = who
    with app_running(database.parent) as address:
        page.goto(f"{address}/judge_blind?project={project}&person={judge}")
        for done in range(JUDGMENTS):
            expect(page.get_by_text(f"{done} of {JUDGMENTS} pairs judged by you")).to_be_visible()
            _press(page, KEYS[done % len(KEYS)], asked=True)
            _press(page, ("ArrowLeft", "ArrowDown", "ArrowRight")[done % 3], asked=False)
        expect(page.get_by_text("You have judged every pair")).to_be_visible()
        received.keep(page.content())
        received.keep(str(page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")))
    assert not received.lost
    with reading() as s:
        pairings = s.scalars(select(Pairing.id)).all()
        verdicts = s.scalars(select(Judgment.verdict)).all()
        guesses = s.scalars(select(Judgment.guess)).all()
        sides = s.scalars(select(Judgment.candidate_left)).all()
    assert {*verdicts} == {*Verdict}, "all keys were pressed, and each was saved"
    assert {*guesses} == {*Guess}
    assert abs(sum(sides) - JUDGMENTS / 2) <= 1, "each side as often as the other"
    assert received.has("I looked it up"), "the replies themselves came, so what is searched is what was sent"
    for telling in (MODEL, VERSION, "zebrafish", "Quagga", CONTEST, "Rosalind", "5" * 64, "6" * 64):
        assert not received.has(telling), f"{telling} reached the judging browser"
    numbers = [CANDIDATE, BASELINE, VERSION_ID, *range(FIRST_REPLY, FIRST_REPLY + 2 * JUDGMENTS)]
    for number in numbers:
        assert not received.has(str(number)), f"id {number} reached the judging browser"
        assert _varint(number) not in received.messages, f"id {number} reached the judging browser as a number"
    assert len(pairings) == JUDGMENTS


def _press(page: Page, key: str, *, asked: bool) -> None:
    """Press once the pair has stood long enough to count, and again where it was too early.

    Args:
        asked: whether the question which side was the machine stands there then.
    """
    question = page.get_by_text("Which side, do you think")
    for _ in range(10):
        page.wait_for_timeout(400)
        page.keyboard.press(key)
        try:
            expect(question).to_be_visible(visible=asked, timeout=1500)
            return
        except AssertionError:
            continue
    expect(question).to_be_visible(visible=asked)
