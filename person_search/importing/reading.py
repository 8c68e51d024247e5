"""What a reader of an export reads with: the user's options, and what comes of the reading."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from person_search.tally import Tally

from . import values
from .annotated import Box, Fault, PersonId, Place
from .identities import Words, read_identity, unsure_word

PERSON_WORDS = frozenset(
    "person persons people pedestrian pedestrians human humans man woman men women child children "
    "boy girl adult player players rider cyclist worker staff customer body head_and_body".split()
)
"""Names of categories that may be persons, too."""

IGNORE_WORDS = frozenset(
    "ignore ignored ignore_region ignored_region ignored_regions ignore_regions dontcare "
    "dont_care crowd".split()
)
"""Names of categories that are regions to be ignored."""

PERSON_KEYS = ("track_id", "identity", "person", "pid", "instance_id", "group_id", "name")
"""Where else an export may name the person."""


KINDS = ("pictures", "boxes", "regions to ignore", "identities")
"""What is counted. A box without an identity is a person whom nobody named."""


@dataclass(frozen=True)
class Options:
    """What a user may say about an export.

    Attributes:
        images: folder of the pictures, relative to that of the annotations; None: not said.
        person_key: what names the person of an annotation.
        categories: names of those that are persons; empty: not said, "person" is.
        ignored: names of categories that are regions to be ignored.
        nobody, somebody: words of the data set for nobody, and those that are somebody after all.
        crowd: "regions" or "persons": what ``iscrowd`` marks; None: not said.
        pixel_origin: number of the first pixel; None: what the format or the file says.
        first_frame: number of the first frame in the annotations; None: what the format says.
        columns: of a file of DarkLabel.
        names: what names the person of a crop: "folders", "inner", "outer", "market1501".
    """

    images: str | None = None
    person_key: str = "person_id"
    categories: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    nobody: Words = Words()
    somebody: Words = Words()
    crowd: str | None = None
    pixel_origin: int | None = None
    first_frame: int | None = None
    columns: str = "fn,cname,id,x1,y1,w,h"
    names: str = "folders"


@dataclass
class Reading:
    """Collects what readers take, leave out and find wrong, and decides alike for all formats.

    Attributes:
        options: of the user.
        are_tracks: identities are tracks, which cars have, too.
        faults: what is wrong, in the order of reading.
        tally: what was taken and left out.
        notes: what was decided by evidence, and how.
    """

    options: Options = Options()
    are_tracks: bool = False
    faults: list[Fault] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    notes: list[str] = field(default_factory=list)
    _labels: dict[str, list[int]] = field(default_factory=dict)
    _keys: Counter = field(default_factory=Counter)
    _unsure: dict[str, tuple[Place, int]] = field(default_factory=dict)
    _crowds: list[Place] = field(default_factory=list)
    _masks: list[Place] = field(default_factory=list)
    _source: Place | None = None

    def __post_init__(self) -> None:
        self.are_tracks = self.are_tracks or "track" in self.options.person_key
        for kind in KINDS:
            self.tally.take(kind, 0)  # in this order

    def fault(
        self, place: Place, message: str, is_fatal: bool = False, loses: str | None = None
    ) -> None:
        """Lists something wrong, and counts what is left out for it: one of a kind."""
        self.faults.append(Fault(place, message, is_fatal))
        if loses is not None:
            self.tally.leave(loses, "faulty", str(place))

    def note(self, text: str) -> None:
        """Keeps a decision that the user should see, once."""
        if text not in self.notes:
            self.notes.append(text)

    def declare(self, label: str, place: Place) -> None:
        """A category of an export, of which there may be no box."""
        self._source = self._source or Place(place.path)
        self._labels.setdefault(label, [0, 0])

    def person_in(self, facts: Mapping[str, Any]) -> Any:
        """The value of the person key, and a count of where else a person may be named."""
        key = self.options.person_key
        for name in (key, *PERSON_KEYS):
            self._keys[name] += facts.get(name) not in (None, "")
        return facts.get(key)

    def box(
        self,
        place: Place,
        xywh: Any,
        person: Any = None,
        label: str | None = None,
        *,
        ignore: Any = False,
        crowd: Any = False,
        has_mask: bool = False,
        query: Any = False,
    ) -> Box | None:
        """A box as an export has it; None where it is left out, which is counted or a fault.

        Where its identity is faulty, the box stays a person whom nobody named.

        Args:
            place: where it is written.
            xywh: x, y, width, height, unchecked; None: a crop.
            person: as :meth:`person_in` or the format gives it.
            label: name of its category; None: the export has none.
            ignore: whether it is a region to be ignored.
            crowd: COCO's ``iscrowd``.
            has_mask: whether it has a run-length encoded mask, for which programs write iscrowd.
            query: whether it is a query.
        """
        self._source = self._source or Place(place.path)
        if label is not None:
            named = self._labels.setdefault(label, [0, 0])
            named[0] += 1
            named[1] += _is_named(person) and not self.are_tracks
        kind = "person" if label is None else self._kind(label)
        if kind == "other":
            self.tally.leave("boxes", f"category {label}")
            return None
        try:
            ignore, crowd, query = map(values.flag, (ignore, crowd, query))
            found = None if xywh is None else values.box(xywh)
        except ValueError as error:
            self.fault(place, str(error), loses="boxes")
            return None
        if found is not None and (found[2] <= 0 or found[3] <= 0):
            message = f"the box x, y, width, height = {_numbers(found)} is empty"
            self.fault(place, message, loses="boxes")
            return None
        if crowd and not ignore and self.options.crowd != "persons":
            if self.options.crowd is None and _is_named(person):
                (self._masks if has_mask else self._crowds).append(place)
            ignore = True
        if ignore or kind == "ignored":
            return Box(found, None, place, ignore=True)
        identity = self._identity(person, place)
        if query and identity is None:
            self.fault(place, "a query of nobody in particular")
            query = False
        return Box(found, identity, place, is_query=query)

    def _kind(self, label: str) -> str:
        """ "person", "ignored" or "other"."""
        name = label.strip().casefold()
        if name in {c.strip().casefold() for c in self.options.categories or ("person",)}:
            return "person"
        ignored = {c.strip().casefold() for c in self.options.ignored}
        plain = name.replace(" ", "_").replace("-", "_").replace("'", "")
        return "ignored" if name in ignored or plain in IGNORE_WORDS else "other"

    def _identity(self, person: Any, place: Place) -> PersonId | None:
        try:
            found = read_identity(person)
        except ValueError as error:
            self.fault(place, str(error), loses="identities")
            return None
        if found is None:
            written = "without one" if person in (None, "") else f"written {person!r}"
            self.tally.leave("identities", written)
            return None
        if self.options.nobody.has(found):
            self.tally.leave("identities", f"--nobody {found}")
            return None
        word = unsure_word(found)
        if word is not None and not self.options.somebody.has(found):
            first, number = self._unsure.get(word, (place, 0))
            self._unsure[word] = (first, number + 1)
        return found

    def finish(self) -> None:
        """Faults that show only when everything was read; all of them ask for an option."""
        self._check_labels()
        for word, (place, number) in self._unsure.items():
            message = (
                f"{number} boxes are of a person called {word!r}. If that is nobody, say "
                f"--nobody {shlex.quote(word)}; if somebody is called so, --somebody "
                f"{shlex.quote(word)}"
            )
            self.fault(place, message, is_fatal=True)
        if self._crowds:
            self.note(
                f"{len(self._crowds)} annotations have iscrowd 1 and name a person: they are "
                "regions to ignore (--crowd persons makes persons of them)"
            )
        if self._masks:
            message = (
                f"{len(self._masks)} masks have iscrowd 1 and name a person. Say --crowd persons "
                "if iscrowd only means that there is a mask, or --crowd regions if these are "
                "crowds, to be ignored"
            )
            self.fault(self._masks[0], message, is_fatal=True)
        key = self.options.person_key
        others = [other for other in PERSON_KEYS if self._keys[other] and other != key]
        if self._source and not self._keys[key] and others:
            named = ", ".join(f"{self._keys[other]} have a {other}" for other in others)
            message = f"no annotation has a {key}, but {named}: say --person-key {others[0]}"
            self.fault(self._source, message, is_fatal=True)

    def _check_labels(self) -> None:
        """No category is the person; or another may be one, too, and nobody said so."""
        if not self._labels or self._source is None:
            return
        persons = [label for label in self._labels if self._kind(label) == "person"]
        shown = ", ".join(f"{label} ({n} boxes)" for label, (n, _) in self._labels.items())
        if not persons:
            wanted = ", ".join(self.options.categories or ("person",))
            message = f"no category is called {wanted}; there are {shown}. Say --categories"
            self.fault(self._source, message, is_fatal=True)
        elif not self.options.categories:
            for label, (number, named) in self._labels.items():
                may_be = named or label.strip().casefold() in PERSON_WORDS
                if number and may_be and self._kind(label) == "other":
                    why = f"{named} of them name a person" if named else "they may be persons, too"
                    every = ",".join([*persons, label])
                    message = (
                        f"{number} boxes are of the category {label}, and {why}: say --categories "
                        f"{every}, or --categories {','.join(persons)} to leave them out"
                    )
                    self.fault(self._source, message, is_fatal=True)


def _is_named(person: Any) -> bool:
    try:
        return read_identity(person) is not None
    except ValueError:
        return True


def _numbers(box: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in box)
