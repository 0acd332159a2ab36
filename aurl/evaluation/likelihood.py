"""Exact likelihood of token pieces under a model: all tokens' negative log-likelihood, shared out over notes and beats.

Every token after BOS is predicted exactly once, EOS included. A piece that fits the context is scored in one pass. A
longer one is read by overlapping windows: the first scores all its tokens, each later one only those that see at least
half a context of past. Windows may start at any token, those of models with latents of bars at bar lines only; they
carry slices of the piece's own beat and bar arrays, so musical time goes on. Windows of all pieces are packed into
batches bounded by tokens; the result does not depend on
how they are packed. Where the nats lie (kinds of tokens, places in the piece, context) is likelihood_detail.py.

Axes: N packed tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aurl.data.windows import scoring_bars, scoring_windows
from aurl.models.latent import cost_of_tokens
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

if TYPE_CHECKING:
    from aurl.data.store import TokenStore

BATCH_TOKENS = 8192
"""Tokens scored in one forward pass; bounds memory, never the result."""

ScoreModel = Callable[[Tensor, MusicalTime, list[int]], Any]
"""Anything that maps packed ids (N,), their musical time and segment lengths to an object with ``logits`` (N, V)."""


class TokenPiece(NamedTuple):
    """One piece as the token store holds it: BOS ... EOS with musical time for each token."""

    ids: np.ndarray
    """(n,) token ids, BOS first, EOS last."""
    bars: np.ndarray
    """(n,) bar number of each token."""
    beats: np.ndarray
    """(n,) quarter notes since the start of the piece."""
    notes: int
    """Complete notes in the piece."""
    length_beats: float
    """Length of the piece in quarter notes."""
    name: str = ""
    """What the piece is called in tables."""
    seconds: float = math.nan
    """Playing time, NaN where it is not known."""


class Window(NamedTuple):
    """A stretch of one piece that is read in one go; inputs are ids[start:stop], targets ids[start + 1 : stop + 1]."""

    piece: int
    start: int
    stop: int
    first_scored: int
    """First input position whose prediction counts; earlier ones are past only."""

    @property
    def length(self) -> int:
        """Input tokens."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class LikelihoodResult:
    """Figures of a corpus under a model; all tokens' nats over all notes (or beats)."""

    nats_per_note: float
    nats_per_beat: float
    nats_per_second: float
    """NaN where the playing time is not known."""
    notes: int
    beats: float
    seconds: float
    tokens: int
    """Scored tokens: all but BOS."""
    pieces: int
    token_perplexity: float
    bound: bool = False
    """Whether the nats are an upper bound instead of the likelihood itself (models with latent variables)."""
    windowed_pieces: int = 0
    """Pieces longer than the context, read in overlapping windows. Past the first of them a bound is not strict: the
    encoder that drew the latents of bars that are only past has read what follows there."""
    piece_nats: tuple[float, ...] = field(default=(), repr=False)
    """Total nats of each piece, in the order given; for confidence intervals and for finding odd pieces."""
    token_nats: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)
    """Nats of every token after BOS of each piece, float32 (n - 1,): those of ids[1:]."""
    latent_nats: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)
    """What of these the latents cost, charged at the first token of each bar; () for models without latents."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types; without the figures of single pieces and tokens. What is not known is null."""
        left_out = ("piece_nats", "token_nats", "latent_nats")
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in left_out}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }


def summarise(
    piece_nats: Sequence[float],
    pieces: Sequence[TokenPiece],
    token_nats: Sequence[np.ndarray] = (),
    latent_nats: Sequence[np.ndarray] = (),
) -> LikelihoodResult:
    """Share the nats of pieces out over their notes, beats, seconds and tokens; with ``latent_nats`` they are bounds.

    Raises:
        AurlError: there are no pieces, or none of them has a note.
    """
    notes = sum(piece.notes for piece in pieces)
    beats = float(sum(piece.length_beats for piece in pieces))
    tokens = sum(len(piece.ids) - 1 for piece in pieces)
    if not notes:
        raise AurlError(
            f"likelihood needs at least one note, got {len(pieces)} pieces with none; choose another split or folder"
        )
    total = math.fsum(piece_nats)
    seconds = float(sum(piece.seconds for piece in pieces))
    return LikelihoodResult(
        nats_per_note=total / notes,
        nats_per_beat=total / beats if beats else math.nan,
        nats_per_second=total / seconds if seconds else math.nan,
        notes=notes,
        beats=beats,
        seconds=seconds,
        tokens=tokens,
        pieces=len(pieces),
        token_perplexity=math.exp(total / tokens),
        bound=bool(latent_nats),
        piece_nats=tuple(float(value) for value in piece_nats),
        token_nats=tuple(token_nats),
        latent_nats=tuple(latent_nats),
    )


def store_pieces(store: TokenStore, split: str | None = None) -> list[TokenPiece]:
    """The pieces of one split (or all), opened in the store without copying.

    Raises:
        AurlError: the split has no pieces.
    """
    chosen = store.split(split)
    if not chosen:
        raise AurlError(
            f"split={split} has no pieces; splits with pieces: {sorted({piece.split for piece in store.pieces})}"
        )
    rows = [store.pieces[i] for i in chosen]
    return [
        TokenPiece(
            *(store.ids(i), store.bars(i), store.beats(i), row.notes, row.beats, row.id),
            float(row.facts.get("duration", math.nan)),
        )
        for i, row in zip(chosen, rows, strict=True)
    ]


