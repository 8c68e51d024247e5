"""tools/lookalikes.py: which persons it takes for look-alikes, and the means of both groups."""

import csv
import json
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from street_runs import registered

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import lookalikes  # noqa: E402  (found through the line above)

from person_search.errors import PersonSearchError

TEST = "street_tiny_test"


@pytest.fixture(scope="module", autouse=True)
def street(street_root):
    with registered(street_root):
        yield street_root


def write_queries(folder: Path, rows: list[dict]) -> Path:
    path = folder / "inference" / f"queries_{TEST}_search.csv"
    path.parent.mkdir(parents=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["person_id", "AP", "top1"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_look_alikes_are_the_persons_drawn_in_groups(street):
    drawn = json.loads((street / "street" / "tiny" / "identities.json").read_text())["identities"]
    DatasetCatalog.get(TEST)
    raw = MetadataCatalog.get(TEST).raw_person_ids
    found = lookalikes.lookalike_ids(TEST)
    assert 0 < len(found) < len(raw)
    for person, raw_id in enumerate(raw):
        twins = [p for p in drawn.values() if p["coarse"] == drawn[str(raw_id)]["coarse"]]
        assert (person in found) == (len(twins) > 1)


def test_means_of_the_two_groups(tmp_path, monkeypatch, capsys):
    alike = sorted(lookalikes.lookalike_ids(TEST))[0]
    other = next(i for i in range(99) if i not in lookalikes.lookalike_ids(TEST))
    rows = [(alike, 0.5, 1), (alike, 0.25, 0), (other, 0.75, 1), (other, "", 0)]
    write_queries(tmp_path, [dict(zip(("person_id", "AP", "top1"), r, strict=True)) for r in rows])
    monkeypatch.setattr(sys, "argv", ["lookalikes.py", str(tmp_path)])
    lookalikes.main()
    assert capsys.readouterr().out.split()[-6:] == ["2", "37.5", "50.0", "1", "75.0", "100.0"]


def test_a_run_on_other_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lookalikes.py", str(tmp_path)])
    with pytest.raises(PersonSearchError, match="evaluate the run on Street first"):
        lookalikes.main()
