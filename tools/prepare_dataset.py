#!/usr/bin/env python
"""Makes a data set of one's own annotations: checks, splits, chooses queries, registers.

    python tools/prepare_dataset.py shop --from coco annotations.json --images pictures
    python tools/prepare_dataset.py hall --from cvat annotations.xml --person-key track_id
    python tools/prepare_dataset.py mot17 --from mot MOT17/train/*-FRCNN --every 15
    python tools/prepare_dataset.py office --from voc Annotations --images ../JPEGImages
    python tools/prepare_dataset.py staff --from crops people
    python tools/prepare_dataset.py prw_again --from registered prw_train prw_test --ids shared

Every fault is listed with its file and place; then nothing is written (exit status 1), or, with
--drop-faulty, what has faults is left out: of a faulty identity the identity, not the person. A
table says what was taken, what was left out, and why. What is written is a folder NAME below
DETECTRON2_DATASETS, which every config takes from then on:

    python train_net.py --config-file configs/PRW/baseline_mrfp.yaml OUTPUT_DIR output/shop \\
        DATASETS.TRAIN "('shop_train',)" DATASETS.TEST "('shop_test',)"

Pictures stay where they are. docs/own_data.md says more.
"""

import argparse
import os
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

from check_dataset import count
from detectron2.data import DatasetCatalog, MetadataCatalog
from visualize_dataset import BoxStatistics, draw_datasets, print_numbers

from person_search import importing
from person_search.data.readers import register_all
from person_search.data.readers.builtin import is_builtin
from person_search.data.readers.registration import SPLITS
from person_search.errors import ConfigError, DatasetError, PersonSearchError, printable
from person_search.importing.formats.crops import NAMES
from person_search.importing.identities import Words
from person_search.importing.split import count_labeled, persons_of

SPLIT_BY = ("identity", "time", "given", "files")


def pattern(text: str) -> str:
    """A regular expression with a group."""
    try:
        if re.compile(text).groups:
            return text
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    raise argparse.ArgumentTypeError(f"{text!r} has no group ( ) around what is meant")


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("name", help="of the data set: configs call it NAME_train and NAME_test")
    parser.add_argument("--from", dest="source", required=True, choices=importing.FORMATS)
    inputs = "; ".join(f"{name}: {form.inputs}" for name, form in importing.FORMATS.items())
    parser.add_argument("inputs", nargs="+", help=inputs)
    parser.add_argument(
        "--root",
        default=os.environ.get("DETECTRON2_DATASETS", "datasets"),
        help="folder of the data sets (default: $DETECTRON2_DATASETS or datasets)",
    )
    parser.add_argument("--check", action="store_true", help="look for faults, write nothing")
    parser.add_argument("--drop-faulty", action="store_true", help="leave out what has faults")
    parser.add_argument(
        "--headers-only",
        action="store_true",
        help="do not decode the pictures: quicker, finds no truncated one",
    )
    parser.add_argument("--overwrite", action="store_true", help="a data set NAME made before")
    _add_reading(parser.add_argument_group("reading"))
    _add_persons(parser.add_argument_group("who is a person, and which one"))

    splitting = parser.add_argument_group("splitting")
    splitting.add_argument("--split", choices=SPLIT_BY, default="identity")
    splitting.add_argument(
        "--valid",
        choices=("train", "test", "none"),
        help="where frames of a validation split go (--split given, files)",
    )
    splitting.add_argument(
        "--test",
        type=float,
        default=0.3,
        help="share of persons (split by time: of frames) for testing",
    )
    splitting.add_argument("--queries", type=int, default=1, help="per test person and camera")
    splitting.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    for key in ("every", "queries"):
        if getattr(args, key) < 1:
            parser.error(f"--{key} {getattr(args, key)}: at least 1")
    return args


def _add_reading(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--images", help="folder of the pictures, relative to that of the file")
    group.add_argument(
        "--camera", type=pattern, metavar="REGEX", help="its first group in a path: the camera"
    )
    group.add_argument(
        "--time", type=pattern, metavar="REGEX", help="its first group in a path: the time"
    )
    group.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th frame of each camera only"
    )
    group.add_argument(
        "--pixel-origin",
        type=int,
        choices=(0, 1),
        help="mot, voc: the number of the first pixel (default: what the files show, else 1)",
    )
    group.add_argument(
        "--first-frame", type=int, help="number of the first frame of a video in the annotations"
    )
    group.add_argument(
        "--columns",
        default=importing.Options.columns,
        help="darklabel: the columns of a row, named as in darklabel.yml (default: %(default)s)",
    )


