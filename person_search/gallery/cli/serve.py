"""``person-search serve``: look for persons on a local web page."""

import argparse
from contextlib import suppress
from pathlib import Path

from person_search.errors import ConfigError, GalleryError
from person_search.files import optional_module

from ..engines import open_gallery
from .common import (
    add_gallery,
    add_model,
    add_pictures,
    add_threshold,
    open_searcher,
    pictures_of,
    positive,
    say,
    thresholds_of,
)

SUMMARY = "look for persons on a local web page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser, "; may be given several times", action="append")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: loopback)")
    parser.add_argument(
        "--password-file",
        metavar="FILE",
        help="its first line is the password that the page asks for; needed where --host can be "
        "reached from other machines",
    )
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    parser.add_argument(
        "--max-upload", type=positive, default=20, metavar="MB", help="(default: 20)"
    )
    add_threshold(parser)
    add_pictures(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Show a web page until Ctrl-C."""
    optional_module("gradio", "serve", GalleryError)
    from ..serve.app import Server, build_app, listen
    from ..serve.page import SearchPage

    password = _password(args.password_file)
    galleries = [open_gallery(uri) for uri in args.gallery]
    searcher = open_searcher(args, lambda: galleries[0])
    thresholds = thresholds_of(args, searcher.model, galleries)
    pictures = [pictures_of(args, gallery) for gallery in galleries]
    page = SearchPage(searcher, galleries, pictures, thresholds)
    app = build_app(page, args.max_upload * 10**6, args.host, password)
    with listen(args.host, args.port) as server_socket:
        host, port = server_socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        say(f"http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            Server(app).run(sockets=[server_socket])
    return 0


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the password file {path}: {error}") from error
    if not lines or not lines[0]:
        raise ConfigError(f"the first line of the password file {path} is empty")
    return lines[0]
