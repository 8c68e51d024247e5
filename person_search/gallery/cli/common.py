"""What the commands share: options, the model that they name, and printing."""

import argparse
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from person_search.errors import GalleryError, printable
from person_search.structures import GalleryModel, Searcher

from ..engines import GalleryIndex
from ..persons import Filter

if TYPE_CHECKING:
    from ..calibration import Thresholds
    from ..trust import Pictures


def say(text: str, **options) -> None:
    """Print; no name of a file or camera steers the terminal."""
    print(printable(text), **options)


# ---------------------------------------------------------------------------------------- options


def add_gallery(
    parser: argparse.ArgumentParser,
    more: str = "",
    *,
    required: bool = True,
    action: str = "store",
) -> None:
    text = f"folder, s3://... or http://...{more}"
    parser.add_argument("--gallery", required=required, action=action, help=text)


def add_model(parser: argparse.ArgumentParser, default: str = "the gallery's own") -> None:
    group = parser.add_argument_group(f"model (default: {default})")
    group.add_argument(
        "--model", help="name or folder of a pack (see the command models), or a config file"
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="trained with that config; without --model: where the gallery's own weights are",
    )
    group.add_argument(
        "--device", help="cpu or cuda, for packs also tensorrt or openvino (default: the fastest "
        "that is there for a config, cpu for a pack)"
    )  # fmt: skip
    group.add_argument(
        "--tiles", type=positive, metavar="N", help="of a pack: look also into tiles of large "
        "pictures, N along the longer side"
    )  # fmt: skip
    group.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="override the config"
    )


def add_filter(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("only rows that fit")
    group.add_argument("--camera", action="append", default=[], help="may be given several times")
    group.add_argument("--since", type=time, help="2026-05-01T12:00; UTC unless it has a zone")
    group.add_argument("--until", type=time, help="before that time")
    group.add_argument("--min-score", type=float, help="of the detection")


def add_threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threshold",
        type=threshold,
        metavar="auto[:RATE]",
        help="say whether the person is there at all, and list only hits that are similar enough: "
        "for a rate of false alarms (needs the command calibrate), or a similarity, as 0.62",
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="FOLDER",
        help="pictures below it may be opened, too (default: what was indexed on this machine)",
    )


def time(text: str) -> datetime:
    """A time of an option; UTC unless it has a zone."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: write 2026-05-01 or 2026-05-01T12:00"
        ) from None
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def threshold(text: str) -> tuple[float | None, float | None]:
    """Similarity and rate: "0.62" is (.62, None), "auto" (None, None), "auto:0.05" (None, .05)."""
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


# ------------------------------------------------------------------------------ what options mean


def row_filter(args: argparse.Namespace) -> Filter:
    return Filter(tuple(args.camera), args.since, args.until, args.min_score)


def pictures_of(args: argparse.Namespace, gallery: GalleryIndex) -> "Pictures":
    """The pictures of a gallery that may be opened."""
    from ..trust import Pictures, named_pictures

    return Pictures([*named_pictures(gallery.uri), *args.pictures])


def thresholds_of(
    args: argparse.Namespace, model: GalleryModel, galleries: Sequence[GalleryIndex]
) -> "Thresholds | None":
    """What --threshold asks for; None: nothing.

    Raises:
        CalibrationError: one of the galleries has no calibration, or the rate is not legal.
    """
    from ..adapting import adaptation_version
    from ..calibration import Calibration, Threshold, check_rate

    if args.threshold is None:
        return None
    similarity, rate = args.threshold
    if similarity is not None:
        return lambda gallery, where: Threshold(similarity)
    if rate is not None:
        check_rate(rate)

    def calibration_of(gallery: GalleryIndex) -> Calibration:
        return Calibration.load(model, adaptation_version(gallery), gallery.uri)

    for gallery in galleries:
        calibration_of(gallery)
    # Read again for every search: a gallery may be adapted anew while a page shows it.
    return lambda gallery, where: calibration_of(gallery).threshold(gallery.count(where), rate)


def open_searcher(args: argparse.Namespace, find_gallery: Callable[[], GalleryIndex]) -> Searcher:
    """The model that the options name, or else the gallery's own.

    Args:
        args: with the options of :func:`add_model`.
        find_gallery: is asked only where no model is named.
    """
    from ..models import is_config, load_detectron2, open_gallery_model, open_model

    if args.opts and not args.model:
        raise GalleryError("--opts override a config: name it with --model")
    gallery = None if args.model else find_gallery()
    if is_config(args.model) if gallery is None else gallery.model.kind == "detectron2":
        load_detectron2()
        # Not before: torch sets the levels of its own loggers when it is imported.
        logging.getLogger("torch").setLevel(logging.ERROR)
    if gallery is not None:
        return open_gallery_model(gallery, args.weights, device=args.device, tiles=args.tiles)
    return open_model(
        args.model, args.weights, opts=args.opts, device=args.device, tiles=args.tiles
    )
