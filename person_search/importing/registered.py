"""Registered person search sets as annotations: to split a known set anew, or to look at a format.

The split of every frame and the queries of the default protocol are kept; cameras, too.
"""

from collections import defaultdict

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.errors import ConfigError

from .annotated import Box, Fault, Frame, Place


def read_registered(names: list[str], faults: list[Fault]) -> dict[str, list[Frame]]:
    """Name of a registered set -> its frames, in their order; persons have their raw ids.

    Args:
        names: e.g. ``["prw_train", "prw_test"]``.
        faults: gets the queries that are no annotated box.

    Raises:
        ConfigError: no person search set is called so.
        DatasetError: it is missing or damaged.
    """
    groups = {}
    for name in names:
        known = name in DatasetCatalog
        kind = MetadataCatalog.get(name).get("evaluator_type", None) if known else None
        if kind != "person_search":
            raise ConfigError(f"no person search set is registered as {name}")
        records = DatasetCatalog.get(name)
        queries = _queries(name, records, faults)
        groups[name] = [
            _frame(name, record, queries[index]) for index, record in enumerate(records)
        ]
    return groups


def _frame(name: str, record: dict, queries: set[int]) -> Frame:
    """A record as a frame; ``queries`` are the numbers of its boxes that are some."""
    metadata, place = MetadataCatalog.get(name), Place(record["file_name"])
    boxes = [
        Box(
            xywh=_to_xywh(person["bbox"]),
            person_id=_raw_id(metadata.raw_person_ids, person["person_id"]),
            place=place,
            is_query=number in queries,
        )
        for number, person in enumerate(record["annotations"])
    ]
    boxes += [_region(polygon, place) for polygon in record.get("ignore_regions", [])]
    return Frame(
        path=record["file_name"],
        size=(record["height"], record["width"]),
        boxes=tuple(boxes),
        place=place,
        camera=record["camera_id"] if record["camera_id"] >= 0 else None,
        split=metadata.split,
    )


def _raw_id(raw_ids, person_id: int) -> int | str | None:
    return raw_ids[person_id] if person_id >= 0 else None


def _to_xywh(xyxy: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, xyxy)
    return x1, y1, x2 - x1, y2 - y1


def _region(polygon: list[float], place: Place) -> Box:
    """The rectangle around a polygon x, y, x, y, ..."""
    xs, ys = polygon[::2], polygon[1::2]
    return Box(_to_xywh([min(xs), min(ys), max(xs), max(ys)]), None, place, ignore=True)


def _queries(name: str, records: list[dict], faults: list[Fault]) -> dict[int, set[int]]:
    """Index of a frame -> numbers of the boxes in it that the default protocol asks for."""
    protocols = MetadataCatalog.get(name).get("protocols", None)
    found = defaultdict(set)
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
        nearest = min(distance, key=distance.get, default=None)
        if nearest is None or distance[nearest] > 1:
            place = Place(records[index]["file_name"])
            faults.append(Fault(place, f"a query of {name} is no annotated box"))
        else:
            found[index].add(nearest)
    return found
