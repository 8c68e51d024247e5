"""From what a user names, pictures, boxes or numbers, to the persons who are looked for.

Shape shorthand in this module:
    n: boxes of one picture; D: embedding size
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from person_search.errors import QueryError
from person_search.structures import Detections, Searcher

from .sources import read_scene

SMALLEST_SIDE = 2.0
"""Pixels of its picture that a box has at least in either direction."""


@dataclass(frozen=True, eq=False)
class QueryImage:
    """A picture of the person who is looked for.

    Attributes:
        picture: its name.
        seconds: place in a video; 0 in a picture.
        image: (H, W, 3) uint8 BGR, the whole scene.
        box: (4,) xyxy of the person.
    """

    picture: str
    seconds: float
    image: np.ndarray
    box: np.ndarray


@dataclass(frozen=True, eq=False)
class Query:
    """A person to look for.

    Attributes:
        label: what people call the query, "person 2".
        images: one or more pictures of this person.
        embed: (D,) unit embedding of all of them together.
    """

    label: str
    images: list[QueryImage]
    embed: np.ndarray


def query_everybody(searcher: Searcher, scene: str) -> list[Query]:
    """One query for each person of a picture, or of "film.mp4@SECONDS", from left to right.

    Raises:
        ImageError: it cannot be read.
        QueryError: it shows nobody.
    """
    picture, seconds, image = _read(scene)
    found = _detected(searcher, picture, image)
    return [
        Query(f"person {i}", [QueryImage(picture, seconds, image, box)], embed)
        for i, (box, embed) in enumerate(zip(found.boxes, found.embeds, strict=True), start=1)
    ]


def query_person(
    searcher: Searcher,
    scenes: Sequence[str],
    boxes: Sequence[np.ndarray] | None = None,
    numbers: Sequence[int] | None = None,
) -> Query:
    """One query for a person whom every scene shows.

    Args:
        searcher: the model.
        scenes: pictures, or "film.mp4@SECONDS".
        boxes: (4,) xyxy, one per scene.
        numbers: instead of boxes: the number of the person, counted from the left, from 1, one per
            scene. With neither, each scene has to show one person only.

    Raises:
        ImageError: a scene cannot be read.
        QueryError: a box or a number fits no person of its scene.
    """
    for option, given in (("--box", boxes), ("--person", numbers)):
        if given and len(given) != len(scenes):
            raise QueryError(f"there are {len(scenes)} QUERY, so give {option} as often")
    images, embeds = [], []
    for i, scene in enumerate(scenes):
        picture, seconds, image = _read(scene)
        if boxes:
            box = boxes[i]
            (embed,) = searcher.embed(image, clip_boxes(box, image.shape[:2]))
        else:
            found = _detected(searcher, picture, image)
            row = _choose(found, picture, numbers[i] if numbers else None)
            box, embed = found.boxes[row], found.embeds[row]
        images.append(QueryImage(picture, seconds, image, box))
        embeds.append(embed)
    return Query("query", images, fuse(np.stack(embeds)))


def fuse(embeds: np.ndarray) -> np.ndarray:
    """One embedding (D,) of a person with several, (n, D): their mean direction."""
    mean = embeds.mean(axis=0)
    return mean / np.linalg.norm(mean)


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The parts of boxes that lie in their picture.

    Args:
        boxes: (n, 4) or (4,) xyxy.
        size: height and width of the picture.

    Returns:
        (n, 4) float64.

    Raises:
        QueryError: a box is empty or lies outside the picture.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    height, width = size
    clipped = np.minimum(np.maximum(boxes, 0), (width, height, width, height))
    # Written so that NaN fails.
    sound = ((clipped[:, 2:] - clipped[:, :2]) >= SMALLEST_SIDE).all(axis=1)
    if not sound.all():
        x1, y1, x2, y2 = boxes[np.argmin(sound)]
        raise QueryError(
            f"the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) shows nothing of the picture, "
            f"which is {width}x{height}: give a box inside it"
        )
    return clipped


def from_the_left(found: Detections) -> Detections:
    """The persons of a scene, in the order in which people number them."""
    order = np.argsort(found.boxes[:, 0] + found.boxes[:, 2], kind="stable")
    return Detections(found.boxes[order], found.scores[order], found.embeds[order])


def xywh(box) -> str:
    """A xyxy box as "x,y,w,h", which --box takes."""
    (x1, y1), (x2, y2) = box[:2], box[2:]
    return ",".join(f"{v:.0f}" for v in (x1, y1, x2 - x1, y2 - y1))


def _read(scene: str) -> tuple[str, float, np.ndarray]:
    """Name, seconds and image of a scene."""
    path, at, seconds = scene.rpartition("@")
    if os.path.exists(scene) or not at:
        path, seconds = scene, "0"
    try:
        place = float(seconds)
    except ValueError:
        raise QueryError(f"{scene}: write film.mp4@SECONDS") from None
    return path, place, read_scene(path, place)


def _detected(searcher: Searcher, picture: str, image: np.ndarray) -> Detections:
    found = from_the_left(searcher.detect([image])[0])
    if not len(found):
        raise QueryError(f"no person was found in {picture}: draw a box with --box x,y,w,h")
    return found


def _choose(found: Detections, picture: str, number: int | None) -> int:
    """The row of the person with that number, or of the only one."""
    if number is None and len(found) == 1:
        return 0
    if number is None or number > len(found):
        listed = "; ".join(f"{i}: {xywh(box)}" for i, box in enumerate(found.boxes, start=1))
        raise QueryError(
            f"{picture} shows {len(found)} person(s), choose with --person one of {listed}; or "
            "look for --all"
        )
    return number - 1
