"""Indexing: every frame once, whatever happens in between; a stand-in for the model."""

import shutil
from pathlib import Path

import cv2
import gallery_rows
import numpy as np
import pytest
from PIL import Image

from person_search.errors import GalleryError
from person_search.gallery import Filter, indexing, open_gallery
from person_search.gallery.indexing import Indexer
from person_search.gallery.sources import find_files
from person_search.structures import Detections, Searcher


class TwoPersons(Searcher):
    """Finds two persons in every picture; remembers the batches, and fails when told to."""

    def __init__(self, fail_at: int | None = None, **model):
        self.model = gallery_rows.model(**model)
        self.batches, self.fail_at = [], fail_at

    def detect(self, pictures: list[np.ndarray]) -> list[Detections]:
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        self.batches.append([picture.shape[:2] for picture in pictures])
        seeds = [int(picture.sum()) for picture in pictures]
        boxes = np.array([[0, 0, 4, 8], [4, 0, 8, 8]])
        return [Detections(boxes, np.ones(2), gallery_rows.unit(2, seed)) for seed in seeds]

    def embed(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        raise AssertionError("indexing asks where persons are, not who is in a box")


@pytest.fixture
def yard(folder) -> Path:
    """Ten pictures of two sizes."""
    for i in range(10):
        size = (12, 16) if i % 3 else (16, 12)
        cv2.imwrite(str(folder / f"{i}.png"), np.full((*size, 3), i, np.uint8))
    return folder


@pytest.fixture
def run(yard):
    """``run(searcher, **options)`` indexes the yard into one gallery: its report."""
    gallery = open_gallery("memory:", gallery_rows.model())

    def run(searcher, **options):
        options = {"progress": False, "batch_size": 3} | options
        return Indexer(searcher, gallery, **options).run(find_files([str(yard)]))

    run.gallery = gallery
    return run


def frames_of(gallery) -> list[tuple[str, int]]:
    """(file, frame) of every row."""
    rows = [
        (p, f) for part in gallery.rows() for p, f in zip(part.picture, part.frame, strict=True)
    ]
    return sorted((Path(p).name, int(f)) for p, f in rows)


def test_every_picture_once(run, yard):
    report = run(TwoPersons())
    assert (report.files, report.frames, report.persons) == (10, 10, 20)
    assert report.problems == [] and report.skipped == 0
    assert frames_of(run.gallery) == sorted([(f"{i}.png", 0) for i in range(10)] * 2)
    assert run.gallery.count(Filter(cameras=("yard",))) == 20
    assert set(run.gallery.files()) == {str(yard / f"{i}.png") for i in range(10)}


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_model_is_given_batches(run, batch_size, workers):
    searcher = TwoPersons()
    run(searcher, batch_size=batch_size, workers=workers)
    whole, rest = divmod(10, batch_size)
    assert list(map(len, searcher.batches)) == [batch_size] * whole + [rest] * (rest > 0)


def test_what_is_there_is_skipped_and_what_changed_is_done_again(run, yard):
    run(TwoPersons())
    assert (run(TwoPersons()).skipped, run.gallery.count()) == (10, 20)
    cv2.imwrite(str(yard / "3.png"), np.full((20, 20, 3), 200, np.uint8))
    cv2.imwrite(str(yard / "new.png"), np.full((20, 20, 3), 201, np.uint8))
    searcher = TwoPersons()
    report = run(searcher)
    assert (report.skipped, report.files, run.gallery.count()) == (9, 2, 22)
    assert sum(searcher.batches, []) == [(20, 20)] * 2


def test_another_camera_is_a_change(run, yard):
    run(TwoPersons())
    files = find_files([str(yard)], camera="gate")
    report = Indexer(TwoPersons(), run.gallery, progress=False).run(files)
    assert (report.skipped, run.gallery.count(Filter(cameras=("gate",)))) == (0, 20)
    assert run.gallery.count() == 20


def test_what_cannot_be_read_is_listed_and_tried_again(run, yard):
    (yard / "empty.jpg").touch()
    (yard / "text.png").write_text("no picture")
    (yard / "gone.jpg").symlink_to("nowhere")
    for _ in range(2):
        report = run(TwoPersons())
        assert run.gallery.count() == 20
        assert {Path(path).name for path, _ in report.problems} == {
            "empty.jpg",
            "text.png",
            "gone.jpg",
        }
        assert all("\n" not in reason for _, reason in report.problems)


def test_a_name_that_is_not_unicode(run, yard):
    try:
        shutil.copy(yard / "1.png", bytes(yard) + b"/\xff\xfe.png")
    except OSError:
        pytest.skip("this file system takes no such names")
    report = run(TwoPersons())
    assert report.files == 10
    assert [reason for _, reason in report.problems] == ["its name is not UTF-8: rename it"]


def test_an_interrupted_run_keeps_what_it_had_and_goes_on(run):
    with pytest.raises(KeyboardInterrupt):
        run(TwoPersons(fail_at=2))
    kept = len(run.gallery.files())
    assert 0 < kept < 10
    assert set(map(Path, run.gallery.files())) <= {
        Path(p) for part in run.gallery.rows() for p in part.picture
    }
    report = run(TwoPersons())
    assert (report.skipped, report.files) == (kept, 10 - kept)
    assert run.gallery.count() == 20


def test_a_file_is_remembered_only_when_its_rows_are_written(run, monkeypatch):
    monkeypatch.setattr(indexing, "ROWS_PER_WRITE", 1)
    gallery, seen = run.gallery, []
    write_files = gallery.write_files

    def spy(stamps):
        written = {p for part in gallery.rows() for p in part.picture}
        assert stamps.keys() <= written
        seen.extend(stamps)
        write_files(stamps)

    monkeypatch.setattr(gallery, "write_files", spy)
    run(TwoPersons())
    assert len(seen) == len(set(seen)) == 10


def test_a_mistake_of_ours_ends_the_run(run, monkeypatch):
    searcher = TwoPersons()
    monkeypatch.setattr(searcher, "detect", lambda pictures: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(searcher)
    assert run.gallery.count() == 0


def test_a_gallery_of_another_model(run):
    with pytest.raises(GalleryError, match="weights: w0, yours: w1"):
        run(TwoPersons(weights_hash="w1"))


def test_no_files(run, yard):
    report = Indexer(TwoPersons(), run.gallery).run([])
    assert (report.files, report.frames, report.persons) == (0, 0, 0)


def test_pictures_without_persons_are_remembered(run):
    searcher = TwoPersons()
    nobody = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, gallery_rows.DIM)))
    searcher.detect = lambda pictures: [nobody] * len(pictures)
    assert (run(searcher).persons, run.gallery.count()) == (0, 0)
    assert run(TwoPersons()).skipped == 10


def test_videos(run, yard):
    pytest.importorskip("av", reason="needs the extra: pip install -e '.[gallery]'")
    from films import film

    for path in yard.glob("*.png"):
        path.unlink()
    Image.new("RGB", (96, 64)).save(yard / "still.png")
    film(yard / "one.mp4", codec="mpeg4")
    cut = film(yard / "two.avi")
    cut.write_bytes(cut.read_bytes()[:-5000])
    report = run(TwoPersons(), every=10)
    found = frames_of(run.gallery)
    assert found[:4] == [("one.mp4", 0), ("one.mp4", 0), ("one.mp4", 10), ("one.mp4", 10)]
    assert ("two.avi", 0) in found and ("still.png", 0) in found
    assert report.files == 3 and report.frames == len(found) / 2
    assert run(TwoPersons(), every=10).skipped == 3
    assert run(TwoPersons(), every=5).skipped == 1
    assert [f for n, f in frames_of(run.gallery)[::2] if n == "one.mp4"] == [0, 5, 10, 15]
