"""The peer of `benchmarks.review`: Label Studio, the most used open tool for such work, from PyPI, as it comes.

It lives in a virtual environment of its own, in the user's cache folder; nothing of ours imports it. The clients send
what its front end was seen to send in the label stream at each submission: the annotation, then the request for the
next task, then the one for the labels of the project. The first two are what a person waits for.
"""

import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.measuring import (
    BrowserPace,
    BrowserPresses,
    ClickPace,
    Presses,
    Server,
    latency,
    open_page,
    press_in_browser,
    serving,
)
from benchmarks.our_app import draw_rankers, prompt_text, response_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

VERSION = "1.23.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pickwell-benchmarks"
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "DEBUG": "false",
}
"""Telemetry, error reports and the look for a newer version are off."""
CHOICES = ("Left is better", "Both good", "Both bad", "Right is better")
SCREEN = f"""
<View>
  <Text name="prompt" value="$prompt"/>
  <View style="display: flex"><Text name="left" value="$left"/><Text name="right" value="$right"/></View>
  <Choices name="choice" toName="prompt" choice="single" showInline="true">
    {"".join(f'<Choice value="{choice}" hotkey="{key}"/>' for key, choice in enumerate(CHOICES, start=1))}
  </Choices>
</View>
"""
RESULT = {"from_name": "choice", "to_name": "prompt", "type": "choices", "origin": "manual"}
OWNER = "manager@example.org"
TIMEOUT = 60.0
"""Seconds for one request."""
BETWEEN_KEYS_MS = 200
"""Milliseconds between the key of the choice and Ctrl+Enter, which submits it; the wait is counted from the latter."""


@dataclass(frozen=True)
class LabelStudio:
    """Label Studio at work, with tasks that are annotated already as the app's pairs are ranked."""

    server: Server
    password: str
    """Of all users; made anew for each run."""
    project_id: int
    people: list[str]
    tasks: int
    annotations: int
    import_s: float

    name = "Label Studio"
    least = 0.0

    @asynccontextmanager
    async def tabs(self) -> AsyncIterator[Sequence["LabelStream"]]:
        """The label stream of each reviewer, with its first task."""
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(_client(self, person)) for person in self.people]
            yield [await LabelStream.open(client, self.project_id) for client in clients]

    def press_in_browser(self, pace: BrowserPace) -> BrowserPresses:
        """Choose and submit in a real browser: a digit for the choice, then Ctrl+Enter, from which the wait counts."""

        def press(page: "Page", _: str) -> None:
            page.keyboard.press("1")
            page.wait_for_timeout(BETWEEN_KEYS_MS)
            page.keyboard.press("Control+Enter")

        address, prompt = self.server.address, ".lsf-richtext__container"
        with open_page() as page:
            page.route("**/heidi-tips", lambda route: route.abort())  # advertisements, got from elsewhere
            page.goto(f"{address}/user/login/?next=/api/version")
            page.fill("input[name=email]", self.people[0])
            page.fill("input[name=password]", self.password)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{address}/api/version")
            page.goto(f"{address}/projects/{self.project_id}/data?labeling=1")
            page.locator(prompt).first.wait_for(timeout=120_000)
            return press_in_browser(page, pace, keys=("Enter",), press=press, prompt=prompt)

    def click_figures(self, presses: Presses, pace: ClickPace, *, saved: int) -> dict[str, Any]:
        """The figures of all clients."""
        return {"submit_to_next_pair": latency(presses.next_pairs)}

    def browser_figures(self, presses: BrowserPresses) -> dict[str, Any]:
        """The figures of the browser."""
        return {"key_to_next_pair_painted": latency(presses.next_pairs)}


def install() -> Path:
    """The program, installed into its own environment if it is not there yet: some minutes and 1 GB the first time."""
    place = CACHE / f"label-studio-{VERSION}"
    done = place / "installed"
    if not done.exists():
        pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(place)], [*pip, f"label-studio=={VERSION}"]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done.touch()
    return place / "bin" / "label-studio"


