"""Rows of a gallery as a folder that annotation programs take: pictures, and boxes as COCO.

    FOLDER/annotations.json
    FOLDER/images/yard/1.jpg           a picture, below the deepest folder of all pictures
    FOLDER/images/gate.mp4_000250.jpg  frame 250 of a film

CVAT and Label Studio import both; what they export, or the folder itself, comes back through
``tools/prepare_dataset.py --from coco``.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from person_search.errors import GalleryError, ImageError
from person_search.files import atomic_write
from person_search.images import open_header
from person_search.tally import Tally

from .engines import GalleryIndex
from .persons import Filter, Key, Persons
from .sources import SourceFile
from .trust import Pictures

COPIED = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
"""Suffixes of pictures that every program reads; others are written as JPEG."""

NOT_NAMED = "outside of the folders that you named (--pictures)"

JPEG_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF; 1 is upright
_CATEGORY = {"id": 1, "name": "person"}


def export_coco(
    gallery: GalleryIndex,
    folder: str,
    pictures: Pictures,
    where: Filter | None = None,
    confirmed: Mapping[Key, str] | None = None,
) -> Tally:
    """Write the pictures of the rows that fit, and their boxes.

    Args:
        gallery: whose.
        folder: is made; it must not hold annotations already.
        pictures: those that may be opened.
        where: which rows.
        confirmed: row -> name of the person, where somebody confirmed it. All others are persons
            without identity.

    Returns:
        What was written, and what was left out and why.

    Raises:
        GalleryError: there are annotations in the folder, or it cannot be written.
    """
    target, confirmed, tally = Path(folder) / "annotations.json", confirmed or {}, Tally()
    if target.exists():
        raise GalleryError(f"{target} is there already: name another folder, or move it away")
    frames = _frames(gallery.rows(where, embeds=False))
    for picture, frame in [key for key in frames if not pictures.may_open(key[0])]:
        rows = frames.pop((picture, frame))
        tally.leave("pictures", NOT_NAMED, picture)
        tally.leave("persons", f"of a picture {NOT_NAMED}", number=len(rows))
    root = _common_folder(picture for picture, _ in frames)
    cameras = {name: i for i, name in enumerate(sorted({r.camera[0] for r in frames.values()}), 1)}
    images: list[dict] = []
    annotations: list[dict] = []
    for (picture, frame), rows in sorted(frames.items()):
        try:
            name = os.path.relpath(picture, root)
            name, size = _write(pictures, rows, picture, Path(folder) / "images", name)
        except ImageError as error:
            tally.leave("pictures", "not readable", str(error))
            tally.leave("persons", "of a picture that is not readable", number=len(rows))
            continue
        except OSError as error:
            raise GalleryError(f"cannot write to {folder}: {error.strerror or error}") from error
        camera = rows.camera[0]
        image = {"id": len(images) + 1, "file_name": name, "height": size[0], "width": size[1]}
        if camera:
            image |= {"camera_id": cameras[camera], "camera": camera}
        if rows.time[0] >= 0:
            image |= {"time": int(rows.time[0]) / 1000, "date_captured": _iso(rows.time[0])}
        images.append(image)
        tally.take("pictures")
        for row in range(len(rows)):
            person = confirmed.get((picture, frame, int(rows.number[row])))
            annotation = _annotation(len(annotations) + 1, image, rows.box[row], rows.score[row])
            if person is not None:
                annotation["attributes"] = {"person_id": person}
                tally.take("confirmed persons")
            annotations.append(annotation)
            tally.take("persons")
    content = {"images": images, "annotations": annotations, "categories": [_CATEGORY]}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise GalleryError(f"cannot write {target}: {error.strerror or error}") from error
    return tally


def read_confirmed(paths: Iterable[str]) -> dict[Key, str]:
    """The persons of files that ``search --json`` printed, without the hits that somebody took out.

    Each search of a file is one person, who has the name of the file; with several searches, their
    labels are part of the name, as in "party/person 2".

    Raises:
        GalleryError: a file is no such output, or one row is confirmed as two persons.
    """
    confirmed: dict[Key, str] = {}
    for path in paths:
        try:
            searches = json.loads(Path(path).read_text(encoding="utf-8"))["searches"]
            found = [
                (search["label"], (hit["picture"], int(hit["frame"]), int(hit["number"])))
                for search in searches
                for hit in search["hits"]
            ]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise GalleryError(f"{path} is not what search --json prints: {error}") from error
        for label, key in found:
            name = Path(path).stem if len(searches) == 1 else f"{Path(path).stem}/{label}"
            other = confirmed.setdefault(key, name)
            if other != name:
                raise GalleryError(
                    f"person {key[2]} of {key[0]} is confirmed as {other} and as {name}: take the "
                    "hit out of one of the files"
                )
    return confirmed


def _frames(parts: Iterable[Persons]) -> dict[tuple[str, int], Persons]:
    """(picture, frame) -> its rows, by their numbers."""
    found: dict[tuple[str, int], list[Persons]] = defaultdict(list)
    for part in parts:
        rows: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row, key in enumerate(zip(part.picture, part.frame.tolist(), strict=True)):
            rows[key].append(row)
        for key, of_frame in rows.items():
            found[key].append(part[of_frame])
    frames = {key: Persons.concatenate(parts) for key, parts in found.items()}
    return {key: rows[np.argsort(rows.number)] for key, rows in frames.items()}


def _common_folder(pictures: Iterable[str]) -> str:
    folders = {os.path.dirname(picture) for picture in pictures}
    return os.path.commonpath(folders) if folders else ""


def _write(
    pictures: Pictures, rows: Persons, picture: str, folder: Path, name: str
) -> tuple[str, tuple[int, int]]:
    """Write the picture of a frame; its name in the folder, and its height and width.

    A picture that is upright as it is stored is copied; others are written as they are shown, since
    programs differ in whether they turn a picture by its EXIF data.
    """
    source = SourceFile(picture)
    if source.is_video:
        name = f"{name}_{int(rows.frame[0]):06d}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_video and target.suffix.lower() in COPIED:
        with open_header(picture) as header:
            is_upright, (width, height) = header.getexif().get(_ORIENTATION, 1) == 1, header.size
        if is_upright:
            shutil.copyfile(picture, target)
            return target.relative_to(folder).as_posix(), (height, width)
    image = pictures.read(picture, float(rows.seconds[0]))
    target = target.with_name(f"{target.name}.jpg")
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    target.write_bytes(jpeg.tobytes())
    return target.relative_to(folder).as_posix(), image.shape[:2]


def _annotation(number: int, image: dict, box: np.ndarray, score: float) -> dict:
    """A COCO annotation of a xyxy box, which is rounded and lies in its picture."""
    x1, y1, x2, y2 = (round(float(v), 2) for v in box)
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, image["width"]), min(y2, image["height"])
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image["id"],
        "category_id": _CATEGORY["id"],
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": round(float(score), 4),
    }


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, timezone.utc).isoformat()
