"""Reading an input of any format, with options of a user."""

import pytest

from person_search.importing import FORMATS, Options, Reading


@pytest.fixture
def read():
    """``read(format, path, **options)`` -> frames, and the reading with its faults and counts."""

    def call(source, path, **options):
        reading = Reading(Options(**options), FORMATS[source].are_tracks)
        frames = FORMATS[source].read(path, reading)
        reading.finish()
        return frames, reading

    return call


@pytest.fixture
def messages():
    """What the faults of a reading say, each as (what of the file, message)."""
    return lambda reading: [(f.place.what, f.message) for f in reading.faults]
