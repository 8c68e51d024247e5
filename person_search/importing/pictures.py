"""Where the pictures are that annotations name: found by evidence, or a fault that shows both.

Exports are made on other machines: with backslashes, percent signs, folders of the server, another
case of the suffix, frames counted from 0 or from 1.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .annotated import Box, Frame, Place
from .reading import Reading

SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .bmp .webp .tif .tiff .gif .jp2 .ppm .pgm .heic .heif .avif".split()
)
"""Of pictures that can be read, in lower case."""

BESIDE = ("images", "JPEGImages", "data", "frames", "img1", "pictures")
"""Folders of pictures beside the one of the annotations, in the layouts of exporters."""

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded."""


def walk(folder: str | Path, reading: Reading | None = None) -> Iterator[str]:
    """Paths of all files below a folder, sorted; linked folders, too, but no link to above.

    Args:
        folder: where to begin.
        reading: gets folders that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if reading is not None:
            message = f"cannot be listed: {error.strerror}"
            reading.fault(Place(error.filename), message, is_fatal=True)

    above: dict[str, tuple[str, ...]] = {str(folder): (os.path.realpath(folder),)}
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        lineage = above.pop(parent)
        kept = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            real = os.path.realpath(path)
            if real not in lineage:
                above[path] = (*lineage, real)
                kept.append(name)
        folders[:] = kept
        yield from (os.path.join(parent, name) for name in sorted(names))


def is_picture(name: str) -> bool:
    """Whether the suffix is one of a picture that can be read."""
    return name.lower().endswith(SUFFIXES)


def picture_folders(annotations: Path, images: str | None) -> list[Path]:
    """Where the pictures of a file or folder of annotations may be.

    Args:
        annotations: the file or folder.
        images: what the user said, relative to the folder of the annotations; None: nothing. Then
            it is that folder, or one with a usual name in it or beside it.
    """
    folder = annotations if annotations.is_dir() else annotations.parent
    if images is not None:
        return [folder / images]
    beside = [place / name for place in (folder, folder.parent) for name in BESIDE]
    return [folder, *(path for path in beside if path.is_dir())]


class Pictures:
    """The pictures below some folders, and which of them a name in the annotations means.

    A name is, in this order: a path from one of the folders; the end of the path of exactly one
    picture; with its first folders left out, a path from one of the folders, which has to be the
    same folders for all names; or one of these in another case, without the prefix of an upload,
    or without suffix.

    Args:
        folders: where to look.
    """

    def __init__(self, folders: Iterable[Path]):
        self.folders = [Path(os.path.normpath(folder)) for folder in folders]
        self._ends: dict[str, list[str]] | None = None
        self._prefix: str | None = None
        self._found: dict[str, str] = {}

    def find(self, name: Any, place: Place, reading: Reading) -> str | None:
        """The path of a picture; None, and a fault, where it is not clear which one it is."""
        if not isinstance(name, str):
            reading.fault(place, f"the name of the picture is {name!r}, no text", loses="pictures")
            return None
        written = [name, *_spellings(name)]
        for spelling in written:
            for folder in self.folders:
                path = os.path.normpath(folder / spelling)
                if os.path.isfile(path):
                    return self._take(path, name, place, reading)
        for spelling in dict.fromkeys(written):
            found = self._by_end(spelling)
            if len(found) == 1:
                return self._take(found[0], name, place, reading)
            if len(found) > 1:
                shown = " or ".join(found[:2])
                message = f"the picture {name} may be {shown}: say --images"
                reading.fault(place, message, loses="pictures")
                return None
        for spelling in dict.fromkeys(written):
            prefix, there = self._without_folders(spelling)
            if there is not None and self._prefix in (None, prefix):
                self._prefix = prefix
                return self._take(there, name, place, reading)
        reading.fault(place, self._missing(name), loses="pictures")
        return None

    def _take(self, path: str, name: str, place: Place, reading: Reading) -> str | None:
        other = self._found.setdefault(path, name)
        if other != name:
            message = f"{name} and {other} are both the picture {path}: say --images"
            reading.fault(place, message, is_fatal=True)
            return None
        return path

    def _index(self) -> dict[str, list[str]]:
        """Every end of every path, in lower case -> the pictures that end so."""
        if self._ends is None:
            self._ends = defaultdict(list)
            for path in dict.fromkeys(p for folder in self.folders for p in walk(folder)):
                if is_picture(path):
                    self._ends[os.path.basename(path).lower()].append(path)
        return self._ends

    def _by_end(self, name: str) -> list[str]:
        """Pictures whose path ends so: as it is written, else in another case or suffix."""
        ends = self._index()
        base = os.path.basename(name)
        for candidate in (base, _UPLOADED.sub("", base)):
            end = "/" + name[: len(name) - len(base)] + candidate
            near = ends.get(candidate.lower(), [])
            exact = [path for path in near if path.endswith(end)]
            found = exact or [path for path in near if path.lower().endswith(end.lower())]
            if found:
                return found
        if not is_picture(name):
            return [path for suffix in SUFFIXES for path in self._by_end(name + suffix)]
        return []

    def _without_folders(self, name: str) -> tuple[str, str | None]:
        parts = name.split("/")
        for k in range(1, len(parts)):
            for folder in self.folders:
                wanted = os.path.normpath(folder.joinpath(*parts[k:]))
                near = self._index().get(os.path.basename(wanted).lower(), [])
                near = [path for path in near if path.lower() == wanted.lower()]
                if len(near) == 1:
                    return "/".join(parts[:k]), near[0]
        return "", None

    def _missing(self, name: str) -> str:
        where = " and ".join(map(str, self.folders[:3]))
        base = os.path.basename(_spellings(name)[-1]).lower()
        near = self._index().get(base, [])
        if near:
            return (
                f"the picture {name} is not in {where}; there is {near[0]}, another one? (--images)"
            )
        some = next(iter(self._index().values()), None)
        there = f"; pictures there are called like {some[0]}" if some else ", where no picture is"
        return f"the picture {name} is missing in {where}{there} (--images)"

    def count_unnamed(self, reading: Reading) -> None:
        """Counts what lies in the folders of the pictures and is in no annotation."""
        used = {os.path.realpath(path) for path in self._found}
        for folder in sorted({os.path.dirname(path) for path in self._found}):
            for name in sorted(os.listdir(folder)):
                path = os.path.join(folder, name)
                if is_picture(name) and os.path.realpath(path) not in used:
                    reading.tally.leave("pictures", "not in the annotations", path)


def _spellings(name: str) -> list[str]:
    """Other ways of writing a path, from the likeliest on; with "/" between folders."""
    plain = re.sub(r"^file://(localhost)?", "", name.replace("\\", "/"))
    # Label Studio: /data/local-files/?d=a/b.jpg and /data/upload/3/1234abcd-b.jpg
    plain = plain.partition("?d=")[2] or plain
    plain = re.sub(r"^(.*/)?(data|media)/upload/(\d+/)?|^/?data/media/", "", plain)
    plain = re.sub(r"^([A-Za-z]:)?/+", "", plain)
    return list(dict.fromkeys([plain, unquote(plain)]))


def numbered(folder: Path, reading: Reading) -> dict[int, str]:
    """Frame number at the end of a picture's name -> its path, in the order of numbers."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reading.fault(Place(folder), f"cannot be listed: {error.strerror}", is_fatal=True)
        return {}
    pictures: dict[int, str] = {}
    for name in names:
        path = os.path.join(folder, name)
        match = re.search(r"(\d+)\.\w+$", name)
        if not is_picture(name):
            reading.tally.leave("pictures", f"suffix {os.path.splitext(name)[1] or 'none'}", path)
        elif match is None:
            message = "the name has no number of a frame"
            reading.fault(Place(path), message, loses="pictures")
        elif int(match[1]) in pictures:
            message = f"a second frame {int(match[1])}"
            reading.fault(Place(path), message, loses="pictures")
        else:
            pictures[int(match[1])] = path
    if not pictures:
        reading.fault(Place(folder), "holds no picture", is_fatal=True)
    return dict(sorted(pictures.items()))


