"""Exports with bytes and values changed: frames and faults come of them, never another error.

``write_seeds`` and ``read_export`` are a target of longer runs, too (``make fuzz``).
"""

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looks_alike import GREY, save

from person_search.errors import PersonSearchError
from person_search.importing import FORMATS, Options, Reading, check_frames, settle_persons

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from fuzzing.mutations import mutate_text  # noqa: E402  (found through the line above)

COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48, "camera_id": 1}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 9, 9], "iscrowd": 0,
                     "attributes": {"person_id": 3.0}}],
    "categories": [{"id": 1, "name": "person"}],
}  # fmt: skip
DATUMARO = {
    "categories": {"label": {"labels": [{"name": "person"}]}},
    "items": [{"id": "a", "image": {"path": "a.png", "size": [48, 64]}, "annotations": [
        {"type": "bbox", "label_id": 0, "bbox": [4, 4, 9, 9], "attributes": {"person_id": 3}},
        {"type": "mask", "label_id": 0, "rle": {"counts": [4, 8], "size": [4, 3]}}]}],
}  # fmt: skip
STUDIO = [
    {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [
        {"id": "r", "type": "rectanglelabels", "original_width": 64, "original_height": 48,
         "value": {"x": 9, "y": 9, "width": 9, "height": 9, "rectanglelabels": ["person"]}},
        {"id": "r", "type": "textarea", "from_name": "person_id", "value": {"text": ["3"]}}]}]}
]  # fmt: skip
VIA = {"a": {"filename": "a.png", "regions": [{
    "shape_attributes": {"name": "rect", "x": 4, "y": 4, "width": 9, "height": 9},
    "region_attributes": {"person_id": "3"}}]}}  # fmt: skip
FIFTYONE = {"samples": [{"filepath": "a.png", "tags": ["train"], "ground_truth": {
    "_cls": "Detections", "detections": [
        {"label": "person", "bounding_box": [0.1, 0.1, 0.2, 0.3], "person_id": 3}]}}]}  # fmt: skip
CVAT = """<annotations><meta><labels><label><name>person</name></label></labels></meta>
<image id="0" name="a.png" width="64" height="48"><box label="person" xtl="4" ytl="4" xbr="9"
ybr="9" rotation="5"><attribute name="person_id">3</attribute></box></image></annotations>"""
VOC = """<annotation><filename>a.png</filename><size><width>64</width><height>48</height></size>
<object><name>person</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
<person_id>3</person_id></object></annotation>"""

SEEDS = {
    "coco": ("x.json", json.dumps(COCO)),
    "datumaro": ("x.json", json.dumps(DATUMARO)),
    "labelstudio": ("x.json", json.dumps(STUDIO)),
    "via": ("x.json", json.dumps(VIA)),
    "fiftyone": ("x.json", json.dumps(FIFTYONE)),
    "cvat": ("x.xml", CVAT),
    "voc": ("x.xml", VOC),
    "mot": ("gt/gt.txt", "1,3,4,4,9,9,1,1,1\n2,3,4,4,9,9,0,7,1\n"),
    "darklabel": ("img1.txt", "0,person,3,4,4,9,9\n1,person,3,4,4,9,9\n"),
}
"""Format -> name and content of a small export of it."""


def write_seeds(folder: Path) -> None:
    """A small export of each format with its pictures, in a folder of its own."""
    for source, (name, text) in SEEDS.items():
        path = folder / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        save(folder / source / "a.png", GREY)
        for number in range(1, 3):
            save(folder / source / "img1" / f"{number:06}.png", GREY)


def read_export(folder: Path, source: str) -> Reading:
    """Reads and checks one of them."""
    path = folder / source / SEEDS[source][0]
    reading = Reading(Options(), FORMATS[source].are_tracks)
    frames = FORMATS[source].read(folder / source if source == "mot" else path, reading)
    reading.finish()
    groups = {"x": frames}
    how = {"shared": None, "spelling": None, "twice": None}
    check_frames(settle_persons(source, groups, reading, **how), reading, "size")
    return reading


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("exports")
    write_seeds(root)
    return root


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 2**32))
def test_mutants_give_frames_or_faults(folder, source, seed):
    name, text = SEEDS[source]
    (folder / source / name).write_bytes(mutate_text(text.encode(), random.Random(seed)))
    try:
        reading = read_export(folder, source)
    except PersonSearchError:
        return
    assert str(reading.tally) and all(str(fault) for fault in reading.faults)


@pytest.mark.parametrize("source", sorted(SEEDS))
def test_the_seeds_themselves_have_no_fault(folder, source):
    name, text = SEEDS[source]
    (folder / source / name).write_text(text)
    reading = Reading(Options(), FORMATS[source].are_tracks)
    path = folder / source / name
    frames = FORMATS[source].read(folder / source if source == "mot" else path, reading)
    reading.finish()
    assert reading.faults == [] and any(b.person_id == 3 for f in frames for b in f.boxes)
