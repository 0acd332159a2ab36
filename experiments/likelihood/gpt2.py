"""The peer: Hugging Face's GPT-2 on the same packed batches, behind the same interface as our model.

What is the same: vocabulary, batches, transpositions, dropout on residual branches and embeddings, decay groups,
clipping, warm-up, cosine, weight averaging, precision (bf16 mixed where ours is, else float32) and the choice of the
best checkpoint on the validation split. What is its own: architecture and code of `transformers`, the rule (AdamW for
everything; our reference runs use Muon), and a feed-forward width chosen so that both models have the same number of
parameters. Segments never see each other: a batch is run as rows of similar length (at most 5 % padding on the right,
which causal attention never looks at), gradients summed over the groups of rows; one row with a mask would cost it
more time.

Axes: N packed tokens, B rows, T tokens of a row, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from aurl.data.batching import IGNORED, PackedBatch, TrainingBatches
from aurl.evaluation.peer import matching_width
from aurl.models.config import ModelConfig
from aurl.models.positions import MusicalTime
from aurl.training.config import OptimConfig
from aurl.training.schedules import warmup_cosine

MAX_PADDING = 0.05
"""Largest share of padding in a group of rows."""
SCHEDULE_STEPS = 1_000_000
"""Resolution of the cosine, which runs over the share of the budget used."""


class PeerGPT2(nn.Module):
    """GPT-2 of the size of one of our models, called like it.

    Args:
        config: our model's.
        vocab_size: number of tokens V.
        shipped: with the library's own activation and dropout on attention; otherwise with the fused activation and
            without that dropout, which is faster and what our model has.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, shipped: bool = False) -> None:
        super().__init__()
        self.network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size,
                n_positions=config.context,
                n_embd=config.hidden_dim,
                n_layer=config.layers,
                n_head=config.heads,
                n_inner=matching_width(config, vocab_size),
                resid_pdrop=config.dropout,
                embd_pdrop=config.dropout,
                attn_pdrop=config.dropout if shipped else 0.0,
                activation_function="gelu_new" if shipped else "gelu_pytorch_tanh",  # the same function, fused
                attn_implementation="sdpa",
                use_cache=False,
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    @property
    def parameter_count(self) -> int:
        """Trainable numbers; tied weights count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def rows(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of rows (B, T)."""
        return self.network(input_ids=ids, use_cache=False).logits

    def forward(self, ids: Tensor, time: MusicalTime, lengths: list[int]) -> SimpleNamespace:
        """Logits (N, V) of packed segments; GPT-2 has no use for musical time."""
        logits = torch.empty(0)
        for group, padded in row_groups(ids, lengths):
            out = self.rows(padded)
            if not len(logits):
                logits = out.new_empty(len(ids), out.shape[-1])
            for (start, length), row in zip(group, out, strict=True):
                logits[start : start + length] = row[:length]
        return SimpleNamespace(logits=logits)


def row_groups(ids: Tensor, lengths: list[int]) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Segments of similar length as rows: their (start, length) in the batch, and rows (B, T) padded on the right."""
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    group: list[int] = []
    for i in order:
        if group and 1 - sum(lengths[j] for j in [*group, i]) / (lengths[group[0]] * (len(group) + 1)) > MAX_PADDING:
            yield _rows(ids, [(starts[j], lengths[j]) for j in group])
            group = []
        group.append(i)
    yield _rows(ids, [(starts[j], lengths[j]) for j in group])


def _rows(ids: Tensor, group: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], Tensor]:
    padded = ids.new_zeros(len(group), group[0][1])
    for row, (start, length) in enumerate(group):
        padded[row, :length] = ids[start : start + length]
    return group, padded


def autocast(precision: str | int, device: str = "cpu") -> torch.autocast:
    """What Lightning's precision means for a loop of one's own.

    Raises:
        ValueError: neither full nor bf16 mixed precision.
    """
    name = str(precision)
    if name not in ("32-true", "32", "bf16-mixed"):
        raise ValueError(f"precision={precision} is not compared here; allowed: 32-true, bf16-mixed")
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=name == "bf16-mixed")


def training_loss(model: PeerGPT2, batch: PackedBatch, precision: str | int = "32-true") -> float:
    """Forward and backward of one packed batch.

    Returns:
        Mean nats of its scored tokens; gradients are of that mean.
    """
    device = next(model.parameters()).device
    scored = int((batch.targets != IGNORED).sum())
    total = torch.zeros((), device=device)
    ids, expected = batch.ids.to(device), batch.targets.to(device)
    for group, padded in row_groups(ids, batch.lengths):
        targets = padded.new_full(padded.shape, IGNORED)
        for row, (start, length) in enumerate(group):
            targets[row, :length] = expected[start : start + length]
        with autocast(precision, device.type):
            logits = model.rows(padded).flatten(0, 1)
        loss = F.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORED, reduction="sum") / scored
        loss.backward()
        total += loss.detach()
    return float(total)


def make_optimizer(model: nn.Module, optim: OptimConfig, lr: float) -> torch.optim.AdamW:
    """AdamW with decay on matrices only, as in our training."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(optim.betas[0], optim.betas[1]), fused=True)


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: value.clone() for name, value in model.state_dict().items()}


