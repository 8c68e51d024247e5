"""PASCAL VOC files that say who an object is, and their faults with the line."""

import pytest
from looks_alike import GREY, save

HEAD = "<annotation>\n<filename>1.png</filename>\n<size><width>64</width><height>48</height></size>"


def item(more: str, name: str = "person", box=(1, 2, 11, 22)) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name><bndbox>{inside}</bndbox>{more}</object>"


@pytest.fixture
def voc(tmp_path, read):
    """Reads one file of these lines, whose picture lies beside it."""

    def call(*lines, head=HEAD, **options):
        save(tmp_path / "1.png", GREY)
        (tmp_path / "x.xml").write_text("\n".join([head, *lines, "</annotation>"]))
        return read("voc", tmp_path, **options)

    return call


def attribute(name: str, value: str) -> str:
    return f"<attribute><name>{name}</name><value>{value}</value></attribute>"


def test_objects(voc, tmp_path):
    frames, reading = voc(
        "<camera_id>4</camera_id><time>2.5</time>",
        item("<person_id>3</person_id>"),
        item("<person_id> anna </person_id><difficult>1</difficult>"),
        item("<person_id/>"),
        item(f"<attributes>{attribute('x', 'y')}{attribute('person_id', '8.0')}</attributes>"),
        item("<ignore>1</ignore>"),
        item("<person_id/>", name="car"),
    )
    assert reading.faults == [] and reading.tally.left_out("boxes") == 1
    (frame,) = frames
    assert frame.path == str(tmp_path / "1.png")
    assert (frame.size, frame.camera, frame.time) == ((48, 64), 4, 2.5)
    assert [b.person_id for b in frame.boxes] == [3, "anna", None, 8, None]
    assert [b.ignore for b in frame.boxes] == [False] * 4 + [True]
    assert [b.place.what for b in frame.boxes] == [f"object {k}" for k in range(1, 6)]


@pytest.mark.parametrize(
    "origin, box, xywh",
    [
        (1, (1, 1, 64, 48), (0, 0, 64, 48)),  # the whole picture, its pixels counted from 1
        (0, (0, 0, 64, 48), (0, 0, 64, 48)),
        (1, (11, 21, 20, 40), (10, 20, 10, 20)),
        (0, (10.5, 20, 20.5, 40), (10.5, 20, 10, 20)),
        (None, (1, 1, 64, 48), (0, 0, 64, 48)),  # PASCAL VOC itself
        (None, (0, 0, 64, 48), (0, 0, 64, 48)),  # a 0 shows that pixels are counted from 0
        (None, ("4.0", "4.0", "14.0", "24.0"), (4, 4, 10, 20)),  # Datumaro and CVAT
    ],
)
def test_the_first_pixel(voc, origin, box, xywh):
    (frame,), _ = voc(item("", box=box), pixel_origin=origin)
    assert frame.boxes[0].xywh == xywh


@pytest.mark.parametrize(
    "bad, message",
    [
        (item("", box=(1, 2, "x", 3)), "expected four numbers"),
        (item("", box=(1, 2, "inf", 3)), "expected four numbers"),
        (item("", box=(9, 2, 5, 3)), "is empty"),
        ("<object><name>person</name></object>", "expected four numbers"),
        (item("<ignore>maybe</ignore>"), "'maybe' is neither 0 nor 1"),
    ],
)
def test_a_bad_object_is_listed_and_left_out(voc, tmp_path, bad, message):
    good = item("<person_id>1</person_id>")
    (frame,), reading = voc(good, bad, good)
    assert len(frame.boxes) == 2
    (fault,) = reading.faults
    assert fault.place == (tmp_path / "x.xml", "object 2") and message in fault.message


@pytest.mark.parametrize(
    "head, message",
    [
        ("<annotation>", "no <filename>"),
        (HEAD.replace("64", "wide"), "'wide' is not a number"),
        (HEAD.replace("64", "0"), "expected two numbers of pixels"),
        (HEAD + "<time>noon</time>", "'noon' is not a number"),
    ],
)
def test_a_bad_file_is_left_out(voc, head, message):
    frames, reading = voc(head=head)
    (fault,) = reading.faults
    assert frames == [] and message in fault.message


def test_files_that_are_not_xml(voc, read, tmp_path):
    frames, reading = voc("<object>")
    (fault,) = reading.faults
    assert frames == [] and "not XML: mismatched tag" in fault.message
    assert fault.place.what == "line 5"
    frames, reading = read("voc", tmp_path / "none.xml")
    assert frames == [] and "No such file" in reading.faults[0].message


def test_a_size_that_the_program_did_not_know(voc):
    (frame,), _ = voc(head=HEAD.replace("64", "0").replace("48", "0"))
    assert frame.size is None


def test_the_tree_of_datumaro(tmp_path, read):
    """Annotations in folders of cameras, pictures beside them, a split by lists of names."""
    for camera in ("cam1", "cam2"):
        save(tmp_path / "JPEGImages" / camera / "a.png", GREY)
        file = tmp_path / "Annotations" / camera / "a.xml"
        file.parent.mkdir(parents=True)
        head = HEAD.replace("1.png", "a.png" if camera == "cam1" else f"{camera}/a.png")
        file.write_text(head + item("<person_id>1</person_id>") + "</annotation>")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("cam1/a\n")
    (lists / "val.txt").write_text("cam2/a\n")
    frames, reading = read("voc", tmp_path / "Annotations")
    assert reading.faults == []
    assert [(f.path, f.split) for f in frames] == [
        (str(tmp_path / "JPEGImages" / "cam1" / "a.png"), "train"),
        (str(tmp_path / "JPEGImages" / "cam2" / "a.png"), "valid"),
    ]
