"""What a weights file gives to a model: said in the log, or refused with what to do."""

import logging
import re
from collections import Counter
from collections.abc import Iterable

from person_search.errors import WeightsError
from person_search.modeling.backbone.weights import StageFit

logger = logging.getLogger(__name__)


def refuse_other_backbone(fit: StageFit) -> None:
    """Raises WeightsError if the stages of a file are not those of the model."""
    if fit.misfit:
        key, shapes = next(iter(fit.misfit.items()))
        raise WeightsError(
            f"the weights file is of another backbone: {key} is {shapes} ({len(fit.misfit)} such "
            "keys). Set MODEL.BACKBONE.ARCHITECTURE and its size (MODEL.RESNETS.DEPTH, "
            "RES2_OUT_CHANNELS and STEM_OUT_CHANNELS, MODEL.SHUFFLENET, MODEL.CONVNEXT) to what "
            "the file was made with, or choose another MODEL.WEIGHTS"
        )
    if fit.doubled:
        raise WeightsError(
            f"the weights file holds stages of the backbone several times, such as "
            f"{fit.doubled[0]}: write the part that is wanted with tools/select_weights.py FILE "
            "OUT.pth --keep PREFIX"
        )
    if fit.missing:
        raise WeightsError(
            f"the weights file lacks {len(fit.missing)} keys of the backbone, such as "
            f"{', '.join(fit.missing[:3])}. Choose a file of the same MODEL.BACKBONE.ARCHITECTURE, "
            "MODEL.RESNETS.DEPTH and IBN (an IBN file does not fit a plain ResNet), or "
            "MODEL.WEIGHTS '' for random weights"
        )
    if fit.surplus:
        raise WeightsError(
            f"the weights file is of a deeper backbone: {len(fit.surplus)} of its keys have no "
            f"place here, such as {', '.join(fit.surplus[:3])}. Set MODEL.RESNETS.DEPTH or "
            "MODEL.CONVNEXT.DEPTHS to what the file was made with, or choose another MODEL.WEIGHTS"
        )


def module_names(keys: Iterable[str]) -> str:
    """The modules of state keys, each once, with the number of its tensors."""
    modules = Counter(".".join(key.split(".")[:3]) for key in keys)
    return ", ".join(f"{name} ({number})" for name, number in modules.items())


def _upto_stage(key: str) -> str:
    """ "backbone.layer3.0.bn1.bias" -> "backbone.layer3": the stage a tensor belongs to."""
    match = re.match(r"^.*?(?:layer\d|stage\d|features\.\d|res\d|stem|conv[15]|bn1)", key)
    return match.group() if match else key


def report(
    fit: StageFit, others: Iterable[str], fresh: Iterable[str], dropped: Iterable[str]
) -> None:
    """Say what came from where, one line per stage of the model.

    Args:
        fit: the stages of the backbone.
        others: keys that were taken by name.
        fresh: keys of the model that the file lacks.
        dropped: keys whose tensors have another shape in the file.
    """
    origins = Counter((_upto_stage(key), _upto_stage(src)) for key, src in fit.sources.items())
    for (stage, source), number in origins.items():
        logger.info("weights: %s <- %s (%d tensors)", stage, source, number)
    if others:
        logger.info("weights: taken by name: %s", module_names(others))
    if fresh:
        logger.info("weights: not in the file, start fresh: %s", module_names(fresh))
    if dropped:
        logger.warning("weights: of another shape, left out: %s", ", ".join(dropped))
    if fit.split_norms:
        logger.warning(
            "weights: %d IBN layers were filled from plain batch norm; weights trained with IBN "
            "are a better start",
            fit.split_norms,
        )
