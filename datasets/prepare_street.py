"""Draws the Street data set: python datasets/prepare_street.py --size small"""

import argparse
import json
import os
import sys

from person_search.errors import DatasetError
from person_search.street import DOMAINS, STREET_SIZES, draw_domain, draw_street


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=STREET_SIZES, default="small")
    parser.add_argument(
        "--root",
        default=os.environ.get("DETECTRON2_DATASETS", "datasets"),
        help="folder of the data sets (default: $DETECTRON2_DATASETS or datasets)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; 0: this one")
    parser.add_argument(
        "--domains",
        action="store_true",
        help="also the sets of other looks that hybrid pre-training takes",
    )
    args = parser.parse_args()
    try:
        folder = draw_street(args.root, args.size, args.seed, workers=args.workers)
        for domain in DOMAINS if args.domains else ():
            print(draw_domain(args.root, args.size, domain, args.seed, args.workers))
    except DatasetError as error:
        sys.exit(str(error))
    size = STREET_SIZES[args.size]
    people = json.loads((folder / "identities.json").read_text())["identities"].values()
    alike = sum(person["group"] is not None for person in people)
    queries = len((folder / "PRW" / "query_info.txt").read_text().splitlines())
    print(f"Street is in {folder} (PRW/ and CUHK-SYSU/)")
    print(
        f"{size.name}: {size.frames[0]} training and {size.frames[1]} test frames of "
        f"{size.width}x{size.height}, {size.identities[0]} and {size.identities[1]} identities, "
        f"{alike} of them with look-alikes, {queries} queries, seed {args.seed}"
    )


if __name__ == "__main__":
    main()
