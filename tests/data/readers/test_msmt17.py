"""MSMT17's lists, version 1 and 2, and the published counts from real names."""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from looks_alike import Shot, msmt17_name, noise, write_msmt17
from street_runs import REPOSITORY

from person_search.data.crops import load_test_crops
from person_search.data.readers import MSMT17
from person_search.errors import DatasetError

SHARED = REPOSITORY / ".." / "shared" / "data" / "annotations"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="needs the research data beside the repository"
)

# Person and camera; test persons start from 0 again.
LISTS = {
    "train": [(0, 12), (4, 1), (0, 3)],
    "val": [(4, 15)],
    "query": [(0, 1), (2, 2)],
    "gallery": [(2, 4), (0, 2), (0, 1)],
}


@pytest.fixture(params=[1, 2])
def msmt17(tmp_path, request) -> Path:
    lists = {k: [Shot(*pair, noise()) for pair in pairs] for k, pairs in LISTS.items()}
    return write_msmt17(tmp_path / f"MSMT17_V{request.param}", lists, request.param)


def test_training_is_train_and_val(msmt17):
    records = MSMT17.load(msmt17, "train").records
    folder = "train" if msmt17.name.endswith("1") else "mask_train_v2"
    assert records[1] == {
        "file_name": str(msmt17 / folder / "0004" / "0004_001_01_0303morning_0008_0.jpg"),
        "image_id": "0004/0004_001_01_0303morning_0008_0.jpg",
        "bbox": None,
        "person_id": 1,
        "camera_id": 1,
        "role": "train",
        "domain": "MSMT17",
    }
    found = [(r["person_id"], r["camera_id"]) for r in records]
    assert found == [(0, 12), (1, 1), (0, 3), (1, 15)]
    assert all(Path(r["file_name"]).is_file() for r in records)


def test_test_is_query_and_gallery(msmt17):
    records = MSMT17.load(msmt17.parent, "test").records  # the folder of all data sets
    assert [(r["role"], r["person_id"], r["camera_id"]) for r in records] == [
        ("query", 0, 1), ("query", 1, 2), ("gallery", 1, 4), ("gallery", 0, 2), ("gallery", 0, 1),
    ]  # fmt: skip


def test_registered(msmt17):
    MSMT17.register("msmt17_of_a_test", msmt17, "test")
    try:
        queries, gallery = load_test_crops("msmt17_of_a_test")
        metadata = MetadataCatalog.get("msmt17_of_a_test")
        assert (len(queries), len(gallery), metadata.raw_person_ids) == (2, 3, (0, 2))
        assert metadata.evaluator_type == "reid"
    finally:
        DatasetCatalog.pop("msmt17_of_a_test")
        MetadataCatalog.pop("msmt17_of_a_test")


NAME = msmt17_name(3, 0, 1)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "list_query.txt names no picture"),
        (f"{NAME}\n", "list_query.txt, line 1: expected a line like '0000/0000_000_01_0303"),
        (f"\n{NAME} three\n", "line 2: expected a line like"),
        ("0003/0003_x.jpg 3\n", "found '0003/0003_x.jpg 3'"),
        (f"{NAME} 3\n", "0003 cannot be listed"),
        (f"{msmt17_name(0, 77, 1)} 0\n", "1 files are missing in"),
        ("\xff\n", "list_query.txt is damaged"),
    ],
)
def test_bad_lists(msmt17, text, message):
    (msmt17 / "list_query.txt").write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=re.escape(message)):
        MSMT17.load(msmt17, "test")


def test_missing_parts(msmt17, tmp_path):
    (msmt17 / "list_val.txt").unlink()
    with pytest.raises(DatasetError, match="list_val.txt is missing"):
        MSMT17.load(msmt17, "train")
    folder = "test" if msmt17.name.endswith("1") else "mask_test_v2"
    (msmt17 / folder).rename(msmt17 / "elsewhere")
    with pytest.raises(DatasetError, match="holds neither test/ nor mask_test_v2/"):
        MSMT17.load(msmt17, "test")
    with pytest.raises(DatasetError, match=r"(?s)No MSMT17_V1 .*list_query\.txt.*DETECTRON2"):
        MSMT17.load(tmp_path / "nowhere", "test")


@needs_shared
def test_the_published_training_names(tmp_path, monkeypatch):
    """32,621 pictures from their flattened names: person, camera, number."""
    lines = (SHARED / "LUPerson/msmt17_train_used_ims_1.00.txt").read_text().splitlines()
    found = [re.match(r"(\d+)_c(\d+)_(\d+)\.jpg", line).groups() for line in lines]
    lines, on_disk = [], defaultdict(list)
    for person, camera, number in found:
        name = msmt17_name(int(person), int(number), int(camera))
        lines.append(f"{name} {int(person)}\n")
        on_disk[person].append(name.rpartition("/")[2])
    # How the two lists share them is not known; their lengths are.
    for name, part in (("train", lines[:30248]), ("val", lines[30248:])):
        (tmp_path / f"list_{name}.txt").write_text("".join(part))
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(os, "listdir", lambda folder: on_disk[Path(folder).name])
    records = MSMT17.load(tmp_path, "train").records
    assert len(records) == 32621
    assert {r["person_id"] for r in records} == set(range(1041))
    cameras = Counter(r["camera_id"] for r in records)
    per_camera = "4910 203 454 1614 4296 1678 3453 795 1396 655 3154 1364 3635 3876 1138"
    assert [cameras[k] for k in range(1, 16)] == [int(n) for n in per_camera.split()]
    assert len(cameras) == 15


@pytest.mark.parametrize("number", [2**53 + 1, 10**40, -(10**40)])
def test_a_number_that_no_person_has(msmt17, number):
    text = (msmt17 / "list_train.txt").read_text()
    (msmt17 / "list_train.txt").write_text(text.replace(" 4\n", f" {number}\n"))
    with pytest.raises(DatasetError, match=f"person {number}, camera 1: such a number is damage"):
        MSMT17.load(msmt17, "train")
