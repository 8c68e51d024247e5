"""A student on RoIs of scenes learns from a teacher on crops, in the style of DKD.

After descriptions of Zhang et al., "Diverse Knowledge Distillation for End-to-End Person Search",
AAAI 2021; the exact forms are how this project reads them. The teacher gets no gradient.

Shape shorthand in this module:
    R: number of RoIs; P: number of crops; D: embedding size; L: number of identities
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def identity_distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL(teacher || student) of softened identity probabilities, times temperature^2.

    The factor keeps the size of the gradient (Hinton et al., 2015).

    Args:
        student, teacher: (R, L) logits; R may be 0, which gives 0.
        temperature: what logits are divided by.
    """
    if len(student) == 0:
        return student.sum() * 0.0
    log_p = (student.float() / temperature).log_softmax(dim=1)
    log_q = (teacher.detach().float() / temperature).log_softmax(dim=1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def relation_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two (R, R) matrices of cosines among the persons.

    Args:
        student, teacher: (R, D) embeddings; R may be 0, which gives 0.
    """
    if len(student) == 0:
        return student.sum() * 0.0
    ours, theirs = F.normalize(student.float()), F.normalize(teacher.detach().float())
    return F.mse_loss(ours @ ours.T, theirs @ theirs.T)


def triplet_distillation(
    student: Tensor, teacher: Tensor, crops: Tensor, ids: Tensor, temperature: float = 0.1
) -> Tensor:
    """Each RoI has to be closer to the teacher's view of its own crop than to other persons'.

    Cross entropy over the cosines, divided by the temperature, with all crops but the other ones of
    the same person. For example with crops of persons a, b and a, a RoI that shows the first one
    is classified among the first and the second.

    Args:
        student: (R, D) embeddings of RoIs; R may be 0, which gives 0.
        teacher: (P, D) embeddings of crops.
        crops: (R,) which crop shows the person of a RoI.
        ids: (P,) identities of the crops.
        temperature: what cosines are divided by.
    """
    if len(student) == 0:
        return student.sum() * 0.0
    logits = F.normalize(student.float()) @ F.normalize(teacher.detach().float()).T / temperature
    others = torch.arange(len(ids), device=ids.device) != crops[:, None]
    same_person = others & (ids == ids[crops][:, None])
    return F.cross_entropy(logits.masked_fill(same_person, -torch.inf), crops)
