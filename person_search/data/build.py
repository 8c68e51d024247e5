"""Data loaders of person search."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from detectron2.data import DatasetCatalog, DatasetFromList, MapDataset, MetadataCatalog
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from person_search.errors import ConfigError, DatasetError
from person_search.protocols import SearchProtocol

from .mappers import build_mapper
from .samplers import InferenceBatches, TrainingBatches, size_groups

logger = logging.getLogger(__name__)

OUR_KINDS = ("person_search", "detection", "reid")
"""``evaluator_type`` of the data sets that this project registers."""


@contextmanager
def seeded(*numbers: int):
    """numpy's and Python's global generators, seeded inside and as before outside."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


class SeededDataset(Dataset):
    """Maps records with augmentations that depend on (seed, position in the stream) alone.

    So neither the number of workers nor a stop and resume changes what a model is shown.
    """

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int):
        self.records, self.mapper, self.seed = records, mapper, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        with seeded(self.seed, position):
            return self.mapper(self.records[index])


def check_dataset_names(cfg) -> None:
    """Raises ConfigError for a name in ``DATASETS`` under which no data set is registered."""
    for key in ("TRAIN", "TEST"):
        unknown = [name for name in cfg.DATASETS[key] if name not in DatasetCatalog]
        if unknown:
            ours = [
                name
                for name in DatasetCatalog.list()
                if MetadataCatalog.get(name).get("evaluator_type", None) in OUR_KINDS
            ]
            raise ConfigError(
                f"DATASETS.{key}: no data set is called {', '.join(unknown)}; "
                f"legal: {', '.join(ours)}"
            )


def load_train_records(names: tuple[str, ...], fraction: float = 1.0, seed: int = 0) -> list[dict]:
    """Records of one or several training sets that hold at least one person each.

    The identities of several sets are kept apart: those of each set are shifted behind those of
    the sets before it.

    Args:
        names: of the data sets.
        fraction: share of the records of each set, see :func:`choose_fraction`.
        seed: chooses them.

    Raises:
        ConfigError: a set holds crops, not frames; or the fraction is not legal.
        DatasetError: there is no frame with a person.
    """
    records, offset = [], 0
    for name in names:
        if MetadataCatalog.get(name).get("evaluator_type", None) == "reid":
            raise ConfigError(
                f"DATASETS.TRAIN: {name} holds pictures of single persons, not frames: they take "
                "DATALOADER.SOURCE crops"
            )
        of_set = [r for r in DatasetCatalog.get(name) if r["annotations"]]
        of_set = choose_fraction(of_set, fraction, seed)
        records += [shift_ids(r, offset) for r in of_set]
        offset += MetadataCatalog.get(name).num_person_ids
    if not records:
        raise DatasetError(f"no frame with a person in DATASETS.TRAIN {tuple(names)}")
    return records


def train_records(cfg) -> list[dict]:
    """The records of frames that a model is trained on."""
    return load_train_records(cfg.DATASETS.TRAIN, cfg.DATASETS.FRACTION, max(cfg.SEED, 0))


def choose_fraction(records: list[dict], fraction: float, seed: int) -> list[dict]:
    """A share of the records, in their order; that of a larger fraction holds it.

    Raises:
        ConfigError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"DATASETS.FRACTION is {fraction}; legal: above 0, up to 1")
    order = np.random.default_rng(seed).permutation(len(records))
    return [records[i] for i in sorted(order[: round(fraction * len(records))])]


def shift_ids(record: dict, offset: int) -> dict:
    """A record, of a frame or of a crop, whose identities are counted from ``offset``."""
    if "annotations" in record:
        annotations = [shift_ids(a, offset) for a in record["annotations"]]
        return {**record, "annotations": annotations}
    shifted = record["person_id"] + offset if record["person_id"] >= 0 else record["person_id"]
    return {**record, "person_id": shifted}


def make_loader(dataset: Dataset, batches: Sampler, num_workers: int) -> DataLoader:
    """A loader of lists of dicts."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        # Starting a loader draws a number. From torch's global generator it would shift those of
        # the model, in the step in which a run starts or resumes.
        generator=torch.Generator(),
    )


