"""The server as a browser and as an attacker see it: real requests, and a real Chromium."""

import asyncio
import base64
import contextlib
import http.client
import importlib
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from person_search.errors import ConfigError
from person_search.gallery import GalleryIndex, Persons, open_gallery
from person_search.gallery.calibration import Threshold
from person_search.gallery.cli import build_parser, main
from person_search.gallery.serve.gate import Gate
from person_search.gallery.serve.page import SearchPage
from person_search.gallery.trust import Pictures

pytestmark = pytest.mark.filterwarnings("ignore:::gradio.queueing")
MOST_BYTES = 300_000
THRESHOLD = Threshold(0.9999, 0.1, 18, "<b>street", 0.5, False)
"""Above everybody but the person itself."""

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def gallery(searcher, street_frames) -> GalleryIndex:
    """Six pictures of two cameras, one of which has a name that is no good for HTML."""
    gallery = open_gallery("memory:", searcher.model)
    for i, path in enumerate(street_frames[:6]):
        found = searcher.detect([cv2.imread(path)])[0]
        of_frame = (found.boxes, found.scores, found.embeds, path)
        gallery.upsert(Persons.of_frame(*of_frame, time=10**12, camera=("yard", NASTY)[i % 2]))
    gallery.write_files(dict.fromkeys(street_frames[:6], "read"))
    return gallery


