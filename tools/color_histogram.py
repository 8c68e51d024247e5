#!/usr/bin/env python
"""How far clothes' colors alone get: a histogram as embedding, on ground-truth boxes.

    python tools/color_histogram.py prw_test

A trained model that does not beat this has learned nothing about persons. The embedding is an HSV
histogram in six horizontal stripes of the box, square-rooted and of unit length.
"""

import argparse

import cv2
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

import person_search.data  # noqa: F401  (registers the data sets)
from person_search.command import run_program
from person_search.evaluation import SearchResults, dataset_arrays, evaluate_search
from person_search.images import read_image

STRIPES, BINS = 6, (8, 4, 4)


def histogram(image: np.ndarray, box: list[float]) -> np.ndarray:
    """Embedding of an xyxy box of a BGR image."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(np.round(box), 0, [width, height, width, height]).astype(int)
    person = cv2.cvtColor(image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)], cv2.COLOR_BGR2HSV)
    stripes = np.array_split(person, STRIPES) if len(person) >= STRIPES else [person] * STRIPES
    ranges = [0, 180, 0, 256, 0, 256]
    parts = [cv2.calcHist([s], [0, 1, 2], None, BINS, ranges).ravel() for s in stripes]
    vector = np.sqrt(np.concatenate([p / max(p.sum(), 1) for p in parts]))
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def embed_dataset(name: str) -> SearchResults:
    """Histogram embeddings of all ground-truth boxes and queries of a test set."""
    frames = DatasetCatalog.get(name)
    protocol = next(iter(MetadataCatalog.get(name).protocols.values()))()
    dim = STRIPES * int(np.prod(BINS))
    gt_embs, query_embs = [], np.zeros((len(protocol.query_ids), dim), np.float32)
    for index, frame in enumerate(tqdm(frames, desc="color histogram", unit="frame", disable=None)):
        image = read_image(frame["file_name"])
        gt_embs += [histogram(image, a["bbox"]) for a in frame["annotations"]]
        for query in np.flatnonzero(protocol.query_frames == index):
            query_embs[query] = histogram(image, protocol.query_boxes[query])
    return SearchResults(
        **dataset_arrays(frames, protocol),
        gt_embs=np.stack(gt_embs),
        det_offsets=np.zeros(len(frames) + 1, np.int64),
        dets=np.zeros((0, 5), np.float32),
        det_embs=np.zeros((0, dim), np.float32),
        query_embs=query_embs,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="a registered test set, e.g. prw_test")
    parser.add_argument("--save", metavar="FILE.npz", help="also save the embeddings")
    args = parser.parse_args()
    results = embed_dataset(args.dataset)
    if args.save:
        results.save(args.save)
    metrics = evaluate_search(results, use_gt_boxes=True)
    values = "  ".join(f"{name} {100 * value:.2f}" for name, value in metrics.summary().items())
    print(f"color histogram on the ground-truth boxes of {args.dataset}: {values}")


if __name__ == "__main__":
    run_program(main)
