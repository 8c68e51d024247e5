"""Galleries: time to fill, size, query latency, recall and memory, against exact search.

Embeddings are synthetic: identities of --persons rows each, so wide that only a half to three
quarters of a query's --persons nearest rows are of its own identity. Queries are held out. Every
step runs in a process of its own, so memory is that of the step; what is searched was closed and
opened again. Exact search (numpy, blocks, float32) of the same rows is the reference of recall and
ratios. "narrow" searches one of fifty cameras. With --pictures, instead, real files are indexed,
and the seconds of every stage are printed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from person_search.errors import ConfigError
from person_search.gallery import Filter, GalleryModel, Persons, open_gallery
from person_search.gallery.engines.exact import exact_top_k

from .common import device_name, in_fresh_process, peak_gib, print_rows

CAMERAS = 50
ROWS_PER_WRITE = 10_000
ADDRESSES = {"lance": "gallery", "milvus": "gallery.db"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000], help="in rows")
    parser.add_argument("--dim", type=int, default=256, help="size of an embedding")
    parser.add_argument("--persons", type=int, default=20, help="rows per identity")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--engines", nargs="+", choices=ADDRESSES, default=["lance"])
    parser.add_argument("--folder", help="where the galleries are made (default: temporary)")
    parser.add_argument("--pictures", help="index this folder, and measure the stages of that")
    parser.add_argument("--model", help="config file, for --pictures")
    parser.add_argument("--weights", help="trained with it")
    parser.add_argument("--batch-size", type=int, default=4, help="frames per pass")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.pictures:
            index_pictures(args, Path(folder))
        else:
            measure(args, Path(folder))


def measure(args: argparse.Namespace, folder: Path) -> None:
    """A row for exact search and one for each engine, for every size."""
    rows = []
    for size in args.sizes:
        draw(folder, size, args)
        exact, wanted = in_fresh_process(search_exactly, folder, args.top_k)
        rows.append({"rows": size, "engine": "exact", "recall": 1.0, "narrow recall": 1.0} | exact)
        for engine in args.engines:
            uri = folder / f"{size}_{ADDRESSES[engine]}"
            built = in_fresh_process(fill, folder, str(uri))
            found, hits = in_fresh_process(search, folder, str(uri), args.top_k)
            rows.append(
                {
                    "rows": size,
                    "engine": engine,
                    "recall": recall(hits[0], wanted[0]),
                    "narrow recall": recall(hits[1], wanted[1]),
                    **found,
                    **built,
                    "MB": size_mb(uri),
                    "single ratio": found["single ms"] / exact["single ms"],
                    "batch ratio": found["batch ms"] / exact["batch ms"],
                }
            )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name) for name in columns} for row in rows]
    note = (
        f"{args.dim}-d, top {args.top_k}, {args.queries} queries: median of single ones, and all "
        f"in one batch; ratios to exact search of the same size; {device_name('cpu')}"
    )
    print_rows(rows, args.json, note)


def draw(folder: Path, size: int, args: argparse.Namespace) -> None:
    """Write ``rows.npy`` (size, D) and ``queries.npy`` (Q, D), unit length, clustered."""
    rng = np.random.default_rng(size)
    spectrum = np.arange(1, args.dim + 1, dtype=np.float32) ** -0.5
    centers = rng.standard_normal((-(-size // args.persons), args.dim), np.float32) * spectrum

    def samples(identities: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((len(identities), args.dim), np.float32) * spectrum
        embeds = centers[identities] + 0.9 * noise
        return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)

    np.save(folder / "queries.npy", samples(rng.integers(len(centers), size=args.queries)))
    rows = np.lib.format.open_memmap(
        folder / "rows.npy", mode="w+", dtype=np.float32, shape=(size, args.dim)
    )
    for start in range(0, size, ROWS_PER_WRITE):
        numbers = np.arange(start, min(start + ROWS_PER_WRITE, size))
        rows[numbers] = samples(numbers % len(centers))
    rows.flush()


def camera_of(rows: np.ndarray) -> np.ndarray:
    """Number of the camera that saw a row."""
    return rows // 7 % CAMERAS


def persons(rows: np.ndarray, embeds: np.ndarray) -> Persons:
    """Rows of a gallery; ``frame`` is the number of the row."""
    n = len(rows)
    return Persons(
        picture=np.array([f"/frames/{i // 5:08d}.jpg" for i in rows], object),
        frame=rows,
        number=np.zeros(n, np.int64),
        seconds=np.zeros(n),
        time=rows * 1000,
        camera=np.array([f"c{i}" for i in camera_of(rows)], object),
        box=np.zeros((n, 4), np.float32),
        score=np.ones(n, np.float32),
        embed=embeds,
    )


def search_exactly(folder: Path, top_k: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Figures of the reference, and the rows that it finds, without and with the filter."""
    rows, queries = (np.load(folder / f"{name}.npy") for name in ("rows", "queries"))
    narrow = np.flatnonzero(camera_of(np.arange(len(rows))) == 3)
    figures = timed(lambda q: exact_top_k(q, rows, top_k), queries)
    figures["narrow ms"] = per_query(lambda q: exact_top_k(q, rows[narrow], top_k), queries)
    figures["peak GiB"] = peak_gib()
    found = [
        exact_top_k(queries, rows, top_k)[1],
        narrow[exact_top_k(queries, rows[narrow], top_k)[1]],
    ]
    return figures, found


