"""One contract for every engine, with plain exact search as the reference."""

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import gallery_rows
import numpy as np
import pytest
from gallery_rows import NOON, PER_FRAME, frame, frames, model, unit

from person_search.errors import GalleryError
from person_search.gallery import Filter, Persons, open_gallery
from person_search.gallery.engines import lance
from person_search.gallery.engines.exact import exact_top_k

ENGINES = {"exact": None, "lance": "lancedb", "milvus": "milvus_lite"}


def address(engine: str, folder) -> str:
    if ENGINES[engine]:
        pytest.importorskip(ENGINES[engine], reason="needs the extra: pip install -e '.[gallery]'")
    uris = {"exact": "memory:", "lance": folder / "gal lery", "milvus": folder / "gallery.db"}
    return str(uris[engine])


@pytest.fixture(autouse=True)
def _impatience(monkeypatch):
    """pymilvus sleeps half a second before it looks whether an index is made, five per gallery."""
    if importlib.util.find_spec("pymilvus"):
        handler = importlib.import_module("pymilvus.client.grpc_handler")
        hurried = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
        monkeypatch.setattr(handler, "time", hurried)


def without_similarity(hits) -> list:
    """Engines round it differently from one search to the next."""
    return [replace(hit, similarity=0) for hit in hits]


@pytest.fixture(params=ENGINES)
def uri(request, tmp_path):
    return address(request.param, tmp_path)


@pytest.fixture(params=[e for e in ENGINES if ENGINES[e]])
def kept_uri(request, tmp_path):
    """Of the engines whose galleries outlive the process."""
    return address(request.param, tmp_path)


@pytest.fixture
def gallery(uri):
    gallery = open_gallery(uri, model())
    yield gallery
    gallery.close()


@pytest.fixture
def lance_uri(tmp_path):
    return address("lance", tmp_path)


def everything(gallery) -> Persons:
    return Persons.concatenate(list(gallery.rows()))


def test_search_is_exact(gallery):
    persons = frames(range(12))
    gallery.upsert(persons)
    queries = unit(5, seed=77)
    similarity = queries @ persons.embed.T
    for of_query, hits in zip(similarity, gallery.search(queries, top_k=30), strict=True):
        best = np.argsort(-of_query)[:30]
        np.testing.assert_allclose([h.similarity for h in hits], of_query[best], atol=1e-5)
        assert [(h.picture, h.number) for h in hits] == [
            (persons.picture[i], persons.number[i]) for i in best
        ]


def test_a_hit_is_the_row_that_was_written(gallery):
    persons = frame(4, seconds=2.5)
    gallery.upsert(persons)
    hit = gallery.search(persons.embed[7:8], top_k=1)[0][0]
    assert hit.similarity == pytest.approx(1, abs=1e-5)
    assert (hit.picture, hit.frame, hit.number, hit.seconds) == ("/pictures/4.jpg", 0, 7, 2.5)
    assert (hit.camera, hit.time) == ("c1", NOON + timedelta(minutes=4))
    np.testing.assert_array_equal(np.float32(hit.box), persons.box[7])
    assert np.float32(hit.score) == persons.score[7]


def test_matches_bring_their_embeddings_when_asked(gallery):
    persons = frames(range(3))
    gallery.upsert(persons)
    queries = unit(2, seed=5)
    found = gallery.nearest(queries, 20, with_embeds=True)
    for query, matches in zip(queries, found, strict=True):
        best = np.argsort(-(persons.embed @ query))[:20]
        np.testing.assert_allclose(matches.persons.embed, persons.embed[best], atol=1e-6)
        np.testing.assert_allclose(matches.similarity, persons.embed[best] @ query, atol=1e-5)
    (without,) = gallery.nearest(unit(1, seed=5))
    assert without.persons.embed.shape == (20, 0)
    (nobody,) = gallery.nearest(queries[:1], where=Filter(cameras=("?",)), with_embeds=True)
    assert len(nobody) == 0 and nobody.hits() == [] and nobody.persons.box.shape == (0, 4)


def test_rows_come_back_whole(gallery):
    persons = frames(range(3))
    gallery.upsert(persons)
    found = everything(gallery)
    order = np.lexsort([found.number, found.picture])
    for name, column in persons.columns().items():
        got = getattr(found, name)[order]
        assert got.dtype == column.dtype, name
        np.testing.assert_array_equal(got, column, err_msg=name)


def test_upsert_twice_is_upsert_once(gallery):
    persons = frames(range(3))
    gallery.upsert(persons)
    gallery.upsert(frames([2, 1]))
    gallery.upsert(Persons.concatenate([persons, persons]))
    assert gallery.count() == 3 * PER_FRAME
    keys = [key for part in gallery.rows() for key in part.keys()]
    assert sorted(keys) == sorted(persons.keys())


