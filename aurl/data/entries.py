"""One piece as bytes: everything musical of a score in a compressed NPZ file, and back without loss.

``pack`` and ``unpack`` put JSON and arrays into one NPZ (zip of .npy files, readable by ``numpy.load``);
``score_parts`` and ``score_of`` turn a score into such parts. Notes of all tracks lie end to end, and so do
controllers, pedals and bends; the JSON says how many belong to each track. The same content always gives the same
bytes.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import (
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TempoTickList,
    TextMetaTick,
    TextMetaTickList,
    TimeSignatureTickList,
    TrackTick,
)

META = "meta"
"""Name of the array that holds the JSON."""
PLAIN_LEVEL = 1
"""zlib level: token arrays shrink as well with 1 as with 9."""
Arrays = Mapping[str, NDArray[Any]]

TRACK_LISTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "notes": (NoteTickList, ("time", "duration", "pitch", "velocity")),
    "controls": (ControlChangeTickList, ("time", "number", "value")),
    "pedals": (PedalTickList, ("time", "duration")),
    "pitch_bends": (PitchBendTickList, ("time", "value")),
}
SCORE_LISTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "tempos": (TempoTickList, ("time", "mspq")),
    "time_signatures": (TimeSignatureTickList, ("time", "numerator", "denominator")),
    "key_signatures": (KeySignatureTickList, ("time", "key", "tonality")),
}


class DamagedEntry(Exception):
    """The bytes of an entry are not what was written."""


def pack(meta: Mapping[str, Any], arrays: Arrays) -> bytes:
    """JSON values and arrays as one compressed NPZ file; empty arrays are left out."""
    text = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8)
    file = io.BytesIO()
    filled: dict[str, Any] = {META: text} | {name: array for name, array in arrays.items() if array.size}
    np.savez_compressed(file, **filled)
    return file.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What :func:`pack` was given.

    Raises:
        DamagedEntry: something else. (That bytes are as they were written is checked in piece_store.py.)
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop(META).tobytes()), arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error


def pack_plain(meta: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The same in a form that is opened ten times as fast, for what is read again and again: a JSON line, then zlib."""
    names = sorted(arrays)
    rows = [[name, arrays[name].dtype.str, arrays[name].shape] for name in names]
    body = zlib.compress(b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in names), PLAIN_LEVEL)
    head = json.dumps({META: meta, "arrays": rows}, sort_keys=True)
    return head.encode() + b"\n" + body


def unpack_plain(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What :func:`pack_plain` was given.

    Raises:
        DamagedEntry: something else.
    """
    try:
        line, _, packed = data.partition(b"\n")
        head = json.loads(line)
        body, start = zlib.decompress(packed), 0
        arrays = {}
        for name, kind, shape in head["arrays"]:
            count = math.prod(shape)
            arrays[name] = np.frombuffer(body, dtype=kind, count=count, offset=start).reshape(shape)
            start += count * np.dtype(kind).itemsize
        return head[META], arrays
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error


def score_parts(score: ScoreTick) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """A score as JSON values and arrays for :func:`pack`."""
    arrays: dict[str, NDArray[Any]] = {}
    for kind, (_, columns) in TRACK_LISTS.items():
        parts = [getattr(track, kind).numpy() for track in score.tracks if len(getattr(track, kind))]
        if parts:
            arrays |= {f"{kind}.{column}": np.concatenate([part[column] for part in parts]) for column in columns}
    for kind, (_, columns) in SCORE_LISTS.items():
        if len(getattr(score, kind)):
            part = getattr(score, kind).numpy()
            arrays |= {f"{kind}.{column}": part[column] for column in columns}
    tracks = [
        {
            "name": track.name,
            "program": track.program,
            "is_drum": track.is_drum,
            "counts": [len(getattr(track, kind)) for kind in TRACK_LISTS],
            "lyrics": _texts(track.lyrics),
        }
        for track in score.tracks
    ]
    meta = {"ticks_per_quarter": score.ticks_per_quarter, "tracks": tracks, "markers": _texts(score.markers)}
    return meta, arrays


def score_of(meta: Mapping[str, Any], arrays: Arrays) -> ScoreTick:
    """The score that :func:`score_parts` took apart.

    Example:
        >>> score = ScoreTick(480)
        >>> score_of(*score_parts(score)).ticks_per_quarter
        480
    """
    score = ScoreTick(meta["ticks_per_quarter"])
    for kind, (make, columns) in SCORE_LISTS.items():
        if f"{kind}.time" in arrays:
            setattr(score, kind, make.from_numpy(*(arrays[f"{kind}.{column}"] for column in columns)))
    score.markers = _text_list(meta["markers"])
    used = dict.fromkeys(TRACK_LISTS, 0)
    for row in meta["tracks"]:
        track = TrackTick(row["name"], row["program"], row["is_drum"])
        for (kind, (make, columns)), count in zip(TRACK_LISTS.items(), row["counts"], strict=True):
            if count:
                span = slice(used[kind], used[kind] + count)
                setattr(track, kind, make.from_numpy(*(arrays[f"{kind}.{column}"][span] for column in columns)))
                used[kind] += count
        track.lyrics = _text_list(row["lyrics"])
        score.tracks.append(track)
    return score


def _texts(texts: Any) -> list[tuple[int, str]]:
    return [(text.time, text.text) for text in texts]


def _text_list(rows: list[tuple[int, str]]) -> Any:
    return TextMetaTickList([TextMetaTick(time, text) for time, text in rows])
