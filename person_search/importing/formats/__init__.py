"""Formats of annotations that can be imported: one module each, and one table of them.

A format has a function that reads one input (a file or a folder) into frames. It walks over the
structure alone: what a box, a category, an identity or the name of a picture means is decided by
:class:`~person_search.importing.reading.Reading` and
:class:`~person_search.importing.pictures.Pictures`, alike for all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..annotated import Frame
from ..reading import Reading
from . import (
    coco,
    crops,
    cvat,
    darklabel,
    datumaro,
    fiftyone,
    labelstudio,
    mot,
    registered,
    supervisely,
    via,
    visdrone,
    voc,
)


def _itself(path: Path) -> list[Path]:
    return [path]


class Format(NamedTuple):
    """How a format is read.

    Attributes:
        read: one input.
        inputs: what an input is, for the help of the command.
        expand: a folder that holds several inputs -> these.
        are_tracks: identities are tracks of a video, which count in it alone.
    """

    read: Callable[[Path, Reading], list[Frame]]
    inputs: str
    expand: Callable[[Path], list[Path]] = _itself
    are_tracks: bool = False


FORMATS = {
    "coco": Format(coco.read, "JSON files, or folders of them", coco.expand),
    "cvat": Format(cvat.read, "annotations.xml of CVAT 1.1, for images or for video"),
    "datumaro": Format(datumaro.read, "JSON files of Datumaro"),
    "labelstudio": Format(labelstudio.read, "JSON files of Label Studio"),
    "via": Format(via.read, "JSON or CSV files of VGG Image Annotator 2"),
    "voc": Format(voc.read, "folders of XML files of PASCAL VOC"),
    "mot": Format(mot.read, "folders of MOTChallenge sequences", mot.expand, are_tracks=True),
    "visdrone": Format(
        visdrone.read, "folders or annotation files of VisDrone MOT", visdrone.expand, True
    ),
    "darklabel": Format(darklabel.read, "text files of DarkLabel", are_tracks=True),
    "fiftyone": Format(fiftyone.read, "samples.json or labels.json of FiftyOne"),
    "supervisely": Format(supervisely.read, "folders of Supervisely data sets"),
    "crops": Format(crops.read, "folders of pictures of one person each"),
    "registered": Format(registered.read, "names of registered person search sets"),
}
"""Name of a format -> how it is read."""
