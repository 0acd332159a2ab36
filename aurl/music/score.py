"""Any music file in, a checked tick score out; or one error that says why not.

MIDI bytes are walked by midi_check.py before symusic parses them; damaged ones, and those of which symusic would drop
notes, go through midi_repair.py first. Notation goes through notation.py. Then the same rules hold for both: every time
lies in [0, limits.ticks), tempi are between 10 and 1000 quarters a minute, impossible metres and keys are dropped,
notes without length last a tick, and a score without notes is refused. All of it is counted; nothing else is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import (
    KeySignatureTickList,
    NoteTickList,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTickList,
)

from aurl.music.formats import MIDI_SUFFIXES, SCORE_SUFFIXES
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.marks import clamped_mspq, is_possible_key, is_possible_metre
from aurl.music.midi_check import ExactMidi, LimitReached, walk_midi
from aurl.music.midi_controls import count_controls, restore_controls, set_pedals
from aurl.music.midi_events import DamagedMidi
from aurl.music.midi_repair import HEADER_NAME, SEPARATE_SONGS, RepairedMidi, repair_midi
from aurl.music.midi_texts import add_texts
from aurl.music.tempo_map import tempo_map
from aurl.utils.errors import UnreadableFile

SECONDS_PER_HOUR = 3600
HEAD_BYTES, FORMAT_AT = 512, 8
"""How far a header is looked for where only the number of songs is asked, and where the format stands in it."""
LEFT_OUT_SHARE = 0.001
"""Up to this share of an exact file's notes may lack an end: they are left out, as the parser does, and counted."""
NOTE_COLUMNS = ("time", "duration", "pitch", "velocity")


@dataclass(frozen=True)
class Reading:
    """A piece that was read, and what had to be done for it."""

    score: ScoreTick
    repairs: dict[str, int] = field(default_factory=dict)
    """Repairs counted by kind (see docs/data_format.md); empty for a clean file."""
    damage: str = ""
    """The first damage that was found, in words."""


class EmptyScore(UnreadableFile):
    """The file can be read, but there is no note in it."""


def read_score(path: Path, limits: ReadLimits = DEFAULT_LIMITS, tune: int = 0) -> ScoreTick:
    """Read one piece of a MIDI, MusicXML, MXL, MEI, Humdrum or ABC file.

    Args:
        path: the file; its suffix says what it is.
        limits: what is refused for its size.
        tune: which tune of an ABC file or song of a MIDI file, counted from 0; most files hold one.

    Returns:
        Tick score with at least one note.

    Raises:
        UnreadableFile: with the path and the reason.

    Example:
        >>> score = read_score(Path("song.mid"))  # doctest: +SKIP
    """
    return read_piece(path, limits, tune).score


def read_piece(path: Path, limits: ReadLimits = DEFAULT_LIMITS, tune: int = 0) -> Reading:
    """Read one piece and say what was repaired; see :func:`read_score`."""
    readings = _read(Path(path), limits, tune)
    if not readings:
        raise UnreadableFile(path, f"there is no tune {tune + 1} in it")
    return readings[0]


