"""What is written to a store is what is read from it, and a damaged one says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aurl.data.store import PieceRecord, StoreWriter, TokenStore
from aurl.utils.errors import AurlError


def record(name: str, split: str, tokens: int) -> PieceRecord:
    return PieceRecord(name, split, 1, 4.0, tokens, 60, 72, 1, {"title": "Ünï\u2028\udce9"}, f"/music/{name}.mid")


def write(folder: Path) -> TokenStore:
    folder.mkdir()
    with StoreWriter(folder) as writer:
        for length in (3, 5):
            numbers = np.arange(length)
            writer.add(numbers.astype(np.uint16), numbers.astype(np.int32), numbers / np.float32(2))
        writer.finish(
            [record("a", "train", 3), record("b", "test", 5)],
            [{"id": "c", "path": "", "reason": "torn"}],
            {"kind": "remi"},
            {},
        )
    return TokenStore.open(folder)


def test_pieces_come_back_as_they_were_written(tmp_path: Path):
    store = write(tmp_path / "store")
    assert len(store) == 2
    assert store.ids(1).tolist() == [0, 1, 2, 3, 4]
    assert store.ids(1).dtype == np.uint16
    assert store.bars(0).tolist() == [0, 1, 2]
    assert store.beats(1).tolist() == [0, 0.5, 1, 1.5, 2]
    assert store.split("test") == [1]
    assert store.split("valid") == []
    assert store.pieces == [record("a", "train", 3), record("b", "test", 5)]
    assert store.skipped == [{"id": "c", "path": "", "reason": "torn"}]
    assert store.tokenizer == {"kind": "remi"}


def test_a_store_cannot_be_changed_by_its_readers(tmp_path: Path):
    with pytest.raises(ValueError, match="read-only"):
        write(tmp_path / "store").ids(0)[0] = 1


@pytest.mark.parametrize(
    "name", ["tokens.bin", "bars.bin", "beats.bin", "offsets.npy", "manifest.jsonl", "tokenizer.json"]
)
def test_a_cut_or_missing_file_makes_opening_fail_in_one_line(tmp_path: Path, name: str):
    write(tmp_path / "store")
    file = tmp_path / "store" / name
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(AurlError, match="no complete prepared corpus"):
        TokenStore.open(tmp_path / "store")
    file.unlink()
    with pytest.raises(AurlError, match="no complete prepared corpus"):
        TokenStore.open(tmp_path / "store")
