"""A COCO file of a prepared data set, read strictly: whatever is wrong is an error.

docs/own_data.md describes its keys. What other programs write is imported by
tools/prepare_dataset.py.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from person_search.errors import DatasetError

from .disk import parsing
from .records import check_boxes


class Person(NamedTuple):
    """An annotation; ``raw_id`` None: nobody in particular."""

    xywh: list[float]
    raw_id: int | str | None
    ignore: bool
    is_query: bool


class Image(NamedTuple):
    """An image and its annotations."""

    path: str
    height: int
    width: int
    camera: int
    persons: list[Person]


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def read_images(path: Path, root: Path) -> list[Image]:
    """What a file says. Whatever is wrong is a DatasetError that names image or annotation."""
    with parsing(path):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images, annotations = content["images"], content["annotations"]
        if not isinstance(images, list) or not isinstance(annotations, list) or not images:
            raise DatasetError(f"{path}: expected lists of images and annotations")
        persons: dict[int | str, list[Person]] = {}
        found = []
        for image in images:
            key, name = image["id"], image["file_name"]
            if key in persons:
                raise DatasetError(f"{path}, image {key}: an image of that id came before")
            camera = image.get("camera_id", -1)
            sides = image.get("height"), image.get("width")
            if not all(_is_whole(side, 1) for side in sides) or not _is_whole(camera, -1):
                raise DatasetError(
                    f"{path}, image {key}: no width and height in pixels, or the camera_id is no "
                    "whole number"
                )
            persons[key] = []
            file = os.path.normpath(root / name)
            found.append(Image(file, *sides, camera, persons[key]))
        for number, item in enumerate(annotations):
            where = f"{path}, annotation {item.get('id', number)}"
            if item.get("image_id") not in persons:
                raise DatasetError(f"{where}: image_id {item.get('image_id')!r} is no image")
            persons[item["image_id"]].append(_read_person(item, where))
    _check_images(found, path)
    return found


def _read_person(item: dict, where: str) -> Person:
    raw_id = item.get("person_id")
    raw_id = None if raw_id in (-1, "") else raw_id
    is_text = isinstance(raw_id, str) and not re.fullmatch(r"\s*-\d.*", raw_id)
    if not (raw_id is None or is_text or _is_whole(raw_id, 0)):
        raise DatasetError(
            f"{where}: person_id {raw_id!r}: expected a whole number from 0, a text, or -1 for "
            "nobody. tools/prepare_dataset.py --from coco imports what other programs write"
        )
    flags = [item.get(key, 0) for key in ("ignore", "iscrowd", "query")]
    if not all(flag in (0, 1) for flag in flags):
        raise DatasetError(f"{where}: ignore, iscrowd and query have to be 0 or 1")
    xywh = [float(value) for value in item["bbox"]]
    check_boxes(np.reshape(xywh, (1, 4)), f"{where}, box")
    ignore, is_query = bool(flags[0] or flags[1]), bool(flags[2])
    if is_query and (raw_id is None or ignore):
        raise DatasetError(f"{where}: a query of nobody in particular")
    return Person(xywh, None if ignore else raw_id, ignore, is_query)


def _check_images(images: list[Image], path: Path) -> None:
    first: dict[str, int] = {}
    for number, image in enumerate(images):
        if first.setdefault(image.path, number) != number:
            raise DatasetError(f"{path}: the picture {image.path} stands there twice")
    raw_ids = {p.raw_id for image in images for p in image.persons} - {None}
    if not raw_ids:
        raise DatasetError(f"{path}: no annotation has a person_id")
    both = [raw_id for raw_id in raw_ids if isinstance(raw_id, int) and str(raw_id) in raw_ids]
    if both:
        raise DatasetError(f"{path}: person {both[0]} is a number here and a text there")
