"""Who a person is, as exports write it: nobody becomes somebody, and no two become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from person_search.importing import Box, Frame, Options, Place, Reading, settle_persons
from person_search.importing.identities import Words, read_identity


@pytest.mark.parametrize(
    "value", [None, "", " ", -1, -1.0, "-1", "-1.0", " -1 ", -2, "-2", "-2.0", float("nan")]
)
def test_nobody(value):
    assert read_identity(value) is None


@pytest.mark.parametrize(
    "value, person",
    [(0, 0), (3, 3), (3.0, 3), ("3", "3"), ("003", "003"), (" anna ", "anna"), ("nan", "nan")],
)
def test_somebody(value, person):
    found = read_identity(value)
    assert found == person and type(found) is type(person)


@pytest.mark.parametrize("value", [True, False, 3.5, [3], {"a": 1}, float("inf"), 1e300])
def test_what_is_no_identity(value):
    with pytest.raises(ValueError, match="expected a whole number or a text"):
        read_identity(value)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_different_numbers_are_different_persons(one, other):
    assert (read_identity(float(one)) == read_identity(other)) == (one == other)


def frames_of(*persons):
    """A frame for each list of persons; they stand side by side."""
    return [
        Frame(
            f"{k}.png",
            (48, 640),
            tuple(
                Box((10.0 * n, 0.0, 9.0, 20.0), person, Place("x", f"{k}.{n}"))
                for n, person in enumerate(found)
            ),
            Place("x", str(k)),
        )
        for k, found in enumerate(persons)
    ]


def settle(frames, source="coco", somebody=(), spelling=None, twice=None):
    reading = Reading(Options(somebody=Words.of(somebody)), source == "mot")
    groups = {"a": frames}
    found = settle_persons(source, groups, reading, shared=None, spelling=spelling, twice=twice)
    return [[b.person_id for b in f.boxes] for f in found], reading


@pytest.mark.parametrize("one, other", [(3, "3"), ("003", 3), ("3.0", "3"), ("Anna", "anna")])
def test_two_spellings_are_asked_about(one, other):
    frames = frames_of([one], [other])
    _, reading = settle(frames)
    (fault,) = reading.faults
    assert fault.is_fatal and "--spelling loose" in fault.message
    assert repr(other) in fault.message and "x, 0.0" in fault.message
    ((first,), (second,)), reading = settle(frames, spelling="loose")
    assert first == second and reading.faults == []
    ids, reading = settle(frames, spelling="exact")
    assert ids == [[one], [other]] and reading.faults == []


def test_the_code_of_seqnet_is_asked_about():
    frames = frames_of([1, 5555], [1, 5555])
    _, reading = settle(frames)
    assert reading.faults[0].is_fatal and "--nobody 5555" in reading.faults[0].message
    _, reading = settle(frames, somebody=["5555"])
    assert reading.faults == []
    _, reading = settle(frames_of([5554, 5555], [5555, 5556]))  # of very many persons
    assert reading.faults == []


def test_persons_who_were_numbered_on_are_asked_about():
    """As GFN numbers persons without a name: 1 and 2 are known, each of 3..14 has one box."""
    frames = frames_of([1, *range(3, 9)], [1, 2, *range(9, 15)], [2])
    _, reading = settle(frames)
    (fault,) = reading.faults
    assert fault.is_fatal and "the 12 persons from 3 on have one box each" in fault.message
    assert "--nobody 3+" in fault.message
    _, reading = settle(frames, somebody=["3+"])
    assert reading.faults == []
    _, reading = settle(frames, source="mot")  # tracks may be of one box
    assert reading.faults == []


def test_a_person_who_is_twice_in_a_frame():
    frames = frames_of([1, 1, 2], [2])
    ids, reading = settle(frames)
    (fault,) = reading.faults
    assert ids == [[None, None, 2], [2]] and not fault.is_fatal
    assert "person 1 stands in 0.png twice, also at x, 0.0" in fault.message
    ids, reading = settle(frames, twice="keep")
    assert ids == [[1, 1, 2], [2]] and reading.faults == []
    assert reading.notes == ["1 boxes are of a person who stands in the same frame twice"]
    ids, reading = settle(frames, twice="nameless")
    assert ids == [[None, None, 2], [2]] and reading.faults == []
    ids, _ = settle(frames, source="registered")  # as PRW has it
    assert ids == [[1, 1, 2], [2]]


def test_the_same_box_again_is_left_out():
    (frame,) = frames_of([1, 2])
    again = frame._replace(boxes=(*frame.boxes, frame.boxes[0]._replace(place=Place("x", "y"))))
    ids, reading = settle([again])
    assert ids == [[1, 2]] and reading.faults == []
    assert "1  the same box again (x, y)" in str(reading.tally)


def test_who_is_twice_in_many_frames_may_be_nobody():
    _, reading = settle(frames_of(*[["guest", "guest", 1]] * 4))
    (fault,) = reading.faults
    assert fault.is_fatal and "in 4 frames in all" in fault.message
    assert "--nobody guest" in fault.message


def test_somebody_has_to_be_known():
    _, reading = settle(frames_of([None]))
    (fault,) = reading.faults
    assert fault.is_fatal and "no box of any frame has a person_id" in fault.message


@pytest.mark.parametrize("word", ["unknown", "None", "nan", "null", "N/A"])
def test_words_that_may_be_nobody_are_asked_about(word):
    def boxes(**options):
        reading = Reading(Options(**options))
        box = reading.box(Place("x"), [1, 1, 9, 9], word)
        reading.finish()
        return box.person_id, [f.message for f in reading.faults if f.is_fatal]

    person, (message,) = boxes()
    assert person == word
    assert f"--nobody {word}" in message and f"--somebody {word}" in message
    assert boxes(nobody=Words.of([word])) == (None, [])
    assert boxes(somebody=Words.of([word])) == (word, [])


def test_nobodies_who_are_numbered_are_asked_about_together():
    def read(**options):
        reading = Reading(Options(**options))
        boxes = [reading.box(Place("x"), [1, 1, 9, 9], f"unknown_{k}") for k in range(3)]
        reading.finish()
        return [b.person_id for b in boxes], [f.message for f in reading.faults]

    _, (message,) = read()
    assert "3 boxes" in message and "--nobody 'unknown*'" in message
    assert read(nobody=Words.of(["unknown*"])) == ([None] * 3, [])
    assert read(somebody=Words.of(["unknown*"]))[1] == []


def test_numbers_from_one_on_may_be_nobody():
    words = Words.of(["5555+", "Guest"])
    assert [words.has(p) for p in (5554, 5555, 9999, "guest", "9999", "x")] == [
        False, True, True, True, False, False,
    ]  # fmt: skip
