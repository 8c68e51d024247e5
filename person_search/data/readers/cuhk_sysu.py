"""CUHK-SYSU (Xiao et al., CVPR 2017): street photos and film frames, no cameras.

Complete: 18,184 frames with 8,432 persons.
    train: 11,206 frames, 5,532 persons
    test: 6,978 frames (the pool), 2,900 queries of 2,900 persons; galleries of 50 to 4,000 frames

Boxes without area are dropped, as everybody does; the others are kept as annotated, 0-based.

Shape shorthand in this module:
    F: number of frames of the split
    N: number of boxes of one frame
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from person_search.errors import DatasetError
from person_search.labels import UNLABELED
from person_search.protocols import GalleryRule, SearchProtocol

from .cuhk_sysu_mat import (
    Labels,
    read_images,
    read_pool,
    read_test,
    read_train,
)
from .disk import listed, require_files
from .records import Split, make_records
from .registration import Copy, Reader

logger = logging.getLogger(__name__)

_TREE = """\
    CUHK-SYSU/ (or cuhk_sysu/ or dataset/)
        Image/SSM/                        s1.jpg ...
        annotation/                       Images.mat  pool.mat
        annotation/test/train_test/       Train.mat  TestG50.mat  TestG100.mat ...
        annotation/test/subset/           Occlusion.mat  Resolution.mat (optional)"""

_IMAGES = Path("annotation", "Images.mat")
_TRAIN_TEST = Path("annotation", "test", "train_test")
_SUBSET = Path("annotation", "test", "subset")
_SUBSET_FILES = {
    "occlusion": ("Occlusion.mat", "Occlusion1"),
    "resolution": ("Resolution.mat", "Test_Size"),
}
_DEFAULT_SIZE = 100


def _gallery_files(folder: Path) -> dict[int, tuple[Path, str]]:
    """Gallery size -> (file, its MATLAB variable) of the TestG files on disk, ascending."""
    try:
        names = os.listdir(folder / _TRAIN_TEST)
    except FileNotFoundError:
        names = []
    matches = [re.fullmatch(r"TestG(\d+)\.mat", name) for name in names]
    sizes = sorted(int(match[1]) for match in matches if match)
    return {size: (folder / _TRAIN_TEST / f"TestG{size}.mat", f"TestG{size}") for size in sizes}


def _protocol_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Protocol -> (file, its MATLAB variable) of those on disk, the default first."""
    galleries = _gallery_files(folder)
    if not galleries:
        raise DatasetError(f"{folder / _TRAIN_TEST} holds no TestG<size>.mat, the test queries")
    smallest = next(iter(galleries))
    default = _DEFAULT_SIZE if _DEFAULT_SIZE in galleries else smallest
    files = {f"gallery_{default}": galleries[default]}
    files |= {f"gallery_{size}": file for size, file in galleries.items()}
    files["full"] = galleries[smallest]
    for name, (file, variable) in _SUBSET_FILES.items():
        if (folder / _SUBSET / file).exists():
            files[name] = (folder / _SUBSET / file, variable)
    return files


def _assign(labels: Labels, boxes: Sequence[np.ndarray], path: Path) -> list[np.ndarray]:
    """Person ids of the (N, 4) boxes of F frames: UNLABELED unless a label has that very box."""
    person_ids = [np.full(len(frame_boxes), UNLABELED) for frame_boxes in boxes]
    unmatched = []
    columns = zip(labels.frames.tolist(), labels.boxes, labels.persons.tolist(), strict=True)
    for frame, box, person in columns:
        same = (boxes[frame] == box).all(axis=1) if frame >= 0 else np.zeros(0)
        if same.any():
            person_ids[frame][same.argmax()] = person
        else:
            unmatched.append(labels.names[person])
    if unmatched:
        logger.warning(
            "%d of %d labeled boxes of %s are no box of Images.mat (persons %s)",
            len(unmatched), len(labels.boxes), path, listed(unmatched),
        )  # fmt: skip
    return person_ids