@contextmanager
def label_studio(home: Path, *, prompts: int, reviewers: int) -> Iterator[LabelStudio]:
    """Serve Label Studio with so many tasks."""
    password = secrets.token_urlsafe(16)
    start = [str(install()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--data-dir", str(home)]
    start += ["--username", OWNER, "--password", password, "--port"]
    with serving(
        lambda port: [*start, str(port)],
        health="/health",
        log=home / "label-studio.log",
        environment=QUIET,
        patience=300,  # its database is made as it starts
    ) as server:
        with httpx.Client(base_url=server.address, timeout=600) as owner:
            _log_in(owner, OWNER, password)
            settings = {"title": "Large", "label_config": SCREEN, "maximum_annotations": reviewers}
            project_id = _answer(owner.post("/api/projects/", json=settings, headers=_proof(owner)))["id"]
            invitation = _answer(owner.get("/api/invite"))["invite_url"]
            people = [f"person{n}@example.org" for n in range(reviewers)]
            person_ids = [_join(server.address, invitation, person, password) for person in people]
            began = time.perf_counter()
            annotations = 0
            for rankers in draw_rankers(prompts, person_ids):
                tasks = [_task(n, ids) for n, ids in rankers.items()]
                path = f"/api/projects/{project_id}/import"
                annotations += _answer(owner.post(path, json=tasks, headers=_proof(owner)))["annotation_count"]
            import_s = time.perf_counter() - began
        yield LabelStudio(server, password, project_id, people, prompts, annotations, round(import_s, 1))


class LabelStream:
    """One person's label stream."""

    goes_on = True

    def __init__(self, client: httpx.AsyncClient, project_id: int, tab_id: int) -> None:
        self.problems: list[str] = []
        self._client, self._project_id, self._tab_id = client, project_id, tab_id
        self._task_id, self._came_at = 0, datetime.now(UTC)

    @classmethod
    async def open(cls, client: httpx.AsyncClient, project_id: int) -> "LabelStream":
        """The stream with its first task. The first to come makes the tab that its tasks are taken from."""
        views = _answer(await client.get("/api/dm/views", params={"project": project_id}))
        if not views:
            data = {"title": "Default", "ordering": [], "type": "list", "target": "tasks"}
            path, body = f"/api/dm/views?tabID=0&project={project_id}", {"data": data, "project": str(project_id)}
            views = [_answer(await client.post(path, json=body, headers=_proof(client)))]
        stream = cls(client, project_id, views[0]["id"])
        await stream._next_task()
        return stream

    async def press(self, draw: random.Random, presses: Presses) -> None:
        """Submit a choice and get the next task."""
        value = {"choices": [draw.choice(CHOICES)]}
        body = {
            "lead_time": (datetime.now(UTC) - self._came_at).total_seconds(),
            "result": [RESULT | {"id": secrets.token_hex(5), "value": value}],
            "draft_id": 0,
            "parent_prediction": None,
            "parent_annotation": None,
            "started_at": self._came_at.isoformat(),
            "project": str(self._project_id),
        }
        began = time.perf_counter()
        path = f"/api/tasks/{self._task_id}/annotations?project={self._project_id}"
        _answer(await self._client.post(path, json=body, headers=_proof(self._client)))
        await self._next_task()
        waited = time.perf_counter() - began
        # sent by the front end once the task is there; nobody waits for it
        _answer(await self._client.get("/api/label_links", params={"project": self._project_id, "expand": "label"}))
        presses.next_pairs.append(waited)

    async def _next_task(self) -> None:
        """Ask for a task as the front end does."""
        body = {
            "ordering": [],
            "selectedItems": {"all": False, "included": []},
            "filters": {"conjunction": "and", "items": []},
            "project": str(self._project_id),
        }
        path = f"/api/dm/actions?id=next_task&tabID={self._tab_id}&project={self._project_id}"
        self._task_id = _answer(await self._client.post(path, json=body, headers=_proof(self._client)))["id"]
        self._came_at = datetime.now(UTC)


def _task(n: int, rankers: list[int]) -> dict[str, Any]:
    chosen = RESULT | {"id": "1", "value": {"choices": [CHOICES[0]]}}
    return {
        "data": {"prompt": prompt_text(n), "left": response_text(n, 0), "right": response_text(n, 1)},
        "annotations": [{"completed_by": person, "lead_time": 5.0, "result": [chosen]} for person in rankers],
    }


def _client(peer: LabelStudio, person: str) -> httpx.AsyncClient:
    with httpx.Client(base_url=peer.server.address, timeout=TIMEOUT) as client:
        _log_in(client, person, peer.password)
        return httpx.AsyncClient(base_url=peer.server.address, timeout=TIMEOUT, cookies=client.cookies)


def _log_in(client: httpx.Client, person: str, password: str, *, path: str = "/user/login/", **more: str) -> int:
    """Log in, or sign up by the path of an invitation; the person's id."""
    client.get(path)
    token = client.cookies["csrftoken"]
    form = {"email": person, "password": password, "csrfmiddlewaretoken": token, **more}
    client.post(path, data=form, headers=_proof(client))
    return int(_answer(client.get("/api/current-user/whoami"))["id"])


def _join(address: str, invitation: str, person: str, password: str) -> int:
    with httpx.Client(base_url=address, timeout=TIMEOUT) as client:
        return _log_in(client, person, password, path=invitation, allow_newsletters="false")


def _proof(client: httpx.Client | httpx.AsyncClient) -> dict[str, str]:
    return {"X-CSRFToken": client.cookies["csrftoken"], "Referer": str(client.base_url)}


def _answer(response: httpx.Response) -> Any:
    if not response.is_success:
        request = f"{response.request.method} {response.url.path}"
        raise RuntimeError(f"{request}: {response.status_code} {response.text[:200]}")
    return response.json()
