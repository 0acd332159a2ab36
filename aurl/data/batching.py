"""Packed batches: pieces one after the other, no padding, every random choice a function of (seed, epoch, item).

One idea: an epoch is planned before it starts. The plan is an array of :class:`Window` (piece, token range), dealt to
batches; drawing a batch is then a memory-mapped read and what augmentation makes of it. Because the plan depends on
nothing but the seed and the epoch, "position in the data" is one number, the batches drawn by all processes together,
and resuming is exact, with as many processes as before or another number. Arrays that grow with the corpus are mapped
files, so a plan keeps as much memory for a million pieces as for ten thousand (making it takes some 10 bytes a window).
windows.py cuts pieces into windows, dealing.py deals these to batches.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurl.data.augmentation.augmenter import Augmented, Augmenter, Draw
from aurl.data.augmentation.config import AugmentConfig
from aurl.data.augmentation.draws import hashed, piece_keys, uniforms
from aurl.data.augmentation.segments import Segments
from aurl.data.batch_features import FeatureReader
from aurl.data.dealing import EpochPlan, deal
from aurl.data.store import TokenStore
from aurl.data.vocabulary import Vocabulary
from aurl.data.windows import WINDOW_FIELDS, Window, WindowTable, bar_windows, item_generator
from aurl.utils.errors import AurlError
from aurl.utils.rows import RowSpool, blocks

IGNORED = -100
"""Target of a token that is context only; PyTorch's cross entropy leaves it out."""
CUT_TOGETHER = 4096
"""Pieces that are cut before their windows are put away."""


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
    """Segments that augmentation changed."""
    source: Tensor | None = None
    """Token of its piece that each input is or, after augmentation, stands for ``(N,)`` int64."""
    origins: tuple[int, ...] = ()
    """Index in the store of each segment's piece."""
    shifts: tuple[int, ...] = ()
    """Semitones by which each segment was transposed: labels move along (aurl.data.augmentation.labels)."""
    stretches: tuple[float, ...] = ()
    """Factor by which each segment's times in quarters grew; 1 where only the tempo changed."""
    features: dict[str, Tensor] = {}  # noqa: RUF012  # nobody writes to it
    """For each name in ``data.features`` the row of each token's beat, bar or own place ``(N, ...)``, transposed with
    the music (batch_features.py)."""


def read_segments(store: TokenStore, windows: Sequence[Window]) -> Segments:
    """The tokens of windows as they are stored."""
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for window in windows:
        tokens = slice(window.start, window.stop)
        columns[0].append(store.ids(window.piece)[tokens])
        columns[1].append(np.arange(window.start, window.stop))
        columns[2].append(store.bars(window.piece)[tokens])
        columns[3].append(store.beats(window.piece)[tokens])
    ids, source, bar, beat = (np.concatenate(parts) for parts in columns)
    table = np.array(windows, np.int64)
    lengths = table[:, 2] - table[:, 1]
    return Segments(ids.astype(np.int64), source, bar.astype(np.int64), beat, lengths, table[:, 0], table[:, 3])


def collate(
    store: TokenStore,
    windows: Sequence[Window],
    augmenter: Augmenter | None = None,
    context: int | None = None,
    epoch: int = 0,
    share: float = 1.0,
    features: FeatureReader | None = None,
) -> PackedBatch:
    """Read the windows, augment them and lay them end to end.

    Args:
        store: the prepared corpus.
        windows: what the batch holds.
        augmenter: changes them; None leaves them as stored.
        context: a segment that augmentation made longer than this is cut at a bar line; None cuts nothing.
        epoch: number of the epoch.
        share: share of training done, for schedules.
        features: reads what lies beside the tokens.
    """
    segments = read_segments(store, windows)
    count = len(windows)
    augmented = Augmented(segments, np.zeros(count, int), np.ones(count), np.zeros(count, bool))
    if augmenter is not None:
        recipes = augmenter.recipes(segments.piece, epoch, share)
        augmented = augmenter(segments, recipes)
    batch = _packed(augmented, segments, context)
    if features is not None and batch.source is not None:
        rows = features(batch.source.numpy(), batch.lengths, batch.origins, batch.shifts)
        batch = batch._replace(features=rows)
    notes, beats, pieces = 0, 0.0, 0
    for window in windows:
        if window.scored_from == 1:
            record = store.pieces[window.piece]
            notes, beats, pieces = notes + record.notes, beats + record.beats, pieces + 1
    return batch._replace(notes=notes, beats=beats, pieces=pieces)


