"""``person-search models``: ready models, fetching them, and making one of local files."""

import argparse
import sys

from tabulate import tabulate

from person_search.errors import PackError

from .common import say

SUMMARY = "ready models: list them, get one, or make one of local files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    text = "fetch a ready model; what is there already is kept"
    get = actions.add_parser("get", help=text, description=text)
    get.add_argument("name", nargs="?", metavar="NAME", help="(default: the recommended)")
    text = "make a pack of a detector's and an embedder's file"
    make = actions.add_parser(
        "make",
        help=text,
        description=f"{text}: networks (.onnx, .xml) as they are; torch weights of torchvision's "
        "detectors, fast-reid's BoT R50-ibn and this project's ReIDBaseline are exported, which "
        "needs torch",
    )
    make.add_argument("folder", metavar="FOLDER", help="of the new pack")
    for part in ("detector", "embedder"):
        make.add_argument(
            f"--{part}", required=True, metavar="FILE", help=".onnx, .xml, or torch weights"
        )
    make.add_argument(
        "--embedder-config",
        metavar="CONFIG",
        help="that a ReIDBaseline of this project was trained with",
    )
    make.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what the files do not tell, as embedder.color=RGB (docs/packs.md)",
    )


def run(args: argparse.Namespace) -> int:
    """List the ready models, get one, or make one."""
    from person_search import packs

    if args.action == "get":
        say(packs.get(args.name or packs.RECOMMENDED, progress=sys.stderr.isatty()))
    elif args.action == "make":
        say(_make(args))
    else:
        say(_table())
    return 0


def _make(args: argparse.Namespace) -> str:
    from person_search import packs
    from person_search.packs.making import is_network

    weights = [file for file in (args.detector, args.embedder) if not is_network(file)]
    if not weights:
        return packs.make(args.folder, args.detector, args.embedder, args.set)
    try:
        from ..torch_parts import make_pack
    except ModuleNotFoundError as error:
        raise PackError(
            f"{weights[0]} is no network that a pack runs (.onnx, .xml), and exporting torch "
            f"weights needs torch and detectron2; {error.name} is not installed"
        ) from error
    return make_pack(args.folder, args.detector, args.embedder, args.set, args.embedder_config)


def _table() -> str:
    from person_search import packs

    rows = []
    for name, spec in packs.ready().items():
        size = sum(entry.size or 0 for entry in spec.files.values())
        measured = [f"{f.mAP:.1f} / {f.top1:.1f} on {f.data}" for f in spec.measured]
        rows.append(
            (
                name + (" (recommended)" if name == packs.RECOMMENDED else ""),
                "yes" if packs.find_ready(name) else "no",
                f"{size / 1e6:.0f} MB" if size else "?",
                spec.license,
                spec.trained_on,
                "; ".join(measured) or "not measured",
                spec.home,
            )
        )
    head = ("name", "here", "size", "license", "trained on", "mAP / top-1 measured here", "home")
    table = tabulate(
        rows,
        headers=head,
        tablefmt="simple_grid",
        disable_numparse=True,
        maxcolwidths=[24, None, None, 24, 24, 28, 28],
    )
    return (
        f"{table}\n"
        f"They are kept in {packs.cache_folder()}. To get one: person-search models get NAME"
    )
