"""Find a person in your own pictures and videos.

    person-search index photos/ films/*.mp4 --model configs/PRW/stl_mrfp.yaml \\
        --weights model_final.pth --gallery my_gallery
    person-search search party.jpg --box 120,80,60,170 --gallery my_gallery --html found.html
    person-search info --gallery my_gallery
"""

import argparse
import logging
import os
import sys
import warnings
from contextlib import suppress
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import partial

import numpy as np
from tabulate import tabulate

from person_search.errors import GalleryError, PersonSearchError, QueryError
from person_search.files import optional_module

from .engines import GalleryIndex, open_gallery
from .export import export_rows
from .persons import Filter

# What loads a model or draws is imported where it is used: half of the commands need neither.


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="person-search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (function, add_arguments, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        add_arguments(command)
        command.set_defaults(function=function)
    return parser


def _add_gallery(parser: argparse.ArgumentParser, more: str = "", **options) -> None:
    options = {"required": True, "help": "folder, s3://... or http://..." + more} | options
    parser.add_argument("--gallery", **options)


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model (default: the one that the gallery was made with)")
    group.add_argument("--model", metavar="CONFIG", help="a config file")
    group.add_argument("--weights", metavar="FILE", help="trained with it")
    group.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    group.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="override the config"
    )


def _add_filter(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("only rows that fit")
    group.add_argument("--camera", action="append", default=[], help="may be given several times")
    group.add_argument("--since", type=_time, help="2026-05-01T12:00; UTC unless it has a zone")
    group.add_argument("--until", type=_time, help="before that time")
    group.add_argument("--min-score", type=float, help="of the detection")


def _add_threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="auto[:RATE]",
        help="say whether the person is there at all, and list only hits that are similar enough: "
        "for a rate of false alarms (needs the command calibrate), or a similarity, as 0.62",
    )


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-05-01 or 2026-05-01T12:00"
        ) from None
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _threshold(text: str) -> tuple[float | None, float | None]:
    """ "0.62" -> (.62, None), "auto" -> (None, None), "auto:0.05" -> (None, .05)."""
    word, _, rate = text.partition(":")
    try:
        if word == "auto":
            return None, float(rate) if rate else None
        if -1 <= float(text) <= 1:
            return float(text), None
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a threshold: write auto, auto:FALSE_ALARM_RATE or a similarity"
    )


def _box(text: str) -> np.ndarray:
    """ "x,y,w,h" -> (4,) xyxy."""
    try:
        x, y, w, h = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box: write x,y,width,height") from None
    return np.array([x, y, x + w, y + h])


def _filter(args: argparse.Namespace) -> Filter:
    return Filter(tuple(args.camera), args.since, args.until, args.min_score)


# ------------------------------------------------------------------------------------------ index


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="file, folder or pattern")
    _add_model(parser)
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--camera", help="of all files (default: the name of each one's folder)")
    camera.add_argument("--camera-pattern", metavar="REGEX", help=r"found in a path, as c(\d+)s")
    parser.add_argument(
        "--every",
        type=_positive,
        default=25,
        metavar="N",
        help="index every N-th frame of a video (default: 25)",
    )
    parser.add_argument("--start", type=_time, help="when videos began (default: as they say)")
    parser.add_argument("--batch-size", type=_positive, default=4)
    parser.add_argument("--workers", type=_positive, default=2, help="threads that decode")


def index(args: argparse.Namespace) -> int:
    """Add files to a gallery."""
    from .indexing import Indexer
    from .sources import find_files

    files = find_files(args.sources, args.camera, args.camera_pattern)
    searcher = _searcher(args)
    gallery = open_gallery(args.gallery, searcher.model)
    indexer = Indexer(
        searcher,
        gallery,
        every=args.every,
        start=args.start,
        batch_size=args.batch_size,
        workers=args.workers,
        progress=sys.stderr.isatty(),
    )
    report = indexer.run(files)
    print(
        f"{report.persons} persons in {report.frames} frames of {report.files} files; "
        f"{report.skipped} files were there already; the gallery holds {gallery.count()} persons"
    )
    if report.problems:
        print(f"{len(report.problems)} files could not be read, or not to their ends:")
        for _, reason in sorted(report.problems):
            print(f"  {reason}")
    gallery.close()
    return 0


def _searcher(args: argparse.Namespace, gallery: GalleryIndex | None = None):
    """The model that the options name, or else the gallery's own."""
    from . import detectron2_searcher  # noqa: F401  (imports torch)
    from .searcher import PersonSearcher

    # Not before: torch sets the levels of its own loggers when it is imported.
    logging.getLogger("torch").setLevel(logging.ERROR)
    if args.model:
        if not args.weights:
            raise GalleryError("--model needs --weights, too")
        return PersonSearcher.from_config(args.model, args.weights, args.opts, args.device).searcher
    if args.opts:
        raise GalleryError("--opts override a config: name it with --model")
    try:
        gallery = gallery or open_gallery(args.gallery)
    except GalleryError as error:
        raise GalleryError(f"{error}; to make one, give --model and --weights") from error
    return PersonSearcher.from_gallery(gallery, args.weights, args.device).searcher


# ----------------------------------------------------------------------------------------- search


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="QUERY",
        help="picture, or film.mp4@SECONDS; several show the same person",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--box", type=_box, action="append", metavar="X,Y,W,H", help="one per QUERY")
    who.add_argument(
        "--person", type=_positive, action="append", help="which one from the left, per QUERY"
    )
    who.add_argument("--all", action="store_true", help="look for everybody in QUERY")
    parser.add_argument("--top-k", type=_positive, default=20)
    parser.add_argument("--every-hit", action="store_true", help="not only the best of each frame")
    _add_threshold(parser)
    parser.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking of the hits")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet")
    parser.add_argument("--html", metavar="FILE", help="write a page with enlargeable pictures")
    _add_filter(parser)
    _add_model(parser)


