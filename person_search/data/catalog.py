"""What the registered data sets hold: their kind, identities and protocols."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..errors import ConfigError, DatasetError
from ..protocols import SearchProtocol
from ..registry import count_identities

OUR_KINDS = ("person_search", "detection", "reid")
"""``evaluator_type`` of the data sets that this project registers."""


def check_dataset_names(cfg) -> None:
    """Raises ConfigError for a name in ``DATASETS`` under which no data set is registered."""
    for key in ("TRAIN", "TEST"):
        unknown = [name for name in cfg.DATASETS[key] if name not in DatasetCatalog]
        if unknown:
            ours = [name for name in DatasetCatalog.list() if kind_of(name) in OUR_KINDS]
            raise ConfigError(
                f"DATASETS.{key}: no data set is called {', '.join(unknown)}; "
                f"legal: {', '.join(ours)}"
            )


def kind_of(name: str) -> str | None:
    """The ``evaluator_type`` of a registered data set: one of OUR_KINDS, or another project's."""
    return MetadataCatalog.get(name).get("evaluator_type", None)


def load_sets(names: Sequence[str]) -> list[list[dict]]:
    """The records of several training sets, in which no two sets share an identity.

    The identities of each set are shifted behind those of the sets before it.

    Raises:
        ConfigError: the metadata of a set lacks ``num_person_ids``.
        DatasetError: a person without ``person_id``, or with one that the metadata leaves no room
            for.
    """
    sets, offset = [], 0
    for name in names:
        records = DatasetCatalog.get(name)
        number = count_identities(name)
        _check_person_ids(name, records, number)
        sets.append([shift_ids(record, offset) for record in records])
        offset += number
    return sets


def persons_in(record: dict) -> list[dict]:
    """The annotations of a frame; a crop is its own one."""
    return record["annotations"] if "annotations" in record else [record]


def _check_person_ids(name: str, records: Iterable[dict], number: int) -> None:
    for record in records:
        for person in persons_in(record):
            if "person_id" not in person:
                raise DatasetError(
                    f"{name}: a person of {record['file_name']} has no person_id: give every "
                    "annotation one, from 0 on, and -1 to persons without identity"
                )
            if person["person_id"] >= number:
                raise DatasetError(
                    f"{name}: {record['file_name']} holds person_id {person['person_id']}, but "
                    f"the metadata says num_person_ids {number}: identities count from 0, without "
                    "gaps"
                )


def shift_ids(record: dict, offset: int) -> dict:
    """A record, of a frame or of a crop, whose identities are counted from ``offset``."""
    if "annotations" in record:
        annotations = [shift_ids(a, offset) for a in record["annotations"]]
        return {**record, "annotations": annotations}
    shifted = record["person_id"] + offset if record["person_id"] >= 0 else record["person_id"]
    return {**record, "person_id": shifted}


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
