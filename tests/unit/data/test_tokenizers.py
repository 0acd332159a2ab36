"""Every tokenizer: ids are miditok's, decoding is the inverse, the quantised notes are the only ones that come back."""

from __future__ import annotations

import json
from pathlib import Path

import miditok
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_strategies import scores
from symusic import Score

from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, TokenizerConfig
from aurl.data.kinds import Kind
from aurl.data.tokenizer import miditok_config

OTHERS = [kind for kind in TOKENIZERS if kind != "remi"]
CODECS = {kind: Codec.from_config(TokenizerConfig(kind=kind)) for kind in TOKENIZERS}
COARSE = {
    kind: Codec.from_config(
        TokenizerConfig(kind=kind, positions_per_beat=5, max_duration_beats=3, tempos=8, tracks_per_program=2)
    )
    for kind in OTHERS
}
STOCK = {"tsd": miditok.TSD, "midi_like": miditok.MIDILike, "cpword": miditok.CPWord, "octuple": miditok.Octuple}
FILES_PER_CORPUS = 4
MOST_NOTES = 1500
"""Longer pieces take the slow path seconds."""


def slow_ids(codec: Codec, score, tokenizer=None) -> list[int]:
    """Ids on miditok's own path, compound ones laid flat."""
    ids = (tokenizer or codec.tokenizer)(score).ids
    return ids if codec.compound is None else codec.compound.to_flat(ids).tolist()


def notes_of(score) -> list[list[tuple[int, int, int]]]:
    return [sorted((n.time, n.duration, n.pitch) for n in track.notes) for track in score.tracks]


def repeats_a_program(score) -> bool:
    programs = [-1 if track.is_drum else track.program for track in score.tracks]
    return len(set(programs)) < len(programs)


def sample(folder: Path) -> list[Path]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    paths = [folder / json.loads(line)["path"] for line in lines[:: max(len(lines) // FILES_PER_CORPUS, 1)]]
    return [path.parent / "cl.mid" if (path.parent / "cl.mid").is_file() else path for path in paths]


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=50, deadline=None)
@given(score=scores(odd_metres=True))
def test_ids_are_those_of_the_tokenizer_for_any_score(kind, score):
    for codec in (CODECS[kind], COARSE[kind]):
        fast = codec.encode(score)
        assert fast.dtype == np.uint16
        assert fast.tolist() == slow_ids(codec, score)


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=30, deadline=None)
@given(score=scores())
def test_ids_are_those_of_stock_miditok_where_no_program_repeats(kind, score):
    codec = Codec.from_config(TokenizerConfig(kind=kind, tracks_per_program=1))
    stock = STOCK[kind](miditok_config(TokenizerConfig(kind=kind, tracks_per_program=1)))
    score, counts = codec.prepare_score(score)
    if not repeats_a_program(score) and not counts.get("notes_cut"):
        assert codec.encode(score).tolist() == slow_ids(codec, score, stock)


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=50, deadline=None)
@given(score=scores(odd_metres=True))
def test_decoding_is_the_exact_inverse_of_encoding(kind, score):
    for codec in (CODECS[kind], COARSE[kind]):
        fitted, _ = codec.prepare_score(score)
        written = codec.encode(fitted)
        decoded = codec.decode(written, cut_overlaps=False)
        assert decoded.note_num() == fitted.note_num()
        again = codec.encode(decoded)
        if kind == "midi_like" and doubles(decoded):
            assert sorted(again.tolist()) == sorted(written.tolist())
        else:
            assert np.array_equal(again, written)


def doubles(score) -> bool:
    """Whether some track begins a pitch twice at once; which of the two ends first is then not written."""
    rows = [[(note.time, note.pitch) for note in track.notes] for track in score.tracks]
    return any(len(set(row)) < len(row) for row in rows)


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=40, deadline=None)
@given(score=scores())
def test_the_notes_are_those_that_remi_brings_back(kind, score):
    """One quantisation for all: REMI's, but that MIDI-like keeps the length of each note to the grid."""
    remi, codec = CODECS["remi"], CODECS[kind]
    fitted, counts = codec.prepare_score(score)
    expected = remi.decode(remi.encode(fitted))
    decoded = codec.decode(codec.encode(fitted))
    if counts.get("metres_without_notes"):
        return  # what follows stands elsewhere, which is counted
    if kind != "midi_like":
        assert [(t.program, t.is_drum) for t in decoded.tracks] == [(t.program, t.is_drum) for t in expected.tracks]
        assert notes_of(decoded) == notes_of(expected)
    else:  # what ends where another track begins says more about the order of tracks
        assert sorted([n[::2] for n in track] for track in notes_of(decoded)) == sorted(
            [n[::2] for n in track] for track in notes_of(expected)
        )


@pytest.mark.parametrize("kind", OTHERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_sequence_of_ids_decodes(kind, data):
    codec = CODECS[kind]
    ids = data.draw(st.lists(st.integers(0, codec.vocabulary.size - 1), max_size=80))
    decoded = codec.decode(ids, cut_overlaps=False)
    inner = [i for i in ids if codec.vocabulary.kind[i] > Kind.EOS]
    assert decoded.note_num() <= codec.vocabulary.count_notes(inner)
    if codec.compound is not None:
        codec.compound.to_rows(ids)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["jsb-chorales", "nottingham", "multitrack-free", "openscore", "pop909", "groove"])
def test_real_music_gets_the_same_ids_and_comes_back(corpora, name, kind):
    codec = CODECS[kind]
    for path in sample(corpora(name)):
        fitted, _ = codec.prepare_score(Score(path))
        written = codec.encode(fitted)
        if fitted.note_num() < MOST_NOTES:
            assert written.tolist() == slow_ids(codec, fitted), path
        decoded = codec.decode(written, cut_overlaps=False)
        assert decoded.note_num() == fitted.note_num(), path
        assert np.array_equal(codec.encode(decoded), written) or (kind == "midi_like" and doubles(decoded)), path
        bar, beat = codec.vocabulary.musical_time(written)
        assert (np.diff(bar) >= 0).all()
        assert (np.diff(beat) >= 0).all()
