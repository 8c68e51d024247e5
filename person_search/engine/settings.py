"""Settings that cannot be meant: keys without effect, and numbers below what is possible."""

from detectron2.config import CfgNode, get_cfg

from person_search.errors import ConfigError

_PROPOSALS = "proposals come from the model"
_WHOLE = "frames are trained on whole, since a cut would halve persons"
_ONE_VIEW = "a frame is embedded once, as it is"
_NO_MASKS = "there are neither masks nor keypoints"
_EPOCH = "every frame is shown once per epoch"

WITHOUT_EFFECT = {
    "DATALOADER.ASPECT_RATIO_GROUPING": "a batch always holds frames of like size",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "frames without a person are not trained on",
    "DATALOADER.REPEAT_SQRT": _EPOCH,
    "DATALOADER.REPEAT_THRESHOLD": _EPOCH,
    "DATALOADER.SAMPLER_TRAIN": "the sampler follows from DATALOADER.SOURCE",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": _PROPOSALS,
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": _PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TEST": _PROPOSALS,
    "DATASETS.PROPOSAL_FILES_TRAIN": _PROPOSALS,
    "INPUT.CROP.ENABLED": _WHOLE,
    "INPUT.CROP.SIZE": _WHOLE,
    "INPUT.CROP.TYPE": _WHOLE,
    "INPUT.MASK_FORMAT": _NO_MASKS,
    "MODEL.KEYPOINT_ON": _NO_MASKS,
    "MODEL.LOAD_PROPOSALS": _PROPOSALS,
    "MODEL.MASK_ON": _NO_MASKS,
    "TEST.AUG.ENABLED": _ONE_VIEW,
    "TEST.AUG.FLIP": _ONE_VIEW,
    "TEST.AUG.MAX_SIZE": _ONE_VIEW,
    "TEST.AUG.MIN_SIZES": _ONE_VIEW,
    "TEST.KEYPOINT_OKS_SIGMAS": _NO_MASKS,
}
"""Key of detectron2 -> what this project does instead."""

OF_PLAIN_STAGES = (
    *("RES5_DILATION", "NUM_GROUPS", "WIDTH_PER_GROUP"),
    *("DEFORM_ON_PER_STAGE", "DEFORM_MODULATED", "DEFORM_NUM_GROUPS"),
)
"""Keys of ``MODEL.RESNETS`` that a backbone that is cut in two does not know."""

AT_LEAST = {
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.ACCUMULATE": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.MAX_ITER": 1,
    "TEST.EVAL_PERIOD": 0,
    "TEST.IMS_PER_BATCH": 1,
}
"""Key -> its smallest value."""


def check_settings(cfg: CfgNode) -> None:
    """Refuse what a config says and nobody would do, before it costs a training.

    Raises:
        ConfigError: a key that has no effect differs from detectron2's default, or a number is
            too small.
    """
    for key, least in AT_LEAST.items():
        if (value := _value(cfg, key)) < least:
            raise ConfigError(f"{key} is {value}; legal: at least {least}")
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference and cfg.SOLVER.IMS_PER_BATCH % reference:
        raise ConfigError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}; legal: a divisor of SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH}, or 0"
        )
    default = get_cfg()
    for key, instead in _without_effect(cfg).items():
        value, usual = _value(cfg, key), _value(default, key)
        if value != usual:
            raise ConfigError(
                f"{key} is {value!r}, which has no effect here: {instead}. Leave it at {usual!r}"
            )


def _without_effect(cfg: CfgNode) -> dict[str, str]:
    keys = dict(WITHOUT_EFFECT)
    if cfg.MODEL.BACKBONE.NAME == "build_split_backbone":
        instead = "MODEL.BACKBONE.NAME build_split_backbone builds plain stages"
        keys |= {f"MODEL.RESNETS.{name}": instead for name in OF_PLAIN_STAGES}
    if cfg.DATALOADER.SOURCE != "frames":
        keys["INPUT.RANDOM_FLIP"] = "crops, and frames beside crops, are flipped every other time"
    if cfg.SOLVER.OPTIMIZER != "SGD":
        keys["SOLVER.NESTEROV"] = f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER}"
    return keys


def _value(cfg: CfgNode, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return list(cfg) if isinstance(cfg, tuple) else cfg
