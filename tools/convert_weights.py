#!/usr/bin/env python
"""Write a public weights file as a checkpoint of this project.

    python tools/convert_weights.py epoch_17.pth --config-file PRW/seqnet.yaml seqnet_prw.pth

A public file can be given as MODEL.WEIGHTS or --weights as it is; what this writes is read faster,
and has the names that this project uses. The conventions of pixels, strides, anchors and RoIs that
the weights were trained with go along, and a config adopts them.
"""

import argparse
from pathlib import Path

from detectron2.modeling import build_model
from detectron2.utils.logger import setup_logger

from person_search import read_config
from person_search.engine import PersonSearchCheckpointer, adopt_conventions, one_line_endings
from person_search.engine.convert import Recognized, recognize
from person_search.engine.weights_file import read_weights_file, write_weights_file
from person_search.errors import WeightsError


def convert(path: Path, config_file: str, output: Path, opts: list[str]) -> Recognized:
    """Write the file that fits the model of a config, and say what it was.

    Raises:
        WeightsError: it does not fit that model, or is no public file.
    """
    file = recognize(read_weights_file(path))
    if not file.kind:
        raise WeightsError(f"{path} is no public file: it has the names of this project, or others")
    # The identities that a classifier or a table tells apart are of the training data.
    cfg = read_config(config_file, ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "1", *opts])
    adopt_conventions(cfg, str(path), explicit=opts[::2])
    PersonSearchCheckpointer(build_model(cfg)).load(str(path))
    write_weights_file(output, file.state, file.conventions)
    return file


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--config-file", required=True, help="of the model that it fits")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs of the config")
    args = parser.parse_intermixed_args()
    setup_logger(name="person_search")
    with one_line_endings():
        file = convert(args.weights, args.config_file, args.output, args.opts)
    print(f"{args.weights} is {file.kind}: {len(file.state)} tensors are in {args.output}")
    print(f"left out: {len(file.left_out)} tensors; trained with:")
    for key, value in file.conventions.items():
        print(f"    {key} {value}")


if __name__ == "__main__":
    main()
