"""IBN-a: instance norm on the first half of the channels, batch norm on the second."""

import pytest
import torch
import torch.nn.functional as F

from person_search.layers.ibn import IBN


def random_ibn(channels: int) -> IBN:
    """With affine parameters and running statistics that a mix-up would show."""
    torch.manual_seed(0)
    ibn = IBN(channels)
    for norm in (ibn.IN, ibn.BN):
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_()
    ibn.BN.running_mean.normal_()
    ibn.BN.running_var.uniform_(0.5, 1.5)
    return ibn


@pytest.mark.parametrize("channels, half", [(64, 32), (7, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_first_half_is_instance_and_second_half_batch_normalized(channels, half, training):
    ibn = random_ibn(channels).train(training)
    x = torch.randn(3, channels, 5, 4) * 2 + 1
    batch = F.batch_norm(
        x[:, half:],
        ibn.BN.running_mean.clone(),
        ibn.BN.running_var.clone(),
        ibn.BN.weight,
        ibn.BN.bias,
        training=training,
    )
    out = ibn(x)
    instance = F.instance_norm(x[:, :half], weight=ibn.IN.weight, bias=ibn.IN.bias)
    torch.testing.assert_close(out[:, :half], instance)
    torch.testing.assert_close(out[:, half:], batch)


def test_instance_half_by_hand():
    # One channel with the values 1, 3: mean 2, variance 1, so -1, 1 but for eps = 1e-5.
    ibn = IBN(2).eval()
    x = torch.tensor([[[[1.0, 3.0]], [[1.0, 3.0]]]])
    expected = torch.tensor([[[[-1.0, 1.0]], [[1.0, 3.0]]]])  # running statistics are 0 and 1
    torch.testing.assert_close(ibn(x), expected, atol=2e-5, rtol=0)


def test_instance_half_keeps_no_running_statistics():
    names = {name for name, _ in IBN(8).named_buffers()}
    assert names == {"BN.running_mean", "BN.running_var", "BN.num_batches_tracked"}


def test_zero_padding_changes_the_instance_half_alone():
    ibn = random_ibn(8).eval()
    x = torch.randn(1, 8, 6, 6)
    padded = ibn(F.pad(x, (0, 2, 0, 0)))[..., :6]
    torch.testing.assert_close(padded[:, 4:], ibn(x)[:, 4:])
    assert (padded[:, :4] - ibn(x)[:, :4]).abs().max() > 0.05


def test_no_boxes_give_no_maps():
    assert IBN(8).eval()(torch.zeros(0, 8, 4, 4)).shape == (0, 8, 4, 4)


def test_norm_of_the_batch_half_is_chosen_by_name():
    assert type(IBN(8, "FrozenBN").BN).__name__ == "FrozenBatchNorm2d"
