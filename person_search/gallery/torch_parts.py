"""Packs of torch weights: they are exported once, which needs torch; the pack does not."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from detectron2.modeling import build_model

from person_search import packs
from person_search.config import read_config
from person_search.engine import PersonSearchCheckpointer, adopt_conventions
from person_search.engine.convert import recognize
from person_search.engine.export_parts import export_detector, export_embedder
from person_search.engine.weights_file import read_weights_file
from person_search.errors import ConfigError, WeightsError
from person_search.packs.making import is_network

FAST_REID = "ReID-Pretrain/PRW.yaml"
"""The config of the network that fast-reid's BoT R50-ibn is."""


def make_pack(
    folder: str,
    detector: str,
    embedder: str,
    settings: Sequence[str] = (),
    embedder_config: str | None = None,
) -> str:
    """A two-step pack, as :func:`person_search.packs.make` makes it, of whatever is torch weights.

    Args:
        folder: of the pack.
        detector: a network, or weights of one of torchvision's detectors.
        embedder: a network; weights of fast-reid's BoT R50-ibn; or of a ``ReIDBaseline``.
        settings: "KEY=VALUE" with keys of ``pack.yaml``; they go before what is known of a file.
        embedder_config: that a ``ReIDBaseline`` was trained with.

    Raises:
        PersonSearchError: a file cannot be taken, and why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        known: list[str] = []
        if not is_network(detector):
            output = Path(scratch) / f"{Path(detector).stem}.onnx"
            known += export_detector(detector, output)
            detector = str(output)
        if not is_network(embedder):
            output = Path(scratch) / f"{Path(embedder).stem}.onnx"
            known += _export_embedder(embedder, output, embedder_config)
            embedder = str(output)
        return packs.make(folder, detector, embedder, [*known, *settings])


def _export_embedder(weights: str, output: Path, config: str | None) -> list[str]:
    file = recognize(read_weights_file(weights))
    is_fast_reid = file.kind == "an embedder of fast-reid"
    if file.kind and not is_fast_reid:
        raise WeightsError(
            f"{weights} is {file.kind}, and no embedder of crops that can be exported: those are "
            "fast-reid's BoT R50-ibn and checkpoints of this project's ReIDBaseline. Others, as "
            "torchreid's OSNet, have to be ONNX or OpenVINO files"
        )
    if not (is_fast_reid or config):
        raise ConfigError(
            f"{weights} does not say of which network it is: give the config that it was trained "
            "with, --embedder-config ReID-Pretrain/PRW.yaml or another"
        )
    cfg = read_config(config or FAST_REID, ["MODEL.DEVICE", "cpu", "MODEL.REID.NUM_IDS", "1"])
    adopt_conventions(cfg, weights)
    network = build_model(cfg).eval()
    PersonSearchCheckpointer(network, complete=True).load(weights)
    return export_embedder(
        network,
        output,
        size=tuple(cfg.INPUT.REID.SIZE),
        color=cfg.INPUT.FORMAT,
        resize="bicubic" if is_fast_reid else "area",
    )
