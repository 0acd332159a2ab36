"""Words for tokens: the part each plays in the grammar (``Kind``), and how a tokenizer spells time (``Form``)."""

from __future__ import annotations

from enum import Enum, IntEnum


class Kind(IntEnum):
    """The part a token plays in the grammar."""

    PAD = 0
    BOS = 1
    EOS = 2
    BAR = 3
    TIMESIG = 4
    POSITION = 5
    TEMPO = 6
    PROGRAM = 7
    PITCH = 8
    PITCH_DRUM = 9
    VELOCITY = 10
    DURATION = 11
    OTHER = 12
    TIME_SHIFT = 13
    NOTE_OFF = 14
    NOTE_OFF_DRUM = 15
    CHORD = 16


class Form(str, Enum):
    """How tokens say when a note begins and ends: what readers of token sequences ask first."""

    bars = "bars"
    """Bar and Position tokens, durations (REMI)."""
    words = "words"
    """The same with the tempo at every position (CPWord written out)."""
    shifts = "shifts"
    """Time shifts and durations (TSD)."""
    note_ends = "note_ends"
    """Time shifts, a token where each note ends (MIDI-like)."""
    numbered = "numbered"
    """Every note says its metre, bar number, position and tempo (Octuple written out)."""
