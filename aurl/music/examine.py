"""One file examined for a person: can it be read, what had to be repaired, and its repaired bytes.

The same reader as everywhere (score.py), with every outcome as a value: nothing is raised for a bad file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from aurl.music.formats import MIDI_SUFFIXES, SCORE_SUFFIXES
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.midi_events import DamagedMidi
from aurl.music.midi_repair import repair_midi
from aurl.music.score import EmptyScore, Reading, examine_midi, read_bytes, read_midi, read_pieces
from aurl.utils.errors import UnreadableFile


class Verdict(str, Enum):
    """What became of a file."""

    ok = "ok"
    repaired = "repaired"
    empty = "empty"
    rejected = "rejected"


@dataclass(frozen=True)
class ReadReport:
    """What is known about a file after reading it."""

    verdict: Verdict
    notes: int = 0
    tracks: int = 0
    """Tracks with notes."""
    repairs: dict[str, int] = field(default_factory=dict)
    """Repairs counted by kind (see docs/data_format.md)."""
    reason: str = ""
    """Why it is rejected or empty, or the first damage that was repaired."""


def examine_file(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> ReadReport:
    """Read a file and say how that went.

    Args:
        path: a file of any kind that can be read; one with another ending is taken as MIDI.
        limits: what is refused for its size.
    """
    try:
        return _report(_read(path, limits))
    except EmptyScore as error:
        return ReadReport(Verdict.empty, reason=error.reason)
    except UnreadableFile as error:
        return ReadReport(Verdict.rejected, reason=error.reason)


def repair_file(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> tuple[ReadReport, list[bytes]]:
    """Read a file and give its music as exact MIDI files, one a song.

    Returns:
        The report, and the files: the file's own bytes where nothing was repaired; none where it is empty, rejected or
        no MIDI file.
    """
    report = examine_file(path, limits)
    if report.verdict not in (Verdict.ok, Verdict.repaired) or not is_midi_name(path):
        return report, []
    try:
        data = read_bytes(path, limits, "bytes")
        if report.verdict is Verdict.ok:
            return report, [data]
        exact, repaired, _ = examine_midi(data, str(path), limits)
        if exact is not None:
            # The copy holds the notes of the reading: stray ones that it leaves out are not ended in the copy.
            repaired = repair_midi(exact.data, limits, exact=True, leave_out="left_out_hanging_notes" in report.repairs)
    except (UnreadableFile, DamagedMidi) as error:
        return ReadReport(Verdict.rejected, reason=getattr(error, "reason", str(error))), []
    assert repaired is not None
    return report, repaired.songs


def is_midi_name(path: Path) -> bool:
    """Whether a file is read as MIDI: by its ending, or because the ending is unknown."""
    suffix = path.suffix.lower()
    return suffix in MIDI_SUFFIXES or suffix not in SCORE_SUFFIXES


def _read(path: Path, limits: ReadLimits) -> list[Reading]:
    if path.is_dir():
        raise UnreadableFile(path, _folder_reason(path))
    if path.suffix.lower() in SCORE_SUFFIXES:
        return read_pieces(path, limits)
    return read_midi(read_bytes(path, limits, "bytes"), str(path), limits)


def _folder_reason(path: Path) -> str:
    """Why a folder is no piece."""
    try:
        next(path.iterdir(), None)
    except OSError as error:
        return error.strerror or str(error)
    return "a folder without music files"


def _report(readings: list[Reading]) -> ReadReport:
    scores = [reading.score for reading in readings]
    repairs = {kind: count for reading in readings for kind, count in reading.repairs.items()}
    return ReadReport(
        verdict=Verdict.repaired if repairs else Verdict.ok,
        notes=sum(score.note_num() for score in scores),
        tracks=sum(len(track.notes) > 0 for score in scores for track in score.tracks),
        repairs=repairs,
        reason=next((reading.damage for reading in readings if reading.damage), ""),
    )
