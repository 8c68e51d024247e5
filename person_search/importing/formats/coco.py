"""COCO JSON with an identity: the project's own format, and what other programs make of COCO.

docs/own_data.md describes every key. Programs differ in where they name the person (a key of the
annotation, or of its ``attributes``: CVAT, Datumaro, FiftyOne), in how they say that a size is
unknown (VIA: -1), and in what stands beside ``person_id``: GFN's converter numbers unknown persons
on and marks them ``is_known: false``.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures, picture_folders
from ..reading import Reading
from .files import read_json

_USUAL_FILES = ("*.coco.json", "labels.json")
"""Of Roboflow and of FiftyOne."""


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file, in its order."""
    content = read_json(path, reading)
    if content is None:
        return []
    content = content if isinstance(content, dict) else {}
    lists = {key: content.get(key) or [] for key in ("images", "annotations", "categories")}
    if not all(isinstance(found, list) for found in lists.values()) or not lists["images"]:
        message = "no list of images and of annotations: expected a COCO file"
        reading.fault(Place(path), message, is_fatal=True)
        return []
    labels = _labels(lists["categories"], path, reading)
    pictures = Pictures(picture_folders(path, reading.options.images))
    frames = _frames(lists["images"], path, pictures, reading)
    boxes: dict[Hashable, list[Box]] = {key: [] for key in frames}
    for index, item in enumerate(lists["annotations"]):
        found = _box(item, index, path, boxes, labels, reading)
        if found is not None:
            boxes[item["image_id"]].append(found)
    pictures.count_unnamed(reading)
    return [f._replace(boxes=tuple(boxes[key])) for key, f in frames.items() if f is not None]


def expand(path: Path) -> list[Path]:
    """The files of a folder: those that Roboflow and FiftyOne put there, else all JSON files."""
    if not path.is_dir():
        return [path]
    usual = sorted(file for name in _USUAL_FILES for file in path.rglob(name))
    return usual or sorted(path.rglob("*.json")) or [path]


def _frames(
    images: list, path: Path, pictures: Pictures, reading: Reading
) -> dict[Hashable, Frame | None]:
    """Image id -> frame without boxes; None where there is something wrong with it."""
    frames: dict[Hashable, Frame | None] = {}
    for index, image in enumerate(images):
        if not isinstance(image, dict) or not _is_key(image.get("id")):
            reading.fault(
                Place(path, f"element {index} of images"),
                "an image without an id",
                loses="pictures",
            )
            continue
        key = image["id"]
        place = Place(path, f"image {key}")
        if key in frames:
            reading.fault(place, "an image of that id came before", loses="pictures")
            continue
        frames[key] = _frame(image, place, pictures, reading)
    return frames


def _frame(image: dict, place: Place, pictures: Pictures, reading: Reading) -> Frame | None:
    name, split = image.get("file_name"), image.get("split")
    camera = image.get("camera_id", image.get("cam_id"))
    try:
        if not isinstance(name, str) or not name:
            raise ValueError("no file_name")
        size = values.picture_size(image.get("height"), image.get("width"))
        camera = -1 if camera is None else values.whole(camera)
        if camera < -1:
            raise ValueError(f"camera_id {camera}: expected a whole number, -1 for unknown")
        time = None if image.get("time") is None else values.number(image["time"])
        if split is not None and (split := values.split_of(str(split))) is None:
            raise ValueError(f"split {image['split']!r}: expected train, valid or test")
    except ValueError as error:
        reading.fault(place, str(error), loses="pictures")
        return None
    found = pictures.find(name, place, reading)
    if found is None:
        return None
    return Frame(found, size, (), place, None if camera == -1 else camera, time, split)


def _labels(categories: list, path: Path, reading: Reading) -> dict[Hashable, str] | None:
    """Category id -> its name; None where the file has no categories."""
    if not categories:
        return None
    labels: dict[Hashable, str] = {}
    for index, item in enumerate(categories):
        place = Place(path, f"element {index} of categories")
        key = item.get("id") if isinstance(item, dict) else None
        if not _is_key(key) or not isinstance(item.get("name"), str) or key in labels:
            message = "every category needs an id of its own and a name"
            reading.fault(place, message, is_fatal=True)
        else:
            labels[key] = item["name"]
            reading.declare(item["name"], place)
    return labels


def _box(
    item: Any,
    index: int,
    path: Path,
    boxes: dict[Hashable, list[Box]],
    labels: dict[Hashable, str] | None,
    reading: Reading,
) -> Box | None:
    """The box of an annotation; None where it is left out or faulty."""
    if not isinstance(item, dict):
        place = Place(path, f"element {index} of annotations")
        reading.fault(place, "an annotation that is no object", loses="boxes")
        return None
    place = Place(path, f"annotation {item.get('id', index)}")
    image, category = item.get("image_id"), item.get("category_id")
    if not _is_key(image) or image not in boxes:
        reading.fault(place, f"image_id {image!r}: there is no such image", loses="boxes")
        return None
    label = None
    if labels is not None:
        if not _is_key(category) or category not in labels:
            reading.fault(
                place, f"category_id {category!r}: there is no such category", loses="boxes"
            )
            return None
        label = labels[category]
    attributes = item.get("attributes")
    facts = (attributes if isinstance(attributes, dict) else {}) | item
    person = reading.person_in(facts)
    return reading.box(
        place,
        item.get("bbox"),
        None if facts.get("is_known") is False else person,
        label,
        ignore=facts.get("ignore"),
        crowd=facts.get("iscrowd"),
        has_mask=isinstance(item.get("segmentation"), dict),
        query=facts.get("query"),
    )


def _is_key(value: Any) -> bool:
    """Whether JSON holds what may be an id."""
    return isinstance(value, int | str) and not isinstance(value, bool)
