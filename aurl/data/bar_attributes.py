"""What each bar is like (aurl/music/attributes.py) as an array beside the tokens: ``bar_attributes``, (8,) a bar."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.aligned import Level, Provider, RowTimes
from aurl.data.rolls import frames_of
from aurl.music.attributes import ATTRIBUTES, attributes_of, transpose_attributes
from aurl.music.pianoroll import note_arrays


def _attributes(score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    """A row for each bar of the tokens; NaN in a bar that begins with the next."""
    with_length, frames = frames_of(Level.bar, score, grid)
    rows = np.full((len(with_length), len(ATTRIBUTES)), np.nan, np.float32)
    rows[with_length] = attributes_of(note_arrays(score), frames)
    return rows


bar_attributes = Provider(
    "bar_attributes", Level.bar, "<f4", (len(ATTRIBUTES),), _attributes, (__name__,), transpose_attributes
)
"""The columns of ``ATTRIBUTES`` for each bar, NaN where a bar has nothing that defines one."""
