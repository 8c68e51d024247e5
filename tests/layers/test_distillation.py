"""DKD-style distillation by hand, and that the teacher learns nothing from it."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from person_search.layers.distillation import (
    identity_distillation,
    relation_distillation,
    triplet_distillation,
)

CROPS, IDS = torch.tensor([0, 2, 2]), torch.tensor([7, 8, 7])
"""Three RoIs of crops 0, 2 and 2; crops 0 and 2 show the same person."""


def triplet(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return triplet_distillation(student, teacher, CROPS[: len(student)], IDS)


LOSSES = (identity_distillation, relation_distillation, triplet)


def test_identities_by_hand():
    """KL of (3/4, 1/4) from (1/2, 1/2), once as it is, once softened to the same by T = 2."""
    student = torch.zeros(1, 2)
    expected = 0.75 * log(3 / 2) + 0.25 * log(1 / 2)
    found = identity_distillation(student, torch.tensor([[log(3), 0.0]]))
    assert found.item() == pytest.approx(expected)
    found = identity_distillation(student, torch.tensor([[2 * log(3), 0.0]]), temperature=2.0)
    assert found.item() == pytest.approx(4 * expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient_of_the_identities(temperature):
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_()
    identity_distillation(student, teacher, temperature).backward()
    p, q = ((x.detach() / temperature).softmax(dim=1) for x in (student, teacher))
    torch.testing.assert_close(student.grad, temperature * (p - q) / 3)


def test_relations_by_hand():
    """Cosines (1 0; 0 1) and (1 1; 1 1), whatever the lengths: 2 of 4 entries differ by 1."""
    student = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    teacher = torch.tensor([[1.0, 1.0, 0.0], [3.0, 3.0, 0.0]])  # may have another dimension
    assert relation_distillation(student, teacher).item() == pytest.approx(0.5)
    turned = student @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert relation_distillation(turned, student).item() == pytest.approx(0, abs=1e-6)


def test_triplets_by_hand():
    """Cosines of one RoI with its crop, another person's and another crop of its own: 1, .6, 1."""
    student = torch.tensor([[2.0, 0.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.6, 0.8], [9.0, 0.0]])
    crops, ids = torch.tensor([0]), torch.tensor([7, 8, 7])
    found = triplet_distillation(student, teacher, crops, ids, temperature=0.5)
    assert found.item() == pytest.approx(-log(exp(2.0) / (exp(2.0) + exp(1.2))))
    # Three persons: now the third crop counts, too.
    found = triplet_distillation(student, teacher, crops, torch.tensor([7, 8, 9]), temperature=0.5)
    assert found.item() == pytest.approx(-log(exp(2.0) / (2 * exp(2.0) + exp(1.2))))
    # Nobody else in the batch: nothing to learn.
    assert triplet_distillation(student, teacher, crops, torch.tensor([7, 7, 7])).item() == 0.0


def test_gradient_of_relations_and_triplets_is_that_of_a_plain_reference():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_()
    ours, theirs = F.normalize(student), F.normalize(teacher)
    relation = sum(
        (ours[i] @ ours[j] - theirs[i] @ theirs[j]) ** 2 for i in range(3) for j in range(3)
    )
    contrast = 0
    for i, crop in enumerate(CROPS.tolist()):
        logits = [
            ours[i] @ theirs[j] / 0.1 for j in range(3) if j == crop or IDS[j] != IDS[crop]
        ]
        contrast = contrast - ours[i] @ theirs[crop] / 0.1 + torch.stack(logits).logsumexp(dim=0)
    for loss, reference in ((relation_distillation, relation / 9), (triplet, contrast / 3)):
        found = loss(student, teacher)
        torch.testing.assert_close(found, reference)
        expected = torch.autograd.grad(reference, student, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(found, student), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_teacher_gets_no_gradient(loss):
    student, teacher = (x.requires_grad_() for x in torch.randn(2, 3, 4).unbind())
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_like_its_teacher_learns_nothing_from_it(loss):
    x = torch.eye(3)[[0, 1, 2]] * 100 if loss is triplet else torch.randn(3, 4)
    student = x[CROPS] if loss is triplet else x.clone()
    student.requires_grad_()
    value = loss(student, x)
    assert value.item() == pytest.approx(0, abs=1e-3)
    (grad,) = torch.autograd.grad(value, student)
    assert grad.abs().max() < 1e-4


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("number", [0, 1])
def test_nobody_and_one_person(loss, number):
    student = torch.randn(number, 4).requires_grad_()
    value = loss(student, torch.randn(3, 4)[:number] if loss is not triplet else torch.randn(3, 4))
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    assert number or value.item() == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss):
    student, teacher = torch.randn(2, 3, 64).mul(10).bfloat16().unbind()
    value = loss(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(student.float(), teacher.float()))
