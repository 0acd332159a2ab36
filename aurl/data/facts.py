"""Facts that are computed from the notes of a score for the manifest; what it declares itself is in metadata.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.tempo_map import tempo_map

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
        "duration": round(float(tempo_map(score).to_seconds(ends.max())), DECIMALS),
        "polyphony": round(mean_polyphony(starts, ends), DECIMALS),
    }


def mean_polyphony(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> float:
    """Mean number of sounding notes over the time in which at least one sounds."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    reached = np.concatenate([[starts[0]], np.maximum.accumulate(ends)[:-1]])
    sounding = np.maximum(ends, reached) - np.maximum(starts, reached)
    return float((ends - starts).sum() / max(int(sounding.clip(min=0).sum()), 1))