def test_the_later_row_of_a_key_stays(gallery):
    old, new = frame(0, number=1), frame(0, number=1, camera="new")
    gallery.upsert(Persons.concatenate([new, old]))
    gallery.upsert(Persons.concatenate([old, new]))
    assert [h.camera for h in gallery.search(old.embed)[0]] == ["new"]


def test_delete(gallery):
    gallery.upsert(frames(range(6)))
    assert gallery.delete(Filter(pictures=("/pictures/1.jpg", "/nowhere.jpg"))) == PER_FRAME
    assert gallery.delete(Filter(pictures=("/nowhere.jpg",))) == 0
    assert gallery.count() == 5 * PER_FRAME
    hits = gallery.search(frame(1).embed[:1], top_k=5 * PER_FRAME + 1)[0]
    assert len(hits) == 5 * PER_FRAME
    assert "/pictures/1.jpg" not in {h.picture for h in hits}
    assert gallery.delete(Filter()) == 5 * PER_FRAME
    assert gallery.count() == 0 and list(gallery.rows()) == []


@pytest.mark.parametrize(
    "where, fits",
    [
        (Filter(cameras=("c1",)), lambda h: h.camera == "c1"),
        (Filter(cameras=("c0", "c2", "none")), lambda h: h.camera in ("c0", "c2")),
        (Filter(since=NOON + timedelta(minutes=4)), lambda h: h.time.minute >= 4),
        (Filter(until=NOON + timedelta(minutes=4)), lambda h: h.time.minute < 4),
        (Filter(min_score=0.8), lambda h: np.float32(h.score) >= np.float32(0.8)),
        (Filter(pictures=("/pictures/5.jpg",)), lambda h: h.picture == "/pictures/5.jpg"),
        (
            Filter(("c2",), NOON, NOON + timedelta(minutes=6), 0.7, ("/pictures/5.jpg",)),
            lambda h: h.picture == "/pictures/5.jpg" and h.score >= 0.7,
        ),
        (Filter(cameras=("none",)), lambda h: False),
    ],
)
def test_filters(gallery, where, fits):
    persons = frames(range(9))
    gallery.upsert(persons)
    query = unit(1, seed=5)
    all_hits = gallery.search(query, top_k=len(persons))[0]
    wanted = without_similarity(h for h in all_hits if fits(h))
    for k in (3, len(persons)):
        found = gallery.search(query, top_k=k, where=where)[0]
        assert without_similarity(found) == wanted[:k]
    assert gallery.count(where) == len(wanted) == where.mask(persons).sum()
    assert sum(map(len, gallery.rows(where))) == len(wanted)


def test_rows_of_unknown_time_fit_no_time(gallery):
    gallery.upsert(Persons.of_frame([[0, 0, 1, 1]], [0.9], unit(1, 0), "a.jpg"))
    assert gallery.search(unit(1, 0))[0][0].time is None
    assert gallery.count(Filter(since=NOON)) == gallery.count(Filter(until=NOON)) == 0


def test_an_empty_gallery(gallery):
    assert gallery.search(unit(2, 0)) == [[], []]
    assert gallery.search(unit(0, 0)) == []
    assert gallery.count() == 0 and list(gallery.rows()) == []
    gallery.upsert(frame(0, number=0))
    assert gallery.count() == gallery.delete(Filter()) == 0
    gallery.optimize()


def test_wrong_dimension_and_length(gallery):
    with pytest.raises(GalleryError, match=r"size 8, these are \(1, 3\)"):
        gallery.search(np.ones((1, 3), np.float32))
    for embed in (np.ones((1, 8)), np.full((1, 8), np.nan), np.zeros((1, 8))):
        persons = Persons.of_frame([[0, 0, 1, 1]], [0.9], embed, "a.jpg")
        with pytest.raises(GalleryError, match="not of unit length"):
            gallery.upsert(persons)
    with pytest.raises(GalleryError, match="top_k is 0"):
        gallery.search(unit(1, 0), top_k=0)
    assert gallery.count() == 0


AWKWARD = ["/tmp/Füße 人 🏃.jpg", "/a'b\"c\\d.jpg", "/100%_[x].jpg", "/" + "long" * 250 + ".jpg"]


def test_awkward_names(gallery):
    for i, name in enumerate(AWKWARD):
        gallery.upsert(frame(i, picture=name, camera=name[:20], number=2))
    gallery.write_files(dict.fromkeys(AWKWARD, "read"))
    for i, name in enumerate(AWKWARD):
        where = Filter(pictures=(name,), cameras=(name[:20],))
        assert gallery.count(where) == 2
        assert gallery.search(frame(i, number=1).embed, 9, where)[0][0].picture == name
    assert set(gallery.files()) == set(AWKWARD)
    assert gallery.delete_files(AWKWARD[:3]) == 6
    assert set(gallery.files()) == {AWKWARD[3]} and gallery.count() == 2


