"""``person-search adapt``: adapt a gallery to its own cameras."""

import argparse

from ..engines import open_gallery
from .common import say

SUMMARY = "adapt a gallery to its own cameras, without labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", help="folder, s3://... or http://...")
    parser.add_argument("--undo", action="store_true", help="search with the model's embeddings")


def run(args: argparse.Namespace) -> int:
    """Fit the adaptation to the gallery's rows, or forget it."""
    from ..adapting import adapt_gallery, forget_adaptation, read_adaptation

    gallery = open_gallery(args.gallery)
    if args.undo:
        there_was = forget_adaptation(gallery)
        say("the gallery is as its model made it" if there_was else "the gallery was not adapted")
        return 0
    found = adapt_gallery(gallery)
    adaptation = read_adaptation(gallery)
    say(found.describe() if adaptation is None else adaptation.note(gallery))
    return 0
