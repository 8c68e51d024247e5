"""Mixed precision: its keys, and that embeddings stay what they are."""

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model

from person_search.errors import ConfigError
from person_search.layers.roi_align import FloatROIAlign
from person_search.precision import autocast_dtype


@pytest.mark.parametrize("section", ["SOLVER", "TEST"])
@pytest.mark.parametrize(
    "device, name, expected",
    [
        ("cuda", "", torch.float16),
        ("cuda", "bfloat16", torch.bfloat16),
        ("cpu", "", torch.bfloat16),
        ("cpu", "float16", torch.float16),
    ],
)
def test_precision_fits_the_device(tiny_cfg, section, device, name, expected):
    opts = ("MODEL.DEVICE", device, f"{section}.AMP.DTYPE", name)
    assert autocast_dtype(tiny_cfg(*opts), section) is None
    assert autocast_dtype(tiny_cfg(*opts, f"{section}.AMP.ENABLED", True), section) is expected
    with pytest.raises(ConfigError, match=f"{section}.AMP.DTYPE is 'half'; legal: float16"):
        autocast_dtype(
            tiny_cfg(f"{section}.AMP.ENABLED", True, f"{section}.AMP.DTYPE", "half"), section
        )


@pytest.mark.parametrize("config", ["Base-RCNN-C3", "Street/nae", "Street/seqnet", "Base-ReID"])
def test_embeddings_of_mixed_precision_agree(tiny_cfg, scenes, config):
    """They are float32, and of a cosine of .999 at least (DESIGN, section 5)."""
    opts = () if config == "Base-RCNN-C3" else ("MODEL.WEIGHTS", "", "MODEL.RESNETS.DEPTH", 18)
    cfg = tiny_cfg(*opts, config=f"{config}.yaml")
    inputs = scenes([[0, 1], [2, 3, 4]])
    for x in inputs:
        x["query_boxes"] = x.pop("instances").gt_boxes.tensor
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    cfg.TEST.AMP.ENABLED = True
    mixed = build_model(cfg).eval()
    mixed.load_state_dict(model.state_dict())
    assert mixed.test_dtype is torch.bfloat16
    key = "embeds" if config == "Base-ReID" else "query_embeds"
    with torch.no_grad():
        exact, found = (
            torch.cat([y[key].reshape(-1, y[key].shape[-1]) for y in m(inputs)])
            for m in (model, mixed)
        )
    assert exact.dtype == found.dtype == torch.float32
    assert not exact.equal(found)
    assert torch.cosine_similarity(exact, found).min() >= 0.999


@pytest.mark.parametrize(
    "config", ["Base-RCNN-C3", "Street/stl_mrfp", "Street/nae", "Street/seqnet"]
)
def test_no_pooler_rounds_boxes(tiny_cfg, config):
    opts = () if config == "Base-RCNN-C3" else ("MODEL.WEIGHTS", "", "MODEL.RESNETS.DEPTH", 18)
    modules = build_model(tiny_cfg(*opts, config=f"{config}.yaml")).modules()
    kinds = {type(m) for m in modules if isinstance(m, ROIAlign)}
    assert kinds == {FloatROIAlign}
