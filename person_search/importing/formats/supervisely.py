"""Supervisely: ``<data set>/ann/a.jpg.json`` beside ``<data set>/img/a.jpg``.

{"size": {"height": 48, "width": 64}, "objects": [{"classTitle": "person", "geometryType":
  "rectangle", "points": {"exterior": [[x1, y1], [x2, y2]]},
  "tags": [{"name": "person_id", "value": 3}]}]}
"""

from pathlib import Path
from typing import Any

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures
from ..reading import Reading
from . import shapes
from .files import read_json

_WRONG = (AttributeError, KeyError, TypeError, ValueError)


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a data set or a project of several, by name."""
    files = sorted(path.rglob("ann/*.json")) or sorted(path.glob("*.json"))
    if not files:
        reading.fault(Place(path), "holds no ann/*.json", is_fatal=True)
    folders = sorted({file.parent.parent / (reading.options.images or "img") for file in files})
    pictures, frames = {folder: Pictures([folder]) for folder in folders}, []
    for file in files:
        content = read_json(file, reading)
        if content is None:
            continue
        place = Place(file)
        try:
            size = values.picture_size(content["size"]["height"], content["size"]["width"])
            rows = list(content["objects"])
        except _WRONG as error:
            reading.fault(
                place,
                f"not a file of Supervisely ({type(error).__name__}: {error})",
                loses="pictures",
            )
            continue
        folder = file.parent.parent / (reading.options.images or "img")
        found = pictures[folder].find(file.name.removesuffix(".json"), place, reading)
        if found is None:
            continue
        boxes = (_box(row, number, place, reading) for number, row in enumerate(rows))
        kept = tuple(box for box in boxes if box is not None)
        split = values.split_of(file.parent.parent.name)
        frames.append(Frame(found, size, kept, place, split=split))
    for searched in pictures.values():
        searched.count_unnamed(reading)
    return frames


def _box(row: Any, number: int, file: Place, reading: Reading) -> Box | None:
    place = file._replace(what=f"object {number}")
    try:
        if row["geometryType"] not in ("rectangle", "polygon"):
            reading.tally.leave("boxes", f"shape {row['geometryType']}", str(place))
            return None
        xywh = shapes.around_pairs(row["points"]["exterior"])
        facts = {tag["name"]: tag.get("value") for tag in row.get("tags") or []}
        person, label = reading.person_in(facts), str(row["classTitle"])
    except _WRONG as error:
        reading.fault(
            place, f"not an object of Supervisely ({type(error).__name__}: {error})", loses="boxes"
        )
        return None
    return reading.box(place, xywh, person, label, ignore=facts.get("ignore"))
