"""Indexing: every frame once, whatever happens in between; a stand-in for the model."""

import os
import re
import shutil
import socket
from pathlib import Path

import cv2
import gallery_rows
import numpy as np
import pytest
from PIL import Image

from person_search.errors import GalleryError
from person_search.gallery import Filter, decoding, indexing, open_gallery
from person_search.gallery.indexing import Indexer
from person_search.gallery.sources import FoundFiles, find_files
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
def test_batches_are_of_one_size(run, batch_size, workers):
    searcher = TwoPersons()
    run(searcher, batch_size=batch_size, workers=workers)
    assert all(len(set(batch)) == 1 for batch in searcher.batches)
    assert max(map(len, searcher.batches)) == min(batch_size, 6)
    assert sum(map(len, searcher.batches)) == 10


def test_frames_do_not_wait_for_others_of_their_size_for_ever(run, yard, monkeypatch):
    for i in range(10):
        cv2.imwrite(str(yard / f"{i}.png"), np.zeros((8 + i, 8, 3), np.uint8))
    monkeypatch.setattr(indexing, "MOST_WAITING", 2)
    searcher = TwoPersons()
    assert run(searcher).frames == 10
    assert len(searcher.batches) == 10


@pytest.mark.parametrize("workers", [1, 3])
def test_decoded_frames_take_a_bounded_memory(run, monkeypatch, workers):
    """With room for one picture and a half, each is detected before the next is decoded."""
    monkeypatch.setattr(decoding, "MOST_BYTES", 12 * 16 * 3 * 3 // 2)
    searcher, most, held = TwoPersons(), [], [0]
    take, give = decoding._Memory.take, decoding._Memory.give

    def counted_take(memory, size, timeout):
        taken = take(memory, size, timeout)
        held[0] += taken
        most.append(memory._taken)
        return taken

    monkeypatch.setattr(decoding._Memory, "take", counted_take)
    monkeypatch.setattr(decoding._Memory, "give", lambda memory, size: give(memory, size))
    assert run(searcher, batch_size=4, workers=workers).frames == 10
    assert held[0] >= 10 and max(most) <= 12 * 16 * 3
    assert [len(batch) for batch in searcher.batches] == [1] * 10


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


def test_odd_files_stop_nothing(run, yard):
    os.mkfifo(yard / "pipe.jpg")
    (yard / "null.jpg").symlink_to("/dev/null")
    (yard / "loop.jpg").symlink_to("loop.jpg")
    (yard / "twin.jpg").hardlink_to(yard / "1.png")
    (yard / "notes.txt").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(yard / "socket.jpg"))
        report = run(TwoPersons())
    assert (report.files, run.gallery.count()) == (10, 20)
    assert {Path(path).name for path, _ in report.problems} == {
        "pipe.jpg",
        "null.jpg",
        "loop.jpg",
        "socket.jpg",
    }
    table = [" ".join(line.split()) for line in str(report).splitlines()[1:6]]
    assert sorted(table) == sorted(
        [
            "taken left out why",
            f"pictures 10 1 another name of a file above ({yard}/twin.jpg is {yard}/1.png)",
            f"4 not readable ({yard}/loop.jpg)",
            f"files 0 1 suffix .txt ({yard}/notes.txt)",
            "4 files could not be read, or not to their ends:",
        ]
    )


def test_a_file_of_two_names_in_two_runs(run, yard):
    run(TwoPersons())
    (yard / "again.png").symlink_to("1.png")
    report = Indexer(TwoPersons(), run.gallery, progress=False).run(
        find_files([str(yard / "again.png")])
    )
    assert run.gallery.count() == 20 and report.is_complete
    assert f"another name of a file in the gallery ({yard}/again.png is {yard}/1.png" in str(report)


def test_a_name_that_is_not_unicode(run, yard):
    try:
        shutil.copy(yard / "1.png", bytes(yard) + b"/\xff\xfe.png")
    except OSError:
        pytest.skip("this file system takes no such names")
    report = run(TwoPersons())
    assert report.files == 10
    ((_, reason),) = report.problems
    assert reason.endswith("udcfe.png': its name is not UTF-8: rename it")
    assert "name not UTF-8" in str(report) and str(report).encode()


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


def test_an_unexpected_error_is_that_of_its_picture(run, yard):
    cv2.imwrite(str(yard / "odd.png"), np.zeros((1, 2000, 3), np.uint8))
    searcher = TwoPersons()
    detect = searcher.detect

    def picky(pictures):
        if any(picture.shape[0] < 2 for picture in pictures):
            raise RuntimeError("a kernel is larger\nthan its input")
        return detect(pictures)

    searcher.detect = picky
    for _ in range(2):  # tried again by the next run
        report = run(searcher)
        text = f"{yard}/odd.png: unexpected RuntimeError: a kernel is larger"
        assert report.problems == [(f"{yard}/odd.png", text)] and not report.is_complete
        assert f"1  RuntimeError ({yard}/odd.png)" in str(report)
        assert run.gallery.count() == 20


def test_a_batch_that_fails_is_tried_one_by_one(run):
    searcher = TwoPersons()
    detect = searcher.detect

    def small_memory(pictures):
        if len(pictures) > 1:
            raise MemoryError
        return detect(pictures)

    searcher.detect = small_memory
    assert run(searcher).is_complete and run.gallery.count() == 20


def test_an_error_of_the_gallery_ends_the_run(run, monkeypatch):
    def full(keys, persons):
        raise GalleryError("the disk is full")

    monkeypatch.setattr(run.gallery, "_upsert", full)
    with pytest.raises(GalleryError, match="the disk is full"):
        run(TwoPersons())