def read_scores(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> list[ScoreTick]:
    """Read every readable piece of a file (ABC tune books and some MIDI files hold more than one)."""
    return [reading.score for reading in read_pieces(path, limits)]


def read_pieces(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> list[Reading]:
    """Read every readable piece of a file and say what was repaired; repairs of a file stand with its first piece."""
    return _read(Path(path), limits, None)


def _read(path: Path, limits: ReadLimits, tune: int | None) -> list[Reading]:
    """One tune of a file, or all."""
    suffix = path.suffix.lower()
    if suffix not in SCORE_SUFFIXES:
        allowed = " ".join(sorted(SCORE_SUFFIXES))
        raise UnreadableFile(path, f"unknown kind of file '{suffix}'; allowed: {allowed}")
    if suffix in MIDI_SUFFIXES:
        return _chosen(read_midi(read_bytes(path, limits, "bytes"), str(path), limits), tune)
    from aurl.music.notation import read_notation

    data = read_bytes(path, limits, "notation_bytes")
    return [_checked(score, str(path), limits) for score in read_notation(path, data, limits.notation_bytes, tune)]


def _chosen(readings: list[Reading], tune: int | None) -> list[Reading]:
    return readings if tune is None else readings[tune : tune + 1]


def parse_midi(data: bytes, name: str = "MIDI", limits: ReadLimits = DEFAULT_LIMITS) -> ScoreTick:
    """Turn the bytes of a MIDI file into a checked score, the first where it holds several songs.

    Args:
        data: the whole file.
        name: what messages call it.
        limits: what is refused for its size.

    Raises:
        UnreadableFile: too damaged, too large, or without notes.
    """
    return read_midi(data, name, limits)[0].score


def read_midi(data: bytes, name: str, limits: ReadLimits = DEFAULT_LIMITS) -> list[Reading]:
    """Turn the bytes of a MIDI file into checked scores, one a song; damage is repaired and counted.

    Args:
        data: the whole file.
        name: what messages call it.
        limits: what is refused for its size.

    Raises:
        EmptyScore: there is no note in it.
        UnreadableFile: too damaged or too large.
    """
    exact, repaired, damage = examine_midi(data, name, limits)
    if exact is not None:
        score = _parsed(exact, name)
        lost = exact.onsets - score.note_num()  # the parser leaves out notes without an end
        if lost <= exact.onsets * LEFT_OUT_SHARE:
            return [_checked(score, name, limits, exact.changes | {"left_out_hanging_notes": lost}, damage)]
        repaired = _repaired(exact.data, name, limits, exact=True)
        repaired = replace(repaired, repairs=exact.changes | repaired.repairs)
        damage = "notes without an end"
    assert repaired is not None
    repairs = [repaired.repairs] + [{}] * (len(repaired.songs) - 1)
    readings = [
        _checked(_parsed(walk_midi(song, limits), name), name, limits, counts, damage)
        for song, counts in zip(repaired.songs, repairs, strict=True)
    ]
    kept, found = sum(reading.score.note_num() for reading in readings), sum(repaired.onsets)
    if 2 * kept < found:
        raise UnreadableFile(name, f"more than half of its notes are lost ({found - kept} of {found})")
    return readings


def count_songs(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> int:
    """Independent songs in a MIDI file: 1 but for format 2; also 1 for a file that cannot be read, which then says why.

    Only the head of the file is looked at, unless that says format 2.
    """
    try:
        if not path.is_file():
            return 1  # opening a pipe would wait for ever
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        start = head.find(HEADER_NAME)
        if start < 0 or head[start + FORMAT_AT : start + FORMAT_AT + 2] != SEPARATE_SONGS.to_bytes(2, "big"):
            return 1
        _, repaired, _ = examine_midi(read_bytes(path, limits, "bytes"), str(path), limits)
    except (OSError, UnreadableFile):
        return 1
    return len(repaired.songs) if repaired is not None else 1


def examine_midi(data: bytes, name: str, limits: ReadLimits) -> tuple[ExactMidi | None, RepairedMidi | None, str]:
    """Walk the bytes and, where they are damaged, repair them: nothing is parsed yet.

    Returns:
        What passed the walk, or None; what was repaired, or None; the damage in words.

    Raises:
        UnreadableFile: too damaged or too large.
    """
    if len(data) > limits.bytes:
        raise UnreadableFile(name, limits.message("bytes", len(data)))
    try:
        exact = walk_midi(data, limits)
    except LimitReached as error:
        raise UnreadableFile(name, str(error)) from error
    except DamagedMidi as error:
        return None, _repaired(data, name, limits, exact=False), str(error)
    if exact.tracks == 0:
        raise UnreadableFile(name, "no tracks in it")
    return exact, None, ""


def _repaired(data: bytes, name: str, limits: ReadLimits, exact: bool) -> RepairedMidi:
    """The repaired file, walked once more: only what passes the walk may reach the parser."""
    try:
        repaired = repair_midi(data, limits, exact)
        for song in repaired.songs:
            walk_midi(song, limits)
    except DamagedMidi as error:
        raise UnreadableFile(name, str(error)) from error
    return repaired


def _parsed(exact: ExactMidi, name: str) -> ScoreTick:
    """What passed the walk, parsed, with all of its controllers, bends and texts."""
    try:
        score = ScoreTick.from_midi(exact.data)
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableFile(name, f"not a MIDI file that can be parsed ({error})") from error
    if count_controls(score) < exact.controls:
        restore_controls(score, exact.walked)
    set_pedals(score)
    add_texts(score, exact)
    return score


def read_bytes(path: Path, limits: ReadLimits, limit: str) -> bytes:
    """The whole file, refused before reading when it is larger than the limit of this name.

    Raises:
        UnreadableFile: too large, no file, or not readable.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnreadableFile(path, "not a file")
        if size > getattr(limits, limit):
            raise UnreadableFile(path, limits.message(limit, size, "bytes"))
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error


def _checked(
    score: ScoreTick, name: str, limits: ReadLimits, repairs: Mapping[str, int] | None = None, damage: str = ""
) -> Reading:
    """Refuse impossible times and empty scores; mend tempi, metres, keys and notes without length.

    Times are read before anything else.
    """
    notes = 0
    counts: Counter[str] = Counter(repairs or {})
    for track in score.tracks:
        arrays = track.notes.numpy()
        times, durations = arrays["time"].astype("int64"), arrays["duration"].astype("int64")
        notes += len(times)
        if len(times) and (times.min() < 0 or durations.min() < 0 or (times + durations).max() >= limits.ticks):
            raise UnreadableFile(name, f"a note lies outside ticks 0 to {limits.ticks}")
        if (durations == 0).any():
            counts["zero_length_notes"] += int((durations == 0).sum())
            arrays["duration"] = np.maximum(arrays["duration"], 1)
            track.notes = NoteTickList.from_numpy(*(arrays[column] for column in NOTE_COLUMNS))
    if notes == 0:
        raise EmptyScore(name, "no notes in it")
    if score.tpq <= 0:
        raise UnreadableFile(name, f"{score.tpq} ticks a quarter")
    tempi = _inside(score.tempos, limits)
    slow_or_fast = sum(tempo.mspq != clamped_mspq(tempo.mspq) for tempo in tempi)
    score.tempos = TempoTickList([_clamped(tempo) for tempo in tempi])
    metres = [
        sign for sign in _inside(score.time_signatures, limits) if is_possible_metre(sign.numerator, sign.denominator)
    ]
    keys = [sign for sign in _inside(score.key_signatures, limits) if is_possible_key(sign.key, sign.tonality)]
    counts["clamped_tempi"] += slow_or_fast
    counts["impossible_metres"] += len(score.time_signatures) - len(metres)
    counts["impossible_keys"] += len(score.key_signatures) - len(keys)
    score.time_signatures, score.key_signatures = TimeSignatureTickList(metres), KeySignatureTickList(keys)
    _check_hours(score, name, limits)
    return Reading(score, {kind: count for kind, count in sorted(counts.items()) if count}, damage)


def _check_hours(score: ScoreTick, name: str, limits: ReadLimits) -> None:
    """Refuse a score that plays too long by its tempo map."""
    end = max(int((a["time"].astype("int64") + a["duration"]).max()) for a in _note_columns(score))
    hours = float(tempo_map(score).to_seconds(end)) / SECONDS_PER_HOUR
    if hours > limits.hours:
        raise UnreadableFile(name, limits.message("hours", f"{hours:.0f}"))


def _note_columns(score: ScoreTick) -> list[dict[str, Any]]:
    """The note arrays of the tracks that have notes."""
    return [track.notes.numpy() for track in score.tracks if len(track.notes)]


def _inside(events: Iterable[Any], limits: ReadLimits) -> list[Any]:
    """The events whose time is allowed."""
    return [event for event in events if 0 <= event.time < limits.ticks]


def _clamped(tempo: TempoTick) -> TempoTick:
    """The tempo, moved into the range that music has."""
    tempo.mspq = clamped_mspq(tempo.mspq)
    return tempo
