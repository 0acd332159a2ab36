"""Any music file in, a checked tick score out; or one error that says why not.

MIDI bytes are walked by midi_check.py before symusic parses them; notation goes through notation.py. Then the same
rules hold for both: every time lies in [0, limits.ticks), tempi are between 10 and 1000 quarters a minute, impossible
metres and keys are dropped, and a score without notes is refused. Nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symusic.core import (
    KeySignatureTickList,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTick,
    TimeSignatureTickList,
)

from aurl.music.bars import MAX_METRE_DENOMINATOR, MAX_METRE_NUMERATOR
from aurl.music.midi_check import DamagedMidi, checked_midi
from aurl.utils.errors import UnreadableFile

MIDI_SUFFIXES: frozenset[str] = frozenset({".mid", ".midi", ".kar", ".smf", ".rmi"})
NOTATION_SUFFIXES: frozenset[str] = frozenset({".musicxml", ".xml", ".mxl", ".mei", ".krn", ".abc"})
SCORE_SUFFIXES: frozenset[str] = MIDI_SUFFIXES | NOTATION_SUFFIXES
"""Suffixes (lower case) of the files that :func:`read_score` reads."""

MIN_TEMPO_QPM, MAX_TEMPO_QPM = 10, 1000
MICROSECONDS_PER_MINUTE = 60_000_000
MAX_ACCIDENTALS = 7


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file may hold at most before it is refused; far above what music needs."""

    bytes: int = 8_000_000
    """Size of a MIDI file."""
    notation_bytes: int = 32_000_000
    """Size of a notation file, and of what a compressed one unpacks to: XML is wordy."""
    events: int = 500_000
    """MIDI events in all tracks."""
    ticks: int = 2**30
    """Every event and note end comes before this tick (times wrap at 2^31 in native code)."""


def read_score(path: Path, limits: Limits = Limits(), tune: int = 0) -> ScoreTick:
    """Read one piece of a MIDI, MusicXML, MXL, MEI, Humdrum or ABC file.

    Args:
        path: the file; its suffix says what it is.
        limits: what is refused for its size.
        tune: which tune of an ABC file, counted from 0; other files hold one.

    Returns:
        Tick score with at least one note.

    Raises:
        UnreadableFile: with the path and the reason.

    Example:
        >>> score = read_score(Path("song.mid"))  # doctest: +SKIP
    """
    scores = _read(Path(path), limits, tune)
    if not scores:
        raise UnreadableFile(path, f"there is no tune {tune + 1} in it")
    return scores[0]


def read_scores(path: Path, limits: Limits = Limits()) -> list[ScoreTick]:
    """Read every readable piece of a file (only ABC tune books hold more than one); see :func:`read_score`."""
    return _read(Path(path), limits, None)


def _read(path: Path, limits: Limits, tune: int | None) -> list[ScoreTick]:
    """One tune of a file, or all."""
    suffix = path.suffix.lower()
    if suffix not in SCORE_SUFFIXES:
        allowed = " ".join(sorted(SCORE_SUFFIXES))
        raise UnreadableFile(path, f"unknown kind of file '{suffix}'; allowed: {allowed}")
    data = _read_bytes(path, limits.bytes if suffix in MIDI_SUFFIXES else limits.notation_bytes)
    if suffix in MIDI_SUFFIXES:
        return [parse_midi(data, str(path), limits)]
    from aurl.music.notation import read_notation

    return [_checked(score, str(path), limits) for score in read_notation(path, data, limits.notation_bytes, tune)]


def parse_midi(data: bytes, name: str = "MIDI", limits: Limits = Limits()) -> ScoreTick:
    """Turn the bytes of a MIDI file into a checked score.

    Args:
        data: the whole file.
        name: what messages call it.
        limits: what is refused for its size.

    Raises:
        UnreadableFile: damaged, too large, or without notes.
    """
    try:
        score = ScoreTick.from_midi(checked_midi(data, limits.events, limits.ticks))
    except DamagedMidi as error:
        raise UnreadableFile(name, str(error)) from error
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableFile(name, f"not a MIDI file that can be parsed ({error})") from error
    return _checked(score, name, limits)


def _read_bytes(path: Path, most: int) -> bytes:
    """The whole file, refused before reading when it is too large."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnreadableFile(path, "not a file")
        if size > most:
            raise UnreadableFile(path, f"{size} bytes; allowed: {most}")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error


def _checked(score: ScoreTick, name: str, limits: Limits) -> ScoreTick:
    """Refuse impossible times and empty scores; mend tempi, metres and keys. Reads times before anything else."""
    notes = 0
    for track in score.tracks:
        arrays = track.notes.numpy()
        times, durations = arrays["time"].astype("int64"), arrays["duration"].astype("int64")
        notes += len(times)
        if len(times) and (times.min() < 0 or durations.min() < 0 or (times + durations).max() >= limits.ticks):
            raise UnreadableFile(name, f"a note lies outside ticks 0 to {limits.ticks}")
    if notes == 0:
        raise UnreadableFile(name, "no notes in it")
    if score.tpq <= 0:
        raise UnreadableFile(name, f"{score.tpq} ticks a quarter")
    score.tempos = TempoTickList([_clamped(tempo) for tempo in _inside(score.tempos, limits)])
    metres = _inside(score.time_signatures, limits)
    score.time_signatures = TimeSignatureTickList([sign for sign in metres if _is_possible_metre(sign)])
    keys = _inside(score.key_signatures, limits)
    score.key_signatures = KeySignatureTickList(
        [sign for sign in keys if abs(sign.key) <= MAX_ACCIDENTALS and sign.tonality in (0, 1)]
    )
    return score


def _inside(events: Iterable[Any], limits: Limits) -> list[Any]:
    """The events whose time is allowed."""
    return [event for event in events if 0 <= event.time < limits.ticks]


def _is_possible_metre(sign: TimeSignatureTick) -> bool:
    """Whether a metre can be a bar of music: 1 to 64 beats of a whole to a 64th note."""
    denominator = sign.denominator
    is_power_of_two = denominator > 0 and denominator & (denominator - 1) == 0
    return 1 <= sign.numerator <= MAX_METRE_NUMERATOR and is_power_of_two and denominator <= MAX_METRE_DENOMINATOR


def _clamped(tempo: TempoTick) -> TempoTick:
    """The tempo, moved into the range that music has."""
    slowest, fastest = MICROSECONDS_PER_MINUTE // MIN_TEMPO_QPM, MICROSECONDS_PER_MINUTE // MAX_TEMPO_QPM
    tempo.mspq = min(max(tempo.mspq, fastest), slowest)
    return tempo
