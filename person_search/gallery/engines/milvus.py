"""A gallery on a Milvus server or cluster, for what outgrows one machine.

``http(s)://host:port`` or ``http(s)://host:port/name`` for one of several galleries; the
environment variable ``MILVUS_TOKEN`` holds "user:password" where the server asks for it. A file
name that ends in ``.db`` runs the same code on Milvus Lite, in this process: for tests.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from person_search.errors import GalleryError
from person_search.files import optional_module

from ..persons import COLUMNS, Filter, Matches, Persons
from .base import GalleryIndex, GalleryModel

MOST_HITS = 16_384
"""A server returns no more per query."""

BYTES_PER_CALL = 16 * 2**20
"""A server takes at most 64 MB."""

ROWS_PER_PART = 1000
_KINDS = {
    **dict.fromkeys(("picture", "camera"), object),
    **dict.fromkeys(("frame", "number", "time"), np.int64),
    "seconds": np.float64,
}


class MilvusIndex(GalleryIndex):
    """A gallery that Milvus keeps.

    Args:
        uri: see above.
        model: what makes the embeddings; None opens a gallery that is there.
    """

    def __init__(self, uri: str, model: GalleryModel | None):
        super().__init__(uri)
        self._milvus = optional_module("pymilvus", "gallery", GalleryError)
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # we report its errors
        self._is_local = uri.endswith(".db")
        if self._is_local:
            optional_module("milvus_lite", "gallery", GalleryError)
            address, name = uri, ""
            if model is None and not Path(uri).exists():
                raise GalleryError(f"there is no gallery in {uri}")
        else:
            parts = urlsplit(uri)
            address, name = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
        self._names = {kind: f"{name or 'gallery'}_{kind}" for kind in ("persons", "notes")}
        with self._reported("cannot open"):
            token = os.environ.get("MILVUS_TOKEN", "")
            self._client = self._milvus.MilvusClient(address, token=token)
            try:
                self._open("notes", self._notes_schema, create=model is not None)
                self._remember(model)
                self._open("persons", self._persons_schema, create=True)
            except BaseException:
                self._client.close()  # or its threads go on asking the server
                raise

    @contextmanager
    def _reported(self, failed: str) -> Iterator[None]:
        """Turns an error of Milvus into one line; ``failed`` begins it."""
        try:
            yield
        except (self._milvus.MilvusException, OSError, ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise GalleryError(f"{failed} the gallery {self.uri}: {reason}") from error

    def _open(self, kind: str, schema, create: bool) -> None:
        name = self._names[kind]
        if not self._client.has_collection(name):
            if not create:
                raise GalleryError(f"there is no gallery in {self.uri}")
            # "Strong": a search sees what was written before it, by whomever.
            fields, index = schema()
            self._client.create_collection(
                name, schema=fields, index_params=index, consistency_level="Strong"
            )
        self._client.load_collection(name)

    def _schema(self):
        return self._milvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)

    def _notes_schema(self):
        kinds, schema = self._milvus.DataType, self._schema()
        schema.add_field("name", kinds.VARCHAR, is_primary=True, max_length=8192)
        schema.add_field("text", kinds.VARCHAR, max_length=65_535)
        schema.add_field("unused", kinds.FLOAT_VECTOR, dim=2)  # no collection without a vector
        index = self._client.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="L2")
        return schema, index

    def _persons_schema(self):
        kinds, schema = self._milvus.DataType, self._schema()
        schema.add_field("key", kinds.VARCHAR, is_primary=True, max_length=64)
        schema.add_field("picture", kinds.VARCHAR, max_length=8192)
        schema.add_field("camera", kinds.VARCHAR, max_length=1024)
        for name in ("frame", "number", "time"):
            schema.add_field(name, kinds.INT64)
        schema.add_field("seconds", kinds.DOUBLE)
        schema.add_field("score", kinds.FLOAT)
        schema.add_field("box", kinds.ARRAY, element_type=kinds.FLOAT, max_capacity=4)
        schema.add_field("embed", kinds.FLOAT_VECTOR, dim=self.model.dim)
        index = self._client.prepare_index_params()
        # Milvus Lite filters an approximate index badly, and is for small data anyway.
        kind = "FLAT" if self._is_local else "AUTOINDEX"
        index.add_index("embed", index_type=kind, metric_type="COSINE")
        for name in ("camera", "time", "picture"):
            index.add_index(name, index_type="INVERTED")
        return schema, index

    def _upsert(self, keys: list[str], persons: Persons) -> None:
        columns = {"key": keys}
        for name, column in persons.columns().items():
            columns[name] = list(column) if name == "embed" else column.tolist()
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        at_once = max(1, BYTES_PER_CALL // (4 * self.model.dim + 1024))
        with self._reported("cannot write to"):
            for start in range(0, len(rows), at_once):
                self._client.upsert(self._names["persons"], rows[start : start + at_once])

    def _search(
        self, embeds: np.ndarray, top_k: int, where: Filter, with_embeds: bool
    ) -> list[Matches]:
        names = [*COLUMNS, "embed"] if with_embeds else [*COLUMNS]
        with self._reported("cannot search"):
            found = self._client.search(
                self._names["persons"],
                data=list(embeds),
                anns_field="embed",
                limit=min(top_k, MOST_HITS),
                filter=_expression(where),
                output_fields=names,
                search_params={"metric_type": "COSINE", "params": {}},
            )
        return [
            Matches(
                _from_rows([row["entity"] for row in rows], names),
                np.array([row["distance"] for row in rows], np.float32),
            )
            for rows in found
        ]

    def delete(self, where: Filter) -> int:
        """See :class:`GalleryIndex`."""
        removed = self.count(where)
        if removed:
            with self._reported("cannot write to"):
                self._client.delete(
                    self._names["persons"], filter=_expression(where) or 'key != ""'
                )
        return removed

    def count(self, where: Filter | None = None) -> int:
        """See :class:`GalleryIndex`."""
        with self._reported("cannot read"):
            found = self._client.query(
                self._names["persons"],
                filter=_expression(where or Filter()),
                output_fields=["count(*)"],
            )
        return found[0]["count(*)"]

    def _all(self, kind: str, expression: str, columns: list[str]) -> Iterator[list[dict]]:
        """Every row that fits, in parts: a plain query would be cut off at ``MOST_HITS``."""
        with self._reported("cannot read"):
            parts = self._client.query_iterator(
                self._names[kind],
                batch_size=ROWS_PER_PART,
                filter=expression,
                output_fields=columns,
            )
            while part := parts.next():
                yield part
            parts.close()

    def rows(self, where: Filter | None = None, embeds: bool = True) -> Iterator[Persons]:
        """See :class:`GalleryIndex`."""
        names = [*COLUMNS, "embed"] if embeds else [*COLUMNS]
        for part in self._all("persons", _expression(where or Filter()), names):
            yield _from_rows(part, names)

    def optimize(self) -> None:
        """Nothing to do: Milvus builds its index and merges its segments by itself."""

    def write_notes(self, notes: Mapping[str, str]) -> None:
        """See :class:`GalleryIndex`."""
        rows = [{"name": n, "text": t, "unused": [0.0, 0.0]} for n, t in notes.items()]
        if rows:
            with self._reported("cannot write to"):
                self._client.upsert(self._names["notes"], rows)

    def read_notes(self, prefix: str = "") -> dict[str, str]:
        """See :class:`GalleryIndex`."""
        parts = self._all("notes", f"name like {_quote(prefix + '%')}", ["name", "text"])
        return {row["name"]: row["text"] for part in parts for row in part}

    def delete_notes(self, names: list[str]) -> None:
        """See :class:`GalleryIndex`."""
        with self._reported("cannot write to"):
            for start in range(0, len(names), ROWS_PER_PART):
                listed = ", ".join(map(_quote, names[start : start + ROWS_PER_PART]))
                self._client.delete(self._names["notes"], filter=f"name in [{listed}]")

    def engine(self) -> str:
        """See :class:`GalleryIndex`."""
        return "Milvus Lite, exact search" if self._is_local else "Milvus"

    def close(self) -> None:
        """See :class:`GalleryIndex`."""
        self._client.close()


def _from_rows(rows: list[dict], names: list[str]) -> Persons:
    if not rows:
        return Persons.none(0)
    values = {name: [row[name] for row in rows] for name in names}
    values.setdefault("embed", [[]] * len(rows))
    kinds = dict.fromkeys(values, np.float32) | _KINDS
    return Persons(**{name: np.array(values[name], kinds[name]) for name in values})


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _expression(where: Filter) -> str:
    return where.expression(_quote, "[]")
