"""What ranks have to agree on: buffers; and hybrid pre-training where one of them sees nobody."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from person_search.engine import share_buffers
from person_search.labels import UNLABELED as U

KINDS = {"rank_crowd": "detection", "rank_city": "detection", "rank_a": "reid", "rank_b": "reid"}

BATCHES = [  # of rank 0 and rank 1: the persons of two scenes and of two canvases
    ([[U, U], [U]], [[0], [U]]),
    ([[], []], [[1], [2]]),
]


def meet(rank: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{meeting}", timedelta(seconds=120), world_size=2, rank=rank
    )
    comm.create_local_process_group(2)


def part() -> None:
    dist.barrier()  # a rank that leaves early can take the other one with it
    dist.destroy_process_group()


def view(ids: list[int], height: int, width: int) -> dict:
    persons = Instances((height, width))
    boxes = [[6 + 30 * k, 10, 26 + 30 * k, 70] for k in range(len(ids))]
    persons.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    persons.gt_classes = torch.zeros(len(ids), dtype=torch.int64)
    persons.gt_person_ids = torch.tensor(ids, dtype=torch.int64)
    persons.gt_index = torch.arange(len(ids))
    image = torch.randint(256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "height": height, "width": width, "instances": persons}


def batch_of(rank: int) -> list[dict]:
    sizes = (96, 128), (96, 64)
    return [
        {"kind": kind, "domain_id": k, "views": [view(ids, *size) for _ in range(2)]}
        for kind, of_kind, size in zip(("scene", "crop"), BATCHES[rank], sizes, strict=True)
        for k, ids in enumerate(of_kind)
    ]


def pretrain_on_a_rank(rank: int, meeting: Path, folder: Path, cfg: CfgNode) -> None:
    meet(rank, meeting)
    for name, kind in KINDS.items():
        DatasetCatalog.register(name, list)
        MetadataCatalog.get(name).set(evaluator_type=kind)
    torch.manual_seed(rank)  # as detectron2 does
    model = DistributedDataParallel(build_model(cfg).train(), broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    with EventStorage(0):
        for _ in range(2):  # DDP notices in the second step what the first one left out
            losses = model(batch_of(rank))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
    oim = model.module.roi_heads.reid.head.oim
    state = {k: v.detach() for k, v in model.module.named_parameters()}
    found = {"parameters": state, "table": oim.table, "queue": oim.queue, "losses": losses}
    torch.save(found, folder / f"rank{rank}.pth")
    part()


def test_hybrid_pre_training_where_a_rank_sees_nobody_in_its_scenes(tmp_path, tiny_cfg):
    cfg = tiny_cfg(
        *("MODEL.REID.POOLER_RESOLUTION", (6, 3), "DATASETS.TRAIN", tuple(KINDS)),
        *("MODEL.HYBRID.ALIGN", ("intra", "inter")),
        config="Base-Hybrid-Small.yaml",
    )
    arguments = (tmp_path / "meeting", tmp_path, cfg)
    torch.multiprocessing.spawn(pretrain_on_a_rank, arguments, nprocs=2)
    one, two = (torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    assert one["losses"].keys() == two["losses"].keys()
    assert all(loss.isfinite() for loss in (*one["losses"].values(), *two["losses"].values()))
    for name, value in one["parameters"].items():
        assert value.equal(two["parameters"][name]), name
    assert one["table"].equal(two["table"]) and one["table"][:3].abs().sum(dim=1).min() > 0
    assert one["queue"].equal(two["queue"])


class WithBuffers(nn.Module):
    def __init__(self, rank: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.norm(torch.full((4, 3), float(rank)) + torch.arange(4.0)[:, None])
        self.register_buffer("centers", torch.full((2, 2), float(rank)))


def share_on_a_rank(rank: int, meeting: Path, folder: Path) -> None:
    meet(rank, meeting)
    model = WithBuffers(rank)
    share_buffers(model)
    torch.save(dict(model.named_buffers()), folder / f"rank{rank}.pth")
    part()


def test_all_ranks_get_the_buffers_of_the_first(tmp_path):
    torch.multiprocessing.spawn(share_on_a_rank, (tmp_path / "meeting", tmp_path), nprocs=2)
    expected = dict(WithBuffers(0).named_buffers())
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pth")
        assert found.keys() == expected.keys()
        assert all(found[name].equal(expected[name]) for name in expected)


def test_alone_nothing_is_shared():
    model = WithBuffers(1)
    share_buffers(model)
    assert model.centers.unique().tolist() == [1.0]
