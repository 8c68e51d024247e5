"""DarkLabel: one text file of a video, whose rows have the columns that its darklabel.yml names.

``--columns`` names them alike: fn (frame number, from 0) or iname (name of the picture), cname, id,
x1, y1, x2, y2, w, h, cx, cy. Where there is a column n, the number of objects, the columns after it
come n times: ``fn,n,id,x1,y1,x2,y2,cname``. (Its XML files are those of PASCAL VOC, with
``--person-key id``.) Pixels are counted from 0.
"""

from pathlib import Path

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import (
    Pictures,
    folder_of_video,
    frames_of_video,
    numbered,
    picture_folders,
)
from ..reading import Reading
from . import shapes
from .files import read_rows

_KNOWN = frozenset("fn iname n cname classid id x1 y1 x2 y2 w h cx cy difficult".split())


def read(path: Path, reading: Reading) -> list[Frame]:
    """All pictures of the video; the name of the file is the camera."""
    columns = [column.strip() for column in reading.options.columns.split(",")]
    by_name = "iname" in columns
    if set(columns) - _KNOWN or by_name == ("fn" in columns) or "id" not in columns:
        message = f"--columns {','.join(columns)}: fn or iname, id and a box of {sorted(_KNOWN)}"
        reading.fault(Place(path), message, is_fatal=True)
        return []
    named: list[tuple[str, Box]] = []
    rows: list[tuple[int, Box]] = []
    for place, fields in read_rows(path, reading):
        for values_of in _objects(fields, columns, place, reading):
            try:
                number = 0 if by_name else values.whole(values_of["fn"])
                xywh = _xywh(values_of)
            except (KeyError, ValueError) as error:
                reading.fault(place, f"{error} (--columns {','.join(columns)})", loses="boxes")
                continue
            person = values.number_or_text(values_of["id"])
            label = values_of.get("cname") or None
            box = reading.box(place, xywh, person, label, ignore=False)
            if box is not None and by_name:
                named.append((values_of["iname"], box))
            elif box is not None:
                rows.append((number, box))
    if by_name:
        return _by_name(path, named, reading)
    pictures = numbered(folder_of_video(path, reading), reading)
    return frames_of_video(pictures, rows, 0, Place(path), reading, None, camera=path.stem)


def _objects(
    fields: list[str], columns: list[str], place: Place, reading: Reading
) -> list[dict[str, str]]:
    """Column -> field of each object in a row."""
    fields = fields[:-1] if fields and not fields[-1] else fields  # a comma at the end
    first = columns.index("n") + 1 if "n" in columns else 0
    size = len(columns) - first
    number = (len(fields) - first) // size
    fits = (len(fields) - first) % size == 0 and (first or number == 1)
    if not fits or (first and fields[first - 1 : first] != [str(number)]):
        message = f"{len(fields)} fields do not fit --columns {','.join(columns)}"
        reading.fault(place, f"{message}: {','.join(fields)[:80]}", loses="boxes")
        return []
    head = dict(zip(columns[:first], fields[:first], strict=True))
    parts = (fields[first + k * size : first + (k + 1) * size] for k in range(number))
    return [head | dict(zip(columns[first:], part, strict=True)) for part in parts]


def _xywh(row: dict[str, str]) -> shapes.Xywh:
    if "x2" in row:
        return values.corners(row["x1"], row["y1"], row["x2"], row["y2"])
    if "cx" in row:
        cx, cy, w, h = values.box([row["cx"], row["cy"], row["w"], row["h"]])
        return cx - w / 2, cy - h / 2, w, h
    return values.box([row["x1"], row["y1"], row["w"], row["h"]])


def _by_name(path: Path, rows: list[tuple[str, Box]], reading: Reading) -> list[Frame]:
    boxes: dict[str, list[Box]] = {}
    for name, box in rows:
        boxes.setdefault(name, []).append(box)
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    for name, found in boxes.items():
        picture = pictures.find(name, found[0].place, reading)
        if picture is not None:
            frames.append(Frame(picture, None, tuple(found), Place(path), camera=path.stem))
    pictures.count_unnamed(reading)
    return frames
