"""An adapted gallery: searched by adapted embeddings, undone without loss, never half adapted."""

import argparse
import hashlib
import io
import json
from base64 import b64encode
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from films import film, number
from gallery_rows import model

from person_search.errors import CalibrationError, GalleryError
from person_search.evaluation import (
    SearchResults,
    fit_adaptation,
    fit_open_set,
    open_set_scores,
)
from person_search.gallery import Filter, GalleryIndex, Persons, adapting, open_gallery
from person_search.gallery.adapting import (
    FORMAT,
    NOTE,
    PART_NOTE,
    _confirmed_pairs,
    _sample,
    adapt_gallery,
    adaptation_version,
    forget_adaptation,
    read_adaptation,
)
from person_search.gallery.calibration import (
    Calibration,
    Threshold,
    calibration_path,
    fit_calibration,
)
from person_search.gallery.cli import main
from person_search.gallery.cli.common import thresholds_of
from person_search.gallery.indexing import Indexer
from person_search.gallery.queries import Query, QueryImage
from person_search.gallery.search import SearchOptions, search
from person_search.gallery.sources import find_files
from person_search.structures import Detections

DIM = 16


def rows(n_persons: int = 40, seed: int = 3) -> tuple[Persons, np.ndarray]:
    """Three pictures of every person in each of two cameras; and who each row shows."""
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(n_persons), 6)
    cameras = np.tile([0, 0, 0, 1, 1, 1], n_persons)
    embeds = rng.standard_normal((n_persons, DIM))[persons]
    embeds += rng.standard_normal((len(persons), DIM)) * np.where(np.arange(DIM) < 4, 0.9, 0.2)
    embeds += 1.5 * rng.standard_normal((2, DIM))[cameras]
    embeds /= np.linalg.norm(embeds, axis=1, keepdims=True)
    parts = [
        Persons.of_frame(
            np.array([[0.0, 0, 9, 20]]), [0.9], embed[None], f"/p/{i}.jpg", camera=f"c{camera}"
        )
        for i, (embed, camera) in enumerate(zip(embeds, cameras, strict=True))
    ]
    return Persons.concatenate(parts), persons


@pytest.fixture(params=["memory:", "lance"])
def gallery(request, tmp_path):
    uri = request.param if request.param == "memory:" else str(tmp_path / "gallery")
    found = open_gallery(uri, model(dim=DIM))
    found.upsert(rows()[0])
    yield found
    found.close()


def queries(embeds: np.ndarray) -> list[Query]:
    return [Query(f"person {i}", [], embed) for i, embed in enumerate(embeds)]


def test_hits_are_the_nearest_adapted_rows(gallery):
    persons, shown = rows()
    plain = search(gallery, queries(persons.embed[:5]))
    adapted = adapt_gallery(gallery)
    assert adapted.changes
    expected = fit_adaptation(
        persons.embed, persons.camera.astype(str), persons.picture.astype(str)
    )
    looks = expected.apply(persons.embed, persons.camera.astype(str))
    wanted = expected.apply(persons.embed[:5], np.full(5, "elsewhere"))
    for result, query in zip(search(gallery, queries(persons.embed[:5])), wanted, strict=True):
        order = np.argsort(-(looks @ query))[:20]
        assert [h.picture for h in result.hits] == [f"/p/{i}.jpg" for i in order]
        similarity = [h.similarity for h in result.hits]
        np.testing.assert_allclose(similarity, np.sort(looks @ query)[::-1][:20], atol=1e-4)
    # The rows themselves are as their model made them.
    assert forget_adaptation(gallery) and not forget_adaptation(gallery)
    again = search(gallery, queries(persons.embed[:5]))
    assert [r.hits for r in again] == [r.hits for r in plain]


def test_a_query_out_of_the_gallery_has_the_camera_of_its_picture(gallery):
    persons, _ = rows()
    adapt_gallery(gallery)
    box, image = np.array([0.0, 0, 9, 20]), np.zeros((20, 9, 3), np.uint8)
    known, new = (
        Query("query", [QueryImage(picture, 0.0, image, box)], persons.embed[0])
        for picture in ("/p/0.jpg", "/p/new.jpg")
    )
    itself, other = search(gallery, [known, new])
    assert itself.hits[0].picture == "/p/0.jpg"
    assert itself.hits[0].similarity == pytest.approx(1, abs=1e-4)
    assert other.best < 0.999  # centered by the mean of the gallery


