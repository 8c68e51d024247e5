"""Label Studio's JSON (not JSON-MIN): a list of tasks.

    [{"id": 7, "data": {"image": "/data/upload/3/1f2e3d4c-a.jpg"},
      "annotations": [{"was_cancelled": false, "result": [
        {"id": "r1", "type": "rectanglelabels", "original_width": 1920, "original_height": 1080,
         "value": {"x": 10, "y": 20, "width": 5, "height": 30, "rotation": 0,
                   "rectanglelabels": ["person"]}},
        {"id": "r1", "type": "textarea", "from_name": "person_id", "value": {"text": ["anna"]}}]}]}]

Boxes are percents of the picture. What else is said about a region has its id, and the name of the
control as ``from_name``: that is what ``--person-key`` names. A task that nobody annotated is left
out; one that several annotated is a fault, since it does not say whose boxes are right.
"""

from pathlib import Path
from typing import Any

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures, is_picture, picture_folders
from ..reading import Reading
from . import shapes
from .files import read_json

_WRONG = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file: of its tasks that are annotated."""
    tasks = read_json(path, reading)
    if tasks is None:
        return []
    if not isinstance(tasks, list) or not any(_is_task(task) for task in tasks):
        message = "no list of tasks with data and annotations: export JSON of Label Studio"
        reading.fault(Place(path), message, is_fatal=True)
        return []
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    for index, task in enumerate(tasks):
        place = Place(path, f"task {task.get('id', index) if isinstance(task, dict) else index}")
        try:
            done = [a for a in task["annotations"] if not a.get("was_cancelled")]
            name = _picture(task["data"])
            if len(done) > 1:
                raise ValueError(f"{len(done)} annotations: delete those that do not count")
            result = list(done[0]["result"]) if done else []
        except _WRONG as error:
            reading.fault(
                place,
                f"not a task that can be read ({type(error).__name__}: {error})",
                loses="pictures",
            )
            continue
        if not done:
            reading.tally.leave("pictures", "not annotated", name)
            continue
        found = pictures.find(name, place, reading)
        if found is None:
            continue
        size, boxes = _regions(result, place, reading)
        frames.append(Frame(found, size, tuple(boxes), place))
    pictures.count_unnamed(reading)
    return frames


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and "data" in task and "annotations" in task


def _picture(data: dict[str, Any]) -> str:
    """The file of a task: of its data, what is the name of a picture."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    named = [value for value in texts.values() if is_picture(value.partition("?d=")[2] or value)]
    named = named or [texts[key] for key in ("image", "img") if key in texts]
    if len(set(named)) != 1:
        raise ValueError(f"data names {len(set(named))} pictures")
    return named[0]


def _regions(
    result: list, task: Place, reading: Reading
) -> tuple[tuple[int, int] | None, list[Box]]:
    """The picture's (height, width), and its boxes."""
    facts: dict[str, dict[str, Any]] = {}
    for item in result:
        if isinstance(item, dict):
            said = facts.setdefault(str(item.get("id")), {})
            said.update(_said(item))
    size, boxes = None, []
    for number, item in enumerate(result):
        place = task._replace(what=f"{task.what}, region {number}")
        try:
            value = item["value"]
            labels = next((value[k] for k in value if k.endswith("labels")), None)
            if item["type"] in ("textarea", "choices", "number", "rating", "taxonomy", "relation"):
                continue
            if not {"x", "y", "width", "height"} <= value.keys() and "points" not in value:
                reading.tally.leave("boxes", f"shape {item['type']}", str(place))
                continue
            height, width = item["original_height"], item["original_width"]
            size = values.picture_size(height, width)
            if size is None:
                raise ValueError("no original_width and original_height")
            xywh = _pixels(value, *size)
            said = facts[str(item.get("id"))]
            person = reading.person_in(said)
            label = None if labels is None else str(labels[0])
        except _WRONG as error:
            reading.fault(
                place,
                f"not a region that can be read ({type(error).__name__}: {error})",
                loses="boxes",
            )
            continue
        box = reading.box(place, xywh, person, label, ignore=said.get("ignore"))
        boxes += [box] if box is not None else []
    return size, boxes


def _said(item: dict) -> dict[str, Any]:
    """What a result says about its region: control -> value. Text is a text or a number."""
    value = item.get("value")
    said: dict[str, Any] = {}
    meta = item.get("meta")
    if isinstance(meta, dict):
        said |= {key: text for key, text in meta.items() if isinstance(text, str | int | float)}
    if isinstance(value, dict) and isinstance(item.get("from_name"), str):
        for key in ("text", "choices", "number", "rating"):
            found = value.get(key)
            found = found[0] if isinstance(found, list) and len(found) == 1 else found
            if found is not None:
                is_text = isinstance(found, str)
                said[item["from_name"]] = values.number_or_text(found) if is_text else found
    return said


def _pixels(value: dict, height: int, width: int) -> shapes.Xywh:
    """The box in pixels: 10 % of 1920 are 192."""
    if "points" in value:
        x, y, w, h = shapes.around_pairs([list(point) for point in value["points"]])
    else:
        x, y, w, h = values.box([value[key] for key in ("x", "y", "width", "height")])
    pixels = (x * width / 100, y * height / 100, w * width / 100, h * height / 100)
    return shapes.turned(pixels, value.get("rotation"), about_corner=True)