def _add_persons(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--categories",
        "--category",
        type=names,
        default=(),
        metavar="A,B",
        help="the classes that are persons (default: person)",
    )
    group.add_argument(
        "--ignore-categories",
        type=names,
        default=(),
        metavar="A,B",
        help="classes whose boxes are regions to ignore",
    )
    group.add_argument(
        "--crowd",
        choices=("regions", "persons"),
        help="what iscrowd marks, where such annotations name a person",
    )
    group.add_argument(
        "--person-key", default="person_id", help="what names the person, e.g. track_id"
    )
    group.add_argument(
        "--nobody",
        action="append",
        default=[],
        metavar="WORD",
        help="what the annotations call persons without identity; 5555+: 5555 and all after it; "
        "unknown*: all that begins so",
    )
    group.add_argument(
        "--somebody",
        action="append",
        default=[],
        metavar="WORD",
        help="who is a person although it looks like a word for nobody",
    )
    group.add_argument(
        "--spelling",
        choices=("exact", "loose"),
        help='whether 003, "3" and 3, or Anna and anna, are different persons or the same',
    )
    group.add_argument(
        "--twice",
        choices=("keep", "nameless"),
        help="what becomes of a person who stands twice in a frame (registered: keep)",
    )
    group.add_argument(
        "--ids",
        choices=("shared", "separate"),
        help="whether a person id is the same person in several inputs (videos: separate unless "
        "said otherwise)",
    )
    group.add_argument("--names", choices=NAMES, default="folders", help="crops: who is who")


def options_of(args: argparse.Namespace) -> importing.Options:
    """What the readers have to know of the arguments."""
    return importing.Options(
        images=args.images,
        person_key=args.person_key,
        categories=args.categories,
        ignored=args.ignore_categories,
        nobody=Words.of(args.nobody),
        somebody=Words.of(args.somebody),
        crowd=args.crowd,
        pixel_origin=args.pixel_origin,
        first_frame=args.first_frame,
        columns=args.columns,
        names=args.names,
    )


def read_frames(args: argparse.Namespace, reading: importing.Reading) -> list[importing.Frame]:
    """Read, named and checked frames, without those that have faults."""
    groups = importing.read_inputs(args.source, args.inputs, reading)
    if args.split == "files":
        groups = importing.split_by_inputs(groups, args.inputs, args.valid)
    elif args.split == "given":
        groups = {n: importing.place_valid(f, args.valid) for n, f in groups.items()}
    frames = importing.settle_persons(
        args.source,
        groups,
        reading,
        shared={"shared": True, "separate": False, None: None}[args.ids],
        spelling=args.spelling,
        twice=args.twice,
    )
    if args.camera:
        frames = importing.read_from_names(
            frames, args.camera, lambda frame, camera: frame._replace(camera=camera), reading
        )
    if args.time:
        frames = importing.read_from_names(
            frames, args.time, lambda frame, time: frame._replace(time=float(time)), reading
        )
    kept = importing.every_nth(frames, args.every)
    if len(kept) < len(frames):
        why = f"--every {args.every}"
        reading.tally.leave("pictures", why, number=len(frames) - len(kept))
    frames = importing.check_frames(kept, reading, "size" if args.headers_only else "decode")
    importing.count_taken(frames, reading)
    return frames


def report(reading: importing.Reading) -> None:
    """Prints what was decided by evidence, and what was taken and left out."""
    for note in reading.notes:
        print(printable(f"note: {note}"))
    print(reading.tally)


def report_faults(faults: list[importing.Fault], drop: bool) -> None:
    """Lists all faults, by file, then in the order of reading.

    Raises:
        DatasetError: there are some, and they are not to be, or cannot be, left out.
    """
    for fault in sorted(faults, key=lambda fault: str(fault.place.path)):
        print(printable(str(fault)), file=sys.stderr)
    fatal = sum(fault.is_fatal for fault in faults)
    if not faults:
        return
    print(f"{len(faults)} fault{'s' * (len(faults) != 1)}", file=sys.stderr)
    if fatal:
        raise DatasetError(f"nothing was written; {fatal} of these --drop-faulty cannot leave out")
    if not drop:
        raise DatasetError("nothing was written; --drop-faulty leaves out what has these faults")


