"""Alignment of domains: every term by hand, who its gradient is turned round for, empty input."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.modeling.meta_arch.hybrid.alignment import (
    AlignmentInputs,
    DomainAlignment,
    mean_of_groups,
)

C, E = 6, 5


def make(num_domains: int = 3, consistency: float = 0.0, weight: float = 1.0) -> DomainAlignment:
    torch.manual_seed(0)
    align = DomainAlignment(
        name="toy",
        num_domains=num_domains,
        image_channels=C,
        instance_channels=E,
        consistency_weight=consistency,
        weight=weight,
    )
    return align.double().eval()  # no dropout


def inputs(image_of=(0, 0, 2), num_domains: int = 3) -> AlignmentInputs:
    """Three images of 4x5 pixels, the second with two columns of padding."""
    torch.manual_seed(1)
    valid = torch.ones(3, 4, 5, dtype=torch.bool)
    valid[1, :, 3:] = False
    return AlignmentInputs(
        maps=torch.randn(3, C, 4, 5).double().requires_grad_(),
        valid=valid,
        vectors=torch.randn(len(image_of), E).double().requires_grad_(),
        image_of=torch.tensor(image_of, dtype=torch.int64),
        domains=torch.tensor([2, 0, 1]) % num_domains,
    )


def terms(
    align: DomainAlignment, x: AlignmentInputs
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image and instance loss, and consistency, in plain loops over images and pixels."""
    of_pixels, of_persons, shares = [], [], []
    for image in range(3):
        pixels = [x.maps[image, :, y, u] for y, u in x.valid[image].nonzero().tolist()]
        logits = torch.stack([align.image_head(pixel) for pixel in pixels])
        of_pixels += [F.cross_entropy(row, x.domains[image]) for row in logits]
        shares.append(logits.softmax(dim=1).mean(dim=0))
    distances = []
    for vector, image in zip(x.vectors, x.image_of.tolist(), strict=True):
        logits = align.instance_head(vector)
        of_persons.append(F.cross_entropy(logits, x.domains[image]))
        distances.append((logits.softmax(dim=0) - shares[image]).square().sum().sqrt())
    means = [torch.stack(t).mean() for t in (of_pixels, of_persons, distances)]
    return means[0], means[1], means[2]


@pytest.mark.parametrize("num_domains", [2, 3])
def test_the_loss_by_hand(num_domains):
    align, x = make(num_domains, 0.1, weight=0.7), inputs(num_domains=num_domains)
    image, instance, consistency = terms(align, x)
    expected = 0.7 * (image + instance + 0.1 * consistency)
    torch.testing.assert_close(align(x, reversal=0.3), expected)


def gradients(loss: torch.Tensor, align: DomainAlignment, x: AlignmentInputs) -> list[torch.Tensor]:
    of = [x.maps, x.vectors, *align.parameters()]
    return list(torch.autograd.grad(loss, of, retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("reversal", [0.0, 0.4])
def test_classification_is_turned_round_and_consistency_is_not(reversal):
    """Heads follow the whole loss; features -w of the classification and +w of the consistency."""
    align, x = make(consistency=0.5), inputs()
    found = gradients(align(x, reversal=reversal), align, x)
    image, instance, consistency = terms(align, x)
    classification = gradients(image + instance, align, x)
    agreement = gradients(0.5 * consistency, align, x)
    for k, (one, two) in enumerate(zip(classification, agreement, strict=True)):
        is_feature = k < 2
        expected = reversal * (two - one) if is_feature else one + two
        torch.testing.assert_close(found[k], expected)


def test_padding_gets_no_gradient_and_changes_nothing():
    align, x = make(consistency=0.1), inputs()
    loss = align(x, reversal=1.0)
    (gradient,) = torch.autograd.grad(loss, x.maps)
    assert (gradient.permute(0, 2, 3, 1)[~x.valid] == 0).all()
    assert (gradient.permute(0, 2, 3, 1)[x.valid] != 0).any()
    other = x.maps.detach() + 9 * ~x.valid[:, None]
    torch.testing.assert_close(align(replace(x, maps=other), reversal=1.0), loss)


def test_without_persons_the_images_are_left():
    align, x = make(consistency=0.1), inputs(image_of=())
    loss = align(x, reversal=1.0)
    pixels = x.maps.permute(0, 2, 3, 1)[x.valid]
    domains = x.domains.repeat_interleave(torch.tensor([20, 12, 20]))
    torch.testing.assert_close(loss, F.cross_entropy(align.image_head(pixels), domains))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in align.parameters())


def test_without_images_it_is_0_and_touches_every_parameter():
    align = make()
    none = torch.zeros(0, dtype=torch.int64)
    empty = torch.zeros(0, C, 4, 5).double(), torch.zeros(0, 4, 5, dtype=torch.bool)
    x = AlignmentInputs(*empty, torch.zeros(0, E).double(), none, none)
    loss = align(x, reversal=1.0)
    assert loss.item() == 0
    loss.backward()
    assert all((p.grad == 0).all() for p in align.parameters())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_classifiers_converge_at_a_detectors_rate_however_large_features_are(scale, event_storage):
    """Two domains that differ a little in every channel; SGD at 0.02, momentum 0.9."""
    torch.manual_seed(0)
    align = DomainAlignment(name="toy", num_domains=2, image_channels=128, instance_channels=256)
    optimizer = torch.optim.SGD(align.parameters(), lr=0.02, momentum=0.9)
    domains = torch.tensor([0, 1])
    signs = torch.tensor([-1.0, 1.0])
    image_of = torch.arange(2).repeat_interleave(4)
    losses = []
    for _ in range(150):
        maps = torch.rand(2, 128, 3, 3)
        maps[:, :64] += 0.3 * signs[:, None, None, None]
        vectors = torch.rand(8, 256)
        vectors[:, :128] += 0.3 * signs[image_of, None]
        valid = torch.ones(2, 3, 3, dtype=torch.bool)
        x = AlignmentInputs(scale * maps, valid, scale * vectors, image_of, domains)
        loss = align(x, reversal=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) < 2.0  # of knowing nothing: 2 ln 2 = 1.39
    assert sum(losses[-10:]) / 10 < 0.2


def test_its_accuracy_is_logged(event_storage):
    align, x = make(), inputs()
    align(x, reversal=1.0)
    latest = event_storage.latest()
    guesses = align.instance_head(x.vectors).argmax(dim=1)
    expected = (guesses == x.domains[x.image_of]).double().mean()
    assert latest["toy/instance_accuracy"][0] == pytest.approx(float(expected))
    assert 0 <= latest["toy/image_accuracy"][0] <= 1


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.integers(0, 4), max_size=12))
def test_means_of_groups(groups):
    rows = torch.randn(len(groups), 3).double()
    group_of = torch.tensor(groups, dtype=torch.int64)
    found = mean_of_groups(rows, group_of, 5)
    for group in range(5):
        own = rows[group_of == group]
        expected = own.mean(dim=0) if len(own) else torch.zeros(3).double()
        torch.testing.assert_close(found[group], expected)
