"""The project's own format, COCO JSON with ``person_id``, and COCO files of annotation programs.

docs/own_data.md describes every key. CVAT exports a label's attributes as ``attributes`` of the
annotation: a person id or a track id is looked for there, too.
"""

import os
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from .annotated import Box, Fault, Frame, Place, is_number, person_id_of
from .located_json import Located, load_located

_SPLITS = ("train", "test")
_TRACK = "track_id"


def read_coco(
    path: Path,
    faults: list[Fault],
    images: str | Path = ".",
    person_key: str = "person_id",
    category: str = "person",
) -> list[Frame]:
    """The frames of a file, in its order.

    Args:
        path: the file.
        faults: gets what is wrong; what is wrong is left out.
        images: the folder to which file names are relative, itself relative to that of the file.
        person_key: which key of an annotation, or of its "attributes", names the person.
        category: the name of the category that is a person; boxes of others are left out. A file
            without categories holds persons only.
    """
    content = load_located(path, faults)
    if content is None:
        return []
    lists = {key: content.get(key, []) for key in ("images", "annotations", "categories")}
    for key, elements in lists.items():
        if not isinstance(elements, list) or (key == "images" and not elements):
            message = f"no list of {key}: expected a COCO file"
            faults.append(Fault(Place(path), message, is_fatal=True))
            return []
    frames = _read_images(lists["images"], faults, path.parent / images)
    persons = _persons_category(lists["categories"], faults, path, category)
    boxes = _read_annotations(lists["annotations"], faults, frames.keys(), person_key, persons)
    _check_person_key(lists["annotations"], faults, path, person_key)
    return [f._replace(boxes=tuple(boxes[key])) for key, f in frames.items() if f is not None]


def _read_images(elements: list[Located], faults: list[Fault], root: Path) -> dict:
    """Image id -> frame without boxes; None where there is something wrong with it."""
    frames: dict[Hashable, Frame | None] = {}
    for image, place in elements:
        if not isinstance(image, dict) or not _is_key(image.get("id")):
            faults.append(Fault(place, "an image without an id"))
            continue
        image_id = image["id"]
        name = f"image {image_id}"
        if image_id in frames:
            faults.append(Fault(place, f"{name}: an image of that id came before"))
            continue
        wrong = _wrong_image(image)
        faults += [Fault(place, f"{name}: {message}") for message in wrong]
        frames[image_id] = None if wrong else _frame(image, place, root)
    return frames


def _wrong_image(image: dict) -> list[str]:
    """What is wrong with the keys of an image."""
    wrong = []
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        wrong.append("no file_name")
    for key in ("width", "height"):
        size = image.get(key)
        if size is not None and not (isinstance(size, int) and is_number(size) and size > 0):
            wrong.append(f"{key} {size!r}: expected a whole number of pixels")
    if (image.get("width") is None) != (image.get("height") is None):
        wrong.append("width and height belong together")
    camera = image.get("camera_id")
    if camera is not None and not (isinstance(camera, int) and is_number(camera) and camera >= -1):
        wrong.append(f"camera_id {camera!r}: expected a whole number, -1 for unknown")
    if image.get("time") is not None and not is_number(image["time"]):
        wrong.append(f"time {image['time']!r}: expected a number")
    if image.get("split") not in (None, *_SPLITS):
        wrong.append(f"split {image['split']!r}: expected train or test")
    return wrong


def _frame(image: dict, place: Place, root: Path) -> Frame:
    camera = image.get("camera_id")
    return Frame(
        path=os.path.normpath(root / image["file_name"]),
        size=(image["height"], image["width"]) if image.get("width") else None,
        boxes=(),
        place=place,
        camera=None if camera == -1 else camera,
        time=image.get("time"),
        split=image.get("split"),
    )


