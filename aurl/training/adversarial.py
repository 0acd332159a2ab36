"""Terms of adversarial training as pure functions of what the discriminator says. The formula is in losses.py, the
caller is adversary.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aurl.models.discriminator import Judgement
from aurl.training.adversarial_config import AdversarialLoss


def critic_loss(kind: AdversarialLoss, real: Judgement, fake: Judgement) -> Tensor:
    """What the discriminator minimises: the mean over scales."""
    return _mean(_critic(kind, real.scores[scale], fake.scores[scale]) for scale in real.scores)


def generator_loss(kind: AdversarialLoss, fake: Judgement) -> Tensor:
    """What the model minimises: the mean over scales."""
    return _mean(_generator(kind, scores) for scores in fake.scores.values())


def _critic(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    if kind is AdversarialLoss.hinge:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind is AdversarialLoss.logistic:
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    return (real - 1).square().mean() + (fake + 1).square().mean()


def _generator(kind: AdversarialLoss, fake: Tensor) -> Tensor:
    if kind is AdversarialLoss.hinge:
        return -fake.mean()
    if kind is AdversarialLoss.logistic:
        return F.softplus(-fake).mean()
    return (fake - 1).square().mean()


def feature_matching(real: Judgement, fake: Judgement) -> Tensor:
    """Mean distance between the mean hidden features of real and of written music (Salimans et al. 2016,
    arXiv:1606.03498); gradients reach the written alone.
    """
    pairs = zip(real.layers, fake.layers, strict=True)
    return _mean((theirs.detach().mean(0) - ours.mean(0)).abs().mean() for theirs, ours in pairs)


def gradient_penalty(judgement: Judgement, inputs: Sequence[Tensor], count: int) -> Tensor:
    """Squared gradient of the summed mean scores by what was judged, a judged window (Mescheder et al. 2018,
    arXiv:1801.04406, equation 9).

    Args:
        judgement: of the inputs.
        inputs: that need gradients.
        count: judged windows.
    """
    total = torch.stack([scores.mean() for scores in judgement.scores.values()]).sum() * count
    gradients = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
    return torch.stack([each.square().sum() for each in gradients if each is not None]).sum() / count


def accuracy(real: Judgement, fake: Judgement) -> tuple[float, float]:
    """Share of scores on the right side of 0: of real music, of written music."""
    right = torch.cat([scores > 0 for scores in real.scores.values()])
    wrong = torch.cat([scores < 0 for scores in fake.scores.values()])
    return right.float().mean().item(), wrong.float().mean().item()


def _mean(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()
