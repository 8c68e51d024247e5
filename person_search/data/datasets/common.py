"""What the readers share: finding a data set on disk, .mat files, image sizes, registration.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image
from scipy.io import loadmat, whosmat

from person_search.data.protocols import SearchProtocol
from person_search.errors import DatasetError, ImageError

STREET = "street"
"""Folder of the drawn data below the root of all data sets: ``<root>/street/<size>``."""

SPLITS = ("train", "test")

_EXIF_ORIENTATION = 274

Protocols = Mapping[str, Callable[[], SearchProtocol]]
"""Protocol name -> its loader. The first name is the default protocol of the data set."""


class PersonSearchSet(NamedTuple):
    """One split of a data set.

    Attributes:
        records: one detectron2 standard dict per frame.
        raw_person_ids: the data set's own name of person 0, 1, ...
    """

    records: list[dict]
    raw_person_ids: tuple[int | str, ...]


def find_root(root: str | Path, marker: str | Path, folders: Sequence[str], tree: str) -> Path:
    """The folder of a data set: ``root`` itself where it holds ``marker``, or one inside ``root``.

    Args:
        root: the data set's own folder, or the folder of all data sets.
        marker: a path that every copy of the data set has.
        folders: names under which copies are known, the first that exists is taken.
        tree: what the folder should hold, for the error message.
    """
    root = Path(root)
    if (root / marker).exists():
        return root
    for folder in folders:
        if (root / folder).is_dir():
            return root / folder
    if root.parent.name == STREET:
        remedy = f"Draw it: python datasets/prepare_street.py --size {root.name}"
    else:
        remedy = (
            "Set the environment variable DETECTRON2_DATASETS to the folder that holds "
            f"{folders[0]}, before Python starts. Where to get it: datasets/README.md"
        )
    raise DatasetError(f"No {folders[0]} data set in {root}. Expected\n{tree}\n{remedy}")


def check_split(split: str) -> None:
    """Raises DatasetError for a split that no reader knows."""
    if split not in SPLITS:
        raise DatasetError(f"Unknown split {split!r}; legal are {', '.join(SPLITS)}")


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """Turns whatever parsing ``path`` raises into one DatasetError that names it.

    scipy raises nearly any exception for a damaged file, and numpy for another structure.
    """
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing") from error
    except Exception as error:
        raise DatasetError(
            f"{path} is damaged or not of the expected structure "
            f"({type(error).__name__}: {error}); fetch this file again"
        ) from error


def load_mat(path: Path, *variables: str) -> np.ndarray:
    """The first of ``variables`` that a MATLAB v5 file holds."""
    with parsing(path), path.open("rb") as file:
        contents = loadmat(file, variable_names=variables)
        for variable in variables:
            if variable in contents:
                return contents[variable]
        found = ", ".join(name for name, _, _ in whosmat(file)) or "nothing"
        raise DatasetError(f"{path} holds {found}, not {' or '.join(variables)}")


def unpack_strings(cells: np.ndarray) -> list[str]:
    """The strings of a MATLAB cell array, in column order."""
    return [str(cell.item()) for cell in cells.ravel()]


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def require_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Paths of ``names`` in ``folder``; raises DatasetError unless all of them are there."""
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise DatasetError(f"The folder {folder} cannot be listed: {error.strerror}") from error
    missing = [name for name in names if name not in present]
    if missing:
        raise DatasetError(f"{len(missing)} files are missing in {folder}: {listed(missing)}")
    return [folder / name for name in names]


def check_boxes(boxes: np.ndarray, where: str) -> None:
    """Raises DatasetError for the first of (N, 4) boxes x, y, w, h without a positive area.

    ``where`` says what the boxes are; the message appends the number of the bad one, from 1.
    """
    bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise DatasetError(
            f"{where} {row + 1}: x, y, w, h = {boxes[row].tolist()} is not a box; "
            "correct or remove it"
        )


def to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) boxes x, y, w, h of any number type as float64 xyxy.

    The cast comes first: MATLAB stores small boxes as uint8, and there x + w would overflow.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the file's header, after the rotation that its EXIF data asks for."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            rotated = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path} is not a readable image ({error}); fetch it again") from error
    return (width, height) if rotated else (height, width)


def make_records(
    paths: Sequence[Path],
    image_ids: Sequence[str],
    camera_ids: Sequence[int],
    boxes: Sequence[np.ndarray],
    person_ids: Sequence[np.ndarray],
    domain: str,
) -> list[dict]:
    """detectron2 standard dicts of frames whose boxes are (N, 4) xyxy and person ids (N,)."""
    with ThreadPoolExecutor(8) as pool:  # on a cold or network disk the time goes into waiting
        sizes = list(pool.map(image_size, paths))
    columns = zip(paths, image_ids, camera_ids, sizes, boxes, person_ids, strict=True)
    return [
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


def register_person_search(
    name: str,
    read: Callable[[], PersonSearchSet],
    *,
    dirname: str,
    split: str,
    protocols: Protocols | None = None,
) -> None:
    """Registers a data set with detectron2; nothing is read before it is asked for.

    Once it was loaded, the metadata also holds ``num_person_ids`` and ``raw_person_ids``
    (index -> the data set's own id). Test sets hold ``protocols``.
    """

    def load() -> list[dict]:
        data = read()
        MetadataCatalog.get(name).set(
            num_person_ids=len(data.raw_person_ids), raw_person_ids=data.raw_person_ids
        )
        return [{**record, "domain": name} for record in data.records]

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        evaluator_type="person_search", thing_classes=["person"], dirname=dirname, split=split
    )
    if protocols is not None:
        MetadataCatalog.get(name).set(protocols=protocols)
