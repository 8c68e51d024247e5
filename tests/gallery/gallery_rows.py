"""Rows for galleries, without any model; and, as a program, a process that writes them.

    python gallery_rows.py URI FIRST END

writes the frames FIRST..END-1 one commit each, and prints each one's number once it is written.
"""

import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np

from person_search.gallery import GalleryModel, Persons, open_gallery
from person_search.gallery.persons import to_milliseconds

DIM = 8
PER_FRAME = 20
NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def model(**changes) -> GalleryModel:
    """What made the rows, or something a little different."""
    values = {
        "config": "A: 1",
        "weights": "a.pth",
        "config_hash": "c0",
        "weights_hash": "w0",
        "dim": DIM,
        "score_thresh": 0.5,
    }
    return GalleryModel(**{**values, **changes})


def unit(number: int, seed: int) -> np.ndarray:
    """(number, DIM) embeddings."""
    embeds = np.random.default_rng(seed).normal(size=(number, DIM))
    return (embeds / np.linalg.norm(embeds, axis=1, keepdims=True)).astype(np.float32)


def frame(index: int, number: int = PER_FRAME, picture: str | None = None, **values) -> Persons:
    """The persons of one frame: camera c0 to c2, one minute after the frame before."""
    rng = np.random.default_rng(index)
    corners = rng.uniform(0, 50, (number, 2))
    values = {
        "camera": f"c{index % 3}",
        "time": to_milliseconds(NOON + timedelta(minutes=index)),
    } | values
    return Persons.of_frame(
        boxes=np.hstack([corners, corners + 20]),
        scores=rng.uniform(0.5, 1, number),
        embeds=unit(number, seed=index),
        picture=picture or f"/pictures/{index}.jpg",
        **values,
    )


def frames(indices: Sequence[int]) -> Persons:
    return Persons.concatenate([frame(i) for i in indices])


if __name__ == "__main__":
    gallery = open_gallery(sys.argv[1], model())
    for i in range(int(sys.argv[2]), int(sys.argv[3])):
        gallery.upsert(frame(i))
        gallery.write_files({f"/pictures/{i}.jpg": "read"})
        print(i, flush=True)
