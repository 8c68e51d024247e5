"""Which boxes train the re-ID branch: every mode by hand, and what holds for any input."""

import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from hypothesis import given, settings
from hypothesis import strategies as st

from person_search.errors import ConfigError
from person_search.labels import BACKGROUND, UNLABELED
from person_search.modeling.embedders.sampling import ReIDSampler

SIZE = (200, 400)

# Two persons 100 wide and high side by side, and what the detector's sampler gave.
PERSONS = [[0, 0, 100, 100], [200, 0, 300, 100]]
SAMPLED = [
    [0, 0, 100, 90],  # IoU .9 with the first
    [0, 0, 80, 100],  # IoU .8 with the first
    [0, 0, 75, 100],  # IoU .75 with the first
    [0, 0, 60, 100],  # IoU .6 with the first
    [200, 0, 300, 95],  # IoU .95 with the second
    [120, 0, 180, 90],  # nobody
    [0, 0, 100, 100],  # the annotation itself, which the detector's sampler appends
]
OWNERS = [0, 0, 0, 0, 1, None, 0]


def image(
    ids: list[int], persons=PERSONS, sampled=SAMPLED, owners=OWNERS
) -> tuple[Instances, Instances]:
    """(sampled proposals, targets) of an image whose persons have these ids."""
    proposals, targets = Instances(SIZE), Instances(SIZE)
    proposals.proposal_boxes = Boxes(torch.tensor(sampled, dtype=torch.float32).reshape(-1, 4))
    of_proposals = [BACKGROUND if k is None else ids[k] for k in owners]
    proposals.gt_person_ids = torch.tensor(of_proposals, dtype=torch.int64)
    targets.gt_boxes = Boxes(torch.tensor(persons, dtype=torch.float32).reshape(-1, 4))
    targets.gt_person_ids = torch.tensor(ids, dtype=torch.int64)
    return proposals, targets


def chosen(sampler: ReIDSampler, proposals, targets) -> list[tuple[int, list[float]]]:
    """Sorted (person id, box) of one image."""
    (rois,) = sampler([proposals], [targets])
    boxes = rois.proposal_boxes.tensor.tolist()
    return sorted(zip(rois.gt_person_ids.tolist(), boxes, strict=True))


@pytest.mark.parametrize("uses_unlabeled", [False, True])
def test_gt_takes_the_annotations(uses_unlabeled):
    sampler = ReIDSampler("gt", uses_unlabeled=uses_unlabeled)
    unlabeled = [(UNLABELED, PERSONS[1])] if uses_unlabeled else []
    assert chosen(sampler, *image([7, UNLABELED])) == [*unlabeled, (7, PERSONS[0])]


@pytest.mark.parametrize("uses_unlabeled", [False, True])
def test_fg_takes_every_sampled_person(uses_unlabeled):
    sampler = ReIDSampler("fg", uses_unlabeled=uses_unlabeled)
    first = sorted((7, box) for box, owner in zip(SAMPLED, OWNERS, strict=True) if owner == 0)
    unlabeled = [(UNLABELED, SAMPLED[4])] if uses_unlabeled else []
    assert chosen(sampler, *image([7, UNLABELED])) == [*unlabeled, *first]


@pytest.mark.parametrize("num_jitter, extra", [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_gt_jitter_adds_proposals_that_fit_well(num_jitter, extra):
    sampler = ReIDSampler("gt_jitter", num_jitter=num_jitter, jitter_iou=0.7)
    found = chosen(sampler, *image([7, UNLABELED]))
    assert found.count((7, PERSONS[0])) == 1
    others = [box for person, box in found if box != PERSONS[0] and person == 7]
    assert len(others) == extra == len(found) - 1
    assert all(box in SAMPLED[:3] for box in others)


def test_gt_jitter_counts_per_person():
    found = chosen(ReIDSampler("gt_jitter", num_jitter=2), *image([7, 4]))
    assert [person for person, _ in found] == [4, 4, 7, 7, 7]
    assert (4, SAMPLED[4]) in found


def test_a_proposal_of_an_unlabeled_neighbor_is_not_the_labeled_persons():
    # IoU .8 with the labeled person, but .9 with the unlabeled one beside: it shows that one.
    persons = [[0, 0, 100, 100], [10, 0, 110, 100]]
    proposals, targets = image([7, UNLABELED], persons, [[6, 0, 106, 100]], [1])
    iou = pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)[:, 0]
    assert iou[1] > iou[0] > 0.7
    assert chosen(ReIDSampler("gt_jitter"), proposals, targets) == [(7, persons[0])]


def test_gt_jitter_draws_at_random_and_repeatably():
    def draw(seed: int):
        torch.manual_seed(seed)
        return chosen(ReIDSampler("gt_jitter", num_jitter=1), *image([7, 4]))

    assert draw(3) == draw(3)
    assert len({str(draw(seed)) for seed in range(20)}) == 3  # each of the three that fit


@pytest.mark.parametrize("mode", ReIDSampler.MODES)
def test_images_without_persons_or_proposals(mode):
    nobody = image([], persons=[], owners=[None] * len(SAMPLED))
    no_proposals = image([7], persons=PERSONS[:1], sampled=[], owners=[])
    proposals, targets = zip(nobody, no_proposals, strict=True)
    first, second = ReIDSampler(mode)(list(proposals), list(targets))
    assert len(first) == 0 and first.proposal_boxes.tensor.shape == (0, 4)
    assert second.gt_person_ids.tolist() == ([] if mode == "fg" else [7])
    assert first.gt_person_ids.dtype == second.gt_person_ids.dtype == torch.int64


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="MODEL.REID.ROIS is 'all'; legal: gt, gt_jitter, gt_mov"):
        ReIDSampler("all")


