"""SoftmaxHead: its loss by hand and by finite differences, and batches that hold nobody."""

import math

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import Tensor, nn

from person_search.errors import ConfigError
from person_search.modeling.identity.base import build_identity_head, count_train_ids
from person_search.modeling.identity.oim import OIMHead
from person_search.modeling.identity.softmax import SoftmaxHead


def losses(head: nn.Module, maps: Tensor, ids: Tensor | list[int]) -> dict[str, Tensor]:
    """Of the maps of the last stage, the only ones that this head reads."""
    maps, ids = {"res5": maps}, torch.as_tensor(ids, dtype=torch.int64)
    return head.losses(maps, head(maps), ids)


def without_statistics(head: SoftmaxHead) -> SoftmaxHead:
    """The head with running statistics that make the neck the identity."""
    head.bn.eps = 0.0
    return head.eval()


def test_loss_by_hand():
    head = without_statistics(SoftmaxHead(in_channels={"res5": 2}, num_ids=3, loss_weight=0.5))
    head.classifier.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    averages = torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, -9.0], [-7.0, 7.0]])
    maps = averages[:, :, None, None] + torch.tensor([-3.0, 3.0])  # (4, 2, 1, 2)
    found = losses(head, maps, [0, 1, -1, -2])
    # Logits 1, 0, 1 with id 0 and 0, 2, 2 with id 1; the unlabeled and the background are out.
    first = math.log(2 * math.e + 1) - 1
    second = math.log(1 + 2 * math.e**2) - 2
    assert found.keys() == {"loss_id"}
    assert found["loss_id"].item() == pytest.approx(0.5 * (first + second) / 2)


def test_unlabeled_and_background_get_no_gradient():
    torch.manual_seed(0)
    head = without_statistics(SoftmaxHead(in_channels={"res5": 4}, num_ids=3))
    maps = torch.randn(4, 4, 1, 1, requires_grad=True)
    losses(head, maps, [-1, 2, -2, 0])["loss_id"].backward()
    assert (maps.grad.abs().sum(dim=(1, 2, 3)) > 0).tolist() == [False, True, False, True]


def test_unlabeled_are_in_the_statistics_of_the_neck():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 4}, num_ids=3).train()
    maps = torch.randn(5, 4, 2, 1)
    losses(head, maps, [-1, 2, -2, 0, -1])
    torch.testing.assert_close(head.bn.running_mean, 0.1 * maps.mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("ids", [[], [-1], [-1, -2, -1]])
def test_nobody_labeled_gives_zero_with_gradients(ids, event_storage):
    head = SoftmaxHead(in_channels={"res5": 4}, num_ids=3)
    maps = torch.randn(len(ids), 4, 1, 1, requires_grad=True)
    loss = losses(head, maps, ids)["loss_id"]
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))
    assert torch.equal(head.classifier.weight.grad, torch.zeros(3, 4))
    assert event_storage.latest()["reid/num_labeled"][0] == 0


@pytest.mark.parametrize("head", [SoftmaxHead, OIMHead])
def test_an_id_that_has_no_class_is_refused(head):
    head = head(in_channels={"res5": 4}, num_ids=3)
    with pytest.raises(ConfigError, match="person id 3 .* of 3 identities: set MODEL.REID.NUM_IDS"):
        losses(head, torch.randn(2, 4, 1, 1), [0, 3])


class LossOfMaps(nn.Module):
    """The whole head as one function of maps and weights, for ``functional_call``."""

    def __init__(self, head: SoftmaxHead, ids: Tensor):
        super().__init__()
        self.head, self.ids = head, ids

    def forward(self, maps: Tensor) -> Tensor:
        return losses(self.head, maps, self.ids)["loss_id"]


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 3}, num_ids=4).double().train()
    function = LossOfMaps(head, torch.tensor([2, -1, 0, 3, 2]))
    maps = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    gamma = torch.rand(3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def loss(maps, gamma, weight):
        state = {"head.bn.weight": gamma, "head.classifier.weight": weight}
        return torch.func.functional_call(function, state, maps)

    assert torch.autograd.gradcheck(loss, (maps, gamma, weight))


def test_the_embedding_is_the_batch_normed_average():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 6}, num_ids=3)
    head.bn.running_mean.normal_()
    head.bn.running_var.uniform_(0.5, 2)
    head.bn.weight.data.uniform_(0.5, 2)
    maps = torch.randn(5, 6, 4, 2)
    average = maps.flatten(2).mean(dim=2)
    with torch.no_grad():
        scale = head.bn.weight / (head.bn.running_var + 1e-5).sqrt()
        expected = (average - head.bn.running_mean) * scale
        torch.testing.assert_close(head.eval()({"res5": maps}), expected)
        own = (average - average.mean(0)) / (average.var(0, unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(head.train()({"res5": maps}), own * head.bn.weight)


def test_a_single_roi_trains_with_the_running_statistics():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 6}, num_ids=3)
    head.bn.running_mean.normal_()
    maps = torch.randn(1, 6, 4, 2)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    alone = head.train()({"res5": maps})
    losses(head, maps, [1])["loss_id"].backward()
    assert head.bn.weight.grad.abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    torch.testing.assert_close(alone, head.eval()({"res5": maps}))


def test_the_shift_of_the_neck_stays_zero():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 6}, num_ids=3).train()
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    losses(head, torch.randn(4, 6, 2, 2), [0, 1, 2, 0])["loss_id"].backward()
    optimizer.step()
    assert not head.bn.bias.requires_grad
    assert torch.equal(head.bn.bias, torch.zeros(6))


def test_the_classifier_starts_small_and_has_no_bias():
    torch.manual_seed(0)
    head = SoftmaxHead(in_channels={"res5": 2048}, num_ids=50)
    assert head.classifier.bias is None
    assert head.classifier.weight.std().item() == pytest.approx(1e-3, rel=0.02)


def test_a_model_that_is_never_trained_needs_no_identities(tiny_cfg):
    head = build_identity_head(tiny_cfg(num_ids=0), in_channels={"res5": 8}).eval()
    assert head({"res5": torch.randn(3, 8, 2, 1)}).shape == (3, 8)


def test_identities_are_counted_over_all_training_sets(tiny_cfg):
    names = ("model_tests_a", "model_tests_b")

    def read(name: str, number: int) -> list:  # the count is known once the set has been read
        MetadataCatalog.get(name).num_person_ids = number
        return []

    for name, number in zip(names, (3, 4), strict=True):
        DatasetCatalog.register(name, lambda name=name, number=number: read(name, number))
    try:
        assert count_train_ids(tiny_cfg("DATASETS.TRAIN", names, num_ids=-1)) == 7
        assert count_train_ids(tiny_cfg("DATASETS.TRAIN", names, num_ids=11)) == 11
    finally:
        for name in names:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