@pytest.fixture(scope="module")
def served(searcher, gallery, street_frames, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A running server: its ``port``, the ``page``, Gradio's ``blocks`` and ``temp`` folder."""
    pytest.importorskip("gradio", reason="needs the extra: pip install -e '.[serve]'")
    from person_search.gallery.serve.app import Server, build_app, listen

    temp = tmp_path_factory.mktemp("temp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(temp))
        page = SearchPage(
            searcher, [gallery], [Pictures(street_frames[:6])], lambda gallery, where: THRESHOLD
        )
        app = build_app(page, MOST_BYTES)
        with listen("127.0.0.1", 0) as own_socket:
            server = Server(app)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [own_socket]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            yield SimpleNamespace(
                port=own_socket.getsockname()[1],
                page=page,
                blocks=app.routes[-1].app.get_blocks(),
                temp=temp,
            )
            server.should_exit = True
            thread.join()


def ask(served, method: str, path: str, body=None, **headers) -> SimpleNamespace:
    """A request exactly as it is given; no client tidies its path up."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return SimpleNamespace(status=answer.status, headers=answer.headers, text=text)


def event(served, name: str, data: dict, session: str, values=()) -> dict:
    """Trigger an event of the component that shows the scene; what comes of it."""
    config = json.loads(ask(served, "GET", "/config").text)
    (function,) = [d for d in config["dependencies"] if any(t[1] == name for t in d["targets"])]
    body = {
        "data": [None] * (len(function["inputs"]) - len(values)) + list(values),
        "event_data": data,
        "fn_index": function["id"],
        "session_hash": session,
        "trigger_id": function["targets"][0][0],
    }
    json_type = {"Content-Type": "application/json"}
    joined = ask(served, "POST", "/gradio_api/queue/join", json.dumps(body), **json_type)
    if joined.status != 200:
        return {"status": joined.status}
    stream = ask(served, "GET", f"/gradio_api/queue/data?session_hash={session}").text.decode()
    messages = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    (done,) = [m for m in messages if m["msg"] == "process_completed"]
    return done["output"]


def test_the_whole_way_by_requests(served, street_frames):
    data = base64.b64encode(Path(street_frames[2]).read_bytes()).decode()
    out = event(served, "drop", {"name": NASTY, "data": data}, "way")["data"]
    assert out[2].count('class="person"') == 3 and "<img src=x" not in out[2]
    score = served.page.searcher.model.score_thresh
    filters = ["memory:", [], None, None, score, 20, True, False, False]
    out = event(served, "pick", {"number": 2}, "way", filters)["data"]
    assert out[2].startswith('<div class="above"><b>Person 2</b><span>6 hits')
    first = out[2].split('class="hit"')[1]
    assert os.path.basename(street_frames[2]) in first and "<b>1.000</b>" in first
    assert "<img src=x" not in out[2]
    filters[1] = ["yard"]
    out = event(served, "draw", {"box": [40, 30, 90, 150]}, "way", filters)["data"]
    assert "Your box</b><span>3 hits, most similar first<" in out[2]
    filters[-2:] = True, False
    out = event(served, "pick", {"number": 2}, "way", filters)["data"]
    assert "Person 2</b><span>3 hits, re-ranked<" in out[2]
    assert "threshold" not in out[2]


def test_is_the_person_there(served, street_frames):
    """The scene is of the yard; of the other camera nobody is similar enough."""
    data = base64.b64encode(Path(street_frames[2]).read_bytes()).decode()
    event(served, "drop", {"name": "a.jpg", "data": data}, "there")
    score = served.page.searcher.model.score_thresh
    filters = ["memory:", ["yard"], None, None, score, 20, True, False, True]
    out = event(served, "pick", {"number": 2}, "there", filters)["data"]
    assert "Person 2</b><span>in the gallery</span><span>1 hit, most similar first<" in out[2]
    said = "threshold 1.000, set for a false alarm rate of 0.1 in a gallery of 18 persons; it finds"
    assert f'<p class="threshold">{said} 50% of those who are there (both by &lt;b&gt;' in out[2]
    filters[1] = [NASTY]
    out = event(served, "pick", {"number": 2}, "there", filters)["data"]
    assert "Person 2</b><span>not in the gallery: the most similar has 0." in out[2]
    assert 'class="hit"' not in out[2]


def test_without_a_picture_there_is_nobody_to_pick(served):
    filters = ["memory:", [], None, None, 0.5, 20, True, False, True]
    out = event(served, "pick", {"number": 1}, "nothing", filters)
    assert out["error"] == "the server has forgotten the picture: drop it again"


@pytest.mark.parametrize(
    "data, message",
    [
        ("bm8gcGljdHVyZQ==", "a.jpg is not a picture: drop a JPEG, PNG, WEBP, BMP file"),
        ("?", "the upload is damaged: drop the picture again"),
        (None, "the upload is damaged: drop the picture again"),
        ("A" * (MOST_BYTES * 4 // 3 + 4), "the picture has more than 0.3 MB"),
    ],
)
def test_what_is_dropped_may_be_anything(served, data, message):
    assert event(served, "drop", {"name": "a.jpg", "data": data}, "any")["error"] == message


# ----------------------------------------------------------------------------------------- refused


def test_no_file_can_be_read(served, street_frames):
    """Neither a system's nor a gallery's nor this project's, by any way that Gradio has."""
    names = ["/etc/passwd", street_frames[0], __file__, str(served.temp), "file:///etc/passwd"]
    ups = "../" * 12 + "etc/passwd"
    paths = [f"/gradio_api/{way}{n}" for way in ("file=", "file/", "proxy=") for n in names]
    paths += [f"/{folder}/{ups}" for folder in ("assets", "static", "gradio_api", "svelte")]
    paths += [path.replace("../", "%2e%2e%2f") for path in paths]
    paths += ["/static//etc/passwd", "/assets/%2fetc%2fpasswd", "/theme.css/../../etc/passwd"]
    paths += ["/gradio_api/proxy=http://example.org", "/custom_component/1/client/component/x.js"]
    for path in paths:
        answer = ask(served, "GET", path)
        assert answer.status in (403, 404), path
        assert b"root:" not in answer.text


def test_gradio_alone_would_refuse_the_files_too(served, street_frames):
    """Behind the gate, should there be a hole in it."""
    from gradio.route_utils import file_fetch
    from starlette.exceptions import HTTPException

    for name in ("/etc/passwd", street_frames[0], "../../etc/passwd", __file__):
        with pytest.raises(HTTPException) as refused:
            file_fetch(name, None, served.blocks, str(served.temp))
        assert refused.value.status_code in (403, 404)


def test_nothing_is_uploaded_as_a_file(served):
    form = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nA\r\n--x--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(served, "POST", "/gradio_api/upload", form, **kind).status == 404
    assert [path for path in served.temp.rglob("*") if path.is_file()] == []


def test_a_body_that_is_too_long_is_not_read(served):
    body = json.dumps({"data": "A" * (MOST_BYTES * 2)})
    assert ask(served, "POST", "/gradio_api/queue/join", body).status == 413
    assert ask(served, "POST", "/gradio_api/queue/join", iter([b"{}"])).status == 411  # chunked


def test_another_site_can_neither_ask_nor_read(served):
    home = f"127.0.0.1:{served.port}"
    assert ask(served, "GET", "/", Host=home).status == 200
    assert ask(served, "GET", "/config", Host="evil.example").status == 403
    post = ("POST", "/gradio_api/queue/join", "{}")
    assert ask(served, *post, Origin="https://evil.example").status == 403
    assert ask(served, *post, Origin="null").status == 403
    assert ask(served, *post, Origin=f"http://{home}").status == 422  # let in, and found wanting


def test_every_answer_forbids_what_is_elsewhere(served):
    for path in ("/", "/config", "/nowhere"):
        headers = ask(served, "GET", path).headers
        assert "default-src 'self' data: blob:;" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/", {}, None),
        ("GET", "/", {"host": "[::1]:7860"}, None),
        ("GET", "/", {"host": "localhost"}, None),
        ("GET", "/", {"host": "localhost.evil.example"}, 403),
        ("GET", "/", {"host": ""}, 403),
        ("HEAD", "/assets/index.js", {}, None),
        ("GET", "/assets/../x", {}, 404),
        ("GET", "/gradio_api/heartbeat/abc", {}, None),
        ("GET", "/gradio_api/upload_progress", {}, 404),
        ("DELETE", "/", {}, 404),
        ("OPTIONS", "/gradio_api/queue/join", {}, 404),
        ("POST", "/", {}, 404),
        ("POST", "/gradio_api/queue/join", {"content-length": "100"}, None),
        ("POST", "/gradio_api/queue/join", {"content-length": "101"}, 413),
        ("POST", "/gradio_api/queue/join", {"content-length": "-1"}, 411),
        ("POST", "/gradio_api/queue/join", {}, 411),
        ("POST", "/gradio_api/queue/join", {"content-length": "9", "transfer-encoding": "x"}, 411),
        ("POST", "/gradio_api/run/drop", {"content-length": "9"}, 404),
        ("POST", "/gradio_api/component_server", {"content-length": "9"}, 404),
    ],
)
def test_the_gate(method, path, headers, status):
    gate = Gate(None, {"localhost", "::1"}, most_bytes=100)
    assert gate.refusal(method, path, {"host": "localhost:7860"} | headers) == status


