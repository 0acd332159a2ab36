"""What can be counted in a piece: one pure function from a score to plain numbers, for reports and manifests.

Times are in quarter notes unless they say seconds. Nothing here is as large as the piece is long, so a score whose last
note ends after a billion quarters costs no more than another. Rolls and the like are features.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.features import drums_apart
from aurl.music.grid import bar_counts, bar_sections
from aurl.music.keys import PITCH_CLASSES, estimate_key, signature_name
from aurl.music.performed import examine_timing
from aurl.music.pianoroll import NoteArrays, note_arrays

DRUM_PROGRAM = 128
"""Stands for all drum kits among the programs."""
DEFAULT_QPM = 120.0
MICROSECONDS = 1e6
SECONDS_PER_MINUTE = 60.0

Statistics = dict[str, Any]


def piece_statistics(score: Any) -> Statistics:
    """Count what there is in a score.

    Args:
        score: symusic score in ticks, as the reader gives it.

    Returns:
        JSON types by name (None where there is nothing to measure):

        - notes, drum_notes, tracks (those with notes), programs ``{"0": notes}`` (128: drums)
        - beats (quarters to the end of the last note), bars, seconds
        - metres ``{"4/4": quarters}``, metre_declared; keys (declared, in order), key (estimated), key_correlation
        - tempo (mean, quarters a minute), tempo_low, tempo_high, tempo_changes, tempo_declared
        - density (notes a quarter), notes_per_second, polyphony (notes that sound on average while any does),
          polyphony_most, note_length (median quarters), silence (longest, quarters)
        - pitch_low, pitch_high, pitch_counts (notes of each pitch from pitch_low on), pitch_classes (12 shares of
          sounding time); all without drums
        - velocity (mean), velocity_spread (standard deviation), velocity_values (different ones)
        - doubled (share of pitched notes whose onset and pitch another note has)
        - off_grid (share of onsets off the grid, relative to chance), performed (bars and beats of the file are a
          clock), shifted (the music keeps a beat, but beside the file's by one amount): those of performed.py

    Example:
        >>> piece_statistics(score)["bars"]  # doctest: +SKIP
        16
    """
    notes = note_arrays(score)
    pitched, drums = drums_apart(notes)
    found: Statistics = {"notes": len(notes), "drum_notes": len(drums), "tracks": len(notes.labels)}
    found["programs"] = _programs(score)
    found |= _time(score, notes.end)
    found |= _texture(notes, pitched, found["beats"], found["seconds"])
    found |= _pitches(pitched)
    found |= _velocities(notes)
    found["keys"] = [signature_name(int(sign.key), bool(sign.tonality)) for sign in score.key_signatures]
    timing = examine_timing(score)
    found["off_grid"] = timing.off_grid_share if len(notes) else None
    found["performed"], found["shifted"] = timing.performed, timing.off_beat
    return found


def _programs(score: Any) -> dict[str, int]:
    """Notes of each program."""
    counts: Counter[int] = Counter()
    for track in score.tracks:
        counts[DRUM_PROGRAM if track.is_drum else int(track.program)] += len(track.notes)
    return {str(program): count for program, count in sorted(counts.items()) if count}


def _time(score: Any, end: float) -> Statistics:
    """Length by every measure, metres and tempi."""
    sections = bar_sections(score)
    counts = bar_counts(sections, end)
    metres: Counter[str] = Counter()
    for (_, numerator, denominator), count in zip(sections, counts, strict=True):
        metres[f"{numerator}/{denominator}"] += count
    quarters = {metre: bars * 4 * int(metre.split("/")[0]) / int(metre.split("/")[1]) for metre, bars in metres.items()}
    starts, qpm, declared = _tempo_map(score, end)
    lengths = np.diff(np.append(starts, max(end, 0.0)))
    seconds = float((lengths * SECONDS_PER_MINUTE / qpm).sum())
    sounding = qpm[lengths > 0] if (lengths > 0).any() else qpm[:1]
    return {
        "beats": end,
        "bars": sum(counts),
        "seconds": seconds,
        "metres": {metre: length for metre, length in sorted(quarters.items()) if length},
        "metre_declared": len(score.time_signatures) > 0,
        "tempo": end * SECONDS_PER_MINUTE / seconds if seconds > 0 else float(qpm[0]),
        "tempo_low": float(sounding.min()),
        "tempo_high": float(sounding.max()),
        "tempo_changes": int(np.count_nonzero(np.diff(sounding))),
        "tempo_declared": declared,
    }


def _tempo_map(score: Any, end: float) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Where each tempo begins, in quarters up to ``end`` (M,), quarters a minute (M,), and whether any is given."""
    columns = score.tempos.numpy()
    order = np.argsort(columns["time"], kind="stable")
    starts = columns["time"][order].astype(np.float64) / max(score.ticks_per_quarter, 1)
    qpm = SECONDS_PER_MINUTE * MICROSECONDS / columns["mspq"][order].astype(np.float64)
    declared = len(starts) > 0
    if not declared or starts[0] > 0:
        starts, qpm = np.insert(starts, 0, 0.0), np.insert(qpm, 0, DEFAULT_QPM)
    return np.minimum(starts, end), qpm, declared


def _texture(notes: NoteArrays, pitched: NoteArrays, beats: float, seconds: float) -> Statistics:
    """How much happens at once and after each other."""
    sounding = _sounding(pitched)
    anything = _sounding(notes)
    changes = {} if sounding is None else {"polyphony": sounding[0], "polyphony_most": sounding[1]}
    doubles = len(pitched) - len(np.unique(np.stack([pitched.onset, pitched.pitch]), axis=1).T)
    return {
        "density": len(notes) / beats if beats > 0 else None,
        "notes_per_second": len(notes) / seconds if seconds > 0 else None,
        "polyphony": None,
        "polyphony_most": None,
        "note_length": _maybe(np.median, pitched.duration),
        "silence": anything[2] if anything is not None else None,
        "doubled": doubles / len(pitched) if len(pitched) else None,
    } | changes


def _sounding(notes: NoteArrays) -> tuple[float, int, float] | None:
    """Mean of the notes that sound while any does, the most at once, and the longest silence, the one before the first
    note included; None where nothing sounds.
    """
    if len(notes) == 0:
        return None
    times = np.concatenate([notes.onset, notes.onset + notes.duration])
    steps = np.repeat([1, -1], len(notes))
    order = np.lexsort((steps, times))  # at one time ends come first, so that a repeated note is one note
    times, count = times[order], np.cumsum(steps[order])
    lengths = np.diff(times)
    silent = float(lengths[count[:-1] == 0].sum())
    heard = float(times[-1] - times[0]) - silent
    longest = max(float(lengths[count[:-1] == 0].max(initial=0.0)), float(times[0]))
    return float(notes.duration.sum()) / heard if heard > 0 else 0.0, int(count.max()), longest


def _pitches(pitched: NoteArrays) -> Statistics:
    """Range, pitches, pitch classes and the key they suggest."""
    if len(pitched) == 0:
        names = ("pitch_low", "pitch_high", "pitch_classes", "key", "key_correlation")
        return dict.fromkeys(names) | {"pitch_counts": []}
    low = int(pitched.pitch.min())
    classes = np.bincount(pitched.pitch % PITCH_CLASSES, weights=pitched.duration, minlength=PITCH_CLASSES)
    total = float(classes.sum())
    key = estimate_key(classes)
    return {
        "pitch_low": low,
        "pitch_high": int(pitched.pitch.max()),
        "pitch_counts": np.bincount(pitched.pitch - low).tolist(),
        "pitch_classes": (classes / total).tolist() if total > 0 else None,
        "key": key.name if key else None,
        "key_correlation": key.correlation if key else None,
    }


def _velocities(notes: NoteArrays) -> Statistics:
    """Loudness as it is played."""
    return {
        "velocity": _maybe(np.mean, notes.velocity),
        "velocity_spread": _maybe(np.std, notes.velocity),
        "velocity_values": len(np.unique(notes.velocity)),
    }


def _maybe(measure: Callable[[NDArray[Any]], Any], values: NDArray[Any]) -> float | None:
    """A number over values (N,), None where there are none."""
    return float(measure(values)) if len(values) else None
