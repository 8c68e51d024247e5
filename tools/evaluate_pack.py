#!/usr/bin/env python
"""What a pack finds, by the same evaluators and protocols as every other model.

    python tools/evaluate_pack.py yolox-nano-osnet-x0.25 prw_test
    python tools/evaluate_pack.py my_pack street_small_test --tiles 2 --output output/my_pack
    python tools/evaluate_pack.py my_pack crops/a crops/b --camera-pattern '(\\d)_'

DATA is a registered test set of person search: detected and annotated boxes are searched, and what
was found is saved as results_DATA.npz, which tools/evaluate_saved.py evaluates again. Or it is one
or several folders of crops, in each a folder per person: every crop is a query, and its gallery are
the crops of all other cameras; the camera is what the pattern finds in the name of a crop.
"""

import argparse
import logging
import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from person_search import packs
from person_search.command import run_program
from person_search.errors import DatasetError
from person_search.images import read_image
from person_search.structures import Searcher

WEAKEST_SCORE = 0.05
"""Detections down to this score are saved; the average precision of detection needs them."""


def evaluate_frames(searcher: Searcher, dataset: str, score_thresh: float, output: str) -> dict:
    """Run a searcher on a registered test set; metrics in percent.

    Args:
        searcher: reports persons down to :data:`WEAKEST_SCORE`.
        dataset: its name.
        score_thresh: detections with a lower score are not searched.
        output: folder for the results.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    import person_search.data  # noqa: F401  (registers the data sets)
    from person_search.evaluation import SearchEvaluator, SearchOptions
    from person_search.evaluation.run_searcher import run_searcher

    if dataset not in DatasetCatalog.list():
        raise DatasetError(f"no data set {dataset} is registered, and no such folder is there")
    readers = MetadataCatalog.get(dataset).get("protocols", None)
    if not readers:
        raise DatasetError(f"{dataset} is no test set of person search: it has no queries")
    protocols = {name: read() for name, read in readers.items()}
    options = SearchOptions(score_thresh=score_thresh, gt_boxes=True)
    evaluator = SearchEvaluator(dataset, protocols, options, output)
    seconds = run_searcher(searcher, evaluator, progress=sys.stderr.isatty())
    persons = [len(record.dets) for record in evaluator.records]
    print(
        f"{1000 * seconds / len(persons):.1f} ms a frame to find and embed "
        f"{sum(persons) / len(persons):.1f} persons of score >= {WEAKEST_SCORE}"
    )
    return evaluator.evaluate()


def evaluate_crops(
    searcher: Searcher, folders: list[Path], camera_pattern: str
) -> dict[str, float]:
    """mAP and top-k in percent: every crop is a query, in the crops of all other cameras.

    Args:
        searcher: embeds them.
        folders: with a folder of crops per person.
        camera_pattern: a regular expression with one group, found in the names of crops.
    """
    from person_search.evaluation import evaluate_reid

    embeds, ids, cameras = [], [], []
    crops = [path for folder in folders for path in sorted(folder.glob("*/*")) if path.is_file()]
    for crop in tqdm(crops, desc="embedding", unit="crop", disable=None):
        camera = re.search(camera_pattern, crop.name)
        if camera is None:
            raise DatasetError(f"{crop}: --camera-pattern finds no camera in the name")
        picture = read_image(str(crop))
        whole = [[0, 0, picture.shape[1], picture.shape[0]]]
        embeds.append(searcher.embed(picture, whole)[0])
        ids.append(crop.parent.name)
        cameras.append(camera.group(1))
    print(f"{len(ids)} crops of {len(set(ids))} persons by {len(set(cameras))} cameras")
    if len(set(cameras)) < 2:
        raise DatasetError(f"all crops are of camera {cameras[:1]}: two or more are needed")
    embeds, (_, ids) = np.stack(embeds), np.unique(ids, return_inverse=True)
    cameras, aps, weights, cmcs = np.array(cameras), [], [], []
    for camera in np.unique(cameras):
        here, there = cameras == camera, cameras != camera
        found = evaluate_reid(embeds[here], ids[here], embeds[there], ids[there])
        aps.append(found.ap)
        weights.append(np.count_nonzero(~np.isnan(found.ap)))
        cmcs.append(found.cmc)
    cmc = 100 * np.average(np.nan_to_num(cmcs), axis=0, weights=weights)
    return {"mAP": 100 * float(np.nanmean(np.concatenate(aps)))} | {
        f"top{k}": float(cmc[k - 1]) for k in (1, 5, 10)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pack", metavar="PACK", help="folder, or name of a ready pack")
    parser.add_argument("data", metavar="DATA", nargs="+", help="a test set, or folders of crops")
    parser.add_argument("--output", metavar="FOLDER", help="(default: output/PACK)")
    parser.add_argument("--camera-pattern", metavar="REGEX", help="for crops; with one group")
    parser.add_argument("--providers", nargs="+", default=[], choices=list(packs.PROVIDERS))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tiles", type=int, help="along the longer side (default: the pack's)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folders = [Path(name) for name in args.data]
    spec, _ = packs.find_pack(args.pack)
    searcher = packs.open_pack(
        args.pack,
        providers=args.providers,
        threads=args.threads,
        tiles=args.tiles,
        score_thresh=WEAKEST_SCORE,
    )
    if all(folder.is_dir() for folder in folders):
        if not args.camera_pattern:
            raise DatasetError("crops need --camera-pattern: which camera took which")
        metrics = evaluate_crops(searcher, folders, args.camera_pattern)
        print("across cameras:", ", ".join(f"{k} {v:.1f}" for k, v in metrics.items()))
    elif len(args.data) > 1:
        raise DatasetError(f"give one test set, or folders that are there: {args.data}")
    else:
        output = args.output or f"output/{spec.name}"
        evaluate_frames(searcher, args.data[0], spec.score_thresh, output)


if __name__ == "__main__":
    run_program(main)
