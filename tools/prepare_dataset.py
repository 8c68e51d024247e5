#!/usr/bin/env python
"""Makes a data set of one's own annotations: checks, splits, chooses queries, registers.

    python tools/prepare_dataset.py shop --from coco annotations.json --images pictures
    python tools/prepare_dataset.py mot17 --from mot MOT17/train/*-FRCNN --every 15
    python tools/prepare_dataset.py office --from voc Annotations --images ../JPEGImages
    python tools/prepare_dataset.py staff --from crops people
    python tools/prepare_dataset.py prw_again --from registered prw_train prw_test --ids shared

Every fault is listed with file and line; then nothing is written (exit status 1), or, with
--drop-faulty, what has faults is left out. What is written is a folder NAME below
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
from collections import Counter, defaultdict
from pathlib import Path

from check_dataset import count
from detectron2.data import DatasetCatalog, MetadataCatalog
from visualize_dataset import BoxStatistics, draw_datasets, print_numbers

from person_search import importing as prep
from person_search.data.readers import register_all
from person_search.data.readers.builtin import is_builtin
from person_search.data.readers.common import SPLITS
from person_search.errors import ConfigError, DatasetError, PersonSearchError
from person_search.importing.crops import NAMES
from person_search.importing.split import count_labeled, persons_of

SPLIT_BY = ("identity", "time", "given")


def pattern(text: str) -> str:
    """A regular expression with a group."""
    try:
        if re.compile(text).groups:
            return text
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    raise argparse.ArgumentTypeError(f"{text!r} has no group ( ) around what is meant")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("name", help="of the data set: configs call it NAME_train and NAME_test")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        choices=("coco", "mot", "voc", "crops", "registered"),
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        help="coco: JSON files; mot: folders of sequences; voc: folders of XML "
        "files; crops: folders of pictures; registered: names",
    )
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

    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--images",
        default=".",
        help="coco, voc: folder of the pictures, relative to that of the file",
    )
    reading.add_argument(
        "--person-key", default="person_id", help="coco, voc: what names the person, e.g. track_id"
    )
    reading.add_argument("--category", default="person", help="the class that is a person")
    reading.add_argument(
        "--ids",
        choices=("shared", "separate"),
        help="whether a person id is the same person in several files or "
        "sequences (mot: separate unless said otherwise)",
    )
    reading.add_argument(
        "--pixel-origin",
        type=int,
        choices=(0, 1),
        default=1,
        help="mot, voc: the number of the first pixel (default: 1)",
    )
    reading.add_argument("--names", choices=NAMES, default="folders", help="crops: who is who")
    reading.add_argument(
        "--camera", type=pattern, metavar="REGEX", help="its first group in a path: the camera"
    )
    reading.add_argument(
        "--time", type=pattern, metavar="REGEX", help="its first group in a path: the time"
    )
    reading.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th frame of each camera only"
    )

    splitting = parser.add_argument_group("splitting")
    splitting.add_argument("--split", choices=SPLIT_BY, default="identity")
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


def read_source(args: argparse.Namespace, faults: list[prep.Fault]) -> list[prep.Frame]:
    """The frames of all inputs, whose persons are kept apart where they are."""
    paths = [Path(path) for path in args.inputs]
    shared = {"shared": True, "separate": False, None: None}[args.ids]
    if args.source == "crops":
        return prep.read_crops(paths, faults, args.names)
    if args.source == "voc":
        return prep.read_voc(
            paths, faults, args.images, args.person_key, args.category, args.pixel_origin
        )
    if args.source == "mot":
        groups = prep.read_mot(paths, faults, args.pixel_origin, args.category)
        shared = bool(shared)  # so the benchmark defines it
    elif args.source == "registered":
        groups = prep.read_registered(args.inputs, faults)
    else:
        groups = {
            name: prep.read_coco(path, faults, args.images, args.person_key, args.category)
            for name, path in zip(distinct_names(paths), paths, strict=True)
        }
    return prep.keep_apart(groups, shared, faults)


def distinct_names(paths: list[Path]) -> list[str]:
    """What tells files apart: their paths below the deepest common folder, without suffix."""
    if len(paths) == 1:
        return [paths[0].stem]
    common = os.path.commonpath([path.resolve().parent for path in paths])
    return [path.resolve().relative_to(common).with_suffix("").as_posix() for path in paths]


def every_nth(frames: list[prep.Frame], number: int) -> list[prep.Frame]:
    """Of each camera the first frame and every ``number``-th after it, by time, then as listed."""
    by_camera = defaultdict(list)
    for index, frame in enumerate(frames):
        by_camera[frame.camera].append(index)
    kept = set()
    for indices in by_camera.values():
        if all(frames[i].time is not None for i in indices):
            indices.sort(key=lambda i: frames[i].time)
        kept.update(indices[::number])
    return [frame for index, frame in enumerate(frames) if index in kept]


def read_frames(args: argparse.Namespace, faults: list[prep.Fault]) -> list[prep.Frame]:
    """Read, named and checked frames, without those that have faults."""
    frames = read_source(args, faults)
    if args.camera:
        frames = prep.read_from_names(
            frames, args.camera, lambda frame, camera: frame._replace(camera=camera), faults
        )
    if args.time:
        frames = prep.read_from_names(
            frames, args.time, lambda frame, time: frame._replace(time=float(time)), faults
        )
    frames = every_nth(frames, args.every)
    return prep.check_frames(frames, faults, "size" if args.headers_only else "decode")


def report_faults(faults: list[prep.Fault], drop: bool) -> None:
    """Lists all faults.

    Raises:
        DatasetError: there are some, and they are not to be, or cannot be, left out.
    """
    for fault in sorted(faults, key=lambda f: (str(f.place.path), f.place.line)):
        print(fault, file=sys.stderr)
    fatal = sum(fault.is_fatal for fault in faults)
    if not faults:
        return
    print(f"{len(faults)} fault{'s' * (len(faults) != 1)}", file=sys.stderr)
    if fatal:
        raise DatasetError(f"nothing was written; {fatal} of these --drop-faulty cannot leave out")
    if not drop:
        raise DatasetError("nothing was written; --drop-faulty leaves out what has these faults")


def print_notes(frames: list[prep.Frame]) -> None:
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


def _reaches_out(box: prep.Box, frame: prep.Frame) -> bool:
    x, y, width, height = box.xywh
    return x < 0 or y < 0 or x + width > frame.size[1] or y + height > frame.size[0]


def split_frames(args: argparse.Namespace, frames: list[prep.Frame]) -> prep.Sides:
    """Both sides, with queries; one of them is empty only where that was asked for.

    Raises:
        DatasetError: there is nobody to learn or nobody to search.
    """
    if args.split == "given":
        sides = prep.split_as_given(frames)
        wants_train, wants_test = map(bool, sides)
    else:
        if args.split == "time":
            sides = prep.split_by_time(frames, args.test)
        else:
            sides = prep.split_by_identity(frames, args.test, args.seed)
        wants_train, wants_test = args.test < 1, args.test > 0
    if wants_train and not count_labeled(sides.train):
        raise DatasetError(
            "no training frame has a person with an identity: take a smaller share for testing "
            "(--test), or split otherwise (--split)"
        )
    are_given = args.split == "given" and any(b.is_query for f in sides.test for b in f.boxes)
    if wants_test and not are_given:
        sides = sides._replace(test=prep.choose_queries(sides.test, args.queries, args.seed))
    lost = count_labeled(frames) - sum(map(count_labeled, sides))
    print_numbers({"boxes that lost their identity in the split": lost})
    return sides


def show(names: list[str], path: Path) -> None:
    """Prints the statistics of registered sets and draws them."""
    titles, boxes = {}, {}
    for name in names:
        records = DatasetCatalog.get(name)
        titles[name] = f"{name}: {len(records):,} pictures"
        boxes[name] = BoxStatistics.of(records)
        print(f"\n{name}")
        print_numbers(count(name, records) | boxes[name].summary())
    draw_datasets(titles, boxes, path)
    print(f"\n{path}")


def prepare(args: argparse.Namespace, command: str) -> None:
    """All of it; ``command`` is kept beside the data."""
    prep.check_name(args.name)
    folder = Path(args.root, args.name)
    if is_builtin(args.name):
        raise ConfigError(f"{args.name} is the name of a built-in data set: choose another one")
    register_all(args.root)
    faults: list[prep.Fault] = []
    frames = read_frames(args, faults)
    report_faults(faults, args.drop_faulty)
    if not frames:
        raise DatasetError("there is no frame")
    print_notes(frames)
    if args.check:
        return
    sides = split_frames(args, frames)
    kind = "crops" if args.source == "crops" else "frames"
    prep.write_dataset(folder, sides, kind, command, args.overwrite)
    register_all(args.root)
    names = [f"{args.name}_{split}" for split in SPLITS]
    names = [name for name in names if name in DatasetCatalog]
    show(names, folder / "statistics.png")
    for name in names:
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