def search(args: argparse.Namespace) -> int:
    """Look for a person."""
    from .queries import query_everybody, query_person
    from .report.page import write_page
    from .report.sheet import write_sheet
    from .report.text import as_json, as_table
    from .search import SearchOptions
    from .search import search as search_gallery

    if args.all and len(args.queries) > 1:
        raise QueryError("--all takes one QUERY: several show the same person")

    gallery, where = open_gallery(args.gallery), _filter(args)
    thresholds = _thresholds(args, gallery)
    threshold = thresholds and thresholds(gallery.count(where))
    searcher = _searcher(args, gallery)
    gallery.model.require_same(searcher.model, gallery.uri)
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
    results = search_gallery(gallery, queries, options)
    print(as_json(results, gallery, threshold) if args.json else as_table(results, threshold))
    if args.sheet:
        write_sheet(results, args.sheet)
    if args.html:
        words = ["every hit" if args.every_hit else "the best hit of each frame"]
        if args.rerank:
            words.append("re-ranked")
        if threshold:
            words.append(str(threshold))
        note = ", ".join([f"{gallery.count()} persons", *words, *_conditions(args)])
        write_page(results, args.gallery, note, args.html)
    return 0


def _thresholds(args: argparse.Namespace, gallery: GalleryIndex):
    """The ``Thresholds`` that --threshold asks for; None if it is not given."""
    from .calibration import Calibration, Threshold, check_rate

    if args.threshold is None:
        return None
    similarity, rate = args.threshold
    if similarity is not None:
        return lambda _: Threshold(similarity)
    calibration = Calibration.load(args.weights or gallery.model.weights, gallery.model)
    if rate is not None:
        check_rate(rate)
    return partial(calibration.threshold, false_alarm_rate=rate)


def _conditions(args: argparse.Namespace) -> list[str]:
    """The filter in words."""
    given = {
        "camera": " or ".join(args.camera),
        "since": args.since,
        "until": args.until,
        "score at least": args.min_score,
    }
    return [f"{name} {value}" for name, value in given.items() if value not in ("", None)]


# -------------------------------------------------------------------------------------- calibrate


def add_calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser, " whose model is meant; or give --model and --weights", required=False)
    parser.add_argument(
        "--data", required=True, help="a test set of persons that the model was not trained on"
    )
    parser.add_argument(
        "--false-alarm-rate", type=float, default=0.01, help="of --threshold auto (default: 0.01)"
    )
    _add_model(parser)


