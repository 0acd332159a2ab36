"""(1) Are latents used? What the model says of a bar without its own latent, and how many dimensions speak."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from aurl.data.batching import IGNORED
from aurl.data.evaluation_batches import EvaluationBatches
from aurl.models.positions import MusicalTime
from aurl.training.metrics import LatentUse
from experiments.latent.setting import Row, Setting, at_least

BATCH_TOKENS = 8192


def measure(setting: Setting) -> list[Row]:
    """Own latents (posterior means) against those of bars of other pieces, and the figures of validation."""
    model, store = setting.tools.model, setting.store
    batches = EvaluationBatches(store, setting.numbers, setting.context, BATCH_TOKENS, whole_bars=True)
    use = LatentUse()
    nats = {"own": 0.0, "other": 0.0}
    tokens = 0
    generator = torch.Generator().manual_seed(setting.seed)
    for batch in batches:
        time = MusicalTime(batch.index, batch.beat, batch.bar)
        with torch.inference_mode():
            output = model(batch.ids, time, batch.lengths, generator=generator)
            posterior = output.latents.posterior
            own = posterior.bar.mean
            other = own[from_other_pieces(posterior.bars.segment, generator)]
            outputs = {
                name: model(batch.ids, time, batch.lengths, bar_latents=each)
                for name, each in (("own", own), ("other", other))
            }
            for name, each in outputs.items():
                nats[name] += F.cross_entropy(
                    each.logits.float(), batch.targets, ignore_index=IGNORED, reduction="sum"
                ).item()
            tokens += int((batch.targets != IGNORED).sum())
            if use.has_room:
                use.update(output, outputs["other"], batch.targets)
    figures = use.compute()
    gap = (nats["other"] - nats["own"]) / tokens
    return [
        at_least(
            "NLL with latents of other pieces, nats a token worse", gap, 0.15, f"{nats['own'] / tokens:.3f} with own"
        ),
        at_least("active units, share", figures["active_units"], 0.8),
        Row("KL of a bar, nats", figures["bar_kl"], note=f"{figures['bar_kl'] * use.bars / tokens:.3f} a token"),
        Row(
            "least and most of a dimension, nats",
            figures["least_dimension_kl"],
            note=f"{figures['most_dimension_kl']:.3f}",
        ),
        Row("KL of a piece, nats", figures["piece_kl"]),
        Row("information about the bar, nats", figures["information"], note="at most the log of the bars seen"),
    ]


def from_other_pieces(segment: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """For each bar a bar of another segment, as evenly as possible: (M,)."""
    bars = len(segment)
    order = torch.randperm(bars, generator=generator)
    order = order[segment[order].argsort(stable=True)]
    largest = int(torch.bincount(segment).max())
    shift = max(largest, 1) if 2 * largest <= bars else bars // 2
    chosen = torch.empty(bars, dtype=torch.long)
    chosen[order] = order.roll(shift)
    return chosen
