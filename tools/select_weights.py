#!/usr/bin/env python
"""Write a part of a checkpoint: what a model is to start from, and nothing else.

    python tools/select_weights.py output/Hybrid-Pretrain/PRW/model_final.pth backbone.pth
    python tools/select_weights.py model_final.pth part.pth --keep backbone. proposal_generator.

By default the backbone, wherever its stages stand: the other arm of "the whole model, or its
backbone alone" (Tian et al., AAAI 2024). The result is a MODEL.WEIGHTS. Of a public file the keys
are those that this project gives it, if it knows the file, and the order of channels and the
strides that it was trained with go along.
"""

import argparse
import sys
from pathlib import Path

from person_search.engine.convert import OF_TRUNKS, recognize
from person_search.engine.weights_file import WeightsFile, read_weights_file, write_weights_file
from person_search.errors import WeightsError
from person_search.modeling.backbone.weights import canonical_name, stage_name


def select(state: dict, keep: tuple[str, ...] = ()) -> dict:
    """The entries of a state dict whose keys begin with one of ``keep``; (): the backbone's.

    Raises:
        WeightsError: there is none.
    """
    chosen = {k: v for k, v in state.items() if (k.startswith(keep) if keep else stage_name(k))}
    if not chosen:
        parts = sorted({".".join(key.split(".")[:2]) + "." for key in state})
        wanted = f"begins with {', '.join(keep)}" if keep else "is of a backbone"
        raise WeightsError(f"no key {wanted}; there are {', '.join(parts)}")
    return chosen


def converted(file: WeightsFile) -> tuple[dict, dict]:
    """State and conventions of a file, under our names where it is one that we know."""
    try:
        found = recognize(file)
    except WeightsError:  # several trunks: one of them is to be chosen
        return file.state, {}
    return found.state or file.state, dict(found.conventions)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--keep", nargs="+", default=(), help="beginnings of keys (default: of the backbone)"
    )
    parser.add_argument("--below", metavar="KEY", help="of a file that holds several models")
    args = parser.parse_args()
    try:
        state, conventions = converted(read_weights_file(args.checkpoint, args.below))
        chosen = select(state, tuple(args.keep))
        if all(map(canonical_name, chosen)):
            conventions = {k: v for k, v in conventions.items() if k in OF_TRUNKS}
        write_weights_file(args.output, chosen, conventions)
    except (WeightsError, OSError) as error:
        sys.exit(f"cannot make {args.output} of {args.checkpoint}: {error}")
    print(f"{len(chosen)} tensors are in {args.output}")


if __name__ == "__main__":
    main()
