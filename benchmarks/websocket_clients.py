"""Reviewers without a browser: each speaks Streamlit's protobuf over a websocket, as its front end does.

A client opens the Compare page, keeps the widgets that it is sent, presses one of the four buttons of the choice bar
with the states that a browser would send along, and notes when the choice and when the next pair has come. It depends
on what `ui/pairs.py` draws: the keys of the buttons and the class names of the cards.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.pace import Pace
from benchmarks.seeding import pair_number
from ui.pairs import KEYS, TOO_SOON

ANSWER = 60.0
"""Seconds after which a client stops waiting for an answer and counts an error."""
LEAST = TOO_SOON + 0.05
"""Seconds from a pair to the next press, so that none falls into the first moments, in which presses are leftovers."""
MARKED = re.compile(r'class="(pw-card pw-chosen|pw-pair pw-faded)"')


@dataclass(frozen=True)
class Click:
    """One press and what came of it; seconds since it was sent."""

    choice_seen: float | None
    """When the pair came back with the choice marked; None where drawing outlasted the pause, so that it never did."""
    next_pair: float
    """When the run that drew the next pair was finished, pause included."""


@dataclass
class Answers:
    """What a number of clients saw."""

    clicks: list[Click] = field(default_factory=list)
    ignored: int = 0
    """Presses that the app took for leftovers of the pair before."""
    finished: int = 0
    """Clients that ran out of pairs."""
    errors: list[str] = field(default_factory=list)
    """Exceptions, error boxes, toasts, and connections that ended."""
    seconds: float = 0.0
    """From the first pair of the last client to come until the last one stopped."""


class OutOfPairs(Exception):
    """The page shows no pair any more."""


class Client:
    """One browser tab of one reviewer, as the server sees it; an asynchronous context."""

    def __init__(self, address: str, *, project_id: int, reviewer_id: int) -> None:
        self.address = address
        self.query = f"project={project_id}&person={reviewer_id}"
        self.page_hash = ""
        self.fragment_id = ""
        self.pair: int | None = None
        """Number of the prompt on the screen."""
        self.marked = False
        """Whether the pair on the screen is marked as chosen."""
        self.problems: list[str] = []
        self._buttons: dict[str, str] = {}
        # what a browser holds and sends back, of the page and of its fragment, which is replaced as a whole
        self._page: dict[str, WidgetState] = {}
        self._fragment: dict[str, WidgetState] = {}
        self._socket: ClientConnection

    async def __aenter__(self) -> Self:
        """Connect, and stay until the first pair is there."""
        self._socket = await connect(
            f"{self.address.replace('http', 'ws', 1)}/_stcore/stream",
            origin=None,
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
        )
        try:
            await self._send(page_name="compare_responses")
            # a fresh server goes by its front page first, so several runs may pass
            await self._until(lambda message: self.pair is not None and _finished(message))
        except BaseException:
            await self._socket.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the tab."""
        await self._socket.close()

    async def press(self, choice: str) -> Click | None:
        """Press a button and wait for the next pair; None where the app ignored it. Raises `OutOfPairs`."""
        before = self.pair
        sent = time.perf_counter()
        await self._send(pressed=self._buttons[choice])
        seen: float | None = None

        def mark(message: ForwardMsg) -> bool:
            nonlocal seen
            if seen is None and self.marked:
                seen = time.perf_counter() - sent
            # the run that marked the choice sleeps through the pause, and another one draws the next pair
            return _finished(message) and not self.marked

        await self._until(mark)
        if self.pair is None:
            raise OutOfPairs
        return Click(seen, time.perf_counter() - sent) if self.pair != before else None

    async def _send(self, *, pressed: str | None = None, page_name: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string = self.query
        state.page_script_hash = self.page_hash
        state.page_name = page_name
        state.widget_states.widgets.extend([*self._page.values(), *self._fragment.values()])
        if pressed is not None:
            state.widget_states.widgets.add(id=pressed, trigger_value=True)
            state.fragment_id = self.fragment_id
        state.context_info.timezone = "UTC"
        state.context_info.locale = "en-US"
        state.context_info.url = f"{self.address}/compare_responses"
        state.context_info.color_scheme = "light"
        await self._socket.send(message.SerializeToString())

    async def _until(self, enough: Callable[[ForwardMsg], bool]) -> None:
        async with asyncio.timeout(ANSWER):
            while True:
                message = ForwardMsg()
                message.ParseFromString(await self._socket.recv(decode=False))
                self._take_in(message)
                if enough(message):
                    return

    def _take_in(self, message: ForwardMsg) -> None:
        match message.WhichOneof("type"):
            case "new_session":
                self.page_hash = message.new_session.page_script_hash
                self._fragment.clear()
                if not message.metadata.run.fragment_ids:
                    self._page.clear()
                self.pair, self.marked = None, False
            case "session_event" if message.session_event.HasField("script_compilation_exception"):
                self.problems.append(message.session_event.script_compilation_exception.message)
            case "delta" if message.delta.HasField("new_element"):
                element = message.delta.new_element
                self._take_in_element(message.delta.fragment_id, element)

    def _take_in_element(self, fragment_id: str, element: Any) -> None:
        kind = element.WhichOneof("type")
        widget = getattr(element, kind)
        if kind == "exception":
            self.problems.append(f"{widget.type}: {widget.message}")
        elif kind == "toast" or (kind == "alert" and widget.format == widget.ERROR):
            self.problems.append(widget.body)
        elif kind == "html":
            self.pair = pair_number(widget.body) or self.pair
            self.marked = self.marked or MARKED.search(widget.body) is not None
        elif kind == "button":
            for choice, _, _ in KEYS:
                if widget.id.endswith(f"-choose_{choice}"):
                    self._buttons[choice], self.fragment_id = widget.id, fragment_id
        elif state := _state(kind, widget):
            (self._fragment if fragment_id else self._page)[widget.id] = state


def _finished(message: ForwardMsg) -> bool:
    """Whether a run has drawn everything; one that a later press cut short has not."""
    cut_short = ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN
    return message.WhichOneof("type") == "script_finished" and message.script_finished != cut_short


def _state(kind: str, widget: Any) -> WidgetState | None:
    """A widget as a browser reports it while nobody has touched it."""
    match kind:
        case "selectbox":
            return WidgetState(id=widget.id, string_value=widget.options[widget.default])
        case "text_input" | "text_area":
            return WidgetState(id=widget.id, string_value=widget.default)
        case "button_group":
            state = WidgetState(id=widget.id)
            state.string_array_value.data.extend(widget.options[i].content for i in widget.default)
            return state
    return None


async def review(address: str, *, project_id: int, reviewer_ids: list[int], pace: Pace) -> Answers:
    """Let each reviewer rank pairs in a tab of their own.

    Args:
        address: of the app, such as http://127.0.0.1:8501.
        project_id: whose pairs are ranked.
        reviewer_ids: one client for each.
        pace: of each; a press comes at least `LEAST` seconds after the pair, because earlier ones count for nothing.
    """
    answers = Answers()
    async with AsyncExitStack() as tabs:
        clients = [
            await tabs.enter_async_context(Client(address, project_id=project_id, reviewer_id=reviewer))
            for reviewer in reviewer_ids
        ]
        began = time.perf_counter()
        await asyncio.gather(*(_press_on(client, answers, pace, turn) for turn, client in enumerate(clients)))
        answers.seconds = time.perf_counter() - began
        answers.errors += [problem for client in clients for problem in client.problems]
    return answers


async def _press_on(client: Client, answers: Answers, pace: Pace, turn: int) -> None:
    try:
        async for draw in pace.turns(turn, least=LEAST):
            click = await client.press(draw.choice(KEYS)[0])
            if click is None:
                answers.ignored += 1
            else:
                answers.clicks.append(click)
    except OutOfPairs:
        # where the page broke, its problem is among the errors
        answers.finished += not client.problems
    except Exception as problem:
        answers.errors.append(f"{type(problem).__name__}: {problem}")
