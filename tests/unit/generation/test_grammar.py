"""The grammar automaton against a plain reader of the grammar, under random choices among all that it allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from aurl.data.codec import Codec
from aurl.data.vocabulary import Kind
from aurl.generation.grammar import CLOSING_TOKENS, Ending, Grammar, Rules
from aurl.generation.sampling import draw
from aurl.generation.walk import Walk

Complaint = Callable[[np.ndarray], str | None]
BATCH = 24


def wander(codec: Codec, rules: Rules, seed: int = 0, favour: dict[Kind, float] | None = None) -> list[np.ndarray]:
    """Pieces (ids with BOS and EOS) written by drawing evenly, or by kind, among what the grammar allows."""
    vocabulary = codec.vocabulary
    walk = Walk(Grammar(vocabulary, rules), BATCH)
    generator = torch.Generator().manual_seed(seed)
    taste = torch.zeros(vocabulary.size)
    for kind, bonus in (favour or {}).items():
        taste[torch.from_numpy(vocabulary.kind == kind)] = bonus
    tokens = [torch.full((BATCH,), vocabulary.bos)]
    walk.advance(tokens[0])
    walk.start_counting()
    while not bool(walk.done.all()):
        assert len(tokens) <= rules.max_tokens, "the pieces do not end"
        weights = walk.restrict(taste.repeat(BATCH, 1)).softmax(-1)
        tokens.append(draw(weights, torch.rand(BATCH, generator=generator)))
        assert int(tokens[-1].min()) >= 0, "nothing may follow"
        walk.advance(tokens[-1])
    rows = torch.stack(tokens, 1).numpy()
    return [row[: int(np.flatnonzero(row == vocabulary.eos)[0]) + 1] for row in rows]


def bars_of(codec: Codec, piece: np.ndarray) -> int:
    return int(np.count_nonzero(codec.vocabulary.kind[piece] == Kind.BAR))


TASTES = [
    {},
    {Kind.BAR: 4.0, Kind.EOS: 4.0},
    {Kind.POSITION: 5.0, Kind.TEMPO: 5.0},
    {Kind.PROGRAM: 3.0},
]


@pytest.mark.parametrize("favour", TASTES)
@pytest.mark.parametrize("ending", list(Ending))
def test_every_walk_is_a_piece_of_the_length_asked_for(
    codec: Codec, complaint: Complaint, ending: Ending, favour: dict[Kind, float]
) -> None:
    pieces = wander(codec, Rules(bars=3, ending=ending, max_bar_tokens=60), favour=favour)
    for piece in pieces:
        assert complaint(piece[1:-1]) is None
        assert codec.vocabulary.kind[piece[-2]] == Kind.DURATION
    lengths = {bars_of(codec, piece) for piece in pieces}
    assert lengths == {3} if ending is Ending.exact else lengths <= {1, 2, 3}


def test_the_model_may_end_a_piece_of_free_length(codec: Codec, complaint: Complaint) -> None:
    pieces = wander(codec, Rules(bars=None, max_tokens=400), favour={Kind.EOS: 4.0})
    assert all(complaint(piece[1:-1]) is None for piece in pieces)
    assert len({len(piece) for piece in pieces}) > BATCH // 2


@pytest.mark.parametrize("max_tokens", range(16, 28))
def test_max_tokens_is_kept_and_the_last_note_is_complete(codec: Codec, complaint: Complaint, max_tokens: int) -> None:
    for piece in wander(codec, Rules(bars=8, max_tokens=max_tokens), seed=max_tokens):
        assert complaint(piece[1:-1]) is None
        assert len(piece) - 1 <= max_tokens


def test_a_full_bar_ends_after_its_last_note(codec: Codec, complaint: Complaint) -> None:
    for piece in wander(codec, Rules(bars=4, max_bar_tokens=20), favour={Kind.PROGRAM: 20.0}):
        assert complaint(piece[1:-1]) is None
        assert bars_of(codec, piece) == 4
        ends = np.append(np.flatnonzero(codec.vocabulary.kind[piece] == Kind.BAR), len(piece) - 1)
        assert np.diff(ends).max() <= 20 + CLOSING_TOKENS


def test_a_track_that_has_played_all_its_pitches_falls_silent_until_the_next_moment(
    codec: Codec, complaint: Complaint
) -> None:
    rules = Rules(bars=2, programs=frozenset({40, -1}), pitches=frozenset({60, 64}), max_bar_tokens=4000)
    pieces = wander(codec, rules, favour={Kind.PROGRAM: 6.0})
    assert all(complaint(piece[1:-1]) is None for piece in pieces)
    drums = np.count_nonzero(codec.vocabulary.kind == Kind.PITCH_DRUM)
    chords = [
        len(notes)
        for piece in pieces
        for notes in np.split(piece, np.flatnonzero(codec.vocabulary.kind[piece] == Kind.POSITION))
    ]
    assert max(chords) > 4 * 2 * (2 + drums), "two tracks of each program with every pitch, written out"


def test_only_allowed_programs_pitches_and_tokens_are_written(codec: Codec) -> None:
    vocabulary = codec.vocabulary
    forbidden = frozenset(int(id_) for id_ in vocabulary.ids_of(Kind.TIMESIG)[1:])
    rules = Rules(bars=2, programs=frozenset({0, 40}), pitches=frozenset({60, 62}), forbidden=forbidden)
    written = np.unique(np.concatenate(wander(codec, rules)))
    assert set(vocabulary.value[written[vocabulary.kind[written] == Kind.PROGRAM]]) == {0, 40}
    assert set(vocabulary.value[written[vocabulary.kind[written] == Kind.PITCH]]) == {60, 62}
    assert not set(written) & forbidden
    assert not (vocabulary.kind[written] == Kind.PITCH_DRUM).any()


def test_drums_alone_can_be_asked_for(codec: Codec, complaint: Complaint) -> None:
    for piece in wander(codec, Rules(bars=1, programs=frozenset({-1}), max_bar_tokens=40)):
        assert complaint(piece[1:-1]) is None
        assert codec.decode(piece).tracks[0].is_drum


def test_rules_that_leave_nothing_are_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match=r"programs=\[40\] with pitches=\[3\] leave no program token"):
        Grammar(codec.vocabulary, Rules(programs=frozenset({40}), pitches=frozenset({3})))


@pytest.mark.parametrize("key", ["bars", "max_tokens", "max_bar_tokens"])
def test_a_rule_out_of_range_names_its_key(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}=0 is .*allowed"):
        Rules(**{key: 0})


@pytest.mark.parametrize("favour", TASTES)
def test_musical_time_is_that_of_the_vocabulary(codec: Codec, favour: dict[Kind, float]) -> None:
    vocabulary = codec.vocabulary
    for piece in wander(codec, Rules(bars=5, max_bar_tokens=40), seed=5, favour=favour)[:8]:
        walk = Walk(Grammar(vocabulary, Rules()), 1)
        bars, beats = [], []
        for token in torch.from_numpy(piece.astype(np.int64)):
            walk.advance(token[None])
            bars.append(int(walk.bar))
            beats.append(float(walk.beat))
        bar, beat = vocabulary.musical_time(piece)
        assert bars == bar.tolist()
        assert beats == beat.tolist()
        assert int(walk.notes) == vocabulary.count_notes(piece)


def test_a_sample_goes_on_unchanged_when_others_leave(codec: Codec) -> None:
    vocabulary = codec.vocabulary
    pieces = wander(codec, Rules(bars=2, max_bar_tokens=40), seed=2)
    length = min(len(piece) for piece in pieces) - 1
    tokens = torch.from_numpy(np.stack([piece[:length] for piece in pieces]).astype(np.int64))
    grammar = Grammar(vocabulary, Rules(bars=2))
    both, one = Walk(grammar, BATCH), Walk(grammar, 1)
    for step in range(length):
        if step == length // 2:
            both.select(torch.tensor([3, 1]))
            tokens = tokens[[3, 1]]
        both.advance(tokens[:, step])
        one.advance(tokens[-1:, step] if step >= length // 2 else tokens[1:2, step])
        zeros = torch.zeros(1, vocabulary.size)
        row = 1
        together = both.restrict(zeros.repeat(len(tokens), 1))[row]
        assert torch.equal(together, one.restrict(zeros.clone())[0])


@pytest.mark.parametrize("name", ["jsb-chorales", "multitrack-free"])
def test_real_music_is_in_the_language(codec: Codec, corpora: Callable[[str], object], name: str) -> None:
    from pathlib import Path

    from aurl.music.score import read_score

    folder = Path(str(corpora(name)))
    files = sorted(folder.rglob("*.mid"))[::40][:6]
    grammar = Grammar(codec.vocabulary, Rules(max_bar_tokens=100_000))
    for file in files:
        score, _ = codec.prepare_score(read_score(file))
        ids = np.concatenate([codec.encode(score).astype(np.int64), [codec.vocabulary.eos]])[:3000]
        walk = Walk(grammar, 1)
        walk.advance(torch.tensor([codec.vocabulary.bos]))
        surprises = []
        for token in torch.from_numpy(ids):
            if torch.isinf(walk.restrict(torch.zeros(1, codec.vocabulary.size))[0, token]):
                surprises.append(codec.vocabulary.tokens[int(token)])
            walk.advance(token[None])
        assert not [each for each in surprises if not each.startswith("Pitch")], (
            file
        )  # doubled notes may be written there
