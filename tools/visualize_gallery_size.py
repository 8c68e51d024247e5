#!/usr/bin/env python
"""mAP and top-1 against the size of the gallery, one curve per results file.

    python tools/visualize_gallery_size.py output/PRW/*/inference/results_prw_test.npz
    python tools/visualize_gallery_size.py results_cuhk_sysu_test.npz --dataset cuhk_sysu_test

With --dataset the galleries are the published ones of that test set (CUHK-SYSU: 50 to 4,000).
Without it they are random parts of the gallery that the file asks for, drawn anew for every query,
several times; the frames that hold the query's person are always among them.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import person_search.data  # noqa: F401  (registers the data sets)
from person_search.command import positive, run_program
from person_search.errors import ResultsError
from person_search.evaluation import (
    Galleries,
    SearchResults,
    evaluate_search,
    protocol_arrays,
    resolve_galleries,
    sample_galleries,
)

MEASURES = {"mAP": "mAP", "top1": "top-1"}
CLOSE = 1.4
"""Sizes of a smaller ratio say the same, and their labels would touch."""
RULE = (
    "Galleries: {draws} random draws per size from {gallery}; every frame that holds the query's "
    "person is always in, even if these are more.\nLines: mean over the draws; bands: one standard "
    "deviation."
)
PUBLISHED = "Galleries: the published lists of {dataset}."


@dataclass(frozen=True)
class Point:
    """The metrics of one gallery size.

    Attributes:
        size: frames in a gallery, the median over the queries.
        values: metric -> one value per draw, in percent.
    """

    size: int
    values: dict[str, list[float]]


def published_galleries(
    results: SearchResults, dataset: str
) -> Iterator[tuple[SearchResults, Galleries]]:
    """The results once per published gallery size, in the order of that protocol's queries.

    Raises:
        ResultsError: the file is of another test set, or the test set has no such galleries.
    """
    protocols = MetadataCatalog.get(dataset).get("protocols", {})
    names = [name for name in protocols if name.startswith("gallery_")]
    if not names:
        raise ResultsError(f"{dataset} has no galleries of several sizes: leave --dataset away")
    if [str(f["image_id"]) for f in DatasetCatalog.get(dataset)] != results.frame_names.tolist():
        raise ResultsError(f"the results file is not of {dataset}: its frames differ")
    queries = zip(results.query_frame_index.tolist(), results.query_boxes.tolist(), strict=True)
    row = {(frame, *box): index for index, (frame, box) in enumerate(queries)}
    for name in names:
        protocol = protocols[name]()
        queries = zip(protocol.query_frames.tolist(), protocol.query_boxes.tolist(), strict=True)
        rows = [row.get((frame, *box)) for frame, box in queries]
        if None in rows:
            raise ResultsError(f"the results file lacks queries of {name} of {dataset}")
        arrays = protocol_arrays(protocol, results.frame_names, results.frame_cam)
        context = dict.fromkeys(("qctx_offsets", "qctx_dets", "qctx_embs"))
        found = replace(results, **arrays, **context, query_embs=results.query_embs[rows])
        yield found, resolve_galleries(found)


def default_sizes(galleries: Galleries) -> list[int]:
    """1, 2, 5, 10 ... to the whole gallery, from where nine of ten queries have fewer targets."""
    low = int(np.percentile(galleries.n_targets, 90)) + 1
    high = int(galleries.sizes.max())
    ladder = [step * 10**power for power in range(7) for step in (1, 2, 5)]
    between = [size for size in ladder if CLOSE * low < size < high / CLOSE]
    return [*([low] if CLOSE * low < high else []), *between, high]


def measure(results: SearchResults, galleries: list[Galleries], **options) -> Point:
    """Search in each of several galleries of one size."""
    found = [evaluate_search(results, g, **options).summary() for g in galleries]
    values = {key: [100 * summary[key] for summary in found] for key in MEASURES}
    return Point(int(np.median(galleries[0].sizes)), values)


def curve_of_draws(
    results: SearchResults, sizes: list[int] | None = None, draws: int = 5, **options
) -> list[Point]:
    """Points of random sub-galleries; the draws are the same for all models.

    Args:
        results: of one model.
        sizes: frames per gallery; None: :func:`default_sizes`.
        draws: per size.
        options: of ``evaluate_search``.
    """
    whole = resolve_galleries(results)
    points = []
    for size in default_sizes(whole) if sizes is None else sorted(set(sizes)):
        is_whole = size >= whole.sizes.max()
        drawn = [whole] if is_whole else [sample_galleries(whole, size, d) for d in range(draws)]
        points.append(measure(results, drawn, **options))
    return points


def curve_of_published(results: SearchResults, dataset: str, **options) -> list[Point]:
    """Points of the published galleries of a test set, by rising size."""
    points = [measure(r, [g], **options) for r, g in published_galleries(results, dataset)]
    return sorted(points, key=lambda point: point.size)


def draw_curves(curves: dict[str, list[Point]], title: str, caption: str, path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axis, (key, label) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for name, points in curves.items():
            sizes = np.array([p.size for p in points])
            mean = np.array([np.mean(p.values[key]) for p in points])
            spread = np.array([np.std(p.values[key]) for p in points])
            (line,) = axis.plot(sizes, mean, marker="o", ms=4, label=name)
            band = mean - spread, mean + spread
            axis.fill_between(sizes, *band, color=line.get_color(), alpha=0.2)
        axis.set(title=label, xlabel="frames in the gallery", ylabel="percent", xscale="log")
        ticks = sorted({p.size for points in curves.values() for p in points})
        axis.set_xticks(ticks, [f"{size:,}" for size in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(caption, fontsize=8, color="0.4")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def name_of(path: str) -> str:
    """The run that a results file is of: .../stl_mrfp/inference/results_x.npz is "stl_mrfp"."""
    folder = Path(path).resolve().parent
    return folder.parent.name if folder.name == "inference" else Path(path).stem


def load_all(paths: list[str], names: list[str] | None) -> dict[str, SearchResults]:
    """Results by the name of their curve.

    Raises:
        ResultsError: they are of different test sets or queries, or names are missing or doubled.
    """
    names = [name_of(path) for path in paths] if names is None else names
    if len(names) != len(paths) or len(set(names)) < len(names):
        raise ResultsError(
            f"{len(paths)} files need as many different names, not {', '.join(names)}: use --names"
        )
    loaded = {n: SearchResults.load(path) for n, path in zip(names, paths, strict=True)}
    first = next(iter(loaded.values()))
    for path, results in zip(paths, loaded.values(), strict=True):
        if not (
            np.array_equal(results.frame_names, first.frame_names)
            and np.array_equal(results.query_boxes, first.query_boxes)
        ):
            raise ResultsError(f"{path} has other frames or queries than {paths[0]}")
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="results_<data set>.npz of evaluations")
    parser.add_argument("--names", nargs="+", help="of the curves (default: the runs' folders)")
    parser.add_argument("--dataset", help="test set whose published galleries are searched")
    parser.add_argument("--sizes", type=positive, nargs="+", help="of random galleries, in frames")
    parser.add_argument("--draws", type=positive, default=5, help="random galleries per size")
    parser.add_argument("--gt-boxes", action="store_true", help="search ground-truth boxes")
    parser.add_argument("--score-thresh", type=float, default=0.5)
    parser.add_argument("--output", type=Path, help="PNG (default: gallery_size.png beside file 1)")
    args = parser.parse_args()
    path = args.output or Path(args.results[0]).with_name("gallery_size.png")
    options = {"det_thresh": args.score_thresh, "use_gt_boxes": args.gt_boxes}
    loaded = load_all(args.results, args.names)
    if args.dataset:
        curves = {n: curve_of_published(r, args.dataset, **options) for n, r in loaded.items()}
        caption, subject = PUBLISHED.format(dataset=args.dataset), args.dataset
    else:
        curves = {
            n: curve_of_draws(r, args.sizes, args.draws, **options) for n, r in loaded.items()
        }
        first = next(iter(loaded.values()))
        caption = RULE.format(draws=args.draws, gallery=resolve_galleries(first).rule)
        subject = first.protocol or "search results"
    boxes = "ground-truth boxes" if args.gt_boxes else f"detections >= {args.score_thresh:g}"
    title = f"Person search against gallery size: {subject} ({boxes})"
    draw_curves(curves, title, caption, path)
    width = max(map(len, curves))
    print(f"{'':{width}}{'frames':>9}{'mAP':>16}{'top-1':>16}")
    for name, points in curves.items():
        for point in points:
            cells = [f"{np.mean(v):.2f} ± {np.std(v):.2f}" for v in point.values.values()]
            print(f"{name:{width}}{point.size:>9,}" + "".join(f"{cell:>16}" for cell in cells))
    print(path)


if __name__ == "__main__":
    run_program(main)
