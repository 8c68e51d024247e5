"""CUHK03: the release's HDF5, the new protocol, and the real protocol files."""

import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import noise, write_cuhk03_protocol, write_cuhk03_release
from street_runs import REPOSITORY

from person_search.data.crops import load_test_crops
from person_search.data.readers import CUHK03
from person_search.errors import DatasetError, ImageError
from person_search.images import read_image

h5py = pytest.importorskip("h5py", reason="CUHK03 needs h5py: pip install -e '.[datasets]'")

SHARED = REPOSITORY / ".." / "shared" / "data" / "annotations"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs the research data beside the repository"
)

# Pair, person of the pair, view, column: from 1. In all: persons 1, 2 (pair 1) and 3 (pair 5).
NAMES = [
    "1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_1_03.png", "1_002_2_10.png",
    "5_001_1_01.png", "5_001_2_07.png",
]  # fmt: skip
LABELS = [1, 1, 2, 2, 2, 3, 3]
INDICES = {"train": [2, 1], "query": [4, 6], "gallery": [3, 5, 7]}
CONFIG = "cuhk03_new_protocol_config_{}.mat"


def pixels(name: str, boxes: str) -> np.ndarray:
    """Each picture has a size of its own, as in the real set."""
    number = NAMES.index(name) + 20 * (boxes == "detected")
    return noise(number, (10 + number, 5))


def cell(name: str) -> tuple[int, int, int]:
    pair, person, _, column = (int(n) - 1 for n in name.removesuffix(".png").split("_"))
    return pair, person, column


@pytest.fixture(params=["cuhk03_release/cuhk-03.mat", "cuhk-03.mat"])
def cuhk03(tmp_path, request) -> Path:
    root = tmp_path / "cuhk03"
    for boxes in ("labeled", "detected"):
        pictures = {cell(name): pixels(name, boxes) for name in NAMES}
        write_cuhk03_release(root / request.param, pictures, boxes)
        write_cuhk03_protocol(root / CONFIG.format(boxes), NAMES, LABELS, INDICES)
    return root


def test_training_pictures(cuhk03):
    records = CUHK03.load(cuhk03, "train").records
    release = next(cuhk03.rglob("cuhk-03.mat"))
    assert records == [
        {
            "file_name": f"mat73://{release}!labeled/0/0/{column}",
            "image_id": name,
            "bbox": None,
            "person_id": 0,
            "camera_id": camera,
            "role": "train",
            "domain": "CUHK03",
        }
        for name, column, camera in (("1_001_2_06.png", 5, 2), ("1_001_1_01.png", 0, 1))
    ]


def test_test_pictures(cuhk03):
    records = CUHK03.load(cuhk03.parent, "test").records
    found = [(r["role"], r["image_id"], r["person_id"], r["camera_id"]) for r in records]
    assert found == [
        ("query", "1_002_1_03.png", 0, 1),
        ("query", "5_001_1_01.png", 1, 1),
        ("gallery", "1_002_1_01.png", 0, 1),
        ("gallery", "1_002_2_10.png", 0, 2),
        ("gallery", "5_001_2_07.png", 1, 2),
    ]


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_each_picture_is_the_one_of_its_name(cuhk03, boxes):
    for record in [
        r for split in ("train", "test") for r in CUHK03.load(cuhk03, split, boxes=boxes).records
    ]:
        expected = pixels(record["image_id"], boxes)
        assert np.array_equal(read_image(record["file_name"], "RGB"), expected)
        assert np.array_equal(read_image(record["file_name"]), expected[:, :, ::-1])


def test_registered(cuhk03):
    CUHK03.register("cuhk03_of_a_test", cuhk03, "test", boxes="detected")
    try:
        queries, gallery = load_test_crops("cuhk03_of_a_test")
        metadata = MetadataCatalog.get("cuhk03_of_a_test")
        assert (len(queries), len(gallery), metadata.raw_person_ids) == (2, 3, (2, 3))
        assert "!detected/" in queries[0]["file_name"]
    finally:
        DatasetCatalog.pop("cuhk03_of_a_test")
        MetadataCatalog.pop("cuhk03_of_a_test")


def test_what_is_not_there(cuhk03):
    for name in ("1_001_1_02.png", "3_001_1_01.png"):  # an empty cell, a pair without persons
        with pytest.raises(ImageError, match="not an RGB image"):
            member = "/".join(map(str, cell(name)))
            read_image(f"mat73://{next(cuhk03.rglob('cuhk-03.mat'))}!labeled/{member}")
    for member in ("labeled/0/9/0", "labeled/7/0/0", "drawn/0/0/0", "labeled", "labeled/0/0/x"):
        with pytest.raises(ImageError, match=f"{member}: no such member"):
            read_image(f"mat73://{next(cuhk03.rglob('cuhk-03.mat'))}!{member}")


