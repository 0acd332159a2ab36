"""Losses that are not finite: the batch is left out by all processes together, counted and said; too many in a row end
training.

With several processes each has a loss of its own. If one alone left its batch out, the others would wait for its
gradients for ever, so all ask each other first. Gradients need no such question: they are the same everywhere once they
have been added up.
"""

from __future__ import annotations

import logging

import torch
import torch.distributed as dist
from torch import Tensor

from aurl.utils.errors import AurlError

log = logging.getLogger("aurl.training.module")

NON_FINITE_LIMIT = 20
"""Batches in a row without a finite loss after which training stops."""


class FiniteGuard:
    """Counts what was skipped.

    Args:
        lr: learning rate of the run, for the message.

    Example:
        >>> guard = FiniteGuard(lr=1e-3)
        >>> guard.accepts(torch.tensor(2.0), batch=1), guard.skipped
        (True, 0)
    """

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.skipped = 0
        """Batches and steps left out so far, the same number in all processes."""
        self._in_a_row = 0

    def accepts(self, loss: Tensor, batch: int) -> bool:
        """Whether the loss is finite in every process; to be called by all of them.

        Args:
            loss: of this process.
            batch: its number, for the message.

        Raises:
            AurlError: it was not in ``NON_FINITE_LIMIT`` batches in a row.
        """
        finite = bool(torch.isfinite(loss))
        if everywhere(finite, loss.device):
            self._in_a_row = 0
            return True
        self._in_a_row += 1
        found = "that is not finite in another process" if finite else f"of {loss.item()}"
        self.skip("batch %d has a loss %s and was skipped", batch, found)
        if self._in_a_row >= NON_FINITE_LIMIT:
            raise AurlError(f"the loss was not finite in {NON_FINITE_LIMIT} batches in a row; lower optim.lr={self.lr}")
        return False

    def skip(self, message: str, *values: object) -> None:
        """Count something that was left out, and say what."""
        self.skipped += 1
        log.warning(message, *values)


def everywhere(here: bool, device: torch.device) -> bool:
    """Whether something holds in every process; to be called by all of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return here
    holds = torch.tensor(float(here), device=device)
    dist.all_reduce(holds, dist.ReduceOp.MIN)
    return bool(holds)
