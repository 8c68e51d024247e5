"""The drawn data set: its files, its counts, its pictures, and what happens when writing fails."""

import errno
import json
import runpy
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from person_search.errors import DatasetError
from person_search.street import STREET_SIZES, draw_street, frames, layouts, street
from person_search.street.appearance import Appearance, sample_appearances
from person_search.street.figures import Pose, draw_figure
from person_search.street.schedule import (
    FramePlan,
    appearance_counts,
    identities,
    plan_frames,
)
from person_search.street.style import COLORS, DAY

TINY, SMALL = STREET_SIZES["tiny"], STREET_SIZES["small"]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def tiny(root) -> Path:
    return draw_street(root, "tiny")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# Determinism --------------------------------------------------------------------------------


def test_same_seed_gives_the_same_files_with_any_number_of_workers(tiny, tmp_path):
    again = contents(draw_street(tmp_path, "tiny", workers=2))
    assert again == contents(tiny)


def test_another_seed_gives_another_world(tiny, tmp_path):
    other = contents(draw_street(tmp_path, "tiny", seed=1))
    mine = contents(tiny)
    pictures = [name for name in mine if name.startswith("PRW/frames/")]
    assert len(pictures) == 48
    assert all(other[name] != mine[name] for name in pictures)


def test_a_frame_does_not_depend_on_frames_drawn_before():
    plans = plan_frames(TINY, 5, "test", DAY)
    alone = frames.draw_frame(TINY, 5, "test", 7, plans[7], DAY)
    frames.draw_frame(TINY, 5, "train", 3, plans[3], DAY)
    after = frames.draw_frame(TINY, 5, "test", 7, plans[7], DAY)
    np.testing.assert_array_equal(alone.image, after.image)


# Who appears where --------------------------------------------------------------------------


def test_appearances_are_long_tailed_like_prw():
    # PRW train: 483 ids, 14,907 boxes, median 23, max 465, top tenth of the ids holds 33 %.
    counts = appearance_counts(483, 14907, "train")
    assert abs(counts.sum() - 14907) < 0.01 * 14907
    assert counts.min() >= 1 and np.count_nonzero(counts < 4) in range(3, 30)
    assert 18 <= np.median(counts) <= 25
    assert 230 <= counts.max() <= 500
    assert 0.28 <= np.sort(counts)[::-1][:48].sum() / counts.sum() <= 0.4


@pytest.mark.parametrize("split", ["train", "test"])
def test_plans_keep_their_promises(split):
    plans = plan_frames(SMALL, 0, split, DAY)
    part = ("train", "test").index(split)
    assert len(plans) == SMALL.frames[part]
    assert len({plan.name for plan in plans}) == len(plans)
    seen = defaultdict(list)
    for plan in plans:
        assert len(set(plan.people)) == len(plan.people)
        assert len(plan.people) + plan.passers_by >= 1
        for raw_id in plan.people:
            seen[raw_id].append(plan.camera)
    first = 1 + part * SMALL.identities[0]
    assert sorted(seen) == list(range(first, first + SMALL.identities[part]))
    people = sum(len(plan.people) for plan in plans)
    strangers = sum(plan.passers_by for plan in plans)
    assert 3.6 <= (people + strangers) / len(plans) <= 4.4
    assert 0.15 <= strangers / (people + strangers) <= 0.21
    if split == "test":
        assert all(len(cameras) >= 4 and len(set(cameras)) >= 2 for cameras in seen.values())


def test_half_of_the_people_have_look_alikes_that_differ_in_fine_cues_only():
    people = sample_appearances(np.random.default_rng(3), 200)
    groups = defaultdict(list)
    for person in people:
        if person.group is not None:
            groups[person.group].append(person)
    assert 90 <= sum(map(len, groups.values())) <= 110
    for members in groups.values():
        assert 2 <= len(members) <= 4
        assert len({member.coarse for member in members}) == 1
        for k, one in enumerate(members):
            for other in members[:k]:
                differ = [a != b for a, b in zip(one.fine.cues, other.fine.cues, strict=True)]
                assert sum(differ) >= 2 and any(differ[:2])
    singles = {person.coarse for person in people if person.group is None}
    assert len(singles) == sum(person.group is None for person in people)
    assert not singles & {members[0].coarse for members in groups.values()}


def test_look_alikes_are_in_the_same_split():
    splits = defaultdict(set)
    for raw_id, person in identities(SMALL, 0).items():
        if person.group is not None:
            splits[person.group].add(raw_id <= SMALL.identities[0])
    assert len(splits) > 15
    assert all(len(parts) == 1 for parts in splits.values())
    sizes = Counter(person.group for person in identities(SMALL, 0).values())
    assert all(2 <= size <= 4 for group, size in sizes.items() if group is not None)


