"""Registered person search sets as annotations: to split a known set anew, or to look at a format.

The split of every frame and the queries of the default protocol are kept; cameras, too.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.errors import ConfigError

from ..annotated import Box, Frame, Place
from ..reading import Reading


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a set that is registered by this name, in their order, with raw ids.

    Raises:
        ConfigError: no person search set is called so.
        DatasetError: it is missing or damaged.
    """
    name = str(path)
    known = name in DatasetCatalog
    kind = MetadataCatalog.get(name).get("evaluator_type", None) if known else None
    if kind != "person_search":
        raise ConfigError(f"no person search set is registered as {name}")
    records = DatasetCatalog.get(name)
    queries = _queries(name, records, reading)
    return [_frame(name, record, queries[index]) for index, record in enumerate(records)]


def _frame(name: str, record: dict, queries: set[int]) -> Frame:
    """A record as a frame; ``queries``: indices of the boxes that are queries."""
    metadata, file = MetadataCatalog.get(name), record["file_name"]
    boxes = [
        Box(
            xywh=_to_xywh(person["bbox"]),
            person_id=_raw_id(metadata.raw_person_ids, person["person_id"]),
            place=Place(file, f"box {number + 1}"),
            is_query=number in queries,
        )
        for number, person in enumerate(record["annotations"])
    ]
    boxes += [_region(polygon, Place(file)) for polygon in record.get("ignore_regions", [])]
    return Frame(
        path=file,
        size=(record["height"], record["width"]),
        boxes=tuple(boxes),
        place=Place(file),
        camera=record["camera_id"] if record["camera_id"] >= 0 else None,
        split=metadata.split,
    )


def _raw_id(raw_ids: tuple[int | str, ...], person_id: int) -> int | str | None:
    return raw_ids[person_id] if person_id >= 0 else None


def _to_xywh(xyxy: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, xyxy)
    return x1, y1, x2 - x1, y2 - y1


def _region(polygon: list[float], place: Place) -> Box:
    """The rectangle around a polygon x, y, x, y, ..."""
    xs, ys = polygon[::2], polygon[1::2]
    return Box(_to_xywh([min(xs), min(ys), max(xs), max(ys)]), None, place, ignore=True)


def _queries(name: str, records: list[dict], reading: Reading) -> dict[int, set[int]]:
    """Index of a frame -> indices of the boxes in it that the default protocol asks for."""
    protocols = MetadataCatalog.get(name).get("protocols", None)
    found: dict[int, set[int]] = defaultdict(set)
    if not protocols:
        return found
    protocol = next(iter(protocols.values()))()
    for index, box, person_id in zip(
        protocol.query_frames.tolist(), protocol.query_boxes, protocol.query_ids, strict=True
    ):
        persons = records[index]["annotations"]
        distance = {
            number: np.abs(np.array(person["bbox"]) - box).max()
            for number, person in enumerate(persons)
            if person["person_id"] == person_id
        }
        nearest = min(distance, key=lambda number: distance[number], default=None)
        if nearest is None or distance[nearest] > 1:
            place = Place(records[index]["file_name"])
            reading.fault(place, f"a query of {name} is no annotated box")
        else:
            found[index].add(nearest)
    return found
