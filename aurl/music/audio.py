"""Score to sound: notes rendered with a General MIDI soundfont, a little room, normalised; WAV files and small MP3s.

soundfont.py knows the recordings; here notes get their envelopes and places and are summed. Channels C, samples N.
"""

from __future__ import annotations

import io
import math
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aurl.music.soundfont import Region, SoundFont, general_midi
from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write

SAMPLE_RATE = 44100
LONGEST_SECONDS = 3600.0
PEAK = 0.89
"""Largest sample after normalising: one decibel below full scale."""
SILENCE = 1e-3
"""What counts as silence at the end, relative to full scale (-60 dB)."""
FADE_SECONDS = 0.03
ENVELOPE_RANGE_DB = 100.0  # decay and release times of a soundfont are for this fall
LONGEST_RELEASE_SECONDS = 2.0
SHORTEST_FADE_SECONDS = 0.004  # against clicks
LOUDEST_VELOCITY = 127.0
MIDDLE_KEY = 60
STEREO_WIDTH = 0.4  # how far several tracks are set apart, of 1
ROOM_SECONDS = 1.1
ROOM_PREDELAY_SECONDS = 0.012
ROOM_SHARE = 0.05  # energy of the room relative to the direct sound
ROOM_SEED = 1
MP3_RATE = 32000
MP3_COMPRESSION = 0.5  # of libsndfile's 0 (large) to 1 (small): about 55 kbit/s for mono music
PCM_MAXIMUM = 32767.0

Audio = NDArray[np.float32]


@dataclass
class Renderer:
    """Sums notes into a stereo buffer; tones of one region and key are computed once, at the longest length needed."""

    font: SoundFont
    rate: int
    buffer: Audio
    tones: dict[tuple[int, int], Audio] = field(default_factory=dict)

    def add(self, region: Region, key: int, velocity: int, start: float, seconds: float, pan: float) -> None:
        """Add one note; times in seconds, ``pan`` from -1 to 1."""
        envelope = envelope_of(region, key, seconds, self.rate)
        tone = self.tone(region, key, len(envelope))
        length = min(len(envelope), len(tone))
        gain = 10.0 ** (-region.attenuation_db / 20.0) * (velocity / LOUDEST_VELOCITY) ** 2
        mono = tone[:length] * envelope[:length] * np.float32(gain)
        at = round(start * self.rate)
        length = min(length, self.buffer.shape[1] - at)
        angle = (region.pan + 1.0) * math.pi / 4.0  # the recording's place, equal power
        for channel, power in enumerate((math.cos(angle), math.sin(angle))):
            balance = min(1.0, 1.0 - pan if channel == 0 else 1.0 + pan)  # the track's place
            self.buffer[channel, at : at + length] += mono[:length] * np.float32(power * balance)

    def tone(self, region: Region, key: int, length: int) -> Audio:
        """The filtered tone, at least ``length`` samples unless the recording is shorter."""
        known = self.tones.get((id(region), key))
        if known is not None and len(known) >= length:
            return known
        length = max(length, 2 * len(known) if known is not None else self.rate)
        tone = low_pass(self.font.tone(region, key, length, self.rate), region.cutoff_hz, self.rate)
        if region.loop is None:  # the recording ends: silence follows, so that the tone is long enough for ever
            tone = np.pad(tone, (0, length - len(tone)))
        self.tones[(id(region), key)] = tone
        return tone


