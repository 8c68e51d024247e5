"""``person-search info``: what a gallery holds."""

import argparse

from tabulate import tabulate

from person_search.errors import printable_name

from ..engines import open_gallery
from .common import add_gallery, say

SUMMARY = "what a gallery holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)


def run(args: argparse.Namespace) -> int:
    """Say what a gallery holds."""
    from ..adapting import read_adaptation

    gallery = open_gallery(args.gallery)
    adaptation = read_adaptation(gallery)
    contents, model = gallery.contents(), gallery.model
    cameras = sorted(contents.cameras.items())
    listed = ", ".join(f"{printable_name(name) or '(none)'} {number}" for name, number in cameras)
    span = " to ".join(f"{t:%Y-%m-%d %H:%M:%S}" for t in (contents.first, contents.last) if t)
    rows = [
        ("gallery", gallery.uri),
        ("engine", gallery.engine()),
        ("persons", contents.cameras.total()),
        ("files", len(gallery.files())),
        ("cameras", listed or "none"),
        ("time", span or "unknown"),
        ("model", model.kind),
        ("weights", printable_name(f"{model.weights} ({model.weights_hash})")),
        ("config", printable_name(model.config_hash)),
        ("embedding", model.dim),
        ("score threshold", model.score_thresh),
        ("adaptation", adaptation.note(gallery) if adaptation else "none"),
    ]
    say(tabulate(rows, tablefmt="plain", disable_numparse=True))
    return 0
