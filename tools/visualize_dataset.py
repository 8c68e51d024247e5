#!/usr/bin/env python
"""The long tail of a data set: how many boxes each identity has, and what the boxes are like.

    python tools/visualize_dataset.py prw_train prw_test

Prints the numbers and writes one PNG with a row for each data set: boxes per identity, the heights
of the boxes and, where cameras are known, boxes and identities of each camera; of a test set, some
queries and their matches, too.

Shape shorthand in this module:
    G: boxes of all frames    L: identities
"""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from person_search.command import run_program
from person_search.data.catalog import OUR_KINDS
from person_search.data.crop_cache import cut_out
from person_search.data.crops import load_test_crops
from person_search.errors import DatasetError
from person_search.images import image_size, read_image

BLUE, GREY, RED = "tab:blue", "0.75", "tab:red"
RARE = 4
"""An identity with fewer boxes repeats some in every batch of class-aware sampling (K = 4)."""
HEAD_SHARE = 0.1
EXAMPLES, MATCHES = 5, 4
"""Queries of a test set that are shown, and matches of each."""
CROP = (128, 64)  # height, width


@dataclass(frozen=True, eq=False)
class BoxStatistics:
    """What the pictures show, of all boxes of a data set.

    Attributes:
        person_ids: (G,) negative for persons without identity.
        heights: (G,) in pixels of the picture.
        cameras: (G,) negative where unknown.
    """

    person_ids: np.ndarray
    heights: np.ndarray
    cameras: np.ndarray

    @classmethod
    def of(cls, records: list[dict]) -> "BoxStatistics":
        """Of a data set's records.

        Raises:
            DatasetError: there is no box.
        """
        rows = [
            (person["person_id"], _height(person), record["camera_id"])
            for record in records
            for person in record.get("annotations", [record])  # a crop is its own only person
        ]
        if not rows:
            raise DatasetError(f"none of the {len(records)} frames holds a box: nothing to show")
        ids, heights, cameras = map(np.array, zip(*rows, strict=True))
        return cls(ids, heights, cameras)

    @property
    def labeled(self) -> np.ndarray:
        """(G,) bool, boxes of persons with an identity."""
        return self.person_ids >= 0

    @property
    def per_identity(self) -> np.ndarray:
        """(L,) number of boxes of each identity, falling."""
        _, counts = np.unique(self.person_ids[self.labeled], return_counts=True)
        return np.sort(counts)[::-1]

    @property
    def camera_names(self) -> list[int]:
        """Known cameras; none where any is unknown."""
        return [] if (self.cameras < 0).any() else np.unique(self.cameras).tolist()

    @property
    def head(self) -> int:
        """Number of identities that are a tenth of all, the most frequent ones."""
        return round(HEAD_SHARE * len(self.per_identity))

    def summary(self) -> dict[str, float]:
        """The numbers of the picture by name."""
        counts = self.per_identity
        numbers = {
            "boxes": len(self.heights),
            "labeled boxes": int(self.labeled.sum()),
            "identities": len(counts),
        }
        if len(counts):
            numbers |= {
                "boxes per identity, min": int(counts[-1]),
                "boxes per identity, median": float(np.median(counts)),
                "boxes per identity, max": int(counts[0]),
                "share of boxes of the top 10 % identities": float(
                    counts[: self.head].sum() / counts.sum()
                ),
                f"identities with < {RARE} boxes": int((counts < RARE).sum()),
            }
        low, middle, high = np.percentile(self.heights, [5, 50, 95])
        return numbers | {
            "box height, 5 %": low,
            "box height, median": middle,
            "box height, 95 %": high,
        }


def _height(person: dict) -> float:
    """Of its box, or of the picture that it fills."""
    if person["bbox"] is None:
        return image_size(person["file_name"])[0]
    return person["bbox"][3] - person["bbox"][1]


def draw_long_tail(axis: Axes, boxes: BoxStatistics) -> None:
    """Boxes per identity, most frequent first."""
    counts, numbers = boxes.per_identity, boxes.summary()
    edges = np.arange(len(counts) + 1) + 0.5
    axis.stairs(counts, edges, fill=True, color=BLUE, alpha=0.4, lw=0)
    axis.stairs(counts[: boxes.head], edges[: boxes.head + 1], fill=True, color=BLUE, lw=0)
    median = numbers["boxes per identity, median"]
    axis.axhline(median, color=RED, lw=1, ls="--")
    axis.annotate(
        f"median {median:g}", (1, median), (-4, 4), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", color=RED,
    )  # fmt: skip
    share = numbers["share of boxes of the top 10 % identities"]
    rare = numbers[f"identities with < {RARE} boxes"]
    text = (
        f"most frequent: {counts[0]} boxes\n"
        f"top 10 % of identities (dark): {100 * share:.0f} % of boxes\n"
        f"{rare} identities with fewer than {RARE} boxes"
    )
    axis.text(0.97, 0.95, text, transform=axis.transAxes, ha="right", va="top")
    axis.set(
        title=f"Boxes per identity ({len(counts):,} identities)",
        xlabel="identity, most frequent first",
        ylabel="boxes",
        xlim=(edges[0], edges[-1]),
        ylim=(0, None),
    )


