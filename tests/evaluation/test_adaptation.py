"""Adaptation to cameras: by hand, its invariants, galleries too small for it, and real crops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.evaluation.adaptation import (
    ENOUGH,
    Adaptation,
    fit_adaptation,
    shrunk_covariance,
)


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def gallery(seed: int, n_persons: int = 40, per_camera: int = 3, dim: int = 16):
    """(embeddings, cameras, pictures, persons): each camera adds a vector of its own.

    How one person's looks change lies in the first four of ``dim`` directions.
    """
    rng = np.random.default_rng(seed)
    persons = np.repeat(np.arange(n_persons), 2 * per_camera)
    cameras = np.tile(np.repeat([0, 1], per_camera), n_persons)
    change = rng.standard_normal((len(persons), dim)) * np.where(np.arange(dim) < 4, 0.9, 0.2)
    embeds = rng.standard_normal((n_persons, dim))[persons] + change
    embeds += 1.5 * rng.standard_normal((2, dim))[cameras]
    return unit(embeds), cameras, np.arange(len(persons)), persons


def right_first(embeds: np.ndarray, cameras: np.ndarray, persons: np.ndarray) -> float:
    """Share of rows whose nearest row of the other camera shows their person."""
    similarity = np.where(cameras[:, None] == cameras, -np.inf, embeds @ embeds.T)
    return float((persons[similarity.argmax(axis=1)] == persons).mean())


# ------------------------------------------------------------------------------------- by hand


def test_two_differences_by_hand():
    """S = diag(2.5, 0): noise 1.5 * 2.25 against 0.875 of signal."""
    covariance, share = shrunk_covariance(np.array([[2.0, 0], [1, 0]]), np.array([0, 1]))
    assert share == pytest.approx(3.375 / 4.25)
    rest = 0.875 / 4.25
    expected = np.diag([1.25 + rest * 1.25, 1.25 - rest * 1.25])
    np.testing.assert_allclose(covariance, expected)


def test_pairs_of_one_group_say_nothing():
    differences = np.array([[2.0, 0], [1, 0], [0, 1]])
    covariance, share = shrunk_covariance(differences, np.zeros(3, int))
    assert share == 1
    np.testing.assert_allclose(covariance, np.eye(2))  # the mean of 4, 1 and 1, half of it each


def test_repeated_pairs_of_a_group_are_no_more_evidence():
    """Ten copies of every difference, in the groups of the originals."""
    rng = np.random.default_rng(0)
    differences, group = rng.standard_normal((30, 4)) * [3, 1, 1, 1], np.arange(30)
    once = shrunk_covariance(differences, group)
    ten = shrunk_covariance(np.repeat(differences, 10, axis=0), np.repeat(group, 10))
    np.testing.assert_allclose(ten[0], once[0])
    assert ten[1] == pytest.approx(once[1])
    apart = shrunk_covariance(np.repeat(differences, 10, axis=0), np.arange(300))
    assert apart[1] < once[1] / 5


def test_many_pairs_are_believed_and_few_are_not():
    rng = np.random.default_rng(1)
    shares = []
    for number in (12, 120, 12_000):
        differences = rng.standard_normal((number, 8)) * [3, 1, 1, 1, 1, 1, 1, 1]
        covariance, share = shrunk_covariance(differences, np.arange(number))
        shares.append(share)
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.01
    np.testing.assert_allclose(np.diag(covariance), [9, *[1] * 7], rtol=0.1)


def test_means_of_cameras_borrow_from_the_gallery():
    """150 rows along x and 50 along y: the gallery's mean is (.75, .25)."""
    embeds = np.repeat([[1.0, 0], [0, 1]], [150, 50], axis=0)
    known = np.arange(200).reshape(100, 2)  # a hundred groups within cameras: 1 - (20 / 20)^2
    cameras = np.repeat(["a", "b"], [150, 50])
    assert not fit_adaptation(embeds, cameras, np.zeros(200), known_pairs=known).changes
    known = np.vstack([known, [0, 199]])  # one group of two joins cameras: 1 + 98 / 5 = 20.6
    found = fit_adaptation(embeds, cameras, np.zeros(200), known_pairs=known)
    assert found.strength == pytest.approx(1 - (20 / 20.6) ** 2)
    means = found.means / found.strength
    np.testing.assert_allclose(means, [[0.9375, 0.0625], [0.375, 0.625], [0.75, 0.25]])
    assert found.cameras.tolist() == ["a", "b"]