def test_damage_gives_one_error_that_names_the_file(cuhk03, tmp_path):
    path = cuhk03 / CONFIG.format("labeled")
    write_cuhk03_protocol(path, [*NAMES[:2], "1_002_1_03.jpg", *NAMES[3:]], LABELS, INDICES)
    with pytest.raises(DatasetError, match=r"config_labeled\.mat is damaged"):
        CUHK03.load(cuhk03, "test")
    write_cuhk03_protocol(path, NAMES, LABELS, {**INDICES, "query": [8]})
    with pytest.raises(DatasetError, match=r"config_labeled\.mat is damaged"):
        CUHK03.load(cuhk03, "test")
    write_cuhk03_protocol(path, NAMES, LABELS, {**INDICES, "train": []})
    with pytest.raises(DatasetError, match=r"config_labeled\.mat, train_idx names no picture"):
        CUHK03.load(cuhk03, "train")
    write_cuhk03_protocol(path, NAMES, LABELS, {"train": [1]})
    with pytest.raises(DatasetError, match=r"config_labeled\.mat holds .*, not query_idx"):
        CUHK03.load(cuhk03, "test")

    release = next(cuhk03.rglob("cuhk-03.mat"))
    with h5py.File(release, "a") as file:
        del file["detected"]
    with pytest.raises(DatasetError, match=r"cuhk-03\.mat holds #refs#, labeled, not detected"):
        CUHK03.load(cuhk03, "train", boxes="detected")
    content = release.read_bytes()
    release.write_bytes(content.replace(b"HEAP", b"HEAP" + bytes(8), 1)[: len(content)])
    with pytest.raises(DatasetError, match=r"cuhk-03\.mat is (damaged|no MATLAB)"):
        CUHK03.load(cuhk03, "train", boxes="detected")
    release.write_bytes(content[:700])
    with pytest.raises(DatasetError, match=r"cuhk-03\.mat is no MATLAB 7.3 file"):
        CUHK03.load(cuhk03, "train", boxes="detected")
    release.unlink()
    with pytest.raises(DatasetError, match=r"(?s)holds no cuhk-03\.mat\. Expected.*labeled\.mat"):
        CUHK03.load(cuhk03, "train", boxes="detected")
    with pytest.raises(DatasetError, match=r"(?s)No cuhk03 .*cuhk-03\.mat.*DETECTRON2_DATASETS"):
        CUHK03.load(tmp_path / "nowhere", "train")


def test_legal_words(cuhk03):
    with pytest.raises(DatasetError, match="'drawn'; legal are labeled, detected"):
        CUHK03.register("cuhk03_of_a_test", cuhk03, "test", boxes="drawn")
    with pytest.raises(DatasetError, match="'val'; legal are train, test"):
        CUHK03.register("cuhk03_of_a_test", cuhk03, "val")


def test_without_h5py_the_error_says_what_to_install(cuhk03, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DatasetError, match=r"package h5py: pip install"):
        CUHK03.load(cuhk03, "train")


@needs_shared
@pytest.mark.parametrize(
    "boxes, train, gallery", [("labeled", 7368, 5328), ("detected", 7365, 5332)]
)
def test_the_real_protocol(tmp_path, boxes, train, gallery):
    """All published counts, and that names, labels and cameras of the file say one thing."""
    name = CONFIG.format(boxes)
    (tmp_path / name).symlink_to((SHARED / "person-re-ranking/CUHK03" / name).resolve())
    write_cuhk03_release(tmp_path / "cuhk-03.mat", {}, boxes)
    training, test = (
        CUHK03.load(tmp_path, split, boxes=boxes).records for split in ("train", "test")
    )
    queries, others = ([r for r in test if r["role"] == role] for role in ("query", "gallery"))
    assert (len(training), len(queries), len(others)) == (train, 1400, gallery)
    assert [len({r["person_id"] for r in part}) for part in (training, queries, others)] == [
        767, 700, 700,
    ]  # fmt: skip
    assert len({r["file_name"] for r in training + test}) == train + 1400 + gallery
    person_of = {}
    for part, records in (("train", training), ("test", test)):
        for r in records:
            pair, person, view, column = map(int, r["image_id"].removesuffix(".png").split("_"))
            assert r["file_name"].endswith(f"!{boxes}/{pair - 1}/{person - 1}/{column - 1}")
            assert r["camera_id"] == view == 1 + (column > 5)
            key = part, r["person_id"]
            assert person_of.setdefault((pair, person), key) == key
    assert len(person_of) == 767 + 700
    # One query per person and camera, and each has somebody to be found in the other camera.
    assert len({(r["person_id"], r["camera_id"]) for r in queries}) == 1400
    seen = {(r["person_id"], r["camera_id"]) for r in others}
    assert all((r["person_id"], 3 - r["camera_id"]) in seen for r in queries)
