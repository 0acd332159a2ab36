"""The default corpus: Bach's four-part chorales, from the files that the music21 package carries.

``bach_split.json`` beside this module lists every chorale with its BWV number, title, key, metre and split; the scores
themselves are read from the installed music21 (found without importing it) through :mod:`aurl.music.notation`, which
also puts downbeats on bar lines. Here each becomes the same: four tracks Soprano, Alto, Tenor, Bass, one program, one
velocity, one tempo, one note at a time in a voice, repeats not written out, fermatas not lengthened.

The split is made by experiments/bach_corpus: only chorales of the official JSB training list are train, and nothing in
train is a near-duplicate of anything held out. Near-duplicates are found by :func:`harmony_ngrams`.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aurl.data.splits import hash_rows
from aurl.utils.errors import AurlError, UnreadableFile

if TYPE_CHECKING:
    from symusic.core import ScoreTick

    from aurl.data.sources import Piece

SPLIT_FILE = Path(__file__).with_name("bach_split.json")
CORPUS_PARTS = ("corpus", "bach")

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
PROGRAM = 52
"""General MIDI "Choir Aahs" for all four voices; the jsb-chorales archive uses the same."""
QUARTERS_PER_MINUTE = 96.0
"""The tempo of every chorale: the files carry a converter's default, not Bach's wish."""
VELOCITY = 80
"""Loudness of every note: the chorales have no dynamics."""

GRACE_PART = 8
"""A note shorter than a quarter divided by this (a 32nd note) is a grace note."""
STEPS_PER_QUARTER = 4
"""Grid of :func:`voice_grid`: 16th notes, as in the JSB grids."""
SILENT = -1
"""Pitch of a silent voice in a grid."""
SILENT_INTERVAL = -99
MAX_BYTES = 8_000_000
"""Most bytes that one chorale file may unpack to."""

COMPOSER = "Johann Sebastian Bach"
LICENCE = "composition in the public domain; encoding from the corpus of music21, see its corpus/license.txt"


@cache
def split_table() -> dict[str, Any]:
    """The shipped list: how it was made, and one row for each chorale.

    Returns:
        ``{"about": {...}, "chorales": [row, ...]}``; a row has file, bwv, title, key, meter, split, match, similarity.
        ``match`` is the most similar JSB piece (or null), ``similarity`` the part of harmony n-grams they share.
    """
    table: dict[str, Any] = json.loads(SPLIT_FILE.read_text(encoding="utf-8"))
    return table


def corpus_folder() -> Path:
    """The folder of Bach files inside the installed music21, found without importing it.

    Raises:
        AurlError: music21 is missing, or was installed without its corpus.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise AurlError(
            "data=bach reads the chorales that music21 carries, and music21 is missing; pip install music21"
        )
    folder = Path(spec.origin).parent.joinpath(*CORPUS_PARTS)
    if not folder.is_dir():
        raise AurlError(f"{folder} is missing: this music21 has no corpus; pip install --force-reinstall music21")
    return folder


def list_bach() -> list[Piece]:
    """Every chorale of the shipped list that the installed music21 has, in order of file name.

    Raises:
        AurlError: music21 or its corpus is missing, or holds none of the chorales.
    """
    from aurl.data.sources import Piece

    folder = corpus_folder()
    present = {path.name for path in folder.iterdir()}
    pieces = [
        Piece(
            id=Path(row["file"]).stem,
            split=row["split"],
            path=str(folder / row["file"]),
            loader="bach",
            metadata={
                "title": row["title"],
                "composer": COMPOSER,
                "bwv": row["bwv"],
                "key": row["key"],
                "meter": row["meter"],
                "jsb_match": row["match"],
                "licence": LICENCE,
            },
        )
        for row in split_table()["chorales"]
        if row["file"] in present
    ]
    if not pieces:
        raise AurlError(f"{folder} holds none of the chorales of {SPLIT_FILE.name}; pip install 'music21>=10.5'")
    return pieces


def load(piece: Piece) -> ScoreTick:
    """Read one chorale as four voices.

    Args:
        piece: one of :func:`list_bach`.

    Returns:
        Tick score with the tracks Soprano, Alto, Tenor, Bass.

    Raises:
        UnreadableFile: the file is missing, damaged or not in four parts.
    """
    return load_file(Path(piece.path))


def load_file(path: Path) -> ScoreTick:
    """Read a chorale file as four voices; see :func:`load`."""
    from symusic.core import TempoTick

    from aurl.music.notation import read_notation

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    score = read_notation(path, data, MAX_BYTES)[0]
    if len(score.tracks) != len(VOICES):
        raise UnreadableFile(path, f"{len(score.tracks)} parts with notes instead of the four voices of a chorale")
    for track, name in zip(score.tracks, VOICES, strict=True):
        _make_voice(track, name, score.ticks_per_quarter)
    score.tempos = type(score.tempos)([TempoTick(0, QUARTERS_PER_MINUTE)])
    return score