def calibrate(args: argparse.Namespace) -> int:
    """Fit the thresholds of ``search --threshold auto``, and store them beside the weights."""
    from person_search.evaluation import held_out_rate

    from .calibration import fit_calibration

    if not (args.gallery or args.model):
        raise GalleryError("say whose thresholds: --gallery, or --model and --weights")
    searcher = _searcher(args)
    rate = args.false_alarm_rate
    calibration, scores = fit_calibration(searcher, args.data, rate, progress=sys.stderr.isatty())
    curve, rows = calibration.curve, []
    for size in map(int, curve.sizes):
        similarity = curve.threshold(rate, size)
        shares = held_out_rate(scores, rate, size), curve.detection_rate(similarity)
        how = "" if curve.is_counted(rate, size) else "extrapolated"
        rows.append((size, f"{similarity:.3f}", *(f"{share:.3f}" for share in shares), how))
    head = ("gallery", "threshold", "false alarms of others", "detection rate", "")
    print(
        f"{calibration.queries} queries of {calibration.persons} persons in {calibration.frames} "
        f"frames of {args.data}; false alarm rate {rate:g}\n"
        f"{tabulate(rows, headers=head, disable_numparse=True)}\n"
        "false alarms of others: with a threshold fitted on half of the persons, counted for the "
        "other half"
    )
    print(calibration.save(args.weights or searcher.model.weights))
    return 0


# ------------------------------------------------------------------------------------------ serve


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser, "; may be given several times", action="append")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: loopback)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    parser.add_argument(
        "--max-upload", type=_positive, default=20, metavar="MB", help="(default: 20)"
    )
    _add_threshold(parser)
    _add_model(parser)


def serve(args: argparse.Namespace) -> int:
    """Show a web page until Ctrl-C."""
    optional_module("gradio", "serve", GalleryError)
    from .serve.app import Server, build_app, listen
    from .serve.page import SearchPage

    galleries = [open_gallery(uri) for uri in args.gallery]
    thresholds = _thresholds(args, galleries[0])
    page = SearchPage(_searcher(args, galleries[0]), galleries, thresholds)
    app = build_app(page, args.max_upload * 10**6, args.host)
    with listen(args.host, args.port) as server_socket:
        host, port = server_socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        print(f"http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            Server(app).run(sockets=[server_socket])
    return 0


# ------------------------------------------------------------------------- info, remove and export


def info(args: argparse.Namespace) -> int:
    """Say what a gallery holds."""
    gallery = open_gallery(args.gallery)
    contents, model = gallery.contents(), gallery.model
    cameras = sorted(contents.cameras.items())
    listed = ", ".join(f"{name or '(none)'} {number}" for name, number in cameras)
    span = " to ".join(f"{t:%Y-%m-%d %H:%M:%S}" for t in (contents.first, contents.last) if t)
    rows = [
        ("gallery", gallery.uri),
        ("engine", gallery.engine()),
        ("persons", gallery.count()),
        ("files", len(gallery.files())),
        ("cameras", listed or "none"),
        ("time", span or "unknown"),
        ("weights", f"{model.weights} ({model.weights_hash})"),
        ("config", model.config_hash),
        ("embedding", model.dim),
        ("score threshold", model.score_thresh),
    ]
    print(tabulate(rows, tablefmt="plain"))
    return 0


def add_remove_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="file, folder or pattern")
    _add_filter(parser)


def remove(args: argparse.Namespace) -> int:
    """Remove files, or the rows that fit; such rows do not come back with the next indexing."""
    where = _filter(args)
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
    print(f"removed {removed} persons; the gallery holds {gallery.count()}")
    gallery.close()
    return 0


def _names(source: str, path: str) -> bool:
    """Whether a file, folder or pattern names a path; neither need exist any more."""
    source = os.path.abspath(source)
    return path == source or path.startswith(source + os.sep) or fnmatchcase(path, source)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument("output", help="file.csv, file.jsonl, or file.npz with the embeddings")
    _add_filter(parser)


def export(args: argparse.Namespace) -> int:
    """Write the rows to a file."""
    number = export_rows(open_gallery(args.gallery), args.output, _filter(args))
    print(f"{number} persons in {args.output}")
    return 0


COMMANDS = {
    "index": (index, add_index_arguments, "add pictures, folders and videos to a gallery"),
    "search": (search, add_search_arguments, "look for a person"),
    "calibrate": (calibrate, add_calibrate_arguments, "set thresholds for search --threshold auto"),
    "serve": (serve, add_serve_arguments, "look for persons on a local web page"),
    "info": (info, _add_gallery, "what a gallery holds"),
    "remove": (remove, add_remove_arguments, "take files, or rows that fit, out of a gallery"),
    "export": (export, add_export_arguments, "write the rows of a gallery to a file"),
}
"""Name -> what it does, its options, its summary."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one line and the status 1."""
    args = build_parser().parse_args(argv)
    warnings.simplefilter("ignore")
    logging.getLogger("person_search").setLevel(logging.ERROR)
    try:
        return args.function(args)
    except PersonSearchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