def fill(folder: Path, uri: str) -> dict[str, float]:
    """Seconds to write all rows, and to build the indexes."""
    embeds = np.load(folder / "rows.npy", mmap_mode="r")
    model = GalleryModel("", "", "", "", embeds.shape[1], 0.5)
    start = time.perf_counter()
    gallery = open_gallery(uri, model)
    for first in range(0, len(embeds), ROWS_PER_WRITE):
        part = np.array(embeds[first : first + ROWS_PER_WRITE])
        gallery.upsert(persons(np.arange(first, first + len(part)), part))
    written = time.perf_counter()
    gallery.optimize()
    gallery.close()
    figures = {"write s": written - start, "index s": time.perf_counter() - written}
    return figures | {"build GiB": peak_gib()}


def search(folder: Path, uri: str, top_k: int) -> tuple[dict[str, Any], list[list[list[int]]]]:
    """Figures of a gallery that was closed, and the rows that it finds."""
    queries, narrow = np.load(folder / "queries.npy"), Filter(cameras=("c3",))
    gallery = open_gallery(uri)
    figures = timed(lambda q: gallery.search(q, top_k), queries)
    figures["narrow ms"] = per_query(lambda q: gallery.search(q, top_k, narrow), queries)
    figures["peak GiB"] = peak_gib()
    found = gallery.search(queries, top_k), gallery.search(queries, top_k, narrow)
    gallery.close()
    return figures, [[[h.frame for h in hits] for hits in of_filter] for of_filter in found]


def timed(function: Callable, queries) -> dict[str, float]:
    """Milliseconds of one query, and of all in a batch."""
    single = per_query(function, queries)
    start = time.perf_counter()
    function(queries)
    return {"single ms": single, "batch ms": (time.perf_counter() - start) * 1000}


def per_query(function: Callable, queries, most: int = 20) -> float:
    """Median milliseconds of single queries; the first one opens files and does not count."""
    times = []
    for i in range(min(most, len(queries))):
        start = time.perf_counter()
        function(queries[i : i + 1])
        times.append((time.perf_counter() - start) * 1000)
    return median(times[1:] or times)


def recall(found: list[list[int]], wanted: np.ndarray) -> float:
    """Share of the wanted rows that were found."""
    return float(np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)]))


def size_mb(path: Path) -> float:
    """Of a file, or of a folder with all below."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file()) / 1e6


def index_pictures(args: argparse.Namespace, folder: Path) -> None:
    """Index real files into a new gallery; one row with the seconds of every stage."""
    from person_search.gallery import PersonSearcher
    from person_search.gallery.indexing import Indexer
    from person_search.gallery.sources import find_files

    if not (args.model and args.weights):
        raise ConfigError("--pictures needs --model and --weights")
    searcher = PersonSearcher.from_config(args.model, args.weights).searcher
    gallery = open_gallery(str(folder / "gallery"), searcher.model)
    indexer = Indexer(searcher, gallery, batch_size=args.batch_size, progress=False)
    files = find_files([args.pictures])
    start = time.perf_counter()
    report = indexer.run(files)
    total = time.perf_counter() - start
    row = {
        "frames": report.frames,
        "persons": report.persons,
        "frames/s": report.frames / total,
        "total s": total,
        "decode s": report.decode_s,
        "network s": report.network_s,
        "write s": report.write_s,
        "write / network": report.write_s / report.network_s,
    }
    note = f"decoding runs beside the rest; {device_name(searcher.network.device)}"
    print_rows([row], args.json, note)
