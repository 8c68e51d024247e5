"""VGG Image Annotator 2: its project, and its exports as JSON and CSV.

A region has ``shape_attributes`` (rect, polygon, circle, ellipse) and ``region_attributes``, which
the user named: one of them is the person (``--person-key``), and one may be the category
(``label``, ``class``, ``category`` or ``type``). VIA exports COCO, too: that is ``--from coco``.
"""

import json
from pathlib import Path
from typing import Any

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures, picture_folders
from ..reading import Reading
from . import shapes
from .files import read_csv, read_json

_CATEGORY_KEYS = ("label", "class", "category", "type")

_WRONG = (AttributeError, KeyError, TypeError, ValueError)

_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file, in its order."""
    regions = _of_csv(path, reading) if path.suffix.lower() == ".csv" else _of_json(path, reading)
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    for name, found in regions.items():
        place = Place(path, f"picture {name}")
        picture = pictures.find(name, place, reading)
        if picture is None:
            continue
        boxes = []
        for number, (shape, attributes) in enumerate(found):
            where = place._replace(what=f"{place.what}, region {number}")
            box = _box(shape, attributes, where, reading)
            boxes += [box] if box is not None else []
        frames.append(Frame(picture, None, tuple(boxes), place))
    pictures.count_unnamed(reading)
    return frames


def _of_json(path: Path, reading: Reading) -> dict[str, list[tuple[Any, Any]]]:
    """Name of a picture -> shape and attributes of each region."""
    content = read_json(path, reading)
    if content is None:
        return {}
    found: dict[str, list[tuple[Any, Any]]] = {}
    try:
        for item in content.get("_via_img_metadata", content).values():
            regions = item["regions"]
            regions = list(regions.values()) if isinstance(regions, dict) else regions
            rows = [(row["shape_attributes"], row["region_attributes"]) for row in regions]
            if item["filename"] in found:
                message = f"the picture {item['filename']} stands there twice"
                reading.fault(Place(path), message, loses="pictures")
            found[item["filename"]] = rows
    except _WRONG as error:
        message = f"expected a JSON file of VIA 2 ({type(error).__name__}: {error})"
        reading.fault(Place(path), message, is_fatal=True)
        return {}
    if not found:
        reading.fault(Place(path), "names no picture", is_fatal=True)
    return found


def _of_csv(path: Path, reading: Reading) -> dict[str, list[tuple[Any, Any]]]:
    """The same, of a file with a row for each region; a picture without regions has one row."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for place, row in read_csv(path, reading):
        try:
            name, shape, attributes = (row[column] for column in _COLUMNS)
            shape, attributes = json.loads(shape or "{}"), json.loads(attributes or "{}")
        except _WRONG as error:
            message = f"expected the columns of VIA 2 ({type(error).__name__}: {error})"
            reading.fault(place, message, loses="boxes")
            continue
        regions = found.setdefault(name, [])
        if shape:
            regions.append((shape, attributes))
    return found


def _box(shape: Any, attributes: Any, place: Place, reading: Reading) -> Box | None:
    try:
        xywh = _xywh(shape)
        facts = {key: _plain(value) for key, value in attributes.items()}
        person = reading.person_in(facts)
    except _WRONG as error:
        reading.fault(
            place, f"not a region of VIA ({type(error).__name__}: {error})", loses="boxes"
        )
        return None
    if xywh is None:
        reading.tally.leave("boxes", f"shape {shape['name']}", str(place))
        return None
    keys = [k for k in _CATEGORY_KEYS if facts.get(k) and k != reading.options.person_key]
    label = str(facts[keys[0]]) if keys else None
    person = values.number_or_text(person) if isinstance(person, str) else person
    return reading.box(place, xywh, person, label, ignore=facts.get("ignore"))


def _plain(value: Any) -> Any:
    """A checkbox is {"one": true, ..}: the option that is ticked, if it is one alone."""
    if not isinstance(value, dict):
        return value
    ticked = [key for key, is_on in value.items() if is_on]
    return ticked[0] if len(ticked) == 1 else None if not ticked else ticked


def _xywh(shape: Any) -> shapes.Xywh | None:
    kind = shape["name"]
    if kind == "rect":
        return values.box([shape[key] for key in ("x", "y", "width", "height")])
    if kind in ("polygon", "polyline"):
        return shapes.around(shape["all_points_x"], shape["all_points_y"])
    if kind == "circle":
        return shapes.around_ellipse(shape["cx"], shape["cy"], shape["r"], shape["r"])
    if kind == "ellipse":
        return shapes.around_ellipse(*(shape[key] for key in ("cx", "cy", "rx", "ry")))
    return None