def _packed(augmented: Augmented, stored: Segments, context: int | None) -> PackedBatch:
    """Inputs and targets of a batch; notes, beats and pieces are left at 0."""
    segments = augmented.segments
    first_token = stored.source[stored.starts]
    parts: list[tuple[int, int, int]] = []  # start and stop in the batch, tokens of context
    owner: list[int] = []
    for number, (start, length) in enumerate(zip(segments.starts.tolist(), segments.lengths.tolist(), strict=True)):
        remembered = int(segments.scored_from[number] - first_token[number]) - 1
        whole = slice(start, start + length)
        if augmented.changed[number] and remembered:
            remembered = _line_of(segments.source[whole], segments.bar[whole], int(first_token[number]) + remembered)
        pieces = [(0, length, 1)]
        if context is not None and length > context + 1:
            pieces = bar_windows(segments.bar[whole], context, 0)
        for part_start, part_stop, scored in pieces:
            parts.append((start + part_start, start + part_stop, max(remembered + 1 - part_start, scored - part_start)))
            owner.append(number)
    inputs = np.concatenate([np.arange(start, stop - 1) for start, stop, _ in parts])
    target = segments.ids[inputs + 1]
    sizes = np.array([stop - start - 1 for start, stop, _ in parts])
    index = np.arange(len(inputs)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    target[index < np.repeat([scored - 1 for _, _, scored in parts], sizes)] = IGNORED
    columns = (segments.ids[inputs], target, index, segments.beat[inputs], segments.bar[inputs])
    ids, targets, number_in, beat, bar = (torch.from_numpy(column) for column in columns)
    return PackedBatch(
        ids,
        targets,
        number_in,
        beat,
        bar,
        sizes.tolist(),
        notes=0,
        beats=0.0,
        pieces=0,
        augmented=int(augmented.changed[owner].sum()),
        source=torch.from_numpy(segments.source[inputs]),
        origins=tuple(segments.piece[owner].tolist()),
        shifts=tuple(augmented.shift[owner].tolist()),
        stretches=tuple(augmented.stretch[owner].tolist()),
    )


def _line_of(source: np.ndarray, bar: np.ndarray, cut: int) -> int:
    """The bar line that stands for the one at token ``cut`` of the piece, or the next; at most the last input."""
    lines = np.flatnonzero(np.diff(bar, prepend=bar[0] - 1))
    at = int(np.searchsorted(source[lines], cut))
    return int(lines[at]) if at < len(lines) else len(source) - 2


class TrainingPlan:
    """What is drawn in each epoch.

    Args:
        store: the prepared corpus.
        pieces: indices of the training pieces.
        vocabulary: meaning of the ids.
        context: most input tokens of a segment.
        batch_tokens: input tokens of a batch.
        augment: what is changed when a batch is drawn.
        seed: with the epoch and the item, decides everything random.
        overlap: share of the context that a segment of a long piece repeats of the one before it, unscored.
        features: arrays beside the tokens that every batch brings along.

    Raises:
        AurlError: the tokenizer lacks what an augmentation needs, or the corpus an array.
    """

    def __init__(
        self,
        store: TokenStore,
        pieces: Sequence[int] | NDArray[np.integer],
        vocabulary: Vocabulary,
        context: int,
        batch_tokens: int,
        augment: AugmentConfig,
        seed: int,
        overlap: float = 0.0,
        features: Sequence[str] = (),
    ) -> None:
        self.store, self.context, self.seed = store, context, seed
        self.features = FeatureReader(store, features)
        numbers = RowSpool(1)
        numbers.add(np.sort(np.asarray(pieces, np.int32)))
        self.pieces: NDArray[np.int32] = numbers.finish()[:, 0]
        self._tokens = store.numbers["tokens"]
        extents = store.numbers["pitch_low"], store.numbers["pitch_high"]
        self.augmenter = Augmenter(augment, vocabulary, extents, self.pieces, store.ids, seed, self._facts)
        self.transposer = self.augmenter.transposer
        self._overlap = int(overlap * context)
        inputs = 0.0
        for block in blocks(len(self.pieces)):
            transitions = self._tokens[self.pieces[block]].astype(np.int64) - 1
            inputs += float(np.where(transitions > context, transitions / (1 - overlap), transitions).sum())
        self.batches = max(1, round(inputs / batch_tokens))
        """Batches in every epoch: the plan deals all tokens out evenly, so the number never changes."""

    def _facts(self, piece: int) -> Mapping[str, Any]:
        return self.store.pieces[piece].facts

    def windows(self, epoch: int) -> WindowTable:
        """All segments of an epoch in the order in which they are drawn."""
        spool = RowSpool(WINDOW_FIELDS)
        for rows in self._cut(epoch):
            spool.add(rows)
        cut = spool.finish()
        order = np.arange(len(cut), dtype=np.int32)
        item_generator(self.seed, epoch, -1).shuffle(order)
        drawn = RowSpool(WINDOW_FIELDS)
        for block in blocks(len(cut)):
            drawn.add(cut[order[block]])
        return WindowTable(drawn.finish())

    def _cut(self, epoch: int) -> Iterator[NDArray[np.int32]]:
        """The windows of long pieces, then those of the others, which are one window each: blocks of rows."""
        least = self.context // 4
        for block in blocks(len(self.pieces), CUT_TOGETHER):
            pieces = self.pieces[block]
            pieces = pieces[self._tokens[pieces] > self.context + 1]
            keys = hashed(piece_keys(self.seed, epoch, pieces), Draw.CUT)
            first = least + (uniforms(keys) * (self.context + 1 - least)).astype(np.int64)
            cuts = array("i")  # compact: lists of tuples would take ten times the room
            for piece, limit in zip(pieces.tolist(), first.tolist(), strict=True):
                for window in bar_windows(self.store.bars(piece), self.context, limit, self._overlap):
                    cuts.extend((piece, *window))
            yield np.frombuffer(cuts, np.int32).reshape(-1, WINDOW_FIELDS)
        for block in blocks(len(self.pieces)):
            pieces = self.pieces[block]
            pieces = pieces[self._tokens[pieces] <= self.context + 1]
            yield np.stack([pieces, np.zeros_like(pieces), self._tokens[pieces], np.ones_like(pieces)], 1)

    def epoch(self, epoch: int) -> EpochPlan:
        """The batches of an epoch."""
        return deal(self.windows(epoch), self.batches)

    def collate(self, windows: Sequence[Window], epoch: int, share: float = 1.0) -> PackedBatch:
        """A batch of windows, augmented as the epoch and the share of training done ask for."""
        return collate(self.store, windows, self.augmenter, self.context, epoch, share, self.features)


class TrainingBatches:
    """Loader of packed training batches that knows where it is.

    ``state_dict`` and ``load_state_dict`` follow the protocol of stateful loaders, so a checkpoint in the middle of an
    epoch continues with the batch that would have come next.

    Args:
        plan: what is drawn.
        rank: this process among ``world``; each takes every ``world``-th batch, and a part of what is left at the end.
        world: number of processes.
    """

    def __init__(self, plan: TrainingPlan, rank: int = 0, world: int = 1) -> None:
        self.plan, self.rank, self.world = plan, rank, world
        self.epoch = 0
        self.drawn = 0
        """Batches of the epoch's plan that all processes together have drawn."""
        self._resumes = False
        self._epochs: float | None = None
        self._part_of_epoch = 1.0

    def __len__(self) -> int:
        return -(-self.plan.batches // self.world)

    def set_length(self, batches: int, batches_per_epoch: int) -> None:
        """Say how long training will be, which schedules of augmentation need.

        Args:
            batches: batches that this process will draw in all.
            batches_per_epoch: batches that it draws in one epoch.
        """
        self._epochs = batches / batches_per_epoch
        self._part_of_epoch = batches_per_epoch / len(self)

    def share_done(self, epoch: int, batch: int) -> float:
        """Share of training done before a batch of the plan; the same for every number of processes.

        Raises:
            AurlError: a schedule asks for it and nobody has called :meth:`set_length`.
        """
        if not self.plan.augmenter.config.scheduled():
            return 1.0
        if self._epochs is None:
            raise AurlError("augment: a schedule needs the length of training; call TrainingBatches.set_length first")
        part = min(batch / (self.plan.batches * self._part_of_epoch), 1.0)
        return min((epoch + part) / self._epochs, 1.0)

    def __iter__(self) -> Iterator[PackedBatch]:
        if self.drawn and not self._resumes:  # the last epoch was left early, as trainer.limit_train_batches does
            self.epoch, self.drawn = self.epoch + 1, 0
        self._resumes = False
        epoch = self.epoch
        batches = self.plan.epoch(epoch)
        for start in range(self.drawn, len(batches), self.world):
            # Before the last batch is handed out, too: whoever counts batches never asks for the one after it.
            after = start + self.world
            self.epoch, self.drawn = (epoch, after) if after < len(batches) else (epoch + 1, 0)
            together = batches[start:after]
            batch = start + self.rank if len(together) == self.world else start
            yield self.plan.collate(self._share(together), epoch, self.share_done(epoch, batch))

    def _share(self, together: list[list[Window]]) -> list[Window]:
        """This process's part of the batches that all draw at once.

        Where the epoch ends with fewer batches than processes, their segments are dealt out, so that every process has
        some and nothing of the epoch is left out; a segment comes twice only where there are fewer than processes.
        """
        if len(together) == self.world:
            return together[self.rank]
        windows = [window for batch in together for window in batch]
        return windows[self.rank :: self.world] or [windows[self.rank % len(windows)]]

    def steps_done(self) -> int:
        """Batches that this process need not draw any more in this epoch, of ``len(self)``."""
        return len(self) + (self.drawn - self.plan.batches) // self.world

    def skip_rest(self) -> None:
        """Go on with the next epoch."""
        self.epoch, self.drawn = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and the batches of its plan that all processes together have drawn: the same in each of them."""
        return {"epoch": self.epoch, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict` of any number of processes; older checkpoints count those of one process."""
        self.epoch, self.drawn = state["epoch"], state.get("drawn", state.get("consumed", 0) * self.world)
        if self.drawn >= self.plan.batches:
            self.skip_rest()
        self._resumes = True
