"""Checks of who is who among all frames.

Nothing that could merge two persons, or make one of nobody, is guessed: it is a fault that names
the option which answers it.
"""

import re
from collections import Counter, defaultdict
from itertools import chain

from .annotated import Box, Fault, Frame, PersonId, Place
from .identities import Words
from .reading import Reading

_SEQNET = 5555
"""What SeqNet and its followers call persons without identity; GFN numbers them on from it."""

_RUN = 10
"""So many persons of one box each, with the highest numbers, may be nobodies numbered on."""

_OFTEN = 3
"""Whoever is twice in so many frames may be the word for nobody."""


def check_identities(
    frames: list[Frame], faults: list[Fault], somebody: Words, exact: bool, are_tracks: bool
) -> None:
    """All checks of persons who share one numbering.

    Args:
        frames: as read.
        faults: gets what is wrong; all of it is fatal.
        somebody: who is somebody, whatever it looks like.
        exact: each spelling is a person of its own.
        are_tracks: identities are tracks of a tracker, which may well be of one box.
    """
    boxes = defaultdict(list)
    for box in chain.from_iterable(frame.boxes for frame in frames):
        if box.person_id is not None and not box.ignore:
            boxes[box.person_id].append(box)
    unclear = {person: found for person, found in boxes.items() if not somebody.has(person)}
    if not exact:
        _check_spelling(boxes, faults)
    _check_seqnet(unclear, faults)
    if not are_tracks:
        _check_numbered_on(unclear, boxes, faults)


def merge_spellings(frame: Frame) -> Frame:
    """A frame in which "003", "3" and 3 are 3, and Anna is anna."""
    boxes = []
    for box in frame.boxes:
        person = None if box.person_id is None else _canonical(box.person_id)
        boxes.append(box._replace(person_id=person))
    return frame._replace(boxes=tuple(boxes))


def _canonical(person: PersonId) -> PersonId:
    if isinstance(person, str) and re.fullmatch(r"\d+(\.0*)?", person):
        return int(person.partition(".")[0])
    return person.casefold() if isinstance(person, str) else person


def _check_spelling(boxes: dict[PersonId, list[Box]], faults: list[Fault]) -> None:
    first: dict[PersonId, PersonId] = {}
    for person in boxes:
        other = first.setdefault(_canonical(person), person)
        if other != person or type(other) is not type(person):
            message = (
                f"person {person!r} here, and {other!r} at {boxes[other][0].place}: say whether "
                "they are one person (--spelling loose) or two (--spelling exact)"
            )
            faults.append(Fault(boxes[person][0].place, message, is_fatal=True))


def _check_seqnet(boxes: dict[PersonId, list[Box]], faults: list[Fault]) -> None:
    """5555 is a person where 5554 and 5556 are some, too."""
    alone = not {_SEQNET - 1, _SEQNET + 1} <= boxes.keys()
    if _SEQNET in boxes and alone and len(boxes[_SEQNET]) > 1:
        message = (
            f"person {_SEQNET} has {len(boxes[_SEQNET])} boxes; converters call persons without a "
            f"name so. If it is nobody, say --nobody {_SEQNET}; if somebody, --somebody {_SEQNET}"
        )
        faults.append(Fault(boxes[_SEQNET][0].place, message, is_fatal=True))


def _check_numbered_on(
    unclear: dict[PersonId, list[Box]], boxes: dict[PersonId, list[Box]], faults: list[Fault]
) -> None:
    """Unknown persons may have been numbered on, each with one box.

    An example: 1, 2, 3 have several boxes each, and 4, 5, ..., 40 one: 4+ may be nobody.
    """
    numbers = sorted((p for p in unclear if isinstance(p, int)), reverse=True)
    run: list[int] = []
    for person in numbers:
        if len(boxes[person]) > 1 or (run and run[-1] - person > 1):
            break
        run.append(person)
    known = [p for p in boxes if len(boxes[p]) > 1]
    if len(run) < _RUN or 3 * len(run) < len(boxes) or not known:
        return
    first = run[-1]
    message = (
        f"the {len(run)} persons from {first} on have one box each, as where persons without a "
        f"name are numbered on. If they are nobody, say --nobody {first}+; if each is somebody, "
        f"--somebody {first}+"
    )
    faults.append(Fault(boxes[first][0].place, message, is_fatal=True))


def check_twice(frames: list[Frame], reading: Reading, twice: str | None) -> list[Frame]:
    """Frames after a decision about persons who stand in one frame twice.

    Args:
        frames: to check.
        reading: gets these as faults, if nobody decided; then none of the boxes keeps the person.
        twice: "keep": as PRW has it | "nameless": the boxes lose the person | None: a fault.
    """
    if twice == "keep":
        return frames
    frames = [_without_doubles(frame, reading) for frame in frames]
    often = Counter(person for frame in frames for person in _repeated(frame))
    reported: set[PersonId] = set()
    return [_settle_twice(frame, often, reported, reading, twice) for frame in frames]


def _without_doubles(frame: Frame, reading: Reading) -> Frame:
    """A frame without the same box of the same person a second time."""
    kept: dict[tuple, Box] = {}
    for number, box in enumerate(frame.boxes):
        is_somebody = box.person_id is not None and not box.ignore
        key = (box.person_id, box.xywh) if is_somebody else (number,)
        if kept.setdefault(key, box) is not box:
            reading.tally.leave("boxes", "the same box again", str(box.place))
    return frame._replace(boxes=tuple(kept.values()))


def _settle_twice(
    frame: Frame,
    often: Counter[PersonId],
    reported: set[PersonId],
    reading: Reading,
    twice: str | None,
) -> Frame:
    """A frame in which persons who stand there twice have lost their name."""
    repeated = _repeated(frame)
    for person, boxes in repeated.items():
        if twice == "nameless" or person in reported:
            continue
        message = f"person {person} stands in {frame.path} twice, also at {boxes[0].place}"
        is_often = often[person] >= _OFTEN
        if is_often:
            reported.add(person)
            message += (
                f", and in {often[person]} frames in all. If that is the word for nobody, say "
                f"--nobody {person}"
            )
        message += " (--twice keep keeps both, --twice nameless neither)"
        reading.fault(boxes[1].place, message, is_fatal=is_often)
    lost = sum(map(len, repeated.values()))
    if lost:
        reading.tally.leave("identities", "twice in a frame", frame.path, number=lost)
    return frame._replace(
        boxes=tuple(
            b._replace(person_id=None, is_query=False) if b.person_id in repeated else b
            for b in frame.boxes
        )
    )


def _repeated(frame: Frame) -> dict[PersonId, list[Box]]:
    """Persons who are twice in a frame -> their boxes."""
    found = defaultdict(list)
    for box in frame.boxes:
        if box.person_id is not None and not box.ignore:
            found[box.person_id].append(box)
    return {person: boxes for person, boxes in found.items() if len(boxes) > 1}


def nobody_is_named(frames: list[Frame]) -> Fault | None:
    """A fault where no box has an identity."""
    named = (b for f in frames for b in f.boxes if b.person_id is not None and not b.ignore)
    if not frames or next(named, None) is not None:
        return None
    message = "no box of any frame has a person_id: there is nobody to learn or to search"
    return Fault(Place(frames[0].place.path), message, is_fatal=True)