def test_notes(gallery):
    gallery.write_files({})
    gallery.write_files({"a.jpg": "1", "b.jpg": "2"})
    gallery.write_files({"b.jpg": "3"})
    assert gallery.files() == {"a.jpg": "1", "b.jpg": "3"}
    gallery.delete_files(["a.jpg"])
    assert gallery.files() == {"b.jpg": "3"}


def test_reopening(kept_uri):
    gallery = open_gallery(kept_uri, model())
    gallery.upsert(frames(range(4)))
    gallery.write_files({"a.jpg": "1"})
    gallery.close()
    again = open_gallery(kept_uri)
    assert again.model == model() and again.files() == {"a.jpg": "1"}
    assert again.count() == 4 * PER_FRAME
    assert again.search(frame(3).embed[:1])[0][0].picture == "/pictures/3.jpg"
    again.close()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"weights_hash": "w1"}, "weights: w0, yours: w1"),
        ({"config_hash": "c1"}, "config: c0, yours: c1"),
        ({"dim": 9}, "embedding size: 8, yours: 9"),
        ({"score_thresh": 0.1}, "score threshold: 0.5, yours: 0.1"),
    ],
)
def test_another_model_is_refused(kept_uri, change, said):
    open_gallery(kept_uri, model()).close()
    with pytest.raises(GalleryError, match=said):
        open_gallery(kept_uri, model(**change))
    moved = open_gallery(kept_uri, model(weights="elsewhere.pth", config="# the same\nA: 1"))
    assert moved.model == model()
    moved.close()


def test_no_gallery(kept_uri, tmp_path):
    with pytest.raises(GalleryError, match="there is no gallery in "):
        open_gallery(kept_uri)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_gallery(lance_uri):
    with open(lance_uri, "w") as file:
        file.write("text")
    with pytest.raises(GalleryError, match="is a file; a gallery is a folder"):
        open_gallery(lance_uri, model())


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    for uri, name in ((tmp_path / "g", "lancedb"), ("http://localhost:1", "pymilvus")):
        with pytest.raises(GalleryError, match=rf"needs the package {name}: pip install"):
            open_gallery(str(uri), model())


def test_exact_search_in_blocks_is_exact(monkeypatch):
    monkeypatch.setattr("person_search.gallery.engines.exact.BLOCK", 7)
    rng = np.random.default_rng(0)
    # Whole numbers: their products are exact in blocks, too.
    embeds, queries = (rng.integers(-3, 4, (n, 4)).astype(np.float32) for n in (50, 3))
    similarity = queries @ embeds.T
    for k in (1, 9, 50, 60):
        best, rows = exact_top_k(queries, embeds, k)
        np.testing.assert_array_equal(best, -np.sort(-similarity, axis=1)[:, :k])
        np.testing.assert_array_equal(best, np.take_along_axis(similarity, rows, axis=1))
        assert all(len(set(of_query)) == min(k, 50) for of_query in rows.tolist())


# ------------------------------------------------------------------------------------ LanceDB alone


def test_an_index_finds_nearly_all_and_narrow_filters_exactly(lance_uri, monkeypatch):
    for name, value in (("EXACT_ROWS", 400), ("INDEX_ROWS", 1000), ("TIDY_COMMITS", (2, 3))):
        monkeypatch.setattr(lance, name, value)
    gallery = open_gallery(lance_uri, model())
    persons = frames(range(60))
    gallery.upsert(persons[:600])
    gallery.optimize()
    assert gallery.engine() == "LanceDB, exact search"
    gallery.upsert(persons[600:1100])
    gallery.optimize()
    gallery.upsert(persons[1100:])  # these are not in the index yet, and found all the same
    gallery.optimize()
    assert gallery.engine() == "LanceDB, IVF_SQ index"
    assert gallery.read_notes("trained") == {"trained": "1100"}
    queries = unit(20, seed=9)
    wanted = np.argsort(-(queries @ persons.embed.T))[:, :10]
    found = [
        [int(h.picture[10:-4]) * PER_FRAME + h.number for h in hits]
        for hits in gallery.search(queries, top_k=10)
    ]
    recall = np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)])
    assert recall > 0.9
    one = Filter(pictures=("/pictures/5.jpg",))
    similarity = np.sort(queries @ persons.embed[100:120].T)[:, ::-1]
    for of_query, hits in zip(similarity, gallery.search(queries, 20, one), strict=True):
        np.testing.assert_allclose([h.similarity for h in hits], of_query, atol=1e-5)