# Pictures -----------------------------------------------------------------------------------


def person_with(**fine) -> Appearance:
    people = sample_appearances(np.random.default_rng(11), 400)
    person = next(
        p
        for p in people
        if p.coarse.top == "white" and p.coarse.bag_kind == "none" and p.coarse.bottom == "denim"
    )
    base = {"pattern": "plain", "logo": "none", "pattern_color": "none", "logo_color": "none"}
    return replace(person, fine=replace(person.fine, **{**base, "shoes": "black", **fine}))


@pytest.mark.parametrize("yaw", np.arange(8) * np.pi / 4)
@pytest.mark.parametrize(
    "fine",
    [
        {"pattern": "horizontal", "pattern_width": 0.028, "pattern_color": "red"},
        {"pattern": "vertical", "pattern_width": 0.028, "pattern_color": "red"},
        {"logo": "star", "logo_color": "red"},
        {"shoes": "red"},
    ],
)
def test_fine_cues_show_from_every_side_at_100_pixels(fine, yaw):
    pose = Pose(yaw, 0.7, 0.8)
    plain = draw_figure(person_with(), pose, 100).patch
    marked = draw_figure(person_with(**fine), pose, 100).patch
    assert plain.shape == marked.shape
    changed = np.abs(plain.astype(int) - marked).max(axis=2) > 60
    assert changed.sum() >= 15


def test_every_appearance_can_be_drawn_in_every_pose():
    rng = np.random.default_rng(0)
    for person in sample_appearances(rng, 150):
        pose = Pose(rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0, 1))
        figure = draw_figure(person, pose, 80)
        solid = figure.patch[..., 3] > 127
        assert solid[0].any() and solid[-1].any() and solid[:, 0].any() and solid[:, -1].any()
        assert (figure.patch[..., :3] <= figure.patch[..., 3:]).all()
        # Hats and raised feet change the outline, but not by more than a tenth.
        assert abs(figure.patch.shape[0] / (80 * person.coarse.height) - 1) < 0.12


def test_every_color_of_an_appearance_has_a_value():
    for person in sample_appearances(np.random.default_rng(0), 300):
        coarse, fine = person.coarse, person.fine
        names = (coarse.top, coarse.bottom, coarse.skin, fine.shoes, fine.accent)
        maybe = (coarse.hair, coarse.hat, coarse.bag, fine.pattern_color, fine.logo_color)
        assert set(names) | (set(maybe) - {"none"}) <= set(COLORS)


@pytest.mark.parametrize("camera", range(1, 7))
def test_boxes_are_tight_around_the_drawn_pixels(camera):
    still = replace(
        DAY, noise=0.0, light=0.0, person_light=0.0, shadow=0.0, blur=(0.01, 0.01), passers_by=0.0
    )
    empty = frames.draw_frame(SMALL, 0, "test", 0, FramePlan("", camera, (), 0), still)
    assert empty.boxes.shape == (0, 4)
    checked = 0
    for index in range(12):
        plan = FramePlan("", camera, (1 + index,), 0)
        frame = frames.draw_frame(SMALL, 0, "test", index, plan, still)
        if frame.hidden[0] > 0:
            continue
        changed = (frame.image != empty.image).any(axis=2)
        x, y, w, h = cv2.boundingRect(changed.view(np.uint8))
        # Half-transparent pixels of the outline lie just outside.
        np.testing.assert_allclose([x, y, x + w, y + h], frame.boxes[0], atol=2)
        checked += 1
    assert checked >= 3


def test_boxes_stay_near_the_frame_and_hidden_people_lose_their_identity():
    for split in ("train", "test"):
        for index, plan in enumerate(plan_frames(SMALL, 0, split, DAY)[:60]):
            frame = frames.draw_frame(SMALL, 0, split, index, plan, DAY)
            assert frame.image.shape == (384, 512, 3) and frame.image.dtype == np.uint8
            assert len(frame.ids) == len(plan.people) + plan.passers_by
            assert (frame.boxes >= -3).all()
            assert (frame.boxes <= (515, 387, 515, 387)).all()
            sides = frame.boxes[:, 2:] - frame.boxes[:, :2]
            assert (sides > 5).all() and (sides[:, 1] < 340).all()
            assert ((frame.hidden >= 0) & (frame.hidden <= 1)).all()
            assert (frame.ids[frame.hidden > 0.6] == -2).all()


