"""A gallery that is adapted to its own cameras (:mod:`person_search.evaluation.adaptation`).

The rows keep the embeddings of their model. The transform is a note of the gallery, so it applies
to rows that come later as well, and is undone by forgetting it. A search in an adapted gallery
reads and transforms every row that fits, and is exact.

Shape shorthand in this module:
    Q: queries; D: embedding size
"""

import base64
import hashlib
import io
import json
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from person_search.errors import GalleryError
from person_search.evaluation.adaptation import Adaptation, fit_adaptation
from person_search.files import read_npz

from .engines import GalleryIndex
from .persons import Filter, Key, Matches, Persons

if TYPE_CHECKING:  # reading pictures is not needed to say what a gallery holds
    from .queries import Query

FORMAT = 2
NOTE = "adaptation"
PART_NOTE = "adapted:"
"""Names of the notes: which version is in force, and the parts of each version (prefix, version,
number). The parts are written before the note that puts them in force, and old ones are deleted
after it, so that a search always finds one whole adaptation."""

PART = 60_000
"""Characters of a part: Milvus takes 65,535."""

VERSION = re.compile("[0-9a-f]{8}")
"""What a version looks like; it becomes part of the name of a file."""

NO_CAMERA = "\0"
"""Of a query: no camera of a gallery is called so, so that it gets the gallery's mean."""

MOST_ROWS = 100_000
"""Rows that a fit holds in memory: with 512 numbers each about a gigabyte in all."""

REFIT_AT = 1.2
"""A refit is due once the gallery has so many times the rows that were there."""


@dataclass(frozen=True, eq=False)
class GalleryAdaptation:
    """The adaptation of a gallery.

    Attributes:
        version: changes with every fit; thresholds are of one version.
        found: the transform.
        rows: how many the gallery had then; of many, it was fitted on a sample.
    """

    version: str
    found: Adaptation
    rows: int

    def adapt_queries(self, gallery: GalleryIndex, queries: Sequence["Query"]) -> np.ndarray:
        """(Q, D) adapted embeddings of queries.

        A query's camera is known where its pictures are in the gallery, and all of one camera.
        """
        cameras = [_camera_of(gallery, query) for query in queries]
        return self.found.apply(np.stack([query.embed for query in queries]), np.array(cameras))

    def nearest(
        self,
        gallery: GalleryIndex,
        embeds: np.ndarray,
        top_k: int,
        where: Filter | None = None,
    ) -> list[Matches]:
        """The most similar rows of each adapted query, with adapted embeddings, best first."""
        best = [Matches(Persons.none(embeds.shape[1]), np.zeros(0, np.float32)) for _ in embeds]
        for part in gallery.rows(where):
            adapted = self.found.apply(part.embed, part.camera.astype(str))
            part = replace(part, embed=adapted)
            for query, similarity in enumerate(embeds @ adapted.T):
                rows = np.argsort(-similarity, kind="stable")[:top_k]
                best[query] = _better(best[query], Matches(part[rows], similarity[rows]), top_k)
        return best

    def note(self, gallery: GalleryIndex) -> str:
        """What it is, and whether it is due for a refit, in one line."""
        rows = gallery.count()
        due = rows > REFIT_AT * self.rows
        new = f"; {rows - self.rows} rows came since: fit it anew" if due else ""
        return f"version {self.version}: {self.found.describe()}{new}"


def _camera_of(gallery: GalleryIndex, query: "Query") -> str:
    pictures = tuple(os.path.abspath(image.picture) for image in query.images)
    if not pictures:
        return NO_CAMERA
    cameras: set[str] = set()
    for part in gallery.rows(Filter(pictures=pictures), embeds=False):
        cameras |= set(part.camera)
    return cameras.pop() if len(cameras) == 1 else NO_CAMERA


def _better(one: Matches, two: Matches, top_k: int) -> Matches:
    """The ``top_k`` best of both, earlier ones first on equal similarity."""
    similarity = np.concatenate([one.similarity, two.similarity])
    order = np.argsort(-similarity, kind="stable")[:top_k]
    return Matches(Persons.concatenate([one.persons, two.persons])[order], similarity[order])


def adapt_gallery(gallery: GalleryIndex, confirmed: Mapping[Key, str] | None = None) -> Adaptation:
    """Fit the adaptation of a gallery to its rows, and remember it where it changes anything.

    An older one is replaced. One that is fitted to too few pairs is not kept, nor is an older one.
    Of a gallery with more than :data:`MOST_ROWS` rows it is fitted on some of its frames.

    Args:
        gallery: which.
        confirmed: row -> name of the person, where somebody confirmed it.

    Raises:
        GalleryError: a row that was confirmed is not in the gallery.
    """
    confirmed, rows = confirmed or {}, gallery.count()
    persons = _sample(gallery, MOST_ROWS / max(rows, 1), {(key[0], key[1]) for key in confirmed})
    films = persons.picture.astype(str)
    pairs = _confirmed_pairs(persons, confirmed)
    found = fit_adaptation(persons.embed, persons.camera.astype(str), films, persons.seconds, pairs)
    if found.changes:
        _write(gallery, found, rows)
    else:
        forget_adaptation(gallery)
    return found


