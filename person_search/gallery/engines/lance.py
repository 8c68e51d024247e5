"""A gallery in a folder or an object store, kept by LanceDB: no server, any number of processes.

Searching is exact up to :data:`EXACT_ROWS` rows that fit the filter, and whenever there is no
index; beyond, an IVF index with 8-bit codes finds candidates, which are then compared exactly.
LanceDB runs threads of its own: start other processes with "spawn", never fork.
"""

import ctypes
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from person_search.errors import GalleryError
from person_search.files import optional_module

from ..persons import COLUMNS, Filter, Matches, Persons
from .base import GalleryIndex, GalleryModel

logger = logging.getLogger(__name__)

EXACT_ROWS = 50_000
"""Up to this number of fitting rows, all are compared: fast, and narrow filters stay exact."""

INDEX_ROWS = 200_000
"""Rows from which :meth:`LanceIndex.optimize` builds an index; below, a scan is as fast."""

GROWTH = 4
"""The index is trained anew when the gallery has grown by this factor since."""

TRAINED_NOTE = "trained"
"""Name of the note with the number of rows that the index was trained for."""

PROBED, REFINE = 0.4, 2
"""Share of the index's partitions that are read; candidates per hit that are compared exactly."""

TIDY_COMMITS = 100, 500
"""Numbers of writes after which small files are merged, since thousands of them make every search
slow: after the first number if they hold half of all rows (merging earlier would write everything
again and again), after the second in any case."""

KEPT_VERSIONS = timedelta(minutes=10)
"""Old versions stay so long, since another process may still be reading one."""

ATTEMPTS = 20
"""At a write that another process overtook."""

PANICS = ("RustPanic", "PanicException")
"""What Python sees of a panic in LanceDB's Rust code, as over a damaged file."""

M_MMAP_THRESHOLD = -3
"""Of glibc's mallopt."""

SCALAR_INDEXES = {"key": "BTREE", "picture": "BTREE", "time": "BTREE", "camera": "BITMAP"}
ROWS_PER_PART = 8192


