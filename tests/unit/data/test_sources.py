"""Listing corpora: folders of any shape, archives with a manifest, and what is said when there is nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aurl.data.config import DataConfig, Source
from aurl.data.sources import Piece, list_pieces, load_piece, unique_id
from aurl.utils.errors import AurlError, UnreadableFile


def folder(path: Path) -> DataConfig:
    return DataConfig(name="mine", source=Source.folder, path=str(path))


def archive(path: Path, pattern: str | None = None) -> DataConfig:
    return DataConfig(name="archive", source=Source.archive, path=str(path), file_pattern=pattern)


def make_archive(root: Path) -> None:
    (root / "splits").mkdir(parents=True)
    rows = []
    for split in ("train", "valid", "test"):
        (root / split).mkdir()
        (root / split / "main.mid").write_bytes(b"main")
        (root / split / "clean.mid").write_bytes(b"clean")
        rows.append({"id": f"the {split} one", "path": f"{split}/main.mid", "split": split, "title": "Tīts\u2028el"})
        (root / "splits" / f"{split}.txt").write_text(f"{split}/main.mid\n\n")
    (root / "manifest.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def test_every_kind_of_music_below_a_folder_is_listed_in_order_and_nothing_else(tmp_path: Path):
    for name in (
        "b/z.MID",
        "b/a.mid",
        "a.xml",
        "c d/é [1]=2.krn",
        "notes.txt",
        ".hidden.mid",
        "__MACOSX/a.mid",
        "b/.x/a.mid",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [piece.id for piece in list_pieces(folder(tmp_path))] == ["a.xml", "b/a.mid", "b/z.MID", "c d/é [1]=2.krn"]


def test_a_single_file_is_a_corpus_too(tmp_path: Path):
    (tmp_path / "only.mid").touch()
    assert [piece.id for piece in list_pieces(folder(tmp_path / "only.mid"))] == ["only.mid"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path):
    (tmp_path / "music" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.mid").touch()
    (tmp_path / "music" / "up").symlink_to(tmp_path / "music")
    (tmp_path / "music" / "deep" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "music" / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    assert [piece.id for piece in list_pieces(folder(tmp_path / "music"))] == ["deep/out/linked.mid", "gone.mid"]


def test_a_tune_book_gives_one_piece_a_tune(tmp_path: Path):
    (tmp_path / "book.abc").write_text("X:1\nK:C\nCDE|\n\nX:2\nK:C\nGG|\n")
    pieces = list_pieces(folder(tmp_path))
    assert [piece.id for piece in pieces] == ["book.abc#1", "book.abc#2"]
    assert [load_piece(piece).note_num() for piece in pieces] == [3, 2]


@pytest.mark.skipif(os.name != "posix", reason="file names are text there")
def test_a_name_that_is_not_text_is_listed_with_a_printable_id(tmp_path: Path):
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.mid"), "wb"):
        pass
    (piece,) = list_pieces(folder(tmp_path))
    assert piece.id == "caf\ufffd.mid"
    assert Path(piece.path).exists()


def test_an_archive_keeps_its_own_split_ids_and_metadata(tmp_path: Path):
    make_archive(tmp_path)
    pieces = list_pieces(archive(tmp_path))
    assert [(piece.id, piece.split) for piece in pieces] == [
        (f"the {split} one", split) for split in ("train", "valid", "test")
    ]
    assert pieces[0].metadata == {"title": "Tīts\u2028el"}
    assert pieces[0].path.endswith("train/main.mid")


def test_an_archive_can_use_another_file_beside_each_listed_one(tmp_path: Path):
    make_archive(tmp_path)
    assert [Path(piece.path).read_bytes() for piece in list_pieces(archive(tmp_path, "clean.mid"))] == [b"clean"] * 3
    with pytest.raises(AurlError, match=r"data.file_pattern=other.mid"):
        list_pieces(archive(tmp_path, "other.mid"))


@pytest.mark.parametrize(
    ("make", "config", "message"),
    [
        (lambda root: None, lambda root: folder(root), "holds no music files; looked for .abc"),
        (lambda root: None, lambda root: folder(root / "gone"), "gone does not exist"),
        (lambda root: None, lambda root: DataConfig(source=Source.folder), "data.path is missing"),
        (lambda root: None, lambda root: archive(root), "has no manifest.jsonl"),
        (
            lambda root: (root / "manifest.jsonl").write_text("[]\n"),
            lambda root: archive(root),
            "line 1: not a JSON object",
        ),
        (
            lambda root: (root / "manifest.jsonl").write_text('{"path": "a"}\n'),
            lambda root: archive(root),
            "no splits/train.txt",
        ),
    ],
)
def test_nothing_to_read_is_told_with_the_way_out(tmp_path: Path, make, config, message: str):
    make(tmp_path)
    with pytest.raises(AurlError, match=message):
        list_pieces(config(tmp_path))


def test_a_file_that_is_gone_is_unreadable_when_it_is_loaded(tmp_path: Path):
    with pytest.raises(UnreadableFile, match="No such file"):
        load_piece(Piece(id="a", split=None, path=str(tmp_path / "a.mid"), loader="file"))
    with pytest.raises(ValueError, match="allowed: file, bach, synth"):
        load_piece(Piece(id="a", split=None, path="", loader="tape"))


def test_a_folder_that_cannot_be_listed_is_a_piece_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a.mid", "closed/b.mid", "open/c.mid"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    scandir = os.scandir

    def scan(folder: Path) -> Any:  # permissions do not stop an administrator, who may run the tests
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    pieces = list_pieces(DataConfig(source=Source.folder, path=str(tmp_path)))
    assert [piece.id for piece in pieces] == ["a.mid", "open/c.mid", "closed/"]
    with pytest.raises(UnreadableFile, match="closed: a folder that cannot be listed; allow reading it"):
        load_piece(pieces[-1])
    only = list_pieces(DataConfig(source=Source.folder, path=str(tmp_path / "closed")))
    assert [piece.id for piece in only] == ["closed/"]


def test_a_pipe_among_the_music_is_listed_and_never_waited_for(tmp_path: Path):
    for name in ("a.mid", "b.abc"):
        os.mkfifo(tmp_path / name)
    pieces = list_pieces(DataConfig(source=Source.folder, path=str(tmp_path)))
    assert [piece.id for piece in pieces] == ["a.mid", "b.abc"]
    with pytest.raises(UnreadableFile, match="not a file"):
        load_piece(pieces[0])


def test_pieces_of_one_name_are_numbered_with_two_looks_each() -> None:
    taken, copies, looks = {"a~3"}, dict[str, int](), 0

    def is_taken(name: str) -> bool:
        nonlocal looks
        looks += 1
        return name in taken

    given = []
    for name in ["a", "b", *["a"] * 1000]:
        given.append(unique_id(name, is_taken, copies))
        taken.add(given[-1])
    assert given[:5] == ["a", "b", "a~2", "a~4", "a~5"] and len(set(given)) == len(given)
    assert looks <= 2 * len(given) + 1