def images_per_process(cfg) -> int:
    """Share of ``SOLVER.IMS_PER_BATCH`` of each process."""
    world_size = comm.get_world_size()
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be shared evenly by "
            f"{world_size} processes"
        )
    return cfg.SOLVER.IMS_PER_BATCH // world_size


def build_train_loader(cfg) -> DataLoader:
    """Endless loader of training batches (lists of dicts); see :class:`TrainingBatches`."""
    records = train_records(cfg)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    batch_size = images_per_process(cfg)
    groups = size_groups([(r["height"], r["width"]) for r in records], batch_size)
    logger.info(
        "%d training frames in %d size groups, %d per batch and process",
        len(records),
        len(set(groups)),
        batch_size,
    )
    records = DatasetFromList(records, copy=False)
    dataset = SeededDataset(records, build_mapper(cfg, is_train=True), seed)
    batches = TrainingBatches(groups, batch_size, seed)
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)


def protocols_of(name: str) -> Mapping[str, Callable[[], SearchProtocol]]:
    """The protocols of a test set, the default one first; each is read when it is called.

    Raises:
        ConfigError: the data set has none.
    """
    protocols = MetadataCatalog.get(name).get("protocols", None)
    if protocols is None:
        raise ConfigError(
            f"DATASETS.TEST: {name} has no queries to search for: it is for training, or (pictures "
            "of single persons) for DATALOADER.SOURCE crops"
        )
    return protocols


def select_protocols(cfg, name: str) -> dict[str, SearchProtocol]:
    """The protocols of a test set that ``TEST.SEARCH.PROTOCOLS`` asks for, by name."""
    available = protocols_of(name)
    wanted = tuple(cfg.TEST.SEARCH.PROTOCOLS) or (next(iter(available)),)
    if wanted == ("all",):
        wanted = tuple(available)
    unknown = [p for p in wanted if p not in available]
    if unknown:
        raise ConfigError(
            f"TEST.SEARCH.PROTOCOLS: {name} has no protocol {', '.join(unknown)}; "
            f"it has {', '.join(available)}"
        )
    return {p: available[p]() for p in wanted}


def query_boxes_of(protocols: list[SearchProtocol]) -> dict[int, np.ndarray]:
    """Frame index -> (n, 4) distinct query boxes of all protocols in that frame, sorted."""
    frames = np.concatenate([p.query_frames for p in protocols])
    boxes = np.concatenate([p.query_boxes for p in protocols])
    rows = np.unique(np.column_stack([frames, boxes]), axis=0)
    starts = np.unique(rows[:, 0], return_index=True)
    return {
        int(frame): part[:, 1:]
        for frame, part in zip(starts[0], np.split(rows, starts[1][1:]), strict=True)
    }


def build_test_loader(cfg, name: str) -> DataLoader:
    """Loader of every frame of a test set once.

    A frame that holds queries also carries ``query_boxes``, and with ``TEST.SEARCH.GT_BOXES``
    every frame its ``gt_boxes``: the model embeds them in the same pass. ``frame_index`` is the
    frame's place in the data set.
    """
    records = DatasetCatalog.get(name)
    if not records:
        raise DatasetError(f"the test set {name} holds no frame")
    queries = query_boxes_of(list(select_protocols(cfg, name).values()))
    inputs = []
    for index, record in enumerate(records):
        given = {"query_boxes": queries[index]} if index in queries else {}
        if cfg.TEST.SEARCH.GT_BOXES:
            given["gt_boxes"] = np.array([a["bbox"] for a in record["annotations"]])
        inputs.append({**record, **given, "frame_index": index})
    batches = InferenceBatches(
        [(r["height"], r["width"]) for r in records], cfg.TEST.IMS_PER_BATCH
    )
    dataset = MapDataset(DatasetFromList(inputs, copy=False), build_mapper(cfg, is_train=False))
    return make_loader(dataset, batches, cfg.DATALOADER.NUM_WORKERS)
