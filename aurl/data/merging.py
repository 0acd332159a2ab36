"""Learned tokens between store and model: where they are learned, and batches and stores seen through them.

Training batches are merged after augmentation, segment by segment; pieces that are scored are merged whole before they
are cut into windows, so that every token of a piece is scored once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aurl.data.aligned import Level, provider
from aurl.data.batching import IGNORED, PackedBatch
from aurl.data.cache import LEARNED_FOLDER
from aurl.data.codec import Codec
from aurl.data.merges import Merges, check_size
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write_json
from aurl.utils.logging import get_logger
from aurl.utils.rows import RowSpool

if TYPE_CHECKING:
    from aurl.data.store import TokenStore

log = get_logger("data.merging")

SHIFTS = (0, -5, 2, -2, 5, 1, -4, 3, -1, 4, -3, 6)
"""Semitones by which pieces are transposed one after the other while tokens are learned: all keys, as in training."""


def learned(store: TokenStore, codec: Codec, bpe: str, cache: Path) -> Codec:
    """The codec with learned tokens.

    Args:
        store: the corpus; its training pieces are learned from.
        codec: its codec.
        bpe: ``tokenizer.bpe``: how many tokens in all, or a file that ``aurl-data tokenizer`` wrote.
        cache: where tokens learned from a corpus are kept.

    Raises:
        AurlError: there is no such file, it belongs to another tokenizer, or there is nothing to learn.
    """
    if not bpe.isdecimal():
        return _from_file(Path(bpe).expanduser(), codec)
    parts = [store.folder.name, store.split("train"), codec.to_dict(), bpe, SHIFTS]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    file = Path(cache).expanduser() / LEARNED_FOLDER / f"{key}.json"
    if file.is_file():
        return _from_file(file, codec)
    merges = Merges.learn(_pieces(store, codec), codec.vocabulary, int(bpe))
    result = codec.with_merges(merges)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(file, result.to_dict())
    log.info(f"Learned {merges.size - codec.vocabulary.size} tokens from {len(store.chosen('train'))} training pieces")
    return result


def check_learnable(codec: Codec, bpe: str) -> None:
    """Refuse a ``tokenizer.bpe`` that cannot be used with the codec, before a corpus is prepared for it.

    Raises:
        AurlError: there is no such file, it belongs to another tokenizer, or there is nothing to learn.
    """
    if bpe.isdecimal():
        check_size(int(bpe), codec.vocabulary)
    else:
        _from_file(Path(bpe).expanduser(), codec)


def _from_file(file: Path, codec: Codec) -> Codec:
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AurlError(f"tokenizer.bpe={file} cannot be read ({error}); make it with aurl-data tokenizer") from error
    found = Codec.from_dict(saved) if isinstance(saved, dict) else codec
    if found.merges is None or not codec.reads(found.base_dict()):
        raise AurlError(f"tokenizer.bpe={file} was made for other tokenizer settings than these; make it again")
    return found


def _pieces(store: TokenStore, codec: Codec) -> Iterator[np.ndarray]:
    table = codec.vocabulary.transposition_table(min(SHIFTS), max(SHIFTS))
    for number, piece in enumerate(store.chosen("train")):
        yield table[SHIFTS[number % len(SHIFTS)] - min(SHIFTS)][np.asarray(store.ids(piece))]


class MergedBatches:
    """A loader of packed batches whose tokens are merged; state and length are the loader's.

    Args:
        loader: gives batches of base ids.
        merges: the learned tokens.
    """

    def __init__(self, loader: Any, merges: Merges) -> None:
        self.loader, self.merges = loader, merges

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[PackedBatch]:
        for batch in self.loader:
            yield merge_batch(batch, self.merges)

    def set_length(self, batches: int, batches_per_epoch: int) -> None:
        """Tell the loader how long training is; see ``TrainingBatches.set_length``."""
        self.loader.set_length(batches, batches_per_epoch)

    def steps_done(self) -> int:
        """Batches that need not be drawn any more in this epoch; see ``TrainingBatches.steps_done``."""
        return int(self.loader.steps_done())

    def skip_rest(self) -> None:
        """Go on with the next epoch."""
        self.loader.skip_rest()

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is."""
        return dict(self.loader.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.loader.load_state_dict(state)


def merge_batch(batch: PackedBatch, merges: Merges) -> PackedBatch:
    """The same music in merged tokens.

    A target counts where the first of its parts did.
    """
    total = len(batch.ids)
    ids, targets, kept, lengths = [], [], [], []
    start = 0
    for length in batch.lengths:
        own = slice(start, start + length)
        scored = np.append(True, batch.targets[own].numpy() != IGNORED)
        base = np.append(batch.ids[own].numpy(), max(batch.targets[own][-1].item(), 0))  # PAD behind mere context
        merged, begins = merges.merge(base)
        target = np.where(scored[begins[1:]], merged[1:], IGNORED)
        ids.append(merged[:-1])
        targets.append(target)
        kept.append(begins[:-1] + start)
        lengths.append(len(target))
        start += length
    at = torch.from_numpy(np.concatenate(kept))
    fields: dict[str, Any] = {
        name: value[at] for name, value in batch._asdict().items() if isinstance(value, Tensor) and len(value) == total
    }
    fields |= {
        "ids": torch.from_numpy(np.concatenate(ids)),
        "targets": torch.from_numpy(np.concatenate(targets)),
        "index": torch.cat([torch.arange(length) for length in lengths]),
        "lengths": lengths,
        "features": {name: rows[at] for name, rows in batch.features.items()},
    }
    return batch._replace(**fields)


class MergedPieces:
    """Records of pieces with the number of their merged tokens, made when asked for.

    Args:
        pieces: the records of a store.
        lengths: merged tokens of each piece, 0 for one that was not merged.
    """

    def __init__(self, pieces: Sequence[Any], lengths: NDArray[np.int32]) -> None:
        self._pieces, self._lengths = pieces, lengths

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, number: int) -> Any:
        length = int(self._lengths[number])
        return replace(self._pieces[number].record(), tokens=length) if length else self._pieces[number]


