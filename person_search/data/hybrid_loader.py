"""Batches of scenes and of persons on canvases, from several data sets of each kind."""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler

from person_search.errors import ConfigError, DatasetError

from .build import SeededDataset, images_per_process, make_loader, shift_ids
from .hybrid_mapper import CROP, KINDS, SCENE
from .mappers import build_mapper

logger = logging.getLogger(__name__)


def kind_of(name: str) -> str:
    """SCENE or CROP: what the images of a registered data set are."""
    return CROP if MetadataCatalog.get(name).get("evaluator_type", None) == "reid" else SCENE


def load_hybrid_records(names: Sequence[str]) -> list[list[dict]]:
    """The records of every data set, with ``kind`` and ``domain_id``.

    ``domain_id`` counts the data sets of one kind. Identities of the sets are kept apart: those of
    each set are shifted behind those of the sets before it.

    Raises:
        DatasetError: a data set shows nobody.
    """
    domains = {kind: [name for name in names if kind_of(name) == kind] for kind in KINDS}
    sets, offset = [], 0
    for name in names:
        kind = kind_of(name)
        more = {"kind": kind, "domain_id": domains[kind].index(name)}
        records = [r for r in DatasetCatalog.get(name) if kind == CROP or r["annotations"]]
        if not records:
            raise DatasetError(f"no image of {name} shows a person: take it off DATASETS.TRAIN")
        sets.append([{**shift_ids(r, offset), **more} for r in records])
        offset += MetadataCatalog.get(name).num_person_ids
    return sets


class HybridBatches(Sampler[list[tuple[int, int]]]):
    """An endless stream of batches with fixed numbers of images of each kind.

    A pure function of the seed: the n-th batch is the same in every run; ``start`` batches are
    skipped. Each rank takes its part of one stream per kind.

    Args:
        sets: per kind, the numbers of images of its data sets; images are counted through all sets
            of all kinds, in this order.
        numbers: per kind, images in the batch of one rank.
        equally: whether the sets of a kind take turns; else its images come in a random order, all
            of them before any comes again.
        seed: the same on all ranks.
    """

    def __init__(
        self, sets: Sequence[Sequence[int]], numbers: Sequence[int], equally: bool, seed: int
    ):
        self.sets, self.numbers, self.equally, self.seed = sets, numbers, equally, seed
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        self.start = 0

    def _stream(self, kind: int) -> Iterator[tuple[int, int]]:
        """(position, image) of a kind. Positions of no two kinds, or ranks, are the same."""
        generator = torch.Generator().manual_seed(self.seed + kind)
        first = sum(sum(sizes) for sizes in self.sets[:kind])
        sizes = self.sets[kind] if self.equally else [sum(self.sets[kind])]
        parts = []
        for size in sizes:
            parts.append(_shuffled(first, size, generator))
            first += size
        position = kind
        while True:
            # In another order each time: else of ranks with few images each would see its own sets.
            for turn in torch.randperm(len(parts), generator=generator).tolist():
                yield position, next(parts[turn])
                position += len(self.sets)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield lists of (position, image), in which the kinds are spread evenly.

        So the parts of ``SOLVER.ACCUMULATE`` have their share of each.
        """
        together = [number * self.world_size for number in self.numbers]
        streams = [
            islice(self._stream(kind), self.start * number, None) if number else iter(())
            for kind, number in enumerate(together)
        ]
        # The k-th of n images of a kind stands at (k + 1/2) / n.
        places = [(k + 0.5) / number for number in self.numbers for k in range(number)]
        order = sorted(range(len(places)), key=places.__getitem__)
        while True:
            batch = []
            for stream, of_all, number in zip(streams, together, self.numbers, strict=True):
                first = self.rank * number
                batch += list(islice(stream, of_all))[first : first + number]
            yield [batch[index] for index in order]


def _shuffled(first: int, size: int, generator: torch.Generator) -> Iterator[int]:
    """``size`` numbers from ``first`` on in a random order, again and again."""
    while True:
        for index in torch.randperm(size, generator=generator).tolist():
            yield first + index


def _has_identities(records: list[dict]) -> bool:
    persons = (p for record in records for p in record.get("annotations", [record]))
    return any(person["person_id"] >= 0 for person in persons)


def train_images(cfg) -> list[dict]:
    """The records of all scenes and crops that a model is trained on."""
    return [record for of_set in load_hybrid_records(cfg.DATASETS.TRAIN) for record in of_set]


def _numbers(cfg, sets: dict[str, list[list[dict]]]) -> list[int]:
    """Images of each kind in the batch of one process."""
    world_size, total = comm.get_world_size(), images_per_process(cfg)
    scenes = cfg.DATALOADER.HYBRID.SCENES_PER_BATCH
    if scenes % world_size or not 0 <= scenes <= cfg.SOLVER.IMS_PER_BATCH:
        raise ConfigError(
            f"DATALOADER.HYBRID.SCENES_PER_BATCH is {scenes}: it has to be at most "
            f"SOLVER.IMS_PER_BATCH ({cfg.SOLVER.IMS_PER_BATCH}), and a multiple of the number of "
            f"processes ({world_size})"
        )
    numbers = {SCENE: scenes // world_size, CROP: total - scenes // world_size}
    for kind, number in numbers.items():
        if bool(number) != bool(sets[kind]):
            raise ConfigError(
                f"a batch has {number} images of kind {kind!r} per process, but DATASETS.TRAIN "
                f"has {len(sets[kind])} data sets of that kind (re-ID sets are crops, all others "
                "scenes): change one of them, or DATALOADER.HYBRID.SCENES_PER_BATCH"
            )
    return [numbers[kind] for kind in KINDS]


def build_hybrid_train_loader(cfg) -> DataLoader:
    """Endless loader of training batches; see :class:`HybridBatches`."""
    if cfg.DATALOADER.HYBRID.DRAW not in ("size", "equal"):
        raise ConfigError(
            f"DATALOADER.HYBRID.DRAW is {cfg.DATALOADER.HYBRID.DRAW!r}; legal: size, equal"
        )
    if cfg.DATASETS.FRACTION != 1:
        raise ConfigError("DATASETS.FRACTION is of DATALOADER.SOURCE frames: set it to 1")
    equally = cfg.DATALOADER.HYBRID.DRAW == "equal"
    loaded = load_hybrid_records(cfg.DATASETS.TRAIN)
    sets = {kind: [r for r in loaded if r[0]["kind"] == kind] for kind in KINDS}
    numbers = _numbers(cfg, sets)
    if not any(map(_has_identities, loaded)):
        logger.warning("hybrid: no data set of DATASETS.TRAIN has identities: loss_oim will be 0")
    for kind, number in zip(KINDS, numbers, strict=True):
        for of_set in sets[kind]:
            share = 1 / len(sets[kind]) if equally else len(of_set) / sum(map(len, sets[kind]))
            logger.info(
                "hybrid: %s, %d images %s identities, of kind %s: %.1f of %d per batch and process",
                of_set[0]["domain"],
                len(of_set),
                "with" if _has_identities(of_set) else "without",
                kind,
                share * number,
                sum(numbers),
            )
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    records = [record for kind in KINDS for of_set in sets[kind] for record in of_set]
    dataset = SeededDataset(
        DatasetFromList(records, copy=False), build_mapper(cfg, is_train=True), seed
    )
    sizes = [[len(of_set) for of_set in sets[kind]] for kind in KINDS]
    batches = HybridBatches(sizes, numbers, equally, seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)
