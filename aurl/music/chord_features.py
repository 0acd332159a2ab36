"""What a chord recogniser hears: pitch classes per frame of a beat grid, with the lowest and the highest voice apart.

Times are counted in beats of the grid, so uneven beats (an annotated performance) and steady ones go one way. A beat is
``FRAMES_PER_BEAT`` frames, a frame ``SLICES_PER_FRAME`` slices; notes are spread over slices and counted per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.marks import is_possible_metre

FRAMES_PER_BEAT = 2
SLICES_PER_FRAME = 6
PITCH_CLASSES = 12
NO_LOWEST, NO_HIGHEST = 128, -1
COMPOUND_DENOMINATOR = 8
"""From this metre denominator on, 6, 9, 12 ... are groups of three: the beat is a dotted note."""
MAX_BEATS = 100_000
"""Longer grids are refused: 7 hours at 240 beats a minute; a beat takes some kilobytes while chords are heard."""
ON_BEAT_TOLERANCE = 1 / 16
"""Quarters within which a bar line meets a given beat."""
MIN_BARS_ON_BEATS = 0.5
"""With a smaller share of bar lines on the given beats, the file's metre is not the music's and is not used."""


@dataclass(frozen=True)
class BeatGrid:
    """Beats as the metre groups them (a dotted quarter in 6/8) and how strong they are; frames of quarter notes or bars
    are :class:`aurl.music.grid.Grid`.

    Attributes:
        edges: quarters at which beats begin and the last one ends, float64 ``(beats + 1,)``.
        level: metrical strength of each beat, int8 ``(beats,)``: 0 downbeat, 1 middle of a bar with an even number of
            beats, 2 any other beat.
    """

    edges: NDArray[np.float64]
    level: NDArray[np.int8]

    @property
    def onsets(self) -> NDArray[np.float64]:
        """Quarters at which beats begin, ``(beats,)``."""
        return self.edges[:-1]


DOWNBEAT, MIDDLE, OTHER_BEAT = 0, 1, 2


def metre_grid(score: ScoreTick) -> BeatGrid:
    """The beats that a score's metres ask for; 4/4 where it has none. The last beat ends at or after the last note.

    Raises:
        ValueError: the score would have more than 100,000 beats.
    """
    tpq = score.tpq
    end = max((int(track.end()) for track in score.tracks if len(track.notes)), default=0) / tpq
    signs = sorted(
        (sign.time / tpq, sign.numerator, sign.denominator)
        for sign in score.time_signatures
        if is_possible_metre(sign.numerator, sign.denominator) and sign.time < end * tpq
    )
    if not signs or signs[0][0] > 0:
        signs.insert(0, (0.0, 4, 4))
    edges: list[NDArray[np.float64]] = []
    levels: list[NDArray[np.int8]] = []
    for index, (start, numerator, denominator) in enumerate(signs):
        stop = signs[index + 1][0] if index + 1 < len(signs) else max(end, start)
        is_compound = denominator >= COMPOUND_DENOMINATOR and numerator % 3 == 0 and numerator > 3
        beats_in_bar = numerator // 3 if is_compound else numerator
        length = 4 / denominator * (3 if is_compound else 1)
        count = int(np.ceil((stop - start) / length - 1e-6))
        _check_length(count + sum(map(len, edges)))
        place = np.arange(max(count, 0)) % beats_in_bar
        edges.append((start + np.arange(max(count, 0)) * length).astype(np.float64))
        levels.append(_levels(place, np.full(len(place), beats_in_bar)))
        if index + 1 == len(signs):
            edges.append(np.array([start + max(count, 0) * length]))
    return BeatGrid(np.concatenate(edges), np.concatenate(levels))


def _check_length(beats: int) -> None:
    if beats > MAX_BEATS:
        raise ValueError(f"{beats} beats in the score; allowed: up to {MAX_BEATS}")


def _levels(place: NDArray[np.int64], beats_in_bar: NDArray[np.int64]) -> NDArray[np.int8]:
    """Strength of beats by their place in a bar."""
    is_middle = (beats_in_bar % 2 == 0) & (beats_in_bar > 2) & (2 * place == beats_in_bar)
    return np.where(place == 0, DOWNBEAT, np.where(is_middle, MIDDLE, OTHER_BEAT)).astype(np.int8)


@dataclass(frozen=True)
class ChordFeatures:
    """Pitch classes per frame; every array is float32 ``(frames, 12)``.

    Attributes:
        body: share of the frame in which the pitch class sounds below the highest voice, added over notes.
        top: the same for the highest voice where others sound below it (mostly melody).
        attacks: notes that begin in the frame.
        bass: share of the frame in which the pitch class is the lowest that sounds.
        bass_attacks: notes that begin in the frame as the lowest.
    """

    body: NDArray[np.float32]
    top: NDArray[np.float32]
    attacks: NDArray[np.float32]
    bass: NDArray[np.float32]
    bass_attacks: NDArray[np.float32]

    @property
    def sounding(self) -> NDArray[np.float32]:
        """All voices together."""
        return self.body + self.top


def chord_features(score: ScoreTick, edges: NDArray[np.float64]) -> ChordFeatures:
    """Count pitch classes on a beat grid; drums are left out.

    Args:
        score: any score.
        edges: quarters at which beats begin and the last ends, rising, ``(beats + 1,)``.

    Returns:
        Features with ``FRAMES_PER_BEAT`` frames a beat.
    """
    onset, offset, pitch = _pitched_notes(score)
    beats = len(edges) - 1
    frames, slices = beats * FRAMES_PER_BEAT, beats * FRAMES_PER_BEAT * SLICES_PER_FRAME
    keep = (offset > edges[0]) & (onset < edges[-1])
    onset, offset, pitch = onset[keep], offset[keep], pitch[keep]
    number = np.arange(beats + 1) * (FRAMES_PER_BEAT * SLICES_PER_FRAME)
    first = np.rint(np.interp(onset, edges, number)).astype(np.int64).clip(max=slices - 1)
    last = np.rint(np.interp(offset, edges, number)).astype(np.int64)
    length = np.maximum(last, first + 1) - first
    note = np.repeat(np.arange(len(first)), length)
    at = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + first[note]
    lowest, highest = np.full(slices, NO_LOWEST), np.full(slices, NO_HIGHEST)
    np.minimum.at(lowest, at, pitch[note])
    np.maximum.at(highest, at, pitch[note])
    is_lowest = pitch[note] == lowest[at]
    is_top = (pitch[note] == highest[at]) & ~is_lowest
    place = at // SLICES_PER_FRAME * PITCH_CLASSES + pitch[note] % PITCH_CLASSES
    begin = first // SLICES_PER_FRAME * PITCH_CLASSES + pitch % PITCH_CLASSES
    begins_lowest = pitch == lowest[first]

    def counted(places: NDArray[np.int64], unit: float) -> NDArray[np.float32]:
        counts = np.bincount(places, minlength=frames * PITCH_CLASSES)
        return (counts.reshape(frames, PITCH_CLASSES) / unit).astype(np.float32)

    return ChordFeatures(
        body=counted(place[~is_top], SLICES_PER_FRAME),
        top=counted(place[is_top], SLICES_PER_FRAME),
        attacks=counted(begin, 1),
        bass=counted(place[is_lowest], SLICES_PER_FRAME),
        bass_attacks=counted(begin[begins_lowest], 1),
    )


def _pitched_notes(score: ScoreTick) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Onset and end in quarters, and pitch, of every note that is not a drum."""
    columns = [track.notes.numpy() for track in score.tracks if len(track.notes) and not track.is_drum]
    if not columns:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    onset = np.concatenate([column["time"] for column in columns]).astype(np.float64)
    duration = np.concatenate([column["duration"] for column in columns])
    pitch = np.concatenate([column["pitch"] for column in columns]).astype(np.int64)
    return onset / score.tpq, (onset + duration) / score.tpq, pitch


