"""Preparing can be killed at any moment and goes on: the result is the same to the byte, and little is done twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import corpora_of, make_music, tree, tune

from aurl.data.store import TokenStore

SCRIPT = """
import sys
from pathlib import Path
from aurl.data import piece_store
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.index import Index
from aurl.data.prepare import prepare
piece_store.SHARD_BYTES = int(sys.argv[3])
data = DataConfig(name="mine", source=Source.folder, path=sys.argv[1], workers=2)
store = prepare(data, TokenizerConfig(), Path(sys.argv[2]), progress=False)
with Index(Path(sys.argv[2])) as index:
    print(index.use_of(store.folder.name).made)
"""
SHARD_BYTES = 12_000
GOOD, BAD = 40, 6
WAIT_SECONDS = 120.0


def start(music: Path, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(music), str(cache), str(SHARD_BYTES)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def entries(cache: Path) -> int:
    """Entries that exist in the piece store."""
    try:
        connection = sqlite3.connect(f"file:{cache / 'index.sqlite'}?mode=ro", uri=True)
    except sqlite3.Error:
        return 0
    try:
        return int(connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def kill_when(music: Path, cache: Path, moment: Callable[[], bool]) -> bool:
    """Start preparing and kill it as soon as the moment has come; False if it was done before."""
    process = start(music, cache)
    end = time.monotonic() + WAIT_SECONDS
    while process.poll() is None and not moment() and time.monotonic() < end:
        time.sleep(0.002)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return was_running


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_again_and_again_it_ends_with_the_same_bytes_and_redoes_a_shard_at_most(tmp_path: Path) -> None:
    music = tmp_path / "music"
    make_music(music, GOOD)
    whole = (music / "tune00.mid").read_bytes()
    for number, content in enumerate([b"", b"MThd", b"junk" * 50, whole[:30], b"x" + whole, whole[:-200]]):
        (music / f"bad{number}.mid").write_bytes(content)
    tune(1).dump_midi(music / "twin.mid")
    cache = tmp_path / "cache"

    def shards() -> int:
        return len(list(cache.glob("pieces/*/*.shard")))

    moments: list[Callable[[], bool]] = [
        lambda: bool(list(cache.glob("pieces/*.open"))),
        lambda: shards() >= 2,
        lambda: bool(list(cache.glob(".*.building.*"))),
    ]
    known, killed = 0, 0
    for moment in moments:
        killed += kill_when(music, cache, moment)
        assert entries(cache) >= known, "what was published is never lost"
        known = entries(cache)
    assert killed >= 2
    assert not corpora_of(cache)
    final = start(music, cache)
    made = int(final.communicate()[0])
    assert final.returncode == 0
    calm = start(music, tmp_path / "calm")
    assert int(calm.communicate()[0]) >= GOOD + BAD, "all but the twin, which may have been there already"
    assert made < GOOD, "the last run began with what the others had published"
    (disturbed,), (undisturbed,) = corpora_of(cache), corpora_of(tmp_path / "calm")
    assert disturbed.name == undisturbed.name
    assert tree(disturbed) == tree(undisturbed)
    with_reasons = {row["id"]: row["reason"] for row in TokenStore.open(disturbed).skipped}
    assert {"bad0.mid", "bad1.mid", "bad2.mid"} <= set(with_reasons) and all(with_reasons.values())
    assert len(TokenStore.open(disturbed)) + len(with_reasons) == GOOD + BAD + 1
