"""CUHK03 (Li et al., CVPR 2014), as released, with the new protocol (Zhong et al., CVPR 2017).

Complete, boxes labeled by hand / detected:
    train: 7,368 / 7,365 pictures of 767 persons
    test: 1,400 queries and a gallery of 5,328 / 5,332, of 700 persons

The pictures stay in the release's one file of MATLAB 7.3, which takes h5py to read. Each person was
seen by one of five pairs of cameras; ``camera_id`` is the view of the pair, 1 or 2, as in the
protocol.
"""

import re
from pathlib import Path

import numpy as np

from person_search.data.containers import open_hdf5
from person_search.errors import DatasetError

from .disk import parsing
from .matlab import load_mat, unpack_strings
from .records import Split
from .registration import Reader
from .reid import (
    GALLERY,
    QUERY,
    TRAIN,
    Picture,
    make_split,
    require_pictures,
)

_TREE = """\
    cuhk03/ (or CUHK03/ or cuhk03_release/)
        cuhk03_release/cuhk-03.mat                      (or cuhk-03.mat)
        cuhk03_new_protocol_config_labeled.mat
        cuhk03_new_protocol_config_detected.mat"""

_RELEASE = Path("cuhk03_release", "cuhk-03.mat")

_ROLES = {
    "train": {"train_idx": TRAIN},
    "test": {"query_idx": QUERY, "gallery_idx": GALLERY},
}


def _member(name: str, boxes: str) -> str:
    """Where the release keeps a picture of the protocol, "1_002_1_03.png" for one.

    A name counts from 1: pair of cameras, person, view, and column in the pair's matrix of persons
    and pictures.
    """
    match = re.fullmatch(r"(\d)_(\d{3})_[12]_(\d\d)\.png", name)
    pair, person, column = (int(number) - 1 for number in match.groups())
    return f"{boxes}/{pair}/{person}/{column}"


def _check_release(path: Path, boxes: str) -> None:
    with parsing(path), open_hdf5(path) as file:
        if boxes not in file:
            raise DatasetError(f"{path} holds {', '.join(file) or 'nothing'}, not {boxes}")


def _read(folder: Path, split: str, boxes: str) -> Split:
    config = f"cuhk03_new_protocol_config_{boxes}.mat"
    release = folder / _RELEASE
    if not release.exists():
        release = folder / _RELEASE.name
    if not release.exists():
        raise DatasetError(f"{folder} holds no {_RELEASE.name}. Expected\n{_TREE}")
    _check_release(release, boxes)
    path = folder / config
    columns = {key: load_mat(path, key) for key in ("filelist", "labels", "camId", *_ROLES[split])}
    pictures = []
    with parsing(path):
        names = unpack_strings(columns["filelist"])
        raw_ids, cameras = (columns[key].ravel().astype(int) for key in ("labels", "camId"))
        for key, role in _ROLES[split].items():
            rows = columns[key].ravel().astype(np.int64) - 1  # MATLAB counts from 1
            require_pictures(rows.tolist(), f"{path}, {key}")
            for row in rows.tolist():
                file_name = f"mat73://{release}!{_member(names[row], boxes)}"
                pictures.append(
                    Picture(file_name, names[row], int(raw_ids[row]), int(cameras[row]), role)
                )
    return make_split(pictures, "CUHK03")


CUHK03 = Reader(
    title="CUHK03",
    folders=("cuhk03", "CUHK03", "cuhk03_release"),
    markers=("cuhk03_new_protocol_config_{boxes}.mat",),
    tree=_TREE,
    read=_read,
    kind="reid",
    options={"boxes": ("labeled", "detected")},
    counts={
        "cuhk03_labeled_train": {"pictures": 7368, "persons": 767, "cameras": 2},
        "cuhk03_labeled_test": {"queries": 1400, "queried persons": 700, "gallery": 5328}
        | {"persons": 700, "cameras": 2},
        "cuhk03_detected_train": {"pictures": 7365, "persons": 767, "cameras": 2},
        "cuhk03_detected_test": {"queries": 1400, "queried persons": 700, "gallery": 5332}
        | {"persons": 700, "cameras": 2},
    },
)
"""Option ``boxes``: "labeled" by hand or "detected". Test: the queries, then the gallery."""
