"""Damaged MIDI bytes in, clean MIDI bytes out, and a count of all that was done.

The parser stays one: what is mended here is written as an exact file that midi_check.py passes. Chunks, headers and
songs are handled here, the events of a track in midi_scan.py, the ends of notes in midi_notes.py.

Choices: each sequence of a format 2 file, and each file of several that were joined, is a song of its own. Time in
SMPTE frames becomes ticks at one fixed tempo. A file without a header has no unit of time and is refused; so is one of
which less than half can be read. What a cut-off file never held does not count as lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from aurl.music.limits import ReadLimits
from aurl.music.midi_check import (
    CHUNK_HEAD_BYTES,
    CONTROL,
    HEADER_BYTES,
    PITCH_BEND,
    LimitReached,
    write_midi,
)
from aurl.music.midi_events import META, TEMPO, DamagedMidi
from aurl.music.midi_notes import close_notes, is_onset, leave_out_hanging, lengthen_notes, mend_marks, track_bytes
from aurl.music.midi_scan import LARGEST_SILENCE, TRACK_NAME, Event, TrackScan

HEADER_NAME = b"MThd"
DEFAULT_DIVISION = 480
"""Ticks a quarter where the header says none."""
SMPTE_FLAG = 0x80
DROP_FRAMES = 29
"""How a header writes 30000/1001 frames a second."""
SMPTE_FRAMES = {24: 24, 25: 25, DROP_FRAMES: 30, 30: 30}
"""Frames a second as the header writes them, and frames counted in a (slightly longer, for 29) second."""
MICROSECONDS = 1_000_000
DROP_FRAME = 1001 / 1000
MACBINARY_BYTES = 128
ONE_SONG, PARALLEL_TRACKS, SEPARATE_SONGS = 0, 1, 2
LONGEST_FORMAT = SEPARATE_SONGS


@dataclass(frozen=True)
class RepairedMidi:
    """What came out of a damaged file."""

    songs: list[bytes]
    """Exact files, one a song; those without notes are left out unless there is no other."""
    onsets: list[int]
    """Notes that begin in each."""
    controls: list[int]
    """Controllers and bends in each."""
    tracks: list[int]
    repairs: dict[str, int]
    """What was done, counted by kind."""


@dataclass
class _Song:
    """One header and what belongs to it."""

    format: int
    division: int
    mspq: int | None
    """Microseconds a quarter where the header fixes them (SMPTE), else None."""
    tracks: list[list[Event]]
    end: int


def repair_midi(data: bytes, limits: ReadLimits, exact: bool = False, leave_out: bool = False) -> RepairedMidi:
    """Read a damaged file as far as it can be read.

    Args:
        data: the whole file.
        limits: what is refused for its size.
        exact: the bytes passed the walk, only note ends are missing: long silences are then meant.
        leave_out: leave out notes without an end instead of ending them.

    Raises:
        LimitReached: too large; the text names the limit.
        DamagedMidi: nothing or less than half of it can be read.
    """
    if len(data) > limits.bytes:
        raise LimitReached(limits.message("bytes", len(data)))
    return _Repair(data, limits, exact, leave_out).run()


class _Repair:
    """One run over one file."""

    def __init__(self, data: bytes, limits: ReadLimits, exact: bool, leave_out: bool) -> None:
        self.data, self.limits, self.exact, self.leave_out = data, limits, exact, leave_out
        self.repairs: Counter[str] = Counter()
        self.events_left = limits.events
        self.read = self.skipped = self.tracks = 0

    def run(self) -> RepairedMidi:
        start = self.data.find(HEADER_NAME)
        if start < 0:
            raise DamagedMidi("no MIDI header (MThd) in it" if self.data else "empty file")
        self._count_wrapper(start)
        songs: list[_Song] = []
        while start >= 0 and start + CHUNK_HEAD_BYTES + HEADER_BYTES <= len(self.data):
            song = self._read_song(start)
            self._check_limit("songs", len(songs) + 1)
            songs += [song] if song.tracks or not songs else []
            start = self.data.find(HEADER_NAME, song.end)
        if not songs:
            raise DamagedMidi("the header is cut off")
        if not any(song.tracks for song in songs):
            raise DamagedMidi("no tracks in it")
        if 2 * self.skipped > self.read:
            raise DamagedMidi(
                f"more than half of it makes no sense ({self.skipped} of {self.read} bytes of its tracks)"
            )
        return self._write([part for song in songs for part in _separate(song)])

    def _check_limit(self, name: str, found: int) -> None:
        if found > getattr(self.limits, name):
            raise LimitReached(self.limits.message(name, f"more than {getattr(self.limits, name)}"))

    def _write(self, songs: list[_Song]) -> RepairedMidi:
        """Close notes and write each song."""
        self._check_limit("songs", len(songs))
        files: list[bytes] = []
        onsets: list[int] = []
        controls: list[int] = []
        counts: list[int] = []
        for song in songs:
            closed = [self._mended(track, song.division) for track in song.tracks]
            onsets.append(sum(is_onset(event) for track in closed for event in track))
            controls.append(sum(event.status & 0xF0 in (CONTROL, PITCH_BEND) for track in closed for event in track))
            counts.append(len(closed))
            bodies = [track_bytes(track) for track in _with_tempo(closed, song.mspq)]
            files.append(write_midi(PARALLEL_TRACKS if len(bodies) > 1 else ONE_SONG, song.division, bodies))
        tempi = sum(event.status == META and event.first == TEMPO for s in songs for t in s.tracks for event in t)
        self._check_limit("tempi", tempi)
        kept = [number for number, count in enumerate(onsets) if count] or [0]
        if len(kept) > 1:
            self.repairs["separate_songs"] = len(kept)
        return RepairedMidi(
            songs=[files[number] for number in kept],
            onsets=[onsets[number] for number in kept],
            controls=[controls[number] for number in kept],
            tracks=[counts[number] for number in kept],
            repairs={kind: count for kind, count in sorted(self.repairs.items()) if count},
        )

    def _mended(self, events: list[Event], division: int) -> list[Event]:
        """A track whose notes all end and whose marks are possible."""
        if self.leave_out:
            events = leave_out_hanging(events, self.repairs)
        return mend_marks(lengthen_notes(close_notes(events, division, self.repairs), self.repairs), self.repairs)

    def _count_wrapper(self, start: int) -> None:
        """Say what stands before the header."""
        if start == 0:
            return
        if self.data.startswith(b"RIFF"):
            return  # a whole format of its own, not damage
        kind = "macbinary_wrapper" if start == MACBINARY_BYTES and self.data[0] == 0 else "bytes_before_header"
        self.repairs[kind] += 1

    # --- one song -----------------------------------------------------------------------------------------------------

    def _read_song(self, start: int) -> _Song:
        """The header at a byte, and all tracks up to the next header."""
        data = self.data
        fields = start + CHUNK_HEAD_BYTES
        length = int.from_bytes(data[start + 4 : fields], "big")
        kind, promised = (int.from_bytes(data[at : at + 2], "big") for at in (fields, fields + 2))
        division, mspq = self._read_division(data[fields + 4], data[fields + 5])
        position = fields + HEADER_BYTES
        if length != HEADER_BYTES:
            self.repairs["header_length"] += 1
            position = fields + length if data.startswith(TRACK_NAME, fields + length) else position
        if kind > LONGEST_FORMAT:
            self.repairs["unknown_format"] += 1
            kind = PARALLEL_TRACKS
        song = _Song(kind, division, mspq, [], position)
        while position + CHUNK_HEAD_BYTES <= len(data):
            if data.startswith(HEADER_NAME, position):
                break
            position = self._read_chunk(song, position, promised)
        song.end = position
        self.repairs["track_count"] += promised != len(song.tracks)
        return song

    def _read_chunk(self, song: _Song, position: int, promised: int) -> int:
        """Read the track, step over the foreign chunk or the stray bytes at a byte; returns what follows."""
        data = self.data
        begin = position + CHUNK_HEAD_BYTES
        claimed = begin + int.from_bytes(data[position + 4 : begin], "big")
        fits = claimed == len(data) or (claimed < len(data) and _is_name(data[claimed : claimed + 4]))
        if data.startswith(TRACK_NAME, position):
            return self._read_track(song, begin, claimed, fits)
        if fits and _is_name(data[position : position + 4]):
            if len(song.tracks) < promised and self._looks_like_track(song, begin, claimed):
                self.repairs["track_name"] += 1
                return self._read_track(song, begin, claimed, fits)
            return claimed
        following = self._next_chunk(position)
        if following < len(data) or len(song.tracks) < promised:
            self.repairs["stray_bytes"] += 1
            self.read, self.skipped = self.read + following - position, self.skipped + following - position
        else:
            self.repairs["bytes_after_last_track"] += 1
        return following

    def _read_track(self, song: _Song, begin: int, claimed: int, fits: bool) -> int:
        """Read the events from a byte on; ``claimed`` is where the track says it ends, ``fits`` whether that can be."""
        bound = claimed if fits else self._next_chunk(begin)
        scan = self._scan(song, begin, bound).run(self.events_left)
        if scan.ended and scan.end == claimed:
            bound, fits = claimed, True  # the length was right, what follows is no chunk
        self.repairs.update(scan.repairs)
        self.repairs["track_length"] += not fits
        self.read, self.skipped = self.read + scan.end - begin, self.skipped + scan.skipped
        self.events_left -= len(scan.events)
        song.tracks.append(scan.events)
        self.tracks += 1
        self._check_limit("tracks", self.tracks)
        if scan.end < bound and self.data.startswith(TRACK_NAME, scan.end):
            self.repairs["track_length"] += 1
            return scan.end
        if scan.end < bound:
            self.repairs["bytes_after_end_of_track"] += 1
            if scan.repairs:  # then the end event may be a false one, and what follows may be music
                self.read, self.skipped = self.read + bound - scan.end, self.skipped + bound - scan.end
        return bound

    def _looks_like_track(self, song: _Song, begin: int, end: int) -> bool:
        """Whether a chunk of another name holds notes and an end event and nothing that needs repair."""
        scan = self._scan(song, begin, end).run(self.limits.events)
        return scan.ended and not scan.repairs and any(is_onset(event) for event in scan.events)

    def _scan(self, song: _Song, begin: int, end: int) -> TrackScan:
        longest = LARGEST_SILENCE if self.exact else None
        return TrackScan(self.data, begin, end, song.division, self.limits, longest)

    def _next_chunk(self, position: int) -> int:
        """The next byte where a track or a header begins, or the end."""
        track = self.data.find(TRACK_NAME, position)
        end = track if track >= 0 else len(self.data)
        header = self.data.find(HEADER_NAME, position, end)
        return header if header >= 0 else end

    def _read_division(self, first: int, second: int) -> tuple[int, int | None]:
        """Ticks a quarter and, for time in SMPTE frames, the microseconds a quarter then has."""
        if first < SMPTE_FLAG:
            if division := first << 8 | second:
                return division, None
        elif per_second := SMPTE_FRAMES.get(0x100 - first, 0) * second:
            self.repairs["smpte_division"] += 1
            stretch = DROP_FRAME if 0x100 - first == DROP_FRAMES else 1.0
            # A quarter of half a second, as unmarked files have, unless that would split a tick.
            halves = 2 if per_second % 2 == 0 else 1
            return per_second // halves, round(MICROSECONDS * stretch / halves)
        self.repairs["division"] += 1
        return DEFAULT_DIVISION, None


def _is_name(name: bytes) -> bool:
    """Whether four bytes can be the name of a chunk."""
    return len(name) == len(TRACK_NAME) and name.isascii() and name.decode("ascii").isprintable()


def _separate(song: _Song) -> list[_Song]:
    """The independent sequences of a format 2 file, or the song as it is."""
    if song.format != SEPARATE_SONGS:
        return [song]
    return [_Song(ONE_SONG, song.division, song.mspq, [track], song.end) for track in song.tracks]


def _with_tempo(tracks: list[list[Event]], mspq: int | None) -> list[list[Event]]:
    """The tracks with one fixed tempo in place of all others, where there is one."""
    if mspq is None or not tracks:
        return tracks
    others = [[event for event in track if not (event.status == META and event.first == TEMPO)] for track in tracks]
    others[0].insert(0, Event(0, META, TEMPO, 0, mspq.to_bytes(3, "big")))
    return others
