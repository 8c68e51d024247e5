"""What the readers share: finding a data set on disk, .mat files, image sizes, registration.

Shape shorthand in this module:
    N: number of boxes of one frame
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from scipy.io import loadmat, whosmat

from person_search.errors import DatasetError
from person_search.images import image_size
from person_search.labels import UNLABELED
from person_search.protocols import SearchProtocol

STREET = "street"
"""Folder of the drawn data below the root of all data sets: ``<root>/street/<size>``."""

SPLITS = ("train", "test")

LARGEST = 1e7
"""No picture has so many pixels on a side: a coordinate beyond it is a mistake."""

Protocols = Mapping[str, Callable[[], SearchProtocol]]
"""Protocol name -> its loader. The first name is the default protocol of the data set."""


class Split(NamedTuple):
    """One split of a data set.

    Attributes:
        records: one detectron2 standard dict per frame, or one crop record per picture of a person.
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
        size, _, domain = root.name.partition("_")
        domains = " --domains" if domain else ""
        remedy = f"Draw it: python datasets/prepare_street.py --size {size}{domains}"
    else:
        remedy = (
            "Set the environment variable DETECTRON2_DATASETS to the folder that holds "
            f"{folders[0]}, before Python starts. Where to get it: datasets/README.md"
        )
    raise DatasetError(f"No {folders[0]} data set in {root}. Expected\n{tree}\n{remedy}")


def check_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raises DatasetError for a split that a data set does not have."""
    if split not in splits:
        raise DatasetError(f"Unknown split {split!r}; legal are {', '.join(splits)}")


@contextmanager
def parsing(path: Path | str) -> Iterator[None]:
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
    """Paths of ``names``, relative to ``folder``; DatasetError unless all of them are there."""
    present = set()
    for parent in dict.fromkeys(map(os.path.dirname, names)):
        try:
            present.update(os.path.join(parent, name) for name in os.listdir(folder / parent))
        except OSError as error:
            raise DatasetError(
                f"The folder {folder / parent} cannot be listed: {error.strerror}"
            ) from error
    missing = [name for name in names if name not in present]
    if missing:
        raise DatasetError(f"{len(missing)} files are missing in {folder}: {listed(missing)}")
    return [folder / name for name in names]


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
    known = np.unique(np.concatenate([np.zeros(0), *raw_ids]))
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


class _PicklesOfPlainData(pickle.Unpickler):
    """Lists, dicts, numbers and strings only: any other pickle can run code when it is read."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def load_pickle(path: Path) -> object:
    """Plain data of a pickle file, which is not let run code."""
    with parsing(path), path.open("rb") as file:
        return _PicklesOfPlainData(file).load()


def register_split(
    name: str,
    read: Callable[[], Split],
    *,
    dirname: str | Path,
    split: str,
    evaluator_type: str = "person_search",
    protocols: Protocols | None = None,
) -> None:
    """Registers a split of a data set with detectron2; nothing is read before it is asked for.

    Once it was loaded, the metadata also holds ``num_person_ids`` and ``raw_person_ids``
    (index -> the data set's own id).

    Args:
        name: what configs call it.
        read: reads it.
        dirname: the root that it was registered with.
        split: its name within the data set.
        evaluator_type: "person_search": frames with persons of known identity | "detection": frames
            with persons | "reid": pictures of one person each.
        protocols: of a test set of person search.
    """

    def load() -> list[dict]:
        data = read()
        MetadataCatalog.get(name).set(
            num_person_ids=len(data.raw_person_ids), raw_person_ids=data.raw_person_ids
        )
        return [{**record, "domain": name} for record in data.records]

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        evaluator_type=evaluator_type, thing_classes=["person"], dirname=str(dirname), split=split
    )
    if protocols is not None:
        MetadataCatalog.get(name).set(protocols=protocols)