BOX, SCORE, EMBED = [0.0, 0.0, 4.0, 8.0], 1.0, [1.0] + [0.0] * (gallery_rows.DIM - 1)


@pytest.mark.parametrize(
    "box, score, embed, said",
    [
        ([0, 0, np.nan, 8], SCORE, EMBED, "the box \\[0.0, 0.0, nan, 8.0\\] in a picture of 12x16"),
        ([0, 0, np.inf, 8], SCORE, EMBED, "the box"),
        ([-1e6, 0, 4, 8], SCORE, EMBED, "the box"),
        ([4, 0, 4, 8], SCORE, EMBED, "the empty box"),
        (BOX, np.nan, EMBED, "the score nan"),
        (BOX, SCORE, [np.nan] * gallery_rows.DIM, "an embedding that is not of unit length"),
        (BOX, SCORE, [0.0] * gallery_rows.DIM, "an embedding that is not of unit length"),
        (BOX, SCORE, EMBED[1:], "shapes"),
    ],
)
def test_absurd_detections_are_refused(run, yard, box, score, embed, said):
    searcher = TwoPersons()
    detect = searcher.detect
    absurd = Detections(*(np.array([x], np.float32) for x in (box, score, embed)))

    def damaged(pictures):
        found = detect(pictures)
        return [absurd if p.max() == 3 else f for p, f in zip(pictures, found, strict=True)]

    searcher.detect = damaged
    report = run(searcher)
    ((path, reason),) = report.problems
    assert path == f"{yard}/3.png" and run.gallery.count() == 18
    assert re.search(f"3.png: the model gave {said}.*; its weights are damaged: evaluate", reason)


def test_a_gallery_of_another_model(run):
    with pytest.raises(GalleryError, match="weights: w0, yours: w1"):
        run(TwoPersons(weights_hash="w1"))


def test_no_files(run, yard):
    report = Indexer(TwoPersons(), run.gallery).run(FoundFiles())
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
    assert report.is_complete is False  # two.avi is cut
    again = run(TwoPersons(), every=5)
    assert again.skipped == 3 and [Path(path).name for path, _ in again.problems] == ["two.avi"]
    assert again.problems[0][1].endswith("(said by an earlier run)")


# ---------------------------------------------------------------------------------- killed anywhere


class Killed(BaseException):
    """The process ends here."""


class KilledAt:
    """A gallery whose process is killed at its N-th write, before or after that is done."""

    VERBS = ("write_notes", "delete_notes", "_upsert", "delete")

    def __init__(self, gallery, writes: int, is_done: bool):
        self.gallery, self.left, self.is_done = gallery, writes, is_done
        for verb in self.VERBS:
            setattr(gallery, verb, self.counted(getattr(type(gallery), verb)))

    def counted(self, write):
        def counted(*args):
            self.left -= 1
            if self.left == 0 and self.is_done:
                write(self.gallery, *args)
            if self.left <= 0:
                raise Killed
            return write(self.gallery, *args)

        return counted

    def revive(self) -> None:
        for verb in self.VERBS:
            delattr(self.gallery, verb)


def contents(gallery) -> tuple:
    """All rows and notes."""
    rows = {
        (picture, int(frame), int(number), tuple(embed.round(4)))
        for part in gallery.rows()
        for picture, frame, number, embed in zip(
            part.picture, part.frame, part.number, part.embed, strict=True
        )
    }
    assert len(rows) == gallery.count()
    return rows, gallery.read_notes()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("engine", ["memory:", "lance"])
def test_killed_at_any_write_it_goes_on_to_the_same_gallery(
    yard, tmp_path, monkeypatch, engine, is_done
):
    """Files are indexed, change, and are removed: each step is killed at every write."""
    if engine == "lance":
        pytest.importorskip("lancedb", reason="needs the extra: pip install -e '.[gallery]'")
    monkeypatch.setattr(indexing, "ROWS_PER_WRITE", 8)
    originals, changes = tmp_path / "originals", tmp_path / "changes"
    shutil.copytree(yard, originals)
    shutil.copytree(yard, changes)
    for i in range(3):
        cv2.imwrite(str(changes / f"{i}.png"), np.full((20, 20, 3), 100 + i, np.uint8))
    (changes / "3.png").write_text("no picture any more")
    cv2.imwrite(str(changes / "new.png"), np.full((20, 20, 3), 201, np.uint8))

    def index(gallery, state):
        shutil.rmtree(yard)
        shutil.copytree(state, yard)  # with the times of the files
        options = {"progress": False, "batch_size": 2, "workers": 1}
        Indexer(TwoPersons(), gallery, **options).run(find_files([str(yard)]))

    def remove(gallery):
        known = gallery.files() | gallery.begun_files()
        gallery.delete_files([f"{yard}/{i}.png" for i in range(5) if f"{yard}/{i}.png" in known])

    steps = [lambda g: index(g, originals), lambda g: index(g, changes), remove]
    numbers = iter(range(10**6))

    def make(done: int):
        uri = "memory:" if engine == "memory:" else str(tmp_path / f"gallery{next(numbers)}")
        gallery = open_gallery(uri, gallery_rows.model())
        for step in steps[:done]:
            step(gallery)
        return gallery

    for number, step in enumerate(steps):
        expected = contents(make(number + 1))
        writes, is_killed = 0, True
        while is_killed:
            writes += 1 if engine == "memory:" else 4
            gallery = make(number)
            killed = KilledAt(gallery, writes, is_done)
            try:
                step(gallery)
                is_killed = False
            except Killed:
                killed.revive()
                step(gallery)
            assert contents(gallery) == expected, f"step {number}, write {writes}"
        assert writes > 3
