"""Facts that are computed from the notes of a score for the manifest; what it declares itself is in metadata.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

MICROSECONDS = 1e6
DEFAULT_MSPQ = 500_000
"""Microseconds a quarter before the first tempo, as MIDI says."""
DECIMALS = 4
MIDI_DRUMS = 128
"""Program that stands for drums."""


def facts_of(score: ScoreTick) -> dict[str, Any]:
    """What the notes say.

    Args:
        score: a checked score with at least one note.

    Returns:
        ``programs`` (sorted, 128 for drums), ``duration`` (seconds), ``polyphony`` (mean number of notes where there is
        sound).
    """
    columns = [track.notes.numpy() for track in score.tracks if len(track.notes)]
    starts = np.concatenate([notes["time"] for notes in columns]).astype(np.int64)
    ends = starts + np.concatenate([notes["duration"] for notes in columns])
    programs = {MIDI_DRUMS if track.is_drum else track.program for track in score.tracks if len(track.notes)}
    return {
        "programs": sorted(programs),
        "duration": round(_seconds(score, int(ends.max())), DECIMALS),
        "polyphony": round(mean_polyphony(starts, ends), DECIMALS),
    }


def mean_polyphony(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> float:
    """Mean number of sounding notes over the time in which at least one sounds."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    reached = np.concatenate([[starts[0]], np.maximum.accumulate(ends)[:-1]])
    sounding = np.maximum(ends, reached) - np.maximum(starts, reached)
    return float((ends - starts).sum() / max(int(sounding.clip(min=0).sum()), 1))


def _seconds(score: ScoreTick, end: int) -> float:
    """Playing time of the first ``end`` ticks by the tempo map."""
    tempi = score.tempos.numpy() if len(score.tempos) else {"time": np.zeros(0), "mspq": np.zeros(0)}
    order = np.argsort(tempi["time"], kind="stable")
    times = np.concatenate([[0], tempi["time"][order], [end]]).astype(np.float64).clip(max=end)
    lengths = np.concatenate([[DEFAULT_MSPQ], tempi["mspq"][order]]).astype(np.float64)
    return float((np.diff(times) * lengths).sum()) / score.ticks_per_quarter / MICROSECONDS
