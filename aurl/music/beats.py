"""Beat annotations from files: where beats and bars of a performance are, in seconds.

Three kinds, known by their names beside the piece ``NAME.mid``:

- ``NAME_annotations.txt`` (ASAP): time, time and ``b`` or ``db`` (downbeat), with the metre where it
  changes (``db,3/4``);
- ``beat_midi.txt`` (POP909, for ``ID/ID.mid`` only: other files of that folder have another time line): time and two
  downbeat flags, for short and for double bars;
- ``NAME.beats`` (as beat trackers write): time and the number of the beat in its bar, 1 for downbeats.

An annotation is an array with one row a beat and the columns :data:`BEAT_COLUMNS`; alignment.py uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from aurl.music.marks import MAX_METRE_NUMERATOR, is_possible_metre
from aurl.music.note_arrays import FloatArray
from aurl.utils.errors import UnreadableFile

BEAT_COLUMNS = ("seconds", "downbeat", "numerator", "denominator")
"""Time of the beat; 1 where a bar begins; the metre in force, 0 and 0 where the annotation does not say."""
ASAP_ENDING, POP909_NAME, TRACKER_SUFFIX = "_annotations.txt", "beat_midi.txt", ".beats"
FEWEST_BEATS = 2
LARGEST_FILE = 8_000_000
"""Bytes; a beat takes about twenty."""
BEAT_LABELS, DOWNBEAT_LABEL = ("b", "bR", "db"), "db"
QUARTER = 4
DOUBLE_BAR = 4
"""POP909: beats between downbeats of the longer kind in music in four; in music in three they would be six."""
Rows = list[list[str]]


def find_beats(path: str | Path) -> Path | None:
    """The annotation that lies beside a piece, or None.

    Example:
        >>> find_beats("pop909/001/001.mid")  # doctest: +SKIP
        PosixPath('pop909/001/beat_midi.txt')
    """
    piece = Path(path)
    candidates = [piece.with_name(piece.stem + ASAP_ENDING), piece.with_name(piece.stem + TRACKER_SUFFIX)]
    if piece.stem == piece.parent.name:
        candidates.append(piece.with_name(POP909_NAME))
    return next((file for file in candidates if file.is_file()), None)


def read_beats(path: str | Path) -> FloatArray:
    """Read an annotation; its name says of which kind it is.

    Args:
        path: a file as :func:`find_beats` finds it.

    Returns:
        float64 (beats, 4), columns :data:`BEAT_COLUMNS`; times rise.

    Raises:
        UnreadableFile: no such file, an unknown kind, a line that makes no sense (with its number), times that do not
            rise, or fewer than two beats.
    """
    file = Path(path)
    parse = _parser(file)
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise UnreadableFile(file, f"larger than {LARGEST_FILE} bytes, which is no beat annotation")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UnreadableFile(file, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(file, "not a text file") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(rows) < FEWEST_BEATS:
        raise UnreadableFile(file, f"{len(rows)} beats; at least {FEWEST_BEATS} are needed")
    seconds = np.array([_number(file, number, row[0]) for number, row in rows])
    late = np.flatnonzero(np.diff(seconds) <= 0)
    if len(late):
        number = rows[int(late[0]) + 1][0]
        raise UnreadableFile(file, f"line {number}: the time {seconds[late[0] + 1]:g} is not after the beat before it")
    if seconds[0] < 0:
        raise UnreadableFile(file, f"line {rows[0][0]}: the time {seconds[0]:g} is before the beginning")
    return np.column_stack([seconds, parse(file, rows)])


def _parser(file: Path) -> Callable[[Path, list[tuple[int, list[str]]]], FloatArray]:
    """Who reads the labels of this kind of file."""
    if file.name.endswith(ASAP_ENDING):
        return _asap_labels
    if file.name == POP909_NAME:
        return _pop909_labels
    if file.suffix == TRACKER_SUFFIX:
        return _tracker_labels
    raise UnreadableFile(
        file, f"unknown kind of beat annotation; allowed: NAME{ASAP_ENDING}, {POP909_NAME}, NAME{TRACKER_SUFFIX}"
    )


def _number(file: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise UnreadableFile(file, f"line {line}: '{text}' is not a number")
    return value


def _column(file: Path, line: int, row: list[str], index: int) -> str:
    if len(row) <= index:
        raise UnreadableFile(file, f"line {line}: {len(row)} columns; at least {index + 1} are needed")
    return row[index]


def _asap_labels(file: Path, rows: list[tuple[int, list[str]]]) -> FloatArray:
    """Downbeat, numerator and denominator of each beat; a metre holds until the next, and before the first one too."""
    values, metre = np.zeros((len(rows), 3)), (0, 0)
    for index, (line, row) in enumerate(rows):
        label, *details = _column(file, line, row, 2).split(",")
        if label not in BEAT_LABELS:
            raise UnreadableFile(file, f"line {line}: unknown label '{label}'; allowed: {' '.join(BEAT_LABELS)}")
        if details and details[0]:
            metre = _metre(file, line, details[0])
            if not values[:index, 1].any():
                values[:index, 1:] = metre
        values[index] = (label == DOWNBEAT_LABEL, *metre)
    return values


def _metre(file: Path, line: int, text: str) -> tuple[int, int]:
    above, _, below = text.partition("/")
    if not (above.isdecimal() and below.isdecimal() and is_possible_metre(int(above), int(below))):
        raise UnreadableFile(file, f"line {line}: '{text}' is not a metre")
    return int(above), int(below)


def _pop909_labels(file: Path, rows: list[tuple[int, list[str]]]) -> FloatArray:
    """Flags of the bars: the double ones in music in four, the short ones otherwise (in three)."""
    flags = np.array([[_number(file, line, _column(file, line, row, index)) for index in (1, 2)] for line, row in rows])
    short, double = flags[:, 0] > 0, flags[:, 1] > 0
    beats = [_usual_distance(column) for column in (short, double)]
    downbeats, count = (double, DOUBLE_BAR) if beats[1] == DOUBLE_BAR else (short, beats[0])
    _check_count(file, count)
    return np.column_stack([downbeats, np.full(len(rows), count), np.full(len(rows), QUARTER)]).astype(np.float64)


def _tracker_labels(file: Path, rows: list[tuple[int, list[str]]]) -> FloatArray:
    """Numbers of beats in bars; the metre is what the usual bar counts, in quarters."""
    numbers = np.array([_number(file, line, _column(file, line, row, 1)) for line, row in rows])
    downbeats = numbers == 1
    count = _usual_distance(downbeats)
    _check_count(file, count)
    return np.column_stack([downbeats, np.full(len(rows), count), np.full(len(rows), QUARTER)]).astype(np.float64)


def _check_count(file: Path, count: int) -> None:
    if not count:
        raise UnreadableFile(file, "fewer than two downbeats are marked")
    if not is_possible_metre(count, QUARTER):
        raise UnreadableFile(file, f"{count} beats from downbeat to downbeat; allowed: up to {MAX_METRE_NUMERATOR}")


def _usual_distance(flags: np.ndarray) -> int:
    """Beats between flags, most often; 0 with fewer than two flags."""
    places = np.flatnonzero(flags)
    return int(np.bincount(np.diff(places)).argmax()) if len(places) > 1 else 0
