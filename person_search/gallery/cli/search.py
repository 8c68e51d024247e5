"""``person-search search``: look for a person."""

import argparse
import sys

import numpy as np

from person_search.errors import QueryError

from ..engines import open_gallery
from .common import (
    add_filter,
    add_gallery,
    add_model,
    add_pictures,
    add_threshold,
    open_searcher,
    pictures_of,
    positive,
    row_filter,
    say,
    thresholds_of,
)

SUMMARY = "look for a person"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_gallery(parser)
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="QUERY",
        help="picture, or film.mp4@SECONDS; several show the same person",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--box", type=_box, action="append", metavar="X,Y,W,H", help="one per QUERY")
    who.add_argument(
        "--person", type=positive, action="append", help="which one from the left, per QUERY"
    )
    who.add_argument("--all", action="store_true", help="look for everybody in QUERY")
    parser.add_argument("--top-k", type=positive, default=20)
    parser.add_argument("--every-hit", action="store_true", help="not only the best of each frame")
    add_threshold(parser)
    parser.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking of the hits")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet")
    parser.add_argument("--html", metavar="FILE", help="write a page with enlargeable pictures")
    add_pictures(parser)
    add_filter(parser)
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    """Look for a person."""
    from ..models import drawn_note
    from ..queries import query_everybody, query_person
    from ..report.page import write_page
    from ..report.sheet import write_sheet
    from ..report.text import as_json, as_table
    from ..search import SearchOptions, search

    if args.all and len(args.queries) > 1:
        raise QueryError("--all takes one QUERY: several show the same person")
    gallery, where = open_gallery(args.gallery), row_filter(args)
    searcher = open_searcher(args, lambda: gallery)
    gallery.model.require_same(searcher.model, gallery.uri)
    thresholds = thresholds_of(args, searcher.model, [gallery])
    threshold = thresholds(gallery, where) if thresholds else None
    if args.all:
        queries = query_everybody(searcher, args.queries[0])
    else:
        queries = [query_person(searcher, args.queries, args.box, args.person)]
    options = SearchOptions(
        top_k=args.top_k,
        where=where,
        best_per_frame=not args.every_hit,
        leave_out_own_scene=True,
        threshold=threshold,
        rerank=args.rerank,
    )
    results = search(gallery, queries, options)
    say(as_json(results, gallery, threshold) if args.json else as_table(results, threshold))
    pictures = pictures_of(args, gallery)
    if args.sheet:
        write_sheet(results, pictures, args.sheet)
    if args.html:
        note = ", ".join([f"{gallery.count()} persons", *_conditions(args, str(threshold or ""))])
        write_page(results, pictures, args.gallery, note, args.html)
    if note := drawn_note(searcher.model):
        say(note, file=sys.stderr)
    return 0


def _box(text: str) -> np.ndarray:
    """ "x,y,w,h" as (4,) xyxy."""
    try:
        x, y, w, h = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box: write x,y,width,height") from None
    return np.array([x, y, x + w, y + h])


def _conditions(args: argparse.Namespace, threshold: str) -> list[str]:
    """How was searched, in words."""
    words = ["every hit" if args.every_hit else "the best hit of each frame"]
    if args.rerank:
        words.append("re-ranked")
    if threshold:
        words.append(threshold)
    given = {
        "camera": " or ".join(args.camera),
        "since": args.since,
        "until": args.until,
        "score at least": args.min_score,
    }
    return words + [f"{name} {value}" for name, value in given.items() if value not in ("", None)]
