"""What an evaluation prints and saves: never a number without the protocol it belongs to."""

import csv
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TextIO

import numpy as np

from ..files import atomic_write
from .metrics import SearchMetrics
from .results import SearchResults


def describe(protocol: Mapping) -> str:
    """A search protocol in one line."""
    size = protocol["gallery_size"]
    frames = f"{size['min']}" if size["min"] == size["max"] else f"{size['min']}-{size['max']}"
    parts = [protocol["name"] or "unnamed protocol", f"gallery: {protocol['gallery']}"]
    parts += [f"{frames} frames", f"{protocol['n_queries']} queries", protocol["boxes"]]
    if protocol["det_thresh"] is not None:
        parts.append(f"score >= {protocol['det_thresh']:g}")
    if protocol["score_weighting"]:
        parts.append("similarity x score")
    if protocol["cbgm"]:
        parts.append("CBGM k1={k1} k2={k2}".format(**protocol["cbgm"]))
    if protocol["rerank"]:
        words = "re-ranked: top {n_top}, k1={k1} k2={k2} lambda={weight:g}"
        parts.append(words.format(**protocol["rerank"]))
    if protocol["adapted"]:
        parts.append(protocol["adapted"])
    if protocol["n_unembedded"]:
        parts.append(f"{protocol['n_unembedded']} queries whose person was not found, with AP 0")
    if protocol["n_undefined"]:
        parts.append(f"{protocol['n_undefined']} queries without a target left out")
    return "; ".join(parts)


class Search(NamedTuple):
    """What was searched, and what came of it."""

    results: SearchResults
    metrics: SearchMetrics


def search_table(searches: Mapping[str, SearchMetrics]) -> str:
    """An aligned table in percent, one row per search, with the protocol of each row below it."""
    width = max(24, *(len(name) + 2 for name in searches))
    lines = [f"{'':{width}}{'mAP':>8}{'top-1':>8}{'top-5':>8}{'top-10':>8}"]
    for name, metrics in searches.items():
        values = "".join(f"{100 * v:8.2f}" for v in metrics.summary().values())
        lines.append(f"{name:{width}}{values}")
    lines.append("")
    lines += [f"{name}: {describe(m.protocol)}" for name, m in searches.items()]
    lines.append(f"conventions: {next(iter(searches.values())).protocol['conventions']}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """The results of one test set.

    Attributes:
        title: name of the test set.
        searches: task ("search", "search_multi_view", ...) -> search.
        detection: name -> share of 1.
        detection_protocol: how those were computed, in words.
    """

    title: str
    searches: Mapping[str, Search]
    detection: Mapping[str, float]
    detection_protocol: str

    def percent(self) -> dict[str, dict[str, float]]:
        """Task -> metric -> percent, as detectron2 prints and tests results."""
        tasks = {task: search.metrics.summary() for task, search in self.searches.items()}
        tasks["detection"] = dict(self.detection)
        return {t: {k: 100 * v for k, v in values.items()} for t, values in tasks.items()}

    def table(self) -> str:
        """Searches and detection in percent, each with its protocol."""
        lines = [f"Person search on {self.title}", ""]
        lines.append(search_table({task: s.metrics for task, s in self.searches.items()}))
        lines.append("")
        lines += [f"detection {name:14}{100 * v:8.2f}" for name, v in self.detection.items()]
        lines += ["", f"detection: {self.detection_protocol}"]
        return "\n".join(lines)

    def write(self, folder: str) -> None:
        """``search_<title>.json`` (shares of 1, with protocols) and one CSV per task."""
        report = {
            "data set": self.title,
            "search": {
                task: {**search.metrics.summary(), "protocol": search.metrics.protocol}
                for task, search in self.searches.items()
            },
            "detection": {**self.detection, "protocol": self.detection_protocol},
        }
        path = os.path.join(folder, f"search_{self.title}.json")
        write_text(path, lambda file: json.dump(report, file, indent=2))
        for task, search in self.searches.items():
            path = os.path.join(folder, f"queries_{self.title}_{task}.csv")
            write_text(path, partial(_write_queries, search))


def _write_queries(search: Search, file: TextIO) -> None:
    """One row per query: where it is, whom it shows, its AP (empty if undefined) and hits."""
    results, metrics = search
    writer = csv.writer(file)
    writer.writerow("query frame x1 y1 x2 y2 person_id AP top1 top5 top10".split())
    for q, (ap, hits) in enumerate(zip(metrics.ap, metrics.hits, strict=True)):
        box = [f"{v:g}" for v in results.query_boxes[q]]
        value = "" if np.isnan(ap) else f"{ap:.6f}"
        frame, person = results.query_frames[q], results.query_ids[q]
        writer.writerow([q, frame, *box, person, value, *hits.astype(int)])


def write_text(path: str, write: Callable[[TextIO], object]) -> None:
    """Let ``write`` fill a text file, which appears under ``path`` once it is whole."""
    with atomic_write(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            write(file)