class LanceIndex(GalleryIndex):
    """A gallery that LanceDB keeps.

    Args:
        uri: a folder, or ``s3://``, ``gs://``, ``az://``.
        model: what makes the embeddings; None opens a gallery that is there.
    """

    def __init__(self, uri: str, model: GalleryModel | None):
        super().__init__(uri)
        lancedb = optional_module("lancedb", "gallery", GalleryError)
        _keep_memory_flat()
        if "://" not in uri:
            if Path(uri).exists() and not Path(uri).is_dir():
                raise GalleryError(f"{uri} is a file; a gallery is a folder")
            if model is None and not (Path(uri) / "notes.lance").exists():
                raise GalleryError(f"there is no gallery in {uri}")
        self._commits = self._rows = 0
        with self._reported("cannot open"):
            # Zero: every read sees what other processes have written.
            self._db = lancedb.connect(uri, read_consistency_interval=timedelta(0))
            self._notes = self._table("notes", _notes_schema, create=model is not None)
            self._remember(model)
            self._persons = self._table(
                "persons", lambda: _persons_schema(self.model.dim), create=True
            )

    def _table(self, name: str, schema: Callable[[], Any], create: bool):
        """Open a table, or make it; another process may be doing the same."""
        for _ in range(ATTEMPTS):
            try:
                return self._db.open_table(name)
            except ValueError as error:
                if not create:
                    raise GalleryError(f"there is no gallery in {self.uri}") from error
            try:
                return self._db.create_table(name, schema=schema())
            except (OSError, RuntimeError, ValueError) as error:
                reason = error
                time.sleep(random.uniform(0.05, 0.2))
        raise reason

    @contextmanager
    def _reported(self, failed: str) -> Iterator[None]:
        """Turns an error of LanceDB into one line; ``failed`` begins it."""
        try:
            yield
        except BaseException as error:
            is_panic = type(error).__name__ in PANICS
            if not is_panic and not isinstance(error, (OSError, RuntimeError, ValueError)):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            reason = re.sub(r",? \S+\.rs:\d+(:\d+)?", "", reason)  # where in its Rust sources
            raise GalleryError(f"{failed} the gallery {self.uri}: {reason}") from error

    def _commit(self, write: Callable[[], Any]) -> Any:
        """Write, again if another process was faster."""
        for attempt in range(ATTEMPTS):
            try:
                with self._reported("cannot write to"):
                    return write()
            except GalleryError as error:
                if "conflict" not in str(error).lower() or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.05, 0.1) * (attempt + 1))

    @staticmethod
    def _merge(table, by: str, rows) -> None:
        merge = table.merge_insert(by).when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows)

    def _upsert(self, keys: list[str], persons: Persons) -> None:
        rows = _to_arrow(keys, persons, self._persons.schema)
        self._commit(lambda: self._merge(self._persons, "key", rows))
        self._commits += 1
        self._rows += len(persons)
        soonest, latest = TIDY_COMMITS
        if self._commits >= soonest:
            if self._commits >= latest or 2 * self._rows >= self.count():
                self._tidy()

    def _tidy(self) -> None:
        self._commits = self._rows = 0
        for table in (self._persons, self._notes):
            try:
                with self._reported("cannot tidy"):
                    table.optimize(cleanup_older_than=KEPT_VERSIONS)
            except GalleryError as error:  # it will be done another time, maybe by another process
                logger.debug("%s", error)

    def optimize(self) -> None:
        """See :class:`GalleryIndex`."""
        self._tidy()
        rows = self.count()
        if rows >= EXACT_ROWS:
            indexed = self._indexed()
            for column, kind in SCALAR_INDEXES.items():
                if column not in indexed:
                    self._commit(
                        partial(self._persons.create_scalar_index, column, index_type=kind)
                    )
        # Rows that came later are in the index, too, but its partitions were not made for them.
        trained = int(self.read_notes(TRAINED_NOTE).get(TRAINED_NOTE, 0))
        if rows >= max(INDEX_ROWS, GROWTH * trained):
            self._commit(lambda: self._build_index(rows))
            self.write_notes({TRAINED_NOTE: str(rows)})

    def _build_index(self, rows: int) -> None:
        self._persons.create_index(
            metric="cosine",
            vector_column_name="embed",
            index_type="IVF_SQ",
            num_partitions=_partitions(rows),
            replace=True,
        )

    def _indexed(self) -> set[str]:
        """The columns that have an index."""
        with self._reported("cannot read"):
            return {column for index in self._persons.list_indices() for column in index.columns}

    def _search(
        self, embeds: np.ndarray, top_k: int, where: Filter, with_embeds: bool
    ) -> list[Matches]:
        fitting = self.count(where)
        if not fitting:
            nobody = Persons.none(self.model.dim if with_embeds else 0)
            return [Matches(nobody, np.zeros(0, np.float32)) for _ in embeds]
        columns = [*COLUMNS, "embed"] if with_embeds else [*COLUMNS]
        with self._reported("cannot search"):
            query = self._persons.search(embeds, vector_column_name="embed")
            query = query.distance_type("cosine").limit(top_k).select([*columns, "_distance"])
            if where.conditions():
                query = query.where(_sql(where), prefilter=True)
            if fitting <= EXACT_ROWS:
                query = query.bypass_vector_index()
            else:
                probes = max(20, round(PROBED * _partitions(self.count())))
                query = query.nprobes(probes).refine_factor(REFINE)
            found = query.to_arrow()
        similarity = 1 - found.column("_distance").to_numpy()
        if "query_index" in found.schema.names:  # one query has no such column
            query_of_row = found.column("query_index").to_numpy()
        else:
            query_of_row = np.zeros(len(found), np.int64)
        persons = _from_arrow(found.select(columns))
        of_queries = [np.flatnonzero(query_of_row == query) for query in range(len(embeds))]
        return [Matches(persons[rows], similarity[rows]) for rows in of_queries]

    def delete(self, where: Filter) -> int:
        """See :class:`GalleryIndex`."""
        return self._commit(lambda: self._persons.delete(_sql(where) or "true")).num_deleted_rows

    def count(self, where: Filter | None = None) -> int:
        """See :class:`GalleryIndex`."""
        with self._reported("cannot read"):
            return self._persons.count_rows(_sql(where or Filter()) or None)

    def rows(self, where: Filter | None = None, embeds: bool = True) -> Iterator[Persons]:
        """See :class:`GalleryIndex`."""
        pa = optional_module("pyarrow", "gallery", GalleryError)
        with self._reported("cannot read"):
            query = self._persons.search().select([*COLUMNS, "embed"] if embeds else [*COLUMNS])
            if where and where.conditions():
                query = query.where(_sql(where))
            for part in query.to_batches(ROWS_PER_PART):
                if part.num_rows:
                    yield _from_arrow(pa.Table.from_batches([part]))

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """See :class:`GalleryIndex`."""
        if notes:
            rows = optional_module("pyarrow", "gallery", GalleryError).table(
                {"name": list(notes), "text": list(notes.values())}, schema=self._notes.schema
            )
            self._commit(lambda: self._merge(self._notes, "name", rows))

    def read_notes(self, prefix: str = "") -> dict[str, str]:
        """See :class:`GalleryIndex`."""
        with self._reported("cannot read"):
            query = self._notes.search().where(f"starts_with(name, {_quote(prefix)})")
            return {row["name"]: row["text"] for row in query.to_arrow().to_pylist()}

    def delete_notes(self, names: list[str]) -> None:
        """See :class:`GalleryIndex`."""
        for start in range(0, len(names), 500):
            listed = ", ".join(map(_quote, names[start : start + 500]))
            self._commit(partial(self._notes.delete, f"name in ({listed})"))

    def engine(self) -> str:
        """See :class:`GalleryIndex`."""
        return "LanceDB, " + ("IVF_SQ index" if "embed" in self._indexed() else "exact search")


