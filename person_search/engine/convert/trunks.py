"""Files whose network is a trunk: of classification, self-supervision or re-ID.

A trunk may stand below any of the usual prefixes. It is taken only where its stem stands beside its
stages, so that a stage of another part of a network is never taken for it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_c2_detectron_names
from torch import Tensor
from torch.nn.functional import channel_shuffle

from person_search.errors import WeightsError
from person_search.modeling.backbone.weights import canonical_name

from .recognized import CAFFE, IMAGENET_RGB, Recognized

PREFIXES = {
    *("module", "model", "net", "network", "resnet", "backbone", "base", "body", "trunk"),
    *("encoder", "encoder_q", "base_encoder", "online_encoder", "image_encoder"),
}
"""What a trunk may stand below, alone or several of them: "module.encoder_q."."""

_STRIDE_IN_3X3 = {"MODEL.RESNETS.STRIDE_IN_1X1": False}


def recognize(state: Mapping[str, Tensor], around: Mapping[str, Any]) -> Recognized | None:
    """The file, if it has a trunk under public names.

    Raises:
        WeightsError: it has several.
    """
    if any(re.match(r"(res[2-5]_\d|conv1)_\w*[wb]$", key) for key in state):
        return _caffe2(state)
    if any(".g_conv_1x1_compress." in key for key in state):
        return _shufflenet_v1(state)
    trunks: dict[str, dict[str, str]] = {}
    for key in state:
        named = canonical_name(key)
        if named is None or not set(named[0].split(".")[:-1]) <= PREFIXES:
            continue
        if key.endswith(named[1]):
            return None  # our own names
        trunks.setdefault(named[0], {})[named[1]] = key
    trunks = {p: names for p, names in trunks.items() if any(n.startswith("stem.") for n in names)}
    if len(trunks) > 1:
        raise WeightsError(
            f"the weights file has several trunks, below {', '.join(map(repr, trunks))}: write the "
            "one that is wanted with tools/select_weights.py FILE OUT.pth --keep PREFIX"
        )
    for prefix, names in trunks.items():
        neck = _neck(state)
        taken = names | neck
        return Recognized(
            kind="an embedder of fast-reid" if neck else f"a trunk below {prefix!r}",
            state={f"backbone.{n}": state[k] for n, k in names.items()}
            | {n: state[k] for n, k in neck.items()},
            conventions=_conventions(state, around),
            whole=False,
            left_out=tuple(k for k in state if k not in set(taken.values())),
        )
    return None


def _neck(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The BN neck of fast-reid, our key -> its key, if it was learned on average pooling."""
    prefix = "heads.bottleneck.0."
    if any(key.startswith("heads.pool") for key in state):  # generalized-mean pooling
        return {}
    return {f"reid.head.bn.{k[len(prefix) :]}": k for k in state if k.startswith(prefix)}


def _conventions(state: Mapping[str, Tensor], around: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of how a trunk was trained; {} where the file cannot tell."""
    if any(key.startswith("heads.") for key in state):  # fast-reid
        return {**IMAGENET_RGB, **_STRIDE_IN_3X3, "MODEL.RESNETS.STEM_POOLING": "ceil"}
    meta = around.get("meta")
    if isinstance(meta, Mapping):  # mmcv: the same names for trunks of MSRA and of torchvision
        config = str(meta.get("config", ""))
        if re.search(r"style\s*=\s*['\"]caffe|to_rgb\s*=\s*False", config):
            return CAFFE
        known = re.search(r"style\s*=\s*['\"]pytorch", config) and "to_rgb" in config
        return {**IMAGENET_RGB, **_STRIDE_IN_3X3} if known else {}
    return {"INPUT.FORMAT": "RGB", **_STRIDE_IN_3X3}


def _caffe2(state: Mapping[str, Tensor]) -> Recognized:
    """Caffe2's names (MSRA's ImageNet weights, Detectron 1), by detectron2's own table."""
    state = {k: v for k, v in state.items() if not k.endswith("_momentum")}
    if any(k.startswith(("rpn_", "conv_rpn", "cls_score", "fpn_")) for k in state):
        return Recognized(
            "a detector of Caffe2's Detectron",
            fits="its anchors are of another kind; take the same model of detectron2's zoo",
        )
    renamed, names = convert_c2_detectron_names(state)
    trunk = {k: v for k, v in renamed.items() if canonical_name(k) is not None}
    for key in [k for k in trunk if k.endswith("norm.weight")]:
        # These norms have their statistics folded into scale and shift; eps is added again.
        scale, prefix = trunk[key], key.removesuffix("weight")
        trunk.setdefault(f"{prefix}running_mean", torch.zeros_like(scale))
        trunk.setdefault(f"{prefix}running_var", torch.ones_like(scale) - 1e-5)
    return Recognized(
        kind="a trunk of Caffe2",
        state={f"backbone.{k}": v for k, v in trunk.items()},
        conventions=CAFFE,
        whole=False,
        left_out=tuple(names[k] for k in renamed if k not in trunk),
    )


_SHUFFLENET = (
    (r"^conv1\.conv\.", "conv1.0."),
    (r"^conv1\.bn\.", "conv1.1."),
    (r"^layers\.0\.", "stage2."),
    (r"^layers\.1\.", "stage3."),
    (r"^layers\.2\.", "stage4."),
    (r"\.g_conv_1x1_compress\.", ".conv1."),
    (r"\.depthwise_conv3x3_bn\.", ".conv2."),
    (r"\.g_conv_1x1_expand\.", ".conv3."),
    (r"(conv[123])\.conv\.", r"\1."),
    (r"(conv[123])\.bn\.", r"\1.norm."),
)


def _shufflenet_v1(state: Mapping[str, Tensor], groups: int = 3) -> Recognized:
    """mmcls's ShuffleNet V1: its depthwise convolution comes before the shuffle, ours behind it.

    A depthwise convolution treats each channel alone, so shuffling its rows (with those of its
    norm) makes the two orders the same function. Of 6 channels and 3 groups, the rows 0 1 2 3 4 5
    become 0 2 4 1 3 5.
    """
    ours, left_out = {}, []
    for key, tensor in state.items():
        name = key.removeprefix("module.").removeprefix("backbone.")
        for pattern, replacement in _SHUFFLENET:
            name = re.sub(pattern, replacement, name)
        named = canonical_name(name)
        if named is None or named[0]:
            left_out.append(key)
            continue
        if ".conv2." in name and tensor.ndim:
            order = torch.arange(len(tensor)).view(1, -1, 1, 1)
            tensor = tensor[channel_shuffle(order, groups).flatten()]
        ours[f"backbone.{named[1]}"] = tensor
    return Recognized(
        kind="a ShuffleNet V1 of mmcls or PretrainPS",
        state=ours,
        conventions={"INPUT.FORMAT": "RGB"},
        whole=False,
        left_out=tuple(left_out),
    )