def print_notes(frames: list[importing.Frame]) -> None:
    """What is no fault, but what one may want to know."""
    boxes = [(b, f) for f in frames for b in f.boxes if b.xywh is not None and not b.ignore]
    seen_in = Counter(person for frame in frames for person in persons_of(frame))
    notes = {
        "frames": len(frames),
        "frames without a box": sum(not frame.boxes for frame in frames),
        "boxes that reach out of their frame": sum(_reaches_out(b, f) for b, f in boxes),
        "persons": len(seen_in),
        "persons in one frame only (no queries)": sum(n == 1 for n in seen_in.values()),
    }
    print("as annotated")
    print_numbers(notes)


def _reaches_out(box: importing.Box, frame: importing.Frame) -> bool:
    x, y, width, height = box.xywh
    return x < 0 or y < 0 or x + width > frame.size[1] or y + height > frame.size[0]


def split_frames(args: argparse.Namespace, frames: list[importing.Frame]) -> importing.Sides:
    """Both sides, with queries; one of them is empty only where that was asked for.

    Raises:
        DatasetError: there is nobody to learn or nobody to search.
    """
    if args.split in ("given", "files"):
        sides = importing.split_as_given(frames)
        wants_train, wants_test = map(bool, sides)
    else:
        if args.split == "time":
            sides = importing.split_by_time(frames, args.test)
        else:
            sides = importing.split_by_identity(frames, args.test, args.seed)
        wants_train, wants_test = args.test < 1, args.test > 0
    if wants_train and not count_labeled(sides.train):
        raise DatasetError(
            "no training frame has a person with an identity: take a smaller share for testing "
            "(--test), or split otherwise (--split)"
        )
    is_given = args.split in ("given", "files")
    are_given = is_given and any(b.is_query for f in sides.test for b in f.boxes)
    if wants_test and not are_given:
        sides = sides._replace(test=importing.choose_queries(sides.test, args.queries, args.seed))
    lost = count_labeled(frames) - sum(map(count_labeled, sides))
    print_numbers({"boxes that lost their identity in the split": lost})
    return sides


def show(written: list[str], path: Path) -> None:
    """Prints the statistics of registered sets and draws them."""
    titles, boxes = {}, {}
    for name in written:
        records = DatasetCatalog.get(name)
        titles[name] = f"{name}: {len(records):,} pictures"
        boxes[name] = BoxStatistics.of(records)
        print(f"\n{name}")
        print_numbers(count(name, records) | boxes[name].summary())
    draw_datasets(titles, boxes, path)
    print(f"\n{path}")


def prepare(args: argparse.Namespace, command: str) -> None:
    """All of it; ``command`` is kept beside the data."""
    importing.check_name(args.name)
    folder = Path(args.root, args.name)
    if is_builtin(args.name):
        raise ConfigError(f"{args.name} is the name of a built-in data set: choose another one")
    register_all(args.root)
    are_tracks = importing.FORMATS[args.source].are_tracks
    reading = importing.Reading(options_of(args), are_tracks)
    frames = read_frames(args, reading)
    report(reading)
    report_faults(reading.faults, args.drop_faulty)
    if not frames:
        raise DatasetError("there is no frame")
    print_notes(frames)
    if args.check:
        return
    sides = split_frames(args, frames)
    kind = "crops" if args.source == "crops" else "frames"
    importing.write_dataset(folder, sides, kind, command, args.overwrite)
    register_all(args.root)
    written = [f"{args.name}_{split}" for split in SPLITS]
    written = [name for name in written if name in DatasetCatalog]
    show(written, folder / "statistics.png")
    for name in written:
        key = "DATASETS." + MetadataCatalog.get(name).split.upper()
        print(f"""{key} "('{name}',)\"""", end=" ")
    print()


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if something is wrong."""
    args = parse_arguments(argv)
    command = shlex.join([Path(__file__).name, *(sys.argv[1:] if argv is None else argv)])
    try:
        prepare(args, command)
    except (PersonSearchError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
