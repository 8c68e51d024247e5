"""Records of frames: boxes, identities and sizes.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.structures import BoxMode

from person_search.errors import DatasetError
from person_search.images import image_size
from person_search.labels import UNLABELED

LARGEST = 1e7
"""No picture has so many pixels on a side: a coordinate beyond it is a mistake."""


class Split(NamedTuple):
    """One split of a data set.

    Attributes:
        records: one detectron2 standard dict per frame, or one crop record per picture of a person.
        raw_person_ids: the data set's own name of person 0, 1, ...
    """

    records: list[dict]
    raw_person_ids: tuple[int | str, ...]


def check_boxes(boxes: np.ndarray, where: str) -> None:
    """Raises DatasetError for the first of (N, 4) boxes x, y, w, h that cannot be one.

    Such a box has no positive area, or a number that is not finite or larger than any picture.
    ``where`` says what the boxes are; the message appends the number of the bad one, from 1.
    """
    within = (np.abs(boxes) <= LARGEST).all(axis=1)  # False for NaN, too
    bad = ~(within & (boxes[:, 2:] > 0).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{where} {row + 1}: x, y, w, h = {boxes[row].tolist()} is not a box; "
            "correct or remove it"
        )


def check_finite(boxes: np.ndarray, where: str) -> None:
    """Raises DatasetError for the first of (N, 4) boxes that is not finite, or larger than any
    picture. Boxes without area pass: data sets that have some drop them.

    ``where`` says what the boxes are; the message appends the number of the bad one, from 1.
    """
    bad = ~(np.abs(boxes) <= LARGEST).all(axis=1)  # True for NaN, too
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(f"{where} {row + 1}: {boxes[row].tolist()} is not a box; correct it")


def check_ids(raw_ids: np.ndarray, where: str) -> None:
    """Raises DatasetError for the first of (N,) identities that is no whole number.

    Neighboring numbers beyond 2**53 are one float: persons would become one.
    """
    bad = ~((raw_ids % 1 == 0) & (np.abs(raw_ids) < 2.0**53))
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(f"{where} {row + 1}: person {raw_ids[row]} is not a whole number")


def to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) boxes x, y, w, h of any number type as float64 xyxy.

    The cast comes first: MATLAB stores small boxes as uint8, and there x + w would overflow.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def has_area(boxes: np.ndarray) -> np.ndarray:
    """(N,) whether (N, 4) xyxy boxes have an area."""
    return (boxes[:, 2:] > boxes[:, :2]).all(axis=1)


def to_polygons(boxes: np.ndarray) -> list[list[float]]:
    """(N, 4) xyxy boxes as ignore regions of a record: polygons x, y, x, y, ..."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].tolist()


def number_persons(raw_ids: Sequence[np.ndarray]) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Contiguous person ids in the order of the raw ones, and the raw ones.

    Args:
        raw_ids: (N,) whole numbers per frame; negative for persons without identity, who become
            UNLABELED.
    """
    # Not zeros of floats, which would merge ids beyond 2**53.
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *raw_ids]))
    known = known[known >= 0]
    person_ids = [np.where(ids < 0, UNLABELED, np.searchsorted(known, ids)) for ids in raw_ids]
    return person_ids, tuple(known.astype(int).tolist())


def image_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """(height, width) of many pictures."""
    with ThreadPoolExecutor(8) as pool:  # on a cold or network disk the time goes into waiting
        return list(pool.map(image_size, paths))


def make_records(
    paths: Sequence[Path],
    image_ids: Sequence[str],
    camera_ids: Sequence[int],
    boxes: Sequence[np.ndarray],
    person_ids: Sequence[np.ndarray],
    domain: str,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    ignore_regions: Sequence[list[list[float]]] | None = None,
) -> list[dict]:
    """detectron2 standard dicts of frames whose boxes are (N, 4) xyxy and person ids (N,).

    Args:
        sizes: (height, width) of the frames, where they were read before.
        ignore_regions: of data sets that have them, per frame: polygons x, y, x, y, ... in which
            there may be persons without a box. Annotations hold persons only.
    """
    sizes = image_sizes(paths) if sizes is None else sizes
    columns = zip(paths, image_ids, camera_ids, sizes, boxes, person_ids, strict=True)
    records = [
        {
            "file_name": str(path),
            "image_id": image_id,
            "height": height,
            "width": width,
            "camera_id": camera_id,
            "domain": domain,
            "annotations": [
                {
                    "bbox": box,
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": 0,
                    "person_id": person_id,
                }
                for box, person_id in zip(frame_boxes.tolist(), ids.tolist(), strict=True)
            ],
        }
        for path, image_id, camera_id, (height, width), frame_boxes, ids in columns
    ]
    if ignore_regions is None:
        return records
    return [{**r, "ignore_regions": i} for r, i in zip(records, ignore_regions, strict=True)]
