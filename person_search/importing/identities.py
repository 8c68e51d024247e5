"""Who a person is: how exports write it, and how they write that it is nobody.

Nothing that could merge two persons, or make one of nobody, is guessed: it is a fault that names
the option which answers it.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from .annotated import Box, Fault, Frame, PersonId, Place

_UNSURE = frozenset(
    "unknown unk none null nil nan n/a na undefined __undefined__ unidentified unlabeled "
    "unlabelled unnamed nobody noone anonymous anon other others background ignore "
    "? ?? - --".split()
)
"""Words that may say "nobody", or may be a name."""

_SEQNET = 5555
"""What SeqNet and its followers call persons without identity; GFN numbers them on from it."""

_MOST_EXACT = 2**53
"""Floats beyond it cannot tell neighboring numbers apart."""

_RUN = 10
"""So many persons of one box each, with the highest numbers, may be nobodies numbered on."""

_OFTEN = 3
"""Whoever is twice in so many frames may be the word for nobody."""


class Words(NamedTuple):
    """Words and numbers that a user gave for ``--nobody`` or ``--somebody``.

    Attributes:
        words: in lower case.
        first: numbers from this one on; None: none.
    """

    words: frozenset[str] = frozenset()
    first: int | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Words":
        """ "unknown" and "5555" are themselves; "5555+" is 5555 and every number after it."""
        texts = [text.strip().lower() for text in texts]
        ranges = [int(text[:-1]) for text in texts if re.fullmatch(r"\d+\+", text)]
        return cls(frozenset(texts), min(ranges, default=None))

    def has(self, person: PersonId) -> bool:
        """Whether a person is called so."""
        if str(person).lower() in self.words:
            return True
        return self.first is not None and isinstance(person, int) and person >= self.first


def read_identity(value: Any) -> PersonId | None:
    """A person id as it is written in an export.

    3 and 3.0 are 3. Null, NaN, "" and every negative number (-1 of most programs, -2 of PRW), also
    as text ("-1", "-1.0"), are nobody in particular. Any other text is a name: "3" is not 3.

    Raises:
        ValueError: it is anything else: true, 3.5, a list.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value).strip()
        is_nobody = not text or re.fullmatch(r"-\d+(\.0*)?", text)
        return None if is_nobody else text
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"person {str(value)[:40]}: expected a whole number or a text")
    if isinstance(value, float) and (abs(value) >= _MOST_EXACT or value != int(value)):
        raise ValueError(f"person {value!r}: expected a whole number or a text")
    return int(value) if value >= 0 else None


def is_unsure(person: PersonId) -> bool:
    """Whether this may be a name or a word for nobody."""
    return isinstance(person, str) and person.lower() in _UNSURE


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


def check_twice(frames: list[Frame], faults: list[Fault], twice: str | None) -> list[Frame]:
    """Frames after a decision about persons who stand in one frame twice.

    The same box of the same person a second time is left out.

    Args:
        frames: to check.
        faults: gets these, if nobody decided; then none of the boxes keeps the person.
        twice: "keep": as PRW has it | "nameless": the boxes lose the person | None: a fault.
    """
    often = Counter(p for frame in frames for p, found in _repeated(frame).items() if found)
    checked, reported = [], set()
    for frame in frames:
        repeated = _repeated(frame)
        if twice != "keep":
            for person, boxes in repeated.items():
                if twice == "nameless" or person in reported:
                    continue
                message = f"person {person} stands in {frame.path} twice, also at {boxes[0].place}"
                if often[person] >= _OFTEN:
                    reported.add(person)
                    message += (
                        f", and in {often[person]} frames in all. If that is the word for nobody, "
                        f"say --nobody {person}"
                    )
                message += " (--twice keep keeps both, --twice nameless neither)"
                fatal = often[person] >= _OFTEN
                faults.append(Fault(boxes[1].place, message, is_fatal=fatal))
            boxes = tuple(
                b._replace(person_id=None, is_query=False) if b.person_id in repeated else b
                for b in frame.boxes
            )
            frame = frame._replace(boxes=boxes)
        checked.append(frame)
    return checked


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
