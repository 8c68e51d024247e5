"""Whether a weights file fits a model: all its tensors, and its conventions."""

import logging
from collections import Counter
from collections.abc import Iterable

from torch import nn

from person_search.errors import WeightsError, printable_name

from .conventions import conventions_of, differing
from .recognized import Recognized

logger = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"  # of batch norms; plays no part, and old files lack it


def refuse_misfit(file: Recognized, model: nn.Module, optional: tuple[str, ...]) -> None:
    """Refuse a file that is not this model's, and say what of it is left out.

    Args:
        file: what is to be loaded.
        model: what it is to be loaded into.
        optional: beginnings of keys that the model can do without.

    Raises:
        WeightsError: a whole model that is not this one, or other conventions.
    """
    here = conventions_of(model)
    otherwise = differing(file.conventions, here)
    fits = f" What fits it: {file.fits}" * bool(file.fits)
    said = f"the weights file is {file.kind or 'a checkpoint'}"
    if otherwise:
        trained = ", ".join(f"{key} {value}" for key, value in otherwise.items())
        built = ", ".join(str(here[key]) for key in otherwise)
        said += f", trained with {trained} (this model: {built})"
    if not file.state:
        raise WeightsError(f"{said}. It cannot be loaded: {file.fits}")
    if file.whole:
        _refuse_another_model(file, model, optional, said, fits)
    if otherwise:
        raise WeightsError(
            f"{said}. train_net.py, the gallery and tools/convert_weights.py set these keys by "
            f"themselves; elsewhere, call adopt_conventions before the model is built.{fits}"
        )
    if file.kind:
        logger.info("weights: the file is %s, converted in memory", file.kind)
    if file.left_out:
        logger.info("weights: of the file, left out: %s", ", ".join(_modules(file.left_out)))


def _refuse_another_model(
    file: Recognized, model: nn.Module, optional: tuple[str, ...], said: str, fits: str
) -> None:
    state = model.state_dict()
    needed = [
        key
        for key in state
        if not key.startswith((*optional, *file.fresh)) and not key.endswith(COUNTER)
    ]
    shapes = [k for k, v in file.state.items() if k in state and state[k].shape != v.shape]
    for keys, what in (
        (
            [k for k in file.state if k not in state and not k.endswith(COUNTER)],
            "it has {}, for which here is no place",
        ),
        ([k for k in needed if k not in file.state], "it lacks {}"),
        (shapes, "it has other shapes of {}"),
    ):
        if keys:
            raise WeightsError(
                f"{said}. It is not of this model: {what.format(_some(keys))}.{fits}"
            )


def _modules(keys: Iterable[str]) -> list[str]:
    """The modules of keys, each once, with the number of its tensors."""
    modules = Counter(".".join(key.split(".")[:3]) for key in keys)
    return [printable_name(f"{name} ({number})") for name, number in modules.items()]


def _some(keys: Iterable[str]) -> str:
    names = _modules(keys)
    return ", ".join(names[:8]) + f" and {len(names) - 8} more" * (len(names) > 8)
