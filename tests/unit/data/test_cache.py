"""The cache: shared by processes, sound or said not to be, and never emptied under a running job."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import corpora_of, make_music, tree

from aurl.cli.data import execute
from aurl.data.building import shards_kept
from aurl.data.cache import clear, holdings, parse_size, prune, verify
from aurl.data.config import DataConfig, TokenizerConfig
from aurl.data.entries import DamagedEntry
from aurl.data.index import Index
from aurl.data.piece_store import ShardWriter, read_entry, shard_path
from aurl.data.prepare import prepare, prepare_part
from aurl.data.store import TokenStore
from aurl.utils import locks
from aurl.utils.errors import AurlError
from aurl.utils.locks import try_lock

TOKENIZER = TokenizerConfig()
SCRIPT = """
import sys
from pathlib import Path
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.prepare import prepare
data = DataConfig(name="mine", source=Source.folder, path=sys.argv[1], workers=1)
store = prepare(data, TokenizerConfig(), Path(sys.argv[2]), progress=False)
print(sum(int(store.ids(piece).sum()) for piece in range(len(store))))
"""


@pytest.fixture
def music(tmp_path: Path) -> DataConfig:
    return make_music(tmp_path / "music", 4)


def prepared(data: DataConfig, cache: Path, velocities: int = 16) -> TokenStore:
    return prepare(data, replace(TOKENIZER, velocities=velocities), cache, progress=False)


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20 * 10**9), ("1.5 kb", 1500), ("7", 7), ("2MiB", 2 << 20), ("0", 0)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1GB", "3 apples", "GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; for instance 20GB"):
        parse_size(text)


def test_processes_that_build_and_read_at_once_all_see_the_same(tmp_path: Path) -> None:
    make_music(tmp_path / "music", 12)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "music"), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {process.communicate(timeout=300)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(sums) == 1 and int(sums.pop()) > 0
    assert len(corpora_of(tmp_path / "cache")) == 1 and verify(tmp_path / "cache") == []
    with Index(tmp_path / "cache") as index:
        use = index.use_of(corpora_of(tmp_path / "cache")[0].name)
    assert use is not None and (use.made, use.opened) == (12, 2), "one built it, two waited and opened it"


def test_parts_made_apart_are_put_together(tmp_path: Path, music: DataConfig) -> None:
    for part in (1, 2, 3):
        prepare_part(music, TOKENIZER, tmp_path / "cache", part, 3, progress=False)
    assert not corpora_of(tmp_path / "cache")
    store = prepared(music, tmp_path / "cache")
    with Index(tmp_path / "cache") as index:
        use = index.use_of(store.folder.name)
        assert use is not None and (use.made, use.reused) == (0, 4)
    assert tree(store.folder) == tree(prepared(music, tmp_path / "other").folder)


def test_the_longest_unused_goes_first_and_open_corpora_stay(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    names = []
    for velocities in (8, 9, 10):
        store = prepared(music, cache, velocities)
        names.append(store.folder.name)
        store.close()
    prepared(music, cache, 8).close()  # used again
    opened = prepared(music, cache, 9)
    with Index(cache) as index:
        sizes = {item.name: item.size for item in holdings(cache, index)}
    removed, busy = prune(cache, sum(sizes.values()) - 1)
    assert len(removed) == 1 and not busy and not removed[0].is_corpus, "the shard of the scores is the oldest"
    removed, busy = prune(cache, 0)
    assert [item.name for item in busy] == [names[1]]
    assert [path.name for path in corpora_of(cache)] == [names[1]]
    assert opened.ids(0)[0] == 1 and TokenStore.open(opened.folder).pieces[0].id == opened.pieces[0].id
    opened.close()
    assert [item.name for item in prune(cache, 0)[0]] == [names[1]] and not corpora_of(cache)
    assert len(prepared(music, cache)) == 4, "what is gone is made again"


def test_another_process_that_has_a_corpus_open_keeps_it(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    store = prepared(music, cache)
    store.close()
    script = (
        "import sys; from pathlib import Path; from aurl.data.store import TokenStore\n"
        "store = TokenStore.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()\n"
        "print(int(store.ids(0)[0]), store.pieces[0].id)"
    )
    command = [sys.executable, "-c", script, str(store.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        assert [item.name for item in prune(cache, 0)[1]] == [store.folder.name]
        assert process.communicate("")[0].startswith("1 ")
    assert [item.name for item in prune(cache, 0)[0]] == [store.folder.name]


def test_shards_stay_while_a_corpus_is_built(tmp_path: Path, music: DataConfig) -> None:
    prepared(music, tmp_path / "cache").close()
    with shards_kept(tmp_path / "cache"):
        removed, busy = prune(tmp_path / "cache", 0)
    assert [item.is_corpus for item in removed] == [True] and [item.is_corpus for item in busy] == [False]


def test_a_limit_holds_after_every_build(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache, 8).close()
    store = prepare(music, TOKENIZER, cache, progress=False, cache_limit=1)
    assert corpora_of(cache) == [store.folder], "the one in use stays"


def test_a_damaged_shard_is_named_and_what_it_held_is_made_again(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    store = prepared(music, cache)
    content = tree(store.folder)
    store.close()
    (shard,) = cache.glob("pieces/*/*.shard")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(bytes(data))
    assert verify(cache) == [f"{shard}: damaged (its SHA-256 is not its name)"]
    clear(cache, store.folder.name)
    again = prepared(music, cache)
    assert tree(again.folder) == content
    shard.unlink()
    assert f"{shard}: missing" in verify(cache)


def test_a_source_that_changed_behind_its_stamp_is_found(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache)
    file = tmp_path / "music" / "tune00.mid"
    with Index(cache) as index:
        stamp = next(stamp for name, stamp, _ in index.files() if os.fsdecode(name) == str(file))
        index.remember([(os.fsencode(file), stamp, bytes(32))])
    (problem,) = verify(cache)
    assert problem == f"{file}: its bytes changed but not its times; it will be read again"
    assert verify(cache) == [] and verify(cache, sources=False) == []


def test_shards_that_nothing_leads_to_are_removed(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache)
    orphan = cache / "pieces" / "ab" / "abc.shard"
    orphan.parent.mkdir(exist_ok=True)
    orphan.touch()
    left = cache / "pieces" / "x.open"
    left.touch()
    os.utime(left, (0, 0))
    prune(cache, 10**12)
    assert not orphan.exists() and not left.exists() and len(list(cache.glob("pieces/*/*.shard"))) == 1


def test_the_commands_tell_and_clear(tmp_path: Path, music: DataConfig, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    name = prepared(music, cache).folder.name
    prepared(music, cache).close()
    at = ["--cache", str(cache)]
    assert execute(["stats", "--json", *at]) == 0
    stats = json.loads(capsys.readouterr().out)
    (row,) = stats["corpora"]
    assert (row["corpus"], row["pieces"], row["made"], row["opened"]) == (name, 4, 4, 1)
    assert stats["piece_store"]["entries"] == 8 and stats["bytes"] == row["bytes"] + stats["piece_store"]["bytes"]
    assert execute(["stats", *at]) == 0 and name in capsys.readouterr().out
    assert execute(["verify", *at]) == 0 and "is sound" in capsys.readouterr().out
    file = cache / name / "tokens.bin"
    file.write_bytes(b"\1" + file.read_bytes()[1:][::-1])
    assert execute(["verify", "--no-sources", *at]) == 1
    told = capsys.readouterr()
    assert str(file) in told.out and told.err.startswith("error: 1 damaged in")
    assert execute(["clear", *at]) == 1 and "add --yes" in capsys.readouterr().err
    assert execute(["clear", "gone", "--yes", *at]) == 1 and f"there are: {name}" in capsys.readouterr().err
    assert (
        execute(["prune", "--max-size", "much", *at]) == 1 and "--max-size 'much' is no size" in capsys.readouterr().err
    )
    assert execute(["prune", "--max-size", "1GB", *at]) == 0 and "nothing to remove" in capsys.readouterr().out
    assert execute(["clear", "--yes", *at]) == 0
    told = capsys.readouterr()
    assert f"removed {name}" in told.out and is_empty(cache)
    assert (
        execute(["stats", "--cache", str(tmp_path / "no")]) == 1 and "there is no cache in" in capsys.readouterr().err
    )


def test_clearing_one_corpus_leaves_the_others(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    first, second = (prepared(music, cache, velocities) for velocities in (8, 9))
    removed, busy = clear(cache, first.folder.name)
    assert not removed and [item.name for item in busy] == [first.folder.name], "it is open"
    first.close()
    clear(cache, first.folder.name)
    assert corpora_of(cache) == [second.folder]
    with pytest.raises(AurlError, match="there is no prepared corpus"):
        clear(cache, first.folder.name)


def test_a_cache_whose_index_cannot_be_used_is_read_but_not_filled(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    store = prepared(music, cache)
    (cache / "index.sqlite").unlink()
    (cache / "index.sqlite").mkdir()
    assert prepared(music, cache).folder == store.folder
    with pytest.raises(AurlError, match=r"cannot be written \(its index cannot be opened\); set paths.cache"):
        prepared(music, cache, 9)


def test_a_damaged_index_is_begun_anew(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache).close()
    (cache / "index.sqlite").write_bytes(b"no database" * 1000)
    assert len(prepared(music, cache, 9)) == 4
    assert (cache / "index.sqlite.damaged").is_file() and verify(cache) == []


def test_what_is_left_of_a_corpus_can_be_removed(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    store = prepared(music, cache)
    store.close()
    (store.folder / "meta.json").unlink()
    assert f"{store.folder / 'meta.json'}: missing" in verify(cache)
    (store.folder / "sums.json").unlink()
    assert any("missing; damaged, or made by an older version" in line for line in verify(cache))
    assert [item.name for item in clear(cache)[0] if item.is_corpus] == [store.folder.name]
    assert is_empty(cache)


def test_an_index_that_is_damaged_inside_costs_one_run(
    tmp_path: Path, music: DataConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache).close()
    index = cache / "index.sqlite"
    good = index.read_bytes()
    broken = good[:4096] + b"\xff" * (len(good) - 4096)
    index.write_bytes(broken)
    with pytest.raises(AurlError, match=r"index.sqlite was damaged \(.*\) and is set aside; run this again"):
        prepared(music, cache, 9)
    assert len(prepared(music, cache, 9)) == 4
    for verb in (["stats"], ["verify"], ["clear", "--yes"], ["prune", "--max-size", "1GB"]):
        index.write_bytes(broken)
        assert execute([*verb, "--cache", str(cache)]) == 1
        assert "was damaged" in capsys.readouterr().err
        assert execute([*verb, "--cache", str(cache)]) == 0


def test_folders_that_are_no_corpora_are_never_removed(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    prepared(music, cache).close()
    (cache / "thesis").mkdir()
    (cache / "thesis" / "meta.json").write_text("{}")
    assert len(clear(cache)[0]) == 2 and (cache / "thesis" / "meta.json").is_file()


def test_clearing_waits_for_no_one_and_leaves_a_first_build_alone(tmp_path: Path, music: DataConfig) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    with shards_kept(cache), Index(cache) as index, ShardWriter(cache, index) as writer:
        writer.add(b"key", b"entry")
        assert clear(cache) == ([], [])
    with Index(cache) as index:
        place = index.find(b"key")
        assert place is not None and read_entry(cache, place) == b"entry"


def test_a_flipped_byte_anywhere_in_an_entry_is_never_handed_out(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        with ShardWriter(tmp_path, index) as writer:
            writer.add(b"a", b"first")
            writer.add(b"b", b"plain text that no decoder checks")
        place = index.find(b"b")
    assert place is not None
    shard = shard_path(tmp_path, place.shard)
    good = shard.read_bytes()
    for at in range(place.start, place.start + place.size):
        shard.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(DamagedEntry, match="is damaged"):
            read_entry(tmp_path, place)


def _fill(shards: ShardWriter) -> None:
    with shards as writer:
        for number in range(1000):
            writer.add(number.to_bytes(32, "big"), b"entry")


def test_a_disk_that_is_full_is_said_and_leaves_no_shard_behind(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        pages = index._connection.execute("PRAGMA page_count").fetchone()[0]
        index._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite reports it as a full disk
        with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
            _fill(ShardWriter(tmp_path, index, shard_bytes=5000))
        assert index.find(bytes(32)) is None and not list(tmp_path.glob("pieces/*/*.shard"))


def test_bytes_of_an_interrupted_write_are_cut_off(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        with ShardWriter(tmp_path, index) as writer:
            writer.add(b"key", b"entry")
            assert writer._file is not None
            writer._file.write(b"half of another")
        assert verify(tmp_path) == []


def test_a_corpus_that_is_being_removed_does_not_open(tmp_path: Path, music: DataConfig) -> None:
    store = prepared(music, tmp_path)
    store.close()
    with (store.folder / "meta.json").open("rb+") as file:
        assert try_lock(file, exclusive=True)
        with pytest.raises(AurlError, match="another process is removing it"):
            TokenStore.open(store.folder)
    TokenStore.open(store.folder).close()


def test_a_shared_lock_is_asked_of_a_file_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS the kernel refuses others: reading locks need files open for reading."""
    asked: list[bool] = []

    def refuse(descriptor: int, kind: int) -> None:
        asked.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR)

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with shards_kept(tmp_path):
        assert asked == [True]


def test_that_a_file_system_has_no_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with (tmp_path / "x").open("wb") as file, caplog.at_level("WARNING"):
        locks.wait_lock(file, exclusive=True)
        assert not locks.is_held(file)
    assert "cannot be locked (No locks available); let one process at a time" in caplog.text


def is_empty(cache: Path) -> bool:
    """Whether only what others may have open is left: the index, without a row, and a lock."""
    left = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*"))
    with Index(cache) as index:
        return left == ["index.sqlite", "pieces", "pieces/.lock"] and not (index.shards() or list(index.files()))
