"""Losses log scalars, as everywhere in detectron2; here is the storage that they log to."""

from collections.abc import Iterator

import pytest
from detectron2.utils.events import EventStorage


@pytest.fixture(autouse=True)
def event_storage() -> Iterator[EventStorage]:
    with EventStorage() as storage:
        yield storage
