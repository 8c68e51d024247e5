"""The command ``person-search``, a file for each of its commands.

What loads a model or draws is imported where it is used: half of the commands need neither.
"""

import argparse
import logging
import warnings

from person_search.command import ending

from . import adapt, calibrate, export, index, info, models, remove, search, serve

EXAMPLES = """Find a person in your own pictures and videos.

    person-search models get
    person-search index photos/ films/*.mp4 --gallery my_gallery
    person-search search party.jpg --box 120,80,60,170 --gallery my_gallery --html found.html
"""

COMMANDS = {
    "index": index,
    "search": search,
    "adapt": adapt,
    "calibrate": calibrate,
    "serve": serve,
    "info": info,
    "remove": remove,
    "export": export,
    "models": models,
}
"""Name -> module with ``SUMMARY``, ``add_arguments`` (its options) and ``run`` (what it does)."""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="person-search",
        description=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one line and the status 1."""
    args = build_parser().parse_args(argv)
    warnings.simplefilter("ignore")
    logging.getLogger("person_search").setLevel(logging.ERROR)
    return ending(lambda: args.run(args), "stopped; the same command goes on from here")
