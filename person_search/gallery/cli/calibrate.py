"""``person-search calibrate``: set the thresholds of ``search --threshold auto``."""

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from person_search.errors import GalleryError

from ..engines import open_gallery
from .common import add_gallery, add_model, open_searcher, say

SUMMARY = "set thresholds for search --threshold auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser, " whose model is meant; or give --model", required=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="a test set of persons that the model was not trained on")
    what.add_argument(
        "--results", metavar="NPZ", help="instead, what the model found there in an evaluation"
    )
    parser.add_argument(
        "--false-alarm-rate", type=float, default=0.01, help="of --threshold auto (default: 0.01)"
    )
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Fit the thresholds, and store them beside the weights."""
    from person_search.evaluation import SearchResults, held_out_rate

    from ..adapting import read_adaptation
    from ..calibration import fit_calibration, search_data_set

    if not (args.gallery or args.model):
        raise GalleryError("say whose thresholds: --gallery, or --model")
    gallery = open_gallery(args.gallery) if args.gallery else None
    adaptation = None if gallery is None else read_adaptation(gallery)
    searcher = open_searcher(args, lambda: gallery or open_gallery(args.gallery))
    if gallery is not None:
        gallery.model.require_same(searcher.model, gallery.uri)
    rate = args.false_alarm_rate
    if args.results:
        results, data = SearchResults.load(args.results), Path(args.results).stem
    else:
        results, data = search_data_set(searcher, args.data, sys.stderr.isatty()), args.data
    calibration, scores = fit_calibration(results, searcher.model, data, rate, adaptation)
    curve, rows = calibration.curve, []
    for size in map(int, curve.sizes):
        similarity = curve.threshold(rate, size)
        shares = held_out_rate(scores, rate, size), curve.detection_rate(similarity)
        how = "" if curve.is_counted(rate, size) else "extrapolated"
        rows.append((size, f"{similarity:.3f}", *(f"{share:.3f}" for share in shares), how))
    adapted = f"; for version {adaptation.version} of the adaptation" if adaptation else ""
    head = ("gallery", "threshold", "false alarms of others", "detection rate", "")
    say(
        f"{calibration.queries} queries of {calibration.persons} persons in {calibration.frames} "
        f"frames of {data}; false alarm rate {rate:g}{adapted}\n"
        f"{tabulate(rows, headers=head, disable_numparse=True)}\n"
        "false alarms of others: with a threshold fitted on half of the persons, counted for the "
        "other half"
    )
    say(str(calibration.save(searcher.model)))
    return 0
