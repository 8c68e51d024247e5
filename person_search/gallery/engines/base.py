"""The gallery: persons with their embeddings, in whichever engine its address names.

Shape shorthand in this module:
    N: rows; Q: queries; D: embedding size
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite

import numpy as np

from person_search.errors import GalleryError
from person_search.structures import GalleryModel

from ..persons import Filter, Hit, Matches, Persons, to_datetime

MODEL_NOTE = "model"
FILE_NOTE, BEGUN_NOTE = "file:", "begun:"
"""Names of the notes in a gallery: its model, how each file was read that was indexed to its end,
and how those are read of which some rows may be there (prefix + path)."""

MODEL_KINDS = ("detectron2", "pack")
MOST_DIMENSIONS = 65_536
"""No embedding has more numbers than that."""


@dataclass(frozen=True)
class Contents:
    """What a gallery holds, in short.

    Attributes:
        cameras: name -> persons; "" unknown.
        first, last: earliest and latest known time, or None.
    """

    cameras: Counter[str]
    first: datetime | None = None
    last: datetime | None = None


class GalleryIndex(ABC):
    """Five verbs on one gallery: upsert, search, delete, count, optimize; and what it remembers.

    Rows that are upserted under a key that is there replace the old ones, see ``Persons.keys``.
    Beside the rows a gallery keeps notes, short texts by name, such as its model and which files
    it has seen. :func:`person_search.gallery.open_gallery` makes one.

    Args:
        uri: its address.

    Attributes:
        model: what made its embeddings.
    """

    model: GalleryModel

    def __init__(self, uri: str):
        self.uri = uri

    def upsert(self, persons: Persons) -> None:
        """Write rows; call it with a thousand or more at a time."""
        self._check(persons.embed)
        if len(persons):
            keys = persons.keys()
            last = list({key: row for row, key in enumerate(keys)}.values())
            self._upsert([keys[row] for row in last], persons[last])

    def search(
        self, embeds: np.ndarray, top_k: int = 20, where: Filter | None = None
    ) -> list[list[Hit]]:
        """The most similar persons of each query, best first, as :meth:`nearest` finds them."""
        return [matches.hits() for matches in self.nearest(embeds, top_k, where)]

    def nearest(
        self,
        embeds: np.ndarray,
        top_k: int = 20,
        where: Filter | None = None,
        with_embeds: bool = False,
    ) -> list[Matches]:
        """The most similar rows of each query.

        Args:
            embeds: (Q, D), unit length.
            top_k: how many rows per query at most.
            where: only rows that fit.
            with_embeds: bring the embeddings of the rows along.

        Raises:
            GalleryError: the embeddings are not of the gallery's model, or it cannot be read.
        """
        embeds = np.ascontiguousarray(embeds, np.float32)
        self._check(embeds)
        if top_k < 1:
            raise GalleryError(f"top_k is {top_k}; ask for one hit or more")
        return self._search(embeds, top_k, where or Filter(), with_embeds) if len(embeds) else []

    def _check(self, embeds: np.ndarray) -> None:
        if embeds.ndim != 2 or embeds.shape[1] != self.model.dim:
            raise GalleryError(
                f"the gallery {self.uri} holds embeddings of size {self.model.dim}, these are "
                f"{embeds.shape}: they are of another model"
            )
        # NaN is not near 1 either.
        if not (np.abs(np.linalg.norm(embeds, axis=1) - 1) < 1e-2).all():
            raise GalleryError("an embedding is not of unit length: its model is damaged")

    @abstractmethod
    def _upsert(self, keys: list[str], persons: Persons) -> None:
        """Write rows whose keys are distinct."""

    @abstractmethod
    def _search(
        self, embeds: np.ndarray, top_k: int, where: Filter, with_embeds: bool
    ) -> list[Matches]:
        """See :meth:`nearest`; there is at least one query."""

    @abstractmethod
    def delete(self, where: Filter) -> int:
        """Remove the rows that fit; an empty filter removes all. Returns how many there were."""

    @abstractmethod
    def count(self, where: Filter | None = None) -> int:
        """How many rows fit."""

    @abstractmethod
    def rows(self, where: Filter | None = None, embeds: bool = True) -> Iterator[Persons]:
        """All rows that fit, in parts, in no order; ``embeds`` False: with D = 0."""

    @abstractmethod
    def optimize(self) -> None:
        """Tidy up after many writes; may build a search index, which can take minutes."""

    @abstractmethod
    def write_notes(self, notes: Mapping[str, str]) -> None:
        """Remember texts by name; a name that is there gets the new text."""

    @abstractmethod
    def read_notes(self, prefix: str = "") -> dict[str, str]:
        """The notes whose names start so."""

    @abstractmethod
    def delete_notes(self, names: list[str]) -> None:
        """Forget notes."""

    @abstractmethod
    def engine(self) -> str:
        """What keeps the rows and how they are searched, in words for people."""

    def close(self) -> None:  # noqa: B027  (most engines have nothing to close)
        """Let go of files and connections."""

    def files(self) -> dict[str, str]:
        """Path -> how it was read, of every file that was indexed to its end."""
        return self._notes_of_files(FILE_NOTE)

    def begun_files(self) -> dict[str, str]:
        """Path -> how it was being read, of files that may have some of their rows only."""
        return self._notes_of_files(BEGUN_NOTE)

    def _notes_of_files(self, prefix: str) -> dict[str, str]:
        notes = self.read_notes(prefix)
        return {name.removeprefix(prefix): text for name, text in notes.items()}

    def contents(self) -> Contents:
        """Cameras and span of time; reads all rows, without their embeddings."""
        cameras: Counter[str] = Counter()
        times: list[int] = []
        for part in self.rows(embeds=False):
            cameras.update(part.camera)
            known = part.time[part.time >= 0]
            times += [known.min(), known.max()] if len(known) else []
        return Contents(cameras, *(to_datetime(f(times)) for f in (min, max) if times))

    def begin_files(self, stamps: Mapping[str, str]) -> None:
        """Remember that rows of files are about to be written, and how the files are read."""
        self.write_notes({BEGUN_NOTE + path: stamp for path, stamp in stamps.items()})

    def write_files(self, stamps: Mapping[str, str]) -> None:
        """Remember that files were indexed to their ends, and how they were read."""
        self.write_notes({FILE_NOTE + path: stamp for path, stamp in stamps.items()})
        self.end_files(list(stamps))

    def end_files(self, paths: list[str]) -> None:
        """Forget that files have begun: they are whole, or gone."""
        self.delete_notes([BEGUN_NOTE + path for path in paths])

    def delete_files(self, paths: list[str]) -> int:
        """Remove files with all their persons; returns how many persons.

        Whenever it is interrupted, what is left is either a whole file, or one that has begun.
        """
        removed = 0
        for i in range(0, len(paths), 500):
            some = paths[i : i + 500]
            self.begin_files(dict.fromkeys(some, ""))
            self.delete_notes([FILE_NOTE + path for path in some])
            removed += self.delete(Filter(pictures=tuple(some)))
            self.end_files(some)
        return removed

    def _remember(self, model: GalleryModel | None) -> None:
        """Settle :attr:`model`: the gallery's own, which a given one has to equal."""
        notes = self.read_notes(MODEL_NOTE)
        if not notes:
            if model is None:
                raise GalleryError(f"{self.uri} holds no gallery: its first indexing did not begin")
            self.write_notes({MODEL_NOTE: json.dumps(asdict(model))})
            notes = self.read_notes(MODEL_NOTE)
        self.model = _parse_model(notes[MODEL_NOTE], self.uri)
        if model is not None:
            self.model.require_same(model, self.uri)


def _parse_model(note: str, uri: str) -> GalleryModel:
    """The model of a gallery, which may come from anybody.

    Raises:
        GalleryError: the note is not one of a model.
    """
    try:
        content = json.loads(note)
        model = GalleryModel(**content)
        texts = (model.config, model.weights, model.config_hash, model.weights_hash)
        sound = (
            all(isinstance(text, str) for text in texts)
            and type(model.dim) is int
            and 1 <= model.dim <= MOST_DIMENSIONS
            and type(model.score_thresh) in (int, float)
            and isfinite(model.score_thresh)
            and model.kind in MODEL_KINDS
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise GalleryError(f"the model note of the gallery {uri} is damaged: {error}") from error
    if not sound:
        raise GalleryError(
            f"the model note of the gallery {uri} is damaged, or of a newer version: a value has "
            "another kind or lies out of range"
        )
    return model
