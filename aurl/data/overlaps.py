"""Notes of one track and pitch that would sound at once, which MIDI cannot say: each is cut where the next begins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def cut_durations(onset: IntArray, duration: IntArray, voice: IntArray) -> IntArray:
    """Durations after which no note goes on when a later one of its voice begins.

    Notes of one voice that begin together keep their durations beside each other, up to the next later onset.

    Args:
        onset: onset of each note (K,), in any order.
        duration: its length (K,).
        voice: number of its track and pitch (K,).

    Returns:
        New durations (K,).

    Example:
        >>> cut_durations(np.array([0, 0, 2]), np.array([1, 4, 4]), np.array([60, 60, 60])).tolist()
        [1, 2, 4]
    """
    onset, duration = onset.astype(np.int64), duration.astype(np.int64)
    if len(onset) < 2:
        return duration
    order = np.lexsort((onset, voice))
    starts, voices = onset[order], voice[order]
    new = (starts[1:] != starts[:-1]) | (voices[1:] != voices[:-1])
    group = np.append(0, np.cumsum(new))  # notes of one voice that begin together
    first = np.append(0, np.flatnonzero(new) + 1)
    following = np.append(first[1:], len(order))[group]  # first note of the next group
    after = np.minimum(following, len(order) - 1)
    same = (following < len(order)) & (voices[after] == voices)
    room = np.where(same, starts[after] - starts, np.iinfo(np.int64).max)
    cut = duration.copy()
    cut[order] = np.minimum(duration[order], room)
    return cut
