"""A prepared corpus on disk: what was written is read back, damage is noticed, pieces are chosen, rows lie aligned."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from aurl.data.aligned import Level
from aurl.data.records import PieceRecord
from aurl.data.store import TokenStore, verify_folder
from aurl.data.store_writer import StoreWriter
from aurl.utils.errors import AurlError

LENGTHS = (3, 5)
FEATURES = {"density": (Level.beat, "<f4", ()), "roll": (Level.bar, "<u1", (2, 3))}


def record(name: str, split: str, tokens: int) -> PieceRecord:
    facts = {"programs": [0, 40], "duration": 1.5}
    return PieceRecord(
        name, split, tokens, 1.5 * tokens, tokens, 60, 72, 1, {"title": "Tāle\u2028 1"}, "a/b.mid", facts
    )


def write(folder: Path) -> TokenStore:
    folder.mkdir()
    with StoreWriter(folder, FEATURES) as writer:
        for name, split, length in zip(("a", "b"), ("train", ""), LENGTHS, strict=True):
            ids = np.arange(length).astype(np.uint16)
            features = {"density": np.arange(length + 1), "roll": np.full((length - 1, 2, 3), length)}
            writer.add(record(name, split, length), ids, ids.astype(np.int32), ids.astype(np.float32) / 2, features)
        writer.skip({"id": "c", "path": os.fsdecode(b"caf\xe9.mid"), "reason": "torn"})
        writer.repaired({"id": "a", "path": "a.mid", "repairs": {"division": 1}, "reason": "no division"})
        writer.finish({"params": 1}, {"fingerprint": "f"}, [None, "test"])
    return TokenStore.open(folder)


def test_what_was_written_is_read_back(tmp_path: Path):
    store = write(tmp_path / "store")
    assert len(store) == 2
    for piece, length in enumerate(LENGTHS):
        ids = np.arange(length)
        assert store.ids(piece).tolist() == ids.tolist()
        assert store.bars(piece).tolist() == ids.tolist()
        assert store.beats(piece).tolist() == (ids / 2).tolist()
    assert store.ids(-1).tolist() == store.ids(1).tolist()
    assert (store.ids(0).dtype, store.bars(0).dtype, store.beats(0).dtype) == (np.uint16, np.uint16, np.float32)
    assert list(store.pieces) == [record("a", "train", 3), record("b", "test", 5)]
    assert store.pieces[-1].id == "b" and [piece.id for piece in store.pieces[:1]] == ["a"]
    assert store.lengths.tolist() == list(LENGTHS)
    assert (store.split("train"), store.split("test"), store.split("valid"), store.split(None)) == (
        [0],
        [1],
        [],
        [0, 1],
    )
    assert store.skipped == [{"id": "c", "path": os.fsdecode(b"caf\xe9.mid"), "reason": "torn"}]
    assert store.tokenizer == {"params": 1} and store.meta["fingerprint"] == "f"
    with pytest.raises(IndexError, match="piece 2 of 2"):
        store.pieces[2]


def test_rows_beside_the_tokens_are_found_by_piece(tmp_path: Path):
    store = write(tmp_path / "store")
    assert store.aligned("density", 1).tolist() == [0, 1, 2, 3, 4, 5]
    assert (
        store.aligned("roll", 0).shape == (2, 2, 3)
        and store.aligned("roll", -1).tolist() == np.full((4, 2, 3), 5).tolist()
    )
    assert store.features["roll"] == {"level": "bar", "dtype": "<u1", "shape": [2, 3]}
    with pytest.raises(AurlError, match=r"no feature 'chords' \(it has: density, roll\); add it to data.features"):
        store.aligned("chords", 0)


def test_a_store_can_be_sent_to_another_process(tmp_path: Path):
    store = write(tmp_path / "store")
    store.choose("notes > 3")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.pieces[0] == store.pieces[0] and copy.split(None) == [1]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    for file in (tmp_path / "one").rglob("*"):
        other = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.is_dir() or file.read_bytes() == other.read_bytes()


def test_a_flipped_byte_in_any_file_is_found_and_named(tmp_path: Path):
    folder = tmp_path / "store"
    write(folder).close()
    assert verify_folder(folder) == []
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        whole = file.read_bytes()
        file.write_bytes(bytes(content))
        problems = verify_folder(folder)
        assert problems and (str(file) in problems[0] or file.name == "sums.json"), file
        file.write_bytes(whole)
    (folder / "bars.bin").unlink()
    (folder / "more").touch()
    assert [line.split(": ")[1] for line in verify_folder(folder)] == ["missing", "not part of the corpus"]


@pytest.mark.parametrize(
    "name", ["tokens.bin", "offsets.npy", "manifest.sqlite", "pieces.bin", "tokenizer.json", "meta.json"]
)
def test_a_store_that_lost_a_file_or_half_of_one_does_not_open(tmp_path: Path, name: str):
    folder = tmp_path / "store"
    write(folder).close()
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(AurlError, match="no complete prepared corpus"):
        TokenStore.open(folder)
    (folder / name).unlink()
    with pytest.raises(AurlError, match="no complete prepared corpus"):
        TokenStore.open(folder)
