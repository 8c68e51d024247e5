"""Who walks through which frame: sizes of the data set, identities, and the plan of every frame."""

from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from person_search.street.appearance import Appearance, sample_appearances
from person_search.street.style import StreetStyle

SPLITS = ("train", "test")

_SPREAD = {"train": 0.87, "test": 0.6}
"""Sigma of the log-normal number of appearances. In PRW's training set the median is 23, the mean
31, the maximum 465, and a tenth of the identities has a third of the boxes; its test set is more
even."""


@dataclass(frozen=True)
class StreetSize:
    """How much is drawn.

    Attributes:
        frames, identities: of the training and of the test set.
        queries: PRW-style queries wanted; fewer if the identities are seen by too few cameras.
        crowd: mean number of people in a frame.
    """

    name: str
    width: int
    height: int
    cameras: int
    frames: tuple[int, int]
    identities: tuple[int, int]
    queries: int
    crowd: float


STREET_SIZES = {
    size.name: size
    for size in (
        StreetSize("tiny", 320, 240, 2, (24, 24), (8, 6), 12, 3.0),
        StreetSize("small", 512, 384, 6, (600, 400), (90, 60), 150, 4.0),
        StreetSize("large", 640, 480, 6, (4000, 3000), (480, 300), 1000, 4.0),
    )
}
"""Every size by its name."""


@dataclass(frozen=True)
class FramePlan:
    """Who is in one frame.

    Attributes:
        name: file name in PRW's manner, without ".jpg".
        camera: from 1.
        people: raw identities, each at most once.
        passers_by: number of people without identity.
    """

    name: str
    camera: int
    people: tuple[int, ...]
    passers_by: int


@lru_cache(maxsize=4)
def identities(size: StreetSize, seed: int) -> dict[int, Appearance]:
    """Looks of every raw identity, from 1; first those of the training set, then those of the test.

    Look-alikes of one group are in the same set.
    """
    people: list[Appearance] = []
    for part, count in enumerate(size.identities):
        new = sample_appearances(np.random.default_rng([seed, 1, part]), count)
        groups = len({person.group for person in people} - {None})
        people += [p if p.group is None else replace(p, group=p.group + groups) for p in new]
    return dict(enumerate(people, start=1))


@lru_cache(maxsize=8)
def plan_frames(size: StreetSize, seed: int, split: str, style: StreetStyle) -> list[FramePlan]:
    """The plan of a split, one entry per frame; cameras take turns."""
    part = SPLITS.index(split)
    rng = np.random.default_rng([seed, 2, part])
    frames = size.frames[part]
    cameras = np.arange(frames) % size.cameras
    crowd = np.minimum(1 + rng.poisson(size.crowd - 1, frames), 3 * size.crowd)
    strangers = rng.binomial(crowd.astype(int), style.passers_by)
    first = 1 + part * size.identities[0]
    raw_ids = np.arange(first, first + size.identities[part])
    room = (crowd - strangers).astype(float)
    people: list[list[int]] = [[] for _ in range(frames)]
    counts = appearance_counts(len(raw_ids), int(room.sum()), split)
    for raw_id, count in zip(rng.permutation(raw_ids), counts, strict=True):
        for frame in _choose_frames(rng, room, cameras, size.cameras, count):
            people[frame].append(int(raw_id))
            room[frame] -= 1
    return [
        FramePlan(
            name=f"c{cameras[k] + 1}s{part + 1}_{25 * (k // size.cameras + 1) + 1:06d}",
            camera=int(cameras[k]) + 1,
            people=tuple(sorted(people[k])),
            passers_by=int(strangers[k]) if people[k] else max(1, int(strangers[k])),
        )
        for k in range(frames)
    ]


def appearance_counts(identity_count: int, total: int, split: str) -> np.ndarray:
    """(identity_count,) long-tailed numbers of appearances, largest first, sum close to ``total``.

    Quantiles of a log-normal distribution, so that the shape is the same at every size. A test
    identity appears at least four times, as in PRW.
    """
    normal = NormalDist()
    levels = (np.arange(identity_count, 0, -1) - 0.5) / identity_count
    shape = np.exp(_SPREAD[split] * np.array([normal.inv_cdf(level) for level in levels]))
    least = 4 if split == "test" else 1
    return np.maximum(np.round(shape * total / shape.sum()).astype(int), least)


def _choose_frames(
    rng: np.random.Generator, room: np.ndarray, cameras: np.ndarray, camera_count: int, count: int
) -> np.ndarray:
    """``count`` different frames for one identity, of two cameras at least where count allows."""
    seen_by = rng.permutation(camera_count)[: rng.integers(2, camera_count + 1)]
    weight = np.maximum(room, 0.02) * np.where(np.isin(cameras, seen_by), 1.0, 1e-4)
    chosen: list[int] = []
    for camera in seen_by[: min(2, count)]:
        share = weight * (cameras == camera)
        chosen.append(int(rng.choice(len(weight), p=share / share.sum())))
    weight[chosen] = 0.0
    rest = min(count, len(weight)) - len(chosen)
    chosen += rng.choice(len(weight), rest, replace=False, p=weight / weight.sum()).tolist()
    return np.array(chosen)
