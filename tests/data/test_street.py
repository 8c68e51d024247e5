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
from scipy.io import loadmat

from person_search.data.street import STREET_SIZES, draw_street, frames, layouts, street
from person_search.data.street.appearance import Appearance, sample_appearances
from person_search.data.street.figures import Pose, draw_figure
from person_search.data.street.layouts import Annotation, write_cuhk_sysu
from person_search.data.street.schedule import (
    FramePlan,
    appearance_counts,
    identities,
    plan_frames,
)
from person_search.data.street.style import COLOURS, DAY
from person_search.errors import DatasetError

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


def prw_rows(tiny: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((tiny / "PRW" / "annotations").glob("*.jpg.mat")):
        found[path.name.removesuffix(".jpg.mat")] = loadmat(path)["box_new"]
    return found


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
    base = {"pattern": "plain", "logo": "none", "pattern_colour": "none", "logo_colour": "none"}
    return replace(person, fine=replace(person.fine, **{**base, "shoes": "black", **fine}))


@pytest.mark.parametrize("yaw", np.arange(8) * np.pi / 4)
@pytest.mark.parametrize(
    "fine",
    [
        {"pattern": "horizontal", "pattern_width": 0.028, "pattern_colour": "red"},
        {"pattern": "vertical", "pattern_width": 0.028, "pattern_colour": "red"},
        {"logo": "star", "logo_colour": "red"},
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


def test_every_colour_of_an_appearance_has_a_value():
    for person in sample_appearances(np.random.default_rng(0), 300):
        coarse, fine = person.coarse, person.fine
        names = (coarse.top, coarse.bottom, coarse.skin, fine.shoes, fine.accent)
        maybe = (coarse.hair, coarse.hat, coarse.bag, fine.pattern_colour, fine.logo_colour)
        assert set(names) | (set(maybe) - {"none"}) <= set(COLOURS)


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
def test_a_colour_histogram_does_not_solve_it():
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


# PRW's layout -------------------------------------------------------------------------------


def test_prw_lists_and_annotations(tiny):
    prw = tiny / "PRW"
    train = loadmat(prw / "frame_train.mat")["img_index_train"]
    test = loadmat(prw / "frame_test.mat")["img_index_test"]
    assert train.shape == (24, 1) and test.shape == (24, 1)
    names = [[str(cell[0]) for cell in part[:, 0]] for part in (train, test)]
    assert not set(names[0]) & set(names[1])
    assert names[0][0] == "c1s1_000026"
    rows = prw_rows(tiny)
    assert set(rows) == set(names[0]) | set(names[1])
    ids = [{int(row[0]) for name in part for row in rows[name]} - {-2} for part in names]
    for part, variable in ((0, "ID_train"), (1, "ID_test2")):
        file = "ID_train.mat" if part == 0 else "ID_test.mat"
        listed = loadmat(prw / file)[variable]
        assert listed.dtype == np.float64
        assert listed.ravel().tolist() == sorted(ids[part])
    assert ids[0] <= set(range(1, 9)) and ids[1] == set(range(9, 15))
    for name, boxes in rows.items():
        assert boxes.dtype == np.float64 and boxes.shape[1] == 5 and len(boxes) >= 1
        picture = cv2.imread(str(prw / "frames" / f"{name}.jpg"))
        assert picture.shape == (240, 320, 3)


def test_prw_queries_are_test_boxes_of_people_seen_by_two_cameras(tiny):
    text = (tiny / "PRW" / "query_info.txt").read_bytes()
    lines = text.split(b"\r\n")
    assert lines.pop() == b"" and b"\n" not in b"".join(lines)
    assert len(lines) == 12
    rows = prw_rows(tiny)
    cameras = defaultdict(set)
    for name, boxes in rows.items():
        for raw_id in boxes[:, 0].astype(int):
            cameras[raw_id].add(name[:2])
    asked = []
    for line in lines:
        raw_id, x, y, w, h, name = line.decode().split(" ")
        assert [float(v) for v in (raw_id, x, y, w, h)] in rows[name].tolist()
        assert len(cameras[int(raw_id)]) >= 2
        asked.append((int(raw_id), name[:2]))
    assert len(set(asked)) == len(asked)
    assert {raw_id for raw_id, _ in asked} == set(range(9, 15))


# CUHK-SYSU's layout -------------------------------------------------------------------------


def cuhk_boxes(root: Path) -> dict[str, list[list[int]]]:
    images = loadmat(root / "annotation" / "Images.mat")["Img"]
    assert images.shape[0] == 1 and images.dtype.names == ("imname", "nAppear", "box")
    found = {}
    for name, count, boxes in images[0]:
        assert boxes.shape == (1, int(count[0, 0])) and boxes.dtype.names[0] == "idlocate"
        found[str(name[0])] = [box[0].astype(int)[0].tolist() for box in boxes[0]]
    return found


def test_cuhk_frames_are_the_same_pictures(tiny):
    cuhk = tiny / "CUHK-SYSU"
    names = [str(cell[0]) for cell in loadmat(cuhk / "annotation" / "pool.mat")["pool"][:, 0]]
    assert names == [f"s{k}.jpg" for k in range(25, 49)]
    boxes = cuhk_boxes(cuhk)
    assert list(boxes) == [f"s{k}.jpg" for k in range(1, 49)]
    first = loadmat(tiny / "PRW" / "frame_test.mat")["img_index_test"][0, 0][0]
    picture = (tiny / "PRW" / "frames" / f"{first}.jpg").read_bytes()
    assert (cuhk / "Image" / "SSM" / "s25.jpg").read_bytes() == picture
    for rows in boxes.values():
        for x, y, w, h in rows:
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 320 and y + h <= 240


def test_cuhk_box_types_hold_the_overflow_trap(tiny):
    images = loadmat(tiny / "CUHK-SYSU" / "annotation" / "Images.mat")["Img"]
    boxes = [box[0] for image in images[0] for box in image[2][0]]
    assert {box.shape for box in boxes} == {(1, 4)}
    for box in boxes:
        assert box.dtype == (np.uint8 if box.max() <= 255 else np.uint16)
    narrow = [box.astype(int)[0] for box in boxes if box.dtype == np.uint8]
    assert any(x + w > 255 for x, _, w, _ in narrow)


def test_cuhk_train_and_person(tiny):
    annotation = tiny / "CUHK-SYSU" / "annotation"
    boxes = cuhk_boxes(tiny / "CUHK-SYSU")
    train = loadmat(annotation / "test" / "train_test" / "Train.mat")["Train"]
    people = loadmat(annotation / "Person.mat")["Person"]
    assert people.dtype.names == ("idname", "nAppear", "scene")
    assert people.shape == (1, len(train) + 6)
    for k, cell in enumerate(train[:, 0]):
        person = cell[0, 0]
        assert str(person["idname"][0]) == str(people[0, k]["idname"][0])
        assert person["scene"].shape == (1, int(person["nAppear"][0, 0]))
        for scene in person["scene"][0]:
            name = str(scene["imname"][0])
            assert int(name[1:-4]) <= 24
            assert scene["idlocate"].astype(int)[0].tolist() in boxes[name]
            assert scene["ishard"].dtype == np.uint8


def check_protocol(entries: np.ndarray, boxes: dict, size: int | None = None) -> None:
    assert entries.shape[0] == 1 and entries.dtype.names == ("Query", "Gallery")
    for query, gallery in entries[0]:
        assert query.shape == (1, 1)
        assert query.dtype.names == ("imname", "idlocate", "ishard", "idname")
        assert gallery.dtype.names == ("imname", "idlocate", "ishard")
        names = [str(row["imname"][0]) for row in gallery[0]]
        assert len(set(names)) == len(names) and str(query[0, 0]["imname"][0]) not in names
        if size is not None:
            assert len(names) == size
        present = [row["idlocate"].size == 4 for row in gallery[0]]
        assert 1 <= sum(present) <= 25
        assert present == sorted(present, reverse=True)
        for name, row, there in zip(names, gallery[0], present, strict=True):
            if there:
                assert row["idlocate"].astype(int)[0].tolist() in boxes[name]
            else:
                assert row["idlocate"].shape == (1, 0) and row["idlocate"].dtype == np.float64
                assert row["ishard"].shape == (1, 0)


def test_cuhk_protocols_of_a_small_pool(tiny):
    folder = tiny / "CUHK-SYSU" / "annotation" / "test"
    assert sorted(p.name for p in (folder / "train_test").iterdir()) == ["TestG50.mat", "Train.mat"]
    boxes = cuhk_boxes(tiny / "CUHK-SYSU")
    entries = loadmat(folder / "train_test" / "TestG50.mat")["TestG50"]
    check_protocol(entries, boxes, size=23)
    asked = [str(query[0, 0]["idname"][0]) for query in entries[0]["Query"]]
    assert asked == [f"p{raw_id}" for raw_id in range(9, 15)]
    for file, variable in (("Occlusion.mat", "Occlusion1"), ("Resolution.mat", "Test_Size")):
        subset = loadmat(folder / "subset" / file)[variable]
        assert 1 <= subset.shape[1] < 6
        check_protocol(subset, boxes)


def test_cuhk_galleries_are_nested_and_never_hide_the_person(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for k in range(190):
        low = 0 if k < 20 else 100
        ids = rng.choice(np.arange(low, low + 12), 3, replace=False)
        corner = rng.integers(0, 300, (3, 2)).astype(float)
        boxes = np.concatenate((corner, corner + (40, 90)), axis=1)
        made.append(Annotation(f"c1s1_{k:06d}", 1, (640, 480), ids, boxes, np.zeros(3)))
    write_cuhk_sysu(tmp_path, made[:20], made[20:], seed=0)
    folder = tmp_path / "annotation" / "test" / "train_test"
    galleries = {}
    for size in (50, 100):
        entries = loadmat(folder / f"TestG{size}.mat")[f"TestG{size}"]
        check_protocol(entries, cuhk_boxes(tmp_path), size)
        galleries[size] = entries
    assert not (folder / "TestG500.mat").exists()
    for small, large in zip(galleries[50][0], galleries[100][0], strict=True):
        raw_id = int(small["Query"][0, 0]["idname"][0][1:])
        names = [str(row["imname"][0]) for row in large["Gallery"][0]]
        assert [str(row["imname"][0]) for row in small["Gallery"][0]] == names[:50]
        for name, row in zip(names, large["Gallery"][0], strict=True):
            there = raw_id in made[int(name[1:-4]) - 1].ids
            assert there == (row["idlocate"].size == 4)


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
