"""The rows of a gallery as a file for other programs."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from person_search.errors import GalleryError
from person_search.files import atomic_write

from .engines import GalleryIndex
from .persons import COLUMNS, Filter, Persons, to_datetime


def export_rows(
    gallery: GalleryIndex, path: str, where: Filter | None = None, form: str | None = None
) -> int:
    """Write the rows that fit to a file; a reader sees the old file or the whole new one.

    Args:
        gallery: whose.
        path: of the file.
        where: which rows.
        form: "csv", "jsonl", or "npz", which alone holds the embeddings, too; None: what the
            suffix of the path says.

    Returns:
        The number of rows.

    Raises:
        GalleryError: no such format, or the file cannot be written.
    """
    form = form or Path(path).suffix.lower().removeprefix(".")
    if form not in WRITERS:
        names = ", ".join(f".{name}" for name in WRITERS)
        raise GalleryError(f"cannot write {path}: the name has to end in {names}")
    parts = list(gallery.rows(where, embeds=form == "npz"))
    try:
        with atomic_write(path) as temporary:
            WRITERS[form](temporary, parts)
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


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: "=1+1" becomes "'=1+1"."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write_csv(path: Path, parts: list[Persons]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([name for name in COLUMNS if name != "box"] + ["x1", "y1", "x2", "y2"])
        for record in _records(parts):
            box = record.pop("box")
            values = [_cell(v) if isinstance(v, str) else v for v in record.values()]
            writer.writerow([*values, *box])


def _write_jsonl(path: Path, parts: list[Persons]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in _records(parts))


def _write_npz(path: Path, parts: list[Persons]) -> None:
    columns = Persons.concatenate(parts).columns() if parts else {}
    with open(path, "wb") as file:
        arrays = {n: c.astype(str) if c.dtype == object else c for n, c in columns.items()}
        np.savez_compressed(file, **cast(dict[str, Any], arrays))


WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "npz": _write_npz}
"""By the name of the format."""