def test_a_server_for_everybody_may_be_asked_under_any_name():
    assert Gate(None, None, 100).refusal("GET", "/", {"host": "people.example"}) is None


@pytest.mark.parametrize(
    "text, status",
    [
        ("Basic " + base64.b64encode("anna:pässword:1".encode()).decode(), None),
        ("basic " + base64.b64encode(":pässword:1".encode()).decode(), None),
        ("Basic " + base64.b64encode(b"anna:password").decode(), 401),
        ("Basic " + base64.b64encode(b"p\xffssword").decode(), 401),
        ("Bearer x", 401),
        ("Basic ?", 401),
        ("", 401),
    ],
)
def test_a_password(text, status):
    gate = Gate(None, None, 100, "pässword:1")
    for path in ("/", "/assets/a.js", "/nowhere"):
        expected = 404 if path == "/nowhere" and status is None else status
        assert gate.refusal("GET", path, {"authorization": text}) == expected


def through(gate: Gate, parts: list, length: int) -> tuple[int, list[bytes]]:
    """The status of a POST whose body comes in parts, None for one that never comes; and what
    the application behind the gate got."""
    got, sent, waiting = [], [], list(parts)

    async def app(scope, receive, send):
        more = True
        while more:
            message = await receive()
            got.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        part = waiting.pop(0)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    gate.app = app
    headers = [(b"content-length", str(length).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/gradio_api/queue/join",
        "headers": headers,
    }
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], got


def test_a_body_is_counted_as_it_arrives(monkeypatch):
    monkeypatch.setattr("person_search.gallery.serve.gate.PATIENCE", 0.05)
    gate = Gate(None, None, most_bytes=100)
    assert through(gate, [b"abc", b"def"], 6) == (200, [b"abc", b"def"])
    assert through(gate, [b"abc", b"def" * 100], 6) == (413, [])
    assert through(gate, [b"abc", None], 6) == (408, [])
    assert gate._arriving == 0
    gate._arriving = 390
    assert through(gate, [b"abcdef" * 2], 12) == (503, [])


# ----------------------------------------------------------------------------------------- command


def test_it_listens_on_loopback_unless_told_otherwise(served):
    from person_search.gallery.serve.app import listen

    args = build_parser().parse_args(["serve", "--gallery", "a", "--gallery", "b"])
    assert (args.gallery, args.host) == (["a", "b"], "127.0.0.1")
    for host, port in (("127.0.0.1", served.port), ("192.0.2.1", 0), ("127.0.0.1", 99999)):
        with pytest.raises(ConfigError, match="give another --host or --port"):
            listen(host, port)


def test_what_all_sessions_hold_is_bounded(served):
    from person_search.gallery.serve import app

    for most_bytes, sessions in ((300_000, 32), (20 * 10**6, 13), (10**9, 1)):
        blocks = app.build_blocks(served.page, most_bytes)
        assert blocks.state_session_capacity == sessions


def test_a_gallery_that_is_not_there(served, capsys):
    assert main(["serve", "--gallery", "memory:"]) == 1
    assert "GalleryError: memory: holds no gallery" in capsys.readouterr().err


