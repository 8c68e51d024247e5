"""The list of ready packs, and their networks where the files are at hand."""

import numpy as np
import pytest

from person_search import packs
from person_search.errors import PackError
from person_search.images import read_image
from person_search.packs.catalog import ENVIRONMENT, find_ready


@pytest.fixture
def weights(shared_data, monkeypatch):
    """The folder with public weights, as the one where packs are kept."""
    folder = shared_data / "weights"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    return folder


def names_here(weights) -> list[str]:
    return [name for name in packs.ready() if find_ready(name)]


def test_every_ready_pack_says_what_a_user_has_to_know():
    assert next(iter(packs.ready())) == packs.RECOMMENDED
    for name, spec in packs.ready().items():
        assert spec.name == name and spec.license and spec.trained_on and spec.home
        for file, entry in spec.files.items():
            # What nobody offers for download has to be said how to get.
            assert entry.url or spec.needs, (name, file)
        for figure in spec.measured:
            assert 0 < figure.mAP <= figure.top1 <= 100


def test_ready_packs_run_on_a_real_picture(weights, shared_data):
    pytest.importorskip("openvino")
    frames = sorted((shared_data / "PRW-v16.04.20" / "frames").glob("*.jpg"))
    picture = read_image(str(frames[300]))
    height, width = picture.shape[:2]
    names = names_here(weights)
    assert packs.RECOMMENDED in names
    for name in names:
        searcher = packs.open_pack(name, threads=1)
        assert searcher.model.weights == name
        found, again = searcher.detect([picture, picture])
        assert len(found) >= 1 and (found.scores >= 0.5).all()
        np.testing.assert_array_equal(found.boxes, again.boxes)
        assert (found.boxes >= 0).all() and (found.boxes <= [width, height] * 2).all()
        rows = searcher.embed(picture, found.boxes)
        np.testing.assert_allclose(rows, found.embeds, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_openvino_runs_onnx_files_alike(weights):
    pytest.importorskip("openvino")
    picture = np.random.default_rng(0).integers(0, 256, (200, 100, 3), np.uint8)
    box = [[10, 20, 80, 190]]
    there = packs.open_pack(packs.RECOMMENDED, threads=1).embed(picture, box)
    here = packs.open_pack(packs.RECOMMENDED, threads=1, providers=["openvino"])
    np.testing.assert_allclose(here.embed(picture, box), there, atol=1e-4)


def test_a_ready_pack_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "empty"))
    with pytest.raises(PackError, match=f"person-search models get {packs.RECOMMENDED}"):
        packs.open_pack(packs.RECOMMENDED)


def test_a_file_of_the_same_name_is_not_taken_for_the_right_one(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    for file in packs.ready()[packs.RECOMMENDED].files:
        (tmp_path / file).write_bytes(b"another")
    with pytest.raises(PackError, match="is not the file of the pack"):
        packs.open_pack(packs.RECOMMENDED)


def test_make_knows_the_files_of_ready_packs(weights, tmp_path):
    made = packs.make(
        tmp_path / "mine", weights / "yolox_nano.onnx", weights / "osnet_x0_25_msmt17.onnx"
    )
    spec, _ = packs.find_pack(made)
    ready = packs.ready()[packs.RECOMMENDED]
    assert (spec.detector, spec.embedder) == (ready.detector, ready.embedder)
    assert packs.open_pack(made).model.config_hash == ready.config_hash()


def test_a_label_that_an_ssd_does_not_have_is_refused(weights, tmp_path):
    pytest.importorskip("openvino")
    files = (weights / "pedestrian-detection-adas-0002.xml", weights / "osnet_x0_25_msmt17.onnx")
    packs.make(tmp_path / "right", *files)
    for label in (0, 2):
        with pytest.raises(PackError, match=f"has the labels 1: detector.person_class {label}"):
            packs.make(tmp_path / "wrong", *files, [f"detector.person_class={label}"])
