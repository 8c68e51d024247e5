"""``person-search adapt``: adapt a gallery to its own cameras."""

import argparse

from person_search.errors import GalleryError

from ..engines import open_gallery
from .common import say

SUMMARY = "adapt a gallery to its own cameras, without labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", help="folder, s3://... or http://...")
    parser.add_argument(
        "--confirmed",
        nargs="+",
        default=[],
        metavar="JSON",
        help="who is who, where you know it: outputs of search --json from which you took all "
        "wrong hits; the name of the file is the person's",
    )
    parser.add_argument("--undo", action="store_true", help="search with the model's embeddings")


def run(args: argparse.Namespace) -> int:
    """Fit the adaptation to the gallery's rows, or forget it."""
    from ..adapting import adapt_gallery, forget_adaptation, read_adaptation
    from ..export_coco import read_confirmed

    gallery = open_gallery(args.gallery)
    if args.undo:
        if args.confirmed:
            raise GalleryError("--undo fits nothing: leave --confirmed out")
        there_was = forget_adaptation(gallery)
        say("the gallery is as its model made it" if there_was else "the gallery was not adapted")
        return 0
    confirmed = read_confirmed(args.confirmed)
    found = adapt_gallery(gallery, confirmed)
    if confirmed:
        persons = len(set(confirmed.values()))
        say(f"{len(confirmed)} confirmed rows of {persons} persons were taken")
    adaptation = read_adaptation(gallery)
    say(found.describe() if adaptation is None else adaptation.note(gallery))
    return 0