def _sample(gallery: GalleryIndex, share: float, wanted: set[tuple[str, int]]) -> Persons:
    """About that share of the frames, chosen by their names, and all frames that are wanted."""
    parts = [Persons.none(gallery.model.dim)]
    for part in gallery.rows():
        if share < 1:
            frames = list(zip(part.picture, part.frame.tolist(), strict=True))
            marks = {frame: zlib.crc32(f"{frame[0]}\0{frame[1]}".encode()) for frame in set(frames)}
            part = part[[marks[f] < share * 2**32 or f in wanted for f in frames]]
        parts.append(part)
    return Persons.concatenate(parts)


def _confirmed_pairs(persons: Persons, confirmed: Mapping[Key, str]) -> np.ndarray:
    """(P, 2) rows that show one person, as somebody confirmed.

    The rows of a person, by camera, film and second, are each paired with the one half of them
    away, which joins cameras where it can: of a a b b those are 0-2, 1-3. Rows of one frame are no
    pair.
    """
    keys = zip(persons.picture, persons.frame.tolist(), persons.number.tolist(), strict=True)
    row_of = {key: row for row, key in enumerate(keys) if key in confirmed}
    for picture, frame, number in confirmed.keys() - row_of.keys():
        raise GalleryError(
            f"person {number} of frame {frame} of {picture} was confirmed, and is not in the "
            "gallery: search it again, and confirm what is found now"
        )
    of_person: dict[str, list[int]] = defaultdict(list)
    for key, row in sorted(row_of.items(), key=lambda k: (persons.camera[k[1]], k[0])):
        of_person[confirmed[key]].append(row)
    pairs = {
        (min(one, other), max(one, other))
        for rows in of_person.values()
        for one, other in zip(rows, rows[len(rows) // 2 :] + rows[: len(rows) // 2], strict=True)
        if (persons.picture[one], persons.frame[one])
        != (persons.picture[other], persons.frame[other])
    }
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def adaptation_version(gallery: GalleryIndex) -> str | None:
    """The version of a gallery's adaptation, or None where it has none.

    Raises:
        GalleryError: its note is damaged, or of a newer version of this program.
    """
    about = _read_note(gallery)
    return None if about is None else about["version"]


def read_adaptation(gallery: GalleryIndex) -> GalleryAdaptation | None:
    """The adaptation of a gallery, or None where it has none.

    Raises:
        GalleryError: it is damaged, was not written to its end, or is of a newer version.
    """
    about = _read_note(gallery)
    while about is not None:
        try:
            return GalleryAdaptation(about["version"], _read_parts(gallery, about), about["rows"])
        except (ValueError, LookupError, TypeError, OSError) as error:
            # Another process may have fitted it anew since the note was read.
            before, about = about, _read_note(gallery)
            if about == before:
                raise _damaged(gallery, error) from error
    return None


def _read_parts(gallery: GalleryIndex, about: dict) -> Adaptation:
    prefix = f"{PART_NOTE}{about['version']}:"
    parts = gallery.read_notes(prefix)
    data = base64.b64decode("".join(parts[f"{prefix}{i:06}"] for i in range(about["parts"])))
    if _digest(data) != about["version"]:
        raise ValueError("its parts are not what was written")
    found = Adaptation.from_arrays(read_npz(io.BytesIO(data)))
    if found.transform.shape != (gallery.model.dim,) * 2:
        raise ValueError(f"it is for embeddings of size {len(found.transform)}")
    return found


def forget_adaptation(gallery: GalleryIndex) -> bool:
    """Search with the embeddings of the model again; whether there was an adaptation."""
    there_was = NOTE in gallery.read_notes(NOTE)
    # The note goes first: without it the parts mean nothing.
    gallery.delete_notes([NOTE])
    gallery.delete_notes(list(gallery.read_notes(PART_NOTE)))
    return there_was


def _read_note(gallery: GalleryIndex) -> dict | None:
    """Version and number of parts of the adaptation that is in force."""
    text = gallery.read_notes(NOTE).get(NOTE)
    if text is None:
        return None
    try:
        about = json.loads(text)
        if about["format"] > FORMAT:
            raise GalleryError(
                f"{gallery.uri} was adapted by a newer version of this program: update it, or "
                "run person-search adapt with --undo"
            )
        if about["format"] < FORMAT:
            raise ValueError("it was made by an older version of this program")
        numbers = about["parts"], about["rows"]
        if not VERSION.fullmatch(about["version"]) or {*map(type, numbers)} != {int}:
            raise ValueError("its note is not one")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(gallery, error) from error
    return about


def _damaged(gallery: GalleryIndex, reason: Exception) -> GalleryError:
    return GalleryError(
        f"the adaptation of {gallery.uri} cannot be read ({reason}): run person-search adapt "
        f"{gallery.uri} again, or with --undo"
    )


def _write(gallery: GalleryIndex, found: Adaptation, rows: int) -> None:
    file = io.BytesIO()
    arrays = found.arrays()
    small = {name: arrays[name].astype(np.float32) for name in ("means", "transform")}
    np.savez(file, **{**arrays, **small})
    version, text = _digest(file.getvalue()), base64.b64encode(file.getvalue()).decode()
    prefix = f"{PART_NOTE}{version}:"
    parts = [text[i : i + PART] for i in range(0, len(text), PART)]
    gallery.write_notes({f"{prefix}{i:06}": part for i, part in enumerate(parts)})
    about = {"format": FORMAT, "version": version, "parts": len(parts), "rows": rows}
    gallery.write_notes({NOTE: json.dumps(about)})
    old = [name for name in gallery.read_notes(PART_NOTE) if not name.startswith(prefix)]
    gallery.delete_notes(old)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
