#!/usr/bin/env python
"""A trained model as a pack: a folder that needs neither torch nor detectron2 to be used.

    python tools/export.py configs/PRW/stl_mrfp.yaml output/model_final.pth my_pack
    person-search index photos/ --model my_pack --gallery my_gallery

For STL, OIM, NAE and SeqNet. With --check, the pack and the model are run on some of one's own
pictures, and the largest differences are printed.
"""

import argparse

import numpy as np

from person_search import packs
from person_search.command import run_program
from person_search.engine.export import export_pack
from person_search.gallery.detectron2_searcher import Detectron2Searcher
from person_search.images import read_image
from person_search.structures import Searcher


def compare(model: Searcher, pack: Searcher, pictures: list[str]) -> str:
    """The largest differences between two searchers, in words."""
    persons, boxes, cosine = 0, 0.0, 1.0
    for path in pictures:
        picture = read_image(path)
        (one,), (other,) = model.detect([picture]), pack.detect([picture])
        if len(one) != len(other):
            return f"{path}: the model finds {len(one)} persons, the pack {len(other)}"
        if len(one):
            given = pack.embed(picture, one.boxes)
            boxes = max(boxes, float(np.abs(one.boxes - other.boxes).max()))
            cosines = [(one.embeds * rows).sum(axis=1).min() for rows in (other.embeds, given)]
            cosine = min(cosine, float(min(cosines)))
        persons += len(one)
    return (
        f"{persons} persons in {len(pictures)} pictures: boxes differ by {boxes:.4f} pixels at "
        f"most, the lowest cosine of embeddings is {cosine:.6f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="that the model was trained with")
    parser.add_argument("weights", metavar="WEIGHTS", help="a checkpoint")
    parser.add_argument("pack", metavar="PACK", help="folder to write")
    parser.add_argument("--trained-on", metavar="TEXT", help="said in pack.yaml")
    parser.add_argument(
        "--license", metavar="TEXT", default="that of the weights", help="said in pack.yaml"
    )
    parser.add_argument("--check", nargs="+", metavar="PICTURE", help="compare on these")
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="override CONFIG"
    )
    args = parser.parse_args()
    model = Detectron2Searcher.from_config(args.config, args.weights, args.opts, "cpu")
    spec = export_pack(
        model.network,
        model.mapper,
        args.pack,
        score_thresh=model.model.score_thresh,
        trained_on=args.trained_on or f"see {args.config}",
        license=args.license,
    )
    pack = packs.open_pack(args.pack)
    print(f"{args.pack}: {sum(file.size for file in spec.files.values()) / 1e6:.1f} MB")
    if args.check:
        print(compare(model, pack, args.check))


if __name__ == "__main__":
    run_program(main)
