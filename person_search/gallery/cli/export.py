"""``person-search export``: write the rows of a gallery to a file."""

import argparse

from ..engines import open_gallery
from ..export import export_rows
from .common import add_filter, add_gallery, row_filter, say

SUMMARY = "write the rows of a gallery to a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)
    parser.add_argument("output", help="file.csv, file.jsonl, or file.npz with the embeddings")
    add_filter(parser)


def run(args: argparse.Namespace) -> int:
    """Write the rows to a file."""
    number = export_rows(open_gallery(args.gallery), args.output, row_filter(args))
    say(f"{number} persons in {args.output}")
    return 0
