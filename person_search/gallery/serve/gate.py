"""What may be asked of the server: Gradio answers to far more than the page needs."""

import asyncio
import base64
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

PAGE = {
    *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"),
    *("/gradio_api/startup-events", "/gradio_api/queue/data", "/gradio_api/info"),
}
PAGE_FOLDERS = ("/assets/", "/static/", "/gradio_api/heartbeat/")
"""May be read. Not among them: every route to files (``file=``, ``proxy=``, ``stream``)."""

ACTIONS = {"/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset"}
"""May be posted to. Not among them: ``upload``, which would write files."""

LOOPBACK = {"127.0.0.1", "localhost", "::1"}

BODIES = 4
"""Bodies of the greatest length that may be on their way at once; further ones are refused."""

PATIENCE = 30.0
"""Seconds within which the next part of a body has to arrive."""

HEADERS = {
    "content-security-policy": "default-src 'self' data: blob:; frame-ancestors 'none'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""With every answer: nothing is loaded from elsewhere, no page holds this one, and no browser
writes it to its disk."""

ASK_FOR_PASSWORD = (b"www-authenticate", b'Basic realm="person search", charset="UTF-8"')


class Gate:
    """Refuses what the page never asks for.

    * Another host name than the server's (403): a site whose name was made to point to this machine
      could otherwise read everything through its visitor's browser (DNS rebinding).
    * Everything without the password, if there is one (401): by HTTP's basic authentication, for
      which browsers ask, with any user name.
    * An action that another site's page asks for (403).
    * Other routes than the page's (404).
    * Bodies of unknown (411) or of too great length (413), by what arrives and not only by what is
      announced; those that do not arrive (408), and more than :data:`BODIES` at once (503).

    Args:
        app: what answers the rest.
        hosts: names under which the server may be asked; None: any.
        most_bytes: of a body.
        password: None asks for none.
    """

    def __init__(
        self, app: Callable, hosts: set[str] | None, most_bytes: int, password: str | None = None
    ):
        self.app, self.hosts, self.most_bytes, self.password = app, hosts, most_bytes, password
        self._arriving = 0  # bytes of bodies that were let in and have not arrived yet

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """An ASGI application."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                others = [h for h in message["headers"] if h[0].decode().lower() not in HEADERS]
                message = {**message, "headers": others + ours}
            await send(message)

        headers = {n.decode("latin1"): value.decode("latin1") for n, value in scope["headers"]}
        status = self.refusal(scope["method"], scope["path"], headers)
        if status:
            return await _refuse(status, send_with_headers)
        if scope["method"] != "POST":
            return await self.app(scope, receive, send_with_headers)
        length = int(headers["content-length"])
        self._arriving += length
        try:
            messages = await _arrived(receive, length)
        except _NotArrived as error:
            return await _refuse(error.status, send_with_headers)
        finally:
            self._arriving -= length

        async def receive_again() -> dict:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, receive_again, send_with_headers)

    def refusal(self, method: str, path: str, headers: dict[str, str]) -> int | None:
        """The status with which a request is refused; None: it is not.

        Args:
            method: "GET" ...
            path: decoded.
            headers: names in lower case.
        """
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            return 403
        if self.password is not None and not _knows(self.password, headers):
            return 401
        if method in ("GET", "HEAD"):
            known = path in PAGE or path.startswith(PAGE_FOLDERS)
            return None if known and ".." not in path.split("/") else 404
        if method != "POST" or path.rstrip("/") not in ACTIONS:
            return 404
        if origin is not None and urlsplit(origin).netloc != host:
            return 403
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()) or "transfer-encoding" in headers:
            return 411
        if int(length) > self.most_bytes:
            return 413
        return 503 if self._arriving + int(length) > BODIES * self.most_bytes else None


def _knows(password: str, headers: dict[str, str]) -> bool:
    kind, _, text = headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(text, validate=True).partition(b":")[2]
    except ValueError:
        return False
    return kind.lower() == "basic" and hmac.compare_digest(given, password.encode())


class _NotArrived(Exception):
    """A body did not arrive as it was announced; ``status`` is the answer."""

    def __init__(self, status: int):
        self.status = status


async def _arrived(receive: Callable, length: int) -> list[dict]:
    """The messages of a body of this length; more is not kept in memory, nor waited for.

    Raises:
        _NotArrived: it is longer, or its next part does not come.
    """
    messages, left, more = [], length, True
    while more:
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except asyncio.TimeoutError:  # Python 3.10 has another than the built-in one
            raise _NotArrived(408) from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise _NotArrived(413)
        messages.append(message)
        more = message.get("more_body", False)
    return messages


async def _refuse(status: int, send: Callable) -> None:
    headers = [ASK_FOR_PASSWORD] if status == 401 else []
    if status == 401:
        await asyncio.sleep(0.5)  # slows guessing down
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body"})
