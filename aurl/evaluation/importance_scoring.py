"""The importance-weighted estimate of whole corpora: draws of the encoder, weighed by decoder and prior.

Windows, and what is charged in them, are those of the bound (likelihood.py): latents of bars that are only past are
drawn but cost nothing, each window pays for a latent of the piece. With one sample the estimate is the bound, drawn
instead of integrated; with more it is nearer to the likelihood, and on average still on the same side of it. The
arithmetic is importance.py.

Axes: N packed tokens, S segments, M bars, K samples, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aurl.evaluation.importance import ImportanceEstimate, ImportanceWeights
from aurl.evaluation.likelihood import BATCH_TOKENS, TokenPiece, Window, pack_windows, plan_windows, read_batch
from aurl.models.gaussian import standard_like
from aurl.models.latent import scored_bars
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError


class Draw(NamedTuple):
    """Log densities of one draw of all latents, in nats, of each segment (S,)."""

    tokens: Tensor
    """log p(x | z) of the scored tokens."""
    prior: Tensor
    """log p(z) of the piece's latent and of those of bars with a scored token."""
    posterior: Tensor
    """log q(z | x) of the same."""


@dataclass(frozen=True)
class ImportanceScore:
    """Figures of a corpus; lower is better, as for all nats."""

    samples: int
    """Draws of all latents (K)."""
    nats_per_note: float
    nats_per_beat: float
    nats_per_second: float
    """NaN where the playing time is not known."""
    standard_error: float
    """Of ``nats_per_note``, of the draws alone; NaN for one sample."""
    bound_nats_per_note: float
    """The bound, from the same draws."""
    windows: int
    """Windows that were estimated one by one."""
    doubtful: int
    """Windows in which fewer than ten samples count: their estimate is hardly more than a bound."""
    median_effective_samples: float
    """Samples that count, in the middle window."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types; what is not known is null."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def draw_densities(
    model: MusicTransformerVAEGAN,
    ids: Tensor,
    targets: Tensor,
    time: MusicalTime,
    lengths: list[int],
    scored: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> Iterator[Draw]:
    """Draw the latents of packed segments again and again, and weigh them.

    Args:
        model: with latents, in evaluation mode.
        ids: tokens (N,).
        targets: the tokens that follow (N,).
        time: musical time of ``ids``.
        lengths: tokens of each segment.
        scored: which predictions count (N,) bool; at least one of each segment.
        samples: draws.
        generator: random numbers, of the device of ``ids``.
    """
    space = model.latent
    assert space is not None
    bars = space.bars(time.bar, lengths)
    encoded = space.encode(ids, time, lengths, bars)
    segment = torch.arange(len(lengths), device=ids.device)
    of_token = segment.repeat_interleave(torch.tensor(lengths, device=ids.device))
    for _ in range(samples):
        latents = space.draw(encoded, generator)
        charged = scored_bars(latents, scored)
        bar_prior = space.prior(latents.bar, latents.piece, bars).log_density(latents.bar)
        prior = standard_like(latents.piece).log_density(latents.piece).sum(-1)
        posterior = encoded.piece.log_density(latents.piece).sum(-1)
        logits = model(ids, time, lengths, bar_latents=latents.bar).logits.float()
        nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        yield Draw(
            -_sums(nats * scored, of_token, len(lengths)),
            prior.double() + _sums(bar_prior * charged, bars.segment, len(lengths)),
            posterior.double()
            + _sums(encoded.bar.log_density(latents.bar).sum(-1) * charged, bars.segment, len(lengths)),
        )


def _sums(values: Tensor, segment: Tensor, segments: int) -> Tensor:
    """(S,) sums of the values of each segment, in double precision."""
    return torch.zeros(segments, dtype=torch.float64, device=values.device).index_add(0, segment, values.double())


def score_importance(
    model: MusicTransformerVAEGAN,
    pieces: Sequence[TokenPiece],
    context: int,
    samples: int,
    batch_tokens: int = BATCH_TOKENS,
    device: str | torch.device = "cpu",
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportanceScore:
    """The importance-weighted estimate of all pieces together.

    Args:
        model: with latents; put in evaluation mode for the time being.
        pieces: what is scored.
        context: longest input in tokens.
        samples: draws for each window; each costs a pass through the decoder.
        batch_tokens: bound on packed tokens in a forward pass.
        device: where the model lives.
        seed: of the draws.
        on_progress: called with (windows done, windows in all).

    Raises:
        ValueError: the model has no latents, or ``samples`` is below 1.
        AurlError: weights that give no numbers.

    Example:
        >>> score_importance(model, pieces, context=1024, samples=16).nats_per_note  # doctest: +SKIP
        1.71
    """
    if model.latent is None:
        raise ValueError("an importance-weighted estimate needs a model with latents")
    if samples < 1:
        raise ValueError(f"samples={samples} is out of range; allowed: 1 or more")
    windows = plan_windows([len(piece.ids) for piece in pieces], context, [np.asarray(piece.bars) for piece in pieces])
    generator = torch.Generator(device).manual_seed(seed)
    was_training = model.training
    model.eval()
    estimates: list[ImportanceEstimate] = []
    done = 0
    try:
        for batch in pack_windows(windows, batch_tokens):
            estimates.append(_estimate(model, batch, pieces, samples, generator, device))
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(windows))
    finally:
        model.train(was_training)
    nats = -math.fsum(part.total for part in estimates)
    bound = -math.fsum(float(part.elbo.sum()) for part in estimates)
    error = math.sqrt(math.fsum(part.total_error**2 for part in estimates)) if samples > 1 else math.nan
    notes = sum(piece.notes for piece in pieces)
    beats, seconds = (float(sum(getattr(piece, name) for piece in pieces)) for name in ("length_beats", "seconds"))
    return ImportanceScore(
        samples=samples,
        nats_per_note=nats / notes,
        nats_per_beat=nats / beats if beats else math.nan,
        nats_per_second=nats / seconds if seconds else math.nan,
        standard_error=error / notes,
        bound_nats_per_note=bound / notes,
        windows=len(windows),
        doubtful=sum(part.doubtful for part in estimates),
        median_effective_samples=float(np.median(np.concatenate([part.effective_samples for part in estimates]))),
    )


def _estimate(
    model: MusicTransformerVAEGAN,
    batch: Sequence[Window],
    pieces: Sequence[TokenPiece],
    samples: int,
    generator: torch.Generator,
    device: str | torch.device,
) -> ImportanceEstimate:
    """The estimate of each window of a packed batch."""
    inputs, targets, time, scored = read_batch(batch, pieces, device)
    weights = ImportanceWeights()
    with torch.inference_mode():
        lengths = [window.length for window in batch]
        for draw in draw_densities(model, inputs, targets, time, lengths, scored, samples, generator):
            try:
                weights.add(*(part.cpu().numpy()[None] for part in draw))
            except ValueError as error:
                raise AurlError(f"the model gives no numbers; its weights are damaged ({error})") from error
    return weights.estimate()
