"""Nobody but this machine's own pages is let in, and no page can put the app into a frame of its own."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.app_server import app_running, browser_page
from ui.server import Guard

OWN = "127.0.0.1:8501"


async def answer(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("in")
    await websocket.close()


@pytest.fixture
def guarded() -> TestClient:
    inside = Starlette(routes=[Route("/", lambda request: PlainTextResponse("in")), WebSocketRoute("/stream", answer)])
    return TestClient(Guard(inside), base_url=f"http://{OWN}")


FOREIGN = [
    {"host": "evil.example"},
    {"host": "evil.example:8501"},
    {"host": "127.0.0.1:8502"},
    {"host": "127.0.0.1.evil.example:8501"},
    {"host": "2130706433:8501"},
    {"host": OWN, "origin": "http://127.0.0.1:8701"},
    {"host": OWN, "origin": "http://localhost:8501"},
    {"host": OWN, "origin": "https://127.0.0.1:8501"},
    {"host": OWN, "origin": "http://evil.example"},
    {"host": OWN, "origin": "null"},
]


@pytest.mark.parametrize("headers", [{"host": OWN}, {"host": OWN, "origin": f"http://{OWN}"}, {"host": "[::1]:8501"}])
def test_this_machines_own_pages_come_in(guarded: TestClient, headers: dict[str, str]) -> None:
    answer = guarded.get("/", headers=headers)
    assert (answer.status_code, answer.text) == (200, "in")
    assert answer.headers["Content-Security-Policy"].startswith("frame-ancestors 'none'")
    with guarded.websocket_connect(f"ws://{OWN}/stream", headers=headers) as stream:
        assert stream.receive_text() == "in"


@pytest.mark.parametrize("headers", FOREIGN)
def test_every_other_host_and_origin_is_refused_before_the_app_sees_it(
    guarded: TestClient, headers: dict[str, str]
) -> None:
    answer = guarded.get("/", headers=headers)
    assert (answer.status_code, answer.headers["X-Frame-Options"]) == (403, "DENY")
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect(f"ws://{OWN}/stream", headers=headers):
        pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder whose pages another port of this machine serves."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_page_of_another_port_neither_frames_the_app_nor_opens_its_stream(
    database: Path, elsewhere: tuple[Path, str]
) -> None:
    folder, address = elsewhere
    with app_running(database.parent) as app, browser_page() as page:
        page.goto(app)
        page.get_by_text("Who are you?").wait_for()  # the app's own page has its stream
        (folder / "index.html").write_text(f'<iframe id="frame" src="{app}/compare_responses?person=1"></iframe>')
        page.goto(address)
        page.wait_for_timeout(1500)
        (frame,) = [frame for frame in page.frames if frame is not page.main_frame]
        assert frame.url.startswith("chrome-error:")
        opened = page.evaluate(
            """address => new Promise(done => {
                const stream = new WebSocket(address);
                stream.onopen = () => done("opened");
                stream.onerror = () => done("refused");
            })""",
            app.replace("http:", "ws:") + "/_stcore/stream",
        )
        assert opened == "refused"
