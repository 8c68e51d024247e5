"""What a weights file is: one of ours, or which public one."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from person_search.errors import WeightsError

from ..weights_file import WeightsFile
from . import detectors, others, seqnet, trunks
from .recognized import CONVENTIONS, Recognized


def recognize(file: WeightsFile) -> Recognized:
    """The file under our names, with the conventions that belong to its weights.

    Raises:
        WeightsError: the file holds several trunks, or brings conventions that are none.
    """
    found = _recognize(file)
    return dataclasses.replace(found, conventions={**found.conventions, **_written(file)})


def _recognize(file: WeightsFile) -> Recognized:
    state = file.state
    if state and all(key.startswith("module.") for key in state):  # of DistributedDataParallel
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    ours = Recognized(kind="", state=state, whole=False)
    if any(".reid.head." in f".{key}" for key in state):
        return ours
    return (
        others.recognize(state)
        or seqnet.recognize(state)
        or detectors.recognize(state)
        or trunks.recognize(state, file.around)
        or ours
    )


def _written(file: WeightsFile) -> Mapping[str, Any]:
    """The conventions that a checkpoint of ours holds since it was started from public weights."""
    written = file.around.get("conventions", {})
    if isinstance(written, Mapping) and all(
        key in CONVENTIONS and isinstance(value, str | bool | int | float | list | tuple)
        for key, value in written.items()
    ):
        return written
    raise WeightsError(
        f"the weights file brings conventions that are none: {str(written)[:200]}. Legal keys: "
        f"{', '.join(CONVENTIONS)}"
    )
