"""What may be asked of the server: Gradio answers to far more than the page needs."""

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

HEADERS = {
    "content-security-policy": "default-src 'self' data: blob:; frame-ancestors 'none'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""With every answer: nothing is loaded from elsewhere, no page holds this one, and no browser
writes it to its disk."""


class Gate:
    """Refuses what the page never asks for.

    * Another host name than the server's (403): a site whose name was made to point to this machine
      could otherwise read everything through its visitor's browser (DNS rebinding).
    * An action that another site's page asks for (403).
    * Other routes than the page's (404).
    * Bodies of unknown (411) or of too great length (413).

    Args:
        app: what answers the rest.
        hosts: names under which the server may be asked; None: any.
        most_bytes: of a body.
    """

    def __init__(self, app: Callable, hosts: set[str] | None, most_bytes: int):
        self.app, self.hosts, self.most_bytes = app, hosts, most_bytes

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
        if not status:
            return await self.app(scope, receive, send_with_headers)
        await send_with_headers({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

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
        if method in ("GET", "HEAD"):
            known = path in PAGE or path.startswith(PAGE_FOLDERS)
            return None if known and ".." not in path.split("/") else 404
        if method != "POST" or path.rstrip("/") not in ACTIONS:
            return 404
        if origin is not None and urlsplit(origin).netloc != host:
            return 403
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return 411
        return 413 if int(length) > self.most_bytes else None
