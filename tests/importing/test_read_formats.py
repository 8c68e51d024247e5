"""Exports of annotation programs, written by hand as the programs write them.

Each holds picture a.png of 64x48 with person 3 in the box 4, 4, 10, 20, somebody without a name in
30, 4, 10, 20, and a car.
"""

import json

import pytest
from looks_alike import GREY, save

PERSONS = [(3, (4, 4, 10, 20)), (None, (30, 4, 10, 20))]


def write(path, content):
    """A text, or JSON; and a.png in the folder above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    save(path.parent / "a.png", GREY)
    return path


def check(frames, reading, persons=PERSONS, cars=1):
    assert [f.message for f in reading.faults] == []
    (frame,) = [f for f in frames if f.boxes]
    found = [(b.person_id, tuple(round(v, 6) for v in b.xywh)) for b in frame.boxes]
    assert found == persons and not any(b.ignore for b in frame.boxes)
    assert reading.tally.left_out("boxes") == cars
    return frame


# CVAT -------------------------------------------------------------------------------------------


def cvat_box(label, x, attributes="", more="", tag="box", place=None):
    place = place or f'xtl="{x}.00" ytl="4.00" xbr="{x + 10}.00" ybr="24.00"'
    return f'<{tag} label="{label}" occluded="0" {place} z_order="0" {more}>{attributes}</{tag}>'


def attribute(name, value):
    return f'<attribute name="{name}">{value}</attribute>'


META = """<version>1.1</version><meta><task><labels><label><name>person</name></label>
<label><name>car</name></label></labels>
<original_size><width>64</width><height>48</height></original_size></task></meta>"""


def cvat(*images):
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotations>{META}{"".join(images)}</annotations>'
    )


def test_cvat_for_images(tmp_path, read):
    boxes = cvat_box("person", 4, attribute("person_id", "3"))
    boxes += cvat_box("person", 30, attribute("person_id", "-1")) + cvat_box("car", 40)
    image = f'<image id="0" name="a.png" subset="Train" width="64" height="48">{boxes}</image>'
    frame = check(*read("cvat", write(tmp_path / "annotations.xml", cvat(image))))
    assert (frame.size, frame.split) == ((48, 64), "train")
    assert frame.boxes[0].place.what == "image a.png, shape 1"


@pytest.mark.parametrize(
    "tag, place, xywh",
    [
        ("polygon", 'points="4,4;14,4;9,24"', (4, 4, 10, 20)),
        ("mask", 'rle="3" left="4" top="5" width="6" height="7"', (4, 5, 6, 7)),
        ("ellipse", 'cx="10" cy="20" rx="3" ry="4"', (7, 16, 6, 8)),
        ("box", 'xtl="10" ytl="10" xbr="20" ybr="30" rotation="90.00"', (5, 15, 20, 10)),
    ],
)
def test_other_shapes_of_cvat(tmp_path, read, tag, place, xywh):
    shape = cvat_box("person", 0, attribute("person_id", "3.0"), tag=tag, place=place)
    image = f'<image id="0" name="a.png" width="64" height="48">{shape}</image>'
    frames, reading = read("cvat", write(tmp_path / "annotations.xml", cvat(image)))
    check(frames, reading, [(3, xywh)], cars=0)


def test_cvat_for_video(tmp_path, read):
    def shape(frame, outside=0, x=4):
        return (
            f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="1" xtl="{x}.0" '
            f'ytl="4.0" xbr="{x + 10}.0" ybr="24.0">{attribute("person_id", "7")}</box>'
        )

    track = f'<track id="3" label="person">{shape(0)}{shape(1, outside=1)}</track>'
    car = f'<track id="4" label="car">{shape(1, x=30)}</track>'
    for number in range(3):
        save(tmp_path / "images" / f"frame_{number:06}.PNG", GREY)
    path = write(tmp_path / "annotations.xml", cvat(track, car))
    (tmp_path / "a.png").unlink()
    frames, reading = read("cvat", path, person_key="track_id")
    frame = check(frames, reading, [(3, (4, 4, 10, 20))], cars=2)  # one is outside
    assert len(frames) == 3 and frame.camera == "annotations"
    assert [f.time for f in frames] == [0, 1, 2] and frame.size == (48, 64)
    frames, reading = read("cvat", path, categories=("person",))
    check(frames, reading, [(7, (4, 4, 10, 20))], cars=2)


# JSON -------------------------------------------------------------------------------------------


def datumaro(annotations):
    labels = [{"name": name, "parent": "", "attributes": []} for name in ("person", "car")]
    image = {"path": "a.png", "size": [48, 64]}
    item = {"id": "cam1/a", "annotations": annotations, "attr": {"frame": 0}, "image": image}
    categories = {"label": {"labels": labels, "attributes": []}}
    return {"dm_format_version": "1.0", "categories": categories, "items": [item]}


def datumaro_box(label_id, x, **more):
    box = {"type": "bbox", "label_id": label_id, "bbox": [float(x), 4.0, 10.0, 20.0]}
    return {"id": 0, "group": 0, "z_order": 0, "attributes": {}, **box, **more}


def test_datumaro(tmp_path, read):
    boxes = [
        datumaro_box(0, 4, attributes={"person_id": 3.0, "track_id": 7, "occluded": False}),
        datumaro_box(0, 30, attributes={"person_id": "-1"}),
        datumaro_box(1, 40),
    ]
    path = write(tmp_path / "annotations" / "train.json", datumaro(boxes))
    (path.parent / "a.png").unlink()
    save(tmp_path / "images" / "train" / "a.png", GREY)
    assert check(*read("datumaro", path)).split == "train"


def test_other_shapes_of_datumaro(tmp_path, read):
    polygon = datumaro_box(0, 4, type="polygon", points=[4.0, 4.0, 14.0, 4.0, 9.0, 24.0])
    rle = {"counts": [4, 2, 2, 2, 2], "size": [4, 3]}  # a column is 4 pixels: 2x2 from row 0, x 1
    shape = datumaro_box(0, 4, type="mask", rle=rle, attributes={"person_id": 3})
    caption = {"id": 0, "type": "caption", "attributes": {}, "caption": "x"}
    path = write(tmp_path / "x.json", datumaro([polygon, shape, caption]))
    found = [(None, (4, 4, 10, 20)), (3, (1, 0, 2, 2))]
    check(*read("datumaro", path), found, cars=1)


def studio_task(*result, image="/data/upload/3/1f2e3d4c-a.png", annotations=None):
    annotations = [{"id": 5, "was_cancelled": False, "result": result}] + (annotations or [])
    return [{"id": 1, "data": {"image": image}, "annotations": annotations, "predictions": []}]


def studio_box(number, label, x, **more):
    """Percents: 4 of 64 pixels are 6.25."""
    value = {"x": x / 64 * 100, "y": 4 / 48 * 100, "width": 10 / 64 * 100, "height": 20 / 48 * 100}
    value |= {"rotation": 0, "rectanglelabels": [label], **more}
    region = {"id": number, "from_name": "label", "to_name": "image", "type": "rectanglelabels"}
    return region | {"original_width": 64, "original_height": 48, "value": value}


def studio_text(number, text, kind="textarea", key="text"):
    value = {key: [text] if kind != "number" else text}
    return {"id": number, "from_name": "person_id", "type": kind, "value": value}


@pytest.mark.parametrize(
    "said",
    [("3", "textarea", "text"), ("3", "choices", "choices"), (3, "number", "number")],
)
def test_label_studio(tmp_path, read, said):
    task = studio_task(
        studio_box("r1", "person", 4),
        studio_text("r1", *said),
        studio_box("r2", "person", 30),
        studio_text("r2", "-1"),
        studio_box("r3", "car", 40),
    )
    frame = check(*read("labelstudio", write(tmp_path / "export.json", task)))
    assert frame.size == (48, 64) and frame.boxes[1].place.what == "task 1, region 2"


def test_tasks_of_label_studio_that_nobody_or_several_did(tmp_path, read):
    cancelled = [{"was_cancelled": True, "result": []}]
    task = studio_task(studio_box("r1", "person", 4), annotations=cancelled)
    task += [{"id": 2, "data": {"image": "b.png"}, "annotations": []}]
    frames, reading = read("labelstudio", write(tmp_path / "x.json", task))
    assert len(frames) == 1 and "1  not annotated (b.png)" in str(reading.tally)
    task = studio_task(studio_box("r1", "person", 4), annotations=[{"result": []}])
    frames, reading = read("labelstudio", write(tmp_path / "x.json", task))
    assert frames == [] and "2 annotations: delete those" in reading.faults[0].message


def test_a_turned_box_of_label_studio(tmp_path, read):
    """Turned by 90 degrees about its first corner, 10 wide and 20 high: it lies to the left."""
    task = studio_task(studio_box("r1", "person", 30, rotation=90))
    frames, reading = read("labelstudio", write(tmp_path / "x.json", task))
    check(frames, reading, [(None, (10, 4, 20, 10))], cars=0)


def via_regions():
    def region(x, **attributes):
        shape = {"name": "rect", "x": x, "y": 4, "width": 10, "height": 20}
        return {"shape_attributes": shape, "region_attributes": attributes}

    return [region(4, person_id="3", type="person"), region(30, type="person"),
            region(40, type="car")]  # fmt: skip


@pytest.mark.parametrize("form", ["project", "json", "old", "csv"])
def test_via(tmp_path, read, form):
    regions = via_regions()
    if form == "old":  # regions by number
        regions = {str(k): region for k, region in enumerate(regions)}
    content = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions}}
    content["b.png-1"] = {"filename": "b.png", "size": -1, "regions": []}
    if form == "project":
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    path = write(tmp_path / ("x.csv" if form == "csv" else "x.json"), content)
    if form == "csv":
        rows = ["filename,file_size,file_attributes,region_count,region_id,"
                "region_shape_attributes,region_attributes"]  # fmt: skip
        for k, region in enumerate(regions):
            fields = (json.dumps(region[key]).replace('"', '""') for key in region)
            rows.append('a.png,123,"{}",3,{},"{}","{}"'.format("{}", k, *fields))
        path.write_text("\n".join([*rows, 'b.png,-1,"{}",0,0,"{}","{}"']) + "\n")
    save(tmp_path / "b.png", GREY)
    frames, reading = read("via", path)
    check(frames, reading)
    assert len(frames) == 2


def test_other_shapes_of_via(tmp_path, read):
    shapes = [
        {"name": "polygon", "all_points_x": [4, 14, 9], "all_points_y": [4, 4, 24]},
        {"name": "circle", "cx": 20, "cy": 20, "r": 5},
        {"name": "point", "cx": 20, "cy": 20},
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"person_id": k}}
               for k, s in enumerate(shapes)]  # fmt: skip
    path = write(tmp_path / "x.json", {"a": {"filename": "a.png", "regions": regions}})
    check(*read("via", path), [(0, (4, 4, 10, 20)), (1, (15, 15, 10, 10))])


def relative(x):
    return [x / 64, 4 / 48, 10 / 64, 20 / 48]


@pytest.mark.parametrize("form", ["samples", "labels"])
def test_fiftyone(tmp_path, read, form):
    rows = [
        {"label": "person", "bounding_box": relative(4), "person_id": 3.0},
        {"label": "person", "bounding_box": relative(30), "person_id": None},
        {"label": "car", "bounding_box": relative(40)},
    ]
    if form == "samples":
        field = {"_cls": "Detections", "detections": rows}
        sample = {"filepath": "data/a.png", "tags": ["test"], "ground_truth": field}
        content = {"samples": [sample | {"metadata": None}]}
    else:
        for row in rows:
            row["label"] = ["person", "car"].index(row["label"])
            row["attributes"] = {"person_id": row.pop("person_id", None)}
        content = {"classes": ["person", "car"], "labels": {"a": rows, "b": None}}
    path = write(tmp_path / f"{form}.json", content)
    (tmp_path / "a.png").unlink()
    save(tmp_path / "data" / "a.png", GREY)
    frame = check(*read("fiftyone", path))
    assert frame.split == ("test" if form == "samples" else None)


def test_supervisely(tmp_path, read):
    def item(title, x, *tags):
        points = {"exterior": [[x, 4], [x + 10, 24]], "interior": []}
        found = {"classTitle": title, "geometryType": "rectangle", "points": points}
        return found | {"tags": [{"name": "person_id", "value": tag} for tag in tags]}

    objects = [item("person", 4, 3), item("person", 30), item("car", 40)]
    content = {"size": {"height": 48, "width": 64}, "objects": objects, "tags": []}
    write(tmp_path / "train" / "ann" / "a.png.json", content)
    save(tmp_path / "train" / "img" / "a.png", GREY)
    assert check(*read("supervisely", tmp_path)).split == "train"


# Rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns, rows",
    [
        ("fn,cname,id,x1,y1,w,h", ["0,person,3,4,4,10,20", "0,person,-1,30,4,10,20",
                                   "0,car,4,4,4,9,9"]),
        ("fn,id,x1,y1,x2,y2,cname", ["0,3,4,4,14,24,person", "0,-1,30,4,40,24,person",
                                     "0,9,4,4,9,9,car"]),
        ("fn,n,id,x1,y1,w,h,cname", ["0,3,3,4,4,10,20,person,-1,30,4,10,20,person,9,4,4,9,9,car,"]),
        ("iname,id,cx,cy,w,h,cname", ["a.png,3,9,14,10,20,person", "a.png,-1,35,14,10,20,person",
                                      "a.png,9,9,9,9,9,car"]),
    ],
)  # fmt: skip
def test_darklabel(tmp_path, read, columns, rows):
    path = write(tmp_path / "film.txt", "\n".join(rows) + "\n")
    if columns.startswith("fn"):
        for number in range(2):
            save(tmp_path / "film" / f"{number:04}.png", GREY)
    frame = check(*read("darklabel", path, columns=columns))
    assert frame.camera == "film"


def test_rows_that_do_not_fit_the_columns(tmp_path, read):
    save(tmp_path / "film" / "0.png", GREY)
    path = write(tmp_path / "film.txt", "0,person,3,4,4,10\n")
    _, reading = read("darklabel", path)
    assert "6 fields do not fit --columns fn,cname,id,x1,y1,w,h" in reading.faults[0].message
    _, reading = read("darklabel", path, columns="fn,x1,y1,w,h")
    assert reading.faults[0].is_fatal


def test_visdrone(tmp_path, read):
    rows = [
        "1,3,4,4,10,20,1,1,0,0",
        "1,4,30,4,10,20,1,2,0,0",  # people
        "2,0,4,4,10,20,0,0,0,0",  # a region to be ignored
        "2,5,4,4,10,20,0,1,0,0",  # a pedestrian who is not considered
        "1,6,40,4,10,20,1,4,0,0",  # a car
    ]
    path = write(tmp_path / "annotations" / "uav1.txt", "\n".join(rows))
    for number in (1, 2):
        save(tmp_path / "sequences" / "uav1" / f"{number:07}.png", GREY)
    (first, second), reading = read("visdrone", path)
    check([first], reading, [(3, (4, 4, 10, 20)), (4, (30, 4, 10, 20))])
    assert [b.ignore for b in second.boxes] == [True, True]
    (first, _), _ = read("visdrone", path, categories=("pedestrian",))
    assert [b.person_id for b in first.boxes] == [3]
    path.write_text("1,2,3,4,1,1,0,0\n")  # of the detection benchmark
    _, reading = read("visdrone", path)
    assert "8 fields, not 10" in reading.faults[0].message


# Categories -------------------------------------------------------------------------------------


def labeled(tmp_path, read, label, **options):
    image = f'<image id="0" name="a.png" width="64" height="48">{cvat_box("person", 4)}'
    image += cvat_box(label, 30, attribute("person_id", "")) + "</image>"
    return read("cvat", write(tmp_path / "x.xml", cvat(image)), **options)


def test_another_category_that_may_be_a_person_is_asked_about(tmp_path, read):
    _, reading = labeled(tmp_path, read, "player")
    (fault,) = reading.faults
    assert fault.is_fatal and "--categories person,player" in fault.message
    for categories, number in ((("person", "player"), 2), (("person",), 1)):
        (frame,), reading = labeled(tmp_path, read, "player", categories=categories)
        assert reading.faults == [] and len(frame.boxes) == number


def test_categories_that_are_ignored(tmp_path, read):
    (frame,), reading = labeled(tmp_path, read, "Ignored region")
    assert reading.faults == [] and [b.ignore for b in frame.boxes] == [False, True]
    (frame,), _ = labeled(tmp_path, read, "statue", ignored=("statue",))
    assert [b.ignore for b in frame.boxes] == [False, True]
    (frame,), reading = labeled(tmp_path, read, "statue")
    assert len(frame.boxes) == 1 and "1  category statue" in str(reading.tally)


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", ["cvat", "datumaro", "labelstudio", "via", "fiftyone", "darklabel", "visdrone"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b"[[1]]", b'{"items": 3}'])
def test_files_of_something_else(tmp_path, read, source, content):
    (tmp_path / "x.json").write_bytes(content)
    frames, reading = read(source, tmp_path / "x.json")
    assert frames == [] and reading.faults