def test_other_machines_need_a_password(searcher, gallery, monkeypatch, capsys, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra: pip install -e '.[serve]'")
    serve = importlib.import_module("person_search.gallery.cli.serve")
    monkeypatch.setattr(serve, "open_gallery", lambda uri: gallery)
    monkeypatch.setattr(serve, "open_searcher", lambda args, find_gallery: searcher)
    command = ["serve", "--gallery", "a", "--host", "0.0.0.0"]
    assert main(command) == 1
    assert "set a password with --password-file" in capsys.readouterr().err
    for name, content in (("nowhere", None), ("empty", b""), ("blank", b"\n"), ("odd", b"\xff")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert main([*command, "--password-file", str(tmp_path / name)]) == 1
        assert f"password file {tmp_path / name}" in capsys.readouterr().err


def test_a_threshold_that_is_wrong(searcher, gallery, monkeypatch, capsys):
    serve = importlib.import_module("person_search.gallery.cli.serve")
    monkeypatch.setattr(serve, "open_gallery", lambda uri: gallery)
    monkeypatch.setattr(serve, "open_searcher", lambda args, find_gallery: searcher)
    assert main(["serve", "--gallery", "a", "--threshold", "auto"]) == 1
    assert "has no calibration" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium or Chrome on the PATH")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -r requirements.txt"
    )
    with playwright.sync_playwright() as driver:
        with driver.chromium.launch(executable_path=CHROMIUM) as browser:
            yield browser


def until(found, text: str, act) -> None:
    """Act until the answer is there: what comes while Gradio draws the scene anew may be lost."""
    from playwright.sync_api import TimeoutError

    for _ in range(10):
        act()
        with contextlib.suppress(TimeoutError):
            return found.get_by_text(text).wait_for(timeout=20_000)
    pytest.fail(f"the page never said {text!r}")


def test_in_chromium(served, browser, street_frames, monkeypatch, tmp_path):
    """Load, drop, click a person, see the right frame first; draw a box; filter; be forgotten."""
    detect, pictures = served.page.detect, []

    def remembered(data: bytes, name: str):
        scene = detect(data, name)
        pictures.append(weakref.ref(scene))
        return scene

    monkeypatch.setattr(served.page, "detect", remembered)
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(200_000)  # ms; a busy machine may take its time
    asked, problems = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: problems.append(error))
    tab.on("console", lambda line: line.type == "error" and problems.append(line.text))
    found, people = tab.locator("#found"), tab.locator("#scene .person")
    tab.goto(f"http://127.0.0.1:{served.port}/")
    tab.locator("#scene.ready, #scene .ready").wait_for()

    tab.set_input_files("#scene input", street_frames[3])
    people.first.wait_for()
    assert people.count() == 3
    until(found, "Person 2", lambda: tab.locator("[data-number='2']").press("Enter"))
    assert found.get_by_text("in the gallery", exact=True).is_visible()
    assert found.locator(".hit").count() == 1
    tab.get_by_label("Is the person there at all? (threshold)").uncheck()
    found.get_by_text("6 hits, most similar first").wait_for()
    tab.get_by_label("Re-rank (k-reciprocal)").check()
    found.get_by_text("6 hits, re-ranked").wait_for()
    tab.get_by_label("Re-rank (k-reciprocal)").uncheck()
    found.get_by_text("6 hits, most similar first").wait_for()
    assert found.locator(".hit").count() == 6
    first = found.locator(".hit").first
    assert first.locator(".file").get_attribute("title") == street_frames[3]
    assert first.locator(".rank b").inner_text() == "1.000"
    assert tab.locator("#scene .picked").get_attribute("data-number") == "2"

    # A click hits the person whose box is drawn there.
    x, y, width, height = (people.last.locator(".box").bounding_box()[k] for k in BOX)
    number = people.last.get_attribute("data-number")
    until(found, f"Person {number}", lambda: tab.mouse.click(x + width / 2, y + height / 2))

    def drag() -> None:
        x, y, width, height = (tab.locator("#scene svg").bounding_box()[k] for k in BOX)
        tab.mouse.move(x + width / 4, y + height / 4)
        tab.mouse.down()
        tab.mouse.move(x + width / 2, y + height * 3 / 4)
        tab.mouse.up()

    until(found, "Your box", drag)
    box = tab.locator("#scene .picked .box")
    drawn = [float(box.get_attribute(name)) for name in BOX]
    np.testing.assert_allclose(drawn, [80, 60, 80, 120], atol=1)

    tab.get_by_label("Cameras (none: all)").click()
    tab.get_by_role("option").filter(has_text="yard").click()
    found.get_by_text("3 hits").wait_for()
    assert set(found.locator("dd").all_inner_texts()) >= {"yard"}
    assert found.get_by_text(NASTY).count() == 0

    found.locator(".scene").first.click()
    assert found.locator("dialog[open] svg").is_visible()

    assert problems == []
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {
        f"127.0.0.1:{served.port}"
    }
    tab.close()
    end = time.monotonic() + 20
    while any(picture() is not None for picture in pictures) and time.monotonic() < end:
        time.sleep(0.1)
    assert len(pictures) == 1 and pictures[0]() is None  # forgotten with its tab
    assert [path for path in served.temp.rglob("*") if path.is_file()] == []


BOX = ("x", "y", "width", "height")
