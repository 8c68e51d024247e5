"""Measure one part of the project: ``python tools/benchmark.py PART [options]``.

Each part is a module of ``tools/benchmarks`` with ``add_arguments(parser)`` and ``run(args)``.
"""

import argparse

from benchmarks import (
    crop_loader,
    evaluator,
    gallery,
    hybrid_step,
    inference,
    memory,
    packs,
    training_step,
)

from person_search.command import run_program

PARTS = {
    "evaluator": evaluator,
    "gallery": gallery,
    "crop_loader": crop_loader,
    "training_step": training_step,
    "memory": memory,
    "hybrid_step": hybrid_step,
    "inference": inference,
    "packs": packs,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="part", required=True)
    for name, module in PARTS.items():
        command = commands.add_parser(
            name,
            help=module.__doc__.splitlines()[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    args = parser.parse_args()
    PARTS[args.part].run(args)


if __name__ == "__main__":
    run_program(main)
