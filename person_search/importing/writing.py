"""Writes a prepared data set: what :mod:`person_search.data.readers.coco_style` reads."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from person_search.data.readers.coco_style import FORMAT, MARKER
from person_search.errors import ConfigError, DatasetError
from person_search.files import atomic_write

from .annotated import Frame, PersonId
from .naming import common_folder
from .split import Sides, persons_of


def check_name(name: str) -> None:
    """Raises ConfigError for a name that is awkward in a file system or a config."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigError(
            f"{name!r} cannot be the name of a data set: legal are letters, digits, _ and -, of "
            "which a letter or digit comes first"
        )


def write_dataset(
    folder: Path, sides: Sides, kind: str, how: str = "", overwrite: bool = False
) -> None:
    """Writes ``<folder>/train.json``, ``test.json`` (a side without frames: none) and the marker.

    Pictures stay where they are: the marker names their folder, relative to ``folder`` if inside.

    Args:
        folder: of the data set; made if needed.
        sides: checked frames with sizes, and queries on the test side.
        kind: "frames" or "crops".
        how: the command that made it, which the marker keeps.
        overwrite: a data set that was written to this folder before.

    Raises:
        DatasetError: the folder holds a data set or other files of these names.
    """
    root = common_folder(sides.train + sides.test)
    number, names = _number_cameras(sides)
    written = {split: _coco(frames, root, number) for split, frames in sides._asdict().items()}
    paths = {split: folder / f"{split}.json" for split in sides._fields}
    marker = folder / MARKER
    if overwrite and marker.exists():
        for path in (marker, *paths.values()):
            path.unlink(missing_ok=True)
    taken = [str(path) for path in (marker, *paths.values()) if path.exists()]
    if taken:
        raise DatasetError(
            f"{', '.join(taken)} would be overwritten: choose another name"
            + (" or say --overwrite" if marker.exists() else "")
        )
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in written.items():
        if content["images"]:
            _write(paths[split], content)
    inside = Path(root).is_relative_to(folder.resolve())
    where = os.path.relpath(root, folder.resolve()) if inside else root
    marked = {
        "format": FORMAT,
        "kind": kind,
        "images": where,
        "protocols": _protocols(sides.test),
        "cameras": names,
        "made": how,
    }
    with atomic_write(marker) as temporary:
        text = json.dumps(marked, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _write(path: Path, content: dict[str, list[dict]]) -> None:
    """As JSON with a line for every element of the lists, so that the number of a line says one."""
    lists = []
    for key, items in content.items():
        lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
        lists.append(f'"{key}": [\n{lines}\n]')
    with atomic_write(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lists) + "\n}\n", encoding="utf-8")


def _protocols(test: list[Frame]) -> list[str]:
    """Those that the test side has queries for: across cameras, if all of them are known."""
    cameras_of: dict[PersonId | None, set] = defaultdict(set)
    for frame in test:
        for person in persons_of(frame):
            cameras_of[person].add(frame.camera)
    queried = {b.person_id for f in test for b in f.boxes if b.is_query}
    known = all(f.camera is not None for f in test)
    across = known and any(len(cameras_of[person]) > 1 for person in queried)
    return ["regular", "multi_view"] if across else ["regular"]


def _number_cameras(sides: Sides) -> tuple[Callable, dict[str, int]]:
    """The number of a frame's camera, and the number of each camera that has a name.

    Cameras with numbers keep them; where one has a name, all are counted from 1.
    """
    cameras = {f.camera for f in sides.train + sides.test} - {None}
    if all(isinstance(camera, int) for camera in cameras):
        return (lambda camera: camera), {}
    names = {name: number for number, name in enumerate(sorted(map(str, cameras)), start=1)}
    return (lambda camera: None if camera is None else names[str(camera)]), names


def _coco(frames: list[Frame], root: str, number: Callable) -> dict[str, list[dict]]:
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, frame in enumerate(frames, start=1):
        height, width = frame.size or (0, 0)  # of checked frames it is known
        image = {
            "id": image_id,
            "file_name": os.path.relpath(frame.path, root).replace(os.sep, "/"),
            "width": width,
            "height": height,
            "camera_id": number(frame.camera),
            "time": frame.time,
        }
        images.append({key: value for key, value in image.items() if value is not None})
        for box in frame.boxes:
            xywh = (0.0, 0.0, width, height) if box.xywh is None else box.xywh
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [int(v) if v == int(v) else v for v in xywh],
                "area": round(xywh[2] * xywh[3], 2),
                "iscrowd": int(box.ignore),
                "person_id": None if box.ignore else box.person_id,
                "ignore": int(box.ignore) or None,
                "query": int(box.is_query) or None,
            }
            annotations.append({k: value for k, value in annotation.items() if value is not None})
    categories = [{"id": 1, "name": "person"}]
    return {"images": images, "annotations": annotations, "categories": categories}
