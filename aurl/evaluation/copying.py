"""Copied passages: the longest runs that a piece shares with a training set, transposed or not.

A voice is a string of (interval from the note before, length of the note); a four-part setting is a string of
(intervals above the bass, movement of the bass, length of the chord). Both are the same after transposition. The
training set goes into one suffix automaton (Blumer et al. 1985), so that the longest common run of a piece costs one
step a note and is exact. Nothing is forbidden here: pieces of one style, and different settings of one hymn tune,
share passages; compare with what held-out music shares.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from aurl.evaluation.voices import SILENT, Voices

SILENT_VOICE = -1000
"""Marks a resting voice among distances from the bass, which may be negative."""


class SuffixAutomaton:
    """All substrings of many sequences of symbols, for longest-match queries in linear time."""

    def __init__(self, sequences: Iterable[Sequence[Hashable]]) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._link: list[int] = [-1]
        self._length: list[int] = [0]
        for sequence in sequences:
            last = 0  # starting again at the root keeps runs from crossing from one sequence into the next
            for symbol in sequence:
                last = self._extend(last, symbol)

    def longest_match(self, sequence: Sequence[Hashable]) -> int:
        """Length of the longest run of ``sequence`` that stands somewhere in the automaton's sequences."""
        state = length = longest = 0
        for symbol in sequence:
            while state and symbol not in self._next[state]:
                state = self._link[state]
                length = self._length[state]
            if symbol in self._next[state]:
                state = self._next[state][symbol]
                length += 1
            longest = max(longest, length)
        return longest

    def _extend(self, last: int, symbol: Hashable) -> int:
        """Append a symbol after state ``last``; the state of the longer string."""
        if symbol in self._next[last]:  # only for a sequence that starts like an earlier one
            known = self._next[last][symbol]
            return known if self._length[known] == self._length[last] + 1 else self._split(last, symbol, known)
        new = self._add({}, self._length[last] + 1)
        state = last
        while state != -1 and symbol not in self._next[state]:
            self._next[state][symbol] = new
            state = self._link[state]
        if state == -1:
            self._link[new] = 0
        else:
            known = self._next[state][symbol]
            self._link[new] = (
                known if self._length[known] == self._length[state] + 1 else self._split(state, symbol, known)
            )
        return new

    def _split(self, state: int, symbol: Hashable, known: int) -> int:
        """Give the shorter strings of ``known`` a state of their own."""
        clone = self._add(dict(self._next[known]), self._length[state] + 1)
        self._link[clone] = self._link[known]
        self._link[known] = clone
        while state != -1 and self._next[state].get(symbol) == known:
            self._next[state][symbol] = clone
            state = self._link[state]
        return clone

    def _add(self, edges: dict[Hashable, int], length: int) -> int:
        self._next.append(edges)
        self._link.append(0)
        self._length.append(length)
        return len(self._next) - 1


@dataclass(frozen=True)
class CopiedRuns:
    """Longest passages of one piece that stand in the training set."""

    notes: int
    """Moves in a row of one voice: an interval and the length of the note it leads to; n moves join n + 1 notes."""
    chords: int
    """Chord changes in a row of all voices together."""


class CopyIndex:
    """The training set, ready to be asked for copied passages.

    Args:
        training: the pieces that may have been copied.
    """

    def __init__(self, training: Iterable[Voices]) -> None:
        pieces = list(training)
        self._melodies = SuffixAutomaton(melody for piece in pieces for melody in melodies(piece))
        self._settings = SuffixAutomaton(setting(piece) for piece in pieces)

    def longest_runs(self, piece: Voices) -> CopiedRuns:
        """Longest run of one voice (against any training voice) and of the whole setting."""
        notes = max((self._melodies.longest_match(melody) for melody in melodies(piece)), default=0)
        return CopiedRuns(notes, self._settings.longest_match(setting(piece)))


def melodies(piece: Voices) -> list[list[tuple[int, int]]]:
    """Each voice as (semitones from the note before, units of length) from its second note on."""
    lines = []
    for notes in piece.notes:
        if len(notes.pitch) > 1:
            lines.append(list(zip(np.diff(notes.pitch).tolist(), notes.length[1:].tolist(), strict=True)))
    return lines


def setting(piece: Voices) -> list[tuple[int, ...]]:
    """The setting as (pitch of each voice above the bass, bass movement, units of length), without its first chord.

    A voice that rests is written as SILENT_VOICE; while the bass rests, the highest sounding voice stands in for it.
    """
    chords = piece.chords
    if len(chords.start) < 2:
        return []
    heard = chords.pitch != SILENT
    bass = np.where(heard[:, -1], chords.pitch[:, -1], chords.pitch.max(axis=1))  # (C,)
    above = np.where(heard, chords.pitch - bass[:, None], SILENT_VOICE)  # (C, V)
    symbols = np.column_stack([above, np.diff(bass, prepend=bass[0]), chords.length])
    return [tuple(row) for row in symbols[1:].tolist()]
