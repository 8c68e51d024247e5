"""What every model that searches for persons gets from its base class."""

import torch
from detectron2.structures import Boxes, Instances

from person_search.modeling.meta_arch.base import SearchModel

FOUND = torch.tensor([[10.0, 10, 30, 70], [100, 20, 130, 80]])
EMBEDS = torch.eye(2)


class Finder(SearchModel):
    """Finds the same two persons in every frame of 200 x 100 pixels; cannot embed a given box."""

    embedding_dim = 2

    def __init__(self, number: int = 2):
        super().__init__()
        self.number = number

    def forward(self, batched_inputs):
        assert not any(key in x for x in batched_inputs for key in ("query_boxes", "gt_boxes"))
        found = Instances((100, 200), pred_boxes=Boxes(FOUND), scores=torch.ones(2))
        found.pred_embeds = EMBEDS
        return [{"instances": found[: self.number]} for _ in batched_inputs]


def test_a_box_gets_the_embedding_of_the_detection_that_overlaps_it_most():
    """Boxes are in pixels of the network input, which is half as large as the frame."""
    boxes = torch.tensor([[50.0, 10, 65, 40], [6, 6, 15, 35], [5, 5, 60, 40], [80, 40, 90, 50]])
    image = torch.zeros(3, 50, 100)
    embeds, none = Finder().embed_boxes(
        [{"image": image, "query_boxes": boxes}, {"image": image, "query_boxes": boxes[:0]}]
    )
    # The third one holds the first person whole, and the second one in part; the last holds nobody.
    assert embeds.tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]
    assert none.shape == (0, 2)
    assert boxes[0].tolist() == [50, 10, 65, 40]  # the input stays as it is


def test_where_nobody_is_found_no_box_is_like_anybody():
    (embeds,) = Finder(number=0).embed_boxes(
        [{"image": torch.zeros(3, 50, 100), "query_boxes": FOUND / 2}]
    )
    assert embeds.tolist() == [[0, 0], [0, 0]]
