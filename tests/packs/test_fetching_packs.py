"""Fetching packs, from a server of this test's own."""

import errno
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_packs import two_step

from person_search import packs
from person_search.errors import PackError
from person_search.packs import catalog, fetching, opening
from person_search.packs.spec import FILE_NAME, PackFile, read_spec


@pytest.fixture
def server(tmp_path):
    """Serves a pack's files, with ranges; keeps the ``requests`` that came."""
    folder, asked = two_step(tmp_path / "served"), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            asked.append((self.path[1:], self.headers.get("Range")))
            path = folder / self.path[1:]
            if not path.is_file():
                return self.send_error(404)
            content, start = path.read_bytes(), 0
            if self.headers.get("Range") and self.server.has_ranges:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:])

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.has_ranges, running.asked, running.folder = True, asked, folder
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def listed(server, tmp_path, monkeypatch):
    """A list of ready packs that holds one, "tiny", on the server; its cache folder."""
    address = f"http://127.0.0.1:{server.server_address[1]}"
    spec = read_spec(server.folder)
    files = {
        name: PackFile(entry.sha256, url=f"{address}/{name}") for name, entry in spec.files.items()
    }
    object.__setattr__(spec, "files", files)
    for module in (catalog, fetching, opening):
        monkeypatch.setattr(module, "ready", lambda: {"tiny": spec})
    folder = tmp_path / "cache"
    monkeypatch.setenv(catalog.ENVIRONMENT, str(folder))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return spec, folder


def test_a_pack_is_fetched_once(listed, server):
    _, folder = listed
    place = packs.get("tiny")
    assert place == str(folder / "tiny")
    assert sorted(name for name, _ in server.asked) == ["detector.onnx", "embedder.onnx"]
    names = {path.name for path in (folder / "tiny").iterdir()}
    assert names == {"detector.onnx", "embedder.onnx", FILE_NAME}
    server.asked.clear()
    assert packs.get("tiny") == place and server.asked == []
    by_name, by_folder = packs.open_pack("tiny"), packs.open_pack(place)
    assert by_name.model == by_folder.model


@pytest.mark.parametrize("has_ranges", [True, False])
def test_fetching_goes_on_where_it_stopped(listed, server, has_ranges):
    _, folder = listed
    server.has_ranges = has_ranges
    content = (server.folder / "detector.onnx").read_bytes()
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "detector.onnx.part").write_bytes(content[:100])
    packs.open_pack(packs.get("tiny"))
    assert ("detector.onnx", "bytes=100-") in server.asked


def test_files_put_there_by_hand_are_taken(listed, server):
    spec, folder = listed
    folder.mkdir()
    for name in spec.files:
        (folder / name).write_bytes((server.folder / name).read_bytes())
    assert packs.get("tiny") == "tiny" and server.asked == []
    assert packs.open_pack("tiny").model.weights == "tiny"
    (folder / "embedder.onnx").unlink()  # the rest is fetched
    packs.open_pack(packs.get("tiny"))
    assert [name for name, _ in server.asked] == ["embedder.onnx"]


def test_another_file_is_refused_and_not_kept(listed, server):
    _, folder = listed
    (server.folder / "embedder.onnx").write_bytes(b"another")
    with pytest.raises(PackError, match="gave another file"):
        packs.get("tiny")
    assert {path.name for path in (folder / "tiny").iterdir()} == {"detector.onnx"}


def test_without_a_network_it_says_which_files_to_put_where(listed, server):
    _, folder = listed
    server.shutdown()
    server.server_close()
    with pytest.raises(PackError) as error:
        packs.get("tiny")
    message = str(error.value)
    assert f"put these files into {folder / 'tiny'} by hand" in message
    assert "detector.onnx (http" in message and "embedder.onnx (http" in message


def test_a_file_that_the_server_does_not_have(listed, server):
    (server.folder / "detector.onnx").unlink()
    with pytest.raises(PackError, match="cannot be fetched"):
        packs.get("tiny")


def test_a_full_disk_names_the_remedy(listed, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_get_file", full)
    with pytest.raises(PackError, match=f"is full.*{catalog.ENVIRONMENT}"):
        packs.get("tiny")


def test_a_folder_that_cannot_be_written(listed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(catalog.ENVIRONMENT, str(tmp_path / "file"))
    with pytest.raises(PackError, match="cannot be written"):
        packs.get("tiny")


def test_an_unknown_name(listed):
    with pytest.raises(PackError, match="no ready pack other; there are tiny"):
        packs.get("other")
