"""COCO files with an identity, as the project and other programs write them."""

import json

import pytest
from looks_alike import coco_box, coco_image, write_coco

PERSON = [{"id": 1, "name": "person"}]


@pytest.fixture
def coco(tmp_path, read):
    """Writes a file and its pictures, and reads it."""

    def call(images, boxes, options=None, **lists):
        return read(
            "coco", write_coco(tmp_path / "x.json", images, boxes, **lists), **options or {}
        )

    return call


def test_what_a_file_says(coco, tmp_path):
    images = [coco_image(7, "a/1.png", camera_id=3, time=1.5, split="test"), coco_image(8)]
    boxes = [
        coco_box(1, 7, 12, [1, 2.5, 3, 4]),
        coco_box(2, 7, "anna", query=1),
        coco_box(3, 7, -1),
        {"image_id": 7, "bbox": [1, 1, 1, 1]},
        coco_box(5, 7, None, iscrowd=1),
        coco_box(6, 7, ignore=True),
    ]
    (first, second), reading = coco(images, boxes)
    assert reading.faults == []
    assert first.path == str(tmp_path / "a" / "1.png")
    assert (first.size, first.camera, first.time, first.split) == ((48, 64), 3, 1.5, "test")
    assert [b.person_id for b in first.boxes] == [12, "anna", None, None, None, None]
    assert [b.ignore for b in first.boxes] == [False] * 4 + [True] * 2
    assert [b.is_query for b in first.boxes] == [False, True] + [False] * 4
    assert first.boxes[0].xywh == (1, 2.5, 3, 4)
    assert (second.boxes, second.camera, second.time, second.split) == ((), None, None, None)
    assert [b.place.what for b in first.boxes[:4]] == [f"annotation {k}" for k in (1, 2, 3, 3)]