def plan_windows(lengths: Sequence[int], context: int, bars: Sequence[np.ndarray] | None = None) -> list[Window]:
    """Cut pieces into windows in which each token is scored once: the same cut as in validation while training.

    Args:
        lengths: tokens of each piece, BOS and EOS included.
        context: longest input in tokens.
        bars: bar number of each token of each piece; given, windows begin and end at bar lines.

    Raises:
        ValueError: context below 2.
    """
    if context < 2:
        raise ValueError(f"context={context} is too small; allowed: 2 or more")
    return [
        Window(piece, start, stop - 1, scored_from - 1)
        for piece, length in enumerate(lengths)
        for start, stop, scored_from in (
            scoring_windows(length, context) if bars is None else scoring_bars(bars[piece], context)
        )
    ]


def score_corpus(
    model: ScoreModel,
    pieces: TokenStore | Sequence[TokenPiece],
    context: int,
    batch_tokens: int = BATCH_TOKENS,
    split: str | None = None,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> LikelihoodResult:
    """Nats of every token after BOS under ``model``, per note and per beat.

    Args:
        model: callable of the model interface; a module is put in evaluation mode for the time being.
        pieces: a token store, or its pieces (see :func:`store_pieces`).
        context: longest input in tokens that the model takes.
        batch_tokens: bound on packed tokens in a forward pass (a single window may be longer).
        split: with a store, the split to score; unset means all of it.
        device: where the model lives.
        on_progress: called with (windows done, windows in all) after each batch.

    Returns:
        The figures, with token perplexity as a by-product.

    Raises:
        AurlError: nothing to score, or the model gives a probability of zero or no number.
        ValueError: context below 2.
    """
    chosen = list(pieces) if isinstance(pieces, Sequence) else store_pieces(pieces, split)
    has_latents = getattr(model, "latent", None) is not None
    bars = [np.asarray(piece.bars) for piece in chosen] if has_latents else None
    windows = plan_windows([len(piece.ids) for piece in chosen], context, bars)
    nats = [np.full(len(piece.ids) - 1, np.nan, dtype=np.float32) for piece in chosen]
    latent = [np.zeros_like(part) for part in nats] if has_latents else []
    was_training = isinstance(model, torch.nn.Module) and model.training
    if isinstance(model, torch.nn.Module):
        model.eval()
    try:
        done = 0
        for batch in pack_windows(windows, batch_tokens):
            for window, (scored, cost) in zip(batch, score_batch(model, batch, chosen, device), strict=True):
                nats[window.piece][window.first_scored : window.stop] = scored
                if has_latents:
                    latent[window.piece][window.first_scored : window.stop] = cost
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(windows))
    finally:
        if isinstance(model, torch.nn.Module):
            model.train(was_training)
    totals = [float(part.sum(dtype=np.float64)) for part in nats]
    if not np.isfinite(totals).all():
        raise AurlError(
            "the model gives probability zero or no number to some tokens; its weights are damaged or training diverged"
        )
    per_piece = np.bincount([window.piece for window in windows], minlength=len(chosen))
    return replace(summarise(totals, chosen, nats, latent), windowed_pieces=int((per_piece > 1).sum()))


def pack_windows(windows: Sequence[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Batches of windows of similar length, each with at most ``batch_tokens`` tokens (or a single window)."""
    batch: list[Window] = []
    size = 0
    for window in sorted(windows, key=lambda window: -window.length):  # like with like: little padding inside the model
        if batch and size + window.length > batch_tokens:
            yield batch
            batch, size = [], 0
        batch.append(window)
        size += window.length
    if batch:
        yield batch


def score_batch(
    model: ScoreModel, batch: Sequence[Window], pieces: Sequence[TokenPiece], device: str | torch.device = "cpu"
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Nats of each scored token of each window of one packed batch, float32, and what of them the latents cost."""
    lengths = [window.length for window in batch]
    inputs, targets, time, scored = read_batch(batch, pieces, device)
    with torch.inference_mode():
        output = model(inputs, time, lengths)
        logits = output.logits.float()  # (N, V)
        nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")  # (N,)
        cost = torch.zeros_like(nats)
        if getattr(output, "latents", None) is not None:
            cost = cost_of_tokens(output.latents, scored)
    rows = torch.stack((nats + cost, cost)).cpu().numpy()  # (2, N)
    found, stop = [], 0
    for window in batch:
        start, stop = stop + window.first_scored - window.start, stop + window.length
        found.append((rows[0, start:stop], rows[1, start:stop]))
    return found


def read_batch(
    batch: Sequence[Window], pieces: Sequence[TokenPiece], device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor, MusicalTime, Tensor]:
    """Inputs, targets, musical time and which predictions count of the windows of a packed batch, (N,) each."""
    time = MusicalTime(
        index=torch.cat([torch.arange(window.length) for window in batch]).to(device),
        beat=_gather(batch, pieces, "beats", 0, np.float32).to(device),
        bar=_gather(batch, pieces, "bars", 0, np.int64).to(device),
    )
    scored = torch.cat([torch.arange(window.start, window.stop) >= window.first_scored for window in batch])
    inputs, targets = (_gather(batch, pieces, "ids", shift, np.int64).to(device) for shift in (0, 1))
    return inputs, targets, time, scored.to(device)


def _gather(batch: Sequence[Window], pieces: Sequence[TokenPiece], name: str, shift: int, dtype: Any) -> Tensor:
    """One field of all windows of a batch, concatenated: (N,)."""
    parts = [
        np.asarray(getattr(pieces[window.piece], name)[window.start + shift : window.stop + shift]).astype(dtype)
        for window in batch
    ]
    return torch.from_numpy(np.concatenate(parts))
