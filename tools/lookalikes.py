#!/usr/bin/env python
"""How a model does on persons whom only fine detail tells apart (Street only).

    python tools/lookalikes.py output/Street/baseline output/Street/baseline_mrfp

Some of Street's persons come in groups that share clothes, colors and build and differ in pattern,
logo, shoes or accents. The table has one line per run and kind of boxes: mAP and top-1 of the
queries for these look-alikes, and of the other queries.
"""

import argparse
import csv
import json
import re
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

import person_search.data  # noqa: F401  (registers Street)
from person_search.command import run_program
from person_search.errors import ResultsError

QUERIES = re.compile(r"queries_(street_\w+_test)_(search(?:_gt)?)\.csv")


def lookalike_ids(dataset: str) -> set[int]:
    """Person ids of a Street test set that have look-alikes."""
    DatasetCatalog.get(dataset)
    metadata = MetadataCatalog.get(dataset)
    path = Path(metadata.dirname) / "identities.json"
    drawn = json.loads(path.read_text(encoding="utf-8"))["identities"]
    return {
        person
        for person, raw in enumerate(metadata.raw_person_ids)
        if drawn[str(raw)]["group"] is not None
    }


def compare(path: Path, alike: set[int]) -> list[tuple[int, float, float]]:
    """(number of queries, mAP, top-1) in percent, of look-alikes and of the others."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["AP"]]
    groups = ([r for r in rows if (int(r["person_id"]) in alike) == wanted] for wanted in (1, 0))
    return [
        (len(g), *(100 * float(np.mean([float(r[key]) for r in g])) for key in ("AP", "top1")))
        for g in groups
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="OUTPUT_DIR of runs evaluated on Street")
    args = parser.parse_args()
    print(f"{'':54}{'look-alikes':^24}{'others':^24}")
    print(f"{'run':40}{'boxes':14}" + f"{'queries':>8}{'mAP':>8}{'top-1':>8}" * 2)
    for folder in args.runs:
        found = [(p, QUERIES.fullmatch(p.name)) for p in sorted(folder.glob("inference/queries_*"))]
        found = [(path, match) for path, match in found if match]
        if not found:
            raise ResultsError(
                f"{folder} holds no queries_street_*.csv: evaluate the run on Street first"
            )
        for path, match in found:
            alike = lookalike_ids(match.group(1))
            boxes = "ground truth" if match.group(2).endswith("_gt") else "detected"
            cells = "".join(f"{n:8}{m:8.1f}{t:8.1f}" for n, m, t in compare(path, alike))
            print(f"{'/'.join(folder.parts[-2:]):40}{boxes:14}{cells}")


if __name__ == "__main__":
    run_program(main)
