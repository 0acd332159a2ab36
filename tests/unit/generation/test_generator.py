"""Generation end to end with tiny untrained models: complete pieces, seeds, batches, prompts, long pieces, errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from symusic import Note, Score, Tempo, TimeSignature, Track

from aurl.data.codec import Codec
from aurl.data.vocabulary import Kind
from aurl.generation.config import SamplerConfig
from aurl.generation.generator import GenerationRequest, Generator, Progress, Sample
from aurl.generation.grammar import Ending, Grammar, Rules
from aurl.generation.loop import Decoding, window_starts
from aurl.generation.prompt import make_prompt, nearest_program
from aurl.models.checkpoint import save_bundle
from aurl.models.config import Attention
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.models.positions import MusicalTime
from aurl.utils.errors import AurlError

MakeModel = Callable[..., MusicTransformerVAEGAN]
Complaint = Callable[[np.ndarray], str | None]


def song(program: int = 0, bars: int = 3, pitch: int = 60) -> Score:
    """Quarter notes in 3/4, one long note across the last bar line."""
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 3, 4))
    score.tempos.append(Tempo(0, 90.0))
    track = Track(program=program)
    for beat in range(3 * bars):
        track.notes.append(Note(480 * beat, 480, pitch + beat % 5, 80))
    track.notes.append(Note(480 * (3 * bars - 1), 960, pitch + 12, 80))
    score.tracks.append(track)
    return score


def notes_of(score: Score) -> list[tuple[int, int, int, int]]:
    """(onset, length, pitch, program) of every note, times in positions of a tick grid that both scores share."""
    unit = score.ticks_per_quarter / 4
    return sorted(
        (round(note.time / unit), round(note.duration / unit), note.pitch, track.program)
        for track in score.tracks
        for note in track.notes
    )


@pytest.fixture
def generator(codec: Codec, make_model: MakeModel) -> Generator:
    return Generator(make_model(), codec)


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5, 2.0])
def test_two_hundred_samples_decode_with_every_note_paired(
    generator: Generator, complaint: Complaint, temperature: float, top_p: float
) -> None:
    request = GenerationRequest(
        sampler=SamplerConfig(temperature=temperature, top_p=top_p),
        num_samples=200,
        batch_size=200,
        bars=2,
        max_bar_tokens=40,
        seed=11,
    )
    samples = generator.generate(request)
    assert len(samples) == 200
    for sample in samples:
        assert complaint(sample.ids) is None
        assert np.count_nonzero(generator.codec.vocabulary.kind[sample.ids] == Kind.BAR) == 2
        assert sample.ended
        assert_every_note_on_has_its_note_off(sample.score)


def assert_every_note_on_has_its_note_off(score: Score) -> None:
    """No two notes of one track and pitch sound at once, and each has a length: MIDI then pairs them all."""
    for track in score.tracks:
        ends: dict[int, int] = {}
        for note in sorted(track.notes, key=lambda note: note.time):
            assert note.duration > 0
            assert ends.get(note.pitch, 0) <= note.time
            ends[note.pitch] = note.time + note.duration


def test_written_midi_holds_the_same_notes(generator: Generator, tmp_path: Path) -> None:
    for sample in generator.generate(GenerationRequest(num_samples=4, bars=2, max_bar_tokens=60)):
        sample.score.dump_midi(tmp_path / "piece.mid")
        again = Score(tmp_path / "piece.mid")
        assert sum(len(track.notes) for track in again.tracks) == sample.notes


def ids_by_seed(samples: list[Sample]) -> dict[int, list[int]]:
    return {sample.seed: sample.ids.tolist() for sample in samples}


@pytest.mark.parametrize("sampler", [SamplerConfig(top_p=0.9), SamplerConfig(top_k=20, repetition_penalty=2.0)])
def test_a_sample_depends_on_its_seed_and_not_on_the_batch(generator: Generator, sampler: SamplerConfig) -> None:
    def write(**settings: int) -> dict[int, list[int]]:
        request = GenerationRequest(sampler=sampler, bars=3, ending=Ending.model, max_bar_tokens=50, **settings)
        return ids_by_seed(generator.generate(request))

    together = write(num_samples=9, batch_size=9, seed=3)
    assert together == write(num_samples=9, batch_size=4, seed=3)
    assert together == write(num_samples=9, batch_size=1, seed=3)
    alone = write(num_samples=1, batch_size=1, seed=7)
    assert alone[7] == together[7]
    assert len({str(ids) for ids in together.values()}) == 9


def share_of_likeliest(generator: Generator, sampler: SamplerConfig, kind: Kind) -> float:
    """How often a token of that kind is the likeliest of its kind, in eight samples."""
    vocabulary, found = generator.codec.vocabulary, []
    for sample in generator.generate(GenerationRequest(sampler=sampler, num_samples=8, bars=4, max_bar_tokens=60)):
        ids = np.concatenate(([vocabulary.bos], sample.ids))
        bar, beat = vocabulary.musical_time(ids)
        time = MusicalTime(torch.arange(len(ids)), torch.from_numpy(beat), torch.from_numpy(bar).long())
        logits = generator.model(torch.from_numpy(ids), time, [len(ids)]).logits[:-1]
        candidates = vocabulary.ids_of(kind)
        likeliest = candidates[logits[:, candidates].argmax(-1)]
        where = vocabulary.kind[ids[1:]] == kind
        found.append(likeliest[where] == ids[1:][where])
    return float(np.concatenate(found).mean())


def test_the_temperature_of_pitches_concerns_pitches_alone(generator: Generator) -> None:
    cold = SamplerConfig(pitch_temperature=0.01)
    assert share_of_likeliest(generator, cold, Kind.PITCH) > 0.9  # what was just heard may not be written twice
    assert share_of_likeliest(generator, SamplerConfig(), Kind.PITCH) < 0.6
    assert share_of_likeliest(generator, cold, Kind.DURATION) < 0.6


def test_an_equal_temperature_of_pitches_changes_nothing(generator: Generator) -> None:
    samplers = (SamplerConfig(temperature=0.8), SamplerConfig(temperature=0.8, pitch_temperature=0.8))
    first, second = (
        ids_by_seed(generator.generate(GenerationRequest(sampler=sampler, num_samples=4, bars=2, max_bar_tokens=60)))
        for sampler in samplers
    )
    assert first == second


def test_temperature_zero_and_greedy_write_the_same_piece(generator: Generator) -> None:
    pieces = [
        ids_by_seed(generator.generate(GenerationRequest(sampler=sampler, bars=2, num_samples=2, max_bar_tokens=40)))
        for sampler in (SamplerConfig(temperature=0.0), SamplerConfig(greedy=True))
    ]
    assert pieces[0] == pieces[1]
    assert pieces[0][0] == pieces[0][1]


def test_greedy_ids_equal_those_of_the_whole_forward_pass(codec: Codec, make_model: MakeModel) -> None:
    model = make_model(layers=2)
    request = GenerationRequest(sampler=SamplerConfig(greedy=True), bars=2, max_bar_tokens=60)
    written = Generator(model, codec).generate(request)[0].ids
    vocabulary = codec.vocabulary
    ids = np.concatenate([[vocabulary.bos], written])
    bar, beat = vocabulary.musical_time(ids)
    time = MusicalTime(torch.arange(len(ids)), torch.from_numpy(beat), torch.from_numpy(bar).long())
    logits = model(torch.from_numpy(ids), time, [len(ids)]).logits
    from aurl.generation.walk import Walk

    walk = Walk(Grammar(vocabulary, request.rules(None)), 1)
    walk.advance(torch.tensor([vocabulary.bos]))
    walk.start_counting()
    for step, token in enumerate(written):
        assert int(walk.restrict(logits[step : step + 1].clone()).argmax()) == token
        walk.advance(torch.tensor([token]))


def test_progress_counts_notes_and_pieces(generator: Generator) -> None:
    seen: list[Progress] = []
    samples = generator.generate(GenerationRequest(num_samples=5, batch_size=2, bars=2, max_bar_tokens=60), seen.append)
    assert seen[-1].finished == seen[-1].total == 5
    assert seen[-1].notes == sum(sample.notes for sample in samples)
    assert seen[-1].notes_per_second > 0
    assert all(earlier.notes <= later.notes for earlier, later in pairwise(seen))


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_notes_that_a_prompt_has_twice_are_not_taken_off_what_is_written(generator: Generator) -> None:
    doubled = song()
    doubled.tracks[0].notes.extend(list(doubled.tracks[0].notes))
    prompt = make_prompt(doubled, generator.codec)
    told: list[Progress] = []
    sample = generator.generate(GenerationRequest(prompt=prompt.ids, bars=1, max_bar_tokens=20), told.append)[0]
    count = generator.codec.vocabulary.count_notes
    assert sample.notes < count(sample.ids), "the score holds doubled notes once"
    assert told[-1].notes == count(sample.ids) - prompt.notes > 0


def test_the_notes_of_a_prompt_are_kept_exactly(generator: Generator, complaint: Complaint) -> None:
    prompt = make_prompt(song(), generator.codec)
    assert (prompt.bars, prompt.notes, prompt.remark) == (3, 10, "")
    request = GenerationRequest(prompt=prompt.ids, bars=2, num_samples=6, max_bar_tokens=50)
    for sample in generator.generate(request):
        assert complaint(sample.ids) is None and sample.bars == 3 + 2
        assert sample.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()
        assert np.count_nonzero(generator.codec.vocabulary.kind[sample.ids] == Kind.BAR) == 3 + 2
        kept = [note for note in notes_of(sample.score) if note[0] < 3 * 3 * 4]
        asked = [(onset, length, pitch, program) for onset, length, pitch, program in notes_of(song())]
        # The last note may be cut by a new one of its pitch and track, which MIDI cannot sound at once.
        assert [note[:1] + note[2:] for note in kept] == [note[:1] + note[2:] for note in asked]
        assert kept[:-2] == asked[:-2]


def test_prompt_bars_takes_the_first_bars_only(generator: Generator) -> None:
    prompt = make_prompt(song(bars=5), generator.codec, bars=2)
    assert (prompt.bars, prompt.notes) == (2, 6)
    whole = make_prompt(song(bars=5), generator.codec)
    request = GenerationRequest(prompt=whole.ids, prompt_bars=2, bars=1, max_bar_tokens=40)
    sample = generator.generate(request)[0]
    assert sample.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()
    assert np.count_nonzero(generator.codec.vocabulary.kind[sample.ids] == Kind.BAR) == 3


def test_a_program_that_training_never_met_takes_the_nearest_of_its_family() -> None:
    assert nearest_program(40, [52, 41, 43, -1]) == 41
    assert nearest_program(0, [52, 41, -1]) == 52
    assert nearest_program(-1, [52, 41]) is None
    assert nearest_program(-1, [52, -1]) == -1
    assert nearest_program(3, [-1]) is None


def test_what_a_prompt_loses_is_said_in_one_line(codec: Codec) -> None:
    score = song(program=42, pitch=100)
    score.tracks.append(Track(is_drum=True))
    score.tracks[1].notes.append(Note(0, 240, 38, 90))
    prompt = make_prompt(score, codec, programs_met=[52, 40])
    assert prompt.remark == (
        "program 42 becomes 40, drums left out (training met no such program), 1 notes moved by octaves into range"
    )
    assert "\n" not in prompt.remark
    assert codec.decode(prompt.ids).tracks[0].program == 40


def test_a_prompt_without_notes_is_refused(codec: Codec) -> None:
    with pytest.raises(AurlError, match=r"there is no note; choose another file$"):
        make_prompt(Score(480), codec)
    with pytest.raises(AurlError, match=r"there is no note after fitting .*program 0 left out"):
        make_prompt(song(), codec, programs_met=[-1])
    late = song()
    for note in late.tracks[0].notes:
        note.time += 480 * 30
    with pytest.raises(AurlError, match="in the first 2 bars; choose another file, or a higher prompt_bars"):
        make_prompt(late, codec, bars=2)


# -- the output -------------------------------------------------------------------------------------------------------


def test_tempo_and_programs_of_the_output_are_replaced(generator: Generator) -> None:
    request = GenerationRequest(bars=2, tempo=77.0, programs=[40], allowed_programs=[0, 3, -1], num_samples=3)
    for sample in generator.generate(request):
        assert [(tempo.time, round(tempo.qpm)) for tempo in sample.score.tempos] == [(0, 77)]
        assert all(track.program == 40 for track in sample.score.tracks if not track.is_drum)
    request = GenerationRequest(bars=2, programs=[40, 128], allowed_programs=[0, 3])
    tracks = generator.generate(request)[0].score.tracks
    assert (tracks[0].program, tracks[0].is_drum, tracks[1].is_drum) == (40, False, True)


def test_only_programs_that_training_met_are_written(codec: Codec, make_model: MakeModel) -> None:
    generator = Generator(make_model(), codec, programs_met=[52, 19])
    for sample in generator.generate(GenerationRequest(bars=1, num_samples=4)):
        assert {track.program for track in sample.score.tracks} <= {52, 19}


def test_a_checkpoint_writes_what_its_model_writes(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    save_bundle(path, generator.model, generator.codec.to_dict(), {}, {"programs": [0, 40]})
    loaded = Generator.from_checkpoint(path)
    assert loaded.programs_met == [0, 40]
    request = GenerationRequest(bars=1, allowed_programs=[0, 40], num_samples=2)
    assert ids_by_seed(loaded.generate(request)) == ids_by_seed(generator.generate(request))


def test_the_model_is_left_in_the_mode_it_was_in(generator: Generator) -> None:
    generator.model.train()
    generator.generate(GenerationRequest(bars=1))
    assert generator.model.training


# -- length -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", list(Attention))
def test_a_piece_longer_than_the_context_is_complete_and_independent_of_the_batch(
    codec: Codec, make_model: MakeModel, complaint: Complaint, attention: Attention
) -> None:
    generator = Generator(make_model(context=64, attention=attention, window=8), codec)

    def write(batch_size: int) -> dict[int, list[int]]:
        request = GenerationRequest(bars=8, num_samples=6, batch_size=batch_size, max_bar_tokens=40)
        return ids_by_seed(generator.generate(request))

    together = write(6)
    for ids in together.values():
        assert len(ids) > 2 * 64
        assert complaint(np.array(ids)) is None
    assert together == write(1)


@pytest.mark.parametrize("positions", ["musical", "token", "absolute"])
def test_a_prompt_longer_than_the_context_is_continued(codec: Codec, make_model: MakeModel, positions: str) -> None:
    from aurl.models.config import Positions

    generator = Generator(make_model(context=64, positions=Positions(positions)), codec)
    prompt = make_prompt(song(bars=12), codec)
    assert len(prompt.ids) > 2 * 64
    sample = generator.generate(GenerationRequest(prompt=prompt.ids, bars=3, max_bar_tokens=40))[0]
    assert sample.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()


def test_samples_of_one_prompt_are_the_same_with_one_beginning_for_all(
    generator: Generator, share_always: Callable[[], list[int]]
) -> None:
    prompt = make_prompt(song(), generator.codec)
    request = GenerationRequest(prompt=prompt.ids, bars=2, num_samples=6, max_bar_tokens=50)
    own = generator.generate(request)
    shared = share_always()
    common = generator.generate(request)
    assert shared
    assert [sample.ids.tolist() for sample in common] == [sample.ids.tolist() for sample in own]


@pytest.mark.parametrize("shared", [False, True], ids=["own beginnings", "one beginning"])
@pytest.mark.parametrize("attention", list(Attention))
def test_a_refilled_cache_gives_the_logits_of_its_window(
    codec: Codec, make_model: MakeModel, attention: Attention, shared: bool, share_always: Callable[[], list[int]]
) -> None:
    if shared:
        share_always()
    model = make_model(context=64, layers=2, attention=attention, window=8)
    vocabulary = codec.vocabulary
    grammar = Grammar(vocabulary, Rules(bars=6, max_bar_tokens=30))
    decoding = Decoding(model, grammar, SamplerConfig(), np.zeros(0, np.int64), [0, 1, 2])
    if attention is Attention.full:
        assert bool(decoding._cache.layers[0].begun) == shared
    decoding.run(64 + 7)
    length = decoding._length - 1  # at step 64 the window was cut; the tokens since then were cached one by one
    record = decoding._record[: decoding._length].numpy()
    _, cut = window_starts(vocabulary.kind[record[:65]] == Kind.BAR, 64)
    assert len(set(cut.tolist())) > 1, "rows of different windows are what this test is about"
    for row in range(3):
        ids = record[:, row]
        bar, beat = vocabulary.musical_time(ids)
        window = slice(int(cut[row]), length + 1)
        time = MusicalTime(
            torch.arange(length + 1 - window.start),
            torch.from_numpy(beat[window]),
            torch.from_numpy(bar[window]).long(),
        )
        logits = model(torch.from_numpy(ids[window]), time, [length + 1 - window.start]).logits[-1]
        torch.testing.assert_close(decoding._logits[row], logits, atol=1e-4, rtol=1e-4)


def test_windows_begin_at_the_first_bar_of_the_last_half_context(codec: Codec) -> None:
    vocabulary = codec.vocabulary
    bar, other = int(vocabulary.ids_of(Kind.BAR)[0]), int(vocabulary.ids_of(Kind.VELOCITY)[0])
    tokens = np.full((20, 3), other)
    tokens[[12, 15], 0] = bar
    tokens[3, 1] = bar
    tokens[10, 2] = bar
    first, starts = window_starts(vocabulary.kind[tokens] == Kind.BAR, 20)
    assert (first, starts.tolist()) == (10, [12, 10, 10])
    first, starts = window_starts(vocabulary.kind[tokens] == Kind.BAR, 21)
    assert (first, starts.tolist()) == (0, [0, 0, 0])


def test_a_piece_that_max_tokens_ended_says_so(generator: Generator, caplog: pytest.LogCaptureFixture) -> None:
    sample = generator.generate(GenerationRequest(bars=8, max_tokens=60))[0]
    assert not sample.ended
    assert len(sample.ids) < 60
    assert "ended by max_tokens" in caplog.text


def test_a_piece_without_notes_is_an_error(codec: Codec, make_model: MakeModel) -> None:
    model = make_model()
    vocabulary = codec.vocabulary
    bars = torch.from_numpy(vocabulary.kind == Kind.BAR)
    decode = model.decode
    model.decode = lambda *args: decode(*args).masked_fill(bars, 1e4)  # type: ignore[method-assign]
    with pytest.raises(AurlError, match=r"sample 0 \(seed 4\) has no notes; raise max_tokens=20"):
        Generator(model, codec).generate(GenerationRequest(bars=None, max_tokens=20, seed=4))


def test_weights_that_are_not_numbers_are_an_error(codec: Codec, make_model: MakeModel) -> None:
    model = make_model()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(AurlError, match="not numbers"):
        Generator(model, codec).generate(GenerationRequest(bars=1))


def test_a_codec_of_another_vocabulary_is_refused(codec: Codec, make_model: MakeModel) -> None:
    from aurl.data.config import TokenizerConfig

    with pytest.raises(AurlError, match="the model knows"):
        Generator(make_model(), Codec.from_config(TokenizerConfig()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples=0 is out of range"),
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"prompt_bars": 0}, "prompt_bars=0 is out of range"),
        ({"tempo": 5.0}, "tempo=5.0 is out of range"),
        ({"programs": [200]}, "program 200 is out of range"),
        ({"programs": []}, "names no program"),
    ],
)
def test_a_request_out_of_range_names_its_key(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationRequest(**settings)  # type: ignore[arg-type]


def test_rules_that_leave_nothing_are_one_line(generator: Generator) -> None:
    with pytest.raises(AurlError, match="leave no program token"):
        generator.generate(GenerationRequest(allowed_programs=[40], allowed_pitches=[3]))
