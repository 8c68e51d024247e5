"""COCO files with person_id: what is read, and that every fault is listed with its line."""

import json

import pytest
from looks_alike import coco_box, coco_image, write_coco

from person_search.importing import read_coco
from person_search.importing.located_json import load_located


def read(path, **kwargs):
    faults = []
    return read_coco(path, faults, **kwargs), [(f.place.line, f.message) for f in faults]


def test_what_a_file_says(tmp_path):
    images = [coco_image(7, "a/1.png", camera_id=3, time=1.5, split="test"), coco_image(8)]
    boxes = [
        coco_box(1, 7, 12, [1, 2.5, 3, 4]),
        coco_box(2, 7, "anna", query=1),
        coco_box(3, 7, -1),
        {"image_id": 7, "bbox": [1, 1, 1, 1]},
        coco_box(5, 7, 4, iscrowd=1),
        coco_box(6, 7, ignore=True),
    ]
    frames, faults = read(write_coco(tmp_path / "x.json", images, boxes, pictures=False))
    assert faults == []
    first, second = frames
    assert first.path == str(tmp_path / "a" / "1.png")
    assert (first.size, first.camera, first.time, first.split) == ((48, 64), 3, 1.5, "test")
    assert [b.person_id for b in first.boxes] == [12, "anna", None, None, 4, None]
    assert [b.ignore for b in first.boxes] == [False] * 4 + [True] * 2
    assert [b.is_query for b in first.boxes] == [False, True] + [False] * 4
    assert first.boxes[0].xywh == (1, 2.5, 3, 4)
    assert (second.boxes, second.camera, second.time, second.split) == ((), None, None, None)
    # {"images": [ is line 1, then a line per element; }], "annotations": [ take one line.
    assert [first.place.line, second.place.line] == [2, 3]
    assert [b.place.line for b in first.boxes] == [6, 7, 8, 9, 10, 11]


def test_pictures_elsewhere_and_unknown_cameras(tmp_path):
    path = write_coco(
        tmp_path / "json" / "x.json", [coco_image(1, camera_id=-1)], [], pictures=False
    )
    (frame,), _ = read(path, images="../pictures")
    assert frame.path == str(tmp_path / "pictures" / "1.png") and frame.camera is None
    (frame,), _ = read(path, images="/elsewhere")
    assert frame.path == "/elsewhere/1.png"


def test_attributes_of_cvat(tmp_path):
    def item(number, **attributes):
        box = coco_box(number, 1, category_id=2, attributes=attributes)
        del box["person_id"]
        return box

    boxes = [
        item(1, person_id=5, track_id=0, occluded=False),
        item(2, person_id="x", track_id=1),
        item(3, track_id=2, ignore=True),
        {**item(4, person_id=9), "category_id": 1},
    ]
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]
    path = write_coco(
        tmp_path / "x.json", [coco_image(1)], boxes, categories=categories, pictures=False
    )
    (frame,), faults = read(path)
    assert faults == [] and [b.person_id for b in frame.boxes] == [5, "x", None]
    assert [b.ignore for b in frame.boxes] == [False, False, True]
    (frame,), _ = read(path, person_key="track_id")
    assert [b.person_id for b in frame.boxes] == [0, 1, 2]
    (frame,), faults = read(path, category="car")
    assert faults == [] and [b.person_id for b in frame.boxes] == [9]


BOX = "bbox {}: expected four numbers x, y, width, height"


@pytest.mark.parametrize(
    "box, message",
    [
        (coco_box(9, 1, 1, [1, 2, 3]), BOX.format("[1, 2, 3]")),
        (coco_box(9, 1, 1, [1, 2, 3, "4"]), BOX.format("[1, 2, 3, '4']")),
        (coco_box(9, 1, 1, [1, 2, 3, None]), BOX.format("[1, 2, 3, None]")),
        (coco_box(9, 1, 1.0), "person_id 1.0: expected a whole number from 0, a text, or -1"),
        (coco_box(9, 1, True), "person_id True: expected a whole number"),
        (coco_box(9, 1, -2), "person_id -2: expected"),
        (coco_box(9, 1, [3]), "person_id [3]: expected"),
        (coco_box(9, 2, 1), "image_id 2: there is no such image"),
        (coco_box(9, [], 1), "image_id []: there is no such image"),
        (coco_box(9, 1, 1, category_id=4), "category_id 4: there is no such category"),
        (coco_box(9, 1, 1, category_id=None), "category_id None: there is no such category"),
        (coco_box(9, 1, 1, ignore=2), "ignore 2: expected 0 or 1"),
        (coco_box(9, 1, 1, query="yes"), "query 'yes': expected 0 or 1"),
        (coco_box(9, 1, query=1), "a query of nobody in particular"),
        (coco_box(9, 1, 3, query=1, ignore=1), "a query of nobody in particular"),
        (coco_box(1, 1, 1), "an annotation of that id came before"),
        (coco_box(9.5, 1, 1), "an annotation of that id came before, or it is no id"),
        ("box", "an annotation that is no object"),
    ],
)
def test_a_bad_annotation_is_listed_and_left_out(tmp_path, box, message):
    good = [coco_box(1, 1, 1, category_id=1), coco_box(2, 1, 2, category_id=1)]
    if isinstance(box, dict):
        box = {"category_id": 1, **box}
    categories = [{"id": 1, "name": "person"}]
    path = write_coco(
        tmp_path / "x.json", [coco_image(1)], [good[0], box, good[1]], False, categories=categories
    )
    (frame,), faults = read(path)
    assert [b.person_id for b in frame.boxes] == [1, 2]
    ((line, text),) = faults
    assert line == 6 and message in text


