"""Checks a copy of a data set against the published counts.

    python tools/check_dataset.py prw
    python tools/check_dataset.py cuhk_sysu --root /data/CUHK-SYSU --images
    python tools/check_dataset.py market1501
    python tools/check_dataset.py street_small

A subset is a warning (exit status 0); something missing or damaged is an error that names the
files (exit status 1).
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.data.catalog import OUR_KINDS
from person_search.data.readers import expected_counts, register_all
from person_search.errors import DatasetError
from person_search.images import read_image
from person_search.protocols import GalleryLists


def count(name: str, records: list[dict]) -> dict[str, int]:
    """Quantities of a loaded data set."""
    if MetadataCatalog.get(name).evaluator_type == "reid":
        return count_pictures(name, records)
    return count_frames(name, records)


def count_pictures(name: str, records: list[dict]) -> dict[str, int]:
    """Quantities of a re-identification set."""
    found = {"pictures": len(records), "persons": MetadataCatalog.get(name).num_person_ids}
    if queries := [record for record in records if record["role"] == "query"]:
        found["queries"] = len(queries)
        found["queried persons"] = len({record["person_id"] for record in queries})
        found["gallery"] = sum(record["role"] == "gallery" for record in records)
    cameras = Counter(record["camera_id"] for record in records if record["camera_id"] >= 0)
    if cameras:
        found["cameras"] = len(cameras)
    return found | {f"camera {camera}": cameras[camera] for camera in sorted(cameras)}


def count_frames(name: str, records: list[dict]) -> dict[str, int]:
    """Quantities of a set of frames; a test set's gallery is that of its default protocol."""
    metadata = MetadataCatalog.get(name)
    persons = [person for record in records for person in record["annotations"]]
    found = {"frames": len(records), "boxes": len(persons)}
    if metadata.num_person_ids:
        found["labeled boxes"] = sum(person["person_id"] >= 0 for person in persons)
        found["persons"] = metadata.num_person_ids
    if "ignore_regions" in records[0]:
        found["ignore regions"] = sum(len(record["ignore_regions"]) for record in records)
    if protocols := metadata.get("protocols"):
        protocol = next(iter(protocols.values()))()
        found["queries"] = len(protocol.query_ids)
        found["queried persons"] = len(set(protocol.query_ids.tolist()))
        if isinstance(protocol.gallery, GalleryLists):
            found["gallery rows"] = len(protocol.gallery.frames)
            found["gallery targets"] = int(protocol.gallery.has_target.sum())
    sequences = [re.match(r"c\ds\d", record["image_id"]) for record in records]
    return found | Counter(f"frames {match[0]}" for match in sequences if match)


def report(name: str, found: dict[str, int]) -> bool:
    """Prints the table of one data set; returns whether all counts are the published ones."""
    expected = expected_counts(name)
    print(f"\n{name}\n{'quantity':<18}{'found':>9}{'expected':>10}  status")
    complete = True
    for quantity in sorted(found.keys() | expected, key=[*expected, *found].index):
        number, target = found.get(quantity, 0), expected.get(quantity)
        if target is None:
            status = "-"
        else:
            status = "ok" if number == target else "fewer" if number < target else "more"
        complete &= status in ("ok", "-")
        print(f"{quantity:<18}{number:>9}{'-' if target is None else target:>10}  {status}")
    return complete


def damage(path: str) -> str | None:
    """What is wrong with an image when all of it is decoded, or None."""
    try:
        read_image(path)
    except DatasetError as error:
        return str(error)
    return None


def splits_of_ours() -> dict[str, list[str]]:
    """Data set -> the registered names of its splits, of all that this project registers."""
    splits = defaultdict(list)
    for name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        if metadata.get("evaluator_type", None) in OUR_KINDS:
            splits[name.removesuffix(f"_{metadata.split}")].append(name)
    return dict(splits)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if something is missing or damaged."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("dataset", help="prw, cuhk_sysu, market1501, ..., or a registered name")
    parser.add_argument("--root", help="folder of the data set, or the one of all data sets")
    parser.add_argument("--images", action="store_true", help="also decode every image fully")
    args = parser.parse_args(argv)
    if args.root:
        register_all(args.root)
    splits = splits_of_ours()
    names = [args.dataset] if args.dataset in DatasetCatalog else splits.get(args.dataset, [])
    if not names:
        parser.error(f"no data set {args.dataset}; there are {', '.join(splits)}")

    complete, faults = True, []
    for name in names:
        try:
            records = DatasetCatalog.get(name)
            complete &= report(name, count(name, records))
        except DatasetError as error:
            faults.append(f"{name}: {error}")
            continue
        if args.images:
            with ThreadPoolExecutor() as pool:
                paths = [record["file_name"] for record in records]
                faults += [fault for fault in pool.map(damage, paths) if fault]
    if faults:
        print("\nerror:", *faults, sep="\n  ", file=sys.stderr)
        return 1
    if not complete:
        print("\nwarning: not the published counts; this is a subset or another version")
    return 0


if __name__ == "__main__":
    sys.exit(main())
