"""The notes of a whole score as arrays, and a score's other events moved in time: what every preprocessing step needs.

Steps work on :class:`TickNotes` (all tracks together, N notes) and write them back with :func:`with_notes`. What is
not a note moves by a monotone function of time: :func:`move_performance` for what a player does (controllers, pedals,
bends, lyrics), :func:`move_marks` for what the notation says (metre, key, markers); tempi are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from symusic.core import (
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TimeSignatureTickList,
    TrackTick,
)

from aurl.utils.errors import UnreadableFile

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Move = Callable[[IntArray], IntArray]
"""A monotone function of times in ticks."""
LAST_TICK = 2**30
"""Times stay below it: native code wraps at 2^31."""


class TickNotes(NamedTuple):
    """Every note of a score, each field (N,); times in ticks, tracks one after the other: to be changed.

    What measures notes in quarters takes :class:`aurl.music.pianoroll.NoteArrays`.
    """

    time: IntArray
    end: IntArray
    pitch: IntArray
    velocity: IntArray
    track: IntArray
    """Index of the note's track."""
    drum: NDArray[np.bool_]
    """Whether that track is drums."""

    def take(self, chosen: IntArray | NDArray[np.bool_]) -> TickNotes:
        """The notes at these places."""
        return TickNotes(
            self.time[chosen],
            self.end[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
            self.track[chosen],
            self.drum[chosen],
        )


def notes_of(score: ScoreTick) -> TickNotes:
    """All notes of a score.

    Example:
        >>> notes_of(ScoreTick(480)).time.shape
        (0,)
    """
    columns = [track.notes.numpy() for track in score.tracks]
    lengths = [len(column["time"]) for column in columns]

    def joined(name: str) -> IntArray:
        return np.concatenate([column[name] for column in columns]).astype(np.int64) if columns else np.zeros(0, int)

    time = joined("time")
    track = np.repeat(np.arange(len(columns)), lengths)
    drum = np.array([track_.is_drum for track_ in score.tracks], dtype=bool)[track]
    return TickNotes(time, time + joined("duration"), joined("pitch"), joined("velocity"), track, drum)


def with_notes(score: ScoreTick, notes: TickNotes) -> ScoreTick:
    """A copy of the score that has these notes instead of its own, each track's in the order readers give them.

    Args:
        score: is not changed.
        notes: in any order.

    Raises:
        UnreadableFile: a note ends beyond the last tick that MIDI times may reach.
    """
    check_range(notes.end)
    score = score.copy()
    order = np.lexsort((notes.pitch, notes.end - notes.time, notes.time, notes.track))
    bounds = np.searchsorted(notes.track[order], np.arange(len(score.tracks) + 1))
    for index, track in enumerate(score.tracks):
        own = order[bounds[index] : bounds[index + 1]]
        track.notes = NoteTickList.from_numpy(
            notes.time[own].astype(np.int32),
            (notes.end - notes.time)[own].astype(np.int32),
            notes.pitch[own].astype(np.int8),
            notes.velocity[own].astype(np.int8),
        )
    return score


def check_range(times: IntArray) -> None:
    """Refuse times that MIDI ticks cannot hold.

    Raises:
        UnreadableFile: with the tick and the limit.
    """
    if len(times) and int(times.max()) >= LAST_TICK:
        raise UnreadableFile("piece", f"a note ends at tick {int(times.max())}; allowed: below {LAST_TICK}")


def copy_with_resolution(score: ScoreTick, ticks_per_quarter: int) -> ScoreTick:
    """A copy that says it has this resolution; no time is changed, which is for the caller to do."""
    copy = ScoreTick(ticks_per_quarter)
    source = score.copy()
    copy.tracks = source.tracks
    copy.tempos, copy.markers = source.tempos, source.markers
    copy.time_signatures, copy.key_signatures = source.time_signatures, source.key_signatures
    return copy


def move_performance(track: TrackTick, move: Move) -> None:
    """Move controllers, pedals, pitch bends and lyrics of a track; its notes stay."""
    if len(track.controls):
        events = track.controls.numpy()
        track.controls = ControlChangeTickList.from_numpy(_moved(events, move), events["number"], events["value"])
    if len(track.pitch_bends):
        events = track.pitch_bends.numpy()
        track.pitch_bends = PitchBendTickList.from_numpy(_moved(events, move), events["value"])
    if len(track.pedals):
        events = track.pedals.numpy()
        starts = move(events["time"].astype(np.int64))
        ends = move(events["time"].astype(np.int64) + events["duration"])
        track.pedals = PedalTickList.from_numpy(starts.astype(np.int32), (ends - starts).astype(np.int32))
    move_texts(track.lyrics, move)


def move_marks(score: ScoreTick, move: Move) -> None:
    """Move metres, keys and markers."""
    if len(score.time_signatures):
        events = score.time_signatures.numpy()
        score.time_signatures = TimeSignatureTickList.from_numpy(
            _moved(events, move), events["numerator"], events["denominator"]
        )
    move_keys_and_markers(score, move)


def move_keys_and_markers(score: ScoreTick, move: Move) -> None:
    """Move keys and markers; metres stay."""
    if len(score.key_signatures):
        events = score.key_signatures.numpy()
        score.key_signatures = KeySignatureTickList.from_numpy(_moved(events, move), events["key"], events["tonality"])
    move_texts(score.markers, move)


def move_texts(texts: Any, move: Move) -> None:
    """Move lyrics or markers, in place."""
    if len(texts):
        times = move(np.array([text.time for text in texts], dtype=np.int64))
        for text, time in zip(texts, times.tolist(), strict=True):
            text.time = time


def _moved(events: dict[str, NDArray[Any]], move: Move) -> NDArray[np.int32]:
    return move(events["time"].astype(np.int64)).astype(np.int32)
