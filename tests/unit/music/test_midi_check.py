"""The walk over MIDI bytes: exact files pass as they are, oddities are left out, damage is refused and named."""

from __future__ import annotations

import random
import struct

import pytest
from midi_bytes import END, TWO_NOTES, chunk, midi

from aurl.music.limits import ReadLimits
from aurl.music.midi_check import walk_midi
from aurl.music.midi_events import DamagedMidi
from aurl.music.score import parse_midi
from aurl.utils.errors import UnreadableFile

LIMITS = ReadLimits(events=1000)


def check(data: bytes) -> bytes:
    return walk_midi(data, LIMITS).data


def test_an_exact_file_is_passed_on_byte_for_byte():
    data = midi(b"\x00\xff\x51\x03\x07\xa1\x20", TWO_NOTES + b"\x00\xc0\x05\x00\xe0\x00\x40\x00\xf0\x02\x01\xf7")
    assert check(data) is data


@pytest.mark.parametrize(
    "data",
    [
        midi(TWO_NOTES) + b"bytes that mean nothing",
        midi(TWO_NOTES)[:14] + chunk(b"XFIH", b"abc") + midi(TWO_NOTES)[14:],
        b"RIFF" + struct.pack("<I", 100) + b"RMID" + b"data" + struct.pack("<I", 80) + midi(TWO_NOTES),
        midi(TWO_NOTES)[:14] + chunk(b"MTrk", TWO_NOTES),
        midi(TWO_NOTES)[:14] + chunk(b"MTrk", TWO_NOTES + END + b"\x00\x90\x3c"),
        midi(TWO_NOTES)[:8] + b"\x00\x02" + midi(TWO_NOTES)[10:],
    ],
    ids=["trailing bytes", "foreign chunk", "riff", "no end event", "bytes after the end", "format 2 with one track"],
)
def test_what_no_reader_needs_is_left_out(data: bytes):
    kind = b"\x00\x00" if data[8:10] == b"\x00\x02" else b"\x00\x01"
    assert check(data) == midi(TWO_NOTES)[:8] + kind + midi(TWO_NOTES)[10:]


def test_running_status_is_kept_and_written_out_after_a_system_event():
    data = midi(b"\x00\x90\x3c\x40\x10\x3c\x00\x00\xf0\x01\xf7\x00\x3e\x40\x10\x3e\x00")
    assert parse_midi(data).note_num() == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>", "no MIDI header"),
        (midi(TWO_NOTES)[:12], "header is cut off"),
        (b"MThd" + struct.pack(">IHHHH", 8, 1, 0, 96, 0), "header says it is 8 bytes"),
        (midi(TWO_NOTES, kind=7), "unknown MIDI format 7"),
        (midi(TWO_NOTES, TWO_NOTES, kind=2), "independent sequences"),
        (midi(TWO_NOTES, division=0), "0 ticks a quarter"),
        (midi(TWO_NOTES, division=0xE728), "SMPTE"),
        (midi(TWO_NOTES, count=3), "promises 3 tracks, the file holds 1"),
        (midi(TWO_NOTES)[:-1], "are left"),
        (midi(b"\x00\x90\x3c\x80"), "data byte over 127 in the event at byte 22"),
        (midi(b"\x00\x3c\x40"), "no status"),
        (midi(b"\x00\xf4"), "status 0xF4"),
        (midi(b"\x81\x81\x81\x81\x01\x90\x3c\x40"), "longer than 4 bytes"),
        (midi(b"\x00\xff\x51\x02\x07\xa1"), "tempo event of the wrong length"),
        (midi(b"\x00\xff\x01\x7f"), "past the end|damaged"),
        (midi(b"\xff\xff\xff\x7f\x90\x3c\x40" * 9), "allowed: below"),
        (midi(TWO_NOTES * 300), "more than 1000 events"),
    ],
)
def test_damage_is_refused_and_named(data: bytes, reason: str):
    with pytest.raises(DamagedMidi, match=reason):
        check(data)


def test_a_damaged_file_is_an_error_or_a_score_with_possible_times_and_nothing_else():
    source = random.Random(7)
    whole = midi(
        b"\x00\xff\x58\x04\x03\x02\x18\x08", TWO_NOTES * 4 + b"\x00\xff\x03\x03abc" + b"\x00\x3c\x40\x60\x3c\x00"
    )
    read = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(source.choice([1, 1, 3])):
            place = source.randrange(len(data))
            data[place : place + source.choice([0, 1, 2])] = source.randbytes(source.choice([0, 1, 2]))
        try:
            score = parse_midi(bytes(data))
        except UnreadableFile:
            continue
        read += 1
        assert all(note.time >= 0 and note.duration >= 0 for track in score.tracks for note in track.notes)
    assert read > 100
