"""Every tokenizer: ids are miditok's, decoding is the inverse, the quantised notes are the only ones that come back."""

from __future__ import annotations

import json
from pathlib import Path

import miditok
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_strategies import make_score, scores
from symusic import Score

from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, TokenizerConfig
from aurl.data.kinds import Form, Kind
from aurl.data.overlaps import cut_durations
from aurl.data.timeline import first_in_first_out
from aurl.data.tokenizer import miditok_config
from aurl.utils.errors import AurlError

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
        assert sorted(sorted(n[::2] for n in track) for track in notes_of(decoded)) == sorted(
            sorted(n[::2] for n in track) for track in notes_of(expected)
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


def test_a_note_is_cut_where_the_next_of_its_pitch_begins_and_that_is_counted():
    codec = CODECS["midi_like"]
    score, counts = codec.prepare_score(make_score([(0, [(0, 4, 60, 80), (1, 1, 60, 80), (0, 4, 64, 80)])]))
    decoded = codec.decode(codec.encode(score))
    quarter = decoded.ticks_per_quarter
    assert notes_of(decoded) == [[(0, quarter, 60), (0, 4 * quarter, 64), (quarter, quarter, 60)]]
    assert counts["notes_cut"] == 1


def test_notes_of_a_voice_never_overlap_once_cut():
    onset, length = np.array([4, 0, 0, 2, 2, 9]), np.array([9, 1, 7, 5, 1, 3])
    voice = np.array([1, 1, 1, 1, 2, 2])
    assert cut_durations(onset, length, voice).tolist() == [9, 1, 2, 2, 1, 3]
    assert cut_durations(onset[:1], length[:1], voice[:1]).tolist() == [9]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30))
def test_ends_are_paired_as_a_queue_would(events):
    queues, expected = {}, []
    for place, (voice, begins) in enumerate(events):
        if begins:
            queues.setdefault(voice, []).append(place)
        elif queues.get(voice):
            expected.append((queues[voice].pop(0), place))
    voice, begins = np.array([v for v, _ in events], int), np.array([b for _, b in events], bool)
    starts, ends = first_in_first_out(voice, np.arange(len(events)), begins)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == sorted(expected)


def test_octuple_leaves_out_notes_after_its_last_bar_and_counts_them():
    codec = Codec.from_config(TokenizerConfig(kind="octuple", max_bars=2))
    score = make_score([(0, [(0, 1, 60, 80), (7, 1, 62, 80), (8, 1, 64, 80)]), (52, [(12, 1, 60, 80)])])
    with pytest.raises(AurlError, match=r"the piece has 4 bars, tokenizer\.max_bars=2; raise it, or call"):
        codec.encode(score)
    fitted, counts = codec.prepare_score(score)
    assert counts["notes_after_last_bar"] == 2
    assert [[note.pitch for note in track.notes] for track in fitted.tracks] == [[60, 62], []]
    assert codec.vocabulary.count_notes(codec.encode(fitted)) == 2


def test_octuple_counts_metres_and_tempi_that_no_note_carries():
    codec = CODECS["octuple"]
    metres, tempos = ((0, 4, 4), (4, 3, 4), (10, 4, 4)), ((0, 120.0), (4, 60.0), (7, 200.0))
    _, counts = codec.prepare_score(make_score([(0, [(0, 1, 60, 80), (8, 1, 60, 80)])], metres=metres, tempos=tempos))
    assert counts["metres_without_notes"] == 2, "3/4 has no note in its first bar, the second 4/4 none at all"
    assert counts["tempos_without_notes"] == 1


@pytest.mark.parametrize("kind", ["cpword", "octuple"])
@settings(max_examples=30, deadline=None)
@given(score=scores())
def test_compound_ids_are_laid_flat_and_restored_exactly(kind, score):
    codec = CODECS[kind]
    score, _ = codec.prepare_score(score)
    rows = codec.tokenizer(score).ids
    flat = codec.compound.to_flat(rows)
    assert codec.compound.to_rows(flat).tolist() == rows
    wrapped = np.concatenate([[1], flat, [2]])
    assert codec.compound.to_rows(wrapped).tolist() == rows


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_transposing_tokens_is_transposing_the_score(kind):
    codec = CODECS[kind]
    notes = [(0, 1, 60, 80), (1, 2, 64, 80), (4.5, 1, 67, 80)]
    drums = (-1, [(0, 1, 38, 80)])
    table = codec.vocabulary.transposition_table(-3, 5)
    for shift in (-3, 5):
        moved = make_score([(0, [(t, d, p + shift, v) for t, d, p, v in notes]), drums])
        assert table[shift + 3][codec.encode(make_score([(0, notes), drums]))].tolist() == codec.encode(moved).tolist()


@pytest.mark.parametrize("kind", OTHERS)
def test_a_codec_travels_as_json_and_knows_its_form(kind):
    saved = json.loads(json.dumps(CODECS[kind].to_dict()))
    loaded = Codec.from_dict(saved)
    assert loaded.vocabulary.tokens == CODECS[kind].vocabulary.tokens
    assert loaded.vocabulary.form is CODECS[kind].vocabulary.form
    with pytest.raises(AurlError, match="tokenizer Something is not known to this version; known: TrackREMI"):
        Codec.from_dict(saved | {"params": saved["params"] | {"tokenization": "Something"}})


def test_only_tokens_with_durations_tell_what_sounds():
    assert {kind for kind in TOKENIZERS if not CODECS[kind].tells_what_sounds} == {"midi_like"}
    assert CODECS["octuple"].vocabulary.form is Form.numbered


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.kind=remy is unknown; allowed: remi, tsd, midi_like"):
        TokenizerConfig(kind="remy")
    with pytest.raises(ValueError, match=r"tokenizer\.max_bars=0 is out of range"):
        TokenizerConfig(max_bars=0)
    with pytest.raises(ValueError, match=r"tokenizer\.bpe='' is empty"):
        TokenizerConfig(bpe="")
