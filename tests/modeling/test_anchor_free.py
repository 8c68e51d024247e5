"""The anchor-free detector: its losses and detections of a head that says what it is told."""

import math

import pytest
import torch
from torch import Tensor, nn

from person_search.modeling.proposal_generator.anchor_free import AnchorFreeDetector, AnchorFreeHead

P3 = torch.zeros(1, 32, 2, 3)  # a picture of 24 x 16 pixels


class Told(nn.Module):
    """Stands for AnchorFreeHead."""

    def __init__(self, scores: list[float], ways: list[list[float]], central: list[float]):
        super().__init__()
        self.logits = torch.tensor([scores])
        self.ways, self.central = torch.tensor([ways]), torch.tensor([central])

    def score_logits(self, feature: Tensor) -> Tensor:
        return self.logits[:, : feature[0, 0].numel()]

    def boxes(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return self.ways, self.central


def told(scores=(0.0,) * 6, ways=((0.5,) * 4,) * 6, central=(0.0,) * 6, **others):
    return AnchorFreeDetector(head=Told(list(scores), [*map(list, ways)], list(central)), **others)


def found_by(detector: AnchorFreeDetector, size=(16, 24)) -> tuple[list, list, list]:
    (found,) = detector(P3, [size])
    return found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.cells.tolist()


def test_losses_by_hand():
    """One person, (0, 0, 16, 16), whose points are (4, 4), (12, 4), (4, 12) and (12, 12).

    All are as central: sqrt(1/3 * 1/3) = 1/3. The ways of half a cell give boxes of 8 x 8 pixels
    inside of the person's: IoU 1/4, and the hull is the person's box, so that GIoU is 1/4, too.
    """
    detector, boxes = told(), [torch.tensor([[0.0, 0, 16, 16]])]
    assigned = detector.assign(P3, boxes)
    assert assigned.tolist() == [[0, 0, -1, 0, 0, -1]]
    losses = detector.losses([P3, P3[:, :, :1, :1]], boxes, assigned)
    # Each probability is .5: of 4 persons .25 * .25 * log 2, of 3 others (one of them on the
    # coarser map) .75 * .25 * log 2; divided by 4 locations and 1 image.
    focal = (4 * 0.25 + 3 * 0.75) * 0.25 * math.log(2) / 5
    assert losses["loss_cls"].item() == pytest.approx(focal)
    assert losses["loss_box_reg"].item() == pytest.approx(0.75)
    assert losses["loss_centerness"].item() == pytest.approx(math.log(2))


def test_no_location_has_a_person():
    """Of an image without persons, and of one whose person lies between all points."""
    for box in (torch.zeros(0, 4), torch.tensor([[5.0, 5, 11, 11]])):
        detector = AnchorFreeDetector(head=AnchorFreeHead(32, num_convs=1))
        losses = detector.losses([P3], [box], detector.assign(P3, [box]))
        assert losses["loss_box_reg"] == 0 and losses["loss_centerness"] == 0
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in detector.parameters())


def test_detections_by_hand():
    """Scores are products; what no score reaches and what is suppressed is left out."""
    ways = [[0.5, 0.5, 0.5, 0.5]] * 6
    ways[1] = [1.5, 0.5, -0.5, 0.5]  # the box of the first location, from its neighbor
    ways[5] = [0.25, 0.5, 2.0, 2.0]  # reaches out of the picture
    scores = [1.0, 2.0, -9.0, -9.0, -9.0, 3.0]
    detector = told(scores, ways, [0.0] * 5 + [1.0], score_thresh=0.1)
    boxes, values, cells = found_by(detector)
    sigmoid = [1 / (1 + math.exp(-x)) for x in (1.0, 2.0, 3.0)]
    assert cells == [5, 1]
    assert boxes == [[18.0, 8.0, 24.0, 16.0], [0.0, 0.0, 8.0, 8.0]]
    assert values == pytest.approx([sigmoid[2] * sigmoid[0], sigmoid[1] * 0.5])
    assert found_by(told(scores, ways, score_thresh=0.1, topk=1))[2] == [5]
    assert found_by(told(scores, ways, score_thresh=0.1, max_detections=1))[2] == [5]
    assert found_by(told(scores, ways, score_thresh=0.1, nms_thresh=1.0))[2] == [5, 1, 0]


def test_padding_holds_no_persons_and_boxes_have_an_area():
    boxes, _, cells = found_by(told(), size=(8, 12))
    assert cells == [0]  # the point (12, 4) does not lie in the picture
    assert boxes == [[0.0, 0.0, 8.0, 8.0]]
    assert found_by(told(ways=[[0.0] * 4] * 6)) == ([], [], [])


def test_an_untrained_head_says_that_one_in_a_hundred_is_a_person():
    torch.manual_seed(0)
    head = AnchorFreeHead(32)
    assert head.score.bias.sigmoid().item() == pytest.approx(0.01, abs=1e-5)
    ways, central = head.boxes(torch.randn(2, 32, 3, 4))
    assert ways.shape == (2, 12, 4) and central.shape == (2, 12) and ways.min() >= 0
    assert head.score_logits(torch.randn(2, 32, 3, 4)).shape == (2, 12)
    assert all(p.any() for n, p in head.named_parameters() if n.endswith("conv.weight"))
