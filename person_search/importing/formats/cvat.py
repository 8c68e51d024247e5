"""CVAT's own XML, version 1.1, "for images" and "for video".

    <image id="0" name="cam1/a.jpg" width="1920" height="1080" subset="train">
        <box label="person" xtl=".." ytl=".." xbr=".." ybr=".." rotation="..">
            <attribute name="person_id">3</attribute>
        </box>
    </image>
    <track id="0" label="person">
        <box frame="7" outside="0" xtl=".." ytl=".." xbr=".." ybr=".."> (attributes) </box>
    </track>

Pixels are counted from 0. The id of a track is a ``track_id``: it is the person with
``--person-key track_id``. Where a track is ``outside`` it is not seen. Polygons, masks and ellipses
are taken by the box around them.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

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
from .files import read_xml

_SHAPES = ("box", "polygon", "polyline", "mask", "ellipse", "points", "cuboid", "skeleton")


def read(path: Path, reading: Reading) -> list[Frame]:
    """The frames of a file: as it lists them, or all pictures of its video."""
    root = read_xml(path, reading)
    if root is None:
        return []
    for label in root.iterfind("meta//labels/label"):
        reading.declare((label.findtext("name") or "").strip(), Place(path))
    if root.find("image") is not None:
        return _read_images(root, path, reading)
    if root.find("track") is not None:
        return _read_video(root, path, reading)
    message = "neither an <image> nor a <track>: expected annotations.xml of CVAT"
    reading.fault(Place(path), message, is_fatal=True)
    return []


def _read_images(root: Element, path: Path, reading: Reading) -> list[Frame]:
    pictures, frames = Pictures(picture_folders(path, reading.options.images)), []
    for image in root.iterfind("image"):
        name = image.get("name", "")
        place = Place(path, f"image {name}")
        try:
            size = values.picture_size(image.get("height"), image.get("width"))
        except ValueError as error:
            reading.fault(place, str(error), loses="pictures")
            continue
        found = pictures.find(name, place, reading)
        if found is None:
            continue
        boxes = []
        for number, shape in enumerate((s for s in image if s.tag in _SHAPES), start=1):
            where = Place(path, f"image {name}, shape {number}")
            box = _box(shape, shape.get("label", ""), where, {}, reading)
            boxes += [box] if box is not None else []
        split = values.split_of(image.get("subset", ""))
        frames.append(Frame(found, size, tuple(boxes), place, split=split))
    pictures.count_unnamed(reading)
    return frames


def _read_video(root: Element, path: Path, reading: Reading) -> list[Frame]:
    place = Place(path)
    if len({track.get("task_id") for track in root.iterfind("track")}) > 1:
        message = "tracks of several tasks, whose frames are numbered alike: export each task"
        reading.fault(place, message, is_fatal=True)
        return []
    pictures = numbered(folder_of_video(path, reading), reading)
    size, found = None, []
    try:
        sizes = root.find("meta//original_size")
        if sizes is not None:
            size = values.picture_size(sizes.findtext("height"), sizes.findtext("width"))
    except ValueError as error:
        reading.fault(place, str(error))
    for track in root.iterfind("track"):
        label, number = track.get("label", ""), track.get("id", "")
        for shape in (s for s in track if s.tag in _SHAPES):
            where = Place(path, f"track {number}, frame {shape.get('frame')}")
            try:
                frame = values.whole(shape.get("frame"))
                if values.flag(shape.get("outside")):
                    reading.tally.leave("boxes", "outside of the picture")
                    continue
            except ValueError as error:
                reading.fault(where, str(error), loses="boxes")
                continue
            box = _box(shape, label, where, {"track_id": number}, reading)
            if box is not None:
                found.append((frame, box))
    return frames_of_video(pictures, found, 0, place, reading, size, camera=path.stem)


def _box(
    shape: Element, label: str, place: Place, facts: dict[str, str | None], reading: Reading
) -> Box | None:
    facts = {"group_id": shape.get("group_id")} | facts
    for attribute in shape.iterfind("attribute"):
        facts[attribute.get("name", "")] = (attribute.text or "").strip()
    try:
        xywh = _xywh(shape)
    except ValueError as error:
        reading.fault(place, f"<{shape.tag}>: {error}", loses="boxes")
        return None
    if xywh is None:
        reading.tally.leave("boxes", f"shape {shape.tag}", str(place))
        return None
    person = reading.person_in(facts)
    person = None if person is None else values.number_or_text(person)
    return reading.box(place, xywh, person, label, ignore=facts.get("ignore"))


def _xywh(shape: Element) -> shapes.Xywh | None:
    """The box around a shape; None where it has none. ValueError where it is damaged."""
    if shape.tag == "box":
        corners = (shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        return shapes.turned(values.corners(*corners), shape.get("rotation"), about_corner=False)
    if shape.tag == "polygon":
        points = [point.split(",") for point in shape.get("points", "").split(";")]
        return shapes.around([p[0] for p in points], [p[-1] for p in points])
    if shape.tag == "mask":
        return values.box([shape.get(key) for key in ("left", "top", "width", "height")])
    if shape.tag == "ellipse":
        return shapes.around_ellipse(*(shape.get(key) for key in ("cx", "cy", "rx", "ry")))
    return None
