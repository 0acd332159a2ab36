"""Which tempi, metres and keys music can have. Pure numbers: scores are mended in score.py, events in midi_notes.py."""

from __future__ import annotations

MIN_TEMPO_QPM, MAX_TEMPO_QPM = 10, 1000
MICROSECONDS_PER_MINUTE = 60_000_000
SLOWEST_MSPQ, FASTEST_MSPQ = MICROSECONDS_PER_MINUTE // MIN_TEMPO_QPM, MICROSECONDS_PER_MINUTE // MAX_TEMPO_QPM
MAX_METRE_NUMERATOR = 64
MAX_METRE_DENOMINATOR = 64
MAX_ACCIDENTALS = 7


def clamped_mspq(mspq: int) -> int:
    """Microseconds a quarter, moved into the range of 10 to 1000 quarters a minute."""
    return min(max(mspq, FASTEST_MSPQ), SLOWEST_MSPQ)


def is_possible_metre(numerator: int, denominator: int) -> bool:
    """Whether a metre can be a bar of music: 1 to 64 beats of a whole to a 64th note."""
    is_power_of_two = denominator > 0 and denominator & (denominator - 1) == 0
    return 1 <= numerator <= MAX_METRE_NUMERATOR and is_power_of_two and denominator <= MAX_METRE_DENOMINATOR


def is_possible_key(accidentals: int, tonality: int) -> bool:
    """Whether a key has at most seven sharps (above 0) or flats (below 0) and is major (0) or minor (1)."""
    return abs(accidentals) <= MAX_ACCIDENTALS and tonality in (0, 1)
