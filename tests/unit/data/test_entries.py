"""Entries hold all of a score: what is packed is unpacked, to the last controller, and damage is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from symusic import Score
from symusic.core import (
    ControlChangeTick,
    KeySignatureTick,
    NoteTick,
    PedalTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TextMetaTick,
    TimeSignatureTick,
    TrackTick,
)

from aurl.data.entries import DamagedEntry, pack, pack_plain, score_of, score_parts, unpack, unpack_plain
from aurl.data.index import Index
from aurl.data.piece_store import ShardWriter, read_entry, shard_path


def full_score() -> ScoreTick:
    """Two tracks with everything that a score can have, and an empty one."""
    score = ScoreTick(96)
    score.tempos.append(TempoTick(0, 97.5))
    score.tempos.append(TempoTick(96, 60))
    score.time_signatures.append(TimeSignatureTick(0, 7, 8))
    score.key_signatures.append(KeySignatureTick(5, -3, 1))
    score.markers.append(TextMetaTick(3, "Vërse"))
    for number in range(2):
        track = TrackTick(f"Träck {number}", 40 + number, number == 1)
        for step in range(3 + number):
            track.notes.append(NoteTick(10 * step, 5, 60 + step, 90))
        track.controls.append(ControlChangeTick(7, 11, 127))
        track.pedals.append(PedalTick(1, 40))
        track.pitch_bends.append(PitchBendTick(2, -8192))
        track.lyrics.append(TextMetaTick(4, "la"))
        score.tracks.append(track)
    score.tracks.append(TrackTick("", 0, False))
    return score


def describe(score: ScoreTick) -> list[object]:
    """Everything in it as plain values."""
    rows: list[object] = [score.ticks_per_quarter]
    for name in ("tempos", "time_signatures", "key_signatures", "markers"):
        rows.append([repr(event) for event in getattr(score, name)])
    for track in score.tracks:
        rows.append((track.name, track.program, track.is_drum))
        for name in ("notes", "controls", "pedals", "pitch_bends", "lyrics"):
            rows.append([repr(event) for event in getattr(track, name)])
    return rows


def test_everything_of_a_score_comes_back() -> None:
    score = full_score()
    data = pack(*score_parts(score))
    back = score_of(*unpack(data))
    assert describe(back) == describe(score)
    assert pack(*score_parts(back)) == data


def test_an_empty_score_comes_back() -> None:
    assert describe(score_of(*unpack(pack(*score_parts(ScoreTick(480)))))) == [480, [], [], [], []]


@pytest.mark.parametrize("name", ["multitrack-free", "asap-piano", "openscore"])
def test_real_scores_come_back(name: str, corpora: Callable[[str], Path]) -> None:
    files = sorted(corpora(name).rglob("*.mid"))[::60]
    assert files
    for file in files:
        score = Score(file)
        assert describe(score_of(*unpack(pack(*score_parts(score))))) == describe(score)


@pytest.mark.parametrize(("write", "read"), [(pack, unpack), (pack_plain, unpack_plain)])
def test_values_and_arrays_come_back_and_half_of_them_is_refused(write: Callable, read: Callable) -> None:
    meta, arrays = (
        {"a": [1, "é"]},
        {"x": np.arange(50, dtype=np.int32).reshape(5, 10), "empty": np.zeros((0, 3), "<f4")},
    )
    data = write(meta, arrays)
    again, found = read(data)
    assert again == meta and found["x"].tolist() == arrays["x"].tolist()
    for length in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(DamagedEntry):
            read(data[:length])


def test_every_flipped_byte_of_an_entry_is_noticed(tmp_path: Path) -> None:
    data = pack(*score_parts(full_score()))
    with Index(tmp_path) as index, ShardWriter(tmp_path, index) as writer:
        writer.add(b"key", data)
        writer.add(b"other", b"x")
        writer.publish()
        place = index.find(b"key")
        assert place is not None and read_entry(tmp_path, place) == data
    file = shard_path(tmp_path, place.shard)
    for position in range(0, len(data), 29):
        changed = bytearray(data + b"x")
        changed[position] ^= 0x10
        file.write_bytes(bytes(changed))
        with pytest.raises(DamagedEntry, match="is damaged"):
            read_entry(tmp_path, place)
    file.unlink()
    with pytest.raises(DamagedEntry, match="No such file"):
        read_entry(tmp_path, place)


def test_empty_arrays_keep_their_shape_in_plain_entries() -> None:
    _, arrays = unpack_plain(pack_plain({}, {"x": np.zeros((0, 3), "<f4")}))
    assert arrays["x"].shape == (0, 3) and arrays["x"].dtype == np.float32
