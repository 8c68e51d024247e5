"""PASCAL VOC: one XML file per picture. An object says who it is:

    <object>
        <name>person</name>
        <bndbox> <xmin>..</xmin> <ymin>..</ymin> <xmax>..</xmax> <ymax>..</ymax> </bndbox>
        <person_id>3</person_id>
        <ignore>0</ignore>                                                        (optional)
    </object>

or in the attributes that CVAT and Datumaro export: ``<attributes> <attribute>
<name>person_id</name> <value>3.0</value> </attribute> </attributes>``. The picture may say
``<camera_id>`` and ``<time>``. VOC's ``difficult`` and ``truncated`` say nothing about who it is.

PASCAL VOC counts pixels from 1: there, 1..W is the whole width. Most annotation programs count from
0; they are known by a 0, or by decimals ("4.0").
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from .. import values
from ..annotated import Box, Frame, Place
from ..pictures import Pictures, picture_folders
from ..reading import Reading
from .files import read_xml, texts

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of all XML files below a folder, by name; ImageSets/Main says their split."""
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    if not files:
        reading.fault(Place(path), "holds no XML file", is_fatal=True)
    roots = [(file, root) for file in files if (root := _root(file, reading)) is not None]
    folder = path if path.is_dir() else path.parent
    origin = _pixel_origin([root for _, root in roots], path, reading)
    pictures = Pictures(picture_folders(path, reading.options.images))
    splits = _splits(folder)
    frames = []
    for file, root in roots:
        name = root.findtext("filename") or ""
        beside = file.parent.relative_to(folder) / Path(name.replace("\\", "/")).name
        frame = _frame(root, Place(file), beside.as_posix(), pictures, reading)
        if frame is not None:
            boxes = _boxes(root, file, origin, reading)
            split = splits.get(file.relative_to(folder).with_suffix("").as_posix())
            frames.append(frame._replace(boxes=tuple(boxes), split=split))
    pictures.count_unnamed(reading)
    return frames


def _root(file: Path, reading: Reading) -> Element | None:
    return read_xml(file, reading, is_fatal=False)


def _splits(path: Path) -> dict[str, str]:
    """Name of a picture without suffix -> its split, where ImageSets/Main says one alone."""
    found: dict[str, set[str]] = {}
    for folder in (path, path.parent):
        for split in ("train", "valid", "val", "test"):
            file = folder / "ImageSets" / "Main" / f"{split}.txt"
            try:
                names = file.read_text(encoding="utf-8").split()
            except (OSError, UnicodeDecodeError):
                continue
            for name in names:
                found.setdefault(name, set()).add("valid" if split == "val" else split)
    return {name: splits.pop() for name, splits in found.items() if len(splits) == 1}


def _pixel_origin(roots: list[Element], path: Path, reading: Reading) -> int:
    """The number of the first pixel, by evidence: 0 or decimals are not written by PASCAL VOC."""
    if reading.options.pixel_origin is not None:
        return reading.options.pixel_origin
    written = [
        (corner.text or "").strip()
        for root in roots
        for box in root.iter("bndbox")
        for corner in box
        if corner.tag in _CORNERS
    ]
    is_zero = any("." in text or text == "0" or text.startswith("-") for text in written)
    origin = 0 if is_zero else 1
    reading.note(f"{path}: pixels are counted from {origin} (--pixel-origin)")
    return origin


def _frame(
    root: Element, place: Place, beside: str, pictures: Pictures, reading: Reading
) -> Frame | None:
    facts = texts(root)
    name, camera = facts.get("filename"), values.number_or_text(facts.get("camera_id", "-1"))
    try:
        if name is None:
            raise ValueError("no <filename>")
        size = values.picture_size(root.findtext("size/height"), root.findtext("size/width"))
        time = values.number(facts["time"]) if "time" in facts else None
    except ValueError as error:
        reading.fault(place, str(error), loses="pictures")
        return None
    # Some programs write the name without the folder in which the XML file lies, too.
    is_nested = "/" in beside and any((f / beside).is_file() for f in pictures.folders)
    found = pictures.find(beside if is_nested else name, place, reading)
    if found is None:
        return None
    return Frame(found, size, (), place, None if camera == -1 else camera, time)


def _boxes(root: Element, file: Path, origin: int, reading: Reading) -> list[Box]:
    boxes = []
    for number, item in enumerate(root.iter("object"), start=1):
        attributes = {
            (a.findtext("name") or "").strip(): (a.findtext("value") or "").strip()
            for a in item.iter("attribute")
        }
        facts = attributes | texts(item)
        label = facts.pop("name", "")
        person = reading.person_in(attributes | facts)
        box = reading.box(
            Place(file, f"object {number}"),
            _xywh(item, origin),
            None if person is None else values.number_or_text(person),
            label,
            ignore=facts.get("ignore"),
        )
        if box is not None:
            boxes.append(box)
    return boxes


def _xywh(item: Element, origin: int) -> tuple[float, float, float, float] | str:
    """x, y, width, height from pixel 0 on; the text that stands there where it is no box.

    An example: with pixels from 1, a box over a whole picture of width 64 has xmin 1 and xmax 64.
    It reaches to the far side of its last pixel, so x is 0 and the width 64. With pixels from 0,
    programs write xmin 0 and xmax 64.
    """
    written = [item.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    try:
        x, y, width, height = values.corners(*written)
    except ValueError:
        return f"<bndbox> {written}"
    return x - origin, y - origin, width + origin, height + origin
