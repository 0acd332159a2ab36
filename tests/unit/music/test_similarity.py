"""Melodies are found again through transposition, notation and edits; runs are exact and never leave a piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.music.alignment_local import BOTH, GAP, NEITHER, PITCH_ONLY, TIME_ONLY, align
from aurl.music.similarity import (
    SEED_SYMBOLS,
    Line,
    MelodyIndex,
    gap_units,
    gram_hashes,
    richness,
    symbols_of,
    window_starts,
)

GAPS = np.array([0.25, 0.5, 1.0])


def make_line(seed: int, notes: int = 120, piece: str | None = None) -> Line:
    rng = np.random.default_rng(seed)
    pitch = 66 + np.cumsum(rng.integers(-4, 5, notes)) % 24
    return Line(piece or f"tune {seed}", pitch, np.cumsum(rng.choice(GAPS, notes)))


@pytest.fixture(scope="module")
def index() -> MelodyIndex:
    return MelodyIndex([make_line(seed) for seed in range(60)])


def excerpt(line: Line, begin: int, notes: int, shift: int = 0, slower: float = 1.0) -> Line:
    part = slice(begin, begin + notes)
    return Line("query", line.pitch[part] + shift, (line.onset[part] - line.onset[begin]) * slower)


def plain_alignment(query: Line, passage: Line) -> int:
    """Smith and Waterman cell by cell."""
    table = np.zeros((len(query.pitch) + 1, len(passage.pitch) + 1), dtype=int)
    gaps, other = gap_units(query.onset), gap_units(passage.onset)
    for i, j in np.ndindex(len(query.pitch), len(passage.pitch)):
        pitch, time = query.pitch[i] == passage.pitch[j], gaps[i] == other[j]
        pair = BOTH if pitch and time else PITCH_ONLY if pitch else TIME_ONLY if time else NEITHER
        table[i + 1, j + 1] = max(0, table[i, j] + pair, table[i, j + 1] + GAP, table[i + 1, j] + GAP)
    return int(table.max())


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_alignment_of_many_passages_equals_that_of_each_cell_by_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = [Line("x", rng.integers(60, 64, 12), np.cumsum(rng.choice(GAPS, 12))) for _ in range(4)]
    query = lines[0]
    found = align(
        query.pitch,
        gap_units(query.onset),
        np.stack([line.pitch for line in lines]),
        np.stack([gap_units(line.onset) for line in lines]),
    )
    assert found.points.tolist() == [plain_alignment(query, line) for line in lines]
    assert found.points[0] == BOTH * 12 and found.query_end[0] == found.passage_end[0] == 11


@pytest.mark.parametrize(("shift", "slower"), [(0, 1.0), (-7, 1.0), (5, 2.0), (3, 0.5)])
def test_an_excerpt_is_found_where_it_stands_in_any_key_and_notation(
    index: MelodyIndex, shift: int, slower: float
) -> None:
    line = make_line(17)
    query = excerpt(line, 40, 24, shift, slower)
    best = index.nearest(query)[0]
    assert best.piece == "tune 17" and best.transposition == shift and best.notes == 24
    assert best.onset == line.onset[40] and best.query_onset == 0
    assert best.similarity >= 0.98  # the last note's length is not known from onsets
    run = index.longest_run(query)
    assert (run.piece, run.notes) == ("tune 17", 23)  # no proportion leads to the first two notes
    assert run.onset == line.onset[41]


def test_notes_changed_added_and_left_out_do_not_hide_a_melody(index: MelodyIndex) -> None:
    rng = np.random.default_rng(3)
    found = 0
    for seed in range(30):
        query = excerpt(make_line(seed), 30, 24, 4)
        pitch, onset = query.pitch.copy(), query.onset
        changed = rng.choice(24, 4, replace=False)
        pitch[changed] += rng.choice([-3, -2, 2, 3], 4)
        kept = np.delete(np.arange(24), rng.choice(24, 3, replace=False))
        found += index.nearest(Line("query", pitch[kept], onset[kept]))[0].piece == f"tune {seed}"
    assert found >= 29


def test_a_piece_is_not_compared_with_itself_where_it_is_left_out(index: MelodyIndex) -> None:
    line = make_line(5)
    assert index.longest_run(line).notes == 119
    assert index.longest_run(line, without="tune 5").notes < 12
    assert all(passage.piece != "tune 5" for passage in index.nearest(line, top=5, without="tune 5"))
    assert index.longest_run(line, without="no such piece").notes == 119


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_longest_run_is_the_one_that_a_search_finds_and_never_crosses_pieces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = [Line(str(k), rng.integers(60, 63, 25), np.arange(25) / 2) for k in range(4)]
    query = Line("query", np.concatenate([draw[0].pitch[10:], draw[1].pitch[:12]]), np.arange(27) / 2)
    symbols = symbols_of(query).tolist()
    best = 0
    for line in draw:
        theirs = symbols_of(line).tolist()
        for i, j in np.ndindex(len(symbols), len(theirs)):
            size = 0
            while i + size < len(symbols) and j + size < len(theirs) and symbols[i + size] == theirs[j + size]:
                size += 1
            if size >= SEED_SYMBOLS:
                best = max(best, richness(np.array(symbols[i : i + size])))
    assert MelodyIndex(draw).longest_run(query).rich == best


def test_repetition_makes_a_run_longer_but_not_richer() -> None:
    figure = np.tile([0, 4, 7, 4], 10) + 60
    index = MelodyIndex([Line("figure", figure, np.arange(40) / 2)])
    run = index.longest_run(Line("query", figure[:32] + 2, np.arange(32) / 2))
    assert run.notes == 31 and run.rich <= 8
    once = index.longest_run(Line("query", figure[:12], np.arange(12) / 2))
    assert once.rich == run.rich
    assert richness(np.arange(10)) == 11
    assert richness(np.zeros(0, dtype=np.int64)) == 0


def test_poor_windows_are_passed_over_only_where_asked() -> None:
    figure = Line("figure", np.tile([60, 64, 67, 64], 12), np.arange(48) / 2)
    assert window_starts(figure, 0.8) == []
    assert window_starts(figure, 0.0) == [0, 12, 24]
    assert window_starts(Line("short", np.arange(5), np.arange(5.0)), 0.0) == []


def test_short_lines_and_empty_indexes_share_nothing() -> None:
    short = Line("short", np.array([60, 62]), np.array([0.0, 1.0]))
    for index in (MelodyIndex([]), MelodyIndex([short])):
        assert index.longest_run(make_line(0)).notes == 0
        assert index.nearest(make_line(0)) == []
    assert MelodyIndex([make_line(0)]).longest_run(short).notes == 0


def test_runs_are_told_apart_by_their_hashes() -> None:
    symbols = np.random.default_rng(0).integers(0, 50_000, 20_000)
    grams = {tuple(symbols[k : k + 4]) for k in range(len(symbols) - 3)}
    assert len(np.unique(gram_hashes(symbols, 4))) == len(grams)