def _make_voice(track: Any, name: str, ticks_per_quarter: int) -> None:
    """Name, program, one velocity, and one note at a time."""
    from symusic import Note

    notes = track.notes.numpy()
    time, duration, pitch = one_at_a_time(notes["time"], notes["duration"], notes["pitch"], ticks_per_quarter)
    velocity = np.full_like(pitch, VELOCITY)
    track.notes = Note.from_numpy(time, duration, pitch, velocity, ttype="tick")
    track.name = name
    track.program = PROGRAM
    track.is_drum = False


def one_at_a_time(
    time: np.ndarray, duration: np.ndarray, pitch: np.ndarray, ticks_per_quarter: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a voice of its notes: no grace notes, the longest of those that begin together, cut where the next begins.

    A grace note on the beat (verovio shortens the main note for it) gives its place back to the note after it.

    Args:
        time: (N,) onsets in ticks.
        duration: (N,) lengths in ticks.
        pitch: (N,) MIDI pitches.
        ticks_per_quarter: ticks in a quarter note.

    Returns:
        The three arrays in order of onset, with the types they came in.
    """
    order = np.lexsort((-duration, time))
    time, duration, pitch = time[order].copy(), duration[order].copy(), pitch[order]
    shortest = ticks_per_quarter // GRACE_PART
    grace = duration < shortest
    for index in np.flatnonzero(grace[:-1]):
        follows_at_once = time[index + 1] == time[index] + duration[index]
        if follows_at_once and time[index] % shortest == 0:
            duration[index + 1] += time[index + 1] - time[index]
            time[index + 1] = time[index]
    time, duration, pitch = time[~grace], duration[~grace], pitch[~grace]
    first = np.ones(len(time), dtype=bool)
    first[1:] = np.diff(time) > 0
    time, duration, pitch = time[first], duration[first], pitch[first]
    duration[:-1] = np.minimum(duration[:-1], np.diff(time))
    return time, duration, pitch


def voice_grid(score: ScoreTick) -> np.ndarray:
    """The pitch of each track at each 16th note.

    Args:
        score: tick score whose tracks hold one note at a time.

    Returns:
        int64 (steps, tracks); -1 where a voice is silent.
    """
    step = score.ticks_per_quarter / STEPS_PER_QUARTER
    columns = [track.notes.numpy() for track in score.tracks]
    ends = [round(float((notes["time"] + notes["duration"]).max()) / step) for notes in columns if len(notes["time"])]
    grid = np.full((max(ends, default=0), len(columns)), SILENT, dtype=np.int64)
    for voice, notes in enumerate(columns):
        starts = np.round(notes["time"] / step).astype(np.int64)
        stops = np.maximum(starts + 1, np.round((notes["time"] + notes["duration"]) / step).astype(np.int64))
        for start, stop, pitch in zip(starts, stops, notes["pitch"], strict=True):
            grid[start:stop, voice] = pitch
    return grid


def harmony_ngrams(grid: np.ndarray, n: int = 4) -> set[int]:
    """Hashes of runs of n sonorities of all voices, the same for every transposition and rhythm.

    Two copies of one harmonisation share nearly all of them, two harmonisations of one hymn tune nearly none: so they
    are signatures for :func:`aurl.data.duplicates.group_near_duplicates`.

    Args:
        grid: (steps, voices) pitches, -1 where silent; from :func:`voice_grid` or a JSB grid.
        n: sonorities in a run; a sonority lasts until any voice changes its pitch.

    Returns:
        64-bit hashes.
    """
    grid = np.asarray(grid, dtype=np.int64)
    grid = grid[(grid != SILENT).any(axis=1)]
    if not len(grid):
        return set()
    changes = np.ones(len(grid), dtype=bool)
    changes[1:] = (np.diff(grid, axis=0) != 0).any(axis=1)
    sonorities = grid[changes]  # (S, voices)
    count = len(sonorities) - n + 1
    if count < 1:
        return set()
    runs = np.stack([sonorities[shift : shift + count] for shift in range(n)], axis=1)  # (count, n, voices)
    top = runs[:, 0].max(axis=1)[:, None, None]
    intervals = np.where(runs == SILENT, SILENT_INTERVAL, runs - top)
    return {int(value) for value in np.unique(hash_rows(intervals.reshape(count, -1)))}


def similarity(first: set[int], second: set[int]) -> float:
    """Part of the smaller set of n-grams that both share, 0 to 1."""
    smaller = min(len(first), len(second))
    return len(first & second) / smaller if smaller else 0.0