def test_attributes_of_cvat(coco):
    """CVAT puts attributes into an object of their own, and numbers there are floats."""

    def item(number, **attributes):
        box = coco_box(number, 1, category_id=2, attributes=attributes)
        del box["person_id"]
        return box

    boxes = [
        item(1, person_id=5.0, track_id=0, occluded=False),
        item(1, person_id="x", track_id=1),  # Datumaro numbers annotations anew in every picture
        item(3, track_id=2, ignore=True),
        {**item(4), "category_id": 1},
    ]
    lists = {"categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "person"}]}
    (frame,), reading = coco([coco_image(1)], boxes, **lists)
    assert reading.faults == [] and [b.person_id for b in frame.boxes] == [5, "x", None]
    assert [b.ignore for b in frame.boxes] == [False, False, True]
    (frame,), _ = coco([coco_image(1)], boxes, {"person_key": "track_id"}, **lists)
    assert [b.person_id for b in frame.boxes] == [0, 1, None]


def test_sizes_that_nobody_knows(coco):
    """VIA writes -1, FiftyOne null, others 0."""
    images = [coco_image(k, width=side, height=side) for k, side in enumerate((-1, None, 0))]
    frames, reading = coco(images, [])
    assert reading.faults == [] and [f.size for f in frames] == [None] * 3


def test_persons_of_converters(coco):
    """AlignPS keeps PRW's -2; GFN numbers unknown persons on, and says so; both name cam_id."""
    boxes = [
        coco_box(1, 1, -2),
        coco_box(2, 1, 5555, is_known=False),
        coco_box(3, 1, 7, is_known=True),
    ]
    image = coco_image(1)
    (frame,), reading = coco([image | {"cam_id": 4}], boxes)
    assert reading.faults == [] and frame.camera == 4
    assert [b.person_id for b in frame.boxes] == [None, None, 7]
    assert "1  written -2" in str(reading.tally)


def test_crowds_that_name_a_person(coco):
    """Brush masks are run-length encoded, for which programs write iscrowd 1."""
    mask = {"counts": [3, 3], "size": [2, 3]}
    boxes = [coco_box(1, 1, 7, iscrowd=1, segmentation=mask), coco_box(2, 1, iscrowd=1)]
    _, reading = coco([coco_image(1)], boxes)
    (fault,) = reading.faults
    assert fault.is_fatal and "1 masks have iscrowd 1 and name a person" in fault.message
    (frame,), reading = coco([coco_image(1)], boxes, {"crowd": "persons"})
    assert reading.faults == [] and [(b.person_id, b.ignore) for b in frame.boxes] == [
        (7, False), (None, False),
    ]  # fmt: skip
    (frame,), reading = coco([coco_image(1)], boxes, {"crowd": "regions"})
    assert [(b.person_id, b.ignore) for b in frame.boxes] == [(None, True)] * 2
    boxes[0]["segmentation"] = []  # without a mask, iscrowd can only mean a crowd
    (frame,), reading = coco([coco_image(1)], boxes)
    assert reading.faults == [] and [b.ignore for b in frame.boxes] == [True, True]
    assert "1 annotations have iscrowd 1 and name a person" in reading.notes[0]


BOX = "expected four numbers x, y, width, height"


@pytest.mark.parametrize(
    "box, message",
    [
        (coco_box(9, 1, 1, [1, 2, 3]), BOX),
        (coco_box(9, 1, 1, [1, 2, 3, "x"]), "'x' is not a number"),
        (coco_box(9, 1, 1, [1, 2, 3, None]), "None is not a number"),
        (coco_box(9, 1, 1, [1, 2, 3, float("inf")]), "inf is not finite"),
        (coco_box(9, 1, 1, [1, 2, 3, 10**400]), "is not a number"),
        (coco_box(9, 1, 1, [1, 2, 3, 1e12]), "larger than any picture"),
        (coco_box(9, 1, 1, [1, 2, 3, -4]), "is empty"),
        (coco_box(9, 2, 1), "image_id 2: there is no such image"),
        (coco_box(9, [], 1), "image_id []: there is no such image"),
        (coco_box(9, 1, 1, category_id=4), "category_id 4: there is no such category"),
        (coco_box(9, 1, 1, category_id=None), "category_id None: there is no such category"),
        (coco_box(9, 1, 1, ignore=2), "2 is neither 0 nor 1"),
        (coco_box(9, 1, 1, query="maybe"), "'maybe' is neither 0 nor 1"),
        ("box", "an annotation that is no object"),
    ],
)
def test_a_bad_annotation_is_listed_and_left_out(coco, messages, box, message):
    good = [coco_box(1, 1, 1, category_id=1), coco_box(2, 1, 2, category_id=1)]
    if isinstance(box, dict):
        box = {"category_id": 1, **box}
    (frame,), reading = coco([coco_image(1)], [good[0], box, good[1]], categories=PERSON)
    assert [b.person_id for b in frame.boxes] == [1, 2]
    ((what, text),) = messages(reading)
    assert what in ("annotation 9", "element 1 of annotations") and message in text


@pytest.mark.parametrize(
    "person, message",
    [
        (1.5, "person 1.5: expected a whole number or a text"),
        (True, "person True: expected"),
        ([3], r"person [3]: expected"),
        (1e300, "person 1e+300: expected"),
    ],
)
def test_of_a_bad_identity_the_person_is_kept(coco, messages, person, message):
    boxes = [coco_box(1, 1, 1), coco_box(9, 1, person)]
    (frame,), reading = coco([coco_image(1)], boxes)
    assert [b.person_id for b in frame.boxes] == [1, None]
    ((what, text),) = messages(reading)
    assert what == "annotation 9" and message in text and not reading.faults[0].is_fatal


def test_a_query_of_nobody(coco, messages):
    (frame,), reading = coco([coco_image(1)], [coco_box(1, 1, 4), coco_box(9, 1, query=1)])
    assert messages(reading) == [("annotation 9", "a query of nobody in particular")]
    assert len(frame.boxes) == 2


@pytest.mark.parametrize(
    "image, message",
    [
        ({"file_name": "x.png"}, "an image without an id"),
        (coco_image(1), "an image of that id came before"),
        ({"id": 3}, "no file_name"),
        (coco_image(3, width=0), "width 0, height 48: expected two numbers of pixels"),
        (coco_image(3, height=4.5), "4.5 is not a whole number"),
        (coco_image(3, height=None), "expected two numbers of pixels"),
        (coco_image(3, camera_id="door"), "'door' is not a number"),
        (coco_image(3, camera_id=-2), "camera_id -2: expected a whole number"),
        (coco_image(3, time="noon"), "'noon' is not a number"),
        (coco_image(3, split="both"), "split 'both': expected train, valid or test"),
    ],
)
def test_a_bad_image_is_listed_once_and_left_out(tmp_path, read, messages, image, message):
    boxes = [coco_box(1, 1, 4), *([coco_box(2, 3, 5)] if image.get("id") == 3 else [])]
    write_coco(tmp_path / "pictures.json", [coco_image(k) for k in (1, 2, 3)], [])
    path = write_coco(tmp_path / "x.json", [coco_image(1), image, coco_image(2)], boxes, False)
    frames, reading = read("coco", path)
    assert [f.path for f in frames] == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    ((_, text),) = messages(reading)
    assert message in text


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"images": [{"id": 1,}]}', "not JSON"),
        ('{"images": [], "images": []}', "the key 'images' stands twice"),
        ("[]", "no list of images"),
        ("", "not JSON"),
        ('{"images": 3}', "no list of images"),
        ('{"images": []}', "no list of images"),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
    ],
)
def test_files_that_are_not_coco(tmp_path, read, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    frames, reading = read("coco", path)
    (fault,) = reading.faults
    assert frames == [] and fault.is_fatal and message in fault.message


def test_a_missing_file_and_one_of_another_encoding(tmp_path, read):
    (tmp_path / "x.json").write_bytes(b'{"images": ["\xff"]}')
    for name, message in (("none.json", "No such file"), ("x.json", "utf-8")):
        frames, reading = read("coco", tmp_path / name)
        assert frames == [] and message in reading.faults[0].message


@pytest.mark.parametrize(
    "categories, message",
    [
        ([{"id": 1, "name": "car"}], "no category is called person; there are car"),
        ([{"id": 1}], "every category needs an id of its own and a name"),
        ([*PERSON, {"id": 1, "name": "x"}], "every category needs an id"),
    ],
)
def test_categories_that_say_nothing(coco, categories, message):
    _, reading = coco([coco_image(1)], [], categories=categories)
    assert reading.faults[0].is_fatal and message in reading.faults[0].message


def test_tracks_are_no_persons_unless_one_says_so(coco):
    _, reading = coco([coco_image(1)], [coco_box(1, 1, track_id=4)])
    assert "no annotation has a person_id, but 1 have a track_id" in reading.faults[0].message


def test_the_tree_of_fiftyone_and_datumaro(tmp_path, read):
    """labels.json beside data/; annotations/x.json and pictures in images/default/."""
    images = [coco_image(1, "a.png")]
    for folder, file in (("data", "labels.json"), ("images/default", "annotations/i.json")):
        root = tmp_path / folder.partition("/")[0]
        write_coco(root / folder / "x.json", images, [])
        (root / folder / "x.json").unlink()
        path = write_coco(root / file, images, [coco_box(1, 1, 3)], pictures=False)
        (frame,), reading = read("coco", path)
        assert reading.faults == [] and frame.path == str(root / folder / "a.png")


def test_the_files_of_roboflow(tmp_path):
    from person_search.importing.formats import FORMATS

    for split in ("train", "valid"):
        write_coco(tmp_path / split / "_annotations.coco.json", [coco_image(1)], [])
    found = FORMATS["coco"].expand(tmp_path)
    assert found == [tmp_path / s / "_annotations.coco.json" for s in ("train", "valid")]
    path = write_coco(tmp_path / "x" / "labels.json", [coco_image(1)], [])
    assert FORMATS["coco"].expand(path) == [path]


def test_a_file_may_begin_with_a_mark(tmp_path, read):
    path = write_coco(tmp_path / "x.json", [coco_image(1)], [coco_box(1, 1, 3)])
    path.write_text("\ufeff" + json.dumps(json.loads(path.read_text()), indent=1), "utf-8")
    (frame,), reading = read("coco", path)
    assert reading.faults == [] and len(frame.boxes) == 1
