"""Drawn sets of other looks: read by the readers of real ones, and not like Street itself."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from street_runs import registered

from person_search.data.readers import CROWDHUMAN, LUPERSON, MARKET1501
from person_search.data.readers import street as readers_of_street
from person_search.errors import DatasetError
from person_search.images import read_image
from person_search.labels import UNLABELED
from person_search.street import DOMAINS, draw_domain
from person_search.street.style import DAY


@pytest.fixture(scope="module")
def root(street_root):
    """Street tiny, and its domains of each layout."""
    for domain in ("night", "dusk", "web"):
        draw_domain(street_root, "tiny", domain)
    with registered(street_root):
        yield street_root


def records(domain: str) -> list[dict]:
    return DatasetCatalog.get(f"street_tiny_{domain}_train")


def test_every_domain_is_registered_with_the_reader_of_its_layout():
    registers = {
        "crowdhuman": CROWDHUMAN,
        "market1501": MARKET1501,
        "luperson": LUPERSON,
    }
    assert readers_of_street.DOMAINS == {n: registers[d.layout] for n, d in DOMAINS.items()}
    assert all(domain.style != DAY for domain in DOMAINS.values())


def test_a_detection_set_shows_persons_whom_nobody_named(root):
    frames = records("night")
    assert len(frames) == 24
    persons = [a for frame in frames for a in frame["annotations"]]
    assert len(persons) > 24 and {a["person_id"] for a in persons} == {UNLABELED}


def test_a_reid_set_shows_some_persons_several_times_and_another_all_without_names(root):
    ids = [r["person_id"] for r in records("dusk")]
    assert set(ids) == set(range(8)) and len(ids) > 16
    assert {r["person_id"] for r in records("web")} == {UNLABELED}
    for domain in ("dusk", "web"):
        for record in records(domain):
            height, width, _ = read_image(record["file_name"]).shape
            assert height > width > 3


def test_the_night_is_dark(root):
    def brightness(frames: list[dict]) -> float:
        return float(np.mean([read_image(r["file_name"]).mean() for r in frames]))

    assert brightness(records("night")) < 0.75 * brightness(DatasetCatalog.get("street_tiny_train"))


def test_it_is_found_drawn_and_another_seed_is_an_error(root):
    folder = root / "street" / "tiny_night"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert draw_domain(root, "tiny", "night") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(DatasetError, match="remove it to draw it again"):
        draw_domain(root, "tiny", "night", seed=1)


def test_an_unfinished_one_is_an_error_that_says_what_to_do(root, tmp_path):
    (tmp_path / "street" / "tiny_fog").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"domain\.json is missing .* remove"):
        draw_domain(tmp_path, "tiny", "fog")


@pytest.mark.parametrize("size, domain", [("huge", "fog"), ("tiny", "rain")])
def test_unknown_ones_are_errors_with_the_legal_names(tmp_path, size, domain):
    with pytest.raises(DatasetError, match="domains noon, night, dusk, fog, web"):
        draw_domain(tmp_path, size, domain)


def test_a_missing_one_says_how_to_draw_it(tmp_path):
    with registered(tmp_path):
        with pytest.raises(DatasetError, match=r"--size tiny --domains"):
            records("noon")
