"""The config keys that this project adds to detectron2's; a family's stand beside its own code.

Importing this module registers the parts and data sets that the keys name.
"""

import copy
from collections.abc import Sequence

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from .config_files import find_config, load_config_file
from .data.crops import add_crops_config
from .data.features import add_features_config
from .data.frames import add_frames_config
from .data.hybrid import add_hybrid_data_config
from .engine.schedule import add_solver_config
from .errors import ConfigError
from .evaluation.build import add_evaluation_config
from .modeling.backbone.convnext import add_convnext_config
from .modeling.backbone.resnet import add_resnet_config
from .modeling.backbone.shufflenet import add_shufflenet_config
from .modeling.backbone.split import add_split_config
from .modeling.embedders.base import add_embedder_config
from .modeling.embedders.sampling import add_sampling_config
from .modeling.identity.base import add_identity_config
from .modeling.identity.oim import add_oim_config
from .modeling.identity.softmax import add_softmax_config
from .modeling.identity.toim import add_toim_config
from .modeling.identity.triplet import add_triplet_config
from .modeling.meta_arch.align_ps import add_align_ps_config
from .modeling.meta_arch.binet_style import add_binet_config
from .modeling.meta_arch.dkd_style import add_dkd_config
from .modeling.meta_arch.hybrid.pretrainer import add_hybrid_config
from .modeling.meta_arch.sequential import add_sequential_config
from .modeling.roi_heads.seqnet_heads import add_seqnet_config
from .modeling.roi_heads.shared_heads import add_shared_heads_config
from .precision import add_precision_config

FAMILIES = (
    *(add_split_config, add_resnet_config, add_shufflenet_config, add_convnext_config),
    *(add_embedder_config, add_sampling_config),
    *(add_identity_config, add_softmax_config, add_oim_config),
    *(add_toim_config, add_triplet_config),
    *(add_shared_heads_config, add_seqnet_config),
    *(add_binet_config, add_dkd_config, add_hybrid_config),
    *(add_align_ps_config, add_sequential_config),
    *(add_frames_config, add_crops_config, add_hybrid_data_config, add_features_config),
    *(add_precision_config, add_solver_config, add_evaluation_config),
)

# Keys that earlier versions had, with the values that are constructor defaults now.
RETIRED = {
    "INPUT.HYBRID.COLOR_JITTER": [0.4, 0.4, 0.4, 0.1],
    "MODEL.BINET.PREDICTION_WEIGHT": 1.0,
    "MODEL.CONVNEXT.STOCHASTIC_DEPTH": 0.1,
    "MODEL.DKD.IDENTITY_WEIGHT": 1.0,
    "MODEL.DKD.RELATION_WEIGHT": 1.0,
    "MODEL.DKD.TRIPLET_WEIGHT": 1.0,
    "MODEL.HYBRID.ALIGN_WEIGHT": 1.0,
    "MODEL.HYBRID.CONSISTENCY_WEIGHT": 0.1,
    "MODEL.REID.CENTER_LR": 0.5,
    "MODEL.REID.JITTER_IOU": 0.7,
    "MODEL.REID.MOVE_CORNERS": 0.1,
    "MODEL.REID.NUM_JITTER": 2,
    "MODEL.REID.TRIPLET_MARGIN": 0.3,
    "MODEL.REID.TRIPLET_WEIGHT": 1.0,
}


def add_person_search_config(cfg: CN) -> None:
    """Add the keys of person search to a config made by :func:`detectron2.config.get_cfg`.

    The defaults are those of STL (Liu et al.): a base of stem..res3, RPN + 7x7 box head on res3,
    and an embedder of res4 and res5 on 32x16 RoI features of res3. Beside the keys that are added
    here, detectron2's name parts of this project:

    * ``MODEL.META_ARCHITECTURE``: "PersonSearchRCNN" | "ReIDBaseline" (crops alone) | "BINetStyle",
      "DKDStyle" (scenes, and persons cut out of them; a test needs scenes only) |
      "HybridPretrainer" | "SequentialSearch" (RetinaNet, then an embedder on its maps) | "AlignPS"
      (anchor-free: locations, no RoIs). BINetStyle and DKDStyle are re-implementations from
      descriptions.
    * ``MODEL.BACKBONE.NAME``: "build_split_backbone" | "build_split_fpn_backbone" (of
      SequentialSearch).
    * ``MODEL.ROI_HEADS.NAME``: "SearchROIHeads" (a box head beside the embedder) | "SharedROIHeads"
      (the embedder also predicts boxes: OIM) | "NormAwareROIHeads" (its norm is the score: NAE) |
      "SeqNetROIHeads" (a box head, then NAE on its boxes) | "HybridROIHeads" (NAE, for hybrid
      pre-training).
    * ``MODEL.ROI_BOX_HEAD.NAME``: "TailBoxHead" (the stages behind ``MODEL.BACKBONE.SPLIT_AT``).
    """
    # What a training sample is. "frames": whole scenes | "crops": single persons (re-ID
    # pre-training) | "hybrid": both, of several data sets (hybrid pre-training) |
    # "features": what a model has pooled of each person (sequential training)
    cfg.DATALOADER.SOURCE = "frames"
    # A name in MAPPER_REGISTRY: "PersonSearchMapper" (frames) | "CropMapper",
    # "SelfSupervisedCropMapper" (crops) | "HybridMapper" (hybrid) | "FeatureMapper" (features)
    cfg.INPUT.MAPPER = "PersonSearchMapper"
    for add_keys in FAMILIES:
        add_keys(cfg)


def drop_retired(values: dict) -> dict:
    """The values of a config file or dump without keys that earlier versions had.

    Raises:
        ConfigError: such a key has another value than the one that is built in now.
    """
    left = copy.deepcopy(values)
    for name, usual in RETIRED.items():
        *sections, key = name.split(".")
        node = left
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or key not in node:
            continue
        value = node.pop(key)
        if (list(value) if isinstance(value, tuple) else value) != usual:
            raise ConfigError(f"{name} is {value!r}, but is always {usual!r} now: take the key out")
    return left


def read_config(path: str, opts: Sequence[str] = ()) -> CN:
    """The config of a YAML file, with ``KEY VALUE`` pairs that override it.

    Args:
        path: a path, or a name such as "PRW/stl_mrfp.yaml", see :func:`find_config`.
        opts: keys and values in turn.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not legal.
    """
    if behind := [key for key in opts[::2] if str(key).startswith("--")]:
        raise ConfigError(f"{behind[0]} is no key: options stand before all KEY VALUE pairs")
    cfg = get_cfg()
    add_person_search_config(cfg)
    values = load_config_file(find_config(path))
    if values.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigError(f"{path}: VERSION is {values['VERSION']!r}; legal: {cfg.VERSION}")
    try:
        cfg.merge_from_other_cfg(CN(drop_retired(values)))
        cfg.merge_from_list(list(opts))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # yacs raises all kinds
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: {reason}") from error
    return cfg
