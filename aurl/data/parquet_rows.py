"""Parquet tables of music as files: rows that hold the bytes of a MIDI file, or a table of its notes.

Each row becomes ``rows/0000/name.mid``; what else the row says goes into ``metadata.jsonl`` beside, a line a file,
where :mod:`aurl.data.metadata` finds it. Rows without music are counted. A table is read in batches, so that its size
does not matter. Needs pyarrow (``pip install "aurl[parquet]"``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

log = get_logger(__name__)

BATCH_ROWS = 256
ROWS_A_FOLDER = 1000
TICKS_A_QUARTER = 480
TICKS_A_SECOND = 2 * TICKS_A_QUARTER
"""At 120 quarters a minute."""
LAST_TICK = 1 << 28
"""No time in a MIDI file is larger: four bytes of seven bits."""
DEFAULT_VELOCITY = 64
MIDI_VALUES = 128
HEADS = (b"MThd", b"RIFF")
NAME_COLUMNS = ("file_name", "filename", "midi_filename", "path", "md5", "id")
STARTS, ENDS, LENGTHS = ("start", "onset", "time", "onset_time"), ("end", "offset", "offset_time"), ("duration",)
METADATA = "metadata.jsonl"


def unpack_parquet(path: Path, target: Path, progress: Callable[[int], None] | None = None) -> int:
    """Write a file for each row.

    Args:
        path: the table.
        target: folder for the files.
        progress: is told how many files there are so far.

    Returns:
        How many files were written.

    Raises:
        AurlError: no pyarrow, a broken table, or no music in it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise AurlError(f'{path.name} is a Parquet table, which needs pyarrow: pip install "aurl[parquet]"') from error
    rows = files = 0
    target.mkdir(parents=True, exist_ok=True)
    try:
        with pyarrow.parquet.ParquetFile(path) as table, (target / METADATA).open("w", encoding="utf-8") as lines:
            for batch in table.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    if (music := _music(row)) is not None:
                        name = f"rows/{rows // ROWS_A_FOLDER:04d}/{_name(row, rows)}.mid"
                        (target / name).parent.mkdir(parents=True, exist_ok=True)
                        (target / name).write_bytes(music)
                        lines.write(json.dumps({"path": name, **_plain_fields(row)}, ensure_ascii=False) + "\n")
                        files += 1
                    rows += 1
                if progress is not None:
                    progress(files)
    except (pyarrow.ArrowException, OSError) as error:
        raise AurlError(f"{path}: cannot be unpacked ({str(error).splitlines()[0]})") from error
    if files == 0:
        raise AurlError(f"{path}: none of its {rows} rows holds MIDI bytes or a table of notes")
    if files < rows:
        log.warning("%s: %d of %d rows hold no music and are left out", path.name, rows - files, rows)
    return files


def _music(row: dict[str, Any]) -> bytes | None:
    """The MIDI file of a row, or None."""
    for value in row.values():
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and data.startswith(HEADS):
            return data
    tables = [row, *(value for value in row.values() if isinstance(value, dict))]
    tables += [_columns(value) for value in row.values() if isinstance(value, list)]
    for table in tables:
        if (music := _from_notes(table)) is not None:
            return music
    return None


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    """Notes that are stored one by one, as columns."""
    if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        return {}
    return {name: [row[name] for row in rows] for name in rows[0]}


def _column(table: dict[str, Any], names: tuple[str, ...]) -> list[Any] | None:
    return next((table[name] for name in names if isinstance(table.get(name), list)), None)


def _from_notes(table: dict[str, Any]) -> bytes | None:
    """A MIDI file from columns of notes: seconds where times are fractions, else ticks of 480 a quarter."""
    from symusic.core import NoteTickList, ScoreTick, TrackTick

    pitches, starts = _column(table, ("pitch", "pitches", "note")), _column(table, STARTS)
    ends, lengths = _column(table, ENDS), _column(table, LENGTHS)
    velocities = _column(table, ("velocity", "velocities"))
    if not pitches or not starts or (ends is None and lengths is None):
        return None
    columns = [pitches, starts, ends if lengths is None else lengths, velocities or [DEFAULT_VELOCITY] * len(pitches)]
    if len({len(column or ()) for column in columns}) != 1:
        return None
    try:
        pitch, start, last, velocity = (np.asarray(column) for column in columns)
        velocity = velocity.clip(1, MIDI_VALUES - 1)
        if not all(np.isfinite(column).all() and column.ndim == 1 for column in (pitch, start, last, velocity)):
            return None
        scale = TICKS_A_SECOND if start.dtype.kind == "f" else 1
        length = last if lengths is not None else last - start
        begin, span = (np.rint(times * scale) for times in (start, length))
        if (begin < 0).any() or max(begin.max(), span.max()) > LAST_TICK:
            return None
        if (pitch < 0).any() or (pitch >= MIDI_VALUES).any():
            return None
    except (TypeError, ValueError):
        return None
    track = TrackTick()
    track.notes = NoteTickList.from_numpy(
        begin.astype(np.int32),
        np.maximum(span, 1).astype(np.int32),
        pitch.astype(np.int8),
        velocity.astype(np.int8),
    )
    score = ScoreTick(TICKS_A_QUARTER)
    score.tracks.append(track)
    return bytes(score.dumps_midi())


def _name(row: dict[str, Any], number: int) -> str:
    """A name that no other row of the table has."""
    given = next((str(row[name]) for name in NAME_COLUMNS if isinstance(row.get(name), str | int)), "")
    stem = re.sub(r"[^\w.\- ]+", "_", Path(given.replace("\\", "/")).name.rsplit(".mid", 1)[0])[:100].strip(". ")
    return f"{number:07d}-{stem}" if stem else f"{number:07d}"


def _plain_fields(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says in words and numbers."""
    return {
        name: value
        for name, value in row.items()
        if name not in ("path", "file_name", "filename", "midi_filename")
        and isinstance(value, str | int | float | bool)
    }