def given_grid(score: ScoreTick, beats: NDArray[np.float64], downbeats: NDArray[np.float64] | None = None) -> BeatGrid:
    """A grid of beats that are known, such as annotated ones of a performance.

    Args:
        score: its metres tell which beats are strong where ``downbeats`` is None and most bar lines lie on beats.
        beats: quarters at which beats begin, rising, ``(beats,)``; the last is as long as the one before it.
        downbeats: quarters at which bars begin.

    Raises:
        ValueError: beats are not a rising row of finite numbers.
    """
    beats = np.asarray(beats, np.float64)
    if beats.ndim != 1 or not len(beats) or not np.isfinite(beats).all() or (np.diff(beats) <= 0).any():
        raise ValueError(f"beats of shape {beats.shape}; allowed: one or more finite numbers, each above the last")
    _check_length(len(beats))
    length = beats[-1] - beats[-2] if len(beats) > 1 else 1.0
    edges = np.append(beats, beats[-1] + length)
    if downbeats is None:
        own = metre_grid(score)
        downbeats = own.onsets[own.level == DOWNBEAT]
        downbeats = downbeats[(downbeats >= beats[0]) & (downbeats < edges[-1])]
    downbeats = np.asarray(downbeats, np.float64)
    after = np.searchsorted(beats, downbeats).clip(1, max(len(beats) - 1, 1)).clip(max=len(beats) - 1)
    before = (after - 1).clip(min=0)
    nearest = np.where(downbeats - beats[before] <= beats[after] - downbeats, before, after)
    on_beat = np.abs(beats[nearest] - downbeats) <= ON_BEAT_TOLERANCE
    if not len(downbeats) or on_beat.mean() < MIN_BARS_ON_BEATS:
        return BeatGrid(edges, np.full(len(beats), OTHER_BEAT, np.int8))
    starts = np.unique(nearest[on_beat])
    bar = np.searchsorted(starts, np.arange(len(beats)), side="right") - 1
    ends = np.append(starts[1:], len(beats))
    place = np.arange(len(beats)) - starts[bar.clip(min=0)]
    level = _levels(place, (ends - starts)[bar.clip(min=0)])
    level[bar < 0] = OTHER_BEAT
    return BeatGrid(edges, level)
