"""PASCAL VOC files that say who an object is, and their faults with the line."""

import pytest

from person_search.importing import read_voc

HEAD = "<annotation>\n<filename>1.png</filename>\n<size><width>64</width><height>48</height></size>"


def item(more: str, name: str = "person", box=(1, 2, 11, 22)) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name><bndbox>{inside}</bndbox>{more}</object>"


def read(folder, *lines, head=HEAD, **kwargs):
    (folder / "x.xml").write_text("\n".join([head, *lines, "</annotation>"]))
    faults = []
    return read_voc([folder], faults, **kwargs), faults


def attribute(name: str, value: str) -> str:
    return f"<attribute><name>{name}</name><value>{value}</value></attribute>"


def test_objects(tmp_path):
    frames, faults = read(
        tmp_path,
        "<camera_id>4</camera_id><time>2.5</time>",
        item("<person_id>3</person_id>"),
        item("<person_id> anna </person_id><difficult>1</difficult>"),
        item("<person_id/>"),
        item(f"<attributes>{attribute('x', 'y')}{attribute('person_id', '8')}</attributes>"),
        item("<ignore>1</ignore>"),
        item("<person_id>5</person_id>", name="car"),
        images="../pictures",
    )  # fmt: skip
    assert faults == []
    (frame,) = frames
    assert frame.path == str(tmp_path / ".." / "pictures" / "1.png")
    assert (frame.size, frame.camera, frame.time) == ((48, 64), 4, 2.5)
    assert [b.person_id for b in frame.boxes] == [3, "anna", None, 8, None]
    assert [b.ignore for b in frame.boxes] == [False] * 4 + [True]
    assert [b.place.line for b in frame.boxes] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "origin, box, xywh",
    [
        (1, (1, 1, 64, 48), (0, 0, 64, 48)),  # the whole picture, its pixels counted from 1
        (0, (0, 0, 64, 48), (0, 0, 64, 48)),
        (1, (11, 21, 20, 40), (10, 20, 10, 20)),
        (0, (10.5, 20, 20.5, 40), (10.5, 20, 10, 20)),
    ],
)
def test_the_first_pixel(tmp_path, origin, box, xywh):
    (frame,), _ = read(tmp_path, item("", box=box), pixel_origin=origin)
    assert frame.boxes[0].xywh == xywh


@pytest.mark.parametrize(
    "bad, message",
    [
        (item("", box=(1, 2, "x", 3)), "<bndbox> without four numbers"),
        ("<object><name>person</name></object>", "<bndbox> without four numbers"),
        (item("<person_id>-4</person_id>"), "person_id -4: expected"),
        (item("<ignore>maybe</ignore>"), "<ignore> 'maybe': expected 0 or 1"),
    ],
)
def test_a_bad_object_is_listed_and_left_out(tmp_path, bad, message):
    good = item("<person_id>1</person_id>")
    (frame,), (fault,) = read(tmp_path, good, bad, good)
    assert len(frame.boxes) == 2
    assert fault.place == (tmp_path / "x.xml", 5) and message in fault.message


@pytest.mark.parametrize(
    "head, message",
    [
        ("<annotation>", "no <filename>"),
        (HEAD.replace("64", "wide"), "<size> without a whole <width>"),
        (HEAD + "<time>noon</time>", "<time> 'noon': expected a number"),
    ],
)
def test_a_bad_file_is_left_out(tmp_path, head, message):
    frames, (fault,) = read(tmp_path, head=head)
    assert frames == [] and fault.place.line == 1 and message in fault.message


def test_files_that_are_not_xml(tmp_path):
    frames, (fault,) = read(tmp_path, "<object>")
    assert frames == [] and "not XML: mismatched tag" in fault.message and fault.place.line == 5
    faults = []
    assert read_voc([tmp_path / "none"], faults) == [] and faults[0].is_fatal


def test_a_size_that_the_program_did_not_know(tmp_path):
    (frame,), _ = read(tmp_path, head=HEAD.replace("64", "0").replace("48", "0"))
    assert frame.size is None
