"""TOIMHead: the losses of AlignPS, by hand."""

import math

import pytest
import torch

from person_search.errors import ConfigError
from person_search.labels import UNLABELED
from person_search.modeling.identity.base import build_identity_head
from person_search.modeling.identity.toim import TOIMHead

X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [math.sqrt(0.5), math.sqrt(0.5)]


def make_head(**others) -> TOIMHead:
    """Of two identities, whose rows are X and nobody's yet."""
    head = TOIMHead(in_channels={"p3": 2}, num_ids=2, queue_size=2, **others).train()
    head.oim.table[0] = torch.tensor(X)
    return head


def losses(head: TOIMHead, rows: list[list[float]], ids: list[int]) -> dict[str, float]:
    maps = {"p3": torch.tensor(rows).reshape(-1, 2, 1, 1)}
    found = head.losses(maps, head(maps), torch.tensor(ids, dtype=torch.int64))
    return {name: loss.item() for name, loss in found.items()}


def test_what_was_pooled_is_the_row():
    assert make_head()({"p3": torch.tensor([[[[3.0]], [[4.0]]]])}).tolist() == [[3.0, 4.0]]


def test_the_focal_loss_is_shared_out_among_all_locations_of_persons():
    """One labeled location, (0, 2), of four; its logits with V0, V1, U0, U1 are 0, 0, 10 and 0."""
    head = make_head(triplet_weight=0.0, loss_weight=0.5)
    head.oim.queue[0] = torch.tensor(Y)
    found = losses(head, [[0.0, 2.0], X, X, Y], [1, UNLABELED, UNLABELED, UNLABELED])
    p = 1 / (3 + math.exp(10))
    assert found == {"loss_oim": pytest.approx(0.5 * -((1 - p) ** 2) * math.log(p) / 4, rel=1e-5)}
    assert head.oim.table[1].tolist() == pytest.approx(Y)


def test_rows_of_the_table_take_part_in_the_triplets():
    """The rows DIAGONAL of person 0 and Y of person 1, and the table's row X of person 0.

    Their distances: DIAGONAL to X and to Y each sqrt(2 - sqrt(2)) = .765, X to Y sqrt(2). DIAGONAL
    adds .765 - .765 + .3 = .3; Y is alone and adds max(0, .3 - .765) = 0; X adds
    max(0, .765 - sqrt(2) + .3) = 0. The row of person 1 is nobody's yet and takes no part.
    """
    found = losses(make_head(triplet_weight=2.0), [DIAGONAL, [0.0, 5.0]], [0, 1])
    assert found["loss_triplet"] == pytest.approx(2 * 0.3 / 3, abs=1e-5)


@pytest.mark.parametrize("ids", [[], [UNLABELED, UNLABELED]])
def test_nobody_is_known(ids):
    head = make_head()
    assert losses(head, [X] * len(ids), ids) == {"loss_oim": 0, "loss_triplet": 0}
    assert head.oim.position == len(ids) % 2


def test_an_id_that_is_too_large():
    with pytest.raises(ConfigError, match="person id 2 does not fit an identity head of 2"):
        losses(make_head(), [X], [2])


def test_keys(tiny_cfg):
    cfg = tiny_cfg("MODEL.REID.TOIM.QUEUE_SCALE", 5.0, config="PRW/align_ps.yaml", num_ids=7)
    head = build_identity_head(cfg, {"p3": 32})
    assert head.oim.table.shape == (7, 32) and head.oim.queue.shape == (500, 32)
    assert (head.oim.scale, head.oim.queue_share, head.triplet_weight) == (15.0, 1 / 3, 0.0)
