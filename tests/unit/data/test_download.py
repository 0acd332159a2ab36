"""From a source to a folder that is complete or not there; and the command that does it."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web import Server, cut, redirect, serving, status

from aurl.cli import data_download
from aurl.data import download as downloading
from aurl.data.corpora import Corpus, read_catalogue, size_text
from aurl.data.download import data_folder, download
from aurl.data.fetch import FetchPolicy
from aurl.data.metadata import sidecar_metadata
from aurl.data.metadata_tables import folder_tables
from aurl.utils.errors import AurlError

QUICK = FetchPolicy(timeout_seconds=0.5, tries=2, first_wait_seconds=0.01)
SONG = (
    b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x0c\x00\x90\x3c\x40\x60\x80\x3c\x00\x00\xff\x2f\x00"
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def zipped(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in entries or [("set/a.mid", SONG)]:
            packed.writestr(zipfile.ZipInfo(name), data)  # at a fixed time, so that two of them have one checksum
    return file.getvalue()


def corpus(server: Server, body: bytes | None = None, name: str = "toy", **fields: Any) -> Corpus:
    body = zipped() if body is None else body
    server.add("/toy.zip", body)
    facts = {"urls": (server.url("/toy.zip"),), "sha256": hashlib.sha256(body).hexdigest(), "licence": "CC0-1.0"}
    return Corpus(name=name, **(facts | fields))


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- the core ---------------------------------------------------------------------------------------------------------


def test_a_corpus_is_loaded_unpacked_and_recorded(server: Server, tmp_path: Path) -> None:
    folder = download(corpus(server), tmp_path, accepted="answered y")
    assert folder == tmp_path / "toy" and files_of(tmp_path) == ["toy/corpus.json", "toy/set/a.mid"]
    record = json.loads((folder / "corpus.json").read_text())
    assert record["licence"] == "CC0-1.0" and record["licence_accepted"]["how"] == "answered y"
    assert record["files"][0]["sha256"] == hashlib.sha256(zipped()).hexdigest()
    folder_tables.cache_clear()
    known = sidecar_metadata(folder / "set" / "a.mid", folder)
    assert known == {"source": "toy", "licence": "CC0-1.0", "title": "a"}


def test_a_corpus_that_is_there_is_left_as_it_is_unless_told(server: Server, tmp_path: Path) -> None:
    source = corpus(server)
    download(source, tmp_path, accepted="y")
    (tmp_path / "toy" / "mine.mid").write_bytes(SONG)
    download(source, tmp_path, accepted="y")
    assert "toy/mine.mid" in files_of(tmp_path) and len(server.resources["/toy.zip"].requests) == 1
    download(source, tmp_path, accepted="y", overwrite=True)
    assert files_of(tmp_path) == ["toy/corpus.json", "toy/set/a.mid"]


def test_a_folder_that_was_not_downloaded_is_never_replaced_in_silence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    with pytest.raises(AurlError, match="is there already and was not downloaded; add --overwrite"):
        download(corpus(server), tmp_path, accepted="y")


def test_a_hostile_archive_publishes_nothing_and_leaves_the_old_corpus(server: Server, tmp_path: Path) -> None:
    download(corpus(server), tmp_path, accepted="y")
    with pytest.raises(AurlError, match="leads out of the folder"):
        download(corpus(server, zipped(("a.mid", SONG), ("../../b.mid", SONG))), tmp_path, accepted="y", overwrite=True)
    assert files_of(tmp_path / "toy") == ["corpus.json", "set/a.mid"]
    assert not (tmp_path / ".toy.unpacking").exists() and not list(tmp_path.parent.glob("b.mid"))


def test_a_wrong_checksum_publishes_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AurlError, match="its sha256 is"):
        download(corpus(server, sha256="0" * 64), tmp_path, accepted="y")
    assert files_of(tmp_path) == []


def test_a_cut_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    body = zipped(("a.mid", os.urandom(50_000)))
    source = corpus(server, body)
    server.add("/toy.zip", body, cut(20_000), status(503), status(503))
    with pytest.raises(AurlError, match="run the same command again"):
        download(source, tmp_path, accepted="y", policy=QUICK)
    download(source, tmp_path, accepted="y", policy=QUICK)
    assert server.resources["/toy.zip"].requests[-1]["Range"] == "bytes=20000-"


def test_an_interrupted_unpacking_begins_anew_without_loading_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(server)

    def killed(path: Path, target: Path, *_: object) -> None:
        (target / "half.mid").write_bytes(b"MT")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloading, "unpack", killed)
        patch.setattr(downloading, "remove_folder", lambda folder: None)  # as when the process dies
        with pytest.raises(KeyboardInterrupt):
            download(source, tmp_path, accepted="y")
    assert (tmp_path / ".toy.unpacking" / "half.mid").exists() and not (tmp_path / "toy").exists()
    download(source, tmp_path, accepted="y")
    assert files_of(tmp_path) == ["toy/corpus.json", "toy/set/a.mid"]
    assert len(server.resources["/toy.zip"].requests) == 1


def test_two_downloads_of_one_corpus_do_not_mix(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with downloading._alone(tmp_path, "toy"), pytest.raises(AurlError, match="by another process; wait for it"):
        download(corpus(server), tmp_path, accepted="y")


def test_plain_files_tar_archives_and_chosen_names_are_brought(server: Server, tmp_path: Path) -> None:
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w:gz") as packed:
        for name in ("x/a.mid", "x/a.flac"):
            member = tarfile.TarInfo(name)
            member.size = len(SONG)
            packed.addfile(member, io.BytesIO(SONG))
    server.add("/set.tar.gz", tape.getvalue())
    server.add("/one%20song.mid", SONG)
    both = Corpus(
        name="two", licence="CC0", urls=(server.url("/set.tar.gz"), server.url("/one%20song.mid")), keep=("*.mid",)
    )
    folder = download(both, tmp_path, accepted="y", keep_archives=True)
    assert files_of(folder) == ["corpus.json", "one song.mid", "x/a.mid"]
    assert (tmp_path / ".loading" / "two" / "set.tar.gz").exists()
    with pytest.raises(AurlError, match=r"no files in it that are wanted \(\*.xyz\)"):
        download(corpus(server, keep=("*.xyz",)), tmp_path, accepted="y")


def test_files_of_one_name_from_several_places_are_all_kept(server: Server, tmp_path: Path) -> None:
    names = ("/a/song%00%0A.mid", "/b/song%00%0A.mid", "/%2e%2e", "/set/x%2F..%2Fy.mid")
    for number, name in enumerate(names):
        server.add(name, SONG + bytes([number]))
    source = Corpus(name="same", licence="CC0", urls=tuple(map(server.url, names)))
    folder = download(source, tmp_path / "out", accepted="y")
    assert files_of(folder) == ["2-song__.mid", "corpus.json", "download", "song__.mid", "y.mid"]
    assert (folder / "2-song__.mid").read_bytes() == SONG + b"\x01"


def test_no_space_is_told_before_anything_is_loaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(server, bytes=len(zipped()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: argparse.Namespace(free=100))
    with pytest.raises(AurlError, match="bytes are needed to load and unpack, 100 are free"):
        download(source, tmp_path, accepted="y")
    assert server.resources["/toy.zip"].requests == []


def test_what_no_program_can_load_and_what_was_not_accepted_is_refused(server: Server, tmp_path: Path) -> None:
    by_hand = Corpus(name="far", licence="CC0", page="https://example.org/far", gate="a form")
    with pytest.raises(AurlError, match=r"far cannot be loaded by a program \(a form\): see https://example.org/far"):
        download(by_hand, tmp_path, accepted="y")
    with pytest.raises(AurlError, match=r"its licence \(CC0-1.0\) has not been accepted"):
        download(corpus(server), tmp_path, accepted="")


# --- repositories -----------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "--quiet")
    git(source, "config", "uploadpack.allowAnySHA1InWant", "true")
    (source / "a.mid").write_bytes(SONG)
    (source / "link.mid").symlink_to("/etc/passwd")
    (source / "notes.txt").write_text("first")
    git(source, "add", "-A")
    git(source, "commit", "--quiet", "-m", "first")
    return source


def test_a_repository_is_brought_at_its_pinned_commit_without_links_and_history(
    repository: Path, tmp_path: Path
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    (repository / "b.mid").write_bytes(SONG)
    git(repository, "add", "-A")
    git(repository, "commit", "--quiet", "-m", "second")
    pinned = Corpus(name="toy", licence="MIT", git=f"file://{repository}", commit=first)
    folder = download(pinned, tmp_path / "out", accepted="y")
    assert sorted(path.name for path in folder.iterdir()) == ["a.mid", "corpus.json", "notes.txt"]
    assert json.loads((folder / "corpus.json").read_text())["commit"] == first
    newest = Corpus(name="new", licence="MIT", git=f"file://{repository}", keep=("*.mid",))
    assert {"a.mid", "b.mid"} <= set(files_of(download(newest, tmp_path / "out", accepted="y")))
    assert not (tmp_path / "out" / "new" / "notes.txt").exists()


def test_a_repository_or_git_that_is_missing_is_one_line(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Corpus(name="toy", licence="MIT", git=f"file://{tmp_path}/nowhere")
    with pytest.raises(AurlError, match=r"nowhere: git fetch failed \("):
        download(gone, tmp_path / "out", accepted="y")
    unwanted = Corpus(name="toy", licence="MIT", git=f"file://{repository}", keep=("*.xyz",))
    with pytest.raises(AurlError, match="no files in it that are wanted"):
        download(unwanted, tmp_path / "out", accepted="y")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AurlError, match="git is not installed; install git"):
        download(gone, tmp_path / "out", accepted="y")
    assert files_of(tmp_path / "out") == []


# --- Parquet ----------------------------------------------------------------------------------------------------------


def parquet(columns: dict[str, list[Any]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")

    file = io.BytesIO()
    tables.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def test_rows_with_midi_bytes_become_files_with_their_metadata(server: Server, tmp_path: Path) -> None:
    body = parquet(
        {
            "md5": ["../x", "y", "z", None],
            "music": [SONG, {"bytes": SONG}["bytes"], None, SONG],
            "composer": ["Bach", "Abel", "Bull", "Berg"],
        }
    )
    server.add("/train.parquet", body)
    folder = download(Corpus(name="t", licence="CC0", urls=(server.url("/train.parquet"),)), tmp_path, accepted="y")
    songs = [path for path in files_of(folder) if path.endswith(".mid")]
    assert songs == [f"train/rows/0000/{name}.mid" for name in ("0000000-x", "0000001-y", "0000003")]
    folder_tables.cache_clear()
    assert sidecar_metadata(folder / songs[0], folder)["composer"] == "Bach"
    assert (folder / songs[1]).read_bytes() == SONG


@pytest.mark.parametrize(
    "columns",
    [
        {"notes": [{"pitch": [60, 64], "start": [0.0, 0.5], "end": [0.5, 1.0], "velocity": [70, 80]}]},
        {"notes": [[{"pitch": 60, "onset": 0, "duration": 480}, {"pitch": 64, "onset": 480, "duration": 480}]]},
        {"pitch": [[60, 64]], "time": [[0.0, 0.5]], "duration": [[0.5, 0.5]]},
    ],
)
def test_tables_of_notes_become_files(server: Server, tmp_path: Path, columns: dict) -> None:
    from aurl.music.score import read_score

    server.add("/n.parquet", parquet(columns))
    folder = download(Corpus(name="n", licence="CC0", urls=(server.url("/n.parquet"),)), tmp_path, accepted="y")
    score = read_score(folder / "n" / "rows" / "0000" / "0000000.mid")
    notes = [(note.time, note.duration, note.pitch) for note in score.tracks[0].notes]
    assert [(4 * t // score.tpq, 4 * d // score.tpq, p) for t, d, p in notes] == [(0, 4, 60), (4, 4, 64)]


@pytest.mark.parametrize(
    "broken",
    [
        {"velocity": [[70, None]]},
        {"time": [[0.0, float("nan")]]},
        {"time": [[0.0, 1e300]]},
        {"duration": [[1.0, None]]},
    ],
)
@pytest.mark.filterwarnings("error")
def test_tables_with_broken_numbers_are_rows_without_music(server: Server, tmp_path: Path, broken: dict) -> None:
    columns = {"pitch": [[60, 64]], "time": [[0.0, 0.5]], "duration": [[0.5, 0.5]], "velocity": [[70, 70]]}
    server.add("/n.parquet", parquet(columns | broken))
    with pytest.raises(AurlError, match="none of its 1 rows holds"):
        download(Corpus(name="n", licence="CC0", urls=(server.url("/n.parquet"),)), tmp_path, accepted="y")


def test_tables_without_music_broken_ones_and_a_missing_library_are_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/p.parquet", parquet({"text": ["a"], "pitch": [[300]], "time": [[0]], "duration": [[1]]}))
    source = Corpus(name="p", licence="CC0", urls=(server.url("/p.parquet"),))
    with pytest.raises(AurlError, match="none of its 1 rows holds MIDI bytes or a table of notes"):
        download(source, tmp_path, accepted="y")
    server.add("/p.parquet", b"PAR1 no table")
    shutil.rmtree(tmp_path / ".loading")
    with pytest.raises(AurlError, match="cannot be unpacked"):
        download(source, tmp_path, accepted="y")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(AurlError, match=r'needs pyarrow: pip install "aurl\[parquet\]"'):
        download(source, tmp_path, accepted="y")


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_the_catalogue_that_ships_is_complete_and_points_to_public_places_only() -> None:
    corpora = read_catalogue()
    assert {"maestro-v3", "lakh-full", "pop909", "gigamidi", "groove"} <= corpora.keys() and len(corpora) == 29
    for entry in corpora.values():
        assert entry.about and entry.licence
        assert entry.by_hand <= bool(entry.page)
        for address in (*entry.urls, *filter(None, (entry.git, entry.page))):
            host = address.split("/")[2]
            assert "." in host and ":" not in host and not host[0].isdigit()
        if entry.token_env:
            assert all(url.startswith("https://") for url in entry.urls)
        assert all(len(value) == {"md5": 32, "sha256": 64}[name] for name, value in entry.checksums.items())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "../up", "licence": "x"}, "corpus name '../up': allowed are"),
        ({"name": "a"}, "corpus a: licence is missing"),
        ({"name": "a", "licence": "x", "link": "y"}, "corpus a: unknown key link; allowed: about, bytes"),
        ({"name": "a", "licence": "x", "urls": ["file:///etc"]}, "not an http or https address"),
        ({"name": "a", "licence": "x", "urls": ["http://b/1", "http://b/2"], "md5": "0"}, "for one file, not for 2"),
        ({"name": "a", "licence": "x", "git": "--upload-pack=x"}, "--upload-pack=x is not a repository"),
        ({"name": "a", "licence": "x", "git": "https://a.org/b", "commit": "-x"}, "'-x' must be a whole one"),
        ({"name": "a", "licence": "x", "git": "https://a.org/b", "commit": "abc123"}, "must be a whole one"),
        ({"name": "a", "licence": "x", "commit": "a" * 40}, "comes from no git repository"),
        ({"name": "a", "licence": "x", "urls": "https://b/1"}, 'urls="https://b/1" must be a list of texts'),
        ({"name": "a", "licence": "x", "urls": [3]}, "corpus a: urls=[3] must be a list of texts"),
        ({"name": "a", "licence": "x", "keep": None}, "corpus a: keep=null must be a list of texts"),
        ({"name": "a", "licence": "x", "bytes": "12"}, 'bytes="12" must be a whole number, or null'),
        ({"name": "a", "licence": "x", "git": 5}, "corpus a: git=5 must be text"),
        ("a", "no JSON object with a name"),
    ],
)
def test_a_wrong_catalogue_entry_is_named(tmp_path: Path, row: Any, words: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps([row]))
    with pytest.raises(AurlError, match=words.replace("[", r"\[")):
        read_catalogue(tmp_path / "c.json")


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_file_that_is_no_catalogue_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(AurlError, match=r"c.json: not a catalogue of corpora"):
        read_catalogue(tmp_path / "c.json")


def test_sizes_are_told_in_fitting_units() -> None:
    sizes = (None, 12, 142_934, 58_416_533, 1_768_163_879, 10**16)
    assert [size_text(size) for size in sizes] == ["?", "12 B", "143 kB", "58.4 MB", "1.77 GB", "1e+04 TB"]


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AURL_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("AURL_DATA")
    monkeypatch.setenv("AURL_CACHE", "/c")
    assert data_folder() == Path("/c/data")
    monkeypatch.delenv("AURL_CACHE")
    assert data_folder() == Path("~/.cache/aurl/data").expanduser()


# --- the command ------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    data_download.add_verb(parser.add_subparsers())
    options = parser.parse_args(["download", *arguments])
    return options.task(options)


@pytest.fixture
def catalogue(server: Server, tmp_path: Path) -> Path:
    server.add("/toy.zip", zipped())
    server.add("/gated.zip", b"", redirect(server.url("/toy.zip", host="localhost")))
    rows = [
        {"name": "toy", "about": "one song", "urls": [server.url("/toy.zip")], "licence": "CC0-1.0", "bytes": 120},
        {"name": "far", "licence": "MIT", "page": "https://example.org", "gate": "by hand", "files": 1000},
        {
            "name": "gated", "licence": "CC BY-NC 4.0", "urls": [server.url("/gated.zip")], "token_env": "TOY_TOKEN",
            "gate": "accept the terms", "page": "https://example.org",
        },
    ]  # fmt: skip
    rows[0]["bytes"] = len(zipped())
    (tmp_path / "c.json").write_text(json.dumps(rows))
    return tmp_path / "c.json"


def test_the_list_shows_name_size_licence_and_gate(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--list", "--catalogue", str(catalogue)) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["name", "size", "files", "licence", "gate"]
    assert cells[2] == ["far", "?", "1,000", "MIT", "by hand"] and cells[1][3:] == ["CC0-1.0", "-"]
    assert command("--list") == 0 and "maestro-v3" in capsys.readouterr().out


def test_the_commit_of_a_repository_is_told_and_brings_the_same_files_again(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    rows = [
        {"name": "toy", "licence": "MIT", "git": f"file://{repository}"},
        {"name": "web", "licence": "MIT", "urls": ["https://example.org/a.zip"]},
    ]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    settings = ("--catalogue", str(tmp_path / "c.json"), "--accept-licence", "--output")
    assert command("toy", *settings, str(tmp_path / "one")) == 0
    said = f"Commit {first} (not pinned; the same files again: --commit {first})"
    assert said in capsys.readouterr().out
    (repository / "b.mid").write_bytes(SONG)
    git(repository, "add", "-A")
    git(repository, "commit", "--quiet", "-m", "second")
    assert command("toy", "--commit", first, *settings, str(tmp_path / "two")) == 0
    assert f"Commit {first}\n" in capsys.readouterr().out
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    second = git(repository, "rev-parse", "HEAD")
    with pytest.raises(AurlError, match=rf"holds commit {first}, not {second}; add --overwrite"):
        command("toy", "--commit", second, *settings, str(tmp_path / "two"))
    with pytest.raises(AurlError, match="comes from no git repository"):
        command("web", "--commit", first, *settings, str(tmp_path / "two"))
    with pytest.raises(AurlError, match="--commit is for one corpus, not for 2"):
        command("toy", "web", "--commit", first, *settings, str(tmp_path / "two"))


def test_a_download_shows_the_licence_and_tells_the_next_command(
    catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "my corpora"
    assert command("toy", "--catalogue", str(catalogue), "--output", str(place), "--accept-licence") == 0
    shown = capsys.readouterr()
    assert "Licence: CC0-1.0" in shown.err
    assert shown.out.splitlines() == [
        f"toy: {place}/toy", "Next:", f"  aurl-train data=folder data.path='{place}/toy'"
    ]  # fmt: skip
    assert command("toy", "--catalogue", str(catalogue), "--output", str(place)) == 0  # accepted before
    assert "Licence" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "accepted"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_the_licence_is_asked_for(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, accepted: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    arguments = ("toy", "--catalogue", str(catalogue), "--output", str(tmp_path / "o"))
    if accepted:
        assert command(*arguments) == 0
        record = json.loads((tmp_path / "o" / "toy" / "corpus.json").read_text())
        assert record["licence_accepted"]["how"] == "answered y"
    else:
        with pytest.raises(AurlError, match="its licence was not accepted; nothing was loaded"):
            command(*arguments)
        assert not (tmp_path / "o").exists()


def test_without_a_terminal_the_licence_must_be_accepted_by_option(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(AurlError, match=r"its licence \(CC0-1.0\) has to be accepted; add --accept-licence"):
        command("toy", "--catalogue", str(catalogue))


def test_a_gated_corpus_takes_a_token_and_keeps_it_to_itself(
    catalogue: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AURL_TOKEN", raising=False)
    monkeypatch.delenv("TOY_TOKEN", raising=False)
    base = ("gated", "--catalogue", str(catalogue), "--output", str(tmp_path / "o"), "--accept-licence")
    with pytest.raises(AurlError, match=r"gated needs a token \(accept the terms: .*\); set TOY_TOKEN or AURL_TOKEN"):
        command(*base)
    monkeypatch.setenv("TOY_TOKEN", "hush")
    assert command(*base) == 0
    assert server.resources["/gated.zip"].requests[0]["Authorization"] == "Bearer hush"
    assert "Authorization" not in server.resources["/toy.zip"].requests[0]
    shown = capsys.readouterr()
    written = b"".join(path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file())
    assert "hush" not in shown.out + shown.err and b"hush" not in written
    with pytest.raises(AurlError, match="toy asks for no token; leave --token out"):
        command("toy", *base[1:], "--token", "x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no corpus is named; aurl-data download --list shows them"),
        (("nope",), "nope is no known corpus; allowed: toy, far, gated"),
        (("far", "--accept-licence"), r"far cannot be loaded by a program \(by hand\): see https://example.org"),
        (("toy", "--tries", "0"), "--tries 0: must be 1 or more"),
    ],
)
def test_misuse_is_one_line(catalogue: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(AurlError, match=words):
        command(*arguments, "--catalogue", str(catalogue), "--output", str(tmp_path / "o"))


def test_an_output_that_cannot_be_made_is_one_line(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AurlError, match=r"cannot write .*choose another --output"):
        command("toy", "--catalogue", str(catalogue), "--output", str(tmp_path / "file" / "o"), "--accept-licence")


def test_the_page_of_corpora_tells_what_the_catalogue_tells() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "corpora.md"
    rows = [line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = [(row[0].strip("| `"), row[1], row[2], row[3]) for row in rows]
    known = [
        (entry.name, entry.about, size_text(entry.bytes or entry.download_bytes), entry.licence)
        for entry in read_catalogue().values()
    ]
    assert told == known
