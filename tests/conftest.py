"""What several tests share: the research data, the drawn data, and models that cost nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import Boxes, Instances

from person_search import add_person_search_config
from person_search.street import draw_street

torch.set_num_threads(1)  # more threads spin and slow down where processes share the cores

REPOSITORY = Path(__file__).resolve().parents[1]

TINY = (
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.RESNETS.DEPTH", 18),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
    *("MODEL.ANCHOR_GENERATOR.SIZES", [[16, 32, 64]]),
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 64),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 200),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 50),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", 100),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", 20),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 32),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32),
    *("MODEL.REID.POOLER_RESOLUTION", (16, 8)),
)
MRFP = (
    *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3"]),
    *("MODEL.REID.POOLER", "MRFP"),
    *("MODEL.REID.IN_FEATURES", ["res2", "res3"]),
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research data, for tests that read real files."""
    folder = REPOSITORY / ".." / "shared" / "data"
    if not folder.exists():
        pytest.skip(f"needs the research data beside the repository ({folder} is missing)")
    return folder


@pytest.fixture(scope="session")
def street_root(tmp_path_factory) -> Path:
    """A folder of data sets that holds Street tiny (street/tiny), drawn once per process."""
    root = tmp_path_factory.mktemp("datasets")
    draw_street(root, "tiny")
    return root


@pytest.fixture(scope="session")
def tiny_cfg() -> Callable[..., CfgNode]:
    """Factory ``tiny_cfg(*opts, mrfp=False, num_ids=5)`` of configs at a quarter's width.

    STL: a ResNet-18-IBN-a of width 16 (res3: 32 channels, embedding: 128), not frozen, no data
    sets. ``config`` names another one below ``configs/``; ``opts`` are keys and values, as on the
    command line.
    """

    def make(
        *opts, mrfp: bool = False, num_ids: int = 5, config: str = "Base-RCNN-C3.yaml"
    ) -> CfgNode:
        cfg = get_cfg()
        add_person_search_config(cfg)
        cfg.merge_from_file(REPOSITORY / "configs" / config)
        cfg.merge_from_list([*TINY, *(MRFP if mrfp else ()), "MODEL.REID.NUM_IDS", num_ids, *opts])
        return cfg

    return make


@pytest.fixture(scope="session")
def scenes() -> Callable[..., list[dict]]:
    """Factory ``scenes([[0, 3], [], [-1]])``: one noise picture per list of person ids.

    The persons, 20x60 pixels, stand side by side; the dicts are those that a model is given.
    """

    def make(ids: list[list[int]], height: int = 96, width: int = 128, seed: int = 0) -> list[dict]:
        generator = torch.Generator().manual_seed(seed)
        inputs = []
        for of_image in ids:
            persons = Instances((height, width))
            boxes = [[6 + 30 * k, 10, 26 + 30 * k, 70] for k in range(len(of_image))]
            persons.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
            persons.gt_classes = torch.zeros(len(of_image), dtype=torch.int64)
            persons.gt_person_ids = torch.tensor(of_image, dtype=torch.int64)
            image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
            inputs.append({"image": image, "height": height, "width": width, "instances": persons})
        return inputs

    return make