def match_numbers(
    rows: set[int], pictures: Iterable[int], usual: int, place: Place, reading: Reading
) -> int:
    """What to add to the frame number of a row to have the number of its picture.

    Annotations and pictures may both be counted from 0 or from 1. Pictures that begin like the
    format are numbered like it. Else the rows have to fit in one way alone:
    with pictures 0..9 and rows 1..10, row 1 is picture 0; rows 2..9 may be either.

    Args:
        rows: numbers in the annotations.
        pictures: numbers of the pictures.
        usual: the number of the first frame in this format.
        place: of the annotations.
        reading: gets a fault where it is not clear.
    """
    numbers = set(pictures)
    if not rows or not numbers:
        return 0
    start = min(numbers)
    if reading.options.first_frame is not None:
        return start - reading.options.first_frame
    if start not in (0, 1):
        return 0
    shifts = [shift for shift in (0, start - usual) if {r + shift for r in rows} <= numbers]
    if start == usual:
        # Rows that only fit when shifted count from the other number.
        shifts = [s for s in (0, 1, -1) if {r + s for r in rows} <= numbers][:1]
    if len(set(shifts)) > 1:
        reading.fault(
            place,
            f"frames {min(rows)} to {max(rows)}, and pictures {start} to {max(numbers)}: say "
            "whether the annotations count frames from 0 or from 1 (--first-frame)",
            is_fatal=True,
        )
    shift = shifts[0] if shifts else 0
    if shift:
        reading.note(f"{place.path}: frame {min(rows)} is the picture numbered {min(rows) + shift}")
    return shift


def frames_of_video(
    pictures: dict[int, str],
    rows: Iterable[tuple[int, Box]],
    usual: int,
    place: Place,
    reading: Reading,
    size: tuple[int, int] | None,
    camera: str,
) -> list[Frame]:
    """All pictures of a video, those without anybody included; their numbers are their times.

    Args:
        pictures: number -> path.
        rows: frame number in the annotations, and a box.
        usual: the number of the first frame in this format.
        place: of the annotations.
        reading: gets rows without a picture.
        size: (height, width) of all frames, where it is known.
        camera: its name.
    """
    rows = list(rows)
    shift = match_numbers({number for number, _ in rows}, pictures, usual, place, reading)
    boxes: dict[int, list[Box]] = {number: [] for number in pictures}
    for number, box in rows:
        if number + shift in boxes:
            boxes[number + shift].append(box)
        else:
            reading.fault(box.place, f"frame {number} has no picture", loses="boxes")
    return [
        Frame(path, size, tuple(boxes[number]), place, camera=camera, time=number)
        for number, path in pictures.items()
    ]


def folder_of_video(annotations: Path, reading: Reading) -> Path:
    """The folder that holds the numbered pictures of a file of annotations, by evidence.

    It is the one that the user named; one that is called like the file; or the first of
    :func:`picture_folders` with such pictures in it.
    """
    images = reading.options.images
    if images is not None:
        return annotations.parent / images
    folders = [annotations.parent / annotations.stem, *picture_folders(annotations, None)]
    for folder in folders:
        if folder.is_dir() and any(re.search(r"\d\.\w+$", p.name) for p in folder.iterdir()):
            if any(is_picture(path.name) for path in folder.iterdir()):
                return folder
    return folders[1]
