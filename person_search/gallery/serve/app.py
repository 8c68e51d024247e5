"""The page as people see it: components, and who tells what to whom."""

import base64
import html
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import uvicorn
from fastapi import FastAPI

from person_search.errors import ConfigError, ImageError, PersonSearchError, QueryError

from ..persons import Filter
from ..report.page import asset
from ..search import SearchOptions, SearchResult
from .gate import LOOPBACK, Gate
from .page import MOST_HITS, SearchPage, no_scene_html, scene_html

SESSIONS, SESSIONS_BYTES = 32, 2**28
"""Number of people whose pictures are remembered at once, or fewer, so that all their uploads have
no more than so many bytes; the oldest are forgotten."""

WAITING = 8
"""Number of requests that may wait for the model, each with an upload."""


def _above(head: str, *facts: object) -> str:
    """What stands above the hits."""
    return f'<div class="above"><b>{head}</b>{"".join(f"<span>{f}</span>" for f in facts)}</div>'


ASK_FOR_SCENE = _above("Who are you looking for?", "Drop a scene that shows the person.")
ASK_FOR_PERSON = _above("Who are you looking for?", "Click the person in your scene.")


@contextmanager
def _told() -> Iterator[None]:
    """A user's mistake becomes a message on the page; it may quote file names, but no HTML."""
    try:
        yield
    except PersonSearchError as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error


def _theme() -> gr.themes.Base:
    """Fonts of the machine: none is loaded from elsewhere."""
    sans, mono = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    colors = {"primary_hue": "blue", "secondary_hue": "emerald", "neutral_hue": "gray"}
    return gr.themes.Base(font=sans, font_mono=mono, **colors)


