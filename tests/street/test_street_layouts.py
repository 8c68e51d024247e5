"""The files of the drawn data set: PRW's and CUHK-SYSU's layouts, as the real ones are."""

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from person_search.street import STREET_SIZES
from person_search.street.layouts import Annotation, write_cuhk_sysu

TINY = STREET_SIZES["tiny"]


@pytest.fixture
def tiny(street_root) -> Path:
    return street_root / "street" / "tiny"


def prw_rows(tiny: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((tiny / "PRW" / "annotations").glob("*.jpg.mat")):
        found[path.name.removesuffix(".jpg.mat")] = loadmat(path)["box_new"]
    return found


# PRW's layout -------------------------------------------------------------------------------


def test_prw_lists_and_annotations(tiny):
    prw = tiny / "PRW"
    train = loadmat(prw / "frame_train.mat")["img_index_train"]
    test = loadmat(prw / "frame_test.mat")["img_index_test"]
    assert train.shape == (24, 1) and test.shape == (24, 1)
    names = [[str(cell[0]) for cell in part[:, 0]] for part in (train, test)]
    assert not set(names[0]) & set(names[1])
    assert names[0][0] == "c1s1_000026"
    rows = prw_rows(tiny)
    assert set(rows) == set(names[0]) | set(names[1])
    ids = [{int(row[0]) for name in part for row in rows[name]} - {-2} for part in names]
    for part, variable in ((0, "ID_train"), (1, "ID_test2")):
        file = "ID_train.mat" if part == 0 else "ID_test.mat"
        listed = loadmat(prw / file)[variable]
        assert listed.dtype == np.float64
        assert listed.ravel().tolist() == sorted(ids[part])
    assert ids[0] <= set(range(1, 9)) and ids[1] == set(range(9, 15))
    for name, boxes in rows.items():
        assert boxes.dtype == np.float64 and boxes.shape[1] == 5 and len(boxes) >= 1
        picture = cv2.imread(str(prw / "frames" / f"{name}.jpg"))
        assert picture.shape == (240, 320, 3)


def test_prw_queries_are_test_boxes_of_people_seen_by_two_cameras(tiny):
    text = (tiny / "PRW" / "query_info.txt").read_bytes()
    lines = text.split(b"\r\n")
    assert lines.pop() == b"" and b"\n" not in b"".join(lines)
    assert len(lines) == 12
    rows = prw_rows(tiny)
    cameras = defaultdict(set)
    for name, boxes in rows.items():
        for raw_id in boxes[:, 0].astype(int):
            cameras[raw_id].add(name[:2])
    asked = []
    for line in lines:
        raw_id, x, y, w, h, name = line.decode().split(" ")
        assert [float(v) for v in (raw_id, x, y, w, h)] in rows[name].tolist()
        assert len(cameras[int(raw_id)]) >= 2
        asked.append((int(raw_id), name[:2]))
    assert len(set(asked)) == len(asked)
    assert {raw_id for raw_id, _ in asked} == set(range(9, 15))


# CUHK-SYSU's layout -------------------------------------------------------------------------


def cuhk_boxes(root: Path) -> dict[str, list[list[int]]]:
    images = loadmat(root / "annotation" / "Images.mat")["Img"]
    assert images.shape[0] == 1 and images.dtype.names == ("imname", "nAppear", "box")
    found = {}
    for name, count, boxes in images[0]:
        assert boxes.shape == (1, int(count[0, 0])) and boxes.dtype.names[0] == "idlocate"
        found[str(name[0])] = [box[0].astype(int)[0].tolist() for box in boxes[0]]
    return found


def test_cuhk_frames_are_the_same_pictures(tiny):
    cuhk = tiny / "CUHK-SYSU"
    names = [str(cell[0]) for cell in loadmat(cuhk / "annotation" / "pool.mat")["pool"][:, 0]]
    assert names == [f"s{k}.jpg" for k in range(25, 49)]
    boxes = cuhk_boxes(cuhk)
    assert list(boxes) == [f"s{k}.jpg" for k in range(1, 49)]
    first = loadmat(tiny / "PRW" / "frame_test.mat")["img_index_test"][0, 0][0]
    picture = (tiny / "PRW" / "frames" / f"{first}.jpg").read_bytes()
    assert (cuhk / "Image" / "SSM" / "s25.jpg").read_bytes() == picture
    for rows in boxes.values():
        for x, y, w, h in rows:
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 320 and y + h <= 240


def test_cuhk_box_types_hold_the_overflow_trap(tiny):
    images = loadmat(tiny / "CUHK-SYSU" / "annotation" / "Images.mat")["Img"]
    boxes = [box[0] for image in images[0] for box in image[2][0]]
    assert {box.shape for box in boxes} == {(1, 4)}
    for box in boxes:
        assert box.dtype == (np.uint8 if box.max() <= 255 else np.uint16)
    narrow = [box.astype(int)[0] for box in boxes if box.dtype == np.uint8]
    assert any(x + w > 255 for x, _, w, _ in narrow)


def test_cuhk_train_and_person(tiny):
    annotation = tiny / "CUHK-SYSU" / "annotation"
    boxes = cuhk_boxes(tiny / "CUHK-SYSU")
    train = loadmat(annotation / "test" / "train_test" / "Train.mat")["Train"]
    people = loadmat(annotation / "Person.mat")["Person"]
    assert people.dtype.names == ("idname", "nAppear", "scene")
    assert people.shape == (1, len(train) + 6)
    for k, cell in enumerate(train[:, 0]):
        person = cell[0, 0]
        assert str(person["idname"][0]) == str(people[0, k]["idname"][0])
        assert person["scene"].shape == (1, int(person["nAppear"][0, 0]))
        for scene in person["scene"][0]:
            name = str(scene["imname"][0])
            assert int(name[1:-4]) <= 24
            assert scene["idlocate"].astype(int)[0].tolist() in boxes[name]
            assert scene["ishard"].dtype == np.uint8


def check_protocol(entries: np.ndarray, boxes: dict, size: int | None = None) -> None:
    assert entries.shape[0] == 1 and entries.dtype.names == ("Query", "Gallery")
    for query, gallery in entries[0]:
        assert query.shape == (1, 1)
        assert query.dtype.names == ("imname", "idlocate", "ishard", "idname")
        assert gallery.dtype.names == ("imname", "idlocate", "ishard")
        names = [str(row["imname"][0]) for row in gallery[0]]
        assert len(set(names)) == len(names) and str(query[0, 0]["imname"][0]) not in names
        if size is not None:
            assert len(names) == size
        present = [row["idlocate"].size == 4 for row in gallery[0]]
        assert 1 <= sum(present) <= 25
        assert present == sorted(present, reverse=True)
        for name, row, there in zip(names, gallery[0], present, strict=True):
            if there:
                assert row["idlocate"].astype(int)[0].tolist() in boxes[name]
            else:
                assert row["idlocate"].shape == (1, 0) and row["idlocate"].dtype == np.float64
                assert row["ishard"].shape == (1, 0)


def test_cuhk_protocols_of_a_small_pool(tiny):
    folder = tiny / "CUHK-SYSU" / "annotation" / "test"
    assert sorted(p.name for p in (folder / "train_test").iterdir()) == ["TestG50.mat", "Train.mat"]
    boxes = cuhk_boxes(tiny / "CUHK-SYSU")
    entries = loadmat(folder / "train_test" / "TestG50.mat")["TestG50"]
    check_protocol(entries, boxes, size=23)
    asked = [str(query[0, 0]["idname"][0]) for query in entries[0]["Query"]]
    assert asked == [f"p{raw_id}" for raw_id in range(9, 15)]
    for file, variable in (("Occlusion.mat", "Occlusion1"), ("Resolution.mat", "Test_Size")):
        subset = loadmat(folder / "subset" / file)[variable]
        assert 1 <= subset.shape[1] < 6
        check_protocol(subset, boxes)


def test_cuhk_galleries_are_nested_and_never_hide_the_person(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for k in range(190):
        low = 0 if k < 20 else 100
        ids = rng.choice(np.arange(low, low + 12), 3, replace=False)
        corner = rng.integers(0, 300, (3, 2)).astype(float)
        boxes = np.concatenate((corner, corner + (40, 90)), axis=1)
        made.append(Annotation(f"c1s1_{k:06d}", 1, (640, 480), ids, boxes, np.zeros(3)))
    write_cuhk_sysu(tmp_path, made[:20], made[20:], seed=0)
    folder = tmp_path / "annotation" / "test" / "train_test"
    galleries = {}
    for size in (50, 100):
        entries = loadmat(folder / f"TestG{size}.mat")[f"TestG{size}"]
        check_protocol(entries, cuhk_boxes(tmp_path), size)
        galleries[size] = entries
    assert not (folder / "TestG500.mat").exists()
    for small, large in zip(galleries[50][0], galleries[100][0], strict=True):
        raw_id = int(small["Query"][0, 0]["idname"][0][1:])
        names = [str(row["imname"][0]) for row in large["Gallery"][0]]
        assert [str(row["imname"][0]) for row in small["Gallery"][0]] == names[:50]
        for name, row in zip(names, large["Gallery"][0], strict=True):
            there = raw_id in made[int(name[1:-4]) - 1].ids
            assert there == (row["idlocate"].size == 4)
