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

SMALLEST_SQUARE = 1e-12
"""Keeps the slope of the square root finite where a gradient vanishes."""


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
    if kind is AdversarialLoss.wasserstein:
        return fake.mean() - real.mean()
    return (real - 1).square().mean() + (fake + 1).square().mean()


def _generator(kind: AdversarialLoss, fake: Tensor) -> Tensor:
    if kind in (AdversarialLoss.hinge, AdversarialLoss.wasserstein):
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
    gradients = _gradients(total, inputs)
    return torch.stack([each.square().sum() for each in gradients if each is not None]).sum() / count


def interpolation_penalty(
    judgement: Judgement, inputs: Sequence[Tensor], windows: Sequence[Tensor], count: int
) -> Tensor:
    """Squared distance from 1 of the norm of the gradient of a window's score, mean over judged windows (Gulrajani et
    al. 2017, arXiv:1704.00028, equation 3). A window's score is the mean over scales of its mean score at each.

    Args:
        judgement: of the inputs, with the window of each score.
        inputs: between real and written, that need gradients ``(rows, ...)`` each.
        windows: judged window of each row of each input.
        count: judged windows.
    """
    scales = []
    for name, scores in judgement.scores.items():
        owner = judgement.owners[name]
        sums = scores.new_zeros(count).index_add(0, owner, scores)
        scales.append(sums / torch.bincount(owner, minlength=count).clamp(min=1))
    total = torch.stack(scales).mean(0).sum()  # windows do not see each other, so one gradient serves all
    squares = inputs[0].new_zeros(count)
    for gradient, window in zip(_gradients(total, inputs), windows, strict=True):
        if gradient is not None:
            squares = squares.index_add(0, window, gradient.square().flatten(1).sum(1))
    return ((squares + SMALLEST_SQUARE).sqrt() - 1).square().mean()


def between(real: Sequence[Tensor], fake: Sequence[Tensor], windows: Sequence[Tensor], share: Tensor) -> list[Tensor]:
    """Inputs on the straight way from real to written ones, at a ``share`` ``(count,)`` of it for each window."""
    return [
        torch.lerp(one.detach(), other.detach(), share[window].unsqueeze(-1)).requires_grad_()
        for one, other, window in zip(real, fake, windows, strict=True)
    ]


def _gradients(total: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Of a sum of scores by what was judged, to be learned from."""
    return torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)


def accuracy(real: Judgement, fake: Judgement) -> tuple[float, float]:
    """Share of scores on the right side of 0: of real music, of written music.

    Of a Wasserstein critic this says nothing: a number added to all its scores changes neither its loss nor the
    model's.
    """
    right = torch.cat([scores > 0 for scores in real.scores.values()])
    wrong = torch.cat([scores < 0 for scores in fake.scores.values()])
    return right.float().mean().item(), wrong.float().mean().item()


def _mean(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()