@dataclass
class Schedule:
    """Warm-up by steps, then a cosine over what is left of the budget (CPU seconds or steps), so that both end
    together.
    """

    optim: OptimConfig
    budget: float
    warmup_end: float = field(default=0.0)

    def share(self, step: int, used: float) -> float:
        """Share of the peak learning rate after ``step`` steps, when ``used`` of the budget is gone."""
        if step < self.optim.warmup_steps:
            self.warmup_end = used
            return warmup_cosine(step, self.optim.warmup_steps, SCHEDULE_STEPS, self.optim.min_lr_share)
        progress = (used - self.warmup_end) / max(self.budget - self.warmup_end, 1e-9)
        return warmup_cosine(round(progress * SCHEDULE_STEPS), 0, SCHEDULE_STEPS, self.optim.min_lr_share)


class Average:
    """Exponential moving average of the weights, as in our training; without decay it is the model itself."""

    def __init__(self, model: PeerGPT2, decay: float) -> None:
        self.decay, self.model = decay, model
        self.weights = [p.detach().clone() for p in model.parameters()] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take one more step into the average."""
        if self.weights:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.weights, [p.detach() for p in self.model.parameters()], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average; twice is as before."""
        for parameter, average in zip(self.model.parameters(), self.weights, strict=bool(self.weights)):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)


@dataclass(frozen=True)
class Budget:
    """When a training run ends: after so many CPU seconds of its process, or after so many steps.

    Steps are for another device than the CPU whose seconds are the limit: as many as it makes in those seconds.
    """

    cpu_seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.cpu_seconds is None) == (self.steps is None):
            raise ValueError(f"a budget is either CPU seconds or steps, got {self.cpu_seconds} and {self.steps}")
        if self.total <= 0:
            raise ValueError(f"a budget of {self.total} is out of range; allowed: above 0")

    @property
    def total(self) -> float:
        """The limit in its own unit."""
        return float(self.cpu_seconds if self.steps is None else self.steps)  # type: ignore[arg-type]

    def used(self, cpu_seconds: float, steps: int) -> float:
        """How much of it is gone, in its own unit."""
        return cpu_seconds if self.steps is None else float(steps)


def train(
    model: PeerGPT2,
    batches: TrainingBatches,
    optim: OptimConfig,
    lr: float,
    budget: Budget,
    validate: Callable[[PeerGPT2], float],
    validations: int = 20,
    precision: str | int = "32-true",
) -> dict[str, float]:
    """Train for a budget and leave the weights that were best on the validation split.

    Args:
        model: the peer, on the device where it is to be trained.
        batches: our loader of packed training batches, started again epoch after epoch.
        optim: settings of our training.
        lr: peak learning rate in place of ``optim.lr``.
        budget: CPU seconds of the process, or steps; time spent in ``validate`` is not charged to the peer.
        validate: gives nats per note of the model on the validation split.
        validations: how often that happens, evenly over the budget.
        precision: the number format of our training, in Lightning's words.

    Returns:
        Steps, epochs, CPU seconds of training, and the best nats per note on the validation split.
    """
    optimizer, schedule = make_optimizer(model, optim, lr), Schedule(optim, budget.total)
    average = Average(model, optim.ema_decay)
    best, best_state = math.inf, copy_state(model)
    seconds, used, step, checked = 0.0, 0.0, 0, 0
    while used < budget.total:
        for batch in batches:
            started = time.process_time()
            model.train()
            share = schedule.share(step, used)
            for group in optimizer.param_groups:
                group["lr"] = lr * share
            training_loss(model, batch, precision)
            if optim.clip_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            average.update(step)
            seconds += time.process_time() - started
            used = budget.used(seconds, step)
            if used >= budget.total * (checked + 1) / validations:
                checked += 1
                average.swap()
                nats = validate(model)
                if nats < best:
                    best, best_state = nats, copy_state(model)
                average.swap()
            if used >= budget.total:
                break
    model.load_state_dict(best_state)
    return {"steps": step, "epochs": step / len(batches), "cpu_seconds": seconds, "best_valid_nats_per_note": best}