def build_blocks(page: SearchPage, most_bytes: int) -> gr.Blocks:
    """The page.

    Args:
        page: what it does.
        most_bytes: of a picture that is dropped.
    """
    uris = list(page.galleries)
    least_score = page.searcher.model.score_thresh
    about, choices, timed = _about(page, uris[0])
    blocks = gr.Blocks(title="Person search", analytics_enabled=False, fill_width=True)
    with blocks:
        scene, query = gr.State(), gr.State()
        head = gr.HTML(about, elem_id="head", apply_default_css=False)
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=3, min_width=380, elem_id="left"):
                picture = gr.HTML(
                    no_scene_html(),
                    elem_id="scene",
                    css_template=asset("serve/scene.css"),
                    js_on_load=asset("serve/scene.js"),
                    apply_default_css=False,
                    most_bytes=most_bytes,
                )
                with gr.Group():
                    gallery = gr.Dropdown(
                        uris, value=uris[0], label="Gallery", visible=len(uris) > 1
                    )
                    cameras = gr.Dropdown(
                        choices,
                        label="Cameras (none: all)",
                        multiselect=True,
                        visible=len(choices) > 1,
                    )
                    times = [
                        gr.DateTime(label=label, type="datetime", timezone="UTC", visible=timed)
                        for label in ("Since (UTC)", "Until (UTC)")
                    ]
                    with gr.Row():
                        score = gr.Slider(
                            least_score, 1, least_score, step=0.01, label="Score from", buttons=[]
                        )
                        top_k = gr.Slider(1, MOST_HITS, 20, step=1, label="Hits up to", buttons=[])
                    best = gr.Checkbox(True, label="Only the best hit of each frame")
                    rerank = gr.Checkbox(False, label="Re-rank (k-reciprocal)")
                    decide = gr.Checkbox(
                        True,
                        label="Is the person there at all? (threshold)",
                        visible=page.thresholds is not None,
                    )
            with gr.Column(scale=7, min_width=380):
                found = gr.HTML(
                    ASK_FOR_SCENE,
                    elem_id="found",
                    css_template=asset("report/report.css"),
                    js_on_load=asset("report/report.js") + "enlargeScenes(element);",
                    apply_default_css=False,
                )
        filters = [gallery, cameras, *times, score, top_k, best, rerank, decide]

        def choose_gallery(uri: str):
            with _told():
                about, choices, timed = _about(page, uri)
            time = gr.DateTime(visible=timed, value=None)
            return about, gr.Dropdown(choices, value=[], visible=len(choices) > 1), time, time

        def search(who, uri, cameras, since, until, score, top_k, best, rerank, decide) -> str:
            if who is None:
                return gr.skip()
            score = score if score > least_score else None
            where = Filter(tuple(cameras or ()), since, until, score)
            with _told():
                options = SearchOptions(int(top_k), where, best_per_frame=best, rerank=rerank)
                result = page.search(who, uri, options, decide)
                cards = page.cards(uri, result.hits)
            return _answer(result, rerank) + cards

        def drop(event: gr.EventData):
            with _told():
                dropped = page.detect(_bytes(event.data, most_bytes), str(event.name))
            return dropped, None, scene_html(dropped), ASK_FOR_PERSON

        def pick(event: gr.EventData, scene, *filters):
            return find(scene, lambda: page.pick(scene, event.number), filters)

        def draw(event: gr.EventData, scene, *filters):
            return find(scene, lambda: page.draw(scene, event.box), filters)

        def find(scene, choose, filters):
            with _told():
                if scene is None:
                    raise QueryError("the server has forgotten the picture: drop it again")
                who = choose()
            return who, scene_html(scene, who), search(who, *filters)

        def forget(request: gr.Request) -> None:
            blocks.state_holder.session_data.pop(request.session_hash, None)

        options = {
            "concurrency_id": "model",  # one at a time, whatever is asked for
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        outputs = [scene, query, picture, found]
        picture.drop(drop, None, outputs, show_progress_on=picture, **options)
        options["show_progress_on"] = found
        picture.pick(pick, [scene, *filters], [query, picture, found], **options)
        picture.draw(draw, [scene, *filters], [query, picture, found], **options)
        changes = [c.change for c in (cameras, *times, best, rerank, decide)]
        changes += [slider.release for slider in (score, top_k)]
        options["trigger_mode"] = "always_last"
        gr.on(changes, search, [query, *filters], found, **options)
        quiet = options | {"show_progress_on": None, "show_progress": "hidden"}
        chosen = [head, cameras, *times]
        choice = gr.on([blocks.load, gallery.change], choose_gallery, gallery, chosen, **quiet)
        choice.then(search, [query, *filters], found, **options)
        blocks.unload(forget)
    blocks.queue(max_size=WAITING)
    blocks.state_session_capacity = max(1, min(SESSIONS, SESSIONS_BYTES // most_bytes))
    return blocks


def _about(page: SearchPage, uri: str) -> tuple[str, list[tuple[str, str]], bool]:
    """Of a gallery: the head of the page, (label, name) of its cameras, whether times are known."""
    count, contents = page.contents(uri)
    facts = [f"{count:,} persons", html.escape(uri)]
    if contents.first:
        facts.insert(1, f"{contents.first:%Y-%m-%d %H:%M} to {contents.last:%Y-%m-%d %H:%M}")
    head = f"<header><h1>Person search</h1><p>{' · '.join(facts)}</p></header>"
    cameras = sorted(contents.cameras.items())
    choices = [(f"{name or '(none)'} ({number:,})", name) for name, number in cameras]
    return head, choices, contents.first is not None


def _answer(result: SearchResult, reranked: bool) -> str:
    """Whether the person is there, where that was asked, and how many hits there are."""
    who, number = result.query.label.capitalize(), len(result.hits)
    order = "re-ranked" if reranked else "most similar first"
    hits = f"{number} hit{'s' * (number != 1)}, {order}"
    if result.threshold is None:
        return _above(who, hits)
    facts = (result.decision, hits) if result.in_gallery else (result.decision,)
    threshold = html.escape(str(result.threshold))
    return f'{_above(who, *facts)}<p class="threshold">{threshold}</p>'


def _bytes(text: object, most: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ImageError("the upload is damaged: drop the picture again") from None
    if len(data) > most:
        raise ImageError(f"the picture has more than {most / 1e6:g} MB")
    return data


def build_app(
    page: SearchPage, most_bytes: int, host: str = "127.0.0.1", password: str | None = None
) -> FastAPI:
    """The whole server: the page behind its gate.

    Args:
        page: what it does.
        most_bytes: of a picture that is dropped.
        host: where it will listen; the names under which it may be asked follow from it.
        password: that a browser has to give.

    Raises:
        ConfigError: there is no password, and the host can be reached from other machines.
    """
    if password is None and host not in LOOPBACK:
        raise ConfigError(
            f"whoever reaches {host} could see the gallery: set a password with --password-file"
        )
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        build_blocks(page, most_bytes),
        path="/",
        theme=_theme(),
        css=asset("serve/app.css"),
        footer_links=[],
        # Nothing of these is wanted, whatever the environment says.
        allowed_paths=[],
        blocked_paths=["/"],
        max_file_size=0,
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
    )
    everywhere = host in ("", "0.0.0.0", "::")
    hosts = None if everywhere else LOOPBACK | {host}
    # As base64 an upload is a third longer; the rest is what goes with it.
    most_in_body = most_bytes * 4 // 3 + 2**16
    app.add_middleware(Gate, hosts=hosts, most_bytes=most_in_body, password=password)
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error}): give another --host or --port"
        ) from error


class Server(uvicorn.Server):
    """Run it with ``run(sockets=[listen(...)])``; open pages do not keep it from ending."""

    def __init__(self, app: FastAPI):
        super().__init__(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))

    def handle_exit(self, *args) -> None:
        """Ends the streams that open pages hold, which would else be cut off with a traceback."""
        self.config.app.routes[-1].app.stop_event.set()
        super().handle_exit(*args)
