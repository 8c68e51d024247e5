"""The tables of the papers that tools/ablation.py can run: one YAML file each, in this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
TABLES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@dataclass(frozen=True)
class Metric:
    """A column: its heading, and its key in metrics.json ("search/mAP")."""

    name: str
    key: str


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: as the paper calls it.
        config: path below ``configs`` without ``.yaml``; "{data}" stands for the data set's folder.
        start: what it starts from: "" random weights (a pre-training: those that its config names,
            or --imagenet), "imagenet", or a name in ``Table.starts``.
        part: of what it starts from: "" everything that fits, or "backbone".
        opts: further config keys and values.
        paper: the paper's values of the metrics, in percent.
    """

    name: str
    config: str
    start: str = ""
    part: str = ""
    opts: tuple[str, ...] = ()
    paper: tuple[float, ...] = ()

    @property
    def is_pretraining(self) -> bool:
        """Whether the row itself is a pre-training."""
        return "Pretrain/" in self.config


@dataclass(frozen=True)
class Table:
    """A table: what its rows are, and what the paper says they give.

    Attributes:
        name: of its file.
        title: in words.
        paper: where the paper measured it.
        metrics: its columns.
        starts: name -> row of a pre-training that rows start from.
        rows: in the paper's order.
    """

    name: str
    title: str
    paper: str
    metrics: tuple[Metric, ...]
    starts: dict[str, Row]
    rows: tuple[Row, ...]

    def configs(self, data: str) -> set[str]:
        """All configs that it runs on a data set."""
        used = {row.start for row in self.rows}
        needed = [row.config for name, row in self.starts.items() if name in used]
        return {c.format(data=data) for c in [*needed, *(row.config for row in self.rows)]}


def load_table(name: str) -> Table:
    """Read a table of this folder."""
    read = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    starts = {
        name: {"config": start} if isinstance(start, str) else start
        for name, start in read.get("starts", {}).items()
    }
    return Table(
        name=name,
        title=read["title"],
        paper=read["paper"],
        metrics=tuple(Metric(n, k) for n, k in read["metrics"].items()),
        starts={name: _row(name=name, **start) for name, start in starts.items()},
        rows=tuple(_row(**row) for row in read["rows"]),
    )


def _row(opts: dict | None = None, paper: Sequence[float] = (), **others: str) -> Row:
    words = tuple(str(word) for pair in (opts or {}).items() for word in pair)
    return Row(**others, opts=words, paper=tuple(paper))