def _persons_category(
    elements: list[Located], faults: list[Fault], path: Path, category: str
) -> dict[Hashable, bool] | None:
    """Category id -> whether it is a person; None where the file has no categories."""
    if not elements:
        return None
    named = [
        (item["id"], item["name"])
        for item, _ in elements
        if isinstance(item, dict) and _is_key(item.get("id")) and isinstance(item.get("name"), str)
    ]
    names = [name for _, name in named]
    if len(named) < len(elements) or len(dict(named)) < len(named):
        message = "every category needs an id of its own and a name"
        faults.append(Fault(elements[0].place, message, is_fatal=True))
    elif category not in names:
        message = f"no category is called {category}; there are {', '.join(names)} (--category)"
        faults.append(Fault(Place(path), message, is_fatal=True))
    return {category_id: name == category for category_id, name in named}


def _read_annotations(
    elements: list[Located],
    faults: list[Fault],
    image_ids,
    person_key: str,
    persons: dict[Hashable, bool] | None,
) -> dict[Hashable, list[Box]]:
    """Image id -> boxes."""
    boxes: dict[Hashable, list[Box]] = {image_id: [] for image_id in image_ids}
    seen = set()
    for item, place in elements:
        if not isinstance(item, dict):
            faults.append(Fault(place, "an annotation that is no object"))
            continue
        number = item.get("id")
        name = "annotation" if number is None else f"annotation {number}"
        wrong = []
        if number is not None:
            if not _is_key(number) or number in seen:
                wrong.append("an annotation of that id came before, or it is no id")
            else:
                seen.add(number)
        image_id = item.get("image_id")
        if not _is_key(image_id) or image_id not in boxes:
            wrong.append(f"image_id {image_id!r}: there is no such image")
        is_person = True
        if persons is not None:
            category_id = item.get("category_id")
            if not _is_key(category_id) or category_id not in persons:
                wrong.append(f"category_id {category_id!r}: there is no such category")
            else:
                is_person = persons[category_id]
        box = _box(item, place, person_key, wrong) if is_person else None
        faults += [Fault(place, f"{name}: {message}") for message in wrong]
        if box is not None and not wrong:
            boxes[image_id].append(box)
    return boxes


def _box(item: dict, place: Place, person_key: str, wrong: list[str]) -> Box | None:
    """A person; what is wrong with its keys goes into ``wrong``."""
    xywh = item.get("bbox")
    if not (isinstance(xywh, list) and len(xywh) == 4 and all(map(is_number, xywh))):
        wrong.append(f"bbox {xywh!r}: expected four numbers x, y, width, height")
    person_id = None
    try:
        person_id = person_id_of(_look_up(item, person_key))
    except ValueError as error:
        wrong.append(str(error))
    flags = {key: _look_up(item, key) or 0 for key in ("ignore", "iscrowd", "query")}
    for key, flag in flags.items():
        if flag not in (0, 1):
            wrong.append(f"{key} {flag!r}: expected 0 or 1")
    if wrong:
        return None
    ignore = bool(flags["ignore"] or flags["iscrowd"])
    if flags["query"] and (person_id is None or ignore):
        wrong.append("a query of nobody in particular")
    return Box(tuple(map(float, xywh)), person_id, place, ignore, bool(flags["query"]))


def _look_up(item: dict, key: str) -> Any:
    """A key of an annotation, or of the attributes that CVAT keeps in it."""
    attributes = item.get("attributes")
    if key not in item and isinstance(attributes, dict):
        return attributes.get(key)
    return item.get(key)


def _check_person_key(elements: list[Located], faults: list[Fault], path: Path, key: str) -> None:
    """Says where else the persons may be named, when nobody is."""
    items = [item for item, _ in elements if isinstance(item, dict)]
    keys = Counter(k for k in (key, _TRACK) for item in items if _look_up(item, k) is not None)
    if items and not keys[key] and keys[_TRACK]:
        message = (
            f"no annotation has a {key}, but {keys[_TRACK]} have a {_TRACK}: "
            f"if tracks are persons, say --person-key {_TRACK}"
        )
        faults.append(Fault(Place(path), message, is_fatal=True))


def _is_key(value: Any) -> bool:
    """Whether JSON holds what may be an id."""
    return isinstance(value, str) or (is_number(value) and isinstance(value, int))
