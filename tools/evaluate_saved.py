"""Evaluate a saved-results file in every mode that it allows.

    python tools/evaluate_saved.py FILE.npz             a table, oddities of gallery lists corrected
    python tools/evaluate_saved.py FILE.npz --json -    JSON, gallery lists counted as SeqNet does

Search modes: plain (the file's own gallery, detections with score >= 0.5), thr02 (score >= 0.2),
gt (ground-truth boxes searched instead), cbgm (context matching); with cameras also cross, gt_cross
and cbgm_cross (only frames of other cameras); on demand rerank (k-reciprocal re-ranking).
person_search/evaluation/results.py says what the file holds; its "plain" gallery is its lists, or
else all frames but the query's own.

JSON, all values in 0..1, null where undefined:
    search[MODE]               mAP, top1, top5, top10
    protocols[MODE]            what MODE meant: gallery rule and sizes, threshold, weighting, counts
    detection[KEY]             recall and AP (average precision times recall, mutual-best matching);
                               KEY is "DET_THRESH,IOU_THRESH,LABELED_ONLY"
    detection_gt[KEY]          the same with the ground-truth boxes as detections
    detection_other_ap[KEY]    plain_AP (without the recall factor) and coco_AP (greedy by score)
"""

import argparse
import json
import math
import sys

from person_search.errors import PersonSearchError
from person_search.evaluation import (
    CBGM,
    Conventions,
    KReciprocal,
    SearchMetrics,
    SearchResults,
    evaluate_detection,
    evaluate_search,
    has_cameras,
    resolve_galleries,
)
from person_search.files import atomic_write
from person_search.protocols import GalleryRule

# det_thresh, iou_thresh, labeled_only
DETECTION_GRID = (
    (0.01, 0.5, False),
    (0.5, 0.5, False),
    (0.5, 0.5, True),
    (0.01, 0.7, False),
    (0.01, 0.5, True),
)


def search_modes(
    results: SearchResults, conventions: Conventions, score_weighting: bool, rerank: bool = False
) -> dict[str, SearchMetrics]:
    """Metrics of every mode that the arrays of the file allow."""
    settings = {"plain": {}, "thr02": {"det_thresh": 0.2}}
    if rerank:
        settings["rerank"] = {"rerank": KReciprocal()}
    if results.gt_embs is not None:
        settings["gt"] = {"use_gt_boxes": True}
    if results.qctx_embs is not None:
        settings["cbgm"] = {"cbgm": CBGM.published(results.gallery)}
    galleries = resolve_galleries(results, conventions=conventions)
    metrics = {
        mode: evaluate_search(results, galleries, score_weighting=score_weighting, **options)
        for mode, options in settings.items()
    }
    other_frames = results.gallery is GalleryRule.OTHER_FRAMES
    if other_frames and has_cameras(results):
        galleries = resolve_galleries(results, GalleryRule.OTHER_CAMERAS, conventions)
        for mode in [mode for mode in ("plain", "gt", "cbgm") if mode in settings]:
            name = "cross" if mode == "plain" else f"{mode}_cross"
            metrics[name] = evaluate_search(
                results, galleries, score_weighting=score_weighting, **settings[mode]
            )
    return metrics


def report(
    results: SearchResults, conventions: Conventions, score_weighting: bool, rerank: bool = False
) -> dict:
    """Everything that the JSON holds."""
    search = search_modes(results, conventions, score_weighting, rerank)
    content = {
        "search": {mode: metrics.summary() for mode, metrics in search.items()},
        "protocols": {mode: metrics.protocol for mode, metrics in search.items()},
        "detection": {},
        "detection_gt": {},
        "detection_other_ap": {},
    }
    for det_thresh, iou_thresh, labeled_only in DETECTION_GRID:
        key = f"{det_thresh:g},{iou_thresh:g},{labeled_only}"
        for section, use_gt_boxes in (("detection", False), ("detection_gt", True)):
            metrics = evaluate_detection(
                results,
                det_thresh=det_thresh,
                iou_thresh=iou_thresh,
                labeled_only=labeled_only,
                use_gt_boxes=use_gt_boxes,
            )
            content[section][key] = {"recall": metrics.recall, "AP": metrics.ap}
            if not use_gt_boxes:
                other = {"plain_AP": metrics.plain_ap, "coco_AP": metrics.coco_ap}
                content["detection_other_ap"][key] = other
    return content


