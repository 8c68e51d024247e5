"""FiftyOne: ``samples.json`` of a FiftyOneDataset, ``labels.json`` of image detections.

    samples.json   {"samples": [{"filepath": "data/a.jpg", "tags": ["train"], "ground_truth":
                     {"_cls": "Detections", "detections": [{"label": "person", "person_id": 3,
                       "bounding_box": [x, y, width, height]}]}}]}
    labels.json    {"classes": ["person"], "labels": {"a": [{"label": 0, "bounding_box": [..],
                     "attributes": {"person_id": 3}}]}}

Boxes are shares of the picture, whose size is read from its header. ``index`` is the number of a
track. FiftyOne exports COCO, too: that is ``--from coco``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from person_search.errors import ImageError
from person_search.images import image_size

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures, picture_folders
from ..reading import Reading
from .files import read_json

_WRONG = (AttributeError, KeyError, IndexError, TypeError, ValueError)


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file, in its order."""
    content = read_json(path, reading)
    if content is None:
        return []
    try:
        samples = list(_samples(content))
    except _WRONG as error:
        message = f"expected samples.json or labels.json of FiftyOne ({type(error).__name__})"
        reading.fault(Place(path), message, is_fatal=True)
        return []
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    for name, detections, split in samples:
        place = Place(path, f"sample {name}")
        if isinstance(detections, str):
            reading.fault(place, detections, loses="pictures")
            continue
        if detections is None:
            reading.tally.leave("pictures", "not annotated", name)
            continue
        found = pictures.find(name, place, reading)
        if found is None:
            continue
        try:
            size = image_size(found)
        except ImageError as error:
            reading.fault(place, str(error), loses="pictures")
            continue
        boxes = (_box(row, n, place, size, content, reading) for n, row in enumerate(detections))
        kept = tuple(box for box in boxes if box is not None)
        frames.append(Frame(found, size, kept, place, split=split))
    pictures.count_unnamed(reading)
    return frames


def _samples(content: Any) -> Iterator[tuple[str, list | str | None, str | None]]:
    """Name of a picture, its detections, and its split.

    Detections are None where nobody annotated it, and a text where something is wrong.
    """
    if "labels" in content:
        yield from ((name, rows, None) for name, rows in content["labels"].items())
        return
    for sample in content["samples"]:
        fields = {
            key: value["detections"]
            for key, value in sample.items()
            if isinstance(value, dict) and value.get("_cls") == "Detections"
        }
        splits = {split for tag in sample.get("tags") or [] if (split := values.split_of(str(tag)))}
        detections = fields.get("ground_truth")
        if detections is None and fields:
            named = ", ".join(fields)
            one = len(fields) == 1
            detections = next(iter(fields.values())) if one else f"which of {named}? Export one"
        yield str(sample["filepath"]), detections, splits.pop() if len(splits) == 1 else None


def _box(
    row: Any, number: int, sample: Place, size: tuple[int, int], content: dict, reading: Reading
) -> Box | None:
    place = sample._replace(what=f"{sample.what}, detection {number}")
    height, width = size
    try:
        x, y, w, h = values.box(row["bounding_box"])
        label = row["label"]
        if not isinstance(label, str):
            label = content["classes"][values.whole(label)]
        more = row.get("attributes") or {}
        # Before attributes were fields of their own, each was {"_cls": .., "value": ..}.
        plain = {k: v.get("value") if isinstance(v, dict) else v for k, v in more.items()}
        facts = {"track_id": row.get("index")} | plain | row
        person = reading.person_in(facts)
    except _WRONG as error:
        reading.fault(
            place, f"not a detection of FiftyOne ({type(error).__name__}: {error})", loses="boxes"
        )
        return None
    if max(abs(x), abs(y), w, h) > 10:
        reading.fault(
            place,
            f"bounding_box {row['bounding_box']}: expected shares of the picture",
            loses="boxes",
        )
        return None
    xywh = (x * width, y * height, w * width, h * height)
    return reading.box(
        place,
        xywh,
        person,
        str(label),
        ignore=facts.get("ignore"),
        crowd=facts.get("iscrowd"),
    )
