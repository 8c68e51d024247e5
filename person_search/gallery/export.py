"""The rows of a gallery as a file for other programs."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from person_search.errors import GalleryError

from .engines import GalleryIndex
from .persons import COLUMNS, Filter, Persons, to_datetime


def export_rows(gallery: GalleryIndex, path: str, where: Filter | None = None) -> int:
    """Write the rows that fit to a file; returns how many.

    Args:
        gallery: whose.
        path: ends in .csv, .jsonl, or .npz, which alone holds the embeddings, too.
        where: which rows.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise GalleryError(f"cannot write {path}: the name has to end in {', '.join(WRITERS)}")
    parts = list(gallery.rows(where, embeds=suffix == ".npz"))
    try:
        WRITERS[suffix](path, parts)
    except OSError as error:
        raise GalleryError(f"cannot write {path}: {error.strerror}") from error
    return sum(map(len, parts))


def _records(parts: list[Persons]) -> Iterator[dict]:
    for part in parts:
        columns = {name: column.tolist() for name, column in part.columns().items()}
        for row in zip(*(columns[name] for name in COLUMNS), strict=True):
            record = dict(zip(COLUMNS, row, strict=True))
            time = to_datetime(record["time"])
            yield {**record, "time": time and time.isoformat()}


def _write_csv(path: str, parts: list[Persons]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([name for name in COLUMNS if name != "box"] + ["x1", "y1", "x2", "y2"])
        for record in _records(parts):
            box = record.pop("box")
            writer.writerow([*record.values(), *box])


def _write_jsonl(path: str, parts: list[Persons]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in _records(parts))


def _write_npz(path: str, parts: list[Persons]) -> None:
    columns = Persons.concatenate(parts).columns() if parts else {}
    np.savez_compressed(
        path, **{n: c.astype(str) if c.dtype == object else c for n, c in columns.items()}
    )


WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".npz": _write_npz}
"""By the end of the file's name."""
