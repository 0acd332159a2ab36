"""``aurl-data download`` as a user types it, from Python's own web server and from one that can continue: a whole
corpus from its address to training data, and what is said when the address, the file or the connection is wrong.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "data"))

from web import Server, cut, serving

NAME = "jsb-chorales"
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def archive(corpora: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real corpus as it is handed out: one packed folder."""
    packed = tmp_path_factory.mktemp("served") / f"{NAME}.tar.gz"
    with tarfile.open(packed, "w:gz") as file:
        file.add(corpora(NAME), NAME)
    return packed


@pytest.fixture(scope="module")
def address(archive: Path) -> Iterator[str]:
    """``python -m http.server`` in the folder of the archive; it knows no ranges."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(archive.parent),
    ]
    process = subprocess.Popen(command, cwd=archive.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def download(folder: Path, url: str, *options: str, **entry: Any) -> subprocess.CompletedProcess[str]:
    """The command, with a catalogue of one corpus."""
    row = {"name": "chorales", "licence": "public domain", "about": "four voices", "urls": [url], **entry}
    folder.mkdir(exist_ok=True)
    (folder / "catalogue.json").write_text(json.dumps([row]))
    command = [sys.executable, "-m", "aurl.cli.data", "download", "chorales", "--catalogue", "catalogue.json"]
    return subprocess.run(
        [*command, "--accept-licence", "--output", "music", *options],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): sha256(file) for file in folder.rglob("*") if file.is_file()}


def test_a_corpus_goes_from_its_address_to_training_data(
    archive: Path, address: str, corpora: Callable[[str], Path], tmp_path: Path
) -> None:
    done = download(tmp_path, f"{address}/{archive.name}", sha256=sha256(archive), bytes=archive.stat().st_size)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "music" / "chorales"
    assert f"chorales: {folder}" in done.stdout
    found = tree(folder)
    assert sha256(archive) in (folder / "corpus.json").read_text()
    assert {path for path in found if path != "corpus.json"} >= {
        path if (folder / path).exists() else f"{NAME}/{path}" for path in tree(corpora(NAME))
    }
    (inside,) = {file.parent for file in folder.rglob("manifest.jsonl")}
    settings = ["data=jsb", f"data.path={inside}", f"paths.cache={tmp_path / 'cache'}", "data.workers=1"]
    prepared = subprocess.run(
        [sys.executable, "-m", "aurl.cli.data", "prepare", *settings],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    assert "344 pieces" in prepared.stdout + prepared.stderr


@pytest.mark.parametrize(
    ("path", "entry", "words"),
    [
        ("missing.tar.gz", {}, "the server answers 404 File not found"),
        (None, {"sha256": "0" * 64}, "what arrived was thrown away"),
        (None, {"bytes": 17}, "bytes, not 17; it is not the one expected"),
        ("cut.tar.gz", {}, "cut.tar.gz"),
    ],
)
def test_a_wrong_address_or_file_is_one_line_and_leaves_nothing(
    archive: Path, address: str, tmp_path: Path, path: str | None, entry: dict[str, Any], words: str
) -> None:
    (archive.parent / "cut.tar.gz").write_bytes(archive.read_bytes()[:-5000])
    done = download(tmp_path, f"{address}/{path or archive.name}", **entry)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and len(errors) == 1 and words in errors[0], done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "music" / "chorales").exists()


def test_a_connection_that_breaks_goes_on_where_it_broke(archive: Path, tmp_path: Path) -> None:
    body = archive.read_bytes()
    third = len(body) // 3
    with serving() as server:
        assert isinstance(server, Server)
        resource = server.add("/c.tar.gz", body, cut(third), cut(2 * third))
        url = server.url("/c.tar.gz")
        failed = download(tmp_path, url, "--tries", "1", sha256=sha256(archive))
        assert failed.returncode == 1 and "run the same command again to go on from there" in failed.stderr
        assert not (tmp_path / "music" / "chorales").exists()
        done = download(tmp_path, url, sha256=sha256(archive))
        assert done.returncode == 0, done.stderr
        asked = [request.get("Range") for request in resource.requests]
    assert asked == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert len(list((tmp_path / "music" / "chorales").rglob("*.mid"))) == 344
