"""Packed batches: pieces one after the other, no padding, every random choice a function of (seed, epoch, item).

One idea: an epoch is planned before it starts. The plan is a list of batches, each a list of
:class:`Window` (piece, token range, transposition); drawing a batch is then a memory-mapped read and
a table gather. Because the plan depends on nothing but the seed and the epoch, "position in the
data" is one number, the batches consumed, and resuming is exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aurl.data.store import TokenStore
from aurl.data.vocabulary import Kind, Vocabulary

IGNORED = -100
"""Target of a token that is context only; PyTorch's cross entropy leaves it out."""


class Window(NamedTuple):
    """A range of tokens of one piece that becomes one packed segment."""

    piece: int
    """Index in the store."""
    start: int
    """First input token."""
    stop: int
    """One past the last target token; inputs end one token earlier."""
    scored_from: int
    """First target token that counts; targets before it are context."""
    shift: int
    """Transposition in semitones."""


class PackedBatch(NamedTuple):
    """Segments of one batch, laid end to end; N tokens in all."""

    ids: Tensor
    """Inputs ``(N,)`` int64."""
    targets: Tensor
    """Next tokens ``(N,)`` int64, ``IGNORED`` where a token is context only."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Number of each token in its segment ``(N,)`` int64."""
    beat: Tensor
    """Onset in quarter notes ``(N,)`` float32."""
    bar: Tensor
    """Bar number ``(N,)`` int64."""
    lengths: list[int]
    """Tokens of each segment."""
    notes: int
    """Notes of the pieces whose scoring starts in this batch (each piece counts once in an evaluation pass)."""
    beats: float
    """Quarter notes of those pieces."""
    pieces: int
    """Number of those pieces."""
    augmented: int
    """Segments that were transposed."""