def test_an_unknown_camera_has_the_mean_of_the_gallery():
    identity = Adaptation(
        cameras=np.array(["a", "b"]),
        means=np.array([[0.6, 0], [0, 0.6], [0.5, 0.5]]),
        transform=np.eye(2),
        rows=9,
        pairs=12,
        groups=12,
        shrinkage=1.0,
        strength=1.0,
    )
    embeds = np.array([[1.0, 0]] * 4)
    found = identity.apply(embeds, np.array(["a", "b", "new", ""]))
    off_b, off_all = unit([[1, -0.6]])[0], unit([[0.5, -0.5]])[0]
    np.testing.assert_allclose(found, [[1, 0], off_b, off_all, off_all], atol=1e-6)


def test_it_finds_persons_across_cameras():
    embeds, cameras, pictures, persons = gallery(3)
    found = fit_adaptation(embeds, cameras, pictures)
    adapted = found.apply(embeds, cameras)
    assert right_first(adapted, cameras, persons) > right_first(embeds, cameras, persons) + 0.1
    # The four directions in which one person changes weigh less than the others.
    weights = np.diag(found.transform)
    assert weights[:4].max() < weights[4:].min()
    assert "no labels (240 rows, 2 cameras" in found.describe()


def test_known_pairs_are_pairs():
    embeds, cameras, pictures, persons = gallery(3)
    known = np.array([[i, j] for i in range(0, 240, 6) for j in (i + 3, i + 4)])
    alone, helped = (
        fit_adaptation(embeds, cameras, pictures, known_pairs=k) for k in (None, known)
    )
    assert helped.pairs > alone.pairs
    # With them, it does not matter that no row may be paired by its looks.
    one_picture = fit_adaptation(embeds, cameras, np.zeros(240), known_pairs=known)
    assert one_picture.pairs == len(known) and one_picture.changes


# ---------------------------------------------------------------------------------- who is a pair


def test_rows_of_one_picture_are_never_a_pair():
    embeds, cameras, _, _ = gallery(3)
    found = fit_adaptation(embeds, cameras, np.zeros(len(embeds)))
    assert found.pairs == 0 and not found.changes


def test_rows_of_one_stretch_of_a_film_are_no_pair():
    """Each person passes a camera within a second, and never comes back: two films, no pair."""
    embeds, _, _, persons = gallery(3)
    cameras = films = persons % 2
    seconds = 100.0 * persons + 0.2 * np.tile(np.arange(6), 40)
    pictures = fit_adaptation(embeds, cameras, np.arange(240))
    as_film = fit_adaptation(embeds, np.zeros(240), np.zeros(240), seconds)
    assert pictures.pairs > 60
    assert as_film.pairs < 5  # those whose nearest neighbor is another person, at another time
    assert fit_adaptation(embeds, cameras, films, seconds).pairs < pictures.pairs


# -------------------------------------------------------------------------------------- invariants


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_neither_axes_nor_order_matter(seed):
    embeds, cameras, pictures, _ = gallery(seed)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    order = rng.permutation(len(embeds))
    plain = fit_adaptation(embeds, cameras, pictures).apply(embeds, cameras)
    turned = fit_adaptation(embeds @ rotation, cameras, pictures)
    shuffled = fit_adaptation(embeds[order], cameras[order], pictures[order])
    expected = plain @ plain.T
    for found in (
        turned.apply(embeds @ rotation, cameras),
        shuffled.apply(embeds, cameras),
    ):
        np.testing.assert_allclose(found @ found.T, expected, atol=1e-4)


def test_directions_without_variance_stay_harmless():
    embeds, cameras, pictures, _ = gallery(5)
    wide = np.hstack([embeds, np.zeros((len(embeds), 16))])
    narrow_found = fit_adaptation(embeds, cameras, pictures)
    found = fit_adaptation(wide, cameras, pictures)
    adapted = found.apply(wide, cameras)
    assert np.isfinite(adapted).all() and not adapted[:, 16:].any()
    assert found.pairs == pytest.approx(narrow_found.pairs, rel=0.1)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 9])
@pytest.mark.parametrize("alike", [False, True])
def test_tiny_galleries_stay_as_they_are(n_rows, alike):
    embeds = unit(np.ones((n_rows, 4))) if alike else gallery(0, dim=4)[0][:n_rows]
    found = fit_adaptation(embeds, np.zeros(n_rows), np.arange(n_rows))
    assert not found.changes and found.groups <= ENOUGH
    np.testing.assert_array_equal(found.apply(embeds, np.zeros(n_rows)), np.float32(embeds))
    assert found.describe().startswith("nothing is changed")


