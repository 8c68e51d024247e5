"""The MATLAB structures of CUHK-SYSU, as numpy arrays.

Every function checks what it reads and raises DatasetError naming the file.

Shape shorthand in this module:
    N: number of boxes of one frame
    L: number of boxes that a file gives to persons
    Q: number of queries
    K: number of gallery rows, summed over the queries
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from person_search.errors import DatasetError
from person_search.protocols import GalleryLists

from .disk import listed, parsing
from .matlab import load_mat, unpack_strings
from .records import check_boxes, to_xyxy


class Labels(NamedTuple):
    """Persons, and the boxes that are theirs.

    Attributes:
        names: idname of person 0, 1, ...
        frames: (L,) int64 index of each box's frame in the list that was given, -1 if not there.
        boxes: (L, 4) float64 xyxy.
        persons: (L,) int64 index into ``names``.
    """

    names: list[str]
    frames: np.ndarray
    boxes: np.ndarray
    persons: np.ndarray


class GalleryFile(NamedTuple):
    """TestG<size>.mat or a subset of it; frames are indices into the pool.

    Attributes:
        names: idname of each query's person.
        query_frames: (Q,) int64.
        query_boxes: (Q, 4) float64 xyxy.
        gallery: the rows of all queries.
    """

    names: list[str]
    query_frames: np.ndarray
    query_boxes: np.ndarray
    gallery: GalleryLists

    def labels(self) -> Labels:
        """The persons' boxes: each query itself and the gallery rows that show its person."""
        target = self.gallery.has_target
        queries = np.arange(len(self.names))
        row_queries = np.repeat(queries, np.diff(self.gallery.offsets))
        return Labels(
            names=self.names,
            frames=np.concatenate([self.query_frames, self.gallery.frames[target]]),
            boxes=np.concatenate([self.query_boxes, self.gallery.boxes[target]]),
            persons=np.concatenate([queries, row_queries[target]]),
        )


def read_images(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """Reads Images.mat.

    Returns:
        Frame name -> (N, 4) float64 xyxy of its boxes, and how many boxes without area were left
        out.
    """
    images = load_mat(path, "Img")
    boxes, num_dropped = {}, 0
    with parsing(path):
        images = images.ravel()
        for name, cell in zip(unpack_strings(images["imname"]), images["box"], strict=True):
            # The location is the first field; an image without persons holds no struct at all.
            image_boxes = _stack(cell[cell.dtype.names[0]].ravel() if cell.size else [])
            empty = (image_boxes[:, 2:] <= 0).any(axis=1)
            check_boxes(image_boxes[~empty], f"{path}, {name}, box")
            boxes[name] = to_xyxy(image_boxes[~empty])
            num_dropped += int(empty.sum())
    return boxes, num_dropped


def read_pool(path: Path) -> list[str]:
    """Names of the test frames, in the order of pool.mat."""
    pool = load_mat(path, "pool")
    with parsing(path):
        return unpack_strings(pool)


def read_train(path: Path, frame_index: Mapping[str, int]) -> Labels:
    """Reads Train.mat; ``frame_index`` says where a frame is in the list of training frames."""
    people = load_mat(path, "Train")
    with parsing(path):
        people = np.concatenate([person.ravel() for person in people.ravel()])
        scenes = [scene.ravel() for scene in people["scene"]]
        entries = np.concatenate(scenes)
        return Labels(
            names=unpack_strings(people["idname"]),
            frames=_frames(entries["imname"], frame_index),
            boxes=_checked(entries["idlocate"], f"{path}, box"),
            persons=np.repeat(np.arange(len(scenes)), [len(scene) for scene in scenes]),
        )


def read_test(path: Path, variable: str, frame_index: Mapping[str, int]) -> GalleryFile:
    """Reads a protocol file, rows exactly as it lists them.

    scipy needs about 6 s and 1 GB per million gallery rows, most of the cost: TestG100 has
    0.3 million, TestG4000 11.6 million.
    """
    rows = load_mat(path, variable)
    with parsing(path):
        rows = rows.ravel()
        queries = np.concatenate([query.ravel() for query in rows["Query"]])
        galleries = [gallery.ravel() for gallery in rows["Gallery"]]
        entries = np.concatenate(galleries)
        has_target = np.array([cell.size > 0 for cell in entries["idlocate"]], dtype=bool)
        boxes = np.zeros((len(entries), 4))
        boxes[has_target] = _checked(entries["idlocate"][has_target], f"{path}, gallery box")
        test = GalleryFile(
            names=unpack_strings(queries["idname"]),
            query_frames=_frames(queries["imname"], frame_index),
            query_boxes=_checked(queries["idlocate"], f"{path}, query"),
            gallery=GalleryLists(
                offsets=np.cumsum([0] + [len(gallery) for gallery in galleries]),
                frames=_frames(entries["imname"], frame_index),
                has_target=has_target,
                boxes=boxes,
            ),
        )
        for frames, cells in ((test.query_frames, queries), (test.gallery.frames, entries)):
            if (frames < 0).any():
                unknown = listed(unpack_strings(cells["imname"][frames < 0]))
                raise DatasetError(f"{path} names frames that pool.mat lacks: {unknown}")
    return test


def _frames(cells: Sequence[np.ndarray], frame_index: Mapping[str, int]) -> np.ndarray:
    return np.array([frame_index.get(cell.item(), -1) for cell in cells], dtype=np.int64)


def _stack(locations: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 4) float64 x, y, w, h of boxes that MATLAB stored as integers of various widths."""
    boxes = np.array([location.ravel() for location in locations], dtype=np.float64)
    return boxes.reshape(len(locations), 4)


def _checked(locations: Sequence[np.ndarray], where: str) -> np.ndarray:
    """(N, 4) float64 xyxy; raises DatasetError for what is not a box."""
    boxes = _stack(locations)
    check_boxes(boxes, where)
    return to_xyxy(boxes)
