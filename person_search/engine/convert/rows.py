"""Names and rows of other code, brought to ours."""

import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from person_search.modeling.backbone.weights import canonical_name

Rows = Callable[[Tensor], Tensor]


def as_it_is(x: Tensor) -> Tensor:
    """All rows, in their order."""
    return x


def person_box(x: Tensor) -> Tensor:
    """Rows of the deltas of class 1, the person: 4..7 of (background, person)."""
    return x[4:8]


def person_first(x: Tensor) -> Tensor:
    """(background, person) -> (person, background), as detectron2 orders classes."""
    return x[[1, 0]]


def size_major(sizes: int, ratios: int, per_anchor: int = 1) -> Rows:
    """Rows of an RPN from torchvision's order of anchors to detectron2's.

    There the aspect ratio is the outer loop, here the size is. Of 2 ratios a, b and 3 sizes 1, 2, 3
    the rows a1 a2 a3 b1 b2 b3 become a1 b1 a2 b2 a3 b3: rows 0 3 1 4 2 5.
    """

    def rows(x: Tensor) -> Tensor:
        if len(x) != sizes * ratios * per_anchor:
            return x  # of another shape, which is refused where it is placed
        order = torch.arange(sizes * ratios).view(ratios, sizes).T.reshape(-1)
        return x.unflatten(0, (ratios * sizes, per_anchor))[order].flatten(0, 1)

    return rows


def rename(
    state: Mapping[str, Tensor],
    stages: Mapping[str, str],
    rules: Iterable[tuple[str, str, Rows]],
) -> tuple[dict[str, Tensor], list[str]]:
    """A state under our names, and the keys that nothing here names.

    Args:
        state: of the file.
        stages: prefix of stages of the backbone in the file -> prefix of ours.
        rules: regular expression at the beginning of a key, what replaces it, and the rows taken.
    """
    ours, unknown = {}, []
    for key, tensor in state.items():
        named = canonical_name(key)
        if named is not None and named[0] in stages:
            ours[stages[named[0]] + named[1]] = tensor
            continue
        for pattern, replacement, rows in rules:
            new, number = re.subn(f"^{pattern}", replacement, key)
            if number:
                ours[new] = rows(tensor) if tensor.ndim else tensor
                break
        else:
            unknown.append(key)
    return ours, unknown