@pytest.mark.slow
def test_a_color_histogram_does_not_solve_it():
    features, ids, where = [], [], []
    for index, plan in enumerate(plan_frames(SMALL, 0, "test", DAY)):
        frame = frames.draw_frame(SMALL, 0, "test", index, plan, DAY)
        for raw_id, box in zip(frame.ids, frame.boxes.astype(int), strict=True):
            x1, y1, x2, y2 = np.maximum(box, 0)
            hsv = cv2.cvtColor(frame.image[y1:y2, x1:x2], cv2.COLOR_BGR2HSV)
            bins = [
                cv2.calcHist([part], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
                / part[..., 0].size
                for part in np.array_split(hsv, 6)
            ]
            features.append(np.concatenate(bins) / np.linalg.norm(bins))
            ids.append(raw_id)
            where.append(index)
    ids, where = np.array(ids), np.array(where)
    similarity = np.array(features) @ np.array(features).T
    precision = []
    for raw_id in np.unique(ids[ids >= 0]):
        query = np.flatnonzero(ids == raw_id)[0]
        others = where != where[query]
        hits = (ids[others] == raw_id)[np.argsort(-similarity[query][others], kind="stable")]
        precision.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
    assert 0.15 < np.mean(precision) < 0.45


# Writing ------------------------------------------------------------------------------------


def test_identities_file_tells_looks_and_groups(tiny):
    stamp = json.loads((tiny / "identities.json").read_text())
    assert (stamp["size"], stamp["seed"], stamp["layouts"]) == ("tiny", 0, ["cuhk", "prw"])
    people = identities(TINY, 0)
    assert len(stamp["identities"]) == len(people) == 14
    for raw_id, person in people.items():
        told = stamp["identities"][str(raw_id)]
        assert told["split"] == ("train" if raw_id <= 8 else "test")
        assert told["group"] == person.group
        assert told["coarse"]["top"] == person.coarse.top
        assert told["fine"]["shoes"] == person.fine.shoes


def test_second_call_draws_nothing(root, tiny, monkeypatch):
    monkeypatch.setattr(street, "draw_frame", None)
    assert draw_street(root, "tiny") == tiny
    assert draw_street(root, "tiny", layouts=("cuhk",)) == tiny


def test_a_set_of_another_seed_is_not_taken_for_this_one(root, tiny):
    with pytest.raises(DatasetError, match="seed 0.*not version.*seed 1"):
        draw_street(root, "tiny", seed=1)


def test_an_unfinished_folder_is_not_taken_for_a_set(tmp_path):
    (tmp_path / "street" / "tiny").mkdir(parents=True)
    with pytest.raises(DatasetError, match="identities.json is missing"):
        draw_street(tmp_path, "tiny")


@pytest.mark.parametrize("module, name", [(street, "draw_frame"), (layouts, "savemat")])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, module, name):
    real, calls = getattr(module, name), []

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, full)
    with pytest.raises(DatasetError, match=r"tiny: .*No space left.* MB of free space"):
        draw_street(tmp_path, "tiny")
    assert list((tmp_path / "street").iterdir()) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(street, "draw_frame", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_street(tmp_path, "tiny")
    assert list((tmp_path / "street").iterdir()) == []


def test_two_processes_that_draw_the_same_set_agree(tmp_path, monkeypatch):
    real = street.write_prw

    def other_process_finishes_first(*args):
        monkeypatch.setattr(street, "write_prw", real)
        draw_street(tmp_path, "tiny")
        real(*args)

    monkeypatch.setattr(street, "write_prw", other_process_finishes_first)
    target = draw_street(tmp_path, "tiny")
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


def test_pictures_are_copied_where_there_are_no_hard_links(tiny, tmp_path, monkeypatch):
    def no_links(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(street.os, "link", no_links)
    assert contents(draw_street(tmp_path, "tiny")) == contents(tiny)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="tiny, small, large"):
        draw_street(tmp_path, "huge")
    with pytest.raises(DatasetError, match="prw, cuhk"):
        draw_street(tmp_path, "tiny", layouts=("coco",))


def test_command_line(tiny, root, monkeypatch, capsys):
    script = REPOSITORY / "datasets" / "prepare_street.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--size", "tiny", "--root", str(root)])
    runpy.run_path(str(script), run_name="__main__")
    out = capsys.readouterr().out
    assert str(tiny) in out and "24 training and 24 test frames of 320x240" in out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "9"])
    with pytest.raises(SystemExit, match="choose another root"):
        runpy.run_path(str(script), run_name="__main__")
