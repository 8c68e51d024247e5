"""``person-search calibrate``: set the thresholds of ``search --threshold auto``."""

import argparse
import sys

from tabulate import tabulate

from person_search.errors import GalleryError

from ..engines import open_gallery
from .common import add_gallery, add_model, open_searcher, say

SUMMARY = "set thresholds for search --threshold auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser, " whose model is meant; or give --model", required=False)
    parser.add_argument(
        "--data", required=True, help="a test set of persons that the model was not trained on"
    )
    parser.add_argument(
        "--false-alarm-rate", type=float, default=0.01, help="of --threshold auto (default: 0.01)"
    )
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Fit the thresholds, and store them beside the weights."""
    from person_search.evaluation import held_out_rate

    from ..calibration import fit_calibration

    if not (args.gallery or args.model):
        raise GalleryError("say whose thresholds: --gallery, or --model")
    searcher = open_searcher(args, lambda: open_gallery(args.gallery))
    rate = args.false_alarm_rate
    calibration, scores = fit_calibration(searcher, args.data, rate, progress=sys.stderr.isatty())
    curve, rows = calibration.curve, []
    for size in map(int, curve.sizes):
        similarity = curve.threshold(rate, size)
        shares = held_out_rate(scores, rate, size), curve.detection_rate(similarity)
        how = "" if curve.is_counted(rate, size) else "extrapolated"
        rows.append((size, f"{similarity:.3f}", *(f"{share:.3f}" for share in shares), how))
    head = ("gallery", "threshold", "false alarms of others", "detection rate", "")
    say(
        f"{calibration.queries} queries of {calibration.persons} persons in {calibration.frames} "
        f"frames of {args.data}; false alarm rate {rate:g}\n"
        f"{tabulate(rows, headers=head, disable_numparse=True)}\n"
        "false alarms of others: with a threshold fitted on half of the persons, counted for the "
        "other half"
    )
    say(str(calibration.save(searcher.model)))
    return 0
