import pytest
import torch

from person_search.errors import ConfigError
from person_search.modeling.identity.triplet import TripletHead


def head(mining: str) -> TripletHead:
    return TripletHead(in_channels={"res5": 2}, embedding_dim=2, mining=mining)


@pytest.mark.parametrize(
    "mining, loss",
    # Rows (0, 1), (0, 3), (4, 0) of ids 0, 0, 1. Normalized, the pair is one point, and the other
    # identity 2 away in squared distance: nothing to learn with margin 1. As they are, the pair is
    # 2 apart; from the rows, the other identity is 4.12 and 5 away, and from it nearer one 4.12.
    [("semi_hard", 0.0), ("batch_hard", 0.0)],
)
def test_far_identities_cost_nothing(mining, loss):
    rows = torch.tensor([[0.0, 1], [0, 3], [4, 0]])
    found = head(mining).losses({}, rows, torch.tensor([0, 0, 1]))
    assert found.keys() == {"loss_triplet"} and found["loss_triplet"].item() == loss


def test_each_mining_has_its_own_margin_and_distance():
    # All at one point: semi-hard adds its margin 1 for each pair, batch-hard .3 for each anchor.
    rows, ids = torch.ones(4, 2), torch.tensor([0, 0, 1, 1])
    assert head("semi_hard").losses({}, rows, ids)["loss_triplet"].item() == pytest.approx(1)
    assert head("batch_hard").losses({}, rows, ids)["loss_triplet"].item() == pytest.approx(0.3)


@pytest.mark.parametrize("mining", ["semi_hard", "batch_hard"])
def test_persons_without_identity_take_no_part(mining):
    torch.manual_seed(0)
    rows, ids = torch.randn(6, 2), torch.tensor([0, 0, 1, 1, -1, -1])
    expected = head(mining).losses({}, rows[:4], ids[:4])
    assert head(mining).losses({}, rows, ids) == expected
    nobody = torch.randn(2, 2, requires_grad=True)
    head(mining).losses({}, nobody, ids[4:])["loss_triplet"].backward()
    assert torch.equal(nobody.grad, torch.zeros(2, 2))


def test_rows_are_projected_means_of_the_last_map():
    ours = head("semi_hard")
    maps = {"res5": torch.arange(8.0).reshape(1, 2, 2, 2)}  # means 1.5 and 5.5
    with torch.no_grad():
        expected = ours.projection(torch.tensor([[1.5, 5.5]]))
        assert torch.allclose(ours(maps), expected)


def test_an_unknown_mining_is_refused():
    with pytest.raises(ConfigError, match="TRIPLET_MINING is 'hard'; legal: semi_hard, batch_hard"):
        head("hard")
