"""Any chord, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from aurl.music.chords import QUALITIES, Chord

DEGREES = (
    "b9",
    "9",
    "#9",
    "11",
    "#11",
    "b13",
    "13",
    "b5",
    "#5",
    "6",
    "7",
    "b7",
    "bb7",
    "4",
    "2",
    "b6",
    "*3",
    "*5",
    "*7",
)
chords = st.builds(
    lambda root, quality, bass, degrees: Chord(root, quality, bass, tuple(degrees)),
    st.integers(0, 11),
    st.sampled_from([quality.name for quality in QUALITIES[1:]]),
    st.integers(-1, 11),
    st.lists(st.sampled_from(DEGREES), max_size=4),
)
