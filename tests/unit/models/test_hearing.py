"""What a token hears: told on a small score by hand, and the same token by token as all at once."""

from __future__ import annotations

import pytest
import torch

from aurl.models.config import ModelConfig
from aurl.models.counterpoint import (
    FIRST_STRUCK,
    INTERVALS,
    OCTAVE,
    PITCHES,
    SHORT_STATUSES,
    STATUSES,
    CounterpointHead,
    HearingEmbedding,
    kept_pairs,
)
from aurl.models.hearing import MEMORY, NONE, STILL_UNKNOWN, WIDEST, Hearing, Status, TokenMeaning, listen
from aurl.models.listener import Listener
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime

NAMES = ("PAD", "Bar", "TimeSig", "Position_0", "Position_8", "Position_16", "A", "B", "Velocity", "Dur_8", "Dur_16")
FIRST_PITCH = len(NAMES)
SIZE = FIRST_PITCH + PITCHES
INDEX = {name: id_ for id_, name in enumerate(NAMES)}


@pytest.fixture
def meaning() -> TokenMeaning:
    meaning = TokenMeaning.unknown(SIZE)
    meaning.pitch[FIRST_PITCH:] = torch.arange(PITCHES)
    meaning.program[[INDEX["A"], INDEX["B"]]] = True
    for name, id_ in INDEX.items():
        if name.startswith("Dur"):
            meaning.duration[id_] = int(name[4:])
        if name.startswith("Position"):
            meaning.place[id_] = int(name[9:])
    meaning.place[INDEX["Bar"]] = 0
    meaning.metre[INDEX["TimeSig"]] = 1 / 8
    return meaning


def note(track: str, pitch: int, duration: int) -> list[int]:
    return [INDEX[track], FIRST_PITCH + pitch, INDEX["Velocity"], INDEX[f"Dur_{duration}"]]


