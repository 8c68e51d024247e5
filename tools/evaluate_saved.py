"""Evaluate a saved-results file in every mode that it allows.

    python tools/evaluate_saved.py FILE.npz             a table, oddities of gallery lists corrected
    python tools/evaluate_saved.py FILE.npz --json -    JSON, gallery lists counted as SeqNet does
    python tools/evaluate_saved.py FILE.npz --boxes-per-image CURVE.png     how many boxes are best

Search modes: plain (the file's own gallery, detections with score >= 0.5), thr02 (score >= 0.2),
gt (ground-truth boxes searched instead), cbgm (context matching); with cameras also cross, gt_cross
and cbgm_cross (only frames of other cameras); on demand rerank (k-reciprocal re-ranking), and all
of them once more with adapted embeddings (MODE_adapted), fitted on the gallery without labels.
person_search/evaluation/results.py says what the file holds; "plain" is the gallery that it was
saved with.

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

from matplotlib.figure import Figure

from person_search.errors import PersonSearchError
from person_search.evaluation import (
    CBGM,
    SWEEPS,
    Conventions,
    DetectionMetrics,
    KReciprocal,
    SearchMetrics,
    SearchResults,
    SweepCurves,
    adapt_results,
    evaluate_detection,
    evaluate_search,
    has_cameras,
    resolve_galleries,
    search_curves,
    zheng_curves,
)
from person_search.evaluation.report import search_table
from person_search.files import atomic_write
from person_search.protocols import GalleryRule

FIXED_POINTS = (3, 5, 10)
"""Boxes per image at which papers quote results, beside the best ones."""

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


def detection_grid(
    results: SearchResults, use_gt_boxes: bool = False
) -> dict[tuple[float, float, bool], DetectionMetrics]:
    """Metrics by score threshold, IoU threshold, and whether only persons with identity count."""
    return {
        (score, iou, labeled): evaluate_detection(
            results,
            det_thresh=score,
            iou_thresh=iou,
            labeled_only=labeled,
            use_gt_boxes=use_gt_boxes,
        )
        for score, iou, labeled in DETECTION_GRID
    }


def as_json(searches: dict[str, SearchMetrics], results: SearchResults) -> str:
    """Everything, as the docstring of this file says."""
    content = {
        "search": {mode: metrics.summary() for mode, metrics in searches.items()},
        "protocols": {mode: metrics.protocol for mode, metrics in searches.items()},
        "detection": {},
        "detection_gt": {},
        "detection_other_ap": {},
    }
    for section, use_gt_boxes in (("detection", False), ("detection_gt", True)):
        for key, metrics in detection_grid(results, use_gt_boxes).items():
            name = "{:g},{:g},{}".format(*key)
            content[section][name] = {"recall": metrics.recall, "AP": metrics.ap}
            if not use_gt_boxes:
                other = {"plain_AP": metrics.plain_ap, "coco_AP": metrics.coco_ap}
                content["detection_other_ap"][name] = other
    return json.dumps(_without_nan(content), indent=1, allow_nan=False)


def as_table(searches: dict[str, SearchMetrics], results: SearchResults) -> str:
    """The report for people, in percent."""
    lines = [search_table(searches), ""]
    lines.append(f"{'detection':36}{'recall':>8}{'AP x recall':>13}{'AP':>8}{'AP COCO':>9}")
    for (score, iou, labeled), m in detection_grid(results).items():
        name = f"score >= {score:g}, IoU >= {iou:g}" + ", labeled" * labeled
        lines.append(
            f"{name:36}{100 * m.recall:8.2f}{100 * m.ap:13.2f}{100 * m.plain_ap:8.2f}"
            f"{100 * m.coco_ap:9.2f}"
        )
    return "\n".join(lines)


def write(text: str, target: str) -> None:
    """Write to a path, atomically, or to the standard output if ``target`` is "-"."""
    if target == "-":
        print(text)
        return
    with atomic_write(target) as temporary:
        temporary.write_text(text + "\n")


def sweep_detector(results: SearchResults, sweep: str, protocol: str, target: str) -> None:
    """Print the best and the fixed points of the curves over boxes per image, and draw them."""
    points = SWEEPS[sweep](results)
    curves = (
        zheng_curves(results, points) if protocol == "authors" else search_curves(results, points)
    )
    print(f"{curves.protocol}; sweep: {sweep}")
    places = {"best": curves.best()} | {f"at {n}": curves.at(n) for n in FIXED_POINTS}
    for place, found in places.items():
        values = (
            f"{name} {100 * value:.2f} at {boxes:.2f} boxes per image"
            for name, (value, boxes) in found.items()
        )
        print(f"{place:6} {'; '.join(values)}")
    draw_curves(curves, target)
    print(target)


def draw_curves(curves: SweepCurves, target: str) -> None:
    """A picture of all metrics over the number of boxes per image, the best points marked."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    best = curves.best()
    for name, values in curves.metrics.items():
        (line,) = axes.plot(curves.boxes_per_image, 100 * values, label=name)
        value, boxes = best[name]
        axes.plot(boxes, 100 * value, "o", color=line.get_color())
        axes.annotate(
            f"{100 * value:.1f}",
            (boxes, 100 * value),
            textcoords="offset points",
            xytext=(0, 6),
            ha="center",
        )
    axes.set(xlabel="boxes per image", ylabel="percent", title=curves.protocol)
    axes.title.set_fontsize(8)
    axes.legend()
    with atomic_write(target) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


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
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="also search with embeddings adapted to the cameras of the gallery, without labels",
    )
    parser.add_argument(
        "--boxes-per-image",
        metavar="PNG",
        help="instead: sweep the detector, print where search is best, draw the curves there",
    )
    parser.add_argument(
        "--sweep",
        choices=list(SWEEPS),
        default="scores",
        help="points of the sweep: evenly spaced scores, equally many detections dropped, or the "
        "best ones of every frame (default: %(default)s)",
    )
    parser.add_argument(
        "--sweep-protocol",
        choices=("authors", "search"),
        default="authors",
        help="PRW's authors' (Zheng et al. 2017), or the common one with the file's gallery "
        "(default: %(default)s)",
    )
    args = parser.parse_args()
    conventions = args.conventions or ("reference" if args.json else "corrected")
    try:
        results = SearchResults.load(args.file)
        if args.boxes_per_image:
            sweep_detector(results, args.sweep, args.sweep_protocol, args.boxes_per_image)
            return 0
        searches = search_modes(
            results, Conventions[conventions.upper()], args.score_weighting, args.rerank
        )
        if args.adapt:
            adapted = adapt_results(results)
            of_mode = search_modes(
                adapted, Conventions[conventions.upper()], args.score_weighting, args.rerank
            )
            searches |= {f"{mode}_adapted": metrics for mode, metrics in of_mode.items()}
        if args.json:
            write(as_json(searches, results), args.json)
        else:
            print(f"{args.file}\n\n{as_table(searches, results)}")
    except (PersonSearchError, OSError) as error:
        print(f"evaluate_saved: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
