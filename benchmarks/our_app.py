"""The app under load: a database of the size asked for, its server, clients that speak to it, and its database alone.

Rows are made by `_rows`, table by table, and inserted in bulk; people and responders are made as the app makes them.

A client is a reviewer without a browser who speaks Streamlit's protobuf over a websocket, as its front end does. It
opens the Compare page, keeps the widgets that it is sent, presses one of the four buttons of the choice bar with the
states that a browser would send along, and notes when the choice and when the next pair has come. It depends on what
`ui/pairs.py` draws: the keys of the buttons and the class names of the cards.
"""

import asyncio
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.measuring import (
    LOG,
    PARCEL,
    BrowserPace,
    BrowserPresses,
    ClickPace,
    Latency,
    OutOfPairs,
    Presses,
    Server,
    latency,
    open_page,
    press_in_browser,
    serving,
)
from db.comparisons import comparison_key, recount
from db.models import (
    Comparison,
    ComparisonResponse,
    Placement,
    Project,
    Prompt,
    PromptSet,
    Ranking,
    Responder,
    ResponderKind,
    Response,
    Role,
    SamplingReason,
)
from db.people import create_project, ensure_reviewer, ensure_role
from db.session import reading, session
from review.assignment import ranking_progress
from review.queue import claim, set_queue
from review.rankings import last_ranking, rank
from stats.verdicts import Verdict
from ui.pairs import PAUSE, TOO_SOON, VERDICT_KEYS

CHUNK = 5000
"""Prompts in one transaction."""
MOST = 6
"""A comparison has 0 to so many rankings, each number as often: three on average."""
SEED = 7
ANSWER = 60.0
"""Seconds after which a client stops waiting for an answer and counts an error."""
LEAST = TOO_SOON + 0.05
"""Seconds from a pair to the next press, so that none falls into the first moments, in which presses are leftovers."""
MARKED = re.compile(r'class="(pw-card pw-chosen|pw-pair pw-faded)"')


@dataclass(frozen=True)
class LargeProject:
    """The database as the clients know it."""

    project_id: int
    reviewer_ids: list[int]
    prompts: int
    responses: int
    rankings: int


def prompt_text(n: int) -> str:
    """The text of prompt `n`: an email of four sentences, about 300 characters."""
    return (
        f"Good morning, I am writing about {PARCEL} {n:07d}. It should have come on Monday, and it is Friday now. "
        "I telephoned twice and was told both times that somebody would call back, which nobody has done. Could you "
        "please find out where it is, and tell me what happens if it does not come before my daughter's birthday?"
    )


def response_text(n: int, k: int) -> str:
    """The text of response `k` (0 or 1) to prompt `n`: about 400 characters."""
    opening = ("Thank you for writing, and I am sorry for the wait.", "We are sorry to hear that nothing has come yet.")
    return (
        f"{opening[k]} I have looked up number {n}: it left our warehouse on Thursday and is with the carrier, who "
        "expects to deliver it by Tuesday. I have asked them to telephone you before they come. Should it not be there "
        "by Wednesday, we send a second one by express at our cost, and you may keep the first when it turns up. "
        "Please answer this message if the birthday is sooner than that, and we shall find another way."
    )


def draw_rankers(prompts: int, people: list[int]) -> Iterator[dict[int, list[int]]]:
    """Chunks of prompt numbers from 1, each with the people who have ranked its pair.

    Always the same for as many people, in places of the list: what is measured beside the app gets the same data.
    """
    draw = random.Random(SEED)
    # one person always has a pair to rank, however few the reviewers
    most = min(MOST, len(people) - 1)
    for start in range(1, prompts + 1, CHUNK):
        ids = range(start, min(start + CHUNK, prompts + 1))
        yield {n: draw.sample(people, draw.randint(0, most)) for n in ids}


