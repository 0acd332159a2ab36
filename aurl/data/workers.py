"""Read and encode pieces in worker processes (crew.py), so that a crash or a hang costs one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.crew import JOB_SECONDS, Failure, work_through
from aurl.data.sources import Piece, load_reading
from aurl.data.splits import top_line_ngrams
from aurl.data.vocabulary import Kind
from aurl.music.score import Reading
from aurl.utils.errors import UnreadableFile


@dataclass(frozen=True)
class Encoded:
    """A piece as tokens, with what its record needs."""

    ids: NDArray[np.uint16]
    """(T,) BOS ... EOS."""
    bars: NDArray[np.int32]
    beats: NDArray[np.float32]
    notes: int
    length: float
    """Quarter notes to the end of the last note."""
    pitch_low: int
    pitch_high: int
    tracks: int
    tokens: int
    changes: dict[str, int] = field(default_factory=dict)
    """What had to change to fit the vocabulary, counted."""
    signature: NDArray[np.uint64] | None = None
    """Hashes of its melody, for finding near-duplicates."""
    repairs: dict[str, int] = field(default_factory=dict)
    """What was repaired when its file was read, counted by kind."""
    damage: str = ""
    """The first damage of its file, in words."""


Loader = Callable[[Piece], Reading]
"""Reads a piece; a function that can be imported by name in a worker."""


def encode_piece(piece: Piece, codec: Codec, with_signature: bool, load: Loader = load_reading) -> Encoded:
    """Read and encode one piece.

    Args:
        piece: which.
        codec: makes the tokens.
        with_signature: also compute what near-duplicates are found by.
        load: reads the piece.

    Raises:
        UnreadableFile: it cannot be read, or no note of it fits the vocabulary.
    """
    reading = load(piece)
    score = reading.score
    signature = None
    if with_signature:
        hashes = top_line_ngrams(score)
        signature = np.fromiter(hashes, dtype=np.uint64, count=len(hashes))
    fitted, changes = codec.prepare_score(score)
    vocabulary = codec.vocabulary
    inner = codec.encode(fitted)
    notes = vocabulary.count_notes(inner)
    if notes == 0:
        raise UnreadableFile(piece.path or piece.id, "no note of it fits the vocabulary (tokenizer.pitch_range)")
    ids = np.concatenate([[vocabulary.bos], inner, [vocabulary.eos]]).astype(np.uint16)
    bars, beats = vocabulary.musical_time(ids)
    kinds, values = vocabulary.kind[ids], vocabulary.value[ids]
    pitches = values[kinds == Kind.PITCH]
    end = max(int((notes_["time"].astype(np.int64) + notes_["duration"]).max()) for notes_ in _note_columns(fitted))
    return Encoded(
        ids=ids,
        bars=bars,
        beats=beats,
        notes=notes,
        length=end / fitted.ticks_per_quarter,
        pitch_low=int(pitches.min()) if len(pitches) else -1,
        pitch_high=int(pitches.max()) if len(pitches) else -1,
        tracks=len(np.unique(ids[kinds == Kind.PROGRAM])),
        tokens=len(ids),
        changes=changes,
        signature=signature,
        repairs=reading.repairs,
        damage=reading.damage,
    )


def _note_columns(score: Any) -> list[dict[str, NDArray[Any]]]:
    """The note arrays of all tracks that have notes."""
    return [track.notes.numpy() for track in score.tracks if len(track.notes)]


def encode_pieces(
    pieces: Sequence[Piece],
    tokenizer: TokenizerConfig,
    with_signature: bool,
    workers: int,
    seconds: float = JOB_SECONDS,
    load: Loader = load_reading,
) -> Iterator[tuple[int, Encoded | Failure]]:
    """Read and encode pieces in worker processes.

    Args:
        pieces: all of them.
        tokenizer: how scores become tokens.
        with_signature: also compute what near-duplicates are found by.
        workers: processes.
        seconds: longest time for one piece.
        load: reads a piece.

    Yields:
        (number of the piece, result), in the order in which they are done.

    Raises:
        AurlError: worker processes cannot start.
    """
    start = partial(_start_encoding, tokenizer, with_signature, load)
    return work_through(pieces, start, workers, seconds, preload=[__name__])


def _start_encoding(tokenizer: TokenizerConfig, with_signature: bool, load: Loader) -> Callable[[Piece], Encoded]:
    """What a worker does with each piece."""
    codec = Codec.from_config(tokenizer)
    return lambda piece: encode_piece(piece, codec, with_signature, load)