def test_filters_and_reranking_work_as_ever(gallery):
    adapt_gallery(gallery)
    query = queries(rows()[0].embed[:1])
    found = search(
        gallery, query, SearchOptions(where=replace(SearchOptions().where, cameras=("c1",)))
    )
    assert {h.camera for h in found[0].hits} == {"c1"} and len(found[0].hits) == 20
    reranked = search(gallery, query, SearchOptions(rerank=True))
    assert len(reranked[0].hits) == 20


def test_rows_that_come_later_are_adapted_too_and_a_refit_is_due(gallery):
    adapt_gallery(gallery)
    adaptation = read_adaptation(gallery)
    assert "fit it anew" not in adaptation.note(gallery)
    more = rows(seed=4)[0]
    gallery.upsert(replace(more, picture=np.array([f"{p}.later" for p in more.picture], object)))
    assert "240 rows came since: fit it anew" in adaptation.note(gallery)
    (result,) = search(gallery, queries(more.embed[:1]))
    assert result.hits[0].picture == "/p/0.jpg.later"
    adapt_gallery(gallery)
    assert read_adaptation(gallery).version != adaptation.version


def test_a_threshold_is_of_one_version(gallery):
    query, plain = queries(rows()[0].embed[:1]), Threshold(0.5, 0.1, 240, "mine", 0.9, False)
    assert search(gallery, query, SearchOptions(threshold=plain))[0].in_gallery
    adapt_gallery(gallery)
    version = adaptation_version(gallery)
    to_do = f"run person-search calibrate --data DATASET --gallery {gallery.uri}"
    with pytest.raises(CalibrationError, match=f"is adapted .version {version}.*own emb.*{to_do}"):
        search(gallery, query, SearchOptions(threshold=plain))
    adapted = replace(plain, adaptation=version)
    assert search(gallery, query, SearchOptions(threshold=adapted))[0].in_gallery
    assert search(gallery, query, SearchOptions(threshold=Threshold(0.5)))[0].in_gallery
    more = rows(seed=4)[0]
    gallery.upsert(replace(more, picture=np.array([f"{p}.later" for p in more.picture], object)))
    adapt_gallery(gallery)
    with pytest.raises(CalibrationError, match=f"calibrated for version {version} of an adapt"):
        search(gallery, query, SearchOptions(threshold=adapted))
    forget_adaptation(gallery)
    with pytest.raises(CalibrationError, match="is not adapted, and the threshold"):
        search(gallery, query, SearchOptions(threshold=adapted))
    assert search(gallery, query, SearchOptions(threshold=plain))[0].in_gallery


def found_in(persons: Persons, shown: np.ndarray) -> SearchResults:
    """A test set: one person per frame, each of whom is looked for in all other frames."""
    number, cameras = len(persons), np.unique(persons.camera, return_inverse=True)[1]
    names = persons.picture.astype(str)
    boxes = persons.box.astype(np.float64)
    return SearchResults(
        frame_names=names,
        frame_cam=cameras,
        gt_offsets=np.arange(number + 1),
        gt_boxes=boxes,
        gt_ids=shown + 1,
        det_offsets=np.arange(number + 1),
        dets=np.column_stack([boxes, persons.score]),
        det_embs=persons.embed,
        query_frames=names,
        query_frame_index=np.arange(number),
        query_boxes=boxes,
        query_ids=shown + 1,
        query_cam=cameras,
        query_embs=persons.embed,
    )