def seed_database(prompts: int, reviewers: int) -> LargeProject:
    """Fill the migrated, empty database of this process's settings. 100,000 prompts take about half a minute."""
    with session() as s:
        people = [ensure_reviewer(s, name=f"Person {n}").id for n in range(reviewers)]
        words = {"task": "", "instructions": "", "guideline": "What could be sent?"}
        project_id = create_project(s, name="Large", **words, by=people[0]).id
        for person in people:
            ensure_role(s, project_id=project_id, reviewer_id=person, role=Role.ANNOTATOR)
        prompt_set = PromptSet(
            project_id=project_id, file_name="x", sha256="x", row_count=prompts, imported_by_id=people[0]
        )
        writers = [Responder(project_id=project_id, name=f"Writer {n}", kind=ResponderKind.HUMAN) for n in range(2)]
        s.add_all([prompt_set, *writers])
        s.flush()
        prompt_set_id, writer_ids = prompt_set.id, [writer.id for writer in writers]
    rankings = 0
    for rankers in draw_rankers(prompts, people):
        with session() as s:
            connection = s.connection()
            for table, rows in _rows(project_id, prompt_set_id, writer_ids, rankers, first_ranking=rankings + 1):
                if rows:
                    connection.execute(insert(table), rows)
            recount(connection, rankers.keys())
        rankings += sum(map(len, rankers.values()))
    return LargeProject(project_id, people, prompts, 2 * prompts, rankings)


