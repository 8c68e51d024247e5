"""Crops per second of re-ID pre-training: from the cache, and by decoding the frame of every crop.

Both loaders give the same batches with the same augmentations ("same batches": the first ones are
equal, pixel for pixel). Times are wall times, from the first batch that a loader gives to the last.
The cache is made before if needed; the operating system then has most of it in memory.
"""

import argparse
import time
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader

from person_search.data import build_train_loader
from person_search.data.crop_cache import cut_out
from person_search.data.loading import SeededDataset, make_loader
from person_search.errors import ConfigError
from person_search.images import read_image

from .common import add_config_arguments, print_rows, read_configs


class DecodedRecords(Sequence):
    """Crop records whose pixels are cut out of the decoded frame whenever they are asked for.

    Args:
        crops: crop records.
        size: (H, W).
    """

    def __init__(self, crops: list[dict], size: tuple[int, int]):
        self.crops, self.size = crops, size

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> dict:
        crop = self.crops[index]
        pixels = cut_out(read_image(crop["file_name"], "RGB"), crop["bbox"], self.size)
        return {**crop, "pixels": pixels, "crop_index": index}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=0, help="processes of a loader (default: 0)")
    parser.add_argument("--batches", type=int, default=50, help="timed from the cache")
    parser.add_argument("--decoded-batches", type=int, default=5, help="timed by decoding")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_config_arguments(parser, "configs/ReID-Pretrain/Street.yaml")


def run(args: argparse.Namespace) -> None:
    rows = []
    for path, cfg in read_configs(args, "DATALOADER.NUM_WORKERS", str(args.workers)).items():
        if cfg.DATALOADER.SOURCE != "crops":
            raise ConfigError(f"{path} trains on frames: give a config of configs/ReID-Pretrain")
        cached = build_train_loader(cfg)
        decoded = decoding_loader(cached, tuple(cfg.INPUT.REID.SIZE))
        first, cached_rate = crops_per_second(cached, args.batches)
        first_decoded, decoded_rate = crops_per_second(decoded, args.decoded_batches)
        pairs = zip(first, first_decoded, strict=True)
        rows.append(
            {
                "config": path,
                "crops": len(cached.dataset),
                "batch": len(first),
                "cached crops/s": cached_rate,
                "decoded crops/s": decoded_rate,
                "ratio": cached_rate / decoded_rate,
                "same batches": all(torch.equal(a["image"], b["image"]) for a, b in pairs),
            }
        )
    note = f"{args.workers} worker process(es); ratio of the two loaders of a row"
    print_rows(rows, args.json, note)


def decoding_loader(cached: DataLoader, size: tuple[int, int]) -> DataLoader:
    """The loader of the same batches without a cache."""
    dataset = cached.dataset
    records = DecodedRecords(dataset.records.crops, size)
    seeded = SeededDataset(records, dataset.mapper, dataset.seed)
    return make_loader(seeded, cached.batch_sampler, cached.num_workers)


def crops_per_second(loader: DataLoader, batches: int) -> tuple[list[dict], float]:
    """The first batch, which is not timed, and the speed of the next ``batches``."""
    stream = iter(loader)
    first = next(stream)
    start = time.perf_counter()
    crops = sum(len(next(stream)) for _ in range(batches))
    return first, crops / (time.perf_counter() - start)
