"""What the readers of re-identification sets share: in these, a picture shows one person.

A record is a crop record as in :mod:`person_search.data.crops`; nothing in it needs the picture to
be opened, so it has no ``height``, ``width`` or ``annotations``:

    file_name    a file, or a picture inside a container (person_search.data.containers)
    image_id     unique in the split
    bbox         None: the person is the whole picture
    person_id    contiguous in the split; UNLABELED where the data set names nobody
    camera_id    -1: unknown
    role         "train" | "query" | "gallery"
    domain       name of the data set
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from person_search.errors import DatasetError

from .records import Split, number_persons

LARGEST_NUMBER = 2**53
"""Of a person or camera: up to here, every whole number is another one as a float, too."""

TRAIN, QUERY, GALLERY = "train", "query", "gallery"


class Picture(NamedTuple):
    """What a data set says about one picture.

    Attributes:
        file_name, image_id, camera_id: as in the record.
        raw_id: the data set's own number of the person; negative: nobody in particular.
        role: TRAIN, QUERY or GALLERY.
    """

    file_name: str
    image_id: str
    raw_id: int
    camera_id: int = -1
    role: str = TRAIN


def make_split(pictures: Sequence[Picture], domain: str) -> Split:
    """Records of pictures, in their order, with contiguous person ids.

    Raises:
        DatasetError: a person or camera has a number that no data set has.
    """
    for picture in pictures:
        if max(abs(picture.raw_id), abs(picture.camera_id)) > LARGEST_NUMBER:
            raise DatasetError(
                f"{picture.file_name}: person {picture.raw_id}, camera {picture.camera_id}: such "
                "a number is damage; fetch the list that names the picture again"
            )
    raw_ids = np.array([picture.raw_id for picture in pictures], dtype=np.int64)
    (person_ids,), names = number_persons([raw_ids])
    records = [
        {
            "file_name": picture.file_name,
            "image_id": picture.image_id,
            "bbox": None,
            "person_id": person_id,
            "camera_id": picture.camera_id,
            "role": picture.role,
            "domain": domain,
        }
        for picture, person_id in zip(pictures, person_ids.tolist(), strict=True)
    ]
    return Split(records, names)


def require_pictures(names: Sequence, where: Path | str) -> None:
    """Raises DatasetError where a folder or list that should name pictures names none."""
    if not names:
        raise DatasetError(f"{where} names no picture")