def render(score: Any, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Render a score to stereo sound.

    Notes follow tempo map, velocities and sustain pedals; programs by General MIDI; other controllers are not heard.

    Args:
        score: a symusic score of any time unit.
        sample_rate: samples a second.

    Returns:
        (2, N) float32, largest absolute value ``PEAK``, silence at the end trimmed to a short fade.

    Raises:
        AurlError: no notes, nothing audible, or longer than an hour.

    Example:
        >>> audio = render(score)  # doctest: +SKIP
        >>> write_wav(Path("song.wav"), audio, SAMPLE_RATE)  # doctest: +SKIP
    """
    timed = score.to("second")
    tracks = [track for track in timed.tracks if len(track.notes)]
    if not tracks:
        raise AurlError("the score has no notes, so there is nothing to hear; nothing was rendered")
    end = max(float(np.max(sounding(track)["end"])) for track in tracks)
    if end > LONGEST_SECONDS:
        raise AurlError(f"the score lasts {end:.0f} s; audio is rendered for at most {LONGEST_SECONDS:.0f} s: cut it")
    length = math.ceil((end + LONGEST_RELEASE_SECONDS + ROOM_SECONDS) * sample_rate)
    renderer = Renderer(general_midi(), sample_rate, np.zeros((2, length), dtype=np.float32))
    for track, pan in zip(tracks, track_pans(tracks), strict=True):
        add_track(renderer, track, pan)
    return finish(renderer.buffer, sample_rate)


def add_track(renderer: Renderer, track: Any, pan: float) -> None:
    """Add all notes of a track, in order of pitch so that tones are computed once."""
    notes = sounding(track)
    for index in np.lexsort((notes["start"], notes["pitch"])):
        key, velocity = int(notes["pitch"][index]), int(notes["velocity"][index])
        start = float(notes["start"][index])
        seconds = float(notes["end"][index]) - start
        for region in renderer.font.matching(track.program, track.is_drum, key, velocity):
            renderer.add(region, key, velocity, start, seconds, pan)
    renderer.tones.clear()


def sounding(track: Any) -> dict[str, NDArray[Any]]:
    """Start, end (seconds, sustain pedal included), pitch and velocity of a track's notes."""
    notes = track.notes.numpy()
    start = np.maximum(notes["time"].astype(np.float64), 0.0)
    end = start + np.maximum(notes["duration"].astype(np.float64), 0.0)
    for pedal in track.pedals:
        release = pedal.time + pedal.duration
        end = np.where((end >= pedal.time) & (end < release) & (start < release), release, end)
    return {"start": start, "end": end, "pitch": notes["pitch"], "velocity": notes["velocity"]}


def track_pans(tracks: list[Any]) -> list[float]:
    """Places from left to right for several pitched tracks; drums and a single track stand in the middle."""
    pitched = [index for index, track in enumerate(tracks) if not track.is_drum]
    places = np.linspace(-STEREO_WIDTH, STEREO_WIDTH, len(pitched)) if len(pitched) > 1 else np.zeros(len(pitched))
    pans = dict(zip(pitched, places.tolist(), strict=True))
    return [pans.get(index, 0.0) for index in range(len(tracks))]


def envelope_of(region: Region, key: int, seconds: float, rate: int) -> Audio:
    """Amplitude of a note over time: attack (linear), hold, decay to sustain, then release (in dB)."""
    release = min(max(region.release, SHORTEST_FADE_SECONDS), LONGEST_RELEASE_SECONDS)
    time = np.arange(math.ceil((seconds + release) * rate), dtype=np.float32) / np.float32(rate)
    hold = region.hold * 2.0 ** (region.key_to_hold * (MIDDLE_KEY - key) / 1200.0)
    decay = region.decay * 2.0 ** (region.key_to_decay * (MIDDLE_KEY - key) / 1200.0)
    fallen = (time - (region.attack + hold)) * (ENVELOPE_RANGE_DB / decay)
    loss = np.clip(fallen, 0.0, region.sustain_db)
    loss = loss + np.maximum(time - seconds, 0.0) * (ENVELOPE_RANGE_DB / max(region.release, SHORTEST_FADE_SECONDS))
    rise = np.minimum(time / max(region.attack, 1.0 / rate), 1.0)
    return (rise * 10.0 ** (-loss / 20.0)).astype(np.float32)


def low_pass(tone: Audio, cutoff_hz: float | None, rate: int) -> Audio:
    """A region's second-order low-pass filter; None or a cutoff near the top of hearing leaves the tone as it is."""
    if cutoff_hz is None or cutoff_hz >= 0.45 * rate or len(tone) == 0:
        return tone
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(2, cutoff_hz, fs=rate, output="sos"), tone), dtype=np.float32)


