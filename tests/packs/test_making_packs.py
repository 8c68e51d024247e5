"""A pack of local files: what shapes tell is read, what they do not tell has to be said."""

import numpy as np
import pytest
from onnx import helper
from tiny_packs import save, save_detector, save_embedder

from person_search import packs
from person_search.errors import PackError

SAID = (
    "detector.decode=boxes_scores",
    "detector.person_class=1",
    "detector.resize=stretch",
    "detector.color=RGB",
    "detector.std=[255, 255, 255]",
    "embedder.color=BGR",
    "embedder.mean=[0, 0, 0]",
    "embedder.std=[1, 1, 1]",
)


@pytest.fixture
def files(tmp_path):
    save_detector(tmp_path / "detector.onnx")
    save_embedder(tmp_path / "embedder.onnx")
    return tmp_path / "detector.onnx", tmp_path / "embedder.onnx"


def test_a_pack_is_made_of_files_and_what_is_said(files, tmp_path):
    made = packs.make(tmp_path / "mine", *files, [*SAID, "license=MIT", "score_thresh=0.6"])
    spec, folder = packs.find_pack(made)
    assert (spec.name, spec.license, spec.score_thresh) == ("mine", "MIT", 0.6)
    assert spec.detector.size == (32, 32) and spec.detector.decode == "boxes_scores"
    assert spec.embedder.size == (8, 4) and spec.embedder.dim == 3
    assert {path.name for path in folder.iterdir()} == {*spec.files, "pack.yaml"}
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32, 2] = 255
    (found,) = packs.open_pack(made).detect([picture])
    np.testing.assert_allclose(found.boxes, [[0, 0, 32, 32]])


def test_what_shapes_do_not_tell_is_asked_for(files, tmp_path):
    with pytest.raises(PackError) as error:
        packs.make(tmp_path / "mine", *files)
    asked = "detector.decode, detector.person_class, detector.resize, detector.color"
    assert asked in str(error.value) and not (tmp_path / "mine").exists()
    with pytest.raises(PackError, match="embedder.color, embedder.mean, embedder.std"):
        packs.make(tmp_path / "mine", *files, SAID[:5])


def make_yolox(path, offset: float) -> None:
    """1x3x32x32 -> 21 rows of 6, all of them ``offset``."""
    rows = np.full((1, 21, 6), offset, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["y"]),
    ]
    constants = {"rows": rows, "zero": np.array(0, np.float32)}
    save(path, nodes, {"x": [1, 3, 32, 32]}, {"y": [1, 21, 6]}, constants)


def test_yolox_is_recognized_by_its_grid(files, tmp_path):
    path = tmp_path / "yolox.onnx"
    make_yolox(path, 0.5)
    spec, _ = packs.find_pack(packs.make(tmp_path / "mine", path, files[1], SAID[5:]))
    detector = spec.detector
    assert (detector.decode, detector.resize, detector.person_class) == ("yolox", "letterbox", 0)
    # Decoded already: its rows are pixels.
    make_yolox(path, 100.0)
    with pytest.raises(PackError, match="do not tell detector.decode"):
        packs.make(tmp_path / "other", path, files[1], SAID[5:])


@pytest.mark.parametrize(
    "setting, said",
    [
        ("detector.color", "write KEY=VALUE"),
        ("other.key=1", "write KEY=VALUE"),
        ("embedder.mean=[1, 2", "is no YAML"),
        ("embedder.dim=99", "embedder.dim says 99"),
        ("detector.colour=RGB", "detector.colour: no such key"),
    ],
)
def test_a_wrong_setting_leaves_no_pack(files, tmp_path, setting, said):
    with pytest.raises(PackError) as error:
        packs.make(tmp_path / "mine", *files, [*SAID, setting])
    assert said in str(error.value)
    assert not (tmp_path / "mine" / "pack.yaml").exists()


def test_a_file_that_is_not_there_or_no_network(files, tmp_path):
    with pytest.raises(PackError, match="detector: .*none.onnx: No such file"):
        packs.make(tmp_path / "mine", tmp_path / "none.onnx", files[1], SAID)
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(PackError, match="is a PyTorch file"):
        packs.make(tmp_path / "mine", files[0], tmp_path / "model.pth", SAID)
