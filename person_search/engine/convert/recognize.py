"""What a weights file is: one of ours, or which public one."""

from ..weights_file import WeightsFile
from . import detectors, others, seqnet, trunks
from .public import PublicFile


def recognize(file: WeightsFile) -> PublicFile | None:
    """The public file, converted to our names; None for a file of ours, or of unknown names.

    Raises:
        WeightsError: the file holds several trunks.
    """
    state = file.state
    if state and all(key.startswith("module.") for key in state):  # of DistributedDataParallel
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    if any(".reid.head." in f".{key}" for key in state):
        return None
    return (
        others.recognize(state)
        or seqnet.recognize(state)
        or detectors.recognize(state)
        or trunks.recognize(state, file.around)
    )
