"""Addresses: whatever decides a piece changes its address, and what does not leaves it alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import make_music, tune

from aurl.data import addresses
from aurl.data import prepare as preparing
from aurl.data.addresses import code_hash, content_of, encoding_key, reading_key
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.index import Index
from aurl.data.prepare import prepare
from aurl.data.preprocessing import PreprocessConfig
from aurl.music.limits import DEFAULT_LIMITS, ReadLimits
from aurl.music.quantise import Quantise

TOKENIZER = TokenizerConfig()
PACKAGE = Path(addresses.__file__).parents[1]


def made(cache: Path, store: object) -> int:
    with Index(cache) as index:
        use = index.use_of(store.folder.name)  # type: ignore[attr-defined]
        assert use is not None
        return use.made


def test_one_changed_file_costs_one_piece(tmp_path: Path) -> None:
    data, cache = make_music(tmp_path / "music", 6), tmp_path / "cache"
    first = prepare(data, TOKENIZER, cache, progress=False)
    tune(77).dump_midi(tmp_path / "music" / "tune02.mid")
    second = prepare(data, TOKENIZER, cache, progress=False)
    assert (made(cache, first), made(cache, second)) == (6, 1)
    assert second.ids(4).tolist() != first.ids(4).tolist() and second.ids(0).tolist() == first.ids(0).tolist()


def test_a_changed_byte_is_seen_though_size_and_time_are_set_back(tmp_path: Path) -> None:
    data, cache = make_music(tmp_path / "music", 2), tmp_path / "cache"
    first = prepare(data, TOKENIZER, cache, progress=False)
    file = tmp_path / "music" / "tune00.mid"
    before = file.stat()
    content = bytearray(file.read_bytes())
    place = content.index(bytes([0x90, first.pieces[1].pitch_low])) + 2
    content[place] -= 40  # a velocity
    file.write_bytes(bytes(content))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second = prepare(data, TOKENIZER, cache, progress=False)
    assert second.folder != first.folder and second.ids(1).tolist() != first.ids(1).tolist()


def test_another_tokenizer_does_not_open_the_music_again(tmp_path: Path) -> None:
    data, cache = make_music(tmp_path / "music", 3), tmp_path / "cache"
    prepare(data, TOKENIZER, cache, progress=False)
    other = prepare(data, replace(TOKENIZER, velocities=8), cache, progress=False)
    assert made(cache, other) == 3
    with Index(cache) as index:
        shards = index.shards()
    assert sum(entries for *_, entries in shards) == 3 + 3 + 3, "three scores, and tokens of two kinds"


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess": PreprocessConfig(quantise=Quantise.sixteenths)},
        {"tokenizer": replace(TOKENIZER, velocities=8)},
        {"limits": ReadLimits(hours=24)},
        {"features": ["onset_density"]},
        {"split_seed": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_changed_setting_gives_another_corpus_and_the_old_one_stays(tmp_path: Path, change: dict) -> None:
    data, cache = make_music(tmp_path / "music", 3), tmp_path / "cache"
    first = prepare(data, TOKENIZER, cache, progress=False)
    fields = {key: value for key, value in change.items() if key in ("limits", "features", "split_seed")}
    settings = {"preprocess": change.get("preprocess")}
    changed = replace(data, **fields)
    second = prepare(changed, change.get("tokenizer", TOKENIZER), cache, progress=False, **settings)
    assert second.folder != first.folder
    assert prepare(data, TOKENIZER, cache, progress=False).folder == first.folder


def test_changed_code_never_meets_what_old_code_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cache = make_music(tmp_path / "music", 2), tmp_path / "cache"
    first = prepare(data, TOKENIZER, cache, progress=False)
    root = tmp_path / "aurl"
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__"))
    copied = code_hash.__wrapped__
    monkeypatch.setattr(addresses, "code_hash", lambda modules, _=None: copied(modules, root))
    monkeypatch.setattr(preparing, "make_pieces", lambda *_: pytest.fail("made again"))
    assert prepare(data, TOKENIZER, cache, progress=False).folder == first.folder, "the same code elsewhere"
    monkeypatch.undo()
    with (root / "music" / "midi_scan.py").open("a") as file:
        file.write("\nSTRICT = True\n")
    monkeypatch.setattr(addresses, "code_hash", lambda modules, _=None: copied(modules, root))
    second = prepare(data, TOKENIZER, cache, progress=False)
    assert second.folder != first.folder and made(cache, second) == 2


@pytest.mark.parametrize(
    ("module", "reads", "encodes"),
    [("music/midi_repair", True, False), ("data/fitting", False, True), ("music/page", False, False)],
)
def test_code_counts_where_it_is_used(tmp_path: Path, module: str, reads: bool, encodes: bool) -> None:
    root = tmp_path / "aurl"
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__"))
    before = [code_hash.__wrapped__(modules, root) for modules in (addresses.READING, addresses.ENCODING)]
    with (root / f"{module}.py").open("a") as file:
        file.write("\n# another rule\n")
    after = [code_hash.__wrapped__(modules, root) for modules in (addresses.READING, addresses.ENCODING)]
    assert after[0] != before[0] if reads else after[0] == before[0]
    assert after[1] != before[1] if reads or encodes else after[1] == before[1]


def test_what_is_not_read_has_an_address_too(tmp_path: Path) -> None:
    (tmp_path / "large.mid").write_bytes(bytes(20))
    (tmp_path / "folder.mid").mkdir()
    assert content_of(str(tmp_path / "gone.mid"), DEFAULT_LIMITS) == "gone 2"
    assert content_of(str(tmp_path / "folder.mid"), DEFAULT_LIMITS) == "no file"
    assert content_of(str(tmp_path / "large.mid"), ReadLimits(bytes=10)) == "oversize 20"
    assert len(content_of(str(tmp_path / "large.mid"), DEFAULT_LIMITS)) == 64


def test_annotated_beats_are_part_of_a_piece_where_they_are_used(tmp_path: Path) -> None:
    data, cache = make_music(tmp_path / "music", 1), tmp_path / "cache"
    beats = tmp_path / "music" / "tune00.beats"
    aligned = PreprocessConfig(align_beats=True)
    beats.write_text("".join(f"{0.6 * beat:.3f} {beat % 4 + 1}\n" for beat in range(12)))
    first = prepare(data, TOKENIZER, cache, progress=False, preprocess=aligned)
    plain = prepare(data, TOKENIZER, cache, progress=False)
    beats.write_text("".join(f"{0.5 * beat:.3f} {beat % 3 + 1}\n" for beat in range(12)))
    second = prepare(data, TOKENIZER, cache, progress=False, preprocess=aligned)
    assert second.folder != first.folder and second.ids(0).tolist() != first.ids(0).tolist()
    assert prepare(data, TOKENIZER, cache, progress=False).folder == plain.folder


def test_everything_that_decides_a_read_piece_is_in_its_address() -> None:
    one = {"mark": "m", "content": "c", "suffix": ".mid", "tune": 0, "loader": "file", "settings": None}
    others = [
        one | {name: other}
        for name, other in (
            ("mark", "n"), ("content", "d"), ("suffix", ".abc"), ("tune", 1), ("loader", "bach"), ("settings", {"n": 1})
        )
    ]  # fmt: skip
    keys = [reading_key(**values) for values in (one, *others)]  # type: ignore[arg-type]
    assert len(set(keys)) == 7 and reading_key(**one) == keys[0]  # type: ignore[arg-type]
    assert len({encoding_key(mark, key) for mark in "ab" for key in keys}) == 14


def test_the_tunes_of_a_book_are_pieces_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "book.abc").write_text("X:1\nT:Up\nK:C\nCDEF GABc|\n\nX:2\nT:Down\nK:C\ncBAG FEDC|\n")
    data = DataConfig(name="book", source=Source.folder, path=str(tmp_path / "music"), workers=1)
    store = prepare(data, TokenizerConfig(), tmp_path / "cache", progress=False)
    assert [piece.id for piece in store.pieces] == ["book.abc#1", "book.abc#2"]
    assert store.ids(0).tolist() != store.ids(1).tolist()