class MergedStore:
    """Some pieces of a store in merged tokens; everything else is the store's.

    Args:
        store: base ids.
        merges: the learned tokens.
        numbers: the pieces that are asked for.
    """

    def __init__(self, store: TokenStore, merges: Merges, numbers: Sequence[int] | NDArray[np.integer]) -> None:
        self._store = store
        spool = RowSpool(2)
        lengths = np.zeros(len(store.pieces), np.int32)
        self._starts = np.zeros(len(store.pieces), np.int64)
        total = 0
        for number in numbers:
            ids, begins = merges.merge(np.asarray(store.ids(number)))
            spool.add(np.stack([ids, begins], 1))
            self._starts[number], lengths[number], total = total, len(ids), total + len(ids)
        self._merged, self._lengths = spool.finish(), lengths
        self.pieces: Any = MergedPieces(store.pieces, lengths)

    def _rows(self, number: int) -> NDArray[np.int32]:
        """Id and first base token of each merged token (M, 2)."""
        if not self._lengths[number]:
            raise KeyError(number)
        start = int(self._starts[number])
        return self._merged[start : start + int(self._lengths[number])]

    def ids(self, number: int) -> np.ndarray:
        """Merged ids of a piece (M,)."""
        return self._rows(number)[:, 0]

    def bars(self, number: int) -> np.ndarray:
        """Bar of each (M,)."""
        return np.asarray(self._store.bars(number))[self._rows(number)[:, 1]]

    def beats(self, number: int) -> np.ndarray:
        """Beat of each (M,)."""
        return np.asarray(self._store.beats(number))[self._rows(number)[:, 1]]

    def aligned(self, name: str, number: int) -> np.ndarray:
        """An array beside the tokens of a piece, by merged token where it has rows of tokens."""
        rows = self._store.aligned(name, number)
        return rows[self._rows(number)[:, 1]] if provider(name).level is Level.token else rows

    def check_aligned(self, name: str) -> None:
        """Refuse an array that the corpus does not have."""
        self._store.check_aligned(name)

    def split(self, name: str) -> list[int]:
        """Indices of the pieces of one split."""
        return list(self._store.split(name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._store, name)
