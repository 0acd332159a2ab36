"""Second half of a piece's way: score of the piece store -> tokens and the arrays beside them -> entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.aligned import Provider, RowTimes, compute
from aurl.data.codec import Codec
from aurl.data.entries import pack_plain, unpack_plain
from aurl.data.harmony import count_symbols
from aurl.data.reading import SIGNATURE, ReadPiece
from aurl.data.vocabulary import Kind
from aurl.utils.errors import AurlError, UnreadableFile

NUMBERS = ("notes", "length", "pitch_low", "pitch_high", "tracks")
FEATURE_PREFIX = "feature."


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
    changes: dict[str, int] = field(default_factory=dict)
    """What had to change to fit the vocabulary, counted."""
    signature: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    """Hashes of its melody, for finding near-duplicates."""
    known: dict[str, Any] = field(default_factory=dict)
    """See ``reading.ReadPiece.known``."""
    features: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Aligned arrays by name."""

    @property
    def tokens(self) -> int:
        """Tokens with BOS and EOS."""
        return len(self.ids)


def encode_piece(name: str, read: ReadPiece, codec: Codec, providers: Sequence[Provider] = ()) -> Encoded:
    """Encode one piece.

    Args:
        name: what messages call it.
        read: the piece.
        codec: makes the tokens.
        providers: what is computed beside the tokens.

    Raises:
        UnreadableFile: no note of it fits the vocabulary, or an array beside its tokens cannot be computed.
    """
    assert read.score is not None
    fitted, changes = codec.prepare_score(read.score)
    vocabulary = codec.vocabulary
    try:
        inner = codec.encode(fitted)
    except AurlError as error:
        raise UnreadableFile(name, str(error)) from error
    notes = vocabulary.count_notes(inner)
    if notes == 0:
        raise UnreadableFile(name, "no note of it fits the vocabulary (tokenizer.pitch_range)")
    ids = np.concatenate([[vocabulary.bos], inner, [vocabulary.eos]]).astype(np.uint16)
    bars, beats = vocabulary.musical_time(ids)
    kinds, values = vocabulary.kind[ids], vocabulary.value[ids]
    pitches = values[kinds == Kind.PITCH]
    columns = [track.notes.numpy() for track in fitted.tracks if len(track.notes)]
    end = max(int((part["time"].astype(np.int64) + part["duration"]).max()) for part in columns)
    length = end / fitted.ticks_per_quarter
    features, counts = _beside(name, fitted, providers, beats, bars, length)
    if codec.tokenizer.chords:
        counts |= count_symbols(fitted)
    return Encoded(
        ids=ids,
        bars=bars,
        beats=beats,
        notes=notes,
        length=length,
        pitch_low=int(pitches.min()) if len(pitches) else -1,
        pitch_high=int(pitches.max()) if len(pitches) else -1,
        tracks=len(np.unique(ids[kinds == Kind.PROGRAM])),
        changes=changes,
        signature=read.signature,
        known=read.known | {"counts": read.known.get("counts", {}) | counts} if counts else read.known,
        features=features,
    )


def _beside(
    name: str,
    score: ScoreTick,
    providers: Sequence[Provider],
    beats: NDArray[np.float32],
    bars: NDArray[np.int32],
    length: float,
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """The arrays beside the tokens of a piece, and what their providers count.

    Raises:
        UnreadableFile: an array cannot be computed; the reason names it.
    """
    if not providers:
        return {}, {}
    features: dict[str, NDArray[Any]] = {}
    counts: dict[str, int] = {}
    kind = providers[0]
    try:
        grid = RowTimes.of(beats, bars, length)
        for kind in providers:
            features[kind.name] = compute(kind, score, grid)
            counts |= kind.count(score) if kind.count is not None else {}
    except (ValueError, AurlError) as error:
        raise UnreadableFile(name, f"data.features={kind.name} cannot be computed: {error}") from error
    return features, counts


def to_entry(encoded: Encoded) -> bytes:
    """The entry of an encoded piece."""
    meta: dict[str, Any] = {key: getattr(encoded, key) for key in (*NUMBERS, "changes", "known")}
    arrays: dict[str, NDArray[Any]] = {
        "ids": encoded.ids,
        "bars": encoded.bars,
        "beats": encoded.beats,
        SIGNATURE: encoded.signature,
    }
    features = {FEATURE_PREFIX + name: array for name, array in encoded.features.items()}
    return pack_plain(meta, arrays | features)


def failed_entry(reason: str) -> bytes:
    """The entry of a piece that cannot be read or encoded."""
    return pack_plain({"failure": reason}, {})


def from_entry(data: bytes) -> Encoded | str:
    """What :func:`to_entry` wrote, or the reason why the piece could not be read.

    Raises:
        DamagedEntry: the bytes are not an entry.
    """
    meta, arrays = unpack_plain(data)
    if "failure" in meta:
        return str(meta["failure"])
    features = {
        name.removeprefix(FEATURE_PREFIX): array for name, array in arrays.items() if name.startswith(FEATURE_PREFIX)
    }
    return Encoded(
        ids=arrays["ids"],
        bars=arrays["bars"],
        beats=arrays["beats"],
        signature=arrays[SIGNATURE],
        features=features,
        **meta,
    )
