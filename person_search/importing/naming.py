"""Names of persons, and what is read from the names of pictures."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import chain

from .annotated import Fault, Frame, PersonId, Place, number_or_text


def common_folder(frames: Iterable[Frame]) -> str:
    """The deepest folder that holds all pictures."""
    return os.path.commonpath({os.path.abspath(os.path.dirname(f.path)) for f in frames})


def read_from_names(
    frames: list[Frame], pattern: str, set_to: Callable[[Frame, int | str], Frame], faults: list
) -> list[Frame]:
    """Frames of which something is read from the path below their common folder.

    Args:
        frames: with pictures.
        pattern: a regular expression whose first group is the value.
        set_to: makes the frame with that value; ValueError where it is none.
        faults: gets the frames that have no value; these are left out.
    """
    if not frames:
        return []
    root, found = common_folder(frames), []
    for frame in frames:
        name = os.path.relpath(frame.path, root).replace(os.sep, "/")
        match = re.search(pattern, name)
        if match is None or match[1] is None:
            faults.append(Fault(frame.place, f"the name {name} does not match {pattern!r}"))
            continue
        try:
            found.append(set_to(frame, number_or_text(match[1])))
        except ValueError:
            message = f"the name {name} has {match[1]!r} where {pattern!r} expects a number"
            faults.append(Fault(frame.place, message))
    return found


def keep_apart(
    groups: dict[str, list[Frame]], shared: bool | None, faults: list[Fault]
) -> list[Frame]:
    """Frames of several files whose persons are numbered in each of them, or in all together.

    Args:
        groups: name of the file -> its frames.
        shared: an id is one person in all files; else the name of the file becomes part of it.
            None: nobody said so, which is a fault where it matters.
        faults: gets it.
    """
    if shared or len(groups) < 2:
        return list(chain.from_iterable(groups.values()))
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
                        "person (--ids shared) or each file counts its own (--ids separate)"
                    )
                    faults.append(Fault(box.place, message, is_fatal=True))
                    return list(chain.from_iterable(groups.values()))
        return list(chain.from_iterable(groups.values()))
    return [
        rename_persons(frame, lambda person_id, name=name: f"{name}/{person_id}")
        for name, frames in groups.items()
        for frame in frames
    ]


def rename_persons(frame: Frame, rename: Callable[[PersonId], PersonId | None]) -> Frame:
    """A frame whose persons are called otherwise; those called None lose query and identity."""
    boxes = []
    for box in frame.boxes:
        person_id = None if box.person_id is None else rename(box.person_id)
        is_query = box.is_query and person_id is not None
        boxes.append(box._replace(person_id=person_id, is_query=is_query))
    return frame._replace(boxes=tuple(boxes))