def item_generator(seed: int, epoch: int, item: int) -> np.random.Generator:
    """Random numbers that depend on (seed, epoch, item) only, whatever process draws them."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{item}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def scoring_windows(tokens: int, context: int) -> list[tuple[int, int, int]]:
    """Cut a piece so that every token after the first is scored once.

    A piece of up to ``context`` inputs is one window. A longer one is covered by windows that overlap by half, so that
    each scored token sees at least ``context // 2`` tokens of the past (or everything before it).

    Args:
        tokens: length of the piece with BOS and EOS.
        context: most input tokens of a window.

    Returns:
        ``(start, stop, scored_from)`` triples as in :class:`Window`.
    """
    windows = []
    start, scored_from = 0, 1
    while scored_from < tokens:
        stop = min(start + context + 1, tokens)
        windows.append((start, stop, scored_from))
        scored_from = stop
        start = max(0, stop - 1 - context // 2)
    return windows


def bar_windows(kinds: np.ndarray, context: int, offset: int) -> list[tuple[int, int]]:
    """Cut a piece at bar lines into training windows of at most ``context`` inputs.

    Args:
        kinds: token kinds of the piece ``(N,)``.
        context: most input tokens of a window.
        offset: tokens of the first cut, so that epochs cut at different bars (0: the first
            window is as long as possible).

    Returns:
        ``(start, stop)`` ranges that cover every transition once; a bar longer than the context is cut inside.
    """
    tokens = len(kinds)
    if tokens <= context + 1:
        return [(0, tokens)]
    bars = np.flatnonzero(kinds == Kind.BAR)
    windows = []
    start = 0
    limit = min(offset, context) or context
    while start < tokens - 1:
        end = start + limit
        if end < tokens - 1:
            later = bars[(bars > start) & (bars <= end)]
            end = int(later[-1]) if len(later) else end
        end = min(end, tokens - 1)
        windows.append((start, end + 1))
        start, limit = end, context
    return windows


@dataclass(frozen=True)
class Transposer:
    """Transposition as a table gather, kept inside a pitch range piece by piece.

    The range is that of the corpus itself, so that no transposed soprano sings higher, and
    no bass lower, than some real one does.
    """

    table: np.ndarray
    """``(shifts, V)`` token ids."""
    low: int
    """Semitones of the table's first row."""
    pitch_low: int
    """Lowest pitch a transposed piece may have."""
    pitch_high: int
    """Highest pitch a transposed piece may have."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, low: int, high: int, ranges: Sequence[tuple[int, int]]) -> Transposer:
        """Table for all shifts from ``low`` to ``high`` semitones, for pieces of these lowest and highest pitches."""
        pitched = [extent for extent in ranges if extent[0] >= 0] or [(0, 0)]
        lowest, highest = min(low for low, _ in pitched), max(high for _, high in pitched)
        return cls(vocabulary.transposition_table(low, high), low, lowest, highest)

    def allowed(self, piece_low: int, piece_high: int) -> tuple[int, int]:
        """Lowest and highest shift for a piece of that range (0 is always in; 0 alone for drums, whose range is -1)."""
        high = self.low + len(self.table) - 1
        if piece_low < 0:
            return 0, 0
        return min(0, max(self.low, self.pitch_low - piece_low)), max(0, min(high, self.pitch_high - piece_high))

    def __call__(self, ids: np.ndarray, shift: int) -> np.ndarray:
        """Transposed ids."""
        return self.table[shift - self.low][ids]


def collate(store: TokenStore, windows: Sequence[Window], transposer: Transposer | None) -> PackedBatch:
    """Read the windows and lay them end to end."""
    ids, targets, index, beat, bar, lengths = [], [], [], [], [], []
    notes, beats, pieces, augmented = 0, 0.0, 0, 0
    for window in windows:
        tokens = np.asarray(store.ids(window.piece)[window.start : window.stop])
        if transposer is not None and window.shift:
            tokens = transposer(tokens, window.shift)
            augmented += 1
        tokens = tokens.astype(np.int64)
        target = tokens[1:].copy()
        target[: window.scored_from - window.start - 1] = IGNORED
        inputs = slice(window.start, window.stop - 1)
        ids.append(tokens[:-1])
        targets.append(target)
        index.append(np.arange(len(target)))
        beat.append(np.asarray(store.beats(window.piece)[inputs], dtype=np.float32))
        bar.append(np.asarray(store.bars(window.piece)[inputs]).astype(np.int64))
        lengths.append(len(target))
        if window.scored_from == 1:
            record = store.pieces[window.piece]
            notes, beats, pieces = notes + record.notes, beats + record.beats, pieces + 1
    tensors = (torch.from_numpy(np.concatenate(parts)) for parts in (ids, targets, index, beat, bar))
    return PackedBatch(*tensors, lengths, notes, beats, pieces, augmented)  # type: ignore[arg-type, call-arg]


def pack(windows: Sequence[Window], batch_tokens: int) -> list[list[Window]]:
    """Consecutive windows in batches of at most ``batch_tokens`` inputs (a longer window is a batch of its own)."""
    batches: list[list[Window]] = []
    room = 0
    for window in windows:
        size = window.stop - window.start - 1
        if size > room or not batches:
            batches.append([])
            room = batch_tokens
        batches[-1].append(window)
        room -= size
    return batches


class TrainingPlan:
    """What is drawn in each epoch.

    Args:
        store: the prepared corpus.
        pieces: indices of the training pieces.
        vocabulary: meaning of the ids.
        context: most input tokens of a segment.
        batch_tokens: input tokens of a batch.
        transpose: lowest and highest transposition in semitones.
        seed: with the epoch and the item, decides everything random.
    """

    def __init__(
        self,
        store: TokenStore,
        pieces: Sequence[int],
        vocabulary: Vocabulary,
        context: int,
        batch_tokens: int,
        transpose: tuple[int, int],
        seed: int,
    ) -> None:
        self.store, self.pieces, self.context, self.seed = store, list(pieces), context, seed
        self.bar_lines = vocabulary.bar_lines
        ranges = [(store.pieces[piece].pitch_low, store.pieces[piece].pitch_high) for piece in self.pieces]
        self.transposer = Transposer.of(vocabulary, *transpose, ranges)
        transitions = sum(store.pieces[piece].tokens - 1 for piece in self.pieces)
        self.batches = max(1, round(transitions / batch_tokens))
        """Batches in every epoch: the plan deals all tokens out evenly, so the number never changes."""

    def windows(self, epoch: int) -> list[Window]:
        """All segments of an epoch in the order in which they are drawn."""
        result = []
        for piece in self.pieces:
            draw = item_generator(self.seed, epoch, piece)
            record = self.store.pieces[piece]
            low, high = self.transposer.allowed(record.pitch_low, record.pitch_high)
            shift = int(draw.integers(low, high + 1))
            ranges = [(0, record.tokens)]
            if record.tokens > self.context + 1:
                kinds = np.where(self.bar_lines(self.store.ids(piece)), Kind.BAR, Kind.OTHER)
                ranges = bar_windows(kinds, self.context, int(draw.integers(self.context // 4, self.context + 1)))
            result += [Window(piece, start, stop, start + 1, shift) for start, stop in ranges]
        order = item_generator(self.seed, epoch, -1).permutation(len(result))
        return [result[i] for i in order]

    def epoch(self, epoch: int) -> list[list[Window]]:
        """The batches of an epoch: segments dealt to the batch in which their middle falls."""
        windows = self.windows(epoch)
        sizes = np.array([window.stop - window.start - 1 for window in windows])
        middle = np.cumsum(sizes) - sizes / 2
        batch_of = np.minimum((middle * self.batches / sizes.sum()).astype(int), self.batches - 1)
        batches: list[list[Window]] = [[] for _ in range(self.batches)]
        for window, batch in zip(windows, batch_of, strict=True):
            batches[batch].append(window)
        for batch, content in enumerate(batches):
            if not content:  # fewer segments than batches: a very long segment stands for its neighbour too
                content.append(windows[int(np.argmin(np.abs(batch_of - batch)))])
        return batches


class TrainingBatches:
    """Loader of packed training batches that knows where it is.

    ``state_dict`` and ``load_state_dict`` follow the protocol of stateful loaders, so a checkpoint in the middle of an
    epoch continues with the batch that would have come next.

    Args:
        plan: what is drawn.
        rank: this process among ``world``; each takes every ``world``-th batch.
        world: number of processes.
    """

    def __init__(self, plan: TrainingPlan, rank: int = 0, world: int = 1) -> None:
        self.plan, self.rank, self.world = plan, rank, world
        self.epoch = 0
        self.consumed = 0
        self._resumes = False

    def __len__(self) -> int:
        return max(1, self.plan.batches // self.world)

    def __iter__(self) -> Iterator[PackedBatch]:
        if self.consumed and not self._resumes:  # the last epoch was left early, as trainer.limit_train_batches does
            self.epoch, self.consumed = self.epoch + 1, 0
        self._resumes = False
        batches, first, count = self.plan.epoch(self.epoch), self.consumed, len(self)
        for number in range(first, count):
            # Before the last batch is handed out, too: whoever counts batches never asks for the one after it.
            is_last = number + 1 == count
            self.epoch, self.consumed = (self.epoch + 1, 0) if is_last else (self.epoch, number + 1)
            windows = batches[(number * self.world + self.rank) % len(batches)]
            yield collate(self.plan.store, windows, self.plan.transposer)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and batches consumed in it."""
        return {"epoch": self.epoch, "consumed": self.consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.epoch, self.consumed = state["epoch"], state["consumed"]
        self._resumes = True


class EvaluationBatches:
    """Loader that goes once through pieces in order and scores every token after BOS once, without augmentation."""

    def __init__(
        self, store: TokenStore, pieces: Sequence[int], context: int, batch_tokens: int, rank: int = 0, world: int = 1
    ) -> None:
        windows = [
            Window(piece, start, stop, scored_from, 0)
            for piece in list(pieces)[rank::world]
            for start, stop, scored_from in scoring_windows(store.pieces[piece].tokens, context)
        ]
        self.store, self.batches = store, pack(windows, batch_tokens)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[PackedBatch]:
        for windows in self.batches:
            yield collate(self.store, windows, None)
