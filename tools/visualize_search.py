#!/usr/bin/env python
"""Pictures of search results: each query, and its best matches in their scenes.

    python tools/visualize_search.py output/.../inference/results_prw_test.npz --dataset prw_test

Writes one PNG per query. The query's box is blue; a match is green if it is the person, red if it
is not.
"""

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from detectron2.data import DatasetCatalog
from tqdm import tqdm

import person_search.data  # noqa: F401  (registers the data sets)
from person_search.command import positive, run_program
from person_search.errors import PersonSearchError
from person_search.evaluation import SearchResults, resolve_galleries
from person_search.evaluation.matches import best_matches
from person_search.images import read_image

BLUE, GREEN, RED = (200, 110, 30), (70, 160, 40), (50, 50, 215)  # BGR
PAPER, INK = (250, 250, 250), (60, 60, 60)
CELL = (240, 180)  # width, height of a scene
CAPTION, GAP = 26, 10


def scene(image: np.ndarray, box: np.ndarray, color: tuple, caption: str) -> np.ndarray:
    """A cell with the scene, the box in it, the person enlarged in a corner, and a caption."""
    width, height = CELL
    scale = min(width / image.shape[1], height / image.shape[0])
    cell = np.full((height + CAPTION, width, 3), PAPER, np.uint8)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (int(v) for v in np.round(box * scale))
    cv2.rectangle(small, (x1, y1), (x2, y2), color, 2, cv2.LINE_AA)
    inset = _inset(image, box, color)
    right = x1 + x2 < small.shape[1]  # away from the box
    x = small.shape[1] - inset.shape[1] if right else 0
    small[: inset.shape[0], x : x + inset.shape[1]] = inset
    left = (width - small.shape[1]) // 2
    cell[: small.shape[0], left : left + small.shape[1]] = small
    cv2.rectangle(cell, (0, height + CAPTION - 4), (width, height + CAPTION), color, -1)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(cell, caption, (4, height + 16), font, 0.45, INK, 1, cv2.LINE_AA)
    return cell


def _inset(image: np.ndarray, box: np.ndarray, color: tuple) -> np.ndarray:
    """The person, half as high as a cell, framed."""
    x1, y1, x2, y2 = np.round(box).astype(int).clip(0)
    person = image[y1 : max(y2, y1 + 2), x1 : max(x2, x1 + 2)]
    height = min(CELL[1] // 2, max(2, int(person.shape[0] * 1.5)))
    width = min(max(2, round(height * person.shape[1] / person.shape[0])), CELL[0] // 2)
    inset = cv2.resize(person, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(inset, 0, 2, 2, 2, cv2.BORDER_CONSTANT, value=color)


def query_sheet(
    results: SearchResults, galleries, query: int, files: list[str], number: int, det_thresh: float
) -> np.ndarray:
    """The query's scene, then its ``number`` best matches, six cells a row."""
    image = read_image(files[results.query_frame_index[query]])
    cells = [scene(image, results.query_boxes[query], BLUE, f"query {query}")]
    for rank, match in enumerate(
        best_matches(results, galleries, query, number, det_thresh), start=1
    ):
        color = GREEN if match.correct else RED
        caption = f"{rank}: {match.similarity:.2f} {'right' if match.correct else 'wrong'}"
        cells.append(scene(read_image(files[match.frame]), match.box, color, caption))
    columns = 6
    cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % columns)
    pad = [cv2.copyMakeBorder(c, GAP, 0, GAP, 0, cv2.BORDER_CONSTANT, value=PAPER) for c in cells]
    rows = [np.hstack(pad[i : i + columns]) for i in range(0, len(pad), columns)]
    return np.vstack(rows)


def draw_queries(
    results: SearchResults,
    dataset: str,
    folder: Path,
    queries: list[int],
    number: int = 10,
    det_thresh: float = 0.5,
) -> list[Path]:
    """Write ``query_<index>.png`` for each of ``queries``; returns the paths."""
    frames = DatasetCatalog.get(dataset)
    names = [str(f["image_id"]) for f in frames]
    if names != results.frame_names.tolist():
        raise PersonSearchError(f"the results file is not of {dataset}: its frames differ")
    files = [f["file_name"] for f in frames]
    galleries = resolve_galleries(results)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for query in tqdm(queries, desc="drawing queries", disable=None):
        path = folder / f"query_{query:04d}.png"
        sheet = query_sheet(results, galleries, query, files, number, det_thresh)
        if not cv2.imwrite(str(path), sheet):
            raise OSError(f"cannot write {path}")
        paths.append(path)
    return paths


def spread_queries(results: SearchResults, number: int) -> list[int]:
    """Queries of different persons, evenly spread over the file."""
    _, first = np.unique(results.query_ids, return_index=True)
    first = np.sort(first)
    return first[np.linspace(0, len(first) - 1, min(number, len(first))).astype(int)].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results_<data set>.npz of an evaluation")
    parser.add_argument("--dataset", required=True, help="the registered test set it is of")
    parser.add_argument("--output", help="folder (default: queries/ beside the file)")
    parser.add_argument("--queries", type=int, nargs="*", help="indices (default: twelve)")
    parser.add_argument("--matches", type=positive, default=10, help="matches per query")
    parser.add_argument("--score-thresh", type=float, default=0.5)
    args = parser.parse_args()
    results = SearchResults.load(args.results)
    queries = args.queries or spread_queries(results, 12)
    folder = Path(args.output or os.path.join(os.path.dirname(args.results), "queries"))
    paths = draw_queries(
        results, args.dataset, folder, queries, args.matches, args.score_thresh
    )
    print(f"{len(paths)} pictures in {folder}")


if __name__ == "__main__":
    run_program(main)