def test_identical_rows_stay_as_they_are():
    embeds = np.tile(unit(np.ones((1, 4))), (300, 1))
    found = fit_adaptation(embeds, np.arange(300) % 3, np.arange(300))
    np.testing.assert_allclose(found.apply(embeds, np.arange(300) % 3), embeds, atol=1e-6)


def test_one_person_alone_is_found_as_before():
    """Persons who are far from the only one in the gallery must not become like that one."""
    rng = np.random.default_rng(0)
    person = unit(rng.standard_normal((1, 16)))
    embeds = unit(person + 0.01 * rng.standard_normal((6, 16)))
    found = fit_adaptation(embeds, np.zeros(6), np.arange(6))
    np.testing.assert_array_equal(found.apply(embeds, np.zeros(6)), np.float32(embeds))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    number=st.integers(1, 300),
    cameras=st.integers(1, 4),
    spread=st.floats(0, 0.5),
)
def test_one_person_alone_changes_nothing_in_one_camera(seed, number, cameras, spread):
    """However many rows: those of one stretch, or in one picture per row of little variety.

    In several cameras, what changes leaves every embedding finite and of unit length.
    """
    rng = np.random.default_rng(seed)
    embeds = unit(unit(rng.standard_normal((1, 8))) + spread * rng.standard_normal((number, 8)))
    camera = np.arange(number) % cameras
    passing = fit_adaptation(embeds, camera, camera, 5.0 * rng.random(number))
    if cameras == 1:
        np.testing.assert_array_equal(passing.apply(embeds, camera), np.float32(embeds))
    for found in (passing, fit_adaptation(embeds, camera, np.arange(number))):
        adapted = found.apply(embeds, camera)
        assert 0 <= found.strength < 1 and adapted.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(adapted, axis=1), 1, atol=1e-4)


def test_few_groups_in_one_camera_change_nothing():
    """Seventeen persons with six rows each, in one camera: fewer than a hundred groups."""
    embeds, _, pictures, _ = gallery(3, n_persons=17)
    found = fit_adaptation(embeds, np.zeros(102), pictures)
    assert 0 < found.groups <= 100 and not found.changes


def test_a_little_evidence_changes_little():
    embeds, cameras, pictures, _ = gallery(3, n_persons=100)
    changes, strengths = [], []
    for n_persons in (15, 25, 100):
        few = slice(0, 6 * n_persons)
        found = fit_adaptation(embeds[few], cameras[few], pictures[few])
        turned = (found.apply(embeds, cameras) * embeds).sum(axis=1)
        changes.append(1 - turned.mean())
        strengths.append(found.strength)
    assert changes == sorted(changes) and strengths == sorted(strengths)
    assert strengths[-1] > 0.8


def test_the_means_of_other_cameras():
    embeds, cameras, pictures, _ = gallery(3)
    found = fit_adaptation(embeds, cameras, pictures)
    moved = found.at_cameras(embeds[:120], cameras[:120] + 5)
    assert moved.cameras.tolist() == [5, 6]
    np.testing.assert_array_equal(moved.transform, found.transform)
    again = found.at_cameras(embeds, cameras)
    np.testing.assert_allclose(again.means, found.means, atol=1e-7)


def test_a_sample_of_the_rows_is_enough(monkeypatch):
    embeds, cameras, pictures, persons = gallery(3, n_persons=120)
    monkeypatch.setattr("person_search.evaluation.adaptation.MAX_PRODUCTS", 720 * 200)
    found = fit_adaptation(embeds, cameras, pictures)
    assert 20 < found.pairs < 400
    adapted = found.apply(embeds, cameras)
    assert right_first(adapted, cameras, persons) > right_first(embeds, cameras, persons) + 0.1


def test_what_is_saved_is_read(tmp_path):
    embeds, cameras, pictures, _ = gallery(3)
    found = fit_adaptation(embeds, np.array(["north", "south"])[cameras], pictures)
    np.savez(tmp_path / "adaptation.npz", **found.arrays())
    with np.load(tmp_path / "adaptation.npz") as arrays:
        again = Adaptation.from_arrays(arrays)
    assert again.describe() == found.describe()
    names = np.array(["north", "", "south"])
    np.testing.assert_array_equal(again.apply(embeds[:3], names), found.apply(embeds[:3], names))
