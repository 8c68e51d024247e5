"""From what a user says to the persons that are to be looked for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from person_search.errors import QueryError

from .ranking import fuse
from .searcher import Detections, PersonSearcher
from .sources import read_scene


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture of the person that is looked for.

    Attributes:
        picture: its name.
        seconds: in a video.
        image: (H, W, 3) uint8 BGR, the whole scene.
        box: (4,) xyxy of the person.
    """

    picture: str
    seconds: float
    image: np.ndarray
    box: np.ndarray


@dataclass(frozen=True, eq=False)
class Wanted:
    """A person to look for.

    Attributes:
        label: "person 2".
        shown: one or more pictures of this person.
        embed: (D,) of all of them together.
    """

    label: str
    shown: list[Shown]
    embed: np.ndarray


def everybody(searcher: PersonSearcher, query: str) -> list[Wanted]:
    """Each person of a scene, from the left."""
    picture, seconds, image = _scene(query)
    found = _detected(searcher, picture, image)
    return [
        Wanted(f"person {i}", [Shown(picture, seconds, image, box)], embed)
        for i, (box, embed) in enumerate(zip(found.boxes, found.embeds, strict=True), start=1)
    ]


def one_person(
    searcher: PersonSearcher,
    queries: Sequence[str],
    boxes: Sequence[np.ndarray] | None = None,
    numbers: Sequence[int] | None = None,
) -> Wanted:
    """One person that is in every query.

    Args:
        searcher: the model.
        queries: pictures, or "film.mp4@SECONDS".
        boxes: (4,) xyxy, one per query.
        numbers: instead: which one from the left, from 1, one per query. Without either there must
            be one person alone.
    """
    for option, given in (("--box", boxes), ("--person", numbers)):
        if given and len(given) != len(queries):
            raise QueryError(f"there are {len(queries)} QUERY, so give {option} as often")
    shown, embeds = [], []
    for i, query in enumerate(queries):
        picture, seconds, image = _scene(query)
        if boxes:
            box, embed = boxes[i], searcher.embed(image, boxes[i])[0]
        else:
            found = _detected(searcher, picture, image)
            row = _choose(found, picture, numbers[i] if numbers else None)
            box, embed = found.boxes[row], found.embeds[row]
        shown.append(Shown(picture, seconds, image, box))
        embeds.append(embed)
    return Wanted("query", shown, fuse(np.stack(embeds))[0])


def _scene(query: str) -> tuple[str, float, np.ndarray]:
    """Name, seconds and image of a query."""
    path, at, seconds = query.rpartition("@")
    if os.path.exists(query) or not at:
        path, seconds = query, "0"
    try:
        return path, float(seconds), read_scene(path, float(seconds))
    except ValueError:
        raise QueryError(f"{query}: write film.mp4@SECONDS") from None


def _detected(searcher: PersonSearcher, picture: str, image: np.ndarray) -> Detections:
    found = from_the_left(searcher.detect(image))
    if not len(found):
        raise QueryError(f"no person was found in {picture}: draw a box with --box x,y,w,h")
    return found


def from_the_left(found: Detections) -> Detections:
    """The persons of a scene, in the order in which people number them."""
    order = np.argsort(found.boxes[:, 0] + found.boxes[:, 2], kind="stable")
    return Detections(found.boxes[order], found.scores[order], found.embeds[order])


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


def xywh(box) -> str:
    """xyxy -> "x,y,w,h", as --box takes it."""
    (x1, y1), (x2, y2) = box[:2], box[2:]
    return ",".join(f"{v:.0f}" for v in (x1, y1, x2 - x1, y2 - y1))