def test_boxes_carry_no_gradient():
    proposals, targets = image([7, 4])
    proposals.proposal_boxes.tensor.requires_grad_()
    for mode in ReIDSampler.MODES:
        (rois,) = ReIDSampler(mode)([proposals], [targets])
        assert not rois.proposal_boxes.tensor.requires_grad


def test_gt_moved_moves_the_corners_of_the_annotations():
    sampler = ReIDSampler("gt_moved", move_corners=0.25)
    torch.manual_seed(0)
    drawn = torch.tensor([[box for _, box in chosen(sampler, *image([4, 7]))] for _ in range(200)])
    offsets = drawn - torch.tensor(PERSONS)
    assert offsets.abs().max() <= 25 and offsets.std(dim=0).min() > 12  # uniform: 14.4
    assert [person for person, _ in chosen(sampler, *image([7, UNLABELED]))] == [7]


@pytest.mark.parametrize("mode", ReIDSampler.MODES)
def test_rois_carry_what_is_known_of_their_person(mode):
    """Any further field of the targets, as detectron2 hands it to the sampled proposals."""
    proposals, targets = image([4, 7])
    targets.gt_number = torch.tensor([40, 70])
    proposals.gt_number = proposals.gt_person_ids * 10
    (rois,) = ReIDSampler(mode)([proposals], [targets])
    assert len(rois) > 1 and rois.gt_number.tolist() == (rois.gt_person_ids * 10).tolist()


@st.composite
def boxes_of_one_image(draw, at_most: int):
    side = st.integers(5, 60)
    corner = st.integers(0, 40)  # a small area, so that boxes meet
    rows = draw(st.lists(st.tuples(corner, corner, side, side), max_size=at_most))
    return [[x, y, x + w, y + h] for x, y, w, h in rows]


@settings(deadline=None, max_examples=100)
@given(
    persons=boxes_of_one_image(at_most=5),
    others=boxes_of_one_image(at_most=12),
    labels=st.lists(st.sampled_from([UNLABELED, 0, 1, 2]), min_size=5, max_size=5),
    num_jitter=st.integers(0, 3),
    jitter_iou=st.sampled_from([0.5, 0.7, 0.9]),
    uses_unlabeled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_invariants_of_gt_jitter(
    persons, others, labels, num_jitter, jitter_iou, uses_unlabeled, seed
):
    labels = labels[: len(persons)]
    # The annotations are among the sampled proposals, as detectron2 appends them.
    proposals, targets = image(labels, persons, others + persons, [None] * len(others + persons))
    torch.manual_seed(seed)
    sampler = ReIDSampler("gt_jitter", num_jitter, jitter_iou, uses_unlabeled)
    (rois,) = sampler([proposals], [targets])
    boxes, ids = rois.proposal_boxes, rois.gt_person_ids

    wanted = [k for k, label in enumerate(labels) if label >= 0 or uses_unlabeled]
    assert boxes.tensor[: len(wanted)].tolist() == [persons[k] for k in wanted]
    assert ids[: len(wanted)].tolist() == [labels[k] for k in wanted]
    assert BACKGROUND not in ids
    assert uses_unlabeled or UNLABELED not in ids

    extra = boxes[len(wanted) :]
    assert len(extra) <= num_jitter * len(wanted)
    if len(extra) == 0:
        return
    iou = pairwise_iou(extra, targets.gt_boxes)
    best = iou.max(dim=1, keepdim=True).values
    assert (best >= jitter_iou).all() and (best < 1).all()
    for row, identity in zip(iou == best, ids[len(wanted) :].tolist(), strict=True):
        assert identity in [label for label, is_best in zip(labels, row, strict=True) if is_best]
    for label in set(labels):
        number = (ids[len(wanted) :] == label).sum()
        assert number <= num_jitter * labels.count(label)
