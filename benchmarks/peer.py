"""Label Studio under the same load: the most used open tool for such work, from PyPI, with its own default database.

It lives in a virtual environment of its own, in the cache folder of whoever measures; nothing of ours imports it. The
clients send what its front end was seen to send in the label stream when somebody submits: the annotation, then the
request for the next task, then the one for the labels of the project. The first two are what a person waits for.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from benchmarks.browser import Sitting, a_page, sit
from benchmarks.pace import Pace
from benchmarks.seeding import prompt_text, response_text, who_ranked
from benchmarks.server import Server, free_port, serving

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
OWNER = "manager@example.org"
TIMEOUT = 60.0
"""Seconds for one request."""
BETWEEN_KEYS_MS = 200
"""Milliseconds between the key of the choice and Ctrl+Enter, which submits it; the wait is counted from the latter."""


@dataclass(frozen=True)
class Peer:
    """A running Label Studio with a project."""

    server: Server
    password: str
    """Of everybody: made anew for each run."""
    project_id: int
    people: list[str]
    """Email addresses of the reviewers."""
    tasks: int
    annotations: int
    import_s: float


@dataclass
class Submissions:
    """What a number of clients saw."""

    waits: list[float] = field(default_factory=list)
    """Seconds from sending an annotation until the next task has come."""
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """From the last client's first task until the last one stopped."""


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
def label_studio(home: Path, *, prompts: int, reviewers: int) -> Iterator[Peer]:
    """Serve Label Studio with so many tasks, annotated already as the app's pairs are ranked."""
    port, password = free_port(), secrets.token_urlsafe(16)
    start = [str(install()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    with serving(
        [*start, "--data-dir", str(home), "--username", OWNER, "--password", password],
        port=port,
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
            ids = [_join(server.address, invitation, person, password) for person in people]
            began = time.perf_counter()
            annotations = 0
            for rankers in who_ranked(prompts, ids):
                tasks = [_task(n, them) for n, them in rankers.items()]
                path = f"/api/projects/{project_id}/import"
                annotations += _answer(owner.post(path, json=tasks, headers=_proof(owner)))["annotation_count"]
            import_s = time.perf_counter() - began
        yield Peer(server, password, project_id, people, prompts, annotations, round(import_s, 1))


async def annotate(peer: Peer, pace: Pace) -> Submissions:
    """Let each reviewer submit one annotation after another in the label stream; `pace` as for the app's clients."""
    found = Submissions()
    async with AsyncExitStack() as tabs:
        clients = [await tabs.enter_async_context(_tab(peer, person)) for person in peer.people]
        streams = [await _LabelStream.opened(client, peer.project_id) for client in clients]
        began = time.perf_counter()
        await asyncio.gather(*(_submit_on(stream, found, pace, turn) for turn, stream in enumerate(streams)))
        found.seconds = time.perf_counter() - began
    return found


def submit_pairs(peer: Peer, *, presses: int, rest: float, seed: int) -> Sitting:
    """Choose and submit in a real browser: a digit for the choice, then Ctrl+Enter, from which the wait is counted."""

    def press(page: Page, _: str) -> None:
        page.keyboard.press("1")
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        page.keyboard.press("Control+Enter")

    with a_page() as page:
        page.route("**/heidi-tips", lambda route: route.abort())  # advertisements, which its server gets from elsewhere
        page.goto(f"{peer.server.address}/user/login/?next=/api/version")
        page.fill("input[name=email]", peer.people[0])
        page.fill("input[name=password]", peer.password)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{peer.server.address}/api/version")
        page.goto(f"{peer.server.address}/projects/{peer.project_id}/data?labeling=1")
        text = ".lsf-richtext__container"
        page.locator(text).first.wait_for(timeout=120_000)
        return sit(page, keys=("Enter",), press=press, prompt=text, choice=None, presses=presses, rest=rest, seed=seed)


class _LabelStream:
    """One person's label stream."""

    def __init__(self, client: httpx.AsyncClient, project_id: int, tab_id: int) -> None:
        self.client = client
        self.project_id = project_id
        self.tab_id = tab_id
        self.task_id = 0
        self.came_at = datetime.now(UTC)

    @classmethod
    async def opened(cls, client: httpx.AsyncClient, project_id: int) -> "_LabelStream":
        """The stream with its first task. The first to come makes the tab that its tasks are taken from."""
        views = _answer(await client.get("/api/dm/views", params={"project": project_id}))
        if not views:
            body = {"data": {"title": "Default", "ordering": [], "type": "list", "target": "tasks"}}
            views = [
                _answer(
                    await client.post(
                        f"/api/dm/views?tabID=0&project={project_id}",
                        json={**body, "project": str(project_id)},
                        headers=_proof(client),
                    )
                )
            ]
        stream = cls(client, project_id, views[0]["id"])
        await stream.next_task()
        return stream

    async def submit(self, choice: str) -> float:
        """Submit a choice and get the next task; the seconds that a person waits."""
        result = {"id": secrets.token_hex(5), "from_name": "choice", "to_name": "prompt", "type": "choices"}
        body = {
            "lead_time": (datetime.now(UTC) - self.came_at).total_seconds(),
            "result": [{**result, "origin": "manual", "value": {"choices": [choice]}}],
            "draft_id": 0,
            "parent_prediction": None,
            "parent_annotation": None,
            "started_at": self.came_at.isoformat(),
            "project": str(self.project_id),
        }
        began = time.perf_counter()
        path = f"/api/tasks/{self.task_id}/annotations?project={self.project_id}"
        _answer(await self.client.post(path, json=body, headers=_proof(self.client)))
        await self.next_task()
        waited = time.perf_counter() - began
        # sent by the front end once the task is there; nobody waits for it
        _answer(await self.client.get("/api/label_links", params={"project": self.project_id, "expand": "label"}))
        return waited

    async def next_task(self) -> None:
        """Ask for a task as the front end does."""
        body = {
            "ordering": [],
            "selectedItems": {"all": False, "included": []},
            "filters": {"conjunction": "and", "items": []},
            "project": str(self.project_id),
        }
        path = f"/api/dm/actions?id=next_task&tabID={self.tab_id}&project={self.project_id}"
        self.task_id = _answer(await self.client.post(path, json=body, headers=_proof(self.client)))["id"]
        self.came_at = datetime.now(UTC)


async def _submit_on(stream: _LabelStream, found: Submissions, pace: Pace, turn: int) -> None:
    async for draw in pace.turns(turn, least=0.0):
        try:
            found.waits.append(await stream.submit(draw.choice(CHOICES)))
        except Exception as problem:
            found.errors.append(f"{type(problem).__name__}: {problem}")


def _task(n: int, rankers: list[int]) -> dict[str, Any]:
    result = {"id": "1", "from_name": "choice", "to_name": "prompt", "type": "choices", "origin": "manual"}
    chosen = {**result, "value": {"choices": [CHOICES[0]]}}
    return {
        "data": {"prompt": prompt_text(n), "left": response_text(n, 0), "right": response_text(n, 1)},
        "annotations": [{"completed_by": person, "lead_time": 5.0, "result": [chosen]} for person in rankers],
    }


def _tab(peer: Peer, person: str) -> httpx.AsyncClient:
    """A client that is logged in as the person."""
    with httpx.Client(base_url=peer.server.address, timeout=TIMEOUT) as client:
        _log_in(client, person, peer.password)
        return httpx.AsyncClient(base_url=peer.server.address, timeout=TIMEOUT, cookies=client.cookies)


def _log_in(client: httpx.Client, person: str, password: str) -> None:
    client.get("/user/login/")
    form = {"email": person, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    client.post("/user/login/", data=form, headers=_proof(client))
    _answer(client.get("/api/current-user/whoami"))


def _join(address: str, invitation: str, person: str, password: str) -> int:
    """Sign up by the owner's invitation; the person's id."""
    with httpx.Client(base_url=address, timeout=TIMEOUT) as client:
        client.get(invitation)
        form = {"email": person, "password": password, "allow_newsletters": "false"}
        token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        client.post(invitation, data={**form, **token}, headers=_proof(client))
        return int(_answer(client.get("/api/current-user/whoami"))["id"])


def _proof(client: httpx.Client | httpx.AsyncClient) -> dict[str, str]:
    """The headers against forged requests."""
    return {"X-CSRFToken": client.cookies["csrftoken"], "Referer": str(client.base_url)}


def _answer(response: httpx.Response) -> Any:
    if not response.is_success:
        raise RuntimeError(
            f"{response.request.method} {response.url.path}: {response.status_code} {response.text[:200]}"
        )
    return response.json()