def _read(folder: Path, split: str) -> Split:
    all_boxes, num_dropped = read_images(folder / _IMAGES)
    if num_dropped:
        logger.info("Dropped %d boxes without area of %s", num_dropped, folder / _IMAGES)
    pool_file = folder / "annotation" / "pool.mat"
    pool = read_pool(pool_file)
    if unknown := [name for name in pool if name not in all_boxes]:
        raise DatasetError(f"{pool_file} names frames that Images.mat lacks: {listed(unknown)}")
    names = pool if split == "test" else sorted(all_boxes.keys() - set(pool))
    if not names:
        raise DatasetError(f"{pool_file} and Images.mat leave no {split} frame")
    paths = require_files(folder / "Image" / "SSM", names)
    boxes = [all_boxes[name] for name in names]
    frame_index = {name: index for index, name in enumerate(names)}
    if split == "train":
        path = folder / _TRAIN_TEST / "Train.mat"
        labels = read_train(path, frame_index)
    else:
        # Every size names the same persons and boxes: the smallest file is the quickest to read.
        path, variable = _protocol_files(folder)["full"]
        labels = read_test(path, variable, frame_index).labels()
    person_ids = _assign(labels, boxes, path)
    if not any((ids >= 0).any() for ids in person_ids):
        raise DatasetError(f"No box of the {split} frames in {folder} carries a person id")
    records = make_records(paths, names, [-1] * len(names), boxes, person_ids, "CUHK-SYSU")
    return Split(records, tuple(labels.names))


@cache  # evaluator and loader both ask, and a large gallery file takes a minute
def _load_protocol(copy: Copy, protocol: str, title: str) -> SearchProtocol:
    records, raw_ids = copy.load("test")
    path, variable = _protocol_files(copy.folder("test"))[protocol]
    frame_index = {record["image_id"]: index for index, record in enumerate(records)}
    test = read_test(path, variable, frame_index)
    # The files need not list the queries in one order: a person is found by name.
    person_index = {name: index for index, name in enumerate(raw_ids)}
    if unknown := [name for name in test.names if name not in person_index]:
        raise DatasetError(f"{path} asks for persons that are in no TestG file: {listed(unknown)}")
    return SearchProtocol(
        name=f"{title}, {protocol.replace('_', ' ')}",
        query_frames=test.query_frames,
        query_boxes=test.query_boxes,
        query_ids=np.array([person_index[name] for name in test.names]),
        gallery=GalleryRule.OTHER_FRAMES if protocol == "full" else test.gallery,
    )


class _ProtocolsOnDisk(Mapping[str, Callable[[], SearchProtocol]]):
    """The protocols whose files exist, looked up when asked: registration reads nothing.

    "gallery_100" (default) and the other "gallery_<size>": the explicit lists of TestG<size>.mat,
    rows kept as they are, doubled and own frames included. "full": all other frames of the pool.
    "occlusion", "resolution": subsets of the queries. Frame indices refer to the records of the
    test split. Where TestG100.mat is missing the smallest is the default.
    """

    def __init__(self, copy: Copy, title: str):
        self.copy = copy
        self.title = title

    def _files(self) -> dict[str, tuple[Path, str]]:
        return _protocol_files(self.copy.folder("test"))

    def __getitem__(self, name: str) -> Callable[[], SearchProtocol]:
        if name not in (files := self._files()):
            raise KeyError(f"{name} (there are {', '.join(files)})")
        return partial(_load_protocol, self.copy, name, self.title)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files())

    def __len__(self) -> int:
        return len(self._files())


CUHK_SYSU = Reader(
    title="CUHK-SYSU",
    folders=("CUHK-SYSU", "cuhk_sysu", "dataset"),
    markers=(str(_IMAGES),),
    tree=_TREE,
    read=_read,
    protocols_of=_ProtocolsOnDisk,
    counts={
        "cuhk_sysu_train": {"frames": 11206, "boxes": 55272, "persons": 5532},
        "cuhk_sysu_test": {"frames": 6978, "boxes": 40871, "labeled boxes": 8345, "persons": 2900}
        | {"queries": 2900, "queried persons": 2900}
        | {"gallery rows": 290000, "gallery targets": 5447},
    },
)
"""Frames without cameras, test in the order of the pool, train by name ("s123.jpg")."""
