"""The repair of MIDI bytes: each kind by the smallest file that needs it, and what holds whatever the bytes are."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest
from midi_bytes import END, TWO_NOTES, chunk, midi

from aurl.music.examine import repair_file
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.midi_check import walk_midi
from aurl.music.midi_events import DamagedMidi
from aurl.music.midi_repair import repair_midi
from aurl.music.score import EmptyScore, Reading, count_songs, read_midi
from aurl.utils.errors import UnreadableFile

HEADER = midi()[:14]
CLEAN = midi(TWO_NOTES)
FILLING = TWO_NOTES * 6
"""Notes on either side of a damaged place, so that the scan can tell where it is."""


def one(data: bytes) -> Reading:
    (reading,) = read_midi(data, "test.mid")
    return reading


def notes(reading: Reading) -> list[tuple[int, int, int]]:
    return sorted((n.time, n.duration, n.pitch) for track in reading.score.tracks for n in track.notes)


TWO = [(0, 96, 60), (96, 96, 62)]
DAMAGED = {
    "track_length (past the end)": CLEAN[:14] + chunk(b"MTrk", TWO_NOTES + END, length=2**32 - 1),
    "track_length (too short)": CLEAN[:14] + chunk(b"MTrk", TWO_NOTES + END, length=3) + chunk(b"MTrk", END),
    "track_count": midi(TWO_NOTES, count=3),
    "truncated_events": midi(TWO_NOTES)[:-4] + b"\x81",
    "missing_end_of_track": CLEAN[:14] + chunk(b"MTrk", TWO_NOTES),
    "bytes_after_end_of_track": CLEAN[:14] + chunk(b"MTrk", TWO_NOTES + END + b"\x00\x90\x3c"),
    "bytes_after_last_track": CLEAN + b"\x00\x01\x02",
    "bytes_before_header": b"<html>" + CLEAN,
    "macbinary_wrapper": bytes(128) + CLEAN,
    "header_length": CLEAN[:7] + b"\x09" + CLEAN[8:],
    "unknown_format": midi(TWO_NOTES, kind=7),
    "division": midi(TWO_NOTES, division=0),
    "smpte_division": midi(TWO_NOTES, division=0xE728),
    "damaged_meta_events": midi(b"\x00\xff\x51\x02\x07\xa1" + TWO_NOTES),
    "illegal_system_bytes": midi(b"\x00\xf8" + TWO_NOTES),
    "impossible_times": midi(b"\x81\x81\x81\x81\x81\x00\xff\x01\x00" + TWO_NOTES),
    "track_name": CLEAN[:14] + chunk(b"XTrk", TWO_NOTES + END),
    "stray_bytes": midi(TWO_NOTES, count=2) + b"\x00\x01\x02" + chunk(b"MTrk", END),
    "clamped_tempi": midi(b"\x00\xff\x51\x03\x00\x00\x01" + TWO_NOTES),
    "impossible_metres": midi(b"\x00\xff\x58\x04\x00\x02\x18\x08" + TWO_NOTES),
    "impossible_keys": midi(b"\x00\xff\x59\x02\x63\x00" + TWO_NOTES),
    "impossible_smpte_offsets": midi(b"\x00\xff\x54\x05\x3f\x00\x00\x00\x00" + TWO_NOTES),
    "orphan_note_offs": midi(b"\x00\x80\x30\x00\x00\xf8" + TWO_NOTES),
    "status_after_system_event": midi(b"\x00\x90\x3c\x40\x60\x80\x3c\x00\x00\x90\x3e\x40\x00\xff\x01\x00\x60\x3e\x00"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_beside_the_notes_is_repaired_counted_and_costs_no_note(name: str):
    reading = one(DAMAGED[name])
    assert notes(reading) == TWO
    assert reading.repairs.get(name.partition(" ")[0], 0) >= 1


def test_a_clean_file_goes_through_as_it_is():
    assert walk_midi(CLEAN, DEFAULT_LIMITS).data is CLEAN
    assert one(CLEAN).repairs == {} and notes(one(CLEAN)) == TWO


def test_a_riff_envelope_is_no_damage():
    riff = b"RIFF" + struct.pack("<I", len(CLEAN) + 12) + b"RMID" + b"data" + struct.pack("<I", len(CLEAN)) + CLEAN
    assert one(riff).repairs == {} and notes(one(riff)) == TWO


def test_a_data_byte_over_127_is_clamped_and_the_note_kept():
    reading = one(midi(FILLING + b"\x00\x90\x48\xe0\x60\x80\x48\x00" + FILLING))
    assert reading.repairs == {"clamped_data_bytes": 1}
    assert [n.velocity for n in reading.score.tracks[0].notes if n.pitch == 72] == [127]
    assert len(notes(reading)) == 25


def test_a_real_time_byte_inside_an_event_is_taken_out():
    reading = one(midi(FILLING + b"\x00\x90\x48\xf8\x40\x60\x80\x48\x00" + FILLING))
    assert reading.repairs == {"illegal_system_bytes": 1}
    assert [n.velocity for n in reading.score.tracks[0].notes if n.pitch == 72] == [64]


def test_a_lost_byte_costs_one_event_and_not_the_rest():
    reading = one(midi(FILLING + b"\x00\x90\x48" + FILLING * 3))
    assert len(notes(reading)) == 48


def test_a_lost_time_under_running_status_does_not_shift_the_rest():
    part = b"\x00\x90\x3c\x40\x60\x3c\x00\x00\xb0\x04\x20\x10\x04\x30" * 3
    reading = one(midi(part + part[1:] + part, count=2))
    assert reading.repairs["missing_times"] == 1 and len(notes(reading)) == 9


def test_an_event_without_time_is_kept():
    reading = one(midi(FILLING + b"\xf0\x82\x09" + bytes(264) + b"\xf7" + FILLING * 2))
    assert reading.repairs == {"impossible_times": 1} and len(notes(reading)) == 36


def test_a_length_beyond_the_track_is_not_believed():
    reading = one(midi(FILLING + b"\x00\xff\x01\xff\xff\xff\x7f" + FILLING))
    assert "impossible_lengths" in reading.repairs and len(notes(reading)) >= 23


def test_a_track_that_begins_without_status_takes_that_of_its_channel():
    reading = one(midi(b"\x00\x3c\x40\x60\x3c\x00" + b"\x00\x93\x3e\x40\x60\x83\x3e\x00" * 6))
    assert reading.repairs["missing_status"] >= 1 and len(notes(reading)) == 7


def test_a_note_without_end_stops_at_the_next_of_its_pitch_and_the_last_after_a_whole_note():
    on = b"\x90\x3c\x40"
    reading = one(midi(b"\x00" + on + b"\x30" + on + b"\x87\x40\xff\x01\x00"))
    assert reading.repairs == {"hanging_notes": 2}
    assert notes(reading) == [(0, 48, 60), (48, 384, 60)]


def test_a_note_without_end_stops_with_its_track():
    assert notes(one(midi(b"\x00\x90\x3c\x40\x30\xff\x01\x00"))) == [(0, 48, 60)]


def test_two_notes_that_begin_together_and_have_one_end_share_it():
    assert notes(one(midi(b"\x00\x90\x3c\x40\x00\x90\x3c\x40\x30\x80\x3c\x00"))) == [(0, 48, 60)] * 2


def test_a_note_without_length_lasts_a_tick_in_clean_and_in_damaged_files():
    track = b"\x00\x90\x3c\x40\x00\x80\x3c\x00"
    for reading in (one(midi(track)), one(midi(track, count=2))):
        assert notes(reading) == [(0, 1, 60)] and reading.repairs["zero_length_notes"] == 1


def test_overlapping_notes_of_a_pitch_end_first_come_first_served():
    track = b"\x00\x90\x3c\x40\x10\x90\x3c\x40\x10\x80\x3c\x00\x10\x80\x3c\x00"
    assert notes(one(midi(track))) == notes(one(midi(track, count=2))) == [(0, 32, 60), (16, 32, 60)]


def test_a_stray_note_without_end_in_a_thousand_is_left_out_and_counted():
    reading = one(midi(TWO_NOTES * 600 + b"\x00\x90\x48\x40"))
    assert len(notes(reading)) == 1200 and reading.repairs == {"left_out_hanging_notes": 1}


@pytest.mark.parametrize("stray", [b"\x00\x90\x48\x40", b"\x00\x90\x3c\x40\x20\x90\x3c\x40\x20\x80\x3c\x00"])
@pytest.mark.parametrize("flaw", [b"", b"\x00\xff\x54\x05\x3f\x00\x00\x00\x00"])
def test_the_repaired_copy_of_a_file_with_a_stray_note_holds_the_notes_of_the_reading(
    tmp_path: Path, stray: bytes, flaw: bytes
):
    (tmp_path / "a.mid").write_bytes(midi(flaw + TWO_NOTES * 600 + stray))
    report, (song,) = repair_file(tmp_path / "a.mid")
    assert report.repairs["left_out_hanging_notes"] == 1 and one(song).repairs == {}
    assert notes(one(song)) == notes(one((tmp_path / "a.mid").read_bytes()))


def test_controllers_and_pedals_of_every_channel_survive_a_repair():
    pedals = b"".join(bytes([0, 0xB0 | c, 64, 127, 0, 0xB0 | c, 7, c]) for c in range(16))
    (song,) = repair_midi(midi(pedals + TWO_NOTES, count=2), DEFAULT_LIMITS).songs
    assert all(bytes([0, 0xB0 | c, 64, 127, 0, 0xB0 | c, 7, c]) in song for c in range(16))


def test_time_in_smpte_frames_becomes_ticks_that_last_as_long():
    score = one(midi(b"\x00\xff\x51\x03\x01\x00\x00" + TWO_NOTES, division=0xE728)).score  # 25 frames of 40 ticks
    seconds = score.to("second")
    assert [round(n.time, 4) for n in seconds.tracks[0].notes] == [0, 0.096]


def test_sequences_of_format_2_and_joined_files_are_songs_of_their_own(tmp_path):
    for data in (midi(TWO_NOTES, TWO_NOTES * 2, kind=2), CLEAN + midi(TWO_NOTES * 2)):
        readings = read_midi(data, "two.mid")
        assert [reading.score.note_num() for reading in readings] == [2, 4]
        assert readings[0].repairs["separate_songs"] == 2
    (tmp_path / "two.mid").write_bytes(midi(TWO_NOTES, TWO_NOTES * 2, kind=2))
    assert count_songs(tmp_path / "two.mid") == 2


def test_escape_events_are_hidden_from_the_parser_which_would_read_into_them():
    reading = one(midi(b"\x00\xf7\x03\x90\x48\x40" + TWO_NOTES))
    assert notes(reading) == TWO and reading.repairs == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html></html>", "no MIDI header"),
        (b"MThd\x00\x00", "header is cut off"),
        (HEADER, "no tracks in it"),
        (HEADER + chunk(b"MTrk", bytes(3000), length=9999), "more than half of it makes no sense"),
    ],
)
def test_what_cannot_be_repaired_is_refused_in_one_line(data: bytes, reason: str):
    with pytest.raises(UnreadableFile, match=reason) as caught:
        read_midi(data, "bad.mid")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "data", "name"),
    [
        (ReadLimits(bytes=20), CLEAN, "bytes"),
        (ReadLimits(events=3), CLEAN, "events"),
        (ReadLimits(events=3), midi(TWO_NOTES, count=2), "events"),
        (ReadLimits(tempi=1), midi(b"\x00\xff\x51\x03\x07\xa1\x20" * 2 + TWO_NOTES), "tempi"),
        (ReadLimits(tempi=1), midi(b"\x00\xff\x51\x03\x07\xa1\x20" * 2 + TWO_NOTES, count=2), "tempi"),
        (ReadLimits(hours=1), midi(b"\x83\xff\xff\x7f\xff\x01\x00" + TWO_NOTES), "hours"),
        (ReadLimits(tracks=1), midi(TWO_NOTES, TWO_NOTES), "tracks"),
        (ReadLimits(songs=1), midi(TWO_NOTES, TWO_NOTES, kind=2), "songs"),
        (ReadLimits(damages=1), midi(b"\x00\xf8\x00\xf8" + TWO_NOTES), "damages"),
    ],
)
def test_a_limit_refuses_and_is_named(limits: ReadLimits, data: bytes, name: str):
    with pytest.raises(UnreadableFile, match=rf"\(limit: {name}\)"):
        read_midi(data, "large.mid", limits)
    assert read_midi(data, "not too large.mid")


def test_times_beyond_2_to_the_30_never_reach_the_parser():
    far = midi(b"\xff\xff\xff\x7f\xff\x01\x00" * 9 + TWO_NOTES)
    with pytest.raises(DamagedMidi):
        walk_midi(far, DEFAULT_LIMITS)
    assert notes(one(far)) == TWO


@pytest.mark.parametrize("filler", [b"\xff", b"\x80", b"\x90", b"\x00", b"MTrk", b"\x00\x90", b"text "])
def test_a_large_senseless_file_is_refused_within_seconds(filler: bytes):
    data = HEADER + chunk(b"MTrk", filler * (2_000_000 // len(filler)))
    began = time.monotonic()
    with pytest.raises(UnreadableFile):
        read_midi(data, "noise.mid")
    assert time.monotonic() - began < 10


# --- any bytes ---


def song(source: random.Random) -> bytes:
    """A small file with every kind of event."""
    tracks = []
    for channel in range(3):
        track = b"\x00\xff\x03\x03abc\x00\xff\x51\x03\x07\xa1\x20\x00\xff\x58\x04\x03\x02\x18\x08\x00\xf0\x02\x01\xf7"
        track += bytes([0, 0xC0 | channel, source.randrange(128), 0, 0xB0 | channel, 64, 127, 0, 0xE0 | channel, 0, 64])
        for _ in range(25):
            pitch, velocity = source.randrange(30, 90), source.randrange(1, 128)
            track += bytes([source.randrange(128), 0x90 | channel, pitch, velocity, 48, pitch, 0])
        tracks.append(track)
    return midi(*tracks)


def mutated(data: bytes, source: random.Random) -> bytes:
    """The bytes with a few places changed, removed, repeated or filled."""
    out = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 16, 64))):
        at = source.randrange(len(out) + 1)
        end = min(len(out), at + source.choice((1, 1, 2, 4, 8, 100)))
        match source.randrange(6):
            case 0 if at < len(out):
                out[at] = source.randrange(256)
            case 1 if at < len(out):
                out[at] ^= 1 << source.randrange(8)
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = source.randbytes(end - at)
            case 4:
                out[at:at] = out[at:end]
            case 5:
                out[at:end] = b"\xff" * (end - at)
    return bytes(out)


def check_any(data: bytes) -> None:
    """What holds for any bytes: possible notes or one error; a repair is exact, complete and final."""
    try:
        for reading in read_midi(data, "any.mid"):
            for start, duration, _ in notes(reading):
                assert start >= 0 and duration > 0 and start + duration < DEFAULT_LIMITS.ticks
    except EmptyScore:
        pass
    except UnreadableFile:
        pass
    try:
        repaired = repair_midi(data, DEFAULT_LIMITS)
    except DamagedMidi:
        return
    for file, onsets in zip(repaired.songs, repaired.onsets, strict=True):
        walked = walk_midi(file, DEFAULT_LIMITS)
        assert walked.data is file and not walked.changes and walked.onsets == onsets
        again = repair_midi(file, DEFAULT_LIMITS, exact=True)
        assert again.songs == [file] and not again.repairs
        if onsets:
            assert one(file).score.note_num() == onsets and not one(file).repairs


def fuzz(cases: int, seed: int) -> int:
    source = random.Random(seed)
    read = 0
    for _ in range(cases):
        data = mutated(song(source), source)
        check_any(data)
        try:
            read += len(read_midi(data, "any.mid")) > 0
        except UnreadableFile:
            continue
    return read


def test_mutated_files_are_repaired_or_refused_and_nothing_else():
    assert fuzz(500, seed=1) > 350


@pytest.mark.slow
def test_fifty_thousand_mutated_files_are_repaired_or_refused_and_nothing_else():
    assert fuzz(50_000, seed=2) > 35_000
