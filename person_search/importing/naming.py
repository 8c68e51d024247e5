"""Names of persons, and what is read from the names of pictures."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import chain

from .annotated import Frame, PersonId, Place
from .reading import Reading
from .values import number_or_text


def common_folder(frames: Iterable[Frame]) -> str:
    """The deepest folder that holds all pictures."""
    return os.path.commonpath({os.path.abspath(os.path.dirname(f.path)) for f in frames})


def read_from_names(
    frames: list[Frame],
    pattern: str,
    set_to: Callable[[Frame, int | str], Frame],
    reading: Reading,
) -> list[Frame]:
    """Frames of which something is read from the path below their common folder.

    Args:
        frames: with pictures.
        pattern: a regular expression whose first group is the value.
        set_to: makes the frame with that value; ValueError where it is none.
        reading: gets the frames that have no value; these are left out.
    """
    if not frames:
        return []
    root, found = common_folder(frames), []
    for frame in frames:
        name = os.path.relpath(frame.path, root).replace(os.sep, "/")
        match = re.search(pattern, name)
        if match is None or match[1] is None:
            message = f"the name {name} does not match {pattern!r}"
            reading.fault(frame.place, message, loses="pictures")
            continue
        try:
            found.append(set_to(frame, number_or_text(match[1])))
        except ValueError:
            message = f"the name {name} has {match[1]!r} where {pattern!r} expects a number"
            reading.fault(frame.place, message, loses="pictures")
    return found


def keep_apart(
    groups: dict[str, list[Frame]], shared: bool | None, reading: Reading
) -> dict[str, list[Frame]]:
    """Frames of several inputs, by numbering: one for all, or one for each input.

    Args:
        groups: name of the input -> its frames.
        shared: an id is one person in all inputs; else the name of the input becomes part of it.
            None: nobody said so, which is a fault where it matters.
        reading: gets it.
    """
    everything = {"": list(chain.from_iterable(groups.values()))}
    if len(groups) < 2 or shared:
        return everything
    if shared is None:
        first: dict[PersonId, tuple[str, Place]] = {}
        for name, frames in groups.items():
            for box in chain.from_iterable(f.boxes for f in frames):
                if box.person_id is None:
                    continue
                known, place = first.setdefault(box.person_id, (name, box.place))
                if known != name:
                    message = (
                        f"person {box.person_id} is at {place}, too: say whether they are one "
                        "person (--ids shared) or each input counts its own (--ids separate)"
                    )
                    reading.fault(box.place, message, is_fatal=True)
                    return everything
        return everything
    return groups


def name_after(name: str, frames: list[Frame]) -> list[Frame]:
    """Frames whose persons are called after their input: 7 of "a" is "a/7"."""
    if not name:
        return frames
    return [rename_persons(frame, lambda person: f"{name}/{person}") for frame in frames]


def rename_persons(frame: Frame, rename: Callable[[PersonId], PersonId | None]) -> Frame:
    """A frame whose persons are called otherwise; those called None lose query and identity."""
    boxes = []
    for box in frame.boxes:
        person_id = None if box.person_id is None else rename(box.person_id)
        is_query = box.is_query and person_id is not None
        boxes.append(box._replace(person_id=person_id, is_query=is_query))
    return frame._replace(boxes=tuple(boxes))
