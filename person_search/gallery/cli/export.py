"""``person-search export``: write the rows of a gallery to files for other programs."""

import argparse

from person_search.errors import GalleryError

from ..engines import open_gallery
from ..export import export_rows
from .common import add_filter, add_gallery, add_pictures, pictures_of, row_filter, say

SUMMARY = "write the rows of a gallery to files for other programs"
FORMATS = ("csv", "jsonl", "npz", "coco")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)
    parser.add_argument(
        "output",
        help="file.csv, file.jsonl, or file.npz with the embeddings; of --format coco a folder",
    )
    parser.add_argument("--format", choices=FORMATS, help="(default: what the suffix says)")
    parser.add_argument(
        "--confirmed",
        nargs="+",
        default=[],
        metavar="JSON",
        help="of --format coco, who is who: outputs of search --json from which you took all wrong "
        "hits; the name of the file is the person's",
    )
    add_pictures(parser)
    add_filter(parser)


def run(args: argparse.Namespace) -> int:
    """Write the rows."""
    gallery, where = open_gallery(args.gallery), row_filter(args)
    if args.confirmed and args.format != "coco":
        raise GalleryError("--confirmed belongs to --format coco: other formats hold no identities")
    if args.format == "coco":
        from ..export_coco import export_coco, read_confirmed

        pictures, confirmed = pictures_of(args, gallery), read_confirmed(args.confirmed)
        say(str(export_coco(gallery, args.output, pictures, where, confirmed)))
        say(
            f"back again: python tools/prepare_dataset.py NAME --from coco "
            f"{args.output}/annotations.json"
        )
    else:
        number = export_rows(gallery, args.output, where, args.format)
        say(f"{number} persons in {args.output}")
    return 0
