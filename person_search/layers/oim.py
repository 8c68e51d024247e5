"""Online instance matching (Xiao et al., CVPR 2017): a softmax over remembered persons.

Shape shorthand in this module:
    R: number of persons; D: embedding size; L: number of identities; Q: length of the queue
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from person_search.labels import UNLABELED

from .gather import gather_rows


class OIMLoss(nn.Module):
    """Matches embeddings with a table of the identities and a queue of persons without one.

    With table V (L, D), queue U (Q, D) and a unit embedding x of identity t, the loss is the mean
    over the labeled persons of ``-log softmax(scale * [V; U] x)[t]``. Then, in training, the rows
    learn from the batch, without gradients: ``V_t <- normalize(momentum * V_t + (1 - momentum) x)``
    for one labeled person after the other, in the order of the batch; and the unlabeled ones
    replace the oldest rows of the queue. A row that nobody has filled yet is 0 and takes part with
    similarity 0, as published.

    Table and queue learn from the persons of all ranks, in rank order, and so are the same on all
    of them: broadcasting the buffers of rank 0 (``broadcast_buffers`` of distributed training) is
    not needed, and does no harm. They and the position in the queue are in the state dict.

    Args:
        num_ids: L; 0 for a model that is never trained.
        queue_size: Q; 0: unlabeled persons play no part.
        dim: D.
        momentum: share of the old row, in [0, 1].
        scale: inverse temperature of the softmax.
        queue_scale: that of the queue, where it has another one (AlignPS).
        criterion: the mean loss of logits (R, L + Q) and targets (R,), R > 0; cross entropy, as
            above, or its focal form (AlignPS).
    """

    def __init__(
        self,
        num_ids: int,
        queue_size: int,
        dim: int,
        momentum: float = 0.5,
        scale: float = 30.0,
        queue_scale: float | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ):
        super().__init__()
        self.momentum, self.scale = momentum, scale
        self.queue_share = 1.0 if queue_scale is None else queue_scale / scale
        self.criterion = criterion
        self.register_buffer("table", torch.zeros(num_ids, dim))
        self.register_buffer("queue", torch.zeros(queue_size, dim))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, ids: Tensor, positives: Tensor | None = None) -> Tensor:
        """Unit embeddings (R, D) and person ids (R,) to a scalar; learns them in training.

        Ids are in [0, L), UNLABELED or BACKGROUND, which is left out. R may be 0. Computed in
        float32, also under autocast. In training it is collective: every rank has to call it.

        With ``positives`` p, each person without identity is an identity of its own, too: the mean
        is also over them, of ``-log softmax(scale * [V; U; p] x)[p]``. For example with scale 1,
        V = [(1, 0)], an empty queue, x = (0, 1) and p = (0, 1) the logits are (0, 1), and the loss
        of that person is log(1 + e) - 1 = .31.

        Args:
            embeddings, ids: see above.
            positives: (R, D) unit rows without gradient, what persons without identity are to be
                recognized as, such as their other views. A row of zeros: nothing, which leaves the
                person out. Rows of other persons are not read.

        Raises:
            ValueError: an id is outside of the table.
        """
        if len(ids) > 0 and ids.max() >= len(self.table):
            raise ValueError(f"person id {ids.max()}, but a table of {len(self.table)} identities")
        classified = ids >= 0
        if positives is not None:
            classified |= (ids == UNLABELED) & positives.any(dim=1)
        embeddings = embeddings.float()
        logits, targets = self.logits(embeddings[classified]), ids[classified]
        if positives is not None:
            own = self.scale * (embeddings * positives.float())[classified].sum(dim=1)
            own = own.masked_fill(targets >= 0, -torch.inf)
            targets = torch.where(targets >= 0, targets, logits.shape[1])
            logits = torch.cat([logits, own[:, None]], dim=1)
        # The mean over nothing is not a number.
        loss = self.criterion(logits, targets) if len(targets) else logits.sum() * 0.0
        if self.training:
            self._learn(*gather_rows(embeddings.detach(), ids))
        return loss

    def logits(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (R, D) to (R, L + Q) float32 logits of the identities and the queue."""
        with torch.autocast(embeddings.device.type, enabled=False):
            # A copy: the gradient belongs to the rows as they were before they learn.
            rows = torch.cat([self.table, self.queue * self.queue_share])
            return self.scale * embeddings.float() @ rows.T

    @torch.no_grad()
    def _learn(self, embeddings: Tensor, ids: Tensor) -> None:
        labeled = ids >= 0
        self._update_table(embeddings[labeled], ids[labeled])
        self._enqueue(embeddings[ids == UNLABELED])

    def _update_table(self, embeddings: Tensor, ids: Tensor) -> None:
        # Normalizing after each person makes their order matter: round k has the k-th embedding of
        # every identity, so that no identity is twice in a round. Of ids 4, 7, 4, 4 the rounds are
        # 0, 0, 1, 2: three updates instead of four, with the result of one after the other.
        rounds = (ids[:, None] == ids).tril(diagonal=-1).sum(dim=1)
        for k in range(int(rounds.max()) + 1 if len(ids) else 0):
            now = rounds == k
            rows = ids[now]
            mixed = self.momentum * self.table[rows] + (1 - self.momentum) * embeddings[now]
            self.table[rows] = F.normalize(mixed)

    def _enqueue(self, embeddings: Tensor) -> None:
        length = len(self.queue)
        if length == 0:
            return
        steps = torch.arange(len(embeddings), device=embeddings.device)
        slots = (self.position + steps) % length
        # With position 3 and length 4, persons go to the slots 3, 0, 1, ... Of more persons than
        # the queue is long, the last ones stay.
        self.queue[slots[-length:]] = embeddings[-length:]
        self.position.copy_((self.position + len(embeddings)) % length)
