"""Where the nats of a likelihood lie: kinds of tokens, places in the piece, single pieces; what far context is worth.

Plain tables (lists of dicts) for JSON and for the report. The figures of kinds add up to nats per note. A curve over
places falls while a model still learns from the piece itself, but pieces differ in length and their ends in kind, so
the direct question is asked too: the same tokens, predicted again with the past cut short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from aurl.data.kinds import Kind
from aurl.data.vocabulary import Vocabulary
from aurl.evaluation.likelihood import LikelihoodResult, ScoreModel, TokenPiece, score_corpus

KIND_NAMES = {
    Kind.EOS: "end of piece",
    Kind.BAR: "bar",
    Kind.TIMESIG: "time signature",
    Kind.POSITION: "position",
    Kind.TIME_SHIFT: "time shift",
    Kind.TEMPO: "tempo",
    Kind.CHORD: "chord",
    Kind.PROGRAM: "program",
    Kind.PITCH: "pitch",
    Kind.PITCH_DRUM: "drum",
    Kind.VELOCITY: "velocity",
    Kind.DURATION: "duration",
    Kind.NOTE_OFF: "note end",
    Kind.NOTE_OFF_DRUM: "drum end",
    Kind.OTHER: "other",
}
"""Kinds in the order of the grammar."""
LEARNED_KIND, LEARNED = max(Kind) + 1, "learned"
LATENT_KIND, LATENTS = LEARNED_KIND + 1, "latents"
"""Row for what latents of bars and pieces cost; its tokens are the bars charged."""
"""Tokens of byte pair encoding, which stand for several others."""
CONTEXTS = (64, 128, 256, 512, 1024, 2048)
"""Lengths, in tokens, that the past is cut to."""
CONTEXT_TOKENS = 60_000
"""About so many tokens are read again for each length of context: whole pieces, evenly chosen."""
FEWEST_FAR = 200
"""Tokens needed beyond a length of context before it is reported."""
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
FEWEST_IN_BIN = 100
"""Tokens that a place in the piece needs to be shown: means of fewer say nothing."""
BAR_EDGES = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
"""First bars of the bins of the curve over bars; the last bin has no end."""

Row = dict[str, Any]


def by_token_type(result: LikelihoodResult, pieces: Sequence[TokenPiece], vocabulary: Vocabulary) -> list[Row]:
    """One row a kind of token: how many, nats each, and its part of nats per note.

    Args:
        result: of ``pieces``, with ``token_nats``.
        pieces: what was scored.
        vocabulary: meaning of the ids; those beyond it are learned tokens.

    Returns:
        Rows with type, tokens, nats (sum), nats_per_token, nats_per_note and share; nats_per_note adds up to the
        result's.
    """
    ids = np.concatenate([np.asarray(piece.ids[1:], dtype=np.int64) for piece in pieces])
    own = ids < vocabulary.size
    kinds = np.where(own, vocabulary.kind[np.where(own, ids, 0)], LEARNED_KIND).astype(np.int64)
    nats = np.concatenate(result.token_nats).astype(np.float64)
    counts = np.bincount(kinds, minlength=LATENT_KIND + 1)
    names: dict[int, str] = {**{int(kind): name for kind, name in KIND_NAMES.items()}, LEARNED_KIND: LEARNED}
    cost = np.concatenate(result.latent_nats).astype(np.float64) if result.latent_nats else np.zeros_like(nats)
    sums = np.bincount(kinds, weights=nats - cost, minlength=LATENT_KIND + 1)
    if result.latent_nats:  # a row of their own, counted once a charge
        names[LATENT_KIND], counts[LATENT_KIND], sums[LATENT_KIND] = LATENTS, np.count_nonzero(cost), cost.sum()
    total = float(nats.sum())
    return [
        {
            "type": name,
            "tokens": count,
            "nats": amount,
            "nats_per_token": amount / count,
            "nats_per_note": amount / result.notes,
            "share": amount / total if total else 0.0,
        }
        for name, count, amount in ((name, int(counts[kind]), float(sums[kind])) for kind, name in names.items())
        if count
    ]


def by_token_index(result: LikelihoodResult, pieces: Sequence[TokenPiece]) -> list[Row]:
    """Nats a token by its place in the piece, in bins of doubling length (1, 2-3, 4-7, ...).

    Returns:
        Rows with first, last (index of the predicted token, BOS is 0), tokens, pieces and nats_per_token; bins of
        fewer than ``FEWEST_IN_BIN`` tokens are left out.
    """
    index = np.concatenate([np.arange(1, len(piece.ids)) for piece in pieces])
    longest = int(index.max(initial=1))
    edges = 2 ** np.arange(longest.bit_length() + 1)
    return _binned(index, edges, result, pieces)


def by_bar(result: LikelihoodResult, pieces: Sequence[TokenPiece]) -> list[Row]:
    """Nats a token by bar number (from 0): the bar in which a predicted token stands.

    Returns:
        Rows with first, last (bar), tokens, pieces and nats_per_token.
    """
    index = np.concatenate([np.asarray(piece.bars[1:], dtype=np.int64) for piece in pieces])
    edges = np.array([*BAR_EDGES, max(int(index.max(initial=0)), BAR_EDGES[-1]) + 1])
    return _binned(index, edges, result, pieces)


def _binned(index: np.ndarray, edges: np.ndarray, result: LikelihoodResult, pieces: Sequence[TokenPiece]) -> list[Row]:
    """Means of the nats of tokens whose ``index`` lies between successive edges."""
    nats = np.concatenate(result.token_nats).astype(np.float64)
    owner = np.repeat(np.arange(len(pieces)), [len(piece.ids) - 1 for piece in pieces])
    place = np.searchsorted(edges, index, side="right") - 1
    rows = []
    for number in range(len(edges) - 1):
        inside = place == number
        count = int(inside.sum())
        if count >= FEWEST_IN_BIN:
            rows.append(
                {
                    "first": int(edges[number]),
                    "last": min(int(edges[number + 1]) - 1, int(index.max())),
                    "tokens": count,
                    "pieces": len(np.unique(owner[inside])),
                    "nats_per_token": float(nats[inside].mean()),
                }
            )
    return rows


def piece_rows(result: LikelihoodResult, pieces: Sequence[TokenPiece]) -> list[Row]:
    """One row a piece, the best predicted first: name, notes, beats, tokens, nats, nats_per_note, nats_per_beat."""
    rows = [
        {
            "piece": piece.name or str(number),
            "notes": piece.notes,
            "beats": float(piece.length_beats),
            "tokens": len(piece.ids) - 1,
            "nats": nats,
            "nats_per_note": nats / piece.notes if piece.notes else None,
            "nats_per_beat": nats / piece.length_beats if piece.length_beats else None,
        }
        for number, (piece, nats) in enumerate(zip(pieces, result.piece_nats, strict=True))
    ]
    return sorted(rows, key=lambda row: math.inf if row["nats_per_note"] is None else row["nats_per_note"])


def by_context(
    model: ScoreModel,
    pieces: Sequence[TokenPiece],
    context: int,
    lengths: Sequence[int] = CONTEXTS,
    most_tokens: int = CONTEXT_TOKENS,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> list[Row]:
    """The same tokens predicted with the past cut to several lengths: is far context used?

    Only tokens with more past than the longest cut are compared, so that every length leaves something out. A length
    of c gives each token between c / 2 and c tokens of past (the windows of :func:`score_corpus`).

    Args:
        model: see :func:`score_corpus`.
        pieces: what is scored.
        context: longest input in tokens that the model takes; it is the last row.
        lengths: cuts in tokens; those that leave fewer than ``FEWEST_FAR`` tokens to compare are dropped.
        most_tokens: bound on the tokens read for each length; pieces that are long enough are chosen evenly.
        device: where the model lives.
        on_progress: called with (lengths done, lengths in all).
        seed: of the bootstrap over pieces.

    Returns:
        Rows with context, tokens, pieces, nats_per_token, and excess over the longest context with its 95 % interval
        (paired bootstrap over pieces), the shortest context first; empty where no piece is long enough.
    """
    cuts = [length for length in sorted(set(lengths)) if length < context]
    while cuts and sum(max(len(piece.ids) - 1 - cuts[-1], 0) for piece in pieces) < FEWEST_FAR:
        cuts.pop()
    if not cuts:
        return []
    far = cuts[-1]
    chosen = _evenly([piece for piece in pieces if len(piece.ids) - 1 > far], most_tokens)
    tables = []
    for done, length in enumerate([*cuts, context], start=1):
        scored = score_corpus(model, chosen, length, device=device)
        tables.append(np.array([float(part[far:].sum(dtype=np.float64)) for part in scored.token_nats]))
        if on_progress is not None:
            on_progress(done, len(cuts) + 1)
    counts = np.array([len(piece.ids) - 1 - far for piece in chosen])
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(chosen), (RESAMPLES, len(chosen)))
    rows = []
    for length, sums in zip([*cuts, context], tables, strict=True):
        excess = sums - tables[-1]
        again = excess[draws].sum(1) / counts[draws].sum(1)
        rows.append(
            {
                "context": length,
                "tokens": int(counts.sum()),
                "pieces": len(chosen),
                "nats_per_token": float(sums.sum() / counts.sum()),
                "excess": float(excess.sum() / counts.sum()),
                "interval": [float(end) for end in np.percentile(again, INTERVAL)],
            }
        )
    return rows


def _evenly(pieces: Sequence[TokenPiece], most_tokens: int) -> list[TokenPiece]:
    """Every k-th piece, as many as have about ``most_tokens`` tokens."""
    total = sum(len(piece.ids) for piece in pieces)
    return list(pieces[:: max(math.ceil(total / most_tokens), 1)])


def describe(
    model: ScoreModel,
    result: LikelihoodResult,
    pieces: Sequence[TokenPiece],
    vocabulary: Vocabulary,
    context: int,
    device: str | torch.device = "cpu",
    with_contexts: bool = True,
) -> Row:
    """All tables of this module, as JSON types: by_type, by_token_index, by_bar, by_context and piece_rows."""
    return {
        "by_type": by_token_type(result, pieces, vocabulary),
        "by_token_index": by_token_index(result, pieces),
        "by_bar": by_bar(result, pieces),
        "by_context": by_context(model, pieces, context, device=device) if with_contexts else [],
        "piece_rows": piece_rows(result, pieces),
    }
