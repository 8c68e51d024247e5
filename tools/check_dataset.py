"""Checks a copy of a data set against the published counts.

    python tools/check_dataset.py prw
    python tools/check_dataset.py cuhk_sysu --root /data/CUHK-SYSU --images
    python tools/check_dataset.py street_small

A subset is a warning (exit status 0); something missing or damaged is an error that names the
files (exit status 1).
"""

import argparse
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from person_search.data.datasets import register_all
from person_search.data.datasets.common import SPLITS
from person_search.data.protocols import GalleryLists
from person_search.errors import DatasetError


def _per_sequence(text: str) -> dict[str, int]:
    fields = text.split()
    return {f"frames {name}": int(n) for name, n in zip(fields[::2], fields[1::2], strict=True)}


EXPECTED = {
    "prw_train": {"frames": 5704, "boxes": 18048, "labelled boxes": 14907, "persons": 483}
    | _per_sequence("c1s1 530 c1s2 361 c2s1 754 c3s1 996 c4s1 348 c4s2 218 c5s1 1251 c6s1 1246"),
    "prw_test": {"frames": 6112, "boxes": 25062, "labelled boxes": 19127, "persons": 544}
    | {"queries": 2057, "queried persons": 450}
    | _per_sequence(
        "c1s2 12 c1s3 381 c1s4 498 c2s1 36 c2s2 557 c3s1 125 c3s2 1144 c4s2 15 c4s3 293 "
        "c4s4 330 c4s5 2 c5s1 52 c5s2 1015 c6s1 16 c6s2 1636"
    ),
    "cuhk_sysu_train": {"frames": 11206, "boxes": 55272, "persons": 5532},
    "cuhk_sysu_test": {"frames": 6978, "boxes": 40871, "labelled boxes": 8345, "persons": 2900}
    | {"queries": 2900, "queried persons": 2900, "gallery rows": 290000, "gallery targets": 5447},
}


def count(name: str, records: list[dict]) -> dict[str, int]:
    """Quantities of a loaded data set; a test set's gallery is that of its default protocol."""
    metadata = MetadataCatalog.get(name)
    persons = [person for record in records for person in record["annotations"]]
    found = {
        "frames": len(records),
        "boxes": len(persons),
        "labelled boxes": sum(person["person_id"] >= 0 for person in persons),
        "persons": metadata.num_person_ids,
    }
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
        differs = "fewer" if target is not None and number < target else "more"
        status = "-" if not expected else "ok" if number == target else differs
        complete &= status in ("ok", "-")
        print(f"{quantity:<18}{number:>9}{'-' if target is None else target:>10}  {status}")
    return complete


def damage(path: str) -> str | None:
    """What is wrong with an image when all of it is decoded, or None."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path}: {error}"
    return None


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 1 if something is missing or damaged."""
    known = [name for name in DatasetCatalog if "protocols" in MetadataCatalog.get(name).as_dict()]
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("dataset", help="prw, cuhk_sysu, or any registered name")
    parser.add_argument("--root", help="folder of the data set, or the one of all data sets")
    parser.add_argument("--images", action="store_true", help="also decode every image fully")
    args = parser.parse_args(argv)
    if args.root:
        register_all(args.root)
    single = args.dataset in DatasetCatalog
    names = [args.dataset] if single else [f"{args.dataset}_{split}" for split in SPLITS]
    if names[0] not in DatasetCatalog:
        parser.error(f"no data set {args.dataset}; test sets are {', '.join(known)}")

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
