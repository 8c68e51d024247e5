"""Batches: resumable, of one group, shared out over the ranks without loss."""

from collections import Counter
from itertools import islice

import pytest
from detectron2.utils import comm
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.data.samplers import InferenceBatches, TrainingBatches, size_groups

WIDE, TALL, SQUARE = (480, 640), (640, 480), (600, 600)


def training_batches(
    groups, batch_size: int, seed: int = 1, rank: int = 0, world_size: int = 1
) -> TrainingBatches:
    batches = TrainingBatches(groups, batch_size, seed)
    batches.rank, batches.world_size = rank, world_size
    return batches


def test_a_size_is_a_group_of_its_own_from_eight_batches_on():
    sizes = [WIDE] * 16 + [TALL] * 15 + [SQUARE]
    assert size_groups(sizes, batch_size=2) == [WIDE] * 16 + ["tall"] * 15 + ["wide"]
    # 32 frames would be needed with batches of 4.
    assert size_groups(sizes, batch_size=4) == ["wide"] * 16 + ["tall"] * 15 + ["wide"]


def test_an_epoch_of_one_group_holds_every_frame_once_in_a_new_order():
    batches = islice(training_batches("a" * 12, batch_size=4), 6)
    stream = [pair for batch in batches for pair in batch]
    assert [position for position, _ in stream] == list(range(24))
    first, second = [i for _, i in stream[:12]], [i for _, i in stream[12:]]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=20),
    batch_size=st.integers(1, 5),
    seed=st.integers(0, 5),
    start=st.integers(0, 12),
    world_size=st.integers(1, 3),
)
def test_batch_n_is_the_same_after_a_resume_and_never_mixes_groups(
    groups, batch_size, seed, start, world_size
):
    for rank in range(world_size):
        args = groups, batch_size, seed, rank, world_size
        whole = list(islice(training_batches(*args), start + 5))
        resumed = training_batches(*args)
        resumed.start = start
        assert list(islice(resumed, 5)) == whole[start:]
        assert list(islice(resumed, 5)) == whole[start:]  # iterating uses nothing up
        for batch in whole:
            assert len(batch) == batch_size
            assert len({groups[index] for _, index in batch}) == 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_ranks_together_see_every_frame_once_per_epoch(world_size):
    """Frames wait for their batch, but none of the stream is lost or given to two ranks."""
    groups = "a" * 7 + "b" * 5 + "c"
    frame_of_position = {}
    for rank in range(world_size):
        batches = training_batches(groups, 2, rank=rank, world_size=world_size)
        for batch in islice(batches, 120 // world_size):
            for position, index in batch:
                assert position % world_size == rank
                assert position not in frame_of_position
                frame_of_position[position] = index
    for epoch in range(10):  # of about 18: those that no unfinished batch can hold back any more
        positions = range(epoch * 13, (epoch + 1) * 13)
        assert sorted(frame_of_position[p] for p in positions) == list(range(13))


def test_the_stream_depends_on_the_seed():
    def stream(seed):
        return list(islice(training_batches("a" * 50, 5, seed=seed), 4))

    assert stream(1) == stream(1)
    assert stream(1) != stream(2)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_inference_takes_every_frame_once_and_one_size_per_batch(monkeypatch, world_size):
    sizes = [WIDE, TALL, WIDE, SQUARE, WIDE, WIDE, TALL, WIDE] * 3
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
    seen = Counter()
    for rank in range(world_size):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        batches = InferenceBatches(sizes, batch_size=4)
        assert len(list(batches)) == len(batches)
        for batch in batches:
            assert 1 <= len(batch) <= 4
            assert len({sizes[index] for index in batch}) == 1
            seen.update(batch)
    assert seen == Counter(range(len(sizes)))


def test_more_ranks_than_frames_leave_some_ranks_without_work(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr(comm, "get_rank", lambda: 2)
    assert list(InferenceBatches([WIDE, WIDE], batch_size=1)) == []


def test_ranks_and_world_size_come_from_detectron2(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    first = next(iter(TrainingBatches("a" * 8, batch_size=2, seed=0)))
    assert [position for position, _ in first] == [1, 3]