def test_auto_works_once_it_is_calibrated_for_the_version(gallery, tmp_path):
    made_by = replace(gallery.model, weights=str(tmp_path / "a.pth"))
    auto, query = argparse.Namespace(threshold=(None, None)), queries(rows()[0].embed[:1])
    adapt_gallery(gallery)
    adaptation = read_adaptation(gallery)
    persons, shown = rows(seed=9)  # other persons at other cameras
    results = found_in(persons, shown)
    for version in (None, adaptation):
        fit_calibration(results, made_by, "others", 0.2, version)[0].save(made_by)
    adapted = thresholds_of(auto, made_by, [gallery])
    names = {"a.calibration.json", f"a.{adaptation.version}.calibration.json"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    threshold = adapted(gallery, Filter())
    assert threshold.adaptation == adaptation.version and threshold.gallery == 240
    assert threshold.similarity != Calibration.load(made_by).threshold(240).similarity
    # It is the one of the adapted embeddings, with the means of the test set's own cameras.
    found = adaptation.found.at_cameras(persons.embed, results.frame_cam)
    looks = found.apply(persons.embed, results.frame_cam)
    expected = fit_open_set(open_set_scores(replace(results, det_embs=looks, query_embs=looks)))
    assert threshold.similarity == pytest.approx(expected.threshold(0.2, 240))
    assert search(gallery, query, SearchOptions(threshold=threshold))[0].threshold == threshold
    # Fitted anew, it has to be calibrated anew; the page, which goes on, says so, too.
    later = np.array([f"{p}.later" for p in persons.picture], object)
    gallery.upsert(replace(persons, picture=later))
    adapt_gallery(gallery)
    to_do = f"calibrate --data DATASET --gallery {gallery.uri}"
    for ask in (
        lambda: thresholds_of(auto, made_by, [gallery]),
        lambda: adapted(gallery, Filter()),
    ):
        with pytest.raises(CalibrationError, match=f"no calibration for version .*{to_do}"):
            ask()
    forget_adaptation(gallery)
    assert adapted(gallery, Filter()).adaptation is None


def test_a_calibration_that_was_renamed_to_another_version_is_refused(gallery, tmp_path):
    made_by = replace(gallery.model, weights=str(tmp_path / "a.pth"))
    fit_calibration(found_in(*rows(seed=9)), made_by, "others", 0.2)[0].save(made_by)
    (tmp_path / "a.calibration.json").rename(calibration_path(made_by, "0123abcd"))
    with pytest.raises(CalibrationError, match="is of version None of an adaptation"):
        Calibration.load(made_by, "0123abcd")


def test_confirmed_persons_are_pairs(gallery):
    """Rows of one person by camera: a a a b b b, so that all pairs join the cameras."""
    alone = adapt_gallery(gallery)
    _, shown = rows()
    confirmed = {(f"/p/{i}.jpg", 0, 0): f"person {p}" for i, p in enumerate(shown)}
    helped = adapt_gallery(gallery, confirmed)
    assert helped.pairs > alone.pairs and helped.groups < alone.groups  # toward one a person
    persons = Persons.concatenate(list(gallery.rows()))
    pairs = _confirmed_pairs(persons, confirmed)
    assert len(pairs) == 3 * 40
    who = [int(str(picture)[3:-4]) // 6 for picture in persons.picture]
    assert all(who[one] == who[other] for one, other in pairs)
    assert (persons.camera[pairs[:, 0]] != persons.camera[pairs[:, 1]]).all()


def test_two_rows_of_one_frame_are_no_pair_even_if_confirmed():
    """One person, whom the detector found twice."""
    twice = Persons.of_frame(np.zeros((2, 4)), [0.9, 0.8], np.eye(2, DIM), "/p/a.jpg")
    once = Persons.of_frame(np.zeros((1, 4)), [0.9], np.eye(1, DIM), "/p/b.jpg")
    keys = [("/p/a.jpg", 0, 0), ("/p/a.jpg", 0, 1), ("/p/b.jpg", 0, 0)]
    persons = Persons.concatenate([twice, once])
    assert _confirmed_pairs(persons, dict.fromkeys(keys, "x")).tolist() == [[0, 2], [1, 2]]
    assert _confirmed_pairs(persons, dict.fromkeys(keys[:2], "x")).tolist() == []
    assert _confirmed_pairs(persons, {}).shape == (0, 2)


def test_a_confirmed_row_that_is_gone_is_an_error_and_changes_nothing(gallery):
    adapt_gallery(gallery)
    version = adaptation_version(gallery)
    with pytest.raises(GalleryError, match="person 3 of frame 0 of /p/1.jpg was confirmed, and is"):
        adapt_gallery(gallery, {("/p/1.jpg", 0, 3): "alice"})
    assert adaptation_version(gallery) == version


def test_of_a_large_gallery_some_frames_are_read(gallery, monkeypatch):
    """Half of 240 frames, the same ones in whatever parts they come, and the one wanted."""
    monkeypatch.setattr(adapting, "MOST_ROWS", 120)
    found = adapt_gallery(gallery, {("/p/0.jpg", 0, 0): "alice"})
    assert 90 < found.rows < 150
    adaptation = read_adaptation(gallery)
    assert adaptation is None or adaptation.rows == 240
    one = _sample(gallery, 0.5, set())
    again = _sample(gallery, 0.5, set())
    assert set(one.picture) == set(again.picture) and len(one) == len(set(one.picture))
    missing = ({f"/p/{i}.jpg" for i in range(240)} - set(one.picture)).pop()
    assert missing in _sample(gallery, 0.5, {(missing, 0)}).picture


class OnePerson:
    """A searcher that finds one person in each frame, whose looks drift with the frame's number."""

    model = model(dim=3)

    def detect(self, images) -> list[Detections]:
        found = []
        for image in images:
            angle = number(image) / 50
            embed = np.array([[np.cos(angle), np.sin(angle), 0]], np.float32)
            found.append(Detections(np.array([[0.0, 0, 9, 20]]), np.array([0.9]), embed))
        return found


@pytest.mark.parametrize("rate, pairs", [(1, 0), (10, 0), (Fraction(1, 10), 1)])
def test_rows_of_one_stretch_of_a_film_are_no_pair(tmp_path, rate, pairs):
    """Thirty frames, each most like the one before or after it: within ten seconds no pair."""
    path = film(tmp_path / "gate.mp4", frames=30, rate=rate, codec="mpeg4")
    gallery = open_gallery("memory:", OnePerson.model)
    Indexer(OnePerson(), gallery, every=1, progress=False).run(find_files([str(path)]))
    persons = Persons.concatenate(list(gallery.rows()))
    assert len(persons) == 30
    assert sorted(persons.seconds) == pytest.approx(np.arange(30) / float(rate), abs=1e-3)
    found = adapt_gallery(gallery)
    assert (found.pairs > 0) == bool(pairs) and not found.changes


def test_too_few_rows_leave_a_gallery_as_it_is():
    gallery = open_gallery("memory:", model(dim=DIM))
    assert not adapt_gallery(gallery).changes and read_adaptation(gallery) is None
    gallery.upsert(rows(n_persons=1)[0])
    assert not adapt_gallery(gallery).changes and read_adaptation(gallery) is None


@pytest.mark.parametrize(
    "notes, message",
    [
        ({NOTE: '{"format": 3}'}, "by a newer version of this program"),
        ({NOTE: '{"format": 1, "version": "00000000", "parts": 1}'}, "by an older version"),
        ({NOTE: "{}"}, "cannot be read"),
        ({NOTE: "no json"}, "cannot be read"),
        ({NOTE: "[" * 5000}, "cannot be read"),
        ({NOTE: '{"format": 2, "version": "../../up", "parts": 1}'}, "cannot be read"),
        ({NOTE: '{"format": 2, "version": "00000000", "parts": 1}'}, "cannot be read"),
        ({f"{PART_NOTE}VERSION:000000": "AAAA"}, "parts are not what was written"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_can_be_undone(gallery, notes, message):
    adapt_gallery(gallery)
    version = adaptation_version(gallery)
    gallery.write_notes({name.replace("VERSION", version): t for name, t in notes.items()})
    with pytest.raises(GalleryError, match=message):
        search(gallery, queries(rows()[0].embed[:1]))
    assert forget_adaptation(gallery)
    assert search(gallery, queries(rows()[0].embed[:1]))[0].hits


def test_a_search_finds_a_whole_adaptation_while_another_process_adapts(gallery, monkeypatch):
    """Between reading the note and the parts, the gallery is adapted anew, and then undone."""
    adapt_gallery(gallery)
    first = adaptation_version(gallery)
    more = rows(seed=4)[0]
    gallery.upsert(replace(more, picture=np.array([f"{p}.later" for p in more.picture], object)))
    read_notes, meanwhile = gallery.read_notes, [adapt_gallery, forget_adaptation]

    def overtaken(prefix: str = "") -> dict[str, str]:
        if prefix.startswith(f"{PART_NOTE}") and prefix != PART_NOTE and meanwhile:
            monkeypatch.setattr(gallery, "read_notes", read_notes)
            meanwhile.pop(0)(gallery)
        return read_notes(prefix)

    monkeypatch.setattr(gallery, "read_notes", overtaken)
    found = read_adaptation(gallery)
    assert found.version == adaptation_version(gallery) != first
    monkeypatch.setattr(gallery, "read_notes", overtaken)
    assert read_adaptation(gallery) is None
    assert not gallery.read_notes(PART_NOTE)


def test_an_older_adaptation_stays_in_force_until_the_new_one_is_whole(gallery, monkeypatch):
    adapt_gallery(gallery)
    before = adaptation_version(gallery)
    more = rows(seed=4)[0]
    gallery.upsert(replace(more, picture=np.array([f"{p}.later" for p in more.picture], object)))
    write_notes = gallery.write_notes

    def breaks_off(notes) -> None:
        write_notes(dict(list(notes.items())[:1]))
        raise GalleryError("the disk is full")

    monkeypatch.setattr(gallery, "write_notes", breaks_off)
    with pytest.raises(GalleryError, match="the disk is full"):
        adapt_gallery(gallery)
    assert read_adaptation(gallery).version == before
    monkeypatch.undo()
    adapt_gallery(gallery)
    versions = {name.split(":")[1] for name in gallery.read_notes(PART_NOTE)}
    assert versions == {adaptation_version(gallery)}


def test_adapt_with_confirmed_hits(tmp_path, capsys):
    uri, hits = str(tmp_path / "gallery"), tmp_path / "alice.json"
    gallery = open_gallery(uri, model(dim=DIM))
    gallery.upsert(rows()[0])
    hit = {"frame": 0, "number": 0}
    found = [{"picture": f"/p/{i}.jpg", **hit} for i in range(6)]
    hits.write_text(json.dumps({"searches": [{"label": "person 1", "hits": found}]}))
    assert main(["adapt", uri, "--confirmed", str(hits)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "6 confirmed rows of 1 persons were taken" and said[1].startswith("version ")
    assert main(["adapt", uri, "--undo", "--confirmed", str(hits)]) == 1
    assert "--undo fits nothing" in capsys.readouterr().err
    hits.write_text("{}")
    assert main(["adapt", uri, "--confirmed", str(hits)]) == 1
    assert "alice.json is not what search --json prints" in capsys.readouterr().err


def test_the_commands_say_what_they_did(tmp_path, capsys):
    uri = str(tmp_path / "gallery")
    gallery = open_gallery(uri, model(dim=DIM))
    gallery.upsert(rows()[0])
    gallery.close()
    assert main(["adapt", uri]) == 0
    said = capsys.readouterr().out
    assert said.startswith("version ") and "no labels (240 rows, 2 cameras" in said
    assert main(["info", "--gallery", uri]) == 0
    assert f"adaptation       {said.strip()}" in capsys.readouterr().out
    assert main(["adapt", uri, "--undo"]) == 0 and main(["adapt", uri, "--undo"]) == 0
    assert "as its model made it\nthe gallery was not adapted" in capsys.readouterr().out


def with_adaptation(gallery, **changes) -> GalleryIndex:
    """The gallery with an adaptation of other arrays, under the right checksum."""
    arrays = adapt_gallery(gallery).arrays() | changes
    file = io.BytesIO()
    np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    data = file.getvalue()
    version = hashlib.sha256(data).hexdigest()[:8]
    about = {"format": FORMAT, "version": version, "parts": 1, "rows": 240}
    part = {f"{PART_NOTE}{version}:000000": b64encode(data).decode()}
    gallery.write_notes({NOTE: json.dumps(about), **part})
    return gallery


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"means": np.zeros(DIM)}, "means must be finite numbers of shape"),
        ({"means": np.zeros((2, DIM))}, r"means must be finite numbers of shape \(3, 16\)"),
        ({"transform": np.full((DIM, DIM), np.nan)}, "transform must be finite numbers"),
        ({"transform": np.eye(3)}, r"transform must be finite numbers of shape \(16, 16\)"),
        ({"cameras": np.array(0)}, "cameras must be names or numbers"),
        ({"rows": np.array("many")}, "rows must be one number"),
        ({"strength": np.array(np.inf)}, "strength must be one number"),
        ({"pairs": None}, "pairs"),
    ],
)
def test_an_adaptation_of_a_stranger_is_checked(changes, message):
    gallery = open_gallery("memory:", model(dim=DIM))
    gallery.upsert(rows()[0])
    with pytest.raises(GalleryError, match=message):
        read_adaptation(with_adaptation(gallery, **changes))
    assert read_adaptation(with_adaptation(gallery)).found.rows == 240
