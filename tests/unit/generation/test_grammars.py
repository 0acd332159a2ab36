"""The grammars of all tokenizers, with and without learned tokens, under random choices among all that they allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, TokenizerConfig
from aurl.data.kinds import Form, Kind
from aurl.data.merges import Merges
from aurl.data.synth import compose
from aurl.generation.grammar import Ending, Rules
from aurl.generation.grammars import make_grammar, make_walk
from aurl.generation.prompt import count_bars, first_bars, to_next_bar
from aurl.generation.sampling import NOTHING, draw
from aurl.music.score import read_score
from aurl.utils.errors import AurlError

BATCH = 8
OTHERS = [kind for kind in TOKENIZERS if kind != "remi"]
SMALL = {"positions_per_beat": 4, "velocities": 4, "tempos": 8, "tracks_per_program": 2, "max_bars": 40}
CODECS = {kind: Codec.from_config(TokenizerConfig(kind=kind, **SMALL)) for kind in TOKENIZERS}


@pytest.fixture(scope="module")
def learned() -> dict[str, Codec]:
    """Codecs with tokens learned from a few made pieces."""
    result = {}
    for kind, codec in CODECS.items():
        pieces = [codec.encode(codec.prepare_score(compose(0, seed)[0])[0]) for seed in range(6)]
        result[kind] = codec.with_merges(Merges.learn(pieces, codec.vocabulary, codec.size + 150))
    return result


def wander(codec: Codec, rules: Rules, seed: int = 0, favour: dict[Kind, float] | None = None, hot: float = 0.0):
    """Pieces of base ids (with BOS and EOS) drawn by kind, evenly otherwise; checks time and length on the way."""
    grammar = make_grammar(codec.vocabulary, rules, merges=codec.merges)
    vocabulary, walk = grammar.vocabulary, make_walk(grammar, BATCH)
    generator = torch.Generator().manual_seed(seed)
    taste = hot * torch.randn(BATCH, codec.size, generator=generator)
    for kind, bonus in (favour or {}).items():
        taste[:, : codec.vocabulary.size][:, torch.from_numpy(codec.vocabulary.kind == kind)] += bonus
    tokens = [torch.full((BATCH,), vocabulary.bos)]
    walk.advance(tokens[0])
    walk.start_counting()
    times = [(walk.bar.clone(), walk.beat.clone())]
    while not bool(walk.done.all()):
        assert len(tokens) <= rules.max_tokens, "the pieces do not end"
        logits = walk.restrict(taste.clone())
        token = draw(logits.softmax(-1), torch.rand(BATCH, generator=generator))
        while codec.merges is not None and bool((refused := walk.refused(token)).any()):
            logits[torch.arange(BATCH)[refused], token[refused]] = NOTHING
            token = torch.where(refused, draw(logits.softmax(-1), torch.rand(BATCH, generator=generator)), token)
        assert int(token.min()) >= 0, "nothing may follow"
        tokens.append(token)
        walk.advance(token)
        times.append((walk.bar.clone(), walk.beat.clone()))
    pieces = []
    for row, bars, beats in zip(
        torch.stack(tokens, 1).numpy(),
        *(torch.stack(column, 1).numpy() for column in zip(*times, strict=True)),
        strict=True,
    ):
        stop = int(np.flatnonzero(row == vocabulary.eos)[0]) + 1
        bar, beat = vocabulary.musical_time(row[:stop])
        assert bars[:stop].tolist() == bar.tolist()
        assert beats[:stop].tolist() == beat.tolist()
        pieces.append(codec.expand(row[:stop]))
    return pieces


def is_whole(codec: Codec, piece: np.ndarray) -> bool:
    """Every note that begins is complete and decodes, none twice at one moment, and the piece ends with a note."""
    inner, vocabulary = piece[1:-1], codec.vocabulary
    begun = int(np.isin(vocabulary.kind[inner], (Kind.PITCH, Kind.PITCH_DRUM)).sum())
    score = codec.decode(inner, cut_overlaps=False)
    notes = [(t.program, t.is_drum, t.name, n.time, n.pitch) for t in score.tracks for n in t.notes]
    ends = (Kind.DURATION, Kind.NOTE_OFF, Kind.NOTE_OFF_DRUM)
    return (
        begun == vocabulary.count_notes(inner) == score.note_num() == len(set(notes)) > 0
        and vocabulary.kind[inner[-1]] in ends
        and codec.decode(inner).note_num() == begun
    )


TASTES = [
    {},
    {Kind.BAR: 4.0, Kind.EOS: 4.0, Kind.TIME_SHIFT: 3.0},
    {Kind.POSITION: 5.0, Kind.TEMPO: 5.0, Kind.TIME_SHIFT: 6.0},
    {Kind.PROGRAM: 5.0},
    {Kind.TIMESIG: 8.0, Kind.NOTE_OFF: 4.0},
]


@pytest.mark.parametrize("is_learned", [False, True])
@pytest.mark.parametrize("favour", [*TASTES, {Kind.CHORD: 8.0}, {Kind.CHORD: 6.0, Kind.POSITION: 6.0, Kind.BAR: 6.0}])
def test_walks_with_chords_are_whole_pieces_with_chords_where_they_may_stand(
    favour: dict[Kind, float], is_learned: bool
) -> None:
    codec = Codec.from_config(TokenizerConfig(chords=True, **SMALL))
    vocabulary = codec.vocabulary
    if is_learned:
        pieces = [codec.encode(codec.prepare_score(compose(0, seed)[0])[0]) for seed in range(4)]
        codec = codec.with_merges(Merges.learn(pieces, vocabulary, codec.size + 150))
    written = 0
    for ending in Ending:
        for piece in wander(codec, Rules(bars=3, ending=ending, max_bar_tokens=60), favour=favour):
            assert is_whole(codec, piece) and count_bars(piece, vocabulary) <= 3
            chords = np.flatnonzero(vocabulary.kind[piece] == Kind.CHORD)
            assert np.isin(vocabulary.kind[piece[chords - 1]], (Kind.POSITION, Kind.TEMPO)).all()
            written += len(chords)
    assert written or Kind.CHORD not in favour


@pytest.mark.parametrize("favour", TASTES)
@pytest.mark.parametrize("kind", OTHERS)
def test_every_walk_is_a_whole_piece_of_the_length_asked_for(kind: str, favour: dict[Kind, float]) -> None:
    codec = CODECS[kind]
    for ending in Ending:
        pieces = wander(codec, Rules(bars=3, ending=ending, max_bar_tokens=60), favour=favour)
        assert all(is_whole(codec, piece) for piece in pieces)
        lengths = {count_bars(piece, codec.vocabulary) for piece in pieces}
        assert max(lengths) <= 3
        if kind == "midi_like":  # the last bar may hold nothing but the end of a note
            continue
        assert lengths == {3} if ending is Ending.exact else lengths <= {1, 2, 3}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_an_opinionated_untrained_model_writes_whole_pieces(kind: str, temperature: float) -> None:
    codec = CODECS[kind]
    for piece in wander(codec, Rules(bars=4, max_bar_tokens=80), hot=6.0 / temperature):
        assert is_whole(codec, piece)


@pytest.mark.parametrize("kind", OTHERS)
def test_max_tokens_is_kept_and_every_note_is_complete(kind: str) -> None:
    codec = CODECS[kind]
    for max_tokens in (16, 17, 19, 40):
        for seed, favour in enumerate(TASTES[1:]):
            for piece in wander(codec, Rules(bars=8, max_tokens=max_tokens), seed, favour):
                assert len(piece) - 1 <= max_tokens
                begun = np.isin(codec.vocabulary.kind[piece], (Kind.PITCH, Kind.PITCH_DRUM)).sum()
                assert begun == codec.vocabulary.count_notes(piece[1:-1])


@pytest.mark.parametrize("kind", OTHERS)
def test_a_full_bar_ends_after_its_last_note(kind: str) -> None:
    codec = CODECS[kind]
    for piece in wander(codec, Rules(bars=4, max_bar_tokens=24, max_tokens=1000), favour={Kind.PROGRAM: 12.0}):
        assert is_whole(codec, piece)
        bar, _ = codec.vocabulary.musical_time(piece)
        sounding = 48 if kind == "midi_like" else 0  # what sounds is ended after the bar is full
        assert np.bincount(bar).max() <= 24 + 9 + sounding


@pytest.mark.parametrize("kind", OTHERS)
def test_only_allowed_programs_pitches_and_tokens_are_written(kind: str) -> None:
    codec = CODECS[kind]
    vocabulary = codec.vocabulary
    forbidden = frozenset(int(id_) for id_ in vocabulary.ids_of(Kind.TIMESIG)[1:])
    rules = Rules(bars=2, programs=frozenset({0, -1}), pitches=frozenset({60}), forbidden=forbidden, max_bar_tokens=99)
    pieces = wander(codec, rules, favour={Kind.PROGRAM: 2.0})
    assert all(is_whole(codec, piece) for piece in pieces)
    written = np.unique(np.concatenate(pieces))
    assert set(vocabulary.value[written[vocabulary.kind[written] == Kind.PROGRAM]]) <= {0, -1}
    assert set(vocabulary.value[written[vocabulary.kind[written] == Kind.PITCH]]) <= {60}
    assert not set(written) & forbidden


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_learned_tokens_obey_the_grammar(kind: str, learned: dict[str, Codec]) -> None:
    codec = learned[kind]
    merged = 0
    for seed, rules in enumerate(
        (Rules(bars=2, max_bar_tokens=40), Rules(bars=2, programs=frozenset({0}), max_tokens=120))
    ):
        for piece in wander(codec, rules, seed, hot=3.0):
            assert is_whole(codec, piece)
            merged += len(piece) - len(codec.merge(piece))
    assert merged > 0


@pytest.mark.parametrize("kind", OTHERS)
def test_a_sample_goes_on_unchanged_when_others_leave(kind: str) -> None:
    codec = CODECS[kind]
    vocabulary = codec.vocabulary
    pieces = wander(codec, Rules(bars=2, max_bar_tokens=40), seed=2, hot=2.0)
    rows = [3, 1] if len(pieces[3]) > 8 and len(pieces[1]) > 8 else [0, 1]
    length = min(len(pieces[row]) for row in rows) - 1
    grammar = make_grammar(vocabulary, Rules(bars=2))
    both, one = make_walk(grammar, BATCH), make_walk(grammar, 1)
    tokens = torch.from_numpy(np.stack([np.resize(piece, length) for piece in pieces]).astype(np.int64))
    for step in range(length):
        if step == length // 2:
            both.select(torch.tensor(rows))
            tokens = tokens[rows]
        both.advance(tokens[:, step])
        one.advance(tokens[1:2, step])
        zeros = torch.zeros(1, vocabulary.size)
        assert torch.equal(both.restrict(zeros.repeat(len(tokens), 1))[1], one.restrict(zeros.clone())[0])


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["jsb-chorales", "multitrack-free", "nottingham"])
def test_real_music_is_in_the_language(kind: str, corpora: Callable[[str], Path], name: str) -> None:
    codec = Codec.from_config(TokenizerConfig(kind=kind, max_bars=512))
    vocabulary = codec.vocabulary
    grammar = make_grammar(vocabulary, Rules(max_bar_tokens=100_000))
    for file in sorted(corpora(name).rglob("*.mid"))[::60][:2]:
        score, _ = codec.prepare_score(read_score(file))
        ids = codec.encode(score).astype(np.int64)[:600]
        walk = make_walk(grammar, 1)
        walk.advance(torch.tensor([vocabulary.bos]))
        surprises = []
        for token in torch.from_numpy(ids):
            if torch.isinf(walk.restrict(torch.zeros(1, vocabulary.size))[0, token]):
                surprises.append(vocabulary.tokens[int(token)])
            walk.advance(token[None])
        doubled = ("Pitch", "NoteOn", "DrumOn", "NoteOff", "DrumOff", "Program")  # doubled notes may be written there
        assert not [each for each in surprises if not each.startswith(doubled)], file
        assert len(surprises) < 0.02 * len(ids), file


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_prompt_is_whole_bars_and_leads_to_the_next_bar_line(kind: str) -> None:
    codec = CODECS[kind]
    vocabulary = codec.vocabulary
    ids = codec.encode(codec.prepare_score(compose(0, 3)[0])[0]).astype(np.int64)
    for bars in (1, 2, 3, None):
        prompt = first_bars(ids, vocabulary, bars)
        opened = np.concatenate([prompt, to_next_bar(prompt, vocabulary)])
        wanted = count_bars(ids, vocabulary) if bars is None else bars
        walk = make_walk(make_grammar(vocabulary, Rules(bars=2)), 1)
        for token in torch.from_numpy(np.append(vocabulary.bos, opened)):
            walk.advance(token[None])
        assert int(walk.bar) == wanted
        if vocabulary.form is not Form.numbered:
            bar, beat = vocabulary.musical_time(opened)
            assert beat[-1] == beat[np.argmax(bar == wanted)]


def test_octuple_says_how_many_bars_it_has_numbers_for() -> None:
    codec = CODECS["octuple"]
    with pytest.raises(ValueError, match=r"bars=41 is out of range; allowed: up to 40"):
        make_grammar(codec.vocabulary, Rules(bars=41))
    walk = make_walk(make_grammar(codec.vocabulary, Rules(bars=39)), 1)
    ids = codec.encode(codec.prepare_score(compose(0, 3)[0])[0]).astype(np.int64)
    for token in torch.from_numpy(np.append(codec.vocabulary.bos, first_bars(ids, codec.vocabulary, 2))):
        walk.advance(token[None])
    with pytest.raises(AurlError, match=r"bars=39 after a prompt of 2 are more than the 40 bars"):
        walk.start_counting()