def _rows(
    project_id: int, prompt_set_id: int, writer_ids: list[int], rankers: dict[int, list[int]], *, first_ranking: int
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Tables with their rows, parents first, for the prompts that are the keys of `rankers`: who ranked each pair.

    Prompt n has the comparison n and the responses 2n and 2n + 1.
    """

    def rows(table: Any, columns: str, values: Iterable[tuple[Any, ...]]) -> tuple[Any, list[dict[str, Any]]]:
        return table.__table__, [dict(zip(columns.split(), row, strict=True)) for row in values]

    sides = [(n, k) for n in rankers for k in range(2)]
    rankings = list(enumerate(((n, person) for n in rankers for person in rankers[n]), start=first_ranking))
    prompts = (
        (n, project_id, prompt_set_id, n, text, sha256(text.encode()).hexdigest(), False, str(n))
        for n, text in ((n, prompt_text(n)) for n in rankers)
    )
    yield rows(Prompt, "id project_id prompt_set_id row_number text content_hash held_out cluster", prompts)
    responses = ((2 * n + k, n, writer_ids[k], response_text(n, k)) for n, k in sides)
    yield rows(Response, "id prompt_id responder_id text", responses)
    keys = ((n, project_id, n, comparison_key([2 * n, 2 * n + 1])) for n in rankers)
    yield rows(Comparison, "id project_id prompt_id key", keys)
    yield rows(ComparisonResponse, "comparison_id response_id", ((n, 2 * n + k) for n, k in sides))
    ranked = ((i, n, person, SamplingReason.RANDOM, 1, 5.0) for i, (n, person) in rankings)
    yield rows(Ranking, "id comparison_id reviewer_id sampling_reason strength seconds", ranked)
    places = ((i, 2 * n + k, 1 + (k + person) % 2, k) for i, (n, person) in rankings for k in range(2))
    yield rows(Placement, "ranking_id response_id place position", places)


def time_database(large: LargeProject, *, turns: int, people_wanted: int | None, share: float) -> dict[str, Latency]:
    """Time each step of one pair in the database, in one process that has it alone.

    The reviewers take turns at ``turns`` pairs; ``people_wanted`` people (None for all) rank each comparison of the
    ``share`` in (0, 1]. The project's own quota is put back afterwards.
    """
    project_id, owner = large.project_id, large.reviewer_ids[0]
    with reading() as s:
        project = s.get_one(Project, project_id)
        before = project.people_wanted, project.overlap_share
    with session() as s:
        set_queue(s, by=owner, project_id=project_id, people=people_wanted, share=share)
    spent: dict[str, list[float]] = {step: [] for step in ("claim", "progress", "last_ranking", "save")}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent[step].append(time.perf_counter() - began)

    for turn in range(turns):
        me = large.reviewer_ids[turn % len(large.reviewer_ids)]
        with session() as s:
            with timed("claim"):
                pair = claim(s, project_id=project_id, reviewer_id=me)
            with timed("progress"):
                ranking_progress(s, project_id=project_id, reviewer_id=me)
            with timed("last_ranking"):
                last_ranking(s, by=me, project_id=project_id)
        if pair is not None:
            with timed("save"), session() as s:
                rank(s, by=me, comparison_id=pair.comparison_id, order=Verdict.LEFT.order)
    with session() as s:
        set_queue(s, by=owner, project_id=project_id, people=before[0], share=before[1])
    return {step: latency(seconds) for step, seconds in spent.items()}


@dataclass(frozen=True)
class OurApp:
    """The app at work on a large project."""

    server: Server
    large: LargeProject

    name = "The app"
    least = LEAST

    @asynccontextmanager
    async def tabs(self) -> AsyncIterator[Sequence["AppTab"]]:
        """One tab for each reviewer, with its first pair."""
        async with AsyncExitStack() as stack:
            people, project = self.large.reviewer_ids, self.large.project_id
            tabs = [AppTab(self.server.address, f"project={project}&person={person}") for person in people]
            for tab in tabs:
                await tab.open(stack)
            yield tabs

    def press_in_browser(self, pace: BrowserPace) -> BrowserPresses:
        """Rank pairs in a real browser with the arrow keys, as the first reviewer."""
        query = f"project={self.large.project_id}&person={self.large.reviewer_ids[0]}"
        with open_page() as page:
            page.goto(f"{self.server.address}/compare_responses?{query}")
            page.get_by_role("button", name="Left is better").wait_for()
            return press_in_browser(
                page,
                pace,
                keys=("ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight"),
                press=lambda page, key: page.keyboard.press(key),
                prompt=".pw-prompt",
                choice=".pw-chosen, .pw-faded",
            )

    def click_figures(self, presses: Presses, pace: ClickPace, *, saved: int) -> dict[str, Any]:
        """The figures of all clients, with as many rankings saved meanwhile."""
        at_most = round(len(self.large.reviewer_ids) / (PAUSE + LEAST), 1)
        return {
            "clicks_per_second_at_most": None if pace.think else at_most,
            "rankings_saved": saved,
            "key_to_choice_seen": latency(presses.choices),
            "choice_never_seen": len(presses.next_pairs) - len(presses.choices),
            "key_to_next_pair_beyond_pause": latency([seconds - PAUSE for seconds in presses.next_pairs]),
            "ignored": presses.ignored,
            "clients_out_of_pairs": presses.finished,
            "end_of_the_log": self.server.log.read_text(errors="replace")[-LOG:] if presses.errors else "",
        }

    def browser_figures(self, presses: BrowserPresses) -> dict[str, Any]:
        """The figures of the browser."""
        return {
            "key_to_choice_painted": latency(presses.choices),
            "key_to_next_pair_painted_beyond_pause": latency([seconds - PAUSE for seconds in presses.next_pairs]),
        }


def count_rankings() -> int:
    """Rankings in the app's database."""
    with reading() as s:
        return s.scalar(select(func.count()).select_from(Ranking)) or 0


@contextmanager
def serve_app(home: Path, large: LargeProject) -> Iterator[OurApp]:
    """The app as `make run` starts it, on the database in `home`, without the worker."""
    run = [sys.executable, "-m", "streamlit", "run", "ui/server.py", "--server.address", "127.0.0.1", "--server.port"]
    log, environment = home / "app.log", {"PICKWELL_HOME": str(home)}
    with serving(lambda port: [*run, str(port)], health="/_stcore/health", log=log, environment=environment) as server:
        yield OurApp(server, large)


class AppTab:
    """One browser tab of one reviewer, as the server sees it."""

    goes_on = False
    """A connection that ended once stays so."""

    def __init__(self, address: str, query: str) -> None:
        self.problems: list[str] = []
        self._address, self._query = address, query
        self._page_hash = self._fragment_id = ""
        self._pair: int | None = None
        """Number of the prompt on the screen."""
        self._marked = False
        """Whether the pair on the screen is marked as chosen."""
        self._buttons: dict[str, str] = {}
        # what a browser holds and sends back, of the page and of its fragment, which is replaced as a whole
        self._page: dict[str, WidgetState] = {}
        self._fragment: dict[str, WidgetState] = {}
        self._socket: ClientConnection

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect until the stack ends, and wait for the first pair."""
        address = f"{self._address.replace('http', 'ws', 1)}/_stcore/stream"
        connection = connect(address, origin=None, subprotocols=[Subprotocol("streamlit")], max_size=None)
        self._socket = await stack.enter_async_context(connection)
        await self._send(page_name="compare_responses")
        # a fresh server goes by its front page first, so several runs may pass
        await self._wait_until(lambda message: self._pair is not None and _finished(message))

    async def press(self, draw: random.Random, presses: Presses) -> None:
        """Press one of the four buttons and wait for the next pair."""
        before, choice_seen = self._pair, None
        sent = time.perf_counter()
        await self._send(pressed=self._buttons[draw.choice(VERDICT_KEYS)[0]])

        def is_next(message: ForwardMsg) -> bool:
            nonlocal choice_seen
            if choice_seen is None and self._marked:
                choice_seen = time.perf_counter() - sent
            # the run that marked the choice sleeps through the pause, and another one draws the next pair
            return _finished(message) and not self._marked

        await self._wait_until(is_next)
        if self._pair is None:
            raise OutOfPairs
        if self._pair == before:
            presses.ignored += 1
            return
        presses.next_pairs.append(time.perf_counter() - sent)
        if choice_seen is not None:  # else drawing outlasted the pause
            presses.choices.append(choice_seen)

    async def _send(self, *, pressed: str | None = None, page_name: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string = self._query
        state.page_script_hash = self._page_hash
        state.page_name = page_name
        state.widget_states.widgets.extend([*self._page.values(), *self._fragment.values()])
        if pressed is not None:
            state.widget_states.widgets.add(id=pressed, trigger_value=True)
            state.fragment_id = self._fragment_id
        state.context_info.timezone = "UTC"
        state.context_info.locale = "en-US"
        state.context_info.url = f"{self._address}/compare_responses"
        state.context_info.color_scheme = "light"
        await self._socket.send(message.SerializeToString())

    async def _wait_until(self, is_enough: Callable[[ForwardMsg], bool]) -> None:
        async with asyncio.timeout(ANSWER):
            while True:
                message = ForwardMsg()
                message.ParseFromString(await self._socket.recv(decode=False))
                self._take_in(message)
                if is_enough(message):
                    return

    def _take_in(self, message: ForwardMsg) -> None:
        match message.WhichOneof("type"):
            case "new_session":
                self._page_hash = message.new_session.page_script_hash
                self._fragment.clear()
                if not message.metadata.run.fragment_ids:
                    self._page.clear()
                self._pair, self._marked = None, False
            case "session_event" if message.session_event.HasField("script_compilation_exception"):
                self.problems.append(message.session_event.script_compilation_exception.message)
            case "delta" if message.delta.HasField("new_element"):
                self._take_in_element(message.delta.fragment_id, message.delta.new_element)

    def _take_in_element(self, fragment_id: str, element: Any) -> None:
        """Exceptions, error boxes and toasts are problems; widgets are kept as a browser reports them untouched."""
        kind = element.WhichOneof("type")
        widget = getattr(element, kind)
        held = self._fragment if fragment_id else self._page
        match kind:
            case "exception":
                self.problems.append(f"{widget.type}: {widget.message}")
            case "toast":
                self.problems.append(widget.body)
            case "alert" if widget.format == widget.ERROR:
                self.problems.append(widget.body)
            case "html":
                if shown := re.search(rf"{PARCEL} (\d{{7}})", widget.body):
                    self._pair = int(shown[1])
                self._marked = self._marked or MARKED.search(widget.body) is not None
            case "button":
                for choice, _, _ in VERDICT_KEYS:
                    if widget.id.endswith(f"-choose_{choice}"):
                        self._buttons[choice], self._fragment_id = widget.id, fragment_id
            case "selectbox":
                held[widget.id] = WidgetState(id=widget.id, string_value=widget.options[widget.default])
            case "text_input" | "text_area":
                held[widget.id] = WidgetState(id=widget.id, string_value=widget.default)
            case "button_group":
                held[widget.id] = state = WidgetState(id=widget.id)
                state.string_array_value.data.extend(widget.options[i].content for i in widget.default)


def _finished(message: ForwardMsg) -> bool:
    """Whether a run has drawn everything; one that a later press cut short has not."""
    cut_short = ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN
    return message.WhichOneof("type") == "script_finished" and message.script_finished != cut_short
