"""Datumaro's own JSON: ``annotations/<subset>.json``, pictures in ``images/<subset>/``.

{"categories": {"label": {"labels": [{"name": "person"}, ..]}},
 "items": [{"id": "cam1/a", "image": {"path": "cam1_a.jpg", "size": [48, 64]},
            "annotations": [{"id": 1, "type": "bbox", "label_id": 0, "bbox": [x, y, w, h],
                             "attributes": {"person_id": 3.0}}]}]}
"""

from pathlib import Path
from typing import Any

from .. import values
from ..annotated import Frame, Place
from ..pictures import Pictures, picture_folders
from ..reading import Reading
from . import shapes
from .files import read_json


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file, in its order; its name says the subset."""
    content = read_json(path, reading)
    if content is None:
        return []
    try:
        items = content["items"]
        labels = [label["name"] for label in content["categories"]["label"]["labels"]]
        if not items or not isinstance(items, list):
            raise ValueError("no items")
    except (KeyError, TypeError, ValueError):
        message = "no items and label categories: expected a JSON file of Datumaro"
        reading.fault(Place(path), message, is_fatal=True)
        return []
    for label in labels:
        reading.declare(str(label), Place(path))
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    split = values.split_of(path.stem)
    for index, item in enumerate(items):
        place = Place(path, f"item {item.get('id', index) if isinstance(item, dict) else index}")
        try:
            image = item.get("image") or {}
            height, width = image.get("size") or (None, None)
            size = values.picture_size(height, width)
            name = image.get("path") or item["id"]
            rows = list(item.get("annotations") or [])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reading.fault(
                place,
                f"not an item of Datumaro ({type(error).__name__}: {error})",
                loses="pictures",
            )
            continue
        found = pictures.find(str(name), place, reading)
        if found is None:
            continue
        boxes = (_box(row, number, place, labels, reading) for number, row in enumerate(rows))
        kept = tuple(box for box in boxes if box is not None)
        frames.append(Frame(found, size, kept, place, split=split))
    pictures.count_unnamed(reading)
    return frames


def _box(row: Any, number: int, item: Place, labels: list[str], reading: Reading):
    place = item._replace(what=f"{item.what}, annotation {number}")
    try:
        kind, facts = row["type"], row.get("attributes") or {}
        if kind not in ("bbox", "polygon", "mask"):
            reading.tally.leave("boxes", f"shape {kind}", str(place))
            return None
        label_id = values.whole(row["label_id"])
        if not 0 <= label_id < len(labels):
            raise ValueError(f"label_id {label_id}: there is no such label")
        if kind == "bbox":
            xywh = values.box(row["bbox"])
        elif kind == "polygon":
            xywh = shapes.around_pairs(row["points"])
        else:
            xywh = shapes.around_mask(row["rle"])
        person = reading.person_in(facts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reading.fault(
            place, f"not an annotation of Datumaro ({type(error).__name__}: {error})", loses="boxes"
        )
        return None
    return reading.box(
        place,
        xywh,
        person,
        str(labels[label_id]),
        ignore=facts.get("ignore") or facts.get("ignored"),
        crowd=facts.get("is_crowd"),
    )