def write_json(content: dict, target: str) -> None:
    """Write to a path, atomically, or to the standard output if ``target`` is "-"."""
    text = json.dumps(_without_nan(content), indent=1, allow_nan=False)
    if target == "-":
        print(text)
        return
    with atomic_write(target) as temporary:
        temporary.write_text(text + "\n")


def print_tables(content: dict, name: str) -> None:
    """The report for people, in percent."""
    protocols = content["protocols"]
    print(f"{name}: {protocols['plain']['name'] or 'unnamed protocol'}")
    print(f"gallery lists: {protocols['plain']['conventions']}\n")
    rows = [["mode", "mAP", "top-1", "top-5", "top-10", "queries", "frames", "boxes", "gallery"]]
    for mode, values in content["search"].items():
        used = protocols[mode]
        sizes = used["gallery_size"]
        boxes = used["boxes"]
        if used["det_thresh"] is not None:
            boxes += f" >= {used['det_thresh']:g}" + " x score" * used["score_weighting"]
        if used["cbgm"] is not None:
            boxes += f", CBGM {used['cbgm']['k1']}/{used['cbgm']['k2']}"
        if used["rerank"] is not None:
            boxes += ", top {n_top} re-ranked".format(**used["rerank"])
        rows.append(
            [
                mode,
                *(_percent(value) for value in values.values()),
                f"{used['n_queries'] - used['n_undefined']}/{used['n_queries']}",
                f"{sizes['min']}/{sizes['median']:g}/{sizes['max']}",
                boxes,
                used["gallery"],
            ]
        )
    _print_aligned(rows)
    print(
        "\nqueries: with a target in their gallery / all; frames: smallest/median/largest gallery\n"
    )
    rows = [["detection", "recall", "AP x recall", "AP plain", "AP COCO"]]
    for key, values in content["detection"].items():
        det_thresh, iou_thresh, labeled_only = key.split(",")
        label = f"score >= {det_thresh}, IoU {iou_thresh}" + ", labeled" * (labeled_only == "True")
        every = (*values.values(), *content["detection_other_ap"][key].values())
        rows.append([label, *(_percent(value) for value in every)])
    _print_aligned(rows)


def _print_aligned(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f}"


def _without_nan(content: object) -> object:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    return None if isinstance(content, float) and math.isnan(content) else content


def main() -> int:
    """Exit status: 0, or 2 for a file that cannot be evaluated or written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="saved results, .npz")
    parser.add_argument(
        "--json", metavar="PATH", help="write JSON there instead of a table; - prints it"
    )
    parser.add_argument(
        "--conventions",
        choices=[c.name.lower() for c in Conventions],
        help="oddities of gallery lists; default: reference with --json, else corrected",
    )
    parser.add_argument(
        "--score-weighting",
        action="store_true",
        help="multiply the embeddings of detections by their scores (not if the file did)",
    )
    parser.add_argument(
        "--rerank", action="store_true", help="also search with k-reciprocal re-ranking (slow)"
    )
    args = parser.parse_args()
    conventions = args.conventions or ("reference" if args.json else "corrected")
    try:
        results = SearchResults.load(args.file)
        content = report(
            results, Conventions[conventions.upper()], args.score_weighting, args.rerank
        )
        if args.json:
            write_json(content, args.json)
        else:
            print_tables(content, args.file)
    except (PersonSearchError, OSError) as error:
        print(f"evaluate_saved: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
