"""Splits annotated frames into training and test frames, and chooses queries.

Whatever the split, no identity is labeled on both sides: a person of the other side stays a
person, without an identity.

Shape shorthand in this module:
    F: frames; P: persons with an identity
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from person_search.errors import ConfigError, DatasetError

from .annotated import Frame, PersonId
from .naming import rename_persons


class Sides(NamedTuple):
    """Training and test frames."""

    train: list[Frame]
    test: list[Frame]


def persons_of(frame: Frame) -> set[PersonId]:
    """The identities in a frame."""
    return {b.person_id for b in frame.boxes if b.person_id is not None and not b.ignore}


def count_labeled(frames: Iterable[Frame]) -> int:
    """Number of boxes with an identity."""
    return sum(b.person_id is not None and not b.ignore for f in frames for b in f.boxes)


def split_by_identity(frames: list[Frame], share: float, seed: int) -> Sides:
    """Training and test have different persons; a share of all persons are test persons.

    Persons who are seen together stay together where that is possible: they are listed by walks
    (breadth first) from one person to those in the same frames, each begun at a random person, and
    the list is cut once. Where the cut goes through a group, its frames go to the side of more of
    their persons (of equally many: the test side). Frames of nobody in particular are drawn.

    Args:
        frames: (F,) to split.
        share: of the P persons, and of the frames without any.
        seed: of the draw.
    """
    _check_share(share)
    rng = np.random.default_rng(seed)
    order = _walk([persons_of(f) for f in frames], rng)
    test_persons = set(order[len(order) - round(share * len(order)) :])
    to_test = rng.random(len(frames)) < share
    for index, frame in enumerate(frames):
        if persons := persons_of(frame):
            to_test[index] = 2 * len(persons & test_persons) >= len(persons)
    return _make_sides(frames, to_test.tolist(), test_persons)


def _walk(groups: list[set[PersonId]], rng: np.random.Generator) -> list[PersonId]:
    """Everybody, those next to each other who are in a group together."""
    groups_of = defaultdict(list)
    for index, group in enumerate(groups):
        for person in group:
            groups_of[person].append(index)
    people = sorted(groups_of, key=_order)
    found: dict[PersonId, None] = {}
    visited = set()
    for start in rng.permutation(len(people)):
        if people[start] in found:
            continue
        found[people[start]] = None
        queue = [people[start]]
        for person in queue:  # grows while it is walked
            for index in groups_of[person]:
                if index not in visited:
                    visited.add(index)
                    fresh = [p for p in sorted(groups[index], key=_order) if p not in found]
                    found |= dict.fromkeys(fresh)
                    queue += fresh
    return list(found)


def split_by_time(frames: list[Frame], share: float) -> Sides:
    """Of every camera, the last share of its frames are test frames.

    A person who is seen in a training frame is a training person.

    Args:
        frames: (F,) with a time.
        share: of the frames.

    Raises:
        DatasetError: a frame has no time.
    """
    _check_share(share)
    unknown = [f for f in frames if f.time is None]
    if unknown:
        raise DatasetError(
            f"{len(unknown)} frames have no time, the first is {unknown[0].path}: give them a "
            "time, or say where their names hold it (--time)"
        )
    by_camera = defaultdict(list)
    for index, frame in enumerate(frames):
        by_camera[frame.camera].append(index)
    to_test = [False] * len(frames)
    for indices in by_camera.values():
        indices.sort(key=lambda i: (frames[i].time, frames[i].path))
        for index in indices[len(indices) - round(share * len(indices)) :]:
            to_test[index] = True
    return _make_sides(frames, to_test)


def split_as_given(frames: list[Frame]) -> Sides:
    """As the annotations say, queries included; who is seen in a training frame is trained on.

    Raises:
        DatasetError: they do not say it of every frame, or ask for a person who is trained on or
            is in no other test frame.
    """
    unknown = [f for f in frames if f.split is None]
    if unknown:
        raise DatasetError(
            f"{len(unknown)} frames do not say their split, the first at {unknown[0].place}"
        )
    sides = _make_sides(frames, [f.split == "test" for f in frames])
    seen: Counter[PersonId | None] = Counter(
        person for frame in sides.test for person in persons_of(frame)
    )
    wrong = [b for f in frames for b in f.boxes if b.is_query and seen[b.person_id] < 2]
    if wrong:
        raise DatasetError(
            f"{len(wrong)} queries ask for persons whom a training frame shows, or who are in no "
            f"other test frame; the first at {wrong[0].place} for person {wrong[0].person_id}"
        )
    return sides


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of the test side is {share}; legal: 0 to 1")


def _make_sides(
    frames: list[Frame], to_test: list[bool], test_persons: set[PersonId] | None = None
) -> Sides:
    """Frames whose persons of the other side have lost their identity."""
    train = [f for f, test in zip(frames, to_test, strict=True) if not test]
    test = [f for f, test in zip(frames, to_test, strict=True) if test]
    if test_persons is None:
        trained = set().union(*map(persons_of, train))
        test_persons = set().union(*map(persons_of, test)) - trained
    return Sides(
        [rename_persons(f, lambda p: None if p in test_persons else p) for f in train],
        [rename_persons(f, lambda p: p if p in test_persons else None) for f in test],
    )


def choose_queries(frames: list[Frame], number: int, seed: int) -> list[Frame]:
    """Test frames with queries: of each person ``number`` boxes per camera, drawn.

    A box can be one only if another frame holds that person. Existing query marks are cleared.

    Args:
        frames: of the test side.
        number: per person, and per camera where these are known.
        seed: of the draw.

    Raises:
        DatasetError: nobody is in two frames.
    """
    boxes_of = defaultdict(list)
    for index, frame in enumerate(frames):
        for place, box in enumerate(frame.boxes):
            if box.person_id is not None and not box.ignore:
                boxes_of[box.person_id].append((index, place))
    rng = np.random.default_rng(seed)
    chosen = set()
    for person in sorted(boxes_of, key=_order):
        if len(boxes_of[person]) < 2:
            continue
        by_camera = defaultdict(list)
        for index, place in boxes_of[person]:
            by_camera[frames[index].camera].append((index, place))
        taken = [
            seen[k]
            for camera in sorted(by_camera, key=_order)
            for seen in [by_camera[camera]]
            for k in rng.permutation(len(seen))[:number]
        ]
        if frames[taken[0][0]].boxes[taken[0][1]].xywh is None:
            # The gallery of crops is what is no query: one of each person has to be left.
            taken = taken[: len(boxes_of[person]) - 1]
        chosen.update(taken)
    if not chosen:
        raise DatasetError(
            f"nobody can be searched: none of the {len(boxes_of)} test persons is in two test "
            "frames. Annotate more frames, take a larger share (--test), or split by identity"
        )
    return [
        frame._replace(
            boxes=tuple(
                box._replace(is_query=(index, place) in chosen)
                for place, box in enumerate(frame.boxes)
            )
        )
        for index, frame in enumerate(frames)
    ]


def _order(name: int | str | None) -> tuple:
    """Sorts numbers before texts; None, which is alone, before both."""
    return (isinstance(name, str), -1 if name is None else name)
