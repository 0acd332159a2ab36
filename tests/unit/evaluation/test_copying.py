"""The longest shared run is exact, blind to transposition, and never crosses from one piece into the next."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aurl.evaluation.copying import CopyIndex, SuffixAutomaton, melodies, setting
from aurl.evaluation.voices import Notes, Voices, bar_lines

SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=5)


def longest_common_run(sequences: list[list[int]], query: list[int]) -> int:
    runs = {tuple(s[i:j]) for s in sequences for i in range(len(s)) for j in range(i + 1, len(s) + 1)}
    return max(
        (j - i for i in range(len(query)) for j in range(i + 1, len(query) + 1) if tuple(query[i:j]) in runs), default=0
    )


@given(sequences=SEQUENCES, query=st.lists(st.integers(0, 3), max_size=15))
def test_the_automaton_finds_what_a_search_finds(sequences: list[list[int]], query: list[int]) -> None:
    assert SuffixAutomaton(sequences).longest_match(query) == longest_common_run(sequences, query)


def make_piece(seed: int, chords: int = 30) -> Voices:
    random = np.random.default_rng(seed)
    length = random.choice([12, 24], size=chords)
    start = np.cumsum(length) - length
    notes = tuple(Notes(start, length, random.integers(low, low + 12, chords)) for low in (65, 58, 50, 40))
    return Voices(notes, bar_lines([], int(length.sum())))


def transpose(piece: Voices, shift: int) -> Voices:
    return Voices(tuple(voice._replace(pitch=voice.pitch + shift) for voice in piece.notes), piece.bar_starts)


def test_a_transposed_copy_is_found_whole() -> None:
    training = [make_piece(seed) for seed in range(5)]
    runs = CopyIndex(training).longest_runs(transpose(training[2], -4))
    assert runs.notes == 29
    assert runs.chords == 29


def test_foreign_music_shares_little() -> None:
    runs = CopyIndex([make_piece(seed) for seed in range(5)]).longest_runs(make_piece(99))
    assert runs.notes <= 3
    assert runs.chords == 0


def test_a_copied_voice_alone_is_no_copied_setting() -> None:
    piece, other = make_piece(0), make_piece(1)
    mixed = Voices((piece.notes[0], *other.notes[1:]), piece.bar_starts)
    runs = CopyIndex([piece]).longest_runs(mixed)
    assert runs.notes == 29
    assert runs.chords < 3


def test_other_lengths_are_no_copy() -> None:
    piece = make_piece(0)
    slower = Voices(
        tuple(Notes(voice.start * 3, voice.length * 3, voice.pitch) for voice in piece.notes), piece.bar_starts * 3
    )
    assert CopyIndex([piece]).longest_runs(slower).notes == 0


def test_pieces_without_notes_share_nothing() -> None:
    silent = np.zeros(0, dtype=np.int64)
    empty = Voices((Notes(silent, silent, silent),) * 4, bar_lines([], 0))
    assert melodies(empty) == []
    assert setting(empty) == []
    runs = CopyIndex([empty]).longest_runs(make_piece(0))
    assert (runs.notes, runs.chords) == (0, 0)