def draw_heights(axis: Axes, boxes: BoxStatistics) -> None:
    """Histogram of box heights, up to the largest percent."""
    top = np.percentile(boxes.heights, 99)
    bins = np.linspace(0, top, 41)
    parts = [boxes.heights[boxes.labeled], boxes.heights[~boxes.labeled]]
    axis.hist(parts, bins, stacked=True, color=[BLUE, GREY], label=_labels(boxes))
    numbers, text = boxes.summary(), []
    for name in ("5 %", "median", "95 %"):
        height = numbers[f"box height, {name}"]
        axis.axvline(height, color=RED, lw=1, ls="--")
        text.append(f"{name}: {height:.0f}")
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axis.text(
        0.97, 0.95, "\n".join(text), transform=axis.transAxes, ha="right", va="top", color=RED,
        bbox=box,
    )  # fmt: skip
    axis.set(title="Box heights", xlabel="pixels of the picture", ylabel="boxes", xlim=(0, top))


def draw_cameras(axis: Axes, boxes: BoxStatistics) -> None:
    """Boxes of each camera."""
    names = boxes.camera_names
    bottom = np.zeros(len(names), int)
    for chosen, color in ((boxes.labeled, BLUE), (~boxes.labeled, GREY)):
        counts = np.array([np.sum(boxes.cameras[chosen] == name) for name in names])
        axis.bar([str(name) for name in names], counts, bottom=bottom, color=color, width=0.7)
        bottom += counts
    for place, name in enumerate(names):
        people = np.unique(boxes.person_ids[boxes.labeled & (boxes.cameras == name)])
        axis.annotate(f"{len(people)}", (place, bottom[place]), (0, 2),
                      textcoords="offset points", ha="center")  # fmt: skip
    axis.set_ylim(top=1.12 * bottom.max())  # margins end at a bar without height
    axis.set(title="Boxes per camera (above: identities)", xlabel="camera", ylabel="boxes")


def _labels(boxes: BoxStatistics) -> list[str]:
    labeled = int(boxes.labeled.sum())
    return [f"labeled ({labeled:,})", f"without identity ({len(boxes.heights) - labeled:,})"]


def draw_panels(figure: FigureBase, title: str, boxes: BoxStatistics) -> None:
    """A row of panels; those that the data set has no numbers for are left out."""
    panels = [draw_heights]
    if len(boxes.per_identity):
        panels.insert(0, draw_long_tail)
    if boxes.camera_names:
        panels.append(draw_cameras)
    widths = [1.6 if panel is draw_long_tail else 1 for panel in panels]
    axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for draw, axis in zip(panels, axes, strict=True):
        draw(axis, boxes)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=14)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)


def draw_examples(figure: FigureBase, name: str) -> None:
    """Queries of a test set, evenly spread, each with some boxes of that person elsewhere."""
    queries, gallery = load_test_crops(name)
    chosen = np.unique(np.linspace(0, len(queries) - 1, EXAMPLES).astype(int))
    cells = MATCHES + 2  # the last one stays empty
    axes = figure.subplots(1, EXAMPLES * cells)
    for axis in axes:
        axis.set_axis_off()
    for row, index in enumerate(chosen.tolist()):
        query = queries[index]
        matches = [
            crop
            for crop in gallery
            if crop["person_id"] == query["person_id"] and crop["file_name"] != query["file_name"]
        ]
        # Evenly spread: next to a frame of a video is the same frame again.
        spread = np.unique(np.linspace(0, len(matches) - 1, min(MATCHES, len(matches))).astype(int))
        row_of_axes = axes[row * cells :]
        for axis, crop in zip(row_of_axes, [query, *(matches[k] for k in spread)], strict=False):
            axis.imshow(cut_out(read_image(crop["file_name"], "RGB"), crop["bbox"], CROP))
        row_of_axes[0].set_title("query", fontsize=9, color=BLUE)
    figure.suptitle(f"{name}: {len(queries):,} queries; some, and the same persons in the gallery")


def draw_datasets(titles: dict[str, str], boxes: dict[str, BoxStatistics], path: Path) -> None:
    """Write the picture of data sets: a row of panels each, and one of examples under test sets.

    Args:
        titles, boxes: by registered name, in the order of the rows.
        path: of the PNG; its folder is made.
    """
    rows = []
    for name in titles:
        rows.append(partial(draw_panels, title=titles[name], boxes=boxes[name]))
        if MetadataCatalog.get(name).get("split") == "test":
            rows.append(partial(draw_examples, name=name))
    heights = [4.2 if row.func is draw_panels else 2.2 for row in rows]
    figure = Figure(figsize=(15, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, draw in zip(parts, rows, strict=True):
        draw(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def print_numbers(numbers: dict[str, float]) -> None:
    """A line each."""
    for name, number in numbers.items():
        print(f"{name:44}{number:>10,.3g}" if number < 1 else f"{name:44}{number:>10,g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", help="registered data sets, e.g. prw_train")
    parser.add_argument("--output", type=Path, help="PNG (default: output/pictures/DATASET.png)")
    args = parser.parse_args()
    for name in args.datasets:
        if name not in DatasetCatalog:
            kinds = {n: MetadataCatalog.get(n).get("evaluator_type") for n in DatasetCatalog}
            ours = [n for n, kind in kinds.items() if kind in OUR_KINDS]
            parser.error(f"no data set {name}; there are {', '.join(ours)}")
    path = args.output or Path("output", "pictures", f"{args.datasets[0]}.png")
    titles, boxes = {}, {}
    for name in args.datasets:
        records = DatasetCatalog.get(name)
        titles[name] = f"{name}: {len(records):,} pictures"
        boxes[name] = BoxStatistics.of(records)
    draw_datasets(titles, boxes, path)
    for name in args.datasets:
        print(f"\n{name}")
        print_numbers(boxes[name].summary())
    print(path)


if __name__ == "__main__":
    run_program(main)