def test_an_index_is_trained_anew_for_a_gallery_that_has_grown(lance_uri, monkeypatch):
    for name, value in (("EXACT_ROWS", 300), ("INDEX_ROWS", 400)):
        monkeypatch.setattr(lance, name, value)
    gallery, trained = open_gallery(lance_uri, model()), []
    for end in (20, 60, 80):
        gallery.upsert(frames(range(end)))
        gallery.optimize()
        trained.append(gallery.read_notes("trained")["trained"])
    assert trained == ["400", "400", "1600"]


def writer(uri: str, first: int, end: int) -> subprocess.Popen:
    """Another process that writes the frames first..end-1."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", gallery_rows.__file__, uri, str(first), str(end)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_several_processes_write_while_one_searches(lance_uri):
    """Two write the same new rows, a third others; nothing is lost and nothing is there twice."""
    gallery = open_gallery(lance_uri, model())
    gallery.upsert(frame(0))
    processes = [writer(lance_uri, 0, 8), writer(lance_uri, 0, 8), writer(lance_uri, 8, 16)]
    searches = 0
    while any(p.poll() is None for p in processes):
        assert gallery.search(frame(0).embed[:1])[0][0].picture == "/pictures/0.jpg"
        searches += 1
    assert [p.communicate() and p.returncode for p in processes] == [0, 0, 0]
    assert searches >= 1
    assert gallery.count() == 16 * PER_FRAME
    keys = [key for part in gallery.rows() for key in part.keys()]
    assert sorted(keys) == sorted(frames(range(16)).keys())
    assert len(gallery.files()) == 16


def test_kill_9_loses_at_most_the_batch_that_was_being_written(lance_uri):
    """Two kills at different moments; then the work is taken up again."""
    first = 0
    for acknowledged in (1, 4):
        process = writer(lance_uri, first, 1000)
        for _ in range(acknowledged):
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        # What it printed before it died counts, too.
        last = max([last, *map(int, process.communicate()[0].split())])
        gallery = open_gallery(lance_uri, model())
        found = gallery.count()
        assert found in ((last + 1) * PER_FRAME, (last + 2) * PER_FRAME)
        assert len(everything(gallery)) == found
        assert gallery.search(frame(last).embed[3:4])[0][0].picture == f"/pictures/{last}.jpg"
        assert {f"/pictures/{i}.jpg" for i in range(last + 1)} <= set(gallery.files())
        first = last + 1
    gallery.upsert(frames(range(first, first + 3)))
    gallery.optimize()
    assert gallery.count() == (first + 3) * PER_FRAME


def test_what_cannot_be_written_ends_in_one_line(lance_uri, monkeypatch):
    gallery = open_gallery(lance_uri, model())

    def refuse(*args):
        raise OSError('Permission denied (os error 13) at path "/a", /x/src/io.rs:10:3\nmore')

    monkeypatch.setattr(lance.LanceIndex, "_merge", refuse)
    with pytest.raises(GalleryError) as error:
        gallery.upsert(frame(0))
    assert str(error.value) == (
        f'cannot write to the gallery {lance_uri}: Permission denied (os error 13) at path "/a"'
    )
    assert gallery.count() == 0


def test_a_panic_of_the_library_ends_in_one_line(lance_uri, monkeypatch):
    """Over some damaged files, LanceDB's Rust code panics: Python sees a class of its own."""
    gallery = open_gallery(lance_uri, model())
    for name, base in (("RustPanic", Exception), ("PanicException", BaseException)):
        panic = type(name, (base,), {})("rust future panicked: index out of range")

        class Table:
            def count_rows(self, where, panic=panic):
                raise panic

        monkeypatch.setattr(gallery, "_persons", Table())
        with pytest.raises(GalleryError, match="cannot read the gallery .*: rust future panicked"):
            gallery.count()
    monkeypatch.setattr(Table, "count_rows", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # an error of the program is not one of the gallery
        gallery.count()


def test_an_overtaken_write_is_done_again(lance_uri, monkeypatch):
    gallery, merge, tries = open_gallery(lance_uri, model()), lance.LanceIndex._merge, []

    def overtaken(*args):
        tries.append(args)
        if len(tries) < 3:
            raise OSError("Commit conflict for version 2")
        merge(*args)

    monkeypatch.setattr(lance.LanceIndex, "_merge", staticmethod(overtaken))
    monkeypatch.setattr(lance.time, "sleep", lambda seconds: None)
    gallery.upsert(frame(0))
    assert len(tries) == 3 and gallery.count() == PER_FRAME


# ------------------------------------------------------------------------------- Milvus Lite alone


def test_a_second_process_is_refused_in_one_line(tmp_path):
    uri = address("milvus", tmp_path)
    gallery = open_gallery(uri, model())
    process = subprocess.run(
        [sys.executable, "-W", "ignore", gallery_rows.__file__, uri, "0", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("person_search.errors.GalleryError: cannot open the gallery ")
    gallery.close()