def score(*moments: tuple[float, list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and onsets of moments (quarter, tokens)."""
    ids = [token for _, tokens in moments for token in tokens]
    beat = [quarter for quarter, tokens in moments for _ in tokens]
    return torch.tensor(ids), torch.tensor(beat)


TWO_VOICES = (
    (0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["Position_0"], *note("A", 60, 8), *note("B", 48, 16)]),
    (1.0, [INDEX["Position_8"], *note("A", 62, 8)]),
    (2.0, [INDEX["Position_16"], *note("A", 64, 8), *note("B", 50, 8)]),
)


def heard_by(hearing: Hearing, row: int) -> set[tuple[int, str]]:
    heard = hearing.heard
    chosen = heard.row == row
    names = [Status(int(status)).name for status in heard.status[chosen]]
    return set(zip(heard.pitch[chosen].tolist(), names, strict=True))


def facts(hearing: Hearing, row: int) -> list[object]:
    """Everything that one row is told, in an order that does not depend on how it was found."""
    chosen = hearing.heard.row == row
    pairs = sorted(zip(*(values[chosen].tolist() for values in hearing.heard[1:]), strict=True))
    return [pairs, *(values[row].item() for values in hearing[1:])]


def test_a_voice_about_to_write_hears_what_is_held_struck_and_just_ended(meaning: TokenMeaning) -> None:
    ids, beat = score(*TWO_VOICES)
    hearing = listen(ids, beat, [len(ids)], meaning)
    programs = [row for row in range(len(ids)) if hearing.is_program[row]]
    assert [heard_by(hearing, row) for row in programs] == [
        set(),
        {(60, "STRUCK")},
        {(60, "ENDED"), (48, "HELD")},  # 60 lasts until the second quarter, where its voice has not gone on yet
        {(62, "ENDED"), (48, "ENDED")},
        {(64, "STRUCK"), (48, "ENDED")},  # 62 made way for 64
    ]
    assert [int(hearing.reference[row]) for row in programs] == [NONE, NONE, 60, 62, 48]


def test_a_note_is_known_to_come_from_the_pitch_before_it(meaning: TokenMeaning) -> None:
    ids, beat = score(*TWO_VOICES)
    heard = listen(ids, beat, [len(ids)], meaning).heard
    previous = {int(pitch): int(before) for pitch, before in zip(heard.pitch, heard.previous, strict=True)}
    assert previous == {60: NONE, 48: NONE, 62: 60, 64: 62, 50: 48}


def test_how_long_a_note_lasts_is_known_only_after_its_duration(meaning: TokenMeaning) -> None:
    ids, beat = score(*TWO_VOICES)
    heard = listen(ids, beat, [len(ids)], meaning).heard
    pitch_at = ids.tolist().index(FIRST_PITCH + 48)
    remaining = {int(r): int(t) for r, p, t in zip(heard.row, heard.pitch, heard.remaining, strict=True) if p == 48}
    assert remaining[pitch_at] == remaining[pitch_at + 1] == STILL_UNKNOWN
    assert remaining[pitch_at + 2] == 16  # 32nds
    assert remaining[pitch_at + 3] == 8  # a quarter later
    duration_at = pitch_at + 2
    longer = ids.clone()
    longer[duration_at] = INDEX["Dur_8"]
    other = listen(longer, beat, [len(ids)], meaning)
    same = listen(ids, beat, [len(ids)], meaning)
    assert all(facts(other, row) == facts(same, row) for row in range(duration_at))
    assert facts(other, duration_at) != facts(same, duration_at)


def test_segments_do_not_hear_each_other(meaning: TokenMeaning) -> None:
    ids, beat = score(*TWO_VOICES)
    alone = listen(ids, beat, [len(ids)], meaning)
    twice = listen(torch.cat((ids, ids)), torch.cat((beat, beat)), [len(ids), len(ids)], meaning)
    for row in range(len(ids)):
        assert facts(twice, row) == facts(alone, row) == facts(twice, len(ids) + row)


def test_only_the_last_notes_are_remembered(meaning: TokenMeaning) -> None:
    chord = [token for pitch in range(30, 30 + MEMORY + 5) for token in note("A", pitch, 16)]
    ids, beat = score((0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["Position_0"], *chord]))
    hearing = listen(ids, beat, [len(ids)], meaning)
    assert {pitch for pitch, _ in heard_by(hearing, len(ids) - 1)} == set(range(35, 30 + MEMORY + 5))
    assert bool(hearing.repeats[-1])


def random_tokens(seed: int, tokens: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens in no grammatical order at all, at onsets that never fall."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.tensor([*range(len(NAMES)), *(FIRST_PITCH + pitch for pitch in (60, 61, 64, 72))])
    ids = few[torch.randint(len(few), (tokens,), generator=generator)]
    haste = 1 + seed % 3  # at most, time goes on with every token
    beat = (torch.randint(0, 4, (tokens,), generator=generator) // (4 - haste) / 8).cumsum(0)
    return ids, beat


@pytest.mark.parametrize("seed", range(12))
def test_token_by_token_a_sample_hears_what_it_hears_all_at_once(seed: int, meaning: TokenMeaning) -> None:
    ids, beat = random_tokens(seed)
    together = listen(ids, beat, [len(ids)], meaning)
    listener = Listener(1, meaning)
    for row in range(len(ids)):
        assert facts(listener(ids[row : row + 1], beat[row : row + 1]), 0) == facts(together, row)


def test_samples_can_be_dropped_repeated_and_begun_again(meaning: TokenMeaning) -> None:
    (first, first_beat), (second, second_beat) = random_tokens(1, 60), random_tokens(2, 60)
    listener = Listener(2, meaning)
    for row in range(40):
        listener(torch.stack((first[row], second[row])), torch.stack((first_beat[row], second_beat[row])))
    listener.select(torch.tensor([1, 1, 0]))
    listener.forget(torch.tensor([True, False, False]))
    fresh, known = Listener(1, meaning), listen(second, second_beat, [60], meaning)
    for row in range(40, 60):
        token, beat = (torch.stack((b[row], b[row], a[row])) for a, b in ((first, second), (first_beat, second_beat)))
        hearing = listener(token, beat)
        assert facts(hearing, 1) == facts(known, row)
        assert facts(hearing, 0) == facts(fresh(second[row : row + 1], second_beat[row : row + 1]), 0)


def test_music_without_a_note_is_silence(meaning: TokenMeaning) -> None:
    ids, beat = score((0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["A"]]))
    hearing = listen(ids, beat, [3], meaning)
    assert len(hearing.heard.row) == 0
    assert hearing.reference.tolist() == [NONE] * 3


@pytest.fixture
def head() -> CounterpointHead:
    torch.manual_seed(0)
    return CounterpointHead(ModelConfig(hidden_dim=16, heads=2)).eval()


def transposed(ids: torch.Tensor, semitones: int) -> torch.Tensor:
    return torch.where(ids >= FIRST_PITCH, ids + semitones, ids)


def test_what_the_head_says_moves_with_the_key(head: CounterpointHead, meaning: TokenMeaning) -> None:
    ids, beat = score(*TWO_VOICES)
    hidden, logits = torch.randn(len(ids), 16), torch.zeros(len(ids), SIZE)
    low, high = (
        head(logits, hidden, listen(each, beat, [len(ids)], meaning), meaning) for each in (ids, transposed(ids, 5))
    )
    torch.testing.assert_close(high[:, FIRST_PITCH + 5 :], low[:, FIRST_PITCH:-5])
    assert low[:, FIRST_PITCH:].abs().max() > 0
    assert (low[:, :FIRST_PITCH] == 0).all()


def test_the_head_can_forbid_parallel_octaves_alone(head: CounterpointHead, meaning: TokenMeaning) -> None:
    """Only the entry "both up, octave to octave" is set: it must hit the pitches that would make a parallel octave."""
    torch.nn.init.zeros_(head.tables)
    torch.nn.init.zeros_(head.gate.weight)
    torch.nn.init.zeros_(head.gate.bias)
    both_up = 8
    head.tables.data[head.succession_at + both_up * OCTAVE * OCTAVE, 0] = -7.0
    ids, beat = score(
        (0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["Position_0"], *note("A", 60, 8), *note("B", 48, 8)]),
        (1.0, [INDEX["Position_8"], *note("A", 62, 8), INDEX["B"]]),
    )
    says = head(torch.zeros(len(ids), SIZE), torch.zeros(len(ids), 16), listen(ids, beat, [len(ids)], meaning), meaning)
    hit = {int(id_) - FIRST_PITCH for id_ in says[-1].nonzero()}
    assert hit == {pitch for pitch in range(49, PITCHES) if pitch % OCTAVE == 62 % OCTAVE}
    assert (says[:-1] == 0).all()


@pytest.mark.parametrize(("duration", "lasts"), [(8, False), (16, True)])
def test_the_head_has_rules_of_its_own_against_notes_that_last(
    head: CounterpointHead, meaning: TokenMeaning, duration: int, lasts: bool
) -> None:
    """Only the entry "a major sixth below a struck note that lasts" is set: no inversion at a rest."""
    for parameter in (head.tables, head.gate.weight, head.gate.bias):
        torch.nn.init.zeros_(parameter)
    earlier_track = 0
    status = earlier_track * STATUSES + FIRST_STRUCK + SHORT_STATUSES
    head.tables.data[status * INTERVALS + WIDEST - 9, 0] = -7.0
    ids, beat = score(
        (0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["Position_0"], *note("A", 69, duration), INDEX["B"]])
    )
    says = head(torch.zeros(len(ids), SIZE), torch.zeros(len(ids), 16), listen(ids, beat, [len(ids)], meaning), meaning)
    assert {int(id_) - FIRST_PITCH for id_ in says[-1].nonzero()} == ({60} if lasts else set())
    assert (says[:-1] == 0).all()


def test_left_out_notes_are_made_up_for_by_the_others(meaning: TokenMeaning) -> None:
    ids, beat = random_tokens(0, 2000)
    heard = listen(ids, beat, [len(ids)], meaning).heard
    torch.manual_seed(0)
    kept, weight = kept_pairs(heard, 0.25, training=True)
    assert len(kept.row) * weight == pytest.approx(len(heard.row), rel=0.05)
    assert kept_pairs(heard, 0.25, training=False) == (heard, 1.0)


def test_what_is_heard_in_training_is_on_average_what_is_heard_later(meaning: TokenMeaning) -> None:
    torch.manual_seed(0)
    embedding = HearingEmbedding(ModelConfig(hidden_dim=8, heads=2, hearing_dropout=0.4), SIZE)
    hearing = listen(*random_tokens(0, 60), [60], meaning)
    with torch.no_grad():
        whole = embedding.eval()(hearing)
        embedding.train()
        mean = torch.stack([embedding(hearing) for _ in range(3000)]).mean(0)
    assert (mean - whole).norm() / whole.norm() < 0.05  # without the weight it would be near 0.4


def test_a_model_that_listens_needs_to_know_what_tokens_mean() -> None:
    with pytest.raises(ValueError, match=r"model.hearing=true needs the meaning of the tokens"):
        MusicTransformerVAEGAN(ModelConfig(hidden_dim=16, heads=2, hearing=True), SIZE)


def test_before_any_time_signature_the_tokenizers_grid_counts(meaning: TokenMeaning) -> None:
    coarse = meaning._replace(first_metre=torch.tensor(0.25))  # four positions a beat
    ids, beat = score((0.0, [INDEX["Position_0"], *note("A", 60, 8)]))
    assert (
        listen(ids, beat, [len(ids)], coarse).heard.remaining[-1]
        == 2 * listen(ids, beat, [len(ids)], meaning)[0].remaining[-1]
    )
    listener = Listener(1, coarse)
    hearing = [listener(ids[row : row + 1], beat[row : row + 1]) for row in range(len(ids))][-1]
    assert facts(hearing, 0) == facts(listen(ids, beat, [len(ids)], coarse), len(ids) - 1)


def test_every_weight_gets_a_gradient_even_where_no_note_begins(meaning: TokenMeaning) -> None:
    config = ModelConfig(hidden_dim=16, heads=2, layers=1, hearing=True)
    model = MusicTransformerVAEGAN(config, SIZE, meaning)
    ids, beat = score((0.0, [INDEX["Bar"], INDEX["TimeSig"], INDEX["Position_0"]]))
    time = MusicalTime(torch.arange(3), beat, torch.zeros(3, dtype=torch.long))
    model(ids, time, [3]).logits.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
