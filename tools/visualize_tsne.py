#!/usr/bin/env python
"""Persons of several data sets in the feature space of models, as Fig. 2 of hybrid pre-training.

    python tools/visualize_tsne.py --config-file configs/Hybrid-Pretrain/Street.yaml \
        --weights random output/Hybrid-Pretrain/Street/model_final.pth

Persons are drawn from each set of DATASETS.TRAIN, with the same number of each, and embedded; those
of re-ID sets on canvases. Writes one PNG with a panel per weights: t-SNE, a color per data set.
Above it stands how often a person's nearest neighbor in the feature space itself is of the same
data set: near 100 % where the sets are apart, one in the number of sets where they are one.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from detectron2.data import MetadataCatalog, detection_utils
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from matplotlib.figure import Figure

from person_search import read_config
from person_search.command import positive, run_program
from person_search.data import HybridMapper, check_dataset_names
from person_search.data.hybrid import load_hybrid_records
from person_search.data.loading import seeded
from person_search.data.transforms import ExpandResize
from person_search.engine import PersonSearchCheckpointer
from person_search.errors import ConfigError
from person_search.files import optional_module
from person_search.modeling.meta_arch.base import SearchModel

RANDOM = "random"


def draw_persons(cfg, number: int) -> tuple[list[dict], np.ndarray]:
    """Views with one person each, in ``query_boxes``, and the number of the data set of each."""
    mapper = HybridMapper(
        True,
        augmentations=detection_utils.build_augmentation(cfg, is_train=False),
        crop_augmentations=[
            ExpandResize((1.5, 1.5), cfg.INPUT.HYBRID.CANVAS_SIZE, cfg.MODEL.PIXEL_MEAN)
        ],
        image_format=cfg.INPUT.FORMAT,
    )
    views, domains = [], []
    for domain, records in enumerate(load_hybrid_records(cfg.DATASETS.TRAIN)):
        with seeded(max(cfg.SEED, 0), domain):
            for index in np.random.permutation(len(records))[:number]:
                view, _ = mapper(records[index])["views"]
                boxes = view["instances"].gt_boxes.tensor
                chosen = np.random.randint(len(boxes))
                views.append({"image": view["image"], "query_boxes": boxes[chosen : chosen + 1]})
                domains.append(domain)
    return views, np.array(domains)


def embed_persons(model: SearchModel, views: list[dict]) -> np.ndarray:
    """(n, D) unit embeddings of the persons of :func:`draw_persons`."""
    rows = [embeds for view in views for embeds in model.embed_boxes([view])]
    return torch.cat(rows).cpu().numpy()


def same_set_share(embeddings: np.ndarray, domains: np.ndarray) -> float:
    """How often the nearest neighbor, by cosine, of (n, D) unit rows is of the same data set."""
    similarities = embeddings @ embeddings.T
    np.fill_diagonal(similarities, -np.inf)
    return float((domains[similarities.argmax(axis=1)] == domains).mean())


def draw(panels: list[tuple[str, np.ndarray]], domains: np.ndarray, names: list[str], path: Path):
    """Write the picture; panels are the name of the weights and (n, D) embeddings."""
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(4.5 * len(panels), 4.8), layout="constrained")
    for axis, (title, embeddings) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        perplexity = min(30, (len(embeddings) - 1) / 3)
        points = TSNE(perplexity=perplexity, random_state=0).fit_transform(embeddings)
        for domain, name in enumerate(names):
            axis.scatter(*points[domains == domain].T, s=8, label=name)
        share = same_set_share(embeddings, domains)
        axis.set_title(f"{title}\nnearest neighbor of the same set: {share:.0%}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--weights", nargs="+", required=True, help=f"files, or {RANDOM}")
    parser.add_argument(
        "--number", type=positive, default=100, help="persons of each set (default: 100)"
    )
    parser.add_argument("--output", type=Path, default=Path("output/pictures/tsne.png"))
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, behind --")
    args = parser.parse_args()
    optional_module("sklearn", "tsne")
    cfg = read_config(args.config_file, args.opts)
    check_dataset_names(cfg)
    if not cfg.DATASETS.TRAIN:
        raise ConfigError(f"DATASETS.TRAIN of {args.config_file} names no data set")
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    views, domains = draw_persons(cfg, args.number)
    panels = []
    for weights in args.weights:
        seed_all_rng(max(cfg.SEED, 0))
        model = build_model(cfg).eval()
        if weights != RANDOM:
            PersonSearchCheckpointer(model).load(weights)
        panels.append((weights, embed_persons(model, views)))
    kinds = [MetadataCatalog.get(name).evaluator_type for name in cfg.DATASETS.TRAIN]
    names = [f"{n} ({kind})" for n, kind in zip(cfg.DATASETS.TRAIN, kinds, strict=True)]
    draw(panels, domains, names, args.output)
    for weights, embeddings in panels:
        share = same_set_share(embeddings, domains)
        print(f"{weights}: the nearest neighbor is of the same set in {share:.1%}")
    print(f"{len(views)} persons of {len(names)} sets: {args.output}")


if __name__ == "__main__":
    run_program(main)
