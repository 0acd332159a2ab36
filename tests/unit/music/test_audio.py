"""Sound: never silent, in tune, follows velocities and tempo, and files that are what they say."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import symusic

from aurl.music import audio as audio_module
from aurl.music.audio import PEAK, SAMPLE_RATE, encode_mp3_mono, render, write_wav
from aurl.music.soundfont import SoundFont, general_midi
from aurl.utils.errors import AurlError

TICKS = 480


def score_of(*notes: tuple[int, int, int, int], program: int = 0, drums: bool = False, qpm: float = 120.0):
    """A one-track score of (time in quarters, duration in quarters, pitch, velocity) notes."""
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(0, qpm))
    track = symusic.Track("", program, drums)
    for time, duration, pitch, velocity in notes:
        track.notes.append(symusic.Note(time * TICKS, duration * TICKS, pitch, velocity))
    score.tracks.append(track)
    return score


def loudness(audio: np.ndarray) -> float:
    return float(np.sqrt((audio**2).mean()))


def strongest_frequency(audio: np.ndarray) -> float:
    mono = audio.mean(axis=0)[:SAMPLE_RATE]
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), 4 * len(mono)))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / (4 * len(mono))


def test_the_sound_is_stereo_normalised_and_not_silent():
    audio = render(score_of((0, 1, 60, 100), (1, 1, 64, 80)))
    assert audio.dtype == np.float32
    assert audio.shape[0] == 2
    assert np.abs(audio).max() == pytest.approx(PEAK, abs=1e-3)
    assert loudness(audio) > 0.02
    assert np.isfinite(audio).all()


@pytest.mark.parametrize("program", [0, 40, 56, 71, 73])
@pytest.mark.parametrize("pitch", [48, 60, 79])
def test_notes_are_in_tune(program, pitch):
    expected = 440.0 * 2.0 ** ((pitch - 69) / 12)
    harmonic = strongest_frequency(render(score_of((0, 2, pitch, 100), program=program))) / expected
    assert round(harmonic) >= 1
    assert harmonic / round(harmonic) == pytest.approx(1.0, abs=0.02)  # a semitone is 0.06


def test_every_program_and_the_drum_kit_sound():
    font = general_midi()
    for program in range(128):
        assert font.matching(program, False, 60, 80), program
    for key in range(35, 82):
        assert font.matching(0, True, key, 80), key


def test_a_louder_velocity_sounds_louder():
    soft, loud = (score_of((0, 1, 60, velocity), (2, 1, 72, 127)) for velocity in (30, 120))
    ratio = loudness(render(loud)[:, :SAMPLE_RATE]) / loudness(render(soft)[:, :SAMPLE_RATE])
    assert ratio > 4


def test_the_length_follows_the_tempo_and_silence_at_the_end_is_trimmed():
    fast, slow = (render(score_of((0, 8, 60, 90), program=19, qpm=qpm)).shape[1] / SAMPLE_RATE for qpm in (240, 60))
    assert 2.0 < fast < 4.0
    assert 8.0 < slow < 10.0


def test_a_note_rings_out_instead_of_being_cut():
    audio = render(score_of((0, 1, 60, 100)))
    after = audio[:, int(0.5 * SAMPLE_RATE) : int(0.6 * SAMPLE_RATE)]
    assert loudness(after) > 1e-3
    assert np.abs(audio[:, -10:]).max() < 1e-3


def test_the_sustain_pedal_lengthens_notes():
    plain, held = score_of((0, 1, 60, 100)), score_of((0, 1, 60, 100))
    held.tracks[0].pedals.append(symusic.Pedal(0, 6 * TICKS))
    assert render(held).shape[1] > render(plain).shape[1] + SAMPLE_RATE


def test_several_tracks_are_set_apart_from_left_to_right():
    score = score_of((0, 1, 48, 100))
    right = score_of((2, 1, 48, 100)).tracks[0]
    score.tracks.append(right)
    audio = render(score)
    first, second = audio[:, :20000], audio[:, SAMPLE_RATE : SAMPLE_RATE + 20000]
    assert loudness(first[0]) > 1.2 * loudness(first[1])
    assert loudness(second[1]) > 1.2 * loudness(second[0])


def test_the_same_score_gives_the_same_samples():
    score = score_of((0, 1, 60, 100), (0, 2, 67, 70))
    assert np.array_equal(render(score), render(score))


def test_a_score_without_notes_is_refused():
    with pytest.raises(AurlError, match="no notes"):
        render(symusic.Score(TICKS))


def test_a_score_that_cannot_be_heard_is_refused():
    with pytest.raises(AurlError, match="none of the notes has a sound"):
        render(score_of((0, 1, 0, 100), drums=True))


def test_a_score_of_more_than_an_hour_is_refused_before_memory_is_taken():
    with pytest.raises(AurlError, match="at most 3600 s"):
        render(score_of((9000, 1, 60, 100)))


def test_the_wav_file_holds_the_samples(tmp_path):
    audio = np.array([[0.0, 0.5, -1.0], [0.25, 2.0, 0.0]], dtype=np.float32)
    write_wav(tmp_path / "deep" / "a.wav", audio, 8000)
    with wave.open(str(tmp_path / "deep" / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        frames = np.frombuffer(file.readframes(3), dtype="<i2").reshape(3, 2)
    assert frames.tolist() == [[0, 8192], [16384, 32767], [-32767, 0]]


def test_a_wav_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AurlError, match="cannot write"):
        write_wav(tmp_path / "file" / "a.wav", np.zeros((2, 10), dtype=np.float32))


def test_the_mp3_is_small_mono_and_not_silent():
    audio = render(score_of(*((beat, 1, 60 + beat % 12, 90) for beat in range(20))))
    data = encode_mp3_mono(audio)
    samples, rate = soundfile.read(io.BytesIO(data))
    assert samples.ndim == 1
    assert len(samples) / rate == pytest.approx(audio.shape[1] / SAMPLE_RATE, abs=0.2)
    assert loudness(samples) > 0.02
    assert len(data) / (len(samples) / rate) < 10_000  # bytes a second


def test_a_file_that_is_no_soundfont_is_refused(tmp_path):
    (tmp_path / "a.sf2").write_bytes(b"RIFF0000WAVE")
    for path in (tmp_path / "a.sf2", tmp_path / "none.sf2"):
        with pytest.raises(AurlError, match="not a readable SoundFont"):
            SoundFont(path)


def test_a_missing_soundfont_package_is_named(monkeypatch):
    general_midi.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AurlError, match="pip install pretty_midi"):
        general_midi()


def test_real_music_keeps_its_length(corpora):
    path = next(iter(sorted(Path(corpora("jsb-chorales")).rglob("test_000.mid"))))
    score = symusic.Score(path)
    audio = audio_module.render(score)
    seconds = score.to("second").end()
    assert seconds < audio.shape[1] / SAMPLE_RATE < seconds + 3
    assert loudness(audio) > 0.05
