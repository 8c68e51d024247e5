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
from person_search.data.readers import register_all
from person_search.errors import DatasetError
from person_search.images import read_image
from person_search.protocols import GalleryLists


def _per_sequence(text: str) -> dict[str, int]:
    fields = text.split()
    return {f"frames {name}": int(n) for name, n in zip(fields[::2], fields[1::2], strict=True)}


def _per_camera(text: str) -> dict[str, int]:
    return {f"camera {camera}": int(n) for camera, n in enumerate(text.split(), start=1)}


EXPECTED = {
    "prw_train": {"frames": 5704, "boxes": 18048, "labeled boxes": 14907, "persons": 483}
    | _per_sequence("c1s1 530 c1s2 361 c2s1 754 c3s1 996 c4s1 348 c4s2 218 c5s1 1251 c6s1 1246"),
    "prw_test": {"frames": 6112, "boxes": 25062, "labeled boxes": 19127, "persons": 544}
    | {"queries": 2057, "queried persons": 450}
    | _per_sequence(
        "c1s2 12 c1s3 381 c1s4 498 c2s1 36 c2s2 557 c3s1 125 c3s2 1144 c4s2 15 c4s3 293 "
        "c4s4 330 c4s5 2 c5s1 52 c5s2 1015 c6s1 16 c6s2 1636"
    ),
    "cuhk_sysu_train": {"frames": 11206, "boxes": 55272, "persons": 5532},
    "cuhk_sysu_test": {"frames": 6978, "boxes": 40871, "labeled boxes": 8345, "persons": 2900}
    | {"queries": 2900, "queried persons": 2900, "gallery rows": 290000, "gallery targets": 5447},
    "posetrack21_train": {"frames": 42861},
    "posetrack21_test": {"persons": 1656, "queried persons": 1313},
    "crowdhuman_train": {"frames": 15000, "boxes": 339565, "ignore regions": 99227},
    "crowdhuman_val": {"frames": 4370, "boxes": 99481},
    "crowdhuman_visible_train": {"frames": 15000},
    "crowdhuman_visible_val": {"frames": 4370},
    "eurocity_train": {"frames": 23892},
    "eurocity_val": {"frames": 4266},
    "eurocity_night_train": {"frames": 4222},
    "eurocity_night_val": {"frames": 770},
    "market1501_train": {"pictures": 12936, "persons": 751, "cameras": 6},
    # Distractors count as one person.
    "market1501_test": {"queries": 3368, "queried persons": 750, "gallery": 15913, "persons": 751}
    | {"cameras": 6},
    "msmt17_train": {"pictures": 32621, "persons": 1041, "cameras": 15}
    | _per_camera("4910 203 454 1614 4296 1678 3453 795 1396 655 3154 1364 3635 3876 1138"),
    "msmt17_test": {"queries": 11659, "queried persons": 3060, "gallery": 82161, "persons": 3060},
    "cuhk03_labeled_train": {"pictures": 7368, "persons": 767, "cameras": 2},
    "cuhk03_labeled_test": {"queries": 1400, "queried persons": 700, "gallery": 5328}
    | {"persons": 700, "cameras": 2},
    "cuhk03_detected_train": {"pictures": 7365, "persons": 767, "cameras": 2},
    "cuhk03_detected_test": {"queries": 1400, "queried persons": 700, "gallery": 5332}
    | {"persons": 700, "cameras": 2},
    "luperson_train": {"pictures": 4180243},
    "luperson30k_train": {"pictures": 30000},
}


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
    expected = EXPECTED.get(name, {})
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
