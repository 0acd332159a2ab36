"""First half of a piece's way: file -> score -> preprocessed score -> entry of the piece store.

An entry holds all that the second half (encoding.py) and a manifest need, so tokens of another kind are made without
opening the file again. That a piece cannot be read is an entry too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.entries import pack, score_of, score_parts, unpack
from aurl.data.facts import facts_of
from aurl.data.metadata import score_metadata
from aurl.data.preprocessing import PreprocessConfig, beats_beside, preprocess_score
from aurl.data.sources import Piece
from aurl.data.splits import top_line_ngrams
from aurl.music.beats import find_beats
from aurl.music.score import Reading
from aurl.utils.errors import UnreadableFile

SIGNATURE = "signature"


@dataclass(frozen=True)
class ReadPiece:
    """A piece that was read and preprocessed, or why it cannot be."""

    score: ScoreTick | None
    signature: NDArray[np.uint64]
    """Hashes of its melody, sorted: near-duplicates share many."""
    known: dict[str, Any] = field(default_factory=dict)
    """``repairs``, ``damage``, ``counts``, ``measures``, ``metadata`` and ``facts``."""
    failure: str = ""


def companion_of(path: str, config: PreprocessConfig) -> str:
    """The other file that decides how a piece is read, or '': its annotated beats, where they are used."""
    found = find_beats(path) if path and config.align_beats else None
    return str(found) if found is not None else ""


def read_piece_fully(piece: Piece, load: Callable[[Piece], Reading], config: PreprocessConfig) -> ReadPiece:
    """Read and preprocess one piece.

    Raises:
        UnreadableFile: it cannot be read, or preprocessing leaves no note.
    """
    reading = load(piece)
    metadata = score_metadata(reading.score)
    signature = np.array(sorted(top_line_ngrams(reading.score)), dtype=np.uint64)
    beats = beats_beside(piece.path) if companion_of(piece.path, config) else None
    done = preprocess_score(reading.score, config, beats)
    if not done.score.note_num():
        raise UnreadableFile(piece.path or piece.id, "preprocessing leaves no note of it")
    known = {
        "repairs": reading.repairs,
        "damage": reading.damage,
        "counts": done.counts,
        "measures": done.measures,
        "metadata": metadata,
        "facts": facts_of(done.score),
    }
    return ReadPiece(done.score, signature, known)


def failed_entry(reason: str) -> bytes:
    """The entry of a piece that cannot be read."""
    return pack({"failure": reason}, {})


def to_entry(read: ReadPiece) -> bytes:
    """The entry of a piece that was read."""
    assert read.score is not None
    meta, arrays = score_parts(read.score)
    return pack({"score": meta, "known": read.known}, arrays | {SIGNATURE: read.signature})


def from_entry(data: bytes) -> ReadPiece:
    """What :func:`to_entry` or :func:`failed_entry` wrote.

    Raises:
        DamagedEntry: the bytes are not an entry.
    """
    meta, arrays = unpack(data)
    signature = arrays.pop(SIGNATURE, np.zeros(0, dtype=np.uint64))
    if "failure" in meta:
        return ReadPiece(None, signature, failure=meta["failure"])
    return ReadPiece(score_of(meta["score"], arrays), signature, meta["known"])
