"""Splits and queries: nobody is labeled on both sides, whatever the frames."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.errors import ConfigError, DatasetError
from person_search.importing import (
    Box,
    Frame,
    Place,
    choose_queries,
    split_as_given,
    split_by_identity,
    split_by_time,
)
from person_search.importing.split import count_labeled, persons_of


def frame(index: int, persons, camera=None, time=None, split=None, query=()) -> Frame:
    boxes = tuple(
        Box((10.0 * k, 0, 9, 20), p, Place("x", index), is_query=p in query)
        for k, p in enumerate(persons)
    )
    return Frame(f"{index}.png", (48, 640), boxes, Place("x", index), camera, time, split)


PERSONS = st.one_of(st.integers(0, 9), st.sampled_from("abc"), st.none())
SCENES = st.lists(
    st.tuples(
        st.lists(PERSONS, max_size=4, unique_by=lambda p: object() if p is None else p),
        st.sampled_from([None, 1, 2]),
    ),
    max_size=25,
)


def frames_of(scenes) -> list[Frame]:
    return [frame(i, people, camera, i) for i, (people, camera) in enumerate(scenes)]


def people(frames) -> set:
    return set().union(*map(persons_of, frames))


def check_sides(frames, sides):
    assert not people(sides.train) & people(sides.test)
    assert sorted(f.path for f in sides.train + sides.test) == sorted(f.path for f in frames)
    before = {f.path: f for f in frames}
    for side in sides:
        assert [f.path for f in side] == [
            f.path for f in frames if f.path in {g.path for g in side}
        ]
        for f in side:  # boxes stay; an identity is kept or lost
            pairs = list(zip(f.boxes, before[f.path].boxes, strict=True))
            assert all(a.xywh == b.xywh and a.person_id in (b.person_id, None) for a, b in pairs)


@settings(deadline=None, max_examples=60)
@given(SCENES, st.floats(0, 1), st.integers(0, 3))
def test_identity(scenes, share, seed):
    frames = frames_of(scenes)
    sides = split_by_identity(frames, share, seed)
    check_sides(frames, sides)
    assert sides == split_by_identity(frames, share, seed)
    number = len(people(frames))
    assert len(people(sides.test)) <= round(share * number)
    assert len(people(sides.train)) <= number - round(share * number)


@settings(deadline=None, max_examples=40)
@given(SCENES, st.floats(0, 1))
def test_time(scenes, share):
    frames = frames_of(scenes)
    sides = split_by_time(frames, share)
    check_sides(frames, sides)
    for camera in {f.camera for f in frames}:
        train, test = ([f.time for f in side if f.camera == camera] for side in sides)
        assert not train or not test or max(train) < min(test)
        assert len(test) == round(share * (len(train) + len(test)))


@settings(deadline=None, max_examples=60)
@given(SCENES, st.integers(1, 3), st.integers(0, 3))
def test_queries(scenes, number, seed):
    frames = frames_of(scenes)
    seen = Counter(person for f in frames for person in persons_of(f))
    searchable = {person for person, n in seen.items() if n > 1}
    if not searchable:
        with pytest.raises(DatasetError, match="nobody can be searched"):
            choose_queries(frames, number, seed)
        return
    found = choose_queries(frames, number, seed)
    assert found == choose_queries(frames, number, seed)
    asked = [(b.person_id, f.camera) for f in found for b in f.boxes if b.is_query]
    # Every query has a match: another frame that holds the person.
    assert {person for person, _ in asked} == searchable
    for (person, camera), n in Counter(asked).items():
        here = sum(person in persons_of(f) for f in frames if f.camera == camera)
        assert n == min(number, here)


def test_groups_who_are_seen_together_are_not_torn():
    groups = [[10 * g + k for k in range(4)] for g in range(5)]
    frames = [
        frame(8 * g + k, group[k % 3 : k % 3 + 2])
        for g, group in enumerate(groups)
        for k in range(8)
    ]
    for seed in range(10):
        sides = split_by_identity(frames, 0.4, seed)  # 8 of 20: two groups of four
        assert sum(map(count_labeled, sides)) == count_labeled(frames)
        assert len(people(sides.test)) == 8


def test_a_frame_goes_to_the_side_of_more_of_its_persons():
    # One group of four in a row: who is next to whom is walked from an end or the middle.
    frames = [frame(0, [1, 2]), frame(1, [2, 3]), frame(2, [3, 4]), frame(3, [1]), frame(4, [4])]
    sides = split_by_identity(frames, 0.5, 0)
    tests = people(sides.test)
    assert len(tests) == 2
    for f in frames:
        mine = persons_of(f)
        is_test = f.path in {g.path for g in sides.test}
        assert is_test == (2 * len(mine & tests) >= len(mine))


def test_all_or_nothing():
    frames = [frame(i, [1, 2], time=i) for i in range(4)]
    for split in (
        lambda share: split_by_identity(frames, share, 0),
        lambda s: split_by_time(frames, s),
    ):
        assert (len(split(0).train), len(split(1).test)) == (4, 4)
        for share in (-0.1, 1.1, float("nan")):
            with pytest.raises(ConfigError, match="legal: 0 to 1"):
                split(share)


def test_persons_of_both_times_are_trained_on():
    frames = [frame(0, ["a"], time=3), frame(1, ["a", "b"], time=9), frame(2, ["b"], time=10)]
    train, test = split_by_time(frames, 2 / 3)
    assert (people(train), people(test)) == ({"a"}, {"b"})
    with pytest.raises(DatasetError, match="1 frames have no time, the first is 7.png"):
        split_by_time([*frames, frame(7, [])], 0.5)


def test_as_given():
    frames = [
        frame(0, [1, 2], split="train"),
        frame(1, [1, 3], split="test", query=[3]),
        frame(2, [3], split="test"),
    ]
    train, test = split_as_given(frames)
    assert (people(train), people(test)) == ({1, 2}, {3})
    assert [b.is_query for f in test for b in f.boxes] == [False, True, False]
    with pytest.raises(DatasetError, match="1 frames do not say their split, the first at x, 7"):
        split_as_given([*frames, frame(7, [])])
    for person in (1, 4):  # who is trained on; who is in one frame
        wrong = frame(5, [person], split="test", query=[person])
        with pytest.raises(DatasetError, match=f"1 queries ask .* x, 5 for person {person}"):
            split_as_given([*frames, wrong])


def test_queries_of_crops_leave_somebody_in_the_gallery():
    crops = [frame(i, [7], camera=i) for i in range(3)] + [frame(3, [8])]
    crops = [f._replace(boxes=(f.boxes[0]._replace(xywh=None),)) for f in crops]
    found = choose_queries(crops, 1, 0)
    assert [b.is_query for f in found for b in f.boxes].count(True) == 2
    assert not found[3].boxes[0].is_query
