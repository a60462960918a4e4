"""The app as it is served: Streamlit, and before it a guard that lets in nobody but this machine's own pages.

``streamlit run ui/server.py`` serves it. Streamlit alone takes any page of any port of this machine for its own, lets
every page put it into a frame, and asks a server elsewhere for this machine's address when it refuses a foreign page.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit.starlette import App

from files import keep_private
from settings import ROOT, is_loopback

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer: no frame, no guessing of types, no word of where somebody came from."""


class Guard:
    """Refuses every Host that is not this server on this machine, and every Origin that is not that Host."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before Streamlit sees it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif self._is_own(scope):
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            refusal = PlainTextResponse("Pickwell answers its own pages on this machine only.", status_code=403)
            await refusal(scope, receive, _with_headers(send))

    @staticmethod
    def _is_own(scope: MutableMapping[str, Any]) -> bool:
        headers, (_, port) = Headers(scope=scope), scope["server"]
        host, origins = headers.get("host", ""), headers.getlist("origin")
        try:
            name = urlsplit(f"//{host}")
            own = is_loopback(name.hostname) and (name.port or 80) == port
        except ValueError:
            own = False
        return own and all(origin == f"http://{host}" for origin in origins)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending


keep_private()
app = App(ROOT / "app.py", middleware=[Middleware(Guard)])