def _keep_memory_flat() -> None:
    """Have buffers that are freed go back to the system, for this process.

    LanceDB's many threads allocate, copy and free buffers that grow with the gallery. Arrow's own
    pool keeps those that another thread freed, and so does glibc once it has raised the size from
    which it maps buffers by themselves; to set that size stops it from being raised.
    """
    pa = optional_module("pyarrow", "gallery", GalleryError)
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)
    except (OSError, TypeError, AttributeError):  # another C library
        pass


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sql(where: Filter) -> str:
    return where.expression(_quote, "()")


def _partitions(rows: int) -> int:
    """About half the root of the rows, a power of two."""
    return 2 ** round(log2(max(rows, 4) ** 0.5 / 2))


def _key_field(name: str):
    """A field by which two processes never insert the same row twice."""
    pa = optional_module("pyarrow", "gallery", GalleryError)
    key = {"lance-schema:unenforced-primary-key": "true"}
    return pa.field(name, pa.string(), nullable=False, metadata=key)


def _notes_schema():
    pa = optional_module("pyarrow", "gallery", GalleryError)
    return pa.schema([_key_field("name"), ("text", pa.string())])


def _persons_schema(dim: int):
    pa = optional_module("pyarrow", "gallery", GalleryError)
    return pa.schema(
        [
            _key_field("key"),
            ("picture", pa.string()),
            ("frame", pa.int64()),
            ("number", pa.int64()),
            ("seconds", pa.float64()),
            ("time", pa.int64()),
            ("camera", pa.string()),
            ("box", pa.list_(pa.float32(), 4)),
            ("score", pa.float32()),
            ("embed", pa.list_(pa.float32(), dim)),
        ]
    )


def _to_arrow(keys: list[str], persons: Persons, schema):
    pa = optional_module("pyarrow", "gallery", GalleryError)
    columns: dict[str, Any] = {"key": keys, **persons.columns()}
    for name in ("box", "embed"):
        flat = pa.array(columns[name].ravel())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, columns[name].shape[1])
    return pa.table(columns, schema=schema)


def _from_arrow(table) -> Persons:
    columns = {"embed": np.zeros((table.num_rows, 0), np.float32)}
    for name in table.schema.names:
        column = table.column(name).combine_chunks()
        if name in ("box", "embed"):
            columns[name] = column.flatten().to_numpy().reshape(-1, column.type.list_size)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return Persons(**columns)