def finish(buffer: Audio, rate: int) -> Audio:
    """Room, normalisation, trimmed end.

    Raises:
        AurlError: the buffer is silent (only keys that the drum kit does not use).
    """
    if not float(np.abs(buffer).max(initial=0.0)) > 0.0:
        raise AurlError("none of the notes has a sound (drum keys outside General MIDI?); nothing was rendered")
    audio = add_room(buffer, rate)
    audio = audio * np.float32(PEAK / np.abs(audio).max())
    loud = np.nonzero(np.abs(audio).max(axis=0) > SILENCE)[0]
    fade = round(FADE_SECONDS * rate)
    audio = audio[:, : loud[-1] + 1 + fade]
    ramp = np.linspace(1.0, 0.0, min(fade, audio.shape[1]), dtype=np.float32)
    audio[:, -len(ramp) :] *= ramp
    return np.ascontiguousarray(audio)


def add_room(dry: Audio, rate: int) -> Audio:
    """A small room: decaying noise, different in each ear (Moorer 1979), at ``ROOM_SHARE`` of the direct energy."""
    from scipy.signal import butter, oaconvolve, sosfilt

    length = round(ROOM_SECONDS * rate)
    noise = np.random.default_rng(ROOM_SEED).standard_normal((2, length))
    decay = 10.0 ** (-3.0 * np.arange(length) / length)  # 60 dB over the room's length
    response = sosfilt(butter(1, (200.0, 5000.0), btype="band", fs=rate, output="sos"), noise * decay, axis=1)
    response *= math.sqrt(ROOM_SHARE) / np.sqrt((response**2).sum(axis=1, keepdims=True))
    delay = round(ROOM_PREDELAY_SECONDS * rate)
    mono = dry.mean(axis=0, keepdims=True).astype(np.float32)
    wet = oaconvolve(mono, response.astype(np.float32), axes=1)[:, : dry.shape[1] - delay]
    audio = dry.copy()
    audio[:, delay:] += wet.astype(np.float32)
    return audio


def write_wav(path: Path, audio: Audio, rate: int = SAMPLE_RATE) -> None:
    """Write (C, N) or (N,) samples in -1..1 as a 16-bit WAV file, atomically.

    Raises:
        AurlError: the folder cannot be written or the disk is full.
    """
    channels = np.atleast_2d(audio)
    frames = np.round(np.clip(channels.T, -1.0, 1.0) * PCM_MAXIMUM).astype("<i2")  # (N, C)

    def write(file: IO[bytes]) -> None:
        with wave.open(file, "wb") as target:
            target.setnchannels(channels.shape[0])
            target.setsampwidth(2)
            target.setframerate(rate)
            target.writeframes(frames.tobytes())

    atomic_write(path, write)


def encode_mp3_mono(audio: Audio, rate: int = SAMPLE_RATE) -> bytes:
    """Compress (C, N) or (N,) samples to a mono MP3 of about 55 kbit/s (400 kB a minute), for pages and logs."""
    import soundfile
    from scipy.signal import resample_poly

    mono = np.atleast_2d(audio).mean(axis=0)
    if rate > MP3_RATE:
        common = math.gcd(rate, MP3_RATE)
        mono, rate = resample_poly(mono, MP3_RATE // common, rate // common), MP3_RATE
    peak = float(np.abs(mono).max(initial=0.0))
    mono = mono * (PEAK / peak) if peak > 0.0 else mono
    target = io.BytesIO()
    soundfile.write(
        target,
        mono.astype(np.float32),
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=MP3_COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return target.getvalue()
