"""``person-search remove``: take files, or rows that fit, out of a gallery."""

import argparse
import os
from fnmatch import fnmatchcase

from person_search.errors import GalleryError

from ..engines import open_gallery
from .common import add_filter, add_gallery, row_filter, say

SUMMARY = "take files, or rows that fit, out of a gallery"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="file, folder or pattern")
    add_filter(parser)


def run(args: argparse.Namespace) -> int:
    """Remove files, or the rows that fit; such rows do not come back with the next indexing."""
    where = row_filter(args)
    if bool(args.sources) == bool(where.conditions()):
        raise GalleryError("say what to remove: either SOURCEs, or --camera, --until and the like")
    gallery = open_gallery(args.gallery)
    if args.sources:
        known = list(gallery.files())
        named = [path for path in known if any(_names(s, path) for s in args.sources)]
        # One that was interrupted is in no list yet.
        removed = gallery.delete_files(list({*named, *map(os.path.abspath, args.sources)}))
    else:
        removed = gallery.delete(where)
    gallery.optimize()
    say(f"removed {removed} persons; the gallery holds {gallery.count()}")
    gallery.close()
    return 0


def _names(source: str, path: str) -> bool:
    """Whether a file, folder or pattern names a path; neither need exist any more."""
    source = os.path.abspath(source)
    return path == source or path.startswith(source + os.sep) or fnmatchcase(path, source)
