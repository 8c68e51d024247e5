"""Sequences of MOTChallenge, and of programs that export its format: track ids become persons.

    MOT17-02-FRCNN/
        gt/gt.txt        frame, track, x, y, width, height, flag, class, visibility
        gt/labels.txt    (of CVAT) the names of classes 1, 2, ...
        img1/            000001.jpg ...
        seqinfo.ini      (optional) imDir, seqLength, imWidth, imHeight

Frames are counted from 1 by the number at the end of a picture's name, pixels from 1
(``pixel_origin``). A person is class 1, pedestrian (or -1, in the years whose rows have no class)
with flag 1. Flag 0, and people who are no walking pedestrians (2 on a vehicle, 7 static, 8
distractor, 12 reflection), are regions to ignore; other classes are left out. With a
``labels.txt`` the class called ``category`` is the person, and the others are left out.
"""

import os
import re
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path

from .annotated import Box, Fault, Frame, Place

PERSONS = (1, -1)
IGNORED = (2, 7, 8, 12)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_DETECTOR = re.compile(r"(MOT\d+-\d+)-(?:DPM|FRCNN|SDP)$")


def read_mot(
    folders: list[Path],
    faults: list[Fault],
    pixel_origin: int = 1,
    category: str = "person",
) -> dict[str, list[Frame]]:
    """Name of the sequence, which is its camera -> its frames, those without anybody included.

    Args:
        folders: of the sequences.
        faults: gets what is wrong; what is wrong is left out.
        pixel_origin: number of the first pixel: 1 of the benchmark, 0 of programs that count so.
        category: the name of persons in labels.txt.
    """
    sequences, recordings = {}, {}
    for folder in folders:
        # MOT17 has every recording three times, once for each detector.
        match = _DETECTOR.match(folder.name)
        recording = match[1] if match else folder.name
        if recording in recordings:
            message = f"the recording of {recordings[recording]} again: take one of them"
            faults.append(Fault(Place(folder), message, is_fatal=True))
            continue
        recordings[recording] = folder
        sequences[folder.name] = _read_sequence(folder, faults, pixel_origin, category)
    return sequences


def _read_sequence(
    folder: Path, faults: list[Fault], pixel_origin: int, category: str
) -> list[Frame]:
    info = _read_info(folder / "seqinfo.ini", faults)
    pictures = _list_pictures(folder / info.get("imdir", "img1"), faults)
    size = None
    try:
        if "imwidth" in info:
            size = (int(info["imheight"]), int(info["imwidth"]))
        length = int(info.get("seqlength", len(pictures)))
    except (KeyError, ValueError) as error:
        message = f"sizes and length have to be whole numbers ({error})"
        faults.append(Fault(Place(folder / "seqinfo.ini"), message, is_fatal=True))
        return []
    if pictures and length != len(pictures):
        message = f"seqLength is {length}, but there are {len(pictures)} pictures"
        faults.append(Fault(Place(folder / "seqinfo.ini"), message))
    boxes = {number: [] for number in pictures}
    for number, box in _read_rows(folder, faults, boxes.keys(), pixel_origin, category):
        boxes[number].append(box)
    place = Place(folder / "gt" / "gt.txt")
    return [
        Frame(str(path), size, tuple(boxes[number]), place, camera=folder.name, time=number)
        for number, path in pictures.items()
    ]


def _read_info(path: Path, faults: list[Fault]) -> dict[str, str]:
    if not path.exists():
        return {}
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser["Sequence"])
    except (IniError, KeyError, UnicodeDecodeError) as error:
        message = f"not a seqinfo.ini with a section [Sequence] ({type(error).__name__})"
        faults.append(Fault(Place(path), message, is_fatal=True))
        return {}


def _list_pictures(folder: Path, faults: list[Fault]) -> dict[int, Path]:
    """Frame number -> picture, in order."""
    try:
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith(_SUFFIXES))
    except OSError as error:
        faults.append(Fault(Place(folder), f"cannot be listed: {error.strerror}", is_fatal=True))
        return {}
    if not names:
        faults.append(Fault(Place(folder), "holds no picture", is_fatal=True))
    pictures = {}
    for name in names:
        match = re.search(r"(\d+)\.\w+$", name)
        if match is None:
            faults.append(Fault(Place(folder / name), "the name has no number of a frame"))
        elif int(match[1]) in pictures:
            faults.append(Fault(Place(folder / name), f"a second frame {int(match[1])}"))
        else:
            pictures[int(match[1])] = folder / name
    return dict(sorted(pictures.items()))


def _read_lines(path: Path, faults: list[Fault]) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        faults.append(Fault(Place(path), f"cannot be read: {reason}", is_fatal=True))
        return []


def _classes(folder: Path, faults: list[Fault], category: str) -> tuple[tuple, tuple]:
    """The classes that are persons, and those that are ignored."""
    path = folder / "gt" / "labels.txt"
    if not path.exists():
        return PERSONS, IGNORED
    labels = [label.strip() for label in _read_lines(path, faults)]
    if category not in labels:
        message = f"no class is called {category}; there are {', '.join(labels)} (--category)"
        faults.append(Fault(Place(path), message, is_fatal=True))
        return (), ()
    return (1 + labels.index(category),), ()


def _read_rows(
    folder: Path, faults: list[Fault], numbers, pixel_origin: int, category: str
) -> list[tuple[int, Box]]:
    """(frame number, box) of gt.txt."""
    path = folder / "gt" / "gt.txt"
    persons, ignored = _classes(folder, faults, category)
    found = []
    for line, text in enumerate(_read_lines(path, faults), start=1):
        if not text.strip():
            continue
        place = Place(path, line)
        fields = [field.strip() for field in text.split(",")]
        try:
            number, track = int(fields[0]), int(fields[1])
            x, y, width, height, flag = map(float, fields[2:7])
            kind = int(fields[7])
        except (ValueError, IndexError):
            message = "expected frame, track, x, y, width, height, flag, class, visibility"
            faults.append(Fault(place, f"{message}; found {text.strip()!r}"))
            continue
        if number not in numbers:
            faults.append(Fault(place, f"frame {number} has no picture"))
        elif flag not in (0, 1):
            faults.append(Fault(place, f"flag {fields[6]}: expected 0 or 1"))
        elif kind in persons or kind in ignored:
            ignore = flag == 0 or kind in ignored
            xywh = (x - pixel_origin, y - pixel_origin, width, height)
            person_id = None if ignore or track < 0 else track
            found.append((number, Box(xywh, person_id, place, ignore)))
    return found
