"""``person-search index``: add pictures, folders and videos to a gallery."""

import argparse
import os
import sys

from person_search.errors import GalleryError
from person_search.structures import Searcher

from ..engines import open_gallery
from .common import add_gallery, add_model, open_searcher, positive, say, time

SUMMARY = "add pictures, folders and videos to a gallery"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="file, folder or pattern")
    add_model(parser, default="the gallery's own; of a new gallery, the recommended pack")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--camera", help="of all files (default: the name of each one's folder)")
    camera.add_argument("--camera-pattern", metavar="REGEX", help=r"found in a path, as c(\d+)s")
    parser.add_argument(
        "--every",
        type=positive,
        default=25,
        metavar="N",
        help="index every N-th frame of a video (default: 25)",
    )
    parser.add_argument("--start", type=time, help="when videos began (default: as they say)")
    parser.add_argument("--batch-size", type=positive, default=4)
    parser.add_argument("--workers", type=positive, default=2, help="threads that decode")


def run(args: argparse.Namespace) -> int:
    """Add files to a gallery; the status is 1 if not all of them could be read."""
    from ..indexing import Indexer
    from ..models import drawn_note
    from ..sources import find_files
    from ..trust import remember_pictures

    found = find_files(args.sources, args.camera, args.camera_pattern)
    searcher = _searcher(args)
    gallery = open_gallery(args.gallery, searcher.model)
    folders = [source for source in args.sources if os.path.isdir(source)]
    within = tuple(os.path.abspath(folder) + os.sep for folder in folders)
    single = [file.path for file in found if not file.path.startswith(within)]
    remember_pictures(gallery.uri, [*folders, *single])
    indexer = Indexer(
        searcher,
        gallery,
        every=args.every,
        start=args.start,
        batch_size=args.batch_size,
        workers=args.workers,
        progress=sys.stderr.isatty(),
    )
    report = indexer.run(found)
    say(f"{report}\nthe gallery holds {gallery.count()} persons")
    if note := drawn_note(searcher.model):
        say(note, file=sys.stderr)
    gallery.close()
    return 0 if report.is_complete else 1


def _searcher(args: argparse.Namespace) -> Searcher:
    """The model that is named, the gallery's own, or else the recommended pack."""
    from person_search import packs

    try:
        return open_searcher(args, lambda: open_gallery(args.gallery))
    except GalleryError as error:
        if args.model or args.weights or args.opts or "there is no gallery" not in str(error):
            raise
    args.model = packs.RECOMMENDED
    searcher = open_searcher(args, lambda: open_gallery(args.gallery))
    say(f"the model is {packs.RECOMMENDED}, the recommended pack; --model takes another")
    return searcher
