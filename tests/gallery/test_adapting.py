"""An adapted gallery: searched by adapted embeddings, undone without loss, never half adapted."""

from dataclasses import replace

import numpy as np
import pytest
from gallery_rows import model

from person_search.errors import CalibrationError, GalleryError
from person_search.evaluation import fit_adaptation
from person_search.gallery import Persons, open_gallery
from person_search.gallery.adapting import (
    NOTE,
    PART_NOTE,
    adapt_gallery,
    forget_adaptation,
    read_adaptation,
)
from person_search.gallery.calibration import Threshold
from person_search.gallery.cli import main
from person_search.gallery.queries import Query, QueryImage
from person_search.gallery.search import SearchOptions, search

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


def test_thresholds_of_plain_embeddings_are_refused(gallery):
    adapt_gallery(gallery)
    query = queries(rows()[0].embed[:1])
    calibrated = Threshold(0.5, 0.1, 240, "mine", 0.9, False)
    with pytest.raises(CalibrationError, match="is adapted .version .*adapt --undo"):
        search(gallery, query, SearchOptions(threshold=calibrated))
    assert search(gallery, query, SearchOptions(threshold=Threshold(0.5)))[0].in_gallery


def test_too_few_rows_leave_a_gallery_as_it_is():
    gallery = open_gallery("memory:", model(dim=DIM))
    assert not adapt_gallery(gallery).changes and read_adaptation(gallery) is None
    gallery.upsert(rows(n_persons=1)[0])
    assert not adapt_gallery(gallery).changes and read_adaptation(gallery) is None


@pytest.mark.parametrize(
    "notes, message",
    [
        ({NOTE: '{"format": 2}'}, "by a newer version of this program"),
        ({NOTE: "{}"}, "is damaged"),
        ({NOTE: "no json"}, "is damaged"),
        ({f"{PART_NOTE}000000": "AAAA"}, "is damaged"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_can_be_undone(gallery, notes, message):
    adapt_gallery(gallery)
    gallery.write_notes(notes)
    with pytest.raises(GalleryError, match=message):
        search(gallery, queries(rows()[0].embed[:1]))
    assert forget_adaptation(gallery)
    assert search(gallery, queries(rows()[0].embed[:1]))[0].hits


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
