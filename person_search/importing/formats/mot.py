"""Sequences of MOTChallenge, and of programs that export its format: tracks are persons.

    MOT17-02-FRCNN/
        gt/gt.txt        frame, track, x, y, width, height, flag, class, visibility
        gt/labels.txt    (of CVAT and Datumaro) the names of classes 1, 2, ...
        img1/            000001.jpg ...
        seqinfo.ini      (optional) imDir, seqLength, imWidth, imHeight

A person is class 1, pedestrian, with flag 1. Flag 0, and people who are no walking pedestrians (2
on a vehicle, 7 static, 8 distractor, 12 reflection, 13 crowd), are regions to ignore; other classes
are left out. MOT15 has no classes: its rows end in -1, -1, -1, and every row with flag 1 is a
person. With a ``labels.txt`` the class that ``--categories`` names is the person. Frames are
counted from 1; pixels too, but from 0 by the programs that write a ``labels.txt``.
"""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path

from person_search.data.readers.mot17det import IGNORED, PERSONS

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import frames_of_video, numbered
from ..reading import Reading
from .files import read_rows, read_text

CLASSES = {
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non motorized vehicle",
    9: "occluder",
    10: "occluder on the ground",
    11: "occluder full",
}
"""Of MOT16, MOT17 and MOT20: what is left out."""

_DETECTOR = re.compile(r"(MOT\d+-\d+)-(?:DPM|FRCNN|SDP)$")


def expand(path: Path) -> list[Path]:
    """The sequences of a folder that is none itself."""
    if (path / "gt").is_dir() or (path / "img1").is_dir():
        return [path]
    return sorted(p.parent.parent for p in path.glob("**/gt/gt.txt")) or [path]


def recording(path: Path) -> str:
    """What a sequence shows: MOT17 has every recording three times, once for each detector."""
    match = _DETECTOR.match(path.name)
    return match[1] if match else str(path)


def read(path: Path, reading: Reading) -> list[Frame]:
    """All frames of a sequence, those without anybody included; its name is the camera."""
    info = _read_info(path / "seqinfo.ini", reading)
    pictures = numbered(path / (reading.options.images or info.get("imdir", "img1")), reading)
    size = None
    try:
        size = values.picture_size(info.get("imheight"), info.get("imwidth"))
        length = values.whole(info.get("seqlength", len(pictures)))
    except ValueError as error:
        reading.fault(Place(path / "seqinfo.ini"), str(error), is_fatal=True)
        return []
    if pictures and length != len(pictures):
        message = f"seqLength is {length}, but there are {len(pictures)} pictures"
        reading.fault(Place(path / "seqinfo.ini"), message)
    place, rows = Place(path / "gt" / "gt.txt"), _read_boxes(path, reading)
    return frames_of_video(pictures, rows, 1, place, reading, size, camera=path.name)


def _read_info(path: Path, reading: Reading) -> dict[str, str]:
    text = read_text(path, reading) if path.exists() else None
    if text is None:
        return {}
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        return dict(parser["Sequence"])
    except (IniError, KeyError) as error:
        message = f"not a seqinfo.ini with a section [Sequence] ({type(error).__name__})"
        reading.fault(Place(path), message, is_fatal=True)
        return {}


def _classes(folder: Path, reading: Reading) -> dict[int, str] | None:
    """Number of a class -> its name; None without a file that names them."""
    path = folder / "gt" / "labels.txt"
    if not path.exists():
        return None
    names = enumerate((read_text(path, reading) or "").splitlines(), start=1)
    classes = {number: name.strip() for number, name in names if name.strip()}
    for name in classes.values():
        reading.declare(name, Place(path))
    return classes


def _read_boxes(folder: Path, reading: Reading) -> Iterator[tuple[int, Box]]:
    """Frame number and box of the rows of gt.txt."""
    path, own_classes = folder / "gt" / "gt.txt", _classes(folder, reading)
    origin = reading.options.pixel_origin
    if origin is None:
        origin = 1 if own_classes is None else 0
        reading.note(f"{path}: pixels are counted from {origin} (--pixel-origin)")
    for place, fields in read_rows(path, reading):
        try:
            number, track = values.whole(fields[0]), values.whole(fields[1])
            flag = values.whole(fields[6])
            kind = values.whole(fields[7]) if len(fields) > 7 else -1
            if flag not in (0, 1):
                raise ValueError(f"flag {flag}: expected 0 or 1")
        except (ValueError, IndexError) as error:
            expected = "expected frame, track, x, y, width, height, flag, class, visibility"
            reading.fault(
                place, f"{expected} ({error}); found {','.join(fields)[:80]!r}", loses="boxes"
            )
            continue
        label, ignore = None, flag == 0
        if own_classes is not None:
            label = own_classes.get(kind, f"class {kind}")
        elif kind in IGNORED:
            ignore = True
        elif kind not in PERSONS:
            reading.tally.leave("boxes", f"class {kind}, {CLASSES.get(kind, 'unknown')}")
            continue
        box = reading.box(place, _from_zero(fields[2:6], origin), track, label, ignore=ignore)
        if box is not None:
            yield number, box


def _from_zero(xywh: list[str], origin: int) -> list:
    """The fields x, y, width, height as numbers from pixel 0 on; as they are if they are none."""
    try:
        x, y, width, height = values.box(xywh)
    except ValueError:
        return xywh
    return [x - origin, y - origin, width, height]
