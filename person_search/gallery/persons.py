"""What a gallery holds: one row per person that was detected, and how rows are chosen.

Shape shorthand in this module:
    N: rows; D: embedding size
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone

import numpy as np

NO_TIME = -1
"""``Persons.time`` where nobody knows when the picture was taken."""

COLUMNS = ("picture", "frame", "number", "seconds", "time", "camera", "box", "score")
"""What a hit is made of: the attributes of :class:`Persons` but the embedding."""

Key = tuple[str, int, int]
"""Picture, frame and number: which row."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_milliseconds(when: datetime | None) -> int:
    """Since 1970; a time without a zone is taken as UTC. None, or before 1970: ``NO_TIME``."""
    if when is None:
        return NO_TIME
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(NO_TIME, (when - _EPOCH) // timedelta(milliseconds=1))


def to_datetime(milliseconds: int) -> datetime | None:
    """In UTC; None for ``NO_TIME``."""
    return None if milliseconds < 0 else _EPOCH + timedelta(milliseconds=int(milliseconds))


@dataclass(frozen=True, eq=False)
class Persons:
    """Detected persons as columns.

    Attributes:
        picture: (N,) str, the path of the picture or video.
        frame: (N,) int64, index of the frame in its video; 0 in a picture.
        number: (N,) int64, which detection of the frame.
        seconds: (N,) float64, time since the start of the video; 0 in a picture.
        time: (N,) int64, milliseconds since 1970, or ``NO_TIME``.
        camera: (N,) str, "" unknown.
        box: (N, 4) float32 xyxy, pixels of the picture as it is shown (EXIF rotation applied).
        score: (N,) float32 of the detection.
        embed: (N, D) float32, unit length.
    """

    picture: np.ndarray
    frame: np.ndarray
    number: np.ndarray
    seconds: np.ndarray
    time: np.ndarray
    camera: np.ndarray
    box: np.ndarray
    score: np.ndarray
    embed: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows) -> "Persons":
        """The rows that a slice, a mask or (n,) indices choose."""
        return Persons(*(column[rows] for column in self.columns().values()))

    def columns(self) -> dict[str, np.ndarray]:
        """By name, in the order of the attributes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of_frame(
        cls,
        boxes: np.ndarray,
        scores: np.ndarray,
        embeds: np.ndarray,
        picture: str,
        frame: int = 0,
        seconds: float = 0.0,
        time: int = NO_TIME,
        camera: str = "",
    ) -> "Persons":
        """The persons of one frame."""
        n = len(scores)
        return cls(
            picture=np.full(n, picture, object),
            frame=np.full(n, frame, np.int64),
            number=np.arange(n),
            seconds=np.full(n, seconds, np.float64),
            time=np.full(n, time, np.int64),
            camera=np.full(n, camera, object),
            box=np.asarray(boxes, np.float32).reshape(n, 4),
            score=np.asarray(scores, np.float32),
            embed=np.asarray(embeds, np.float32),
        )

    @classmethod
    def none(cls, dim: int) -> "Persons":
        """No rows, of embeddings with ``dim`` numbers."""
        return cls.of_frame(np.zeros((0, 4)), np.zeros(0), np.zeros((0, dim)), picture="")

    @classmethod
    def concatenate(cls, parts: Sequence["Persons"]) -> "Persons":
        """The rows of one or more parts, in their order."""
        return cls(*map(np.concatenate, zip(*(p.columns().values() for p in parts), strict=True)))

    def keys(self) -> list[str]:
        """One per row, the same whenever the same detection of the same frame is indexed."""
        prefixes: dict[tuple[str, int], str] = {}
        keys = []
        for frame, number in zip(
            zip(self.picture, self.frame.tolist(), strict=True), self.number.tolist(), strict=True
        ):
            if frame not in prefixes:
                text = f"{frame[0]}\0{frame[1]}".encode()
                prefixes[frame] = hashlib.blake2b(text, digest_size=16).hexdigest()
            keys.append(f"{prefixes[frame]}#{number}")
        return keys


def without_embeds(persons: Persons) -> Persons:
    """The same rows with D = 0."""
    return replace(persons, embed=persons.embed[:, :0])


@dataclass(frozen=True)
class Hit:
    """One found person; the attributes are those of :class:`Persons`.

    Attributes:
        similarity: cosine to the query.
    """

    picture: str
    frame: int
    number: int
    seconds: float
    time: datetime | None
    camera: str
    box: tuple[float, float, float, float]
    score: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Matches:
    """The rows of a gallery that are most similar to one query, best first.

    Attributes:
        persons: N rows; D is 0 where the embeddings were not asked for.
        similarity: (N,) float32, cosine to the query.
    """

    persons: Persons
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.similarity)

    def __getitem__(self, rows) -> "Matches":
        return Matches(self.persons[rows], self.similarity[rows])

    def hits(self) -> list[Hit]:
        """One object per row, for people and for programs."""
        columns = {name: getattr(self.persons, name).tolist() for name in COLUMNS}
        rows = zip(*columns.values(), self.similarity.tolist(), strict=True)
        hits = []
        for *values, similarity in rows:
            row = dict(zip(columns, values, strict=True))
            row |= {"time": to_datetime(row["time"]), "box": tuple(row["box"])}
            hits.append(Hit(**row, similarity=similarity))
        return hits


@dataclass(frozen=True)
class Filter:
    """Which rows; every condition that is given has to hold.

    Attributes:
        cameras: of one of them.
        since: at that time or later. Rows of unknown time fit neither this nor ``until``.
        until: before that time.
        min_score: detected with that score or a higher one.
        pictures: in one of them.
    """

    cameras: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    pictures: tuple[str, ...] = ()

    def conditions(self) -> list[tuple[str, str, object]]:
        """(column, one of ``in >= <``, value) each."""
        found: list[tuple[str, str, object]] = []
        if self.cameras:
            found.append(("camera", "in", self.cameras))
        if self.since or self.until:
            found.append(("time", ">=", max(0, to_milliseconds(self.since))))
        if self.until:
            found.append(("time", "<", to_milliseconds(self.until)))
        if self.min_score is not None:
            found.append(("score", ">=", float(np.float32(self.min_score))))
        if self.pictures:
            found.append(("picture", "in", self.pictures))
        return found

    def mask(self, persons: Persons) -> np.ndarray:
        """(N,) bool."""
        mask = np.ones(len(persons), bool)
        for name, operator, value in self.conditions():
            column = getattr(persons, name)
            if operator == "in":
                mask &= np.isin(column, np.array(value, object))
            else:
                mask &= column >= value if operator == ">=" else column < value
        return mask

    def expression(self, quote: Callable[[str], str], brackets: str) -> str:
        """In the words that the query languages of the engines share; "" for no condition.

        Args:
            quote: makes a string literal.
            brackets: around a list, as "()".
        """

        def literal(value) -> str:
            if isinstance(value, tuple):
                return brackets[0] + ", ".join(map(quote, value)) + brackets[1]
            return repr(value)

        return " and ".join(f"{name} {op} {literal(v)}" for name, op, v in self.conditions())
