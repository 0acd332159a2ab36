"""Nothing that a MIDI file says about its music is lost on the way in, be the file clean or repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from midi_bytes import END, midi
from symusic.core import ScoreTick

from aurl.music.limits import ReadLimits
from aurl.music.midi_check import CONTROL, PITCH_BEND, walk_midi
from aurl.music.midi_controls import pedal_spans
from aurl.music.midi_events import TrackEvents
from aurl.music.midi_notes import track_bytes
from aurl.music.midi_scan import Event
from aurl.music.score import examine_midi, parse_midi, read_midi, read_piece
from aurl.utils.errors import UnreadableFile

META = 0xFF


def on(tick: int, channel: int, pitch: int) -> Event:
    return Event(tick, 0x90 | channel, pitch, 64, b"")


def off(tick: int, channel: int, pitch: int) -> Event:
    return Event(tick, 0x80 | channel, pitch, 0, b"")


def events_of(track: TrackEvents) -> Iterator[tuple[int, int, int, int]]:
    """Tick, kind and data of the controllers and bends, read one by one."""
    for tick, status, at in zip(track.ticks().tolist(), track.statuses().tolist(), track.at.tolist(), strict=True):
        first, second = track.buffer[at + (track.buffer[at] > 127) :][:2].tolist()
        if status & 0xF0 == CONTROL:
            yield tick, CONTROL, first, second
        elif status & 0xF0 == PITCH_BEND:
            yield tick, PITCH_BEND, 0, (second << 7 | first) - (1 << 13)


def control(tick: int, channel: int, number: int, value: int) -> Event:
    return Event(tick, 0xB0 | channel, number, value, b"")


def bend(tick: int, channel: int, value: int) -> Event:
    raw = value + (1 << 13)
    return Event(tick, 0xE0 | channel, raw & 0x7F, raw >> 7, b"")


def program(tick: int, channel: int, number: int) -> Event:
    return Event(tick, 0xC0 | channel, number, 0, b"")


def text(tick: int, kind: int, words: bytes) -> Event:
    return Event(tick, META, kind, 0, words)


def body(*events: Event) -> bytes:
    return track_bytes(sorted(events, key=lambda event: event.tick)).removesuffix(END)


def controls_of(score: ScoreTick) -> list[list[tuple[int, int, int]]]:
    return [[(c.time, c.number, c.value) for c in track.controls] for track in score.tracks]


def pedals_of(score: ScoreTick) -> list[list[tuple[int, int]]]:
    return [[(pedal.time, pedal.duration) for pedal in track.pedals] for track in score.tracks]


CONDUCTOR = body(
    text(0, 0x51, (400_000).to_bytes(3, "big")),
    text(0, 0x58, bytes((3, 2, 24, 8))),
    text(0, 0x59, bytes((0xFD, 1))),
    text(0, 0x06, b"Strophe"),
    control(0, 3, 7, 90),
    text(480, 0x51, (600_000).to_bytes(3, "big")),
    text(480, 0x58, bytes((4, 2, 24, 8))),
    text(480, 0x59, bytes((2, 0))),
    text(480, 0x06, b"Refrain"),
)
WORDS = body(text(0, 0x03, b"Words"), text(0, 0x05, "süß ".encode()), text(240, 0x05, b"ist"))
PIANO = body(
    text(0, 0x03, b"Piano"),
    control(0, 3, 91, 40),
    program(0, 3, 5),
    control(10, 3, 64, 127),
    on(20, 3, 60),
    bend(25, 3, 4096),
    off(120, 3, 60),
    control(130, 3, 64, 0),
    program(130, 3, 40),
    control(140, 3, 1, 33),
    on(150, 3, 62),
    off(240, 3, 62),
    program(250, 3, 41),
    control(260, 3, 11, 12),
    bend(270, 3, -8192),
    control(280, 3, 64, 64),
)
KIT = body(text(0, 0x03, b"Kit"), control(0, 9, 4, 77), on(0, 9, 36), off(120, 9, 36))
SILENT = body(text(0, 0x03, b"Lights"), program(0, 12, 9), control(5, 12, 20, 21), bend(6, 12, 1))
FULL = midi(CONDUCTOR, WORDS, PIANO, KIT, SILENT)


def assert_everything_is_there(score: ScoreTick) -> None:
    sounding = [track for track in score.tracks if len(track.notes)]
    assert [(t.name, t.program, t.is_drum, len(t.notes)) for t in sounding] == [
        ("Piano", 5, False, 1), ("Piano", 40, False, 1), ("Kit", 0, True, 1)
    ]  # fmt: skip
    assert [(t.time, t.mspq) for t in score.tempos] == [(0, 400_000), (480, 600_000)]
    assert [(t.time, t.numerator, t.denominator) for t in score.time_signatures] == [(0, 3, 4), (480, 4, 4)]
    assert [(t.time, t.key, t.tonality) for t in score.key_signatures] == [(0, -3, 1), (480, 2, 0)]
    assert [(mark.time, mark.text) for mark in score.markers] == [(0, "Strophe"), (480, "Refrain")]
    assert [(w.time, w.text) for track in score.tracks for w in track.lyrics] == [(0, "süß "), (240, "ist")]
    first, second, kit = ([(c.time, c.number, c.value) for c in track.controls] for track in sounding)
    assert sorted(first) == [(0, 7, 90), (0, 91, 40), (10, 64, 127), (130, 64, 0)]
    assert second == [(140, 1, 33), (260, 11, 12), (280, 64, 64)]
    assert kit == [(0, 4, 77)]
    assert [[(b.time, b.value) for b in track.pitch_bends] for track in sounding] == [[(25, 4096)], [(270, -8192)], []]
    assert [[(p.time, p.duration) for p in track.pedals] for track in sounding] == [[(10, 120)], [(280, 0)], []]
    silent = [track for track in score.tracks if not len(track.notes) and len(track.controls)]
    assert [(t.name, t.program) for t in silent] == [("Lights", 9)]
    assert [(c.time, c.number, c.value) for c in silent[0].controls] == [(5, 20, 21)]
    assert [(b.time, b.value) for b in silent[0].pitch_bends] == [(6, 1)]


def test_everything_that_a_clean_file_says_is_in_its_score():
    reading = read_midi(FULL, "full")[0]
    assert reading.repairs == {}
    assert_everything_is_there(reading.score)


@pytest.mark.parametrize(
    "damaged",
    [
        FULL[:-4],
        b"\x00" * 7 + FULL,
        FULL.replace(b"MTrk", b"MTrk", 1)[:18] + b"\x7f\xff\xff\xff" + FULL[22:],
        FULL[:10] + b"\x00\x09" + FULL[12:],
    ],
    ids=["no end", "bytes before", "wrong length", "wrong count"],
)
def test_everything_that_a_repaired_file_says_is_in_its_score(damaged: bytes):
    reading = read_midi(damaged, "damaged")[0]
    assert reading.repairs
    assert_everything_is_there(reading.score)


@pytest.mark.parametrize("channel", [0, 1, 8, 15])
def test_a_pedal_begins_where_it_is_pressed_on_every_channel(channel: int):
    score = parse_midi(
        midi(
            body(
                on(0, channel, 60), control(100, channel, 64, 90), control(110, channel, 64, 127),
                off(120, channel, 60), control(150, channel, 64, 63), control(160, channel, 64, 0),
            )
        )
    )  # fmt: skip
    assert pedals_of(score) == [[(100, 50)]]


def test_a_pedal_that_is_never_released_lasts_to_the_last_event_and_a_release_alone_is_no_pedal():
    score = parse_midi(midi(body(control(5, 2, 64, 0), on(10, 2, 60), control(20, 2, 64, 64), off(90, 2, 60))))
    assert pedals_of(score) == [[(20, 70)]]


def test_pedal_spans_of_nothing_are_none():
    starts, ends = pedal_spans(np.zeros(0, np.int64), np.zeros(0, np.uint8), 0)
    assert len(starts) == len(ends) == 0


def test_controllers_on_a_track_of_their_own_go_to_the_notes_of_their_channel():
    score = parse_midi(midi(body(control(0, 4, 64, 127), control(50, 4, 64, 0)), body(on(0, 4, 60), off(60, 4, 60))))
    assert controls_of(score) == [[(0, 64, 127), (50, 64, 0)]] and pedals_of(score) == [[(0, 50)]]


def test_lost_controllers_are_put_among_the_others_in_time():
    track = body(
        control(0, 1, 7, 1), on(0, 1, 60), off(10, 1, 60), program(20, 1, 3), control(30, 1, 7, 2), control(30, 1, 8, 3)
    )
    other = body(control(15, 1, 7, 9))
    assert controls_of(parse_midi(midi(track, other))) == [[(0, 7, 1), (15, 7, 9), (30, 7, 2), (30, 8, 3)]]


def test_tracks_of_one_program_keep_their_own_controllers():
    first = body(on(0, 0, 60), off(10, 0, 60), program(10, 0, 1), control(20, 0, 7, 1))
    second = body(on(0, 1, 60), off(10, 1, 60), program(10, 1, 1), control(20, 1, 7, 2))
    assert controls_of(parse_midi(midi(first, second))) == [[(20, 7, 1)], [(20, 7, 2)]]


@pytest.mark.parametrize(
    "corpus", ["asap-piano", "giantmidi-sample", "groove", "multitrack-free", "nottingham", "pop909", "hostile_midi"]
)
def test_no_controller_or_bend_of_real_files_is_lost(corpora: Callable[[str], Path], corpus: str):
    root = corpora(corpus)
    files = sorted(path for path in root.rglob("*.mid") if path.stat().st_size < 100_000)
    checked = refused = 0
    for path in files[:: max(len(files) // 25, 1)]:
        try:
            score = read_piece(path).score
        except UnreadableFile:
            refused += 1
            continue
        exact, repaired, _ = examine_midi(path.read_bytes(), str(path), ReadLimits())
        exact = walk_midi(repaired.songs[0], ReadLimits()) if exact is None else exact
        expected = Counter(event for track in exact.walked for event in events_of(track))
        found = Counter(
            [(c.time, CONTROL, c.number, c.value) for track in score.tracks for c in track.controls]
            + [(b.time, PITCH_BEND, 0, b.value) for track in score.tracks for b in track.pitch_bends]
        )
        assert found == expected, path
        checked += 1
    assert checked > 10 and (refused == 0 or corpus == "hostile_midi")
