"""An OpenAI-compatible endpoint on loopback that does what a test tells it, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Mapping[str, Any]]
"""Status and body."""


class FakeEndpoint:
    """Answers every chat with a text made of the question, unless `act` says otherwise."""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.asked: list[dict[str, Any]] = []
        self.act: Callable[[dict[str, Any]], Reply | None] = lambda body: None
        """Gets a request's body; a reply of its own stands in for the ordinary one, None lets that through."""
        self.url = ""
        self.location = ""
        """Where a redirect leads."""

    def answer(self, method: str, path: str, key: str, body: dict[str, Any]) -> Reply:
        """What the endpoint says."""
        if self.key and key != f"Bearer {self.key}":
            return failed(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}.")
        if method == "GET":
            return 200, {"object": "list", "data": [{"id": "gpt-fake", "object": "model", "owned_by": "somebody"}]}
        self.asked.append(body)
        return self.act(body) or ordinary(body)


def failed(status: int, message: str) -> Reply:
    """An error as OpenAI words it."""
    return status, {"error": {"message": message, "type": "error", "code": None}}


def ordinary(body: dict[str, Any]) -> Reply:
    """A reply to the last turn, one for each sample."""
    question = body["messages"][-1]["content"]
    choices = [
        {
            "index": n,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"Reply {body.get('seed', 0) + n} to: {question}"},
        }
        for n in range(body.get("n", 1))
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices), "total_tokens": 10 + 5 * len(choices)}
    return 200, {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "gpt-fake",
        "choices": choices,
        "usage": usage,
    }


@contextmanager
def serving(endpoint: FakeEndpoint) -> Iterator[FakeEndpoint]:
    """The endpoint on a free port for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say("GET", {})

        def do_POST(self) -> None:
            self._say("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _say(self, method: str, body: dict[str, Any]) -> None:
            status, said = endpoint.answer(method, self.path, self.headers.get("Authorization", ""), body)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if endpoint.location:
                self.send_header("Location", endpoint.location)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked did not wait
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