@pytest.mark.parametrize(
    "image, message",
    [
        ({"file_name": "x.png"}, "an image without an id"),
        (coco_image(1), "image 1: an image of that id came before"),
        ({"id": 3}, "image 3: no file_name"),
        (coco_image(3, width=0), "image 3: width 0: expected a whole number of pixels"),
        (coco_image(3, height=4.5), "image 3: height 4.5: expected a whole number of pixels"),
        (coco_image(3, height=None), "image 3: width and height belong together"),
        (coco_image(3, camera_id="door"), "image 3: camera_id 'door': expected a whole number"),
        (coco_image(3, camera_id=-2), "image 3: camera_id -2: expected a whole number"),
        (coco_image(3, time="noon"), "image 3: time 'noon': expected a number"),
        (coco_image(3, split="val"), "image 3: split 'val': expected train or test"),
    ],
)
def test_a_bad_image_is_listed_once_and_left_out(tmp_path, image, message):
    boxes = [coco_box(1, 1, 4), *([coco_box(2, 3, 5)] if image.get("id") == 3 else [])]
    path = write_coco(tmp_path / "x.json", [coco_image(1), image, coco_image(2)], boxes, False)
    frames, faults = read(path)
    assert [f.path for f in frames] == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    ((line, text),) = faults
    assert line == 3 and text.startswith(message)


def test_all_faults_at_once(tmp_path):
    images = [coco_image(1), coco_image(1), coco_image(2, width=-1)]
    boxes = [coco_box(1, 1, 0.5), coco_box(2, 8, -7, [1]), coco_box(2, 1, 3)]
    _, faults = read(write_coco(tmp_path / "x.json", images, boxes, False))
    assert [line for line, _ in faults] == [3, 4, 7, 8, 8, 8, 9]


@pytest.mark.parametrize(
    "text, line, message",
    [
        ('{"images": [{"id": 1,}]}', 1, "no JSON object from column"),
        ('{"images": [\n{"id": 1}\n{"id": 2}]}', 3, "expected one of ,]"),
        ('{"images": [], "images": []}', 1, "the key images a second time"),
        ('{"images": []} x', 1, "expected the end of the file"),
        ('{"images": []', 1, "expected one of ,"),
        ("[]", 1, "expected one of {"),
        ("", 1, "expected one of {"),
        ("{3: 4}", 1, "expected a key"),
        ('{"images": 3}', 0, "no list of images"),
        ('{"images": []}', 0, "no list of images"),
        ("{}", 0, "no list of images"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, line, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    frames, faults = read(path)
    assert frames == []
    ((at, found),) = faults
    assert at == line and message in found


def test_a_missing_file_and_one_of_another_encoding(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"images": ["\xff"]}')
    for name, message in (("none.json", "No such file"), ("x.json", "utf-8")):
        frames, ((_, found),) = read(tmp_path / name)
        assert frames == [] and "cannot be read" in found and message in found


@pytest.mark.parametrize(
    "categories, message",
    [
        ([{"id": 1, "name": "car"}], "no category is called person; there are car"),
        ([{"id": 1}], "every category needs an id of its own and a name"),
        ([{"id": 1, "name": "person"}, {"id": 1, "name": "x"}], "every category needs an id"),
    ],
)
def test_categories_that_say_nothing(tmp_path, categories, message):
    faults = []
    path = write_coco(tmp_path / "x.json", [coco_image(1)], [], False, categories=categories)
    read_coco(path, faults)
    assert faults[0].is_fatal and message in faults[0].message


def test_tracks_are_no_persons_unless_one_says_so(tmp_path):
    boxes = [coco_box(1, 1, track_id=4)]
    _, ((_, message),) = read(write_coco(tmp_path / "x.json", [coco_image(1)], boxes, False))
    assert "no annotation has a person_id, but 1 have a track_id" in message


def test_located_json_reads_what_json_reads(tmp_path):
    content = {"a": [1, "x\n", [2], {}, None], "b": {"c": [1]}, "d": [], "e": 1.5, "f": "[]{}"}
    for indent in (None, 1):
        (tmp_path / "x.json").write_text("\ufeff" + json.dumps(content, indent=indent), "utf-8")
        found = load_located(tmp_path / "x.json", [])
        plain = {k: [i.value for i in v] if k in "ad" else v for k, v in found.items()}
        assert plain == content
    assert [i.place.line for i in found["a"]] == [3, 4, 5, 8, 9]
