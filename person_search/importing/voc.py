"""PASCAL VOC: one XML file per picture. An object says who it is:

    <object>
        <name>person</name>
        <bndbox> <xmin>..</xmin> <ymin>..</ymin> <xmax>..</xmax> <ymax>..</ymax> </bndbox>
        <person_id>3</person_id>
        <ignore>0</ignore>                                                        (optional)
    </object>

or in the attributes that CVAT exports: ``<attributes> <attribute> <name>person_id</name>
<value>3</value> </attribute> </attributes>``. The picture may say ``<camera_id>`` and ``<time>``.
VOC's ``difficult`` and ``truncated`` say nothing about who it is and are not read.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from .annotated import Box, Fault, Frame, Place, number_or_text, person_id_of


class _Document:
    """An XML file whose elements know their line."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: dict[ElementTree.Element, int] = {}
        builder = ElementTree.TreeBuilder()
        parser = expat.ParserCreate()

        def start(tag: str, attributes: dict) -> None:
            self.lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

        parser.StartElementHandler = start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        with path.open("rb") as file:
            parser.ParseFile(file)
        self.root = builder.close()

    def place(self, element: ElementTree.Element) -> Place:
        return Place(self.path, self.lines[element])


def read_voc(
    folders: list[Path],
    faults: list[Fault],
    images: str | Path = ".",
    person_key: str = "person_id",
    category: str = "person",
    pixel_origin: int = 1,
) -> list[Frame]:
    """The frames of all XML files in folders, by name.

    Args:
        folders: of XML files.
        faults: gets what is wrong; what is wrong is left out.
        images: the folder of the pictures, relative to that of the XML files.
        person_key: the tag, or attribute of CVAT, that names the person.
        category: the ``name`` of objects that are persons; others are left out.
        pixel_origin: number of the first pixel: 1 of PASCAL VOC, 0 of most annotation programs. A
            box reaches to the far side of its last pixel: with 1, 1..W is the whole width, with 0,
            0..W.
    """
    frames = []
    for folder in folders:
        paths = sorted(folder.glob("*.xml"))
        if not paths:
            faults.append(Fault(Place(folder), "holds no XML file", is_fatal=True))
        for path in paths:
            try:
                document = _Document(path)
            except expat.ExpatError as error:
                message = f"not XML: {expat.errors.messages[error.code]}"
                faults.append(Fault(Place(path, error.lineno), message))
                continue
            except OSError as error:
                faults.append(Fault(Place(path), f"cannot be read: {error.strerror}"))
                continue
            frame = _read_frame(document, faults, folder / images)
            if frame is not None:
                boxes = _read_objects(document, faults, person_key, category, pixel_origin)
                frames.append(frame._replace(boxes=tuple(boxes)))
    return frames


def _text(element: ElementTree.Element, tag: str) -> str | None:
    """The text of a child; None where there is none or it is empty."""
    found = (element.findtext(tag) or "").strip()
    return found or None


def _read_frame(document: _Document, faults: list[Fault], images: Path) -> Frame | None:
    root, wrong = document.root, []
    name = _text(root, "filename")
    if name is None:
        wrong.append("no <filename>")
    size, camera, time = None, _text(root, "camera_id"), _text(root, "time")
    try:
        if root.find("size") is not None:
            size = (int(root.findtext("size/height")), int(root.findtext("size/width")))
    except (TypeError, ValueError):
        wrong.append("<size> without a whole <width> and <height>")
    try:
        time = None if time is None else float(time)
    except ValueError:
        wrong.append(f"<time> {time!r}: expected a number")
    faults += [Fault(document.place(root), message) for message in wrong]
    if wrong:
        return None
    return Frame(
        path=str(images / name),
        size=size if size != (0, 0) else None,  # so some programs write that they do not know
        boxes=(),
        place=document.place(root),
        camera=None if camera in (None, "-1") else number_or_text(camera),
        time=time,
    )


def _read_objects(
    document: _Document, faults: list[Fault], person_key: str, category: str, pixel_origin: int
) -> Iterator[Box]:
    for item in document.root.iter("object"):
        if _text(item, "name") != category:
            continue
        place, wrong = document.place(item), []
        attributes = {_text(a, "name"): _text(a, "value") for a in item.iter("attribute")}
        xywh = None
        try:
            corners = ("xmin", "ymin", "xmax", "ymax")
            x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{corner}")) for corner in corners)
            xywh = (x1 - pixel_origin, y1 - pixel_origin, x2 - x1 + pixel_origin,
                    y2 - y1 + pixel_origin)  # fmt: skip
        except (TypeError, ValueError):
            wrong.append("<bndbox> without four numbers xmin, ymin, xmax, ymax")
        person_id = _text(item, person_key) or attributes.get(person_key)
        if person_id is not None:
            try:
                person_id = person_id_of(number_or_text(person_id))
            except ValueError as error:
                wrong.append(str(error))
        ignore = (_text(item, "ignore") or attributes.get("ignore") or "0").lower()
        if ignore not in ("0", "1", "false", "true"):
            wrong.append(f"<ignore> {ignore!r}: expected 0 or 1")
        faults += [Fault(place, message) for message in wrong]
        if not wrong:
            yield Box(xywh, person_id, place, ignore in ("1", "true"))
