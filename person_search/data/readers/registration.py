"""What a reader of a published data set is, and how its splits are registered with detectron2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from person_search.errors import DatasetError
from person_search.protocols import SearchProtocol

from .disk import find_root
from .records import Split

SPLITS = ("train", "test")

Protocols = Mapping[str, Callable[[], SearchProtocol]]
"""Protocol name -> its loader. The first name is the default protocol of the data set."""


def check_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raises DatasetError for a split that a data set does not have."""
    if split not in splits:
        raise DatasetError(f"Unknown split {split!r}; legal are {', '.join(splits)}")


@dataclass(frozen=True)
class Copy:
    """A copy of a data set on disk, read in one way. Nothing is looked for before it is needed.

    Attributes:
        reader: of the data set.
        root: the folder of the data set, or the folder that holds it under one of its names.
        options: of the reader, as pairs in the order of its defaults.
        remedy: where the data set comes from, if not from its authors.
    """

    reader: "Reader"
    root: str
    options: tuple[tuple[str, Any], ...]
    remedy: str = ""

    def folder(self, split: str) -> Path:
        """Where it lies. DatasetError where there is none."""
        names = {"split": split, **dict(self.options)}
        markers = [marker.format(**names) for marker in self.reader.markers]
        return find_root(self.root, markers, self.reader.folders, self.reader.tree, self.remedy)

    def load(self, split: str) -> Split:
        """Records and identities of a split, read once."""
        return _load(self, split)


@cache
def _load(copy: Copy, split: str) -> Split:
    check_split(split, copy.reader.splits)
    return copy.reader.read(copy.folder(split), split, **dict(copy.options))


@dataclass(frozen=True, eq=False)
class Reader:
    """How a published data set is found, read and registered.

    Attributes:
        title: its name, the ``domain`` of its records.
        folders: names under which copies of it are known.
        markers: paths in it of which every copy has one; may hold {split} and options.
        tree: what the folder holds.
        read: (folder, split, options) -> records and identities.
        kind: "person_search": frames with persons of known identity | "detection": frames with
            persons | "reid": pictures of one person each.
        splits: names of its splits.
        options: name of an option -> its legal values, the first is the default; an empty list is
            any value, None by default.
        protocols_of: (copy, title) -> protocols of the test set; nothing is read before use.
        counts: registered name -> published number of frames, boxes, persons, ...
    """

    title: str
    folders: tuple[str, ...]
    markers: tuple[str, ...]
    tree: str
    read: Callable[..., Split]
    kind: str = "person_search"
    splits: tuple[str, ...] = SPLITS
    options: Mapping[str, Sequence] = field(default_factory=dict)
    protocols_of: Callable[[Copy, str], Protocols] | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def at(self, root: str | Path, *, remedy: str = "", **options: Any) -> Copy:
        """A copy of the data set.

        Args:
            root: the folder of the data set, or the folder that holds it under one of its names.
            remedy: where it comes from, if not from its authors.
            options: see ``options`` of the reader.

        Raises:
            DatasetError: an option has no such value.
        """
        chosen = []
        for name, legal in self.options.items():
            value = options.pop(name, legal[0] if legal else None)
            if legal and value not in legal:
                raise DatasetError(
                    f"{self.title} has no {name} {value!r}; legal are {', '.join(map(str, legal))}"
                )
            chosen.append((name, value))
        if options:
            raise TypeError(f"{self.title} has no options {', '.join(options)}")
        return Copy(self, str(root), tuple(chosen), remedy)

    def load(self, root: str | Path, split: str = "train", **options: Any) -> Split:
        """Records and identities of a split of a copy; see :meth:`at`.

        Raises:
            DatasetError: something is missing or damaged.
        """
        return self.at(root, **options).load(split)

    def protocols(self, root: str | Path, title: str | None = None, **options: Any) -> Protocols:
        """The protocols of a copy's test set, by name; the first one is the default."""
        return self.protocols_of(self.at(root, **options), title or self.title)

    def register(
        self,
        name: str,
        root: str | Path,
        split: str = "train",
        *,
        remedy: str = "",
        **options: Any,
    ) -> None:
        """Registers a split of a copy with detectron2 under ``name``, reading nothing."""
        check_split(split, self.splits)
        copy = self.at(root, remedy=remedy, **options)
        asks = split == "test" and self.protocols_of is not None
        register_split(
            name,
            lambda: copy.load(split),
            dirname=root,
            split=split,
            evaluator_type=self.kind,
            protocols=self.protocols_of(copy, name) if asks else None,
        )


def register_split(
    name: str,
    read: Callable[[], Split],
    *,
    dirname: str | Path,
    split: str,
    evaluator_type: str = "person_search",
    protocols: Protocols | None = None,
) -> None:
    """Registers a split of a data set with detectron2; nothing is read before it is asked for.

    Once it was loaded, the metadata also holds ``num_person_ids`` and ``raw_person_ids``
    (index -> the data set's own id).

    Args:
        name: what configs call it.
        read: reads it.
        dirname: the root that it was registered with.
        split: its name within the data set.
        evaluator_type: "person_search": frames with persons of known identity | "detection": frames
            with persons | "reid": pictures of one person each.
        protocols: of a test set of person search.
    """

    def load() -> list[dict]:
        data = read()
        MetadataCatalog.get(name).set(
            num_person_ids=len(data.raw_person_ids), raw_person_ids=data.raw_person_ids
        )
        return [{**record, "domain": name} for record in data.records]

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        evaluator_type=evaluator_type, thing_classes=["person"], dirname=str(dirname), split=split
    )
    if protocols is not None:
        MetadataCatalog.get(name).set(protocols=protocols)
